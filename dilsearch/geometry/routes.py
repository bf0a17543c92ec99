"""One path through a field graph: the one with the largest field to a node, or the smallest."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from dilsearch.geometry.nodes import Join, Node, Part, Resample, Spans, Tables, Window, tables_of
from dilsearch.geometry.reads import Reads
from dilsearch.geometry.spans import Span


class Choice(Protocol):
    """``min`` or ``max``."""

    def __call__(self, ways: Iterable["Route"], /, *, key: Callable[["Route"], int]) -> "Route":
        """One of the paths."""


@dataclass(frozen=True, slots=True)
class Route:
    """A path from an input to a node.

    Args:
        nodes: Names of its nodes that read more than one position, or move the stride, in order.
        tables: What each of them reads per axis, in the branch that the path takes.
        before: What is seen in front of each of them along this path alone.
        spans: What is seen at its end along this path alone.
    """

    nodes: tuple[str, ...] = ()
    tables: tuple[tuple[Reads, ...], ...] = ()
    before: tuple[Spans, ...] = ()
    spans: Spans = ()

    @property
    def size_px(self) -> int:
        """Sum of the field's sides, by which paths are compared."""
        return sum(span.field.size_px for span in self.spans)


def routes(
    nodes: Sequence[Node],
    sizes: Callable[[str], Sequence[int | None]],
    axes: int,
    choose: Choice,
) -> dict[str, Route]:
    """The path that ``choose`` prefers, to every node.

    What follows a node widens all paths through it alike, so that the best path to a node is made
    of the best path to one of its sources.

    Args:
        nodes: In topological order, those without a field left out.
        sizes: Positions of a node's map per axis, as far as they are known.
        axes: Number of spatial axes.
        choose: ``min`` or ``max``.
    """
    best: dict[str, Route] = {}
    windows = {node.name: node for node in nodes if isinstance(node, Window)}
    rates = {name: window.rates for name, window in windows.items()}
    for node in nodes:
        match node:
            case Window() | Part() | Resample():
                tables = tables_of(node, windows, rates)
                before = best[node.source]
                ways = _ways(node, before, tables, sizes(node.name))
                best[node.name] = choose(ways, key=_size)
            case Join():
                best[node.name] = choose((best[name] for name in node.sources), key=_size)
            case _:
                best[node.name] = Route(spans=(Span(),) * axes)
    return best


def _ways(
    node: Window | Part | Resample, before: Route, tables: Tables, sizes: Sequence[int | None]
) -> list[Route]:
    """The path through each branch of a node."""
    name = node.window if isinstance(node, Part) else node.name
    ways = []
    for table in tables:
        spans = tuple(
            span.through(reads, size)
            for span, reads, size in zip(before.spans, table, sizes, strict=True)
        )
        moves = any(
            reads.period > 1 or reads.advance > 1 or len(reads.offsets[0]) > 1 for reads in table
        )
        if moves:
            way = Route(
                (*before.nodes, name),
                (*before.tables, table),
                (*before.before, before.spans),
                spans,
            )
        else:
            way = Route(before.nodes, before.tables, before.before, spans)
        ways.append(way)
    return ways


def _size(route: Route) -> int:
    return route.size_px
