"""From an analysis to the figures of the report: what to draw, and where it lies."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from dilsearch.analysis.frames import growth_frame, sites_frame
from dilsearch.analysis.result import Analysis
from dilsearch.geometry import Coverage, PathCounts
from dilsearch.report.field_figures import (
    bounds_figure,
    coverage_figure,
    effective_figure,
    growth_figure,
)


def coverage_picture(analysis: Analysis, at: str | None) -> Figure:
    """Which pixels the middle position of a node sees, and by how many paths.

    Raises:
        GeometryError: If there is no such node, or it has no field.
    """
    node = analysis.node(at)
    seen = analysis.graph.seen_by(node, analysis.graph.middle(node))
    own = _own_pixel(analysis, node)
    return coverage_figure(
        seen.to_array(),
        _inside(analysis.paths(at), seen),
        origin_px=[first - pixel for first, pixel in zip(seen.origin_px, own, strict=True)],
        title=f"Pixels that one position of '{at or analysis.outputs[0].name}' sees",
        image_px=analysis.input_px,
    )


def growth_picture(analysis: Analysis) -> Figure:
    """Field by depth on the largest path of the first output.

    Raises:
        GeometryError: If the first output has no field.
    """
    return growth_figure(growth_frame(analysis), needed_px=analysis.needed_px)


def bounds_picture(analysis: Analysis) -> Figure:
    """Rates against bounds, site by site."""
    return bounds_figure(sites_frame(analysis))


def effective_picture(
    analysis: Analysis, magnitude: NDArray[np.float64], image: NDArray[np.uint8] | None
) -> Figure:
    """The gradient of the middle position of the first output, beside the box of its field."""
    first = analysis.outputs[0]
    if first.field_px is None:
        return effective_figure(magnitude, image=image)
    seen = analysis.graph.seen_by(first.node, analysis.graph.middle(first.node))
    box = zip(seen.origin_px, seen.size_px, strict=True)
    return effective_figure(
        magnitude,
        image=image,
        field_box_px=[(start, start + size) for start, size in box],
        position=_own_pixel(analysis, first.node),
    )


def _own_pixel(analysis: Analysis, node: str) -> Sequence[int]:
    """The input pixel that the middle position of a map lies on."""
    size = analysis.graph.sizes.get(node, analysis.input_px)
    return [
        min(int((length // 2 + 0.5) * pixels / length), pixels - 1)
        for length, pixels in zip(size, analysis.input_px, strict=True)
    ]


def _inside(paths: PathCounts, seen: Coverage) -> NDArray[np.float64]:
    """The counts inside the box of what is seen; the box of the paths may be another."""
    counts = np.zeros(seen.size_px)
    here, there = [], []
    for start, extent, first, size in zip(
        paths.origin_px, paths.counts.shape, seen.origin_px, seen.size_px, strict=True
    ):
        low, high = max(start, first), min(start + extent, first + size)
        here.append(slice(low - first, high - first))
        there.append(slice(low - start, high - start))
    counts[tuple(here)] = paths.counts[tuple(there)]
    return counts
