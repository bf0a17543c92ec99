"""What is seen behind every node, with rates that may be chosen on the way."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, TypeAlias

from dilsearch.errors import GeometryError
from dilsearch.geometry.nodes import Join, Node, Part, Rates, Resample, Spans, Window
from dilsearch.geometry.reads import Reads
from dilsearch.geometry.spans import Span

Choose: TypeAlias = Callable[[Window, Spans], Rates]
"""Given a site and what is seen in front of it, its rates."""

Along: TypeAlias = tuple[tuple[Reads, ...], ...]
"""What is read along each axis, in every branch that differs."""

_HERE = ((Reads.window(1),),)

Sizes: TypeAlias = Callable[[str], Sequence[int | None]]
"""Positions of a node's map per axis, as far as they are known."""


def reads_of(windows: Iterable[Window], sizes: Sizes) -> dict[str, Along | None]:
    """What windows read at their own rates, for ``fold``; None where they hand on what they see."""
    reads: dict[str, Along | None] = {}
    for window in windows:
        along = window.along(window.rates)
        alike = sizes(window.name) == sizes(window.source)
        reads[window.name] = None if alike and along == _HERE * len(along) else along
    return reads


def fold(
    nodes: Sequence[Node],
    reads: Mapping[str, Along | None],
    sizes: Sizes,
    axes: int,
    sites: Collection[str],
    choose: Choose,
) -> dict[str, Spans]:
    """What is seen by node.

    Args:
        nodes: In topological order, those without a field left out.
        reads: What windows read at their own rates, from ``reads_of``.
        sizes: Positions of the maps.
        axes: Number of spatial axes.
        sites: Where to choose; other windows keep their own rates.
        choose: Called in topological order, so that what is seen follows from the rates chosen
            before.

    Raises:
        GeometryError: If strides do not fit; names the node.
    """
    spans: dict[str, Spans] = {}
    rates: dict[str, Rates] = {}
    windows: dict[str, Window] = {}

    def behind(node: Window | Part | Resample, along: Along) -> Spans:
        axes = zip(spans[node.source], along, sizes(node.name), strict=True)
        return _by_axis(node, Span.behind, axes)

    for node in nodes:
        match node:
            case Window(name=name):
                windows[name], rates[name], along = node, node.rates, reads[name]
                if node.site and name in sites:
                    rates[name] = choose(node, spans[node.source])
                    along = node.along(rates[name])
                spans[name] = spans[node.source] if along is None else behind(node, along)
            case Part(branch=branch):
                some = rates[node.window]
                along = windows[node.window].along(some if branch is None else (some[branch],))
                spans[node.name] = behind(node, along)
            case Resample():
                spans[node.name] = behind(node, tuple((table,) for table in node.table))
            case Join(sources=[source]):
                spans[node.name] = spans[source]
            case Join():
                operands = zip(*(spans[name] for name in node.sources), strict=True)
                meeting = zip(operands, sizes(node.name), strict=True)
                spans[node.name] = _by_axis(node, Span.join, meeting)
            case _:
                spans[node.name] = (Span(),) * axes
    return spans


def up_to(nodes: Sequence[Node], names: Collection[str]) -> Sequence[Node]:
    """The nodes up to the last of these, all in front of any of them among them."""
    last = next((i for i in reversed(range(len(nodes))) if nodes[i].name in names), -1)
    return nodes[: last + 1]


def _by_axis(node: Node, span: Callable[..., Span], axes: Iterable[tuple[Any, ...]]) -> Spans:
    """One span per axis; axes that are alike, as in square networks, cost one."""
    spans: list[Span] = []
    before: tuple[Any, ...] = ()
    try:
        for arguments in axes:
            spans.append(spans[-1] if arguments == before else span(*arguments))
            before = arguments
    except GeometryError as error:
        raise GeometryError(f"node '{node.name}': {error}") from None
    return tuple(spans)
