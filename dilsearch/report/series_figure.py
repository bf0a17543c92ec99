"""The picture of a field along one axis: bars of path numbers over a strip with the holes."""

import math
from typing import Any, Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray

from dilsearch.report.field_parts import (
    blocks,
    legend,
    panel_title,
    position_mark,
    tick_paths,
    zoomed,
)
from dilsearch.report.style import BLUE, INK, LINES, ORANGE, clean, label, new_figure

_MOST_BARS: Final = 256
_STRIP: Final = 0.09
"""Height of the strip with the holes, as a share of the panel."""


def series_figure(
    seen: NDArray[np.bool_],
    counts: NDArray[np.float64] | None,
    origin_px: float,
    norm: LogNorm | None,
) -> Figure:
    """Path numbers pixel by pixel; of a long series, a part of 64 px is drawn again beneath.

    Args:
        seen: Whether each pixel is seen, (length,).
        counts: Paths from each pixel; None draws all seen pixels alike.
        origin_px: Input pixel of ``seen[0]``, counted from the position's own.
        norm: The scale of ``counts``.
    """
    size = math.ceil(len(seen) / _MOST_BARS)
    large = size > 1
    figure = new_figure(4.2 if large else 2.7)
    grid = figure.subplots(2 if large else 1, 1, squeeze=False)[:, 0]
    _draw(grid[0], seen, counts, origin_px, norm, size)
    if large:
        (part,), name = zoomed(seen, [origin_px])
        cut = None if counts is None else counts[part]
        _draw(grid[1], seen[part], cut, origin_px + part.start, norm, 1)
        edges = (origin_px + part.start - 0.5, origin_px + part.stop - 0.5)
        grid[0].axvspan(*edges, color=LINES, zorder=0)
        panel_title(grid[0], "whole field; in grey, the part below")
        panel_title(grid[1], name)
    label(grid[-1], "input pixel, counted from the output position", "")
    if counts is not None:
        figure.supylabel("paths, relative", fontsize=9, color=INK)
    handles: list[Any] = [position_mark(), Patch(fc=BLUE, label="seen")]
    if not seen.all():
        handles.append(Patch(fc=ORANGE, label="not seen"))
    if large:
        handles.append(Patch(fc="none", ec="none", label=f"one bar above: {size} px"))
    legend(figure, handles)
    return figure


def _draw(
    axes: Axes,
    seen: NDArray[np.bool_],
    counts: NDArray[np.float64] | None,
    origin_px: float,
    norm: LogNorm | None,
    size: int,
) -> None:
    """A bar for the mean number of paths of each ``size`` pixels, and a tick below for a hole."""
    clean(axes)
    axes.grid(visible=False, axis="x")
    inside, some = blocks(np.ones_like(seen), size), blocks(seen, size)
    edges = origin_px - 0.5 + size * np.arange(len(some))
    if counts is None or norm is None:
        heights, floor = np.ones(len(some)), 0.0
        axes.set_ylim(-1.1 * _STRIP / (1 - _STRIP), 1.0)
        axes.set_yticks([])
    else:
        least, most = float(norm.vmin or 1), float(norm.vmax or 1)
        mean = blocks(np.where(seen, counts, 0), size) / np.maximum(some, 1)
        heights = np.maximum(mean, least)
        # The bar of the rarest pixel has to rise above the strip, whatever the span.
        floor, top = least / (most / least) ** 0.06, most * (most / least) ** 0.04
        axes.set_yscale("log")
        tick_paths(axes.yaxis, norm)
        axes.set_ylim(floor / (top / floor) ** (1.1 * _STRIP / (1 - 1.1 * _STRIP)), top)
    shown = some > 0
    axes.bar(
        edges[shown] + size / 2,
        heights[shown] - floor,
        width=size * (0.8 if size == 1 else 1),
        bottom=floor,
        color=BLUE,
        lw=0,
    )
    axes.broken_barh(
        [(float(start), size) for start in edges[some < inside]],
        (0, _STRIP),
        transform=axes.get_xaxis_transform(),
        color=ORANGE,
        lw=0,
    )
    axes.set_xlim(edges[0], edges[0] + len(seen))
    if edges[0] <= 0 <= edges[0] + len(seen):
        mark = position_mark()
        mark.set_data([0], [_STRIP / 2])
        mark.set_transform(axes.get_xaxis_transform())
        mark.set_clip_on(False)
        mark.set_zorder(5)
        axes.add_line(mark)
