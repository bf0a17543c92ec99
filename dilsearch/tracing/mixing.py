"""Operations that mix elements: pointwise, over channels, and over space, which is global."""

from torch import Tensor

from dilsearch.tracing.calls import Call
from dilsearch.tracing.moving import narrowed, widened
from dilsearch.tracing.values import Value, met
from dilsearch.tracing.walk import Walk


def pointwise(walk: Walk, call: Call) -> Value:
    """All operands together, element by element."""
    operands, rank = call.operands, len(call.shape)
    if len(operands) == 1 and operands[0].shape == call.shape:
        return operands[0]
    axes = {
        dim + rank - len(x.shape): axis
        for x in operands
        for dim in range(len(x.shape))
        if (axis := x.axis_of(dim)) is not None
    }
    wide = []
    for x in operands:
        lead = rank - len(x.shape)
        narrow = {
            dim: axis for dim, axis in axes.items() if dim >= lead and x.shape[dim - lead] == 1
        }
        wide.append(widened(walk, call, x, narrow))
    result = met(wide, call.shape, walk.uniting(call))
    return walk.unfollowed(call) if result is None else result


def reduction(walk: Walk, call: Call) -> Value | list[Value]:
    """A sum, mean, largest or the like: over channels they meet, over all of space it is global.

    Along only some axes of space, what is left sees the whole of those.
    """
    x = call.first
    if str(call.node.target).endswith(".other"):  # the larger or smaller of two maps
        return pointwise(walk, call)
    rank = len(x.shape)
    given = call.option("dim")
    listed = [given] if isinstance(given, int) else given
    dims = [int(dim) % rank for dim in listed] if listed else list(range(rank))
    results = call.result if isinstance(call.result, list | tuple) else [call.result]
    spatial = [dim for dim in dims if x.spatial(dim)]
    left = [dim for dim in range(rank) if x.spatial(dim) and dim not in dims]
    if spatial and (not left or any(x.axis_of(dim) is None for dim in spatial)):
        # Behind a global pooling the positions of a small map are no longer told apart.
        place = _context(walk, call, x)
        values = [Value.at(place, [int(size) for size in r.shape]) for r in results]
    else:
        merged = narrowed(walk, call, x, spatial).united(dims, walk.uniting(call))
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
    """Normalisation: pointwise, but for statistics of the whole map where it has no others."""
    if call.name == "instance_norm" and call.option("use_input_stats") is False:
        return call.first
    if call.name == "batch_norm" and not call.option("training"):
        return call.first
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
        if x.axis_of(last) is None or not any(x.spatial(dim) for dim in range(last)):
            return walk.context(call)
        x = narrowed(walk, call, x, [last])  # of one axis, each line by itself
    return x.united([last], walk.uniting(call)).resized(last, call.shape[-1])


def product(walk: Walk, call: Call) -> Value:
    """A matrix product: a sum over channels; over space, or of every pair of positions, global."""
    first = 1 if call.name in ("addmm", "baddbmm") else 0
    left, right = call.value(first, "mat1"), call.value(first + 1, "mat2")
    if left and not left.spatial(-1) and right is None and call.shape == left.shape[:-1]:
        last = len(left.shape) - 1  # times a vector
        return left.united([last], walk.uniting(call)).resized(last, 1).without(last)
    if any(len(tensor.shape) < 2 for tensor in _factors(call, first)):
        return walk.context(call)
    pairs = left is not None and right is not None and left.spatial(-2) and right.spatial(-1)
    if pairs or (left and left.spatial(-1)) or (right and right.spatial(-2)):
        return walk.context(call)
    rank, uniting = len(call.shape), walk.uniting(call)
    parts = [call.value(0, "self")] if first else []
    for x, back in ((left, 1), (right, 2)):
        if x is not None:
            dim = len(x.shape) - back
            parts.append(x.united([dim], uniting).resized(dim, call.shape[rank - back]))
    result = met([part for part in parts if part is not None], call.shape, uniting)
    return walk.context(call) if result is None else result


def einsum(walk: Walk, call: Call) -> Value:
    """A sum over channels of one map, as a matrix product; global over space, or of two maps."""
    words, _, target = str(call.argument(0, "equation")).replace(" ", "").partition("->")
    local = [
        (x, word)
        for node, word in zip(call.argument(1, "tensors"), words.split(","), strict=True)
        if isinstance(x := call.values.get(node), Value) and not walk.only_context(x)
    ]
    if len(local) != 1 or "." in words or not target:
        return walk.context(call)
    ((x, word),) = local
    summed = [dim for dim, letter in enumerate(word) if letter not in target]
    if len(set(word)) < len(word) or any(x.spatial(dim) for dim in summed):
        return walk.context(call)
    x = x.united(summed, walk.uniting(call))
    for dim in reversed(summed):
        x = x.resized(dim, 1).without(dim)
    kept = [letter for letter in word if letter in target]
    x = x.permuted([kept.index(letter) for letter in target if letter in kept])
    for dim, letter in enumerate(target):
        if letter not in kept:
            x = x.with_new(dim)
    others = [place for y in call.operands if walk.only_context(y) for place in y.all_places]
    context = Value.at(walk.builder.unite(others, call.label), call.shape)
    result = met([x, context], call.shape, walk.uniting(call))
    assert result is not None  # only one of them lies in space
    return result


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
    half = call.shape[dim]
    halves = [x.sliced(dim, 0, half), x.sliced(dim, half, 2 * half)]
    result = met(halves, call.shape, walk.uniting(call))
    assert result is not None  # both are laid out alike
    return result


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


def _factors(call: Call, first: int) -> list[Tensor]:
    tensors = [call.tensor(position, "") for position in (first, first + 1)]
    return [tensor for tensor in tensors if tensor is not None]
