"""Operations that move the field: convolution, pooling, interpolation, padding and slices."""

from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

from dilsearch.errors import TraceError
from dilsearch.geometry import Reads, Resample, Window
from dilsearch.geometry.nodes import Edge
from dilsearch.tracing.builder import Layer
from dilsearch.tracing.calls import Call, per_axis
from dilsearch.tracing.costs import macs_of
from dilsearch.tracing.values import NOWHERE, Value
from dilsearch.tracing.walk import Walk

_EDGES: dict[str, Edge] = {
    "constant": "zeros",
    "reflect": "reflect",
    "replicate": "replicate",
    "circular": "circular",
}


def convolution(walk: Walk, call: Call) -> Value:
    """Every convolution, transposed ones included, as a module or a function."""
    weight, x = call.tensor(1, "weight"), call.value(0, "input")
    if weight is None or x is None or call.value(1, "weight") is not None:
        return walk.unfollowed(call)
    axes = weight.dim() - 2
    if len(x.shape) == axes + 1:
        raise TraceError(
            f"{call.where} is given a map of shape {x.shape} without a batch; give inputs of shape "
            f"(batch, channels, ...), such as {(1, *x.shape)}"
        )
    order = walk.axes_behind(x, axes)
    if order is None:
        return walk.unfollowed(call)
    transposed, settings = _settings(call, axes)
    stride, padding, dilation, groups = settings
    taps = tuple(int(size) for size in weight.shape[2:])
    module = walk.module_of(call)
    name = walk.builder.name(module or call.label)
    channels = x.shape[-axes - 1]
    walk.builder.layers[name] = Layer(
        kind=walk.kind_of(call, module),
        module=module,
        taps=walk.spread(order, taps, 1),
        rates=(walk.spread(order, dilation, 1),),
        stride=walk.spread(order, stride, 1),
        groups=groups,
        in_channels=channels,
        out_channels=call.shape[-axes - 1],
        transposed=transposed,
        parameters=walk.parameters_of(call),
        macs=macs_of(call),
    )
    if walk.only_context(x):
        return Value.at(walk.builder.unite(x.all_places, call.label), call.shape)
    places = _places_by_group(walk, call, x, axes, groups)
    distinct = list(dict.fromkeys(places))
    each = call.shape[-axes - 1] // groups
    if transposed:
        table = [
            Reads.transposed(k, rate=d, stride=s, padding=p)
            for k, d, s, p in zip(taps, dilation, stride, padding, strict=True)
        ]
        behind = {
            one: _resample(walk, call, one, order, table, name=f"{name}[{i}]" if i else name)
            for i, one in enumerate(distinct)
        }
        return walk.mapped(call, x, order, [behind[one] for one in places for _ in range(each)])
    anchor = [(k - 1) // 2 * d - p for k, d, p in zip(taps, dilation, padding, strict=True)]
    source = walk.builder.unite(places, f"{name}.input")
    place = _window(
        walk, call, source, order, (taps, stride, anchor, dilation), name=name, module=module
    )
    if len(distinct) == 1:
        return walk.mapped(call, x, order, [place])
    if place == source:  # one tap: every group stays where it is
        return walk.mapped(call, x, order, [one for one in places for _ in range(each)])
    parts = {one: walk.builder.part(place, one, None, f"[{i}]") for i, one in enumerate(distinct)}
    return walk.mapped(call, x, order, [parts[one] for one in places for _ in range(each)])


def pooling(walk: Walk, call: Call) -> Value:
    """Max, average and power-average pooling over windows."""
    x, axes = call.first, int(call.name.split("pool")[1][0])
    order = walk.axes_behind(x, axes)
    if order is None:
        return walk.unfollowed(call)
    taps = per_axis(call.argument(1, "kernel_size"), axes)
    stride = per_axis(call.argument(2, "stride") or taps, axes)
    padding = per_axis(call.argument(3, "padding", 0), axes)
    dilation = per_axis(call.argument(4, "dilation", 1) if "max" in call.name else 1, axes)
    before, after = x.shape[-axes:], call.shape[-axes:]
    if set(after) == {1} != set(before) and all(k >= n for k, n in zip(taps, before, strict=True)):
        return walk.context(call)  # one window holds the whole map
    anchor = [(k - 1) // 2 * d - p for k, d, p in zip(taps, dilation, padding, strict=True)]
    return _moved(walk, call, x, order, (taps, stride, anchor, dilation))


def adaptive_pooling(walk: Walk, call: Call) -> Value:
    """Adaptive pooling: to one position it is global, else bins of a few sizes."""
    x = call.first
    axes = int(call.name.split("pool")[1][0])
    order = walk.axes_behind(x, axes)
    if order is None:
        return walk.unfollowed(call)
    before, after = x.shape[-axes:], call.shape[-axes:]
    if set(after) == {1} and set(before) != {1}:
        return walk.context(call)
    table = [Reads.adaptive(n, m) for n, m in zip(before, after, strict=True)]
    return _resampled(walk, call, x, order, table)


def interpolation(walk: Walk, call: Call) -> Value:
    """Nearest, linear and cubic interpolation to any size."""
    x, axes = call.first, len(call.shape) - 2
    order = walk.axes_behind(x, axes)
    kind = call.name.removeprefix("_").removeprefix("upsample_").rstrip("123d").rstrip("_")
    if order is None or kind.endswith("aa"):
        return walk.unfollowed(call)
    before, after = x.shape[-axes:], call.shape[-axes:]
    aligned = not kind.startswith("nearest") and bool(call.argument(2, "align_corners", False))
    scales = _scales(call, before, after, aligned)
    make: Callable[[Fraction], Reads]
    if kind.startswith("nearest"):
        exact = kind.endswith("exact")
        make = lambda scale: Reads.nearest(scale, centred=exact)  # noqa: E731
    elif kind == "bicubic":
        make = lambda scale: Reads.cubic(scale, align_corners=aligned)  # noqa: E731
    else:
        make = lambda scale: Reads.linear(scale, align_corners=aligned)  # noqa: E731
    return _resampled(walk, call, x, order, [make(scale) for scale in scales], "replicate")


def padding(walk: Walk, call: Call) -> Value:
    """Padding with zeros or with parts of the map, and cropping by negative amounts."""
    x, amounts = call.first, [int(amount) for amount in call.argument(1, "pad")]
    rank, padded = len(x.shape), len(amounts) // 2
    before = {rank - 1 - index: amounts[2 * index] for index in range(padded)}
    changed = [dim for dim in before if x.shape[dim] != call.shape[dim] or before[dim]]
    mode = _pad_mode(call)
    if mode not in _EDGES or any(x.axis_of(dim) is None and x.shape[dim] > 1 for dim in changed):
        return walk.unfollowed(call)
    order = walk.axes_behind(x, rank - 2)
    if order is None or any(dim < 2 for dim in changed):
        return walk.unfollowed(call)
    anchor = [-before.get(dim, 0) for dim in range(2, rank)]
    ones = (1,) * (rank - 2)
    return _moved(walk, call, x, order, (ones, ones, anchor, ones), edge=_EDGES[mode])


def spatial_slice(walk: Walk, call: Call, dim: int, start: int, step: int) -> Value:
    """A regular part of an axis of space: a window of one tap."""
    x = call.first
    axis = x.axis_of(dim)
    if axis is None:
        return walk.unfollowed(call)
    return _moved(walk, call, x, [axis], ((1,), (step,), (start,), (1,)), dims=[dim])


def shifted(walk: Walk, call: Call, x: Value, dim: int, axis: int, by: int) -> Value:
    """A tensor at its place in a larger one, with nothing around it."""
    return _moved(walk, call, x, [axis], ((1,), (1,), (-by,), (1,)), dims=[dim])


def narrowed(walk: Walk, call: Call, x: Value, dims: Sequence[int]) -> Value:
    """Some axes of space pooled to one position, which sees the whole of them."""
    for dim in dims:
        axis, length = x.axis_of(dim), x.shape[dim]
        assert axis is not None
        table = [Reads.adaptive(length, 1)]

        def behind(place: int, axis: int = axis, table: Sequence[Reads] = tuple(table)) -> int:
            name = walk.builder.name(call.label)
            return _resample(walk, call, place, [axis], table, name=name, length=1)

        x = x.replaced({place: behind(place) for place in x.all_places}).resized(dim, 1)
    return x


def widened(walk: Walk, call: Call, x: Value, axes: dict[int, int]) -> Value:
    """One row or column repeated along an axis of space; ``axes`` of the dimensions of size 1."""
    for dim, axis in axes.items():
        size = call.shape[dim]

        def behind(place: int, dim: int = dim, axis: int = axis, size: int = size) -> int:
            before = walk.builder.sizes.get(walk.builder.nodes[place].name)
            if before is None or before[axis] != 1 or walk.only_context_at(place):
                return place
            table, name = [Reads.nearest(Fraction(1, size))], walk.builder.name(call.label)
            return _resample(walk, call, place, [axis], table, name=name, dims=[dim])

        if not walk.only_context(x):
            x = x.replaced({place: behind(place) for place in x.all_places})
    return x


def repeating(walk: Walk, call: Call) -> Value:
    """Every position of an axis, or every channel, several times in a row."""
    x, times, dim = call.first, call.option("repeats"), call.option("dim")
    if not isinstance(times, int) or dim is None:
        return walk.unfollowed(call)
    dim = int(dim) % len(x.shape)
    axis = x.axis_of(dim)
    if axis is not None:
        table = [Reads.nearest(Fraction(1, times))]
        return _resampled(walk, call, x, [axis], table, dims=[dim])
    if x.spatial(dim):
        return walk.unfollowed(call)
    repeats = times if x.places.shape[dim] > 1 else 1
    places = x.places.repeat(repeats, axis=dim)
    return Value(call.shape, x.resized(dim, call.shape[dim]).dims, places)


def repeated_blocks(walk: Walk, call: Call, factor: int) -> Value:
    """Every position of the plane as a block of positions that all see alike."""
    order = walk.axes_behind(call.first, 2)
    if order is None:
        return walk.unfollowed(call)
    merged = call.first.united([len(call.shape) - 3], walk.uniting(call))
    result = _resampled(walk, call, merged, order, [Reads.nearest(Fraction(1, factor))] * 2)
    if merged.places.shape == call.first.places.shape:
        return result
    return walk.approximate(call, result, "channels of unlike fields are taken together")


Geometry = tuple[Sequence[int], Sequence[int], Sequence[int], Sequence[int]]
"""Taps, stride, anchor and dilation of a window, per axis."""


def _settings(
    call: Call, axes: int
) -> tuple[bool, tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...], int]]:
    """Whether it is transposed; stride, padding, dilation and groups."""
    weight = call.tensor(1, "weight")
    assert weight is not None
    stride = per_axis(call.argument(3, "stride", 1), axes)
    given: Any = call.argument(4, "padding", 0)
    if call.name == "convolution":
        transposed = bool(call.argument(6, "transposed"))
        dilation, groups = call.argument(5, "dilation"), call.argument(8, "groups")
    elif call.name.startswith("conv_transpose"):
        transposed = True
        dilation, groups = call.argument(7, "dilation", 1), call.argument(6, "groups", 1)
    else:
        transposed = False
        dilation, groups = call.argument(5, "dilation", 1), call.argument(6, "groups", 1)
    rates = per_axis(dilation, axes)
    if isinstance(given, str):
        reach = [(int(k) - 1) * d for k, d in zip(weight.shape[2:], rates, strict=True)]
        given = [r // 2 if given == "same" else 0 for r in reach]
    return transposed, (stride, per_axis(given, axes), rates, int(groups))


def _scales(
    call: Call, before: Sequence[int], after: Sequence[int], aligned: bool
) -> list[Fraction]:
    """Positions of the source to one of the result, per axis."""
    given = (*call.node.args, *call.node.kwargs.values())
    factors: Any = next((a for a in given if isinstance(a, list | tuple) and _floats(a)), None)
    scales = []
    for axis, (n, m) in enumerate(zip(before, after, strict=True)):
        if aligned:
            scales.append(Fraction(n - 1, m - 1) if m > 1 and n > 1 else Fraction(1))
        elif factors:  # torch goes by the factor that was given, not by the sizes that came of it
            scales.append(1 / Fraction(factors[axis]).limit_denominator(10_000))
        else:
            scales.append(Fraction(n, m))
    return scales


def _floats(values: Sequence[Any]) -> bool:
    return bool(values) and all(isinstance(value, float) for value in values)


def _pad_mode(call: Call) -> str:
    for mode in ("reflect", "replicat"):
        if call.name.startswith(mode):
            return "replicate" if mode == "replicat" else mode
    return str(call.argument(2, "mode", "constant")) if call.name == "pad" else "constant"


def _places_by_group(walk: Walk, call: Call, x: Value, axes: int, groups: int) -> list[int]:
    """Where each channel group reads."""
    dim = len(x.shape) - axes - 1
    channels = x.united([d for d in range(len(x.shape)) if d != dim], walk.uniting(call)).places
    places = channels.reshape(-1).tolist()
    if len(places) == 1:
        return places * groups
    each = len(places) // groups
    return [
        walk.builder.unite(places[first : first + each], f"{call.label}.input")
        for first in range(0, len(places), each)
    ]


def _moved(
    walk: Walk,
    call: Call,
    x: Value,
    order: Sequence[int],
    geometry: Geometry,
    *,
    edge: Edge = "zeros",
    dims: Sequence[int] | None = None,
) -> Value:
    """Each of the tensor's places behind the same window."""

    def behind(place: int) -> int:
        return _window(walk, call, place, order, geometry, edge=edge, dims=dims)

    return walk.each_place(call, x, order, behind, dims)


def _window(
    walk: Walk,
    call: Call,
    source: int,
    order: Sequence[int],
    geometry: Geometry,
    *,
    name: str = "",
    module: str = "",
    edge: Edge = "zeros",
    dims: Sequence[int] | None = None,
) -> int:
    """The place behind a window; the source itself where it changes nothing."""
    if source == NOWHERE or walk.only_context_at(source):
        return source
    taps, stride, anchor, rates = geometry
    size = walk.map_size(call, source, order, dims)
    before = walk.builder.sizes.get(walk.builder.nodes[source].name)
    if set(taps) == {1} and set(stride) == {1} and not any(anchor) and size == before:
        return source
    window = Window(
        name=name or walk.builder.name(call.label),
        source=walk.builder.nodes[source].name,
        taps=walk.spread(order, taps, 1),
        stride=walk.spread(order, stride, 1),
        anchor=walk.spread(order, anchor, 0),
        rates=(walk.spread(order, rates, 1),),
        site=bool(module) and max(taps) > 1 and call.name != "pad",
        module=module,
        edge=edge,
    )
    return walk.builder.add(window, size)


def _resampled(
    walk: Walk,
    call: Call,
    x: Value,
    order: Sequence[int],
    table: Sequence[Reads],
    edge: Edge = "zeros",
    dims: Sequence[int] | None = None,
) -> Value:
    """Each of the tensor's places read by the same table."""
    one = Reads.window(1)
    if all(reads == one for reads in table):
        return walk.alike(call, x)

    def behind(place: int) -> int:
        name = walk.builder.name(call.label)
        return _resample(walk, call, place, order, table, name=name, edge=edge, dims=dims)

    return walk.each_place(call, x, order, behind, dims)


def _resample(
    walk: Walk,
    call: Call,
    source: int,
    order: Sequence[int],
    table: Sequence[Reads],
    *,
    name: str,
    edge: Edge = "zeros",
    dims: Sequence[int] | None = None,
    length: int | None = None,
) -> int:
    """The place behind a table of reads; ``length`` is that of the axis, if no dimension tells."""
    if source == NOWHERE or walk.only_context_at(source):
        return source
    full = [Reads.window(1)] * walk.axes
    for axis, reads in zip(order, table, strict=True):
        full[axis] = reads
    node = Resample(name, walk.builder.nodes[source].name, tuple(full), edge)
    if length is None:
        return walk.builder.add(node, walk.map_size(call, source, order, dims))
    size = list(walk.builder.sizes[walk.builder.nodes[source].name])
    size[order[0]] = length
    return walk.builder.add(node, size)
