"""Fields as real numbers of pixels, and how they grow with each rate.

``FieldGraph.propagate`` counts a fractional rate as the integer above it, which is what bilinear
sampling touches. A penalty needs the size between, which grows evenly with the rate.
"""

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from dilsearch.geometry.graph import FieldGraph
from dilsearch.geometry.nodes import Join, Node, Part, Resample, Window
from dilsearch.geometry.table import FieldTable
from dilsearch.plan import DilationPlan

Slopes: TypeAlias = dict[tuple[str, int], float]


@dataclass(frozen=True, slots=True)
class RealField:
    """The field behind a node at real-valued rates, along one axis.

    Args:
        size_px: Its size, with every rate counted as it is.
        stride_px: Input pixels between the fields of neighbouring positions, their mean behind
            resampling.
        slopes_px: Site and branch or channel to the pixels that the field gains for each unit of
            that rate: taps - 1 strides for the largest rate of a site on the longest path. Rates
            that are not listed move nothing.
    """

    size_px: float
    stride_px: float
    slopes_px: Slopes


def real_fields(
    graph: FieldGraph, plan: DilationPlan, at: Collection[str]
) -> dict[str, tuple[RealField, ...]]:
    """The fields behind several nodes, one per axis.

    A field is that of the longest path with the rates as they are. The longest path is that of
    the rates rounded up; at a tie of paths or of rates, the first counts.

    Args:
        graph: The network's field graph; windows outside the plan keep their rates.
        plan: The rates.
        at: Names of the nodes.

    Raises:
        PlanError: If the plan does not fit the graph; names the sites.
        GeometryError: If there is no such node, or it has no field.
    """
    graph = graph.in_form_of(plan)
    table = graph.propagate(plan)
    sizes = {name: table.at(name) for name in at}
    paths = [_paths(graph, plan, table, axis) for axis in range(graph.axes)]
    return {
        name: tuple(
            RealField(
                side.size_px - path[name].excess_px, float(side.stride_px), path[name].slopes_px
            )
            for side, path in zip(sides, paths, strict=True)
        )
        for name, sides in sizes.items()
    }


@dataclass(frozen=True, slots=True)
class _Path:
    """What the sites on the longest path to a node add to its field.

    Args:
        excess_px: What rounding the rates up adds, all in all.
        slopes_px: As in ``RealField``.
    """

    excess_px: float = 0.0
    slopes_px: Slopes = field(default_factory=dict)

    def through(self, site: tuple[str, int], rate: float, slope_px: float) -> "_Path":
        """The path behind one more site."""
        excess_px = self.excess_px + (math.ceil(rate) - rate) * slope_px
        return _Path(excess_px, {**self.slopes_px, site: slope_px})


def _paths(graph: FieldGraph, plan: DilationPlan, table: FieldTable, axis: int) -> dict[str, _Path]:
    """The longest path along one axis to every node that has a field."""
    paths: dict[str, _Path] = {}
    for name in table.spans:
        paths[name] = _path(graph.node(name), graph, plan, table, axis, paths)
    return paths


def _path(
    node: Node,
    graph: FieldGraph,
    plan: DilationPlan,
    table: FieldTable,
    axis: int,
    paths: Mapping[str, _Path],
) -> _Path:
    match node:
        case Join(sources=sources):
            longest = max(
                (source for source in sources if source in paths),
                key=lambda source: table.spans[source][axis].largest_px,
            )
            return paths[longest]
        case Window() | Part():
            name = node.window if isinstance(node, Part) else node.name
            window = graph.node(name)
            assert isinstance(window, Window)
            before = paths[node.source]
            if name not in plan or window.taps[axis] == 1:
                return before
            row, rate = _largest(plan, name, axis, node.branch if isinstance(node, Part) else None)
            stride_px = float(table.spans[node.source][axis].stride_px)
            return before.through((name, row), rate, (window.taps[axis] - 1) * stride_px)
        case Resample():
            return paths[node.source]
        case _:
            return _Path()


def _largest(plan: DilationPlan, site: str, axis: int, branch: int | None) -> tuple[int, float]:
    """Row and value of the largest rate along one axis, or those of one branch."""
    rates = plan.sites[site]
    column = rates.rates[axis % rates.axes :: rates.axes]
    row = max(range(len(column)), key=column.__getitem__) if branch is None else branch
    return row, column[row]
