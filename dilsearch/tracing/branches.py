"""A convolution with a rate for each branch: one site, although it splits and joins inside."""

from dataclasses import dataclass
from math import prod

from dilsearch.geometry import Window
from dilsearch.layers import BranchConv2d
from dilsearch.tracing.builder import Layer
from dilsearch.tracing.calls import Call
from dilsearch.tracing.values import Value
from dilsearch.tracing.walk import Walk

_PREPARING = frozenset({"chunk", "constant_pad_nd", "pad", "slice", "split"})
"""What such a convolution does with its input before it convolves."""


@dataclass
class Progress:
    """How far one call of such a convolution has been followed.

    Args:
        source: The place of its whole input.
        window: The place of its window, once a branch has been convolved.
        convolved: Branches that have been.
    """

    source: int
    window: int | None = None
    convolved: int = 0


def branched_site(walk: Walk, call: Call) -> Value | list[Value] | None:
    """What an operation inside such a convolution gives; None if it is handled like any other.

    Padding moves nothing here, because the window's anchor holds it, and a convolution is the
    part of the window that is its branch. Splitting and joining are as everywhere.
    """
    path = next((p for p in reversed(call.paths) if p in walk.convolutions), None)
    conv = walk.convolutions[path] if path is not None else None
    if path is None or not isinstance(conv, BranchConv2d) or walk.only_context(call.first):
        return None
    branches = len(conv.rates) if len(set(conv.rates)) > 1 else 1
    convolves = call.name.startswith("conv")
    progress = walk.progress.get(path)
    if progress is None or (
        progress.convolved == branches and (convolves or call.name in _PREPARING)
    ):
        source = walk.builder.unite(call.first.all_places, f"{path}.input")
        progress = walk.progress[path] = Progress(source)
    if not convolves:
        kept = call.name in _PREPARING and call.first.shape[1] == _channels(call)
        return walk.alike(call, call.first) if kept else None
    if progress.window is None:
        progress.window = _window(walk, call, path, conv, progress.source)
    place = progress.window
    if branches > 1:
        source = walk.builder.unite(call.first.all_places, f"{path}.input")
        place = walk.builder.part(
            progress.window, source, progress.convolved, f"[{progress.convolved}]"
        )
    progress.convolved += 1
    return walk.mapped(call, call.first, [0, 1], [place])


def _channels(call: Call) -> int:
    """Channels of what a padding or crop gives; 0 for a list of parts."""
    return 0 if isinstance(call.result, list | tuple) else call.shape[1]


def _window(walk: Walk, call: Call, path: str, conv: BranchConv2d, source: int) -> int:
    name = walk.builder.name(path)
    size = call.shape[-2:]
    grid = conv.grid
    rates = tuple((rate, rate) for rate in conv.rates)
    walk.builder.layers[name] = Layer(
        kind=type(conv).__name__,
        module=path,
        taps=conv.kernel_size,
        rates=rates,
        stride=conv.stride,
        groups=conv.groups,
        in_channels=conv.in_channels,
        out_channels=conv.out_channels,
        transposed=False,
        parameters=sum(parameter.numel() for parameter in conv.parameters()),
        macs=call.shape[0] * prod(size) * prod(conv.weight.shape),
    )
    window = Window(
        name=name,
        source=walk.builder.nodes[source].name,
        taps=conv.kernel_size,
        stride=conv.stride,
        anchor=tuple(
            (k - 1) // 2 * d - p
            for k, d, (p, _) in zip(grid.kernel_size, grid.dilation, grid.padding, strict=True)
        ),
        rates=rates,
        site=True,
        module=path,
    )
    return walk.builder.add(window, size)
