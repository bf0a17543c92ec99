"""The picture of a field: which input pixels one output position sees, and by how many paths.

Pixels that are not seen are a light orange, and no other colour is as light, so that holes also
stand out in grey. A field too large for one dot per pixel is drawn in squares of several pixels; a
square with a hole is tinted by at least ``_LEAST_TINT``, so that no hole vanishes.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap, LogNorm, to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import ConnectionPatch, Patch, Rectangle
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from dilsearch.report.field_parts import (
    blocks,
    head,
    legend,
    log_norm,
    panel_title,
    position_mark,
    tick_paths,
    zoomed,
)
from dilsearch.report.series_figure import series_figure
from dilsearch.report.style import BLUE, INK, LINES, MUTED, ORANGE, label, new_figure, pixels

HOLE: Final = "#FFC79A"
"""The colour of a pixel that is not seen."""

_PATHS: Final = ListedColormap(mpl.colormaps["viridis"](np.linspace(0.64, 0, 256)), name="paths")
"""Viridis without its light half, which is left to the holes; many paths are dark."""

_MOST_DOTS: Final = 128
"""Up to so many pixels a side, each has a dot; a larger field is drawn in so many squares."""
_LEAST_TINT: Final = 0.45
_DASHES: Final = (0, (4, 2))


@dataclass(frozen=True, slots=True)
class _Plane:
    """One plane of a field, with what has to be known to draw it."""

    seen: NDArray[np.bool_]
    counts: NDArray[np.float64] | None
    origin: tuple[float, float]
    norm: LogNorm | None


def coverage_figure(
    seen: NDArray[np.bool_],
    counts: NDArray[np.float64] | None = None,
    *,
    origin_px: Sequence[float],
    title: str,
    image_px: Sequence[int] | None = None,
) -> Figure:
    """The input pixels that one output position sees, and by how many paths.

    A plane is drawn as it is; of a large one, a part of 64 px is drawn again beside it: the
    middle, or what surrounds the hole nearest to it where the middle has none. A series is drawn as
    bars, a volume as its three planes through the position.

    Args:
        seen: Whether each pixel of the field's box is seen: (length,), (height, width) or
            (depth, height, width).
        counts: Paths from each pixel, in any unit, above 0 where it is seen; None draws all seen
            pixels alike. Colours go by its logarithm, over eight decades at most.
        origin_px: Input pixel of ``seen[0, ...]`` per axis, counted from the position's own pixel;
            (-9, -9) for a field of 19 x 19 px around it.
        title: First line above the picture; the second tells sizes and holes.
        image_px: Size of an image with the position in its middle, outlined where the field
            reaches beyond it; planes only. None leaves the outline out.
    """
    shape, holes = seen.shape, int(seen.size - np.count_nonzero(seen))
    summary = f"{pixels(shape)}: " + _told(holes, seen.size)
    norm = None
    if counts is not None:
        counts = counts / (float(counts.max(initial=0)) or 1.0)
        norm = log_norm(counts[seen])
    if seen.ndim == 1:
        figure = series_figure(seen, counts, origin_px[0], norm)
    elif seen.ndim == 2:
        plane = _Plane(seen, counts, (origin_px[0], origin_px[1]), norm)
        figure = _planes(plane, image_px)
    else:
        figure = _volume(seen, counts, origin_px, norm)
    head(figure, title, summary)
    return figure


def _told(holes: int, size: int) -> str:
    if not holes:
        return "no holes, every pixel is seen"
    noun = "hole" if holes == 1 else "holes"
    count = f"{holes:,}" if holes >= 10_000 else str(holes)
    return f"{count} {noun}, {100 * (1 - holes / size):.3g} % of the pixels are seen"


def _planes(plane: _Plane, image_px: Sequence[int] | None) -> Figure:
    height, width = plane.seen.shape
    large = max(height, width) > _MOST_DOTS
    panel_in = 2.15 if large else 3.6
    tall = panel_in * min(max(height / width, 0.3), 1.6)
    figure = new_figure(max(tall, 2.15 if large else 0) + (2.1 if large else 1.8))
    grid = figure.subplots(1, 2 if large else 1, squeeze=False)[0]
    size = math.ceil(max(height, width) / _MOST_DOTS)
    _draw_plane(grid[0], plane, size)
    _name_axes(grid[0], "column", "row")
    outline = [] if image_px is None else _outline(grid[0], plane, image_px)
    if large:
        (rows, columns), name = zoomed(plane.seen, plane.origin)
        _show_part(grid[0], grid[1], plane, rows, columns)
        _name_axes(grid[1], "column", "")
        panel_title(grid[0], "whole field")
        panel_title(grid[1], name)
    _finish(figure, list(grid), plane.norm, holes=not plane.seen.all(), size=size, more=outline)
    return figure


def _volume(
    seen: NDArray[np.bool_],
    counts: NDArray[np.float64] | None,
    origin_px: Sequence[float],
    norm: LogNorm | None,
) -> Figure:
    names = ("depth", "row", "column")
    figure = new_figure(3.35)
    grid = figure.subplots(1, 3)
    for axis, axes in enumerate(grid):
        down, across = (other for other in range(3) if other != axis)
        at = min(max(round(-origin_px[axis]), 0), seen.shape[axis] - 1)
        cut = None if counts is None else counts.take(at, axis)
        plane = _Plane(seen.take(at, axis), cut, (origin_px[down], origin_px[across]), norm)
        _draw_plane(axes, plane, math.ceil(max(seen.shape) / _MOST_DOTS))
        _name_axes(axes, names[across], names[down])
        panel_title(axes, f"{names[axis]} {at + origin_px[axis]:g}")
    size = math.ceil(max(seen.shape) / _MOST_DOTS)
    _finish(figure, list(grid), norm, holes=not seen.all(), size=size)
    return figure


def _draw_plane(axes: Axes, plane: _Plane, size: int) -> None:
    """One dot for each square of ``size`` pixels a side."""
    height, width = plane.seen.shape
    top, left = plane.origin[0] - 0.5, plane.origin[1] - 0.5
    colors = _colored(plane, size)
    rows, columns = colors.shape[:2]
    axes.imshow(
        colors,
        extent=(left, left + columns * size, top + rows * size, top),
        interpolation="nearest",
        aspect="equal" if 0.25 <= height / width <= 4 else "auto",
    )
    axes.set_xlim(left, left + width)
    axes.set_ylim(top + height, top)
    mark = position_mark()
    mark.set_data([0], [0])
    axes.add_line(mark)
    axes.spines[:].set_color(LINES)
    axes.tick_params(colors=MUTED, labelsize=8, length=3, width=0.8)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))


def _colored(plane: _Plane, size: int) -> NDArray[np.float64]:
    """The picture as RGB: by the mean number of paths, tinted by the share of holes."""
    high, wide = (blocks(np.ones(side), size) for side in plane.seen.shape)
    inside = np.multiply.outer(high, wide)
    seen = blocks(plane.seen, size)
    if plane.counts is None or plane.norm is None:
        colors = np.broadcast_to(to_rgb(BLUE), (*seen.shape, 3))
    else:
        mean = blocks(np.where(plane.seen, plane.counts, 0), size) / np.maximum(seen, 1)
        colors = _PATHS(plane.norm(np.maximum(mean, float(plane.norm.vmin or 0))))[..., :3]
    missing = 1 - seen / inside
    tint = np.where(missing > 0, _LEAST_TINT + (1 - _LEAST_TINT) * missing, 0)[..., None]
    picture: NDArray[np.float64] = (1 - tint) * colors + tint * np.array(to_rgb(HOLE))
    return picture


def _show_part(whole: Axes, zoom: Axes, plane: _Plane, rows: slice, columns: slice) -> None:
    """Draw a part again, pixel by pixel, and show where in the whole it is."""
    part = (rows, columns)
    origin = (plane.origin[0] + rows.start, plane.origin[1] + columns.start)
    counts = None if plane.counts is None else plane.counts[part]
    _draw_plane(zoom, _Plane(plane.seen[part], counts, origin, plane.norm), 1)
    zoom.yaxis.tick_right()
    high, wide = plane.seen[part].shape
    top, left = origin[0] - 0.5, origin[1] - 0.5
    for color, lw in (("white", 2.4), (INK, 1.0)):
        whole.add_patch(Rectangle((left, top), wide, high, fill=False, ec=color, lw=lw))
    for y, corner in ((top, 1), (top + high, 0)):
        line = ConnectionPatch(
            (left + wide, y), (0, corner), whole.transData, zoom.transAxes, color=INK, lw=0.7
        )
        line.set_in_layout(False)
        whole.figure.add_artist(line)
    # In a far larger field the mark would cover the frame; it then stands in the part alone.
    if left < 0 < left + wide and top < 0 < top + high and max(plane.seen.shape) > 8 * high:
        whole.lines[0].remove()


def _outline(axes: Axes, plane: _Plane, image_px: Sequence[int]) -> list[Line2D]:
    """The image's edges where they cross the field, with the position in the image's middle."""
    height, width = image_px
    if height >= plane.seen.shape[0] and width >= plane.seen.shape[1]:
        return []
    corner = (-(width // 2) - 0.5, -(height // 2) - 0.5)
    for color, style, lw in (("white", "-", 2.6), (INK, _DASHES, 1.2)):
        axes.add_patch(Rectangle(corner, width, height, fill=False, ec=color, ls=style, lw=lw))
    return [Line2D([], [], color=INK, ls=_DASHES, lw=1.2, label="image")]


def _finish(
    figure: Figure,
    panels: list[Axes],
    norm: LogNorm | None,
    *,
    holes: bool,
    size: int,
    more: Sequence[Line2D] = (),
) -> None:
    """Colour bar and legend beneath the panels."""
    if norm is not None:
        bar = figure.colorbar(
            ScalarMappable(norm, _PATHS), ax=panels, location="bottom", aspect=30, shrink=0.8
        )
        bar.set_label("paths to the position, relative to the most", fontsize=9, color=INK)
        tick_paths(bar.ax.xaxis, norm)
        bar.ax.tick_params(colors=MUTED, labelsize=8, length=3, width=0.8)
        bar.outline.set_edgecolor(LINES)
    handles: list[Patch | Line2D] = [position_mark(), *more]
    if norm is None:
        handles.append(Patch(fc=BLUE, label="seen"))
    if holes:
        handles.append(Patch(fc=HOLE, ec=ORANGE, lw=0.6, label="not seen"))
    if size > 1:
        handles.append(Patch(fc="none", ec="none", label=f"one dot: {pixels((size, size))}"))
    legend(figure, handles)


def _name_axes(axes: Axes, across: str, down: str) -> None:
    label(axes, f"{across} (px)", f"{down} (px)" if down else "")
