"""The field as a real number of pixels, and how it grows with each rate.

``FieldGraph.propagate`` counts a fractional rate as the integer above it, which is what bilinear
sampling touches. A penalty needs the size between, which grows evenly with the rate.
"""

import math
from dataclasses import dataclass
from typing import TypeAlias

from dilsearch.geometry.field import Field
from dilsearch.geometry.graph import FieldGraph
from dilsearch.geometry.nodes import GlobalContext, Join, Part, Source, Window
from dilsearch.geometry.table import FieldTable
from dilsearch.plan import DilationPlan

Slopes: TypeAlias = dict[tuple[str, int], float]


@dataclass(frozen=True, slots=True)
class RealField:
    """A network's field at real-valued rates, along its larger side.

    Args:
        size_px: Its size, with every rate counted as it is.
        slopes_px: Site and branch to the pixels that the field gains for each unit of that rate:
            taps - 1 strides for the largest rate of a site on the longest path. Rates that are not
            listed move nothing.
    """

    size_px: float
    slopes_px: Slopes


def real_field(graph: FieldGraph, plan: DilationPlan) -> RealField:
    """The field behind a plan's last site, and its slopes.

    The longest path is that of the rates rounded up; at a tie of paths, the first counts.

    Raises:
        PlanError: If the plan does not fit the graph; names the site.
    """
    table = graph.propagate(plan)
    assert table.last_site is not None  # a plan has at least one site
    sides = table.at(table.last_site)
    axis = max(range(len(sides)), key=lambda a: sides[a].size_px)
    slopes: Slopes = {}
    size_px = float(sides[axis].size_px)
    for window, branch, before in _longest_path(graph, table, axis):
        if window.name in plan:
            rates = plan[window.name]
            if branch is None or len(rates) != len(window.rates):
                branch = max(range(len(rates)), key=lambda b: rates[b])
            slope = (window.taps[axis] - 1) * float(before.stride_px)
            slopes[window.name, branch] = slope
            size_px -= (math.ceil(rates[branch]) - rates[branch]) * slope
    return RealField(size_px, slopes)


def _longest_path(
    graph: FieldGraph, table: FieldTable, axis: int
) -> list[tuple[Window, int | None, Field]]:
    """Windows on the longest path to the last site, each with its branch and the field in front.

    The branch is None where all of them are on the path.
    """
    nodes = {node.name: node for node in graph.nodes}
    windows = {node.name: node for node in graph.nodes if isinstance(node, Window)}
    path: list[tuple[Window, int | None, Field]] = []
    name = table.last_site
    while name is not None:
        match nodes[name]:
            case Window() as window:
                path.append((window, None, table.at(window.source)[axis]))
                name = window.source
            case Part() as part:
                path.append((windows[part.window], part.branch, table.at(part.source)[axis]))
                name = part.source
            case Join(sources=sources):
                fielded = [source for source in sources if source in table.spans]
                name = max(fielded, key=lambda source: table.at(source)[axis].size_px)
            case Source():
                name = None
            case GlobalContext(source=source):  # nothing behind it has a field
                name = source
            case node:
                name = node.source
    return path
