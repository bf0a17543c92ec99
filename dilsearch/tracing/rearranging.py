"""Operations that rearrange a tensor: layouts, shapes, parts, and what is written over them."""

from collections.abc import Sequence

from dilsearch.tracing.blocks import reshaped
from dilsearch.tracing.calls import Call
from dilsearch.tracing.moving import repeated_blocks, shifted, spatial_slice, widened
from dilsearch.tracing.values import NOWHERE, Value, concatenated, laid_out_alike, met
from dilsearch.tracing.walk import Walk


def same(walk: Walk, call: Call) -> Value:
    """Every element stays what it is."""
    return walk.alike(call, call.first) if call.first.shape != call.shape else call.first


def constant(walk: Walk, call: Call) -> Value:
    """A tensor made to the shape of another, of which it sees nothing."""
    return Value.at(-1, call.shape)


def complexity(walk: Walk, call: Call) -> Value:
    """Real and imaginary parts along a new dimension, each seeing what the number sees."""
    x = call.first
    return x.with_new(len(x.shape)).expanded(call.shape)


def copying(walk: Walk, call: Call) -> Value:
    """A tensor written over another, of which nothing is left."""
    source = call.value(1, "src")
    if source is None:
        return constant(walk, call)
    return met([source], call.shape, walk.uniting(call)) or walk.unfollowed(call)


def writing(walk: Walk, call: Call) -> Value:
    """A tensor written over some channels of another, or over some positions."""
    x, source = (call.value(place, name) for place, name in ((0, "self"), (1, "src")))
    dim = int(call.argument(2, "dim", 0)) % len(call.shape)
    size = call.shape[dim]
    if call.name == "select_scatter":
        start = int(call.argument(3, "index")) % size
        index = slice(start, start + 1)
        source = source and source.with_new(dim)
    else:
        given = slice(call.argument(3, "start"), call.argument(4, "end"))
        index = slice(*given.indices(size)[:2], int(call.argument(5, "step", 1)))
    shape = (*call.shape[:dim], len(range(*index.indices(size))), *call.shape[dim + 1 :])
    x, source = x or Value.at(NOWHERE, call.shape), source or Value.at(NOWHERE, shape)
    if not laid_out_alike([x, source], dim):
        return walk.unfollowed(call)
    if not (x.spatial(dim) or source.spatial(dim)):
        return x.written(source, dim, index)
    axis = source.axis_of(dim)
    if axis is None or index.step != 1:
        return walk.unfollowed(call)
    moved = shifted(walk, call, source, dim, axis, index.start)
    result = met([x, moved], call.shape, walk.uniting(call)) or walk.unfollowed(call)
    if not x.all_places:
        return result
    return walk.approximate(call, result, "what is written over is counted still")


def permutation(walk: Walk, call: Call) -> Value:
    """Dimensions in another order."""
    x = call.first
    rank = len(x.shape)
    if call.name == "permute":
        order = [int(dim) % rank for dim in call.argument(1, "dims")]
    elif call.name in ("t", "numpy_T", "mT", "adjoint"):
        order = list(range(rank))
        order[-2:] = reversed(order[-2:])
    elif call.name in ("moveaxis", "movedim"):
        return _moved_dims(call, x)
    else:
        order = list(range(rank))
        one, other = (int(call.argument(i, f"dim{i - 1}")) % rank for i in (1, 2))
        order[one], order[other] = order[other], order[one]
    return x.permuted(order)


def reshaping(walk: Walk, call: Call) -> Value:
    """The same elements in another shape; global, where that cuts through an axis of space."""
    result = reshaped(walk, call, call.first, call.shape)
    return walk.context(call) if result is None else result


def squeezing(walk: Walk, call: Call) -> Value:
    """Dimensions of size 1 put in or taken away."""
    result = call.first.reshaped(call.shape, walk.uniting(call))
    assert result is not None  # nothing is regrouped
    return result


def expanding(walk: Walk, call: Call) -> Value:
    """Broadcasting, and repeating what has size 1."""
    x = call.first
    lead = len(call.shape) - len(x.shape)
    sizes = list(zip(x.shape, call.shape[lead:], strict=True))
    if any(old not in (1, new) for old, new in sizes):
        return walk.unfollowed(call)
    order = walk.axes_behind(x, walk.axes) if len(x.shape) == walk.axes + 2 else None
    if order is None or walk.only_context(x):
        return x.expanded(call.shape)
    behind = zip(order, range(-walk.axes, 0), strict=True)
    axes = {dim + len(call.shape): axis for axis, dim in behind if x.shape[dim] != call.shape[dim]}
    wide = widened(walk, call, x, axes).expanded(call.shape)
    for dim, axis in axes.items():
        wide = wide.labelled(dim, axis)
    return wide


def concatenation(walk: Walk, call: Call) -> Value:
    """Tensors one behind the other, each channel keeping its own place; global along space."""
    dim = int(call.argument(1, "dim", 0)) % len(call.shape)
    parts = [_known(call, node) for node in call.argument(0, "tensors")]
    if call.name == "stack":
        parts = [part.with_new(dim) for part in parts]
    if not laid_out_alike(parts, dim):
        return walk.unfollowed(call)
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
            results.append(walk.unfollowed_part(call, shape))
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
    start = max(start + x.shape[dim], 0) if start < 0 else start
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
    merged = x.united(dims, walk.uniting(call))
    picked = walk.alike(call, merged)
    if merged.places.shape == x.places.shape:
        return picked
    return walk.approximate(call, picked, "it picks some channels, and all are counted")


def pixel_shuffle(walk: Walk, call: Call) -> Value:
    """Channels laid out as blocks of a finer map."""
    x, factor = call.first, int(call.argument(1, "upscale_factor"))
    *batch, channels, height, width = x.shape
    if 1 in (height, width):  # an axis of one position has no label to lay blocks along
        return repeated_blocks(walk, call, factor)
    fine = (*batch, channels // factor**2, factor, factor, height, width)
    return _rearranged(walk, call, fine, (0, 3, 1, 4, 2))


def pixel_unshuffle(walk: Walk, call: Call) -> Value:
    """Blocks of a map folded into channels."""
    x, factor = call.first, int(call.argument(1, "downscale_factor"))
    *batch, channels, height, width = x.shape
    blocks = (*batch, channels, height // factor, factor, width // factor, factor)
    return _rearranged(walk, call, blocks, (0, 2, 4, 1, 3))


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


def _rearranged(walk: Walk, call: Call, shape: Sequence[int], order: Sequence[int]) -> Value:
    """Reshaped, the last dimensions in another order, and reshaped to what the operation gives."""
    apart = reshaped(walk, call, call.first, shape)
    if apart is None:
        return walk.context(call)
    lead = len(shape) - len(order)
    turned = apart.permuted([*range(lead), *(lead + dim for dim in order)])
    result = reshaped(walk, call, turned, call.shape)
    return walk.context(call) if result is None else result


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
