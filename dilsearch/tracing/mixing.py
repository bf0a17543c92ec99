"""Operations that rearrange a tensor or mix its elements: layouts, channels, and global context."""

from collections.abc import Sequence

from dilsearch.tracing.calls import Call
from dilsearch.tracing.moving import spatial_slice
from dilsearch.tracing.values import Value, concatenated
from dilsearch.tracing.walk import Walk


def same(walk: Walk, call: Call) -> Value:
    """Every element stays what it is."""
    return walk.alike(call, call.first) if call.first.shape != call.shape else call.first


def constant(walk: Walk, call: Call) -> Value:
    """A tensor made to the shape of another, of which it sees nothing."""
    return Value.at(-1, call.shape)


def permutation(walk: Walk, call: Call) -> Value:
    """Dimensions in another order."""
    x = call.first
    rank = len(x.shape)
    if call.name == "permute":
        order = [int(dim) % rank for dim in call.argument(1, "dims")]
    elif call.name in ("t", "numpy_T", "mT", "adjoint"):
        order = list(range(rank))
        order[-2:] = reversed(order[-2:])
    elif call.name == "movedim":
        return _moved_dims(call, x)
    else:
        order = list(range(rank))
        one, other = (int(call.argument(i, f"dim{i - 1}")) % rank for i in (1, 2))
        order[one], order[other] = order[other], order[one]
    return x.permuted(order)


def reshaping(walk: Walk, call: Call) -> Value:
    """The same elements in another shape; global, where that cuts through an axis of space."""
    reshaped = call.first.reshaped(call.shape, walk.uniting(call))
    return walk.context(call) if reshaped is None else reshaped


def squeezing(walk: Walk, call: Call) -> Value:
    """Dimensions of size 1 put in or taken away."""
    reshaped = call.first.reshaped(call.shape, walk.uniting(call))
    assert reshaped is not None  # nothing is regrouped
    return reshaped


def expanding(walk: Walk, call: Call) -> Value:
    """Broadcasting, and repeating what has size 1."""
    x = call.first
    lead = len(call.shape) - len(x.shape)
    sizes = zip(x.shape, call.shape[lead:], strict=True)
    return (
        walk.unfollowed(call) if any(o not in (1, n) for o, n in sizes) else x.expanded(call.shape)
    )


def concatenation(walk: Walk, call: Call) -> Value:
    """Tensors one behind the other, each channel keeping its own place; global along space."""
    dim = int(call.argument(1, "dim", 0)) % len(call.shape)
    parts = [_known(call, node) for node in call.argument(0, "tensors")]
    if call.name == "stack":
        parts = [part.with_new(dim) for part in parts]
    joined = concatenated(parts, dim)
    return walk.context(call) if joined is None else joined


def splitting(walk: Walk, call: Call) -> list[Value]:
    """A list of parts along one dimension."""
    x = call.first
    dim = int(call.argument(1 if call.name == "unbind" else 2, "dim", 0)) % len(x.shape)
    results: list[Value] = []
    start = 0
    for part in call.result:
        shape = tuple(int(size) for size in part.shape)
        size = 1 if call.name == "unbind" else shape[dim]
        if x.spatial(dim):
            place = walk.builder.unfollowed_at(x.all_places, call.label, call.text)
            results.append(Value.at(place, shape))
        else:
            piece = x.sliced(dim, start, start + size)
            results.append(piece.without(dim) if call.name == "unbind" else piece)
        start += size
    return results


def slicing(walk: Walk, call: Call) -> Value:
    """A regular part along one dimension."""
    x = call.first
    dim = int(call.argument(1, "dim", 0)) % len(x.shape)
    given = call.argument(2, "start", 0)
    start = int(given or 0)
    start = start + x.shape[dim] if start < 0 else start
    step = int(call.argument(4, "step", 1)) if call.name == "slice" else 1
    size = call.shape[dim]
    if size == x.shape[dim]:
        return x
    if x.spatial(dim):
        return spatial_slice(walk, call, dim, min(start, x.shape[dim]), step)
    return x.sliced(dim, start, start + (size - 1) * step + 1, step)


def selecting(walk: Walk, call: Call) -> Value:
    """One index along one dimension, which then is gone."""
    x = call.first
    dim = int(call.argument(1, "dim", 0)) % len(x.shape)
    if x.spatial(dim):
        return walk.unfollowed(call)
    index = int(call.argument(2, "index")) % x.shape[dim]
    return x.sliced(dim, index, index + 1).without(dim)


def picking(walk: Walk, call: Call) -> Value:
    """Indices that are tensors: any channel may be picked, no position of space."""
    x = call.value(0, "self")
    if x is None or len(x.shape) != len(call.shape):
        return walk.unfollowed(call)
    if call.name == "index_select":
        dims = [int(call.argument(1, "dim")) % len(x.shape)]
    else:
        dims = [dim for dim, index in enumerate(call.argument(1, "indices")) if index is not None]
    if any(x.spatial(dim) for dim in dims):
        return walk.unfollowed(call)
    return walk.alike(call, x.united(dims, walk.uniting(call)))


def flipping(walk: Walk, call: Call) -> Value:
    """Channels in reverse; positions of space cannot be."""
    x = call.first
    dims = [int(dim) % len(x.shape) for dim in call.argument(1, "dims")]
    if any(x.spatial(dim) for dim in dims):
        return walk.unfollowed(call)
    index = tuple(slice(None, None, -1 if d in dims else 1) for d in range(len(x.shape)))
    return Value(x.shape, x.dims, x.places[index])


def shuffling(walk: Walk, call: Call) -> Value:
    """Channel shuffle, as one operation."""
    x, groups = call.first, int(call.argument(1, "groups"))
    if x.places.shape[1] == 1:
        return x
    order = x.places.reshape(x.places.shape[0], groups, -1, *x.places.shape[2:])
    return Value(x.shape, x.dims, order.swapaxes(1, 2).reshape(x.places.shape))


def reduction(walk: Walk, call: Call) -> Value | list[Value]:
    """A sum, mean, largest or the like: over channels they meet, over space it is global."""
    x = call.first
    rank = len(x.shape)
    given = call.argument(1, "dim")
    listed = [given] if isinstance(given, int) else given
    dims = [int(dim) % rank for dim in listed] if listed else list(range(rank))
    results = call.result if isinstance(call.result, list | tuple) else [call.result]
    if any(x.spatial(dim) for dim in dims):
        # Behind a global pooling the positions of a small map are no longer told apart.
        place = _context(walk, call, x)
        values = [Value.at(place, [int(size) for size in r.shape]) for r in results]
    else:
        merged = x.united(dims, walk.uniting(call))
        for dim in sorted(dims, reverse=True):
            kept = len(results[0].shape) == rank
            merged = merged.resized(dim, 1) if kept else merged.without(dim)
        values = [merged] * len(results)
    return values if isinstance(call.result, list | tuple) else values[0]


def softmax(walk: Walk, call: Call) -> Value:
    """Normalised over channels they meet; over space, all positions enter each."""
    x = call.first
    given = call.argument(1, "dim")
    dim = int(given) % len(x.shape) if given is not None else len(x.shape) - 1
    if x.spatial(dim):
        return _beside_context(walk, call, x)
    return x.united([dim], walk.uniting(call))


def statistics(walk: Walk, call: Call) -> Value:
    """Group and instance normalisation: pointwise, but for statistics of the whole map."""
    return _beside_context(walk, call, call.first)


def layer_norm(walk: Walk, call: Call) -> Value:
    """Normalisation over the last dimensions: of channels they meet, else as ``statistics``."""
    x = call.first
    count = len(call.argument(1, "normalized_shape"))
    dims = list(range(len(x.shape) - count, len(x.shape)))
    if any(x.spatial(dim) for dim in dims):
        return _beside_context(walk, call, x)
    return x.united(dims, walk.uniting(call))


def linear(walk: Walk, call: Call) -> Value:
    """A linear layer over the last dimension: channels meet; over space it is global."""
    x = call.value(0, "input")
    if x is None or call.value(1, "weight") is not None:
        return walk.context(call)
    last = len(x.shape) - 1
    if x.spatial(last):
        return walk.context(call)
    return x.united([last], walk.uniting(call)).resized(last, call.shape[-1])


def product(walk: Walk, call: Call) -> Value:
    """A matrix product: with a constant, a linear layer; of two maps, attention."""
    operands = call.operands
    if len(operands) != 1:
        return walk.context(call)
    x, first = operands[0], 1 if call.name in ("addmm", "baddbmm", "addbmm") else 0
    left = call.value(first, "self") is x or call.value(first, "mat1") is x
    dim = len(x.shape) - (1 if left or len(x.shape) == 1 else 2)
    if x.spatial(dim) or len(x.shape) != len(call.shape):
        return walk.context(call)
    kept = len(x.shape) - (1 if left else 2)
    return x.united([dim], walk.uniting(call)).resized(kept, call.shape[kept])


def attention(walk: Walk, call: Call) -> Value:
    """Every position weighs every other."""
    return walk.context(call)


def running(walk: Walk, call: Call) -> Value:
    """Cumulative sums and sorting: along channels they meet, along space it is global."""
    x = call.first
    dim = int(call.argument(1, "dim", -1)) % len(x.shape)
    if x.spatial(dim):
        return walk.context(call)
    return x.united([dim], walk.uniting(call))


def gated(walk: Walk, call: Call) -> Value:
    """Gated linear unit: one half of the channels times the other."""
    x = call.first
    dim = int(call.argument(1, "dim", -1)) % len(x.shape)
    if x.spatial(dim):
        return walk.unfollowed(call)
    return x.united([dim], walk.uniting(call)).resized(dim, call.shape[dim])


def _context(walk: Walk, call: Call, x: Value) -> int:
    if walk.only_context(x):
        return walk.builder.unite(x.all_places, call.label)
    return walk.builder.context(call.label, x.all_places, call.cause)


def _beside_context(walk: Walk, call: Call, x: Value) -> Value:
    """The tensor itself, joined by what sees all of it."""
    if walk.only_context(x):
        return x
    context = walk.builder.context(f"{call.label}.statistics", x.all_places, call.cause)
    behind = {place: walk.builder.unite([place, context], call.label) for place in x.all_places}
    return walk.each_place(call, x, [], behind.__getitem__)


def _known(call: Call, node: object) -> Value:
    found = call.values.get(node)  # type: ignore[call-overload]
    if isinstance(found, Value):
        return found
    shape: Sequence[int] = node.meta["val"].shape  # type: ignore[attr-defined]
    return Value.at(-1, [int(size) for size in shape])


def _moved_dims(call: Call, x: Value) -> Value:
    rank = len(x.shape)
    source, target = (call.argument(i, name) for i, name in ((1, "source"), (2, "destination")))
    sources = [int(dim) % rank for dim in ([source] if isinstance(source, int) else source)]
    targets = [int(dim) % rank for dim in ([target] if isinstance(target, int) else target)]
    order = [dim for dim in range(rank) if dim not in sources]
    for to, dim in sorted(zip(targets, sources, strict=True)):
        order.insert(to, dim)
    return x.permuted(order)
