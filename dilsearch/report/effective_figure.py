"""The effective receptive field: where one output position really looks.

Brightness goes by the square root, so that the slopes of the bell show and not its tip alone. In a
photograph the field lies over a dimmed grey copy, and is transparent where the gradient is small.
"""

from collections.abc import Sequence
from typing import Any, Final

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle
from matplotlib.patheffects import withStroke
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from dilsearch.report.field_parts import blocks, head, legend, panel_title, position_mark
from dilsearch.report.style import BLUE, INK, LINES, MUTED, ORANGE, clean, label, new_figure, pixels

_HEAT: Final = mpl.colormaps["inferno"]
_SKY: Final = "#56B4E9"
_DARKEST, _LIGHTEST = 0.12, 0.78
"""Of the photograph under the heat, so that neither end of the map is lost on it."""
_NAMES: Final = ("depth", "row", "column")
_CONTOUR_CELLS: Final = 48
"""Real gradients flicker from pixel to pixel; their contour is drawn on so many cells a side."""
_HALO: Final = (withStroke(linewidth=2.8, foreground=INK),)
"""A dark rim, so that light lines can be told from light parts of a photograph."""


def effective_figure(
    magnitude: NDArray[np.floating[Any]],
    *,
    image: NDArray[np.uint8] | None = None,
    field_box_px: Sequence[tuple[float, float]] | None = None,
    position: Sequence[float] | None = None,
    share: float | None = 0.95,
    title: str = "Effective receptive field",
) -> Figure:
    """Gradient magnitude over the image, beside the box of the theoretical field.

    A series is drawn as a curve, a volume as its three planes through the position.

    Args:
        magnitude: |gradient| of one output position by each input pixel, scaled to at most 1:
            (length,), (height, width) or (depth, height, width).
        image: (height, width) or (height, width, 3), drawn in grey under a plane; None leaves it
            out.
        field_box_px: First pixel and the one behind the last per axis, in input pixels; may reach
            beyond the image. None leaves the box out.
        position: The position's own input pixel per axis; None leaves its mark out.
        share: Share of the total magnitude that the contour holds; None leaves it out.
        title: First line above the picture; the second tells how concentrated the magnitude is.
    """
    values = np.nan_to_num(np.asarray(magnitude, dtype=np.float64))
    box = None if field_box_px is None else [(float(a), float(b)) for a, b in field_box_px]
    if values.ndim == 1:
        figure = _series(values, box, position, share)
    elif values.ndim == 2:
        figure = _plane(values, image, box, position, share)
    else:
        figure = _volume(values, box, position, share)
    head(figure, title, _summary(values, box, share))
    return figure


def threshold(values: NDArray[np.float64], share: float) -> float:
    """The least value of the fewest pixels that hold this share of the sum."""
    falling = np.sort(values, axis=None)[::-1]
    sums = np.cumsum(falling)
    enough = int(np.searchsorted(sums, share * sums[-1]))
    return float(falling[min(enough, falling.size - 1)])


def _summary(
    values: NDArray[np.float64], box: list[tuple[float, float]] | None, share: float | None
) -> str:
    if not values.any():
        return "the gradient is 0 everywhere"
    told = [] if box is None else [f"field {pixels([round(b - a) for a, b in box])}"]
    if share is not None:
        held = int((values >= threshold(values, share)).sum())
        spans = [(0.0, float(side)) for side in values.shape] if box is None else box
        inside = [
            max(min(b, side) - max(a, 0), 0)
            for (a, b), side in zip(spans, values.shape, strict=True)
        ]
        of = "the image's pixels" if box is None else "its pixels in the image"
        part = 100 * held / max(float(np.prod(inside)), 1)
        told.append(
            f"{100 * share:g} % of the gradient on {part:{'.2g' if part < 10 else '.0f'}} % of {of}"
        )
    return "; ".join(told) or pixels(values.shape)


def _plane(
    values: NDArray[np.float64],
    image: NDArray[np.uint8] | None,
    box: list[tuple[float, float]] | None,
    position: Sequence[float] | None,
    share: float | None,
) -> Figure:
    height, width = values.shape
    figure = new_figure(4.4 * min(max(height / width, 0.3), 1.2) + 1.65)
    axes, norm = figure.add_subplot(), _norm(values, share)
    _heat(axes, values, image, norm)
    _decorate(axes, values, values, box, position, share)
    label(axes, "column (px)", "row (px)")
    _finish(figure, [axes], norm, box, position, share)
    return figure


def _volume(
    values: NDArray[np.float64],
    box: list[tuple[float, float]] | None,
    position: Sequence[float] | None,
    share: float | None,
) -> Figure:
    figure = new_figure(3.4)
    grid, norm = figure.subplots(1, 3), _norm(values, share)
    at = [side / 2 for side in values.shape] if position is None else list(position)
    for axis, axes in enumerate(grid):
        others = [other for other in range(3) if other != axis]
        index = min(max(round(at[axis]), 0), values.shape[axis] - 1)
        cut = values.take(index, axis)
        _heat(axes, cut, None, norm)
        _decorate(
            axes,
            cut,
            values,
            None if box is None else [box[other] for other in others],
            None if position is None else [position[other] for other in others],
            share,
        )
        label(axes, f"{_NAMES[others[1]]} (px)", f"{_NAMES[others[0]]} (px)")
        panel_title(axes, f"{_NAMES[axis]} {index}")
    _finish(figure, list(grid), norm, box, position, share)
    return figure


def _norm(values: NDArray[np.float64], share: float | None) -> PowerNorm:
    """The scale of the heat; single pixels far above the others do not stretch it."""
    most = float(values.max(initial=0)) or 1.0
    if values.any():
        held = values[values >= threshold(values, share or 0.95)]
        usual = float(np.quantile(held, 0.99))
        most = usual if usual < 0.8 * most else most
    return PowerNorm(0.5, 0, most, clip=True)


def _heat(
    axes: Axes, values: NDArray[np.float64], image: NDArray[np.uint8] | None, norm: PowerNorm
) -> None:
    colors = _HEAT(norm(values))[..., :3]
    if image is not None:
        grey = np.asarray(image, dtype=np.float64)
        grey = grey if grey.ndim == 2 else grey[..., :3] @ np.array([0.299, 0.587, 0.114])
        under = _DARKEST + (_LIGHTEST - _DARKEST) * grey / 255
        # Twice the square root: transparency would else dim the slopes a second time.
        alpha = np.clip(2 * norm(values), 0, 0.92)[..., None]
        colors = (1 - alpha) * under[..., None] + alpha * colors
    axes.imshow(colors, interpolation="nearest" if max(values.shape) < 200 else "antialiased")
    axes.spines[:].set_color(LINES)
    axes.tick_params(colors=MUTED, labelsize=8, length=3, width=0.8)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))


def _decorate(
    axes: Axes,
    cut: NDArray[np.float64],
    whole: NDArray[np.float64],
    box: list[tuple[float, float]] | None,
    position: Sequence[float] | None,
    share: float | None,
) -> None:
    """Contour, box and mark over one plane; its level is that of the whole."""
    height, width = cut.shape
    if share is not None and cut.any():
        _contour(axes, cut, whole, share)
    if box is not None:
        (top, bottom), (left, right) = (
            (max(a, 0.0) - 0.5, min(b, float(side)) - 0.5)
            for (a, b), side in zip(box, cut.shape, strict=True)
        )
        axes.add_patch(
            Rectangle(
                (left, top),
                right - left,
                bottom - top,
                fill=False,
                ec=_SKY,
                ls=(0, (5, 2)),
                lw=1.8,
                # An edge on the frame would be cut in half.
                clip_on=False,
                zorder=4,
            )
        )
    if position is not None:
        mark = position_mark()
        mark.set_data([position[1]], [position[0]])
        mark.set_zorder(5)
        axes.add_line(mark)
    axes.set_xlim(-0.5, width - 0.5)
    axes.set_ylim(height - 0.5, -0.5)


def _contour(
    axes: Axes, cut: NDArray[np.float64], whole: NDArray[np.float64], share: float
) -> None:
    size = max(1, round(max(cut.shape) / _CONTOUR_CELLS))
    cells = _smooth(blocks(cut, size) / blocks(np.ones_like(cut), size))
    at = threshold(cells if cut is whole else whole, share)
    rows, columns = (size * (np.arange(side) + 0.5) - 0.5 for side in cells.shape)
    if min(cells.shape) < 2 or not cells.min() < at < cells.max():
        return
    drawn = axes.contour(columns, rows, cells, levels=[at], colors="white", linewidths=1.3)
    drawn.set_path_effects(list(_HALO))


def _smooth(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Weights 1 2 1 along each axis, which keep the sum but at the edges."""
    for axis in range(values.ndim):
        padded = np.pad(values, [(int(axis == other),) * 2 for other in range(values.ndim)], "edge")
        count = values.shape[axis]
        parts = [padded.take(range(start, start + count), axis) for start in range(3)]
        values = (parts[0] + 2 * parts[1] + parts[2]) / 4
    return values


def _finish(
    figure: Figure,
    panels: list[Axes],
    norm: PowerNorm,
    box: object,
    position: object,
    share: float | None,
) -> None:
    most = float(norm.vmax or 1)
    bar = figure.colorbar(
        ScalarMappable(norm, _HEAT),
        ax=panels,
        location="bottom",
        aspect=30,
        shrink=0.8,
        extend="max" if most < 1 else "neither",
    )
    bar.set_label("gradient magnitude, relative to the most (square root)", fontsize=9, color=INK)
    parts = (0, 0.05, 0.2, 0.5, 1)
    bar.set_ticks([part * most for part in parts], labels=[f"{part * most:.2g}" for part in parts])
    bar.ax.tick_params(colors=MUTED, labelsize=8, length=3, width=0.8)
    bar.outline.set_edgecolor(LINES)
    handles: list[Any] = []
    if position is not None:
        handles.append(position_mark())
    if share is not None:
        line = Line2D([], [], color="white", lw=1.3, label=f"{100 * share:g} % of the gradient")
        line.set_path_effects(list(_HALO))
        handles.append(line)
    if box is not None:
        handles.append(
            Line2D([], [], color=_SKY, ls=(0, (5, 2)), lw=1.8, label="theoretical field")
        )
    if handles:
        legend(figure, handles)


def _series(
    values: NDArray[np.float64],
    box: list[tuple[float, float]] | None,
    position: Sequence[float] | None,
    share: float | None,
) -> Figure:
    figure = new_figure(2.9)
    axes = figure.add_subplot()
    clean(axes)
    places = np.arange(len(values))
    handles: list[Any] = []
    if box is not None:
        axes.axvspan(box[0][0] - 0.5, box[0][1] - 0.5, color=LINES, alpha=0.6, zorder=0, lw=0)
        handles.append(Patch(fc=LINES, alpha=0.6, label="theoretical field"))
    axes.plot(places, values, color=BLUE, lw=1.2, zorder=3)
    if share is not None and values.any():
        held = values >= threshold(values, share)
        axes.fill_between(
            places, values, where=held.tolist(), color=BLUE, alpha=0.35, step="mid", lw=0
        )
        handles.append(Patch(fc=BLUE, alpha=0.35, label=f"{100 * share:g} % of the gradient"))
    axes.set_yscale("function", functions=(np.sqrt, np.square))
    axes.set_yticks([0, 0.05, 0.2, 0.5, 1], ["0", "0.05", "0.2", "0.5", "1"])
    axes.set_ylim(0, 1.08)
    axes.set_xlim(-0.5, len(values) - 0.5)
    if position is not None:
        axes.axvline(position[0], color=ORANGE, lw=1.2, ls="--", zorder=2)
        handles.append(Line2D([], [], color=ORANGE, lw=1.2, ls="--", label="output position"))
    label(axes, "input pixel", "gradient magnitude")
    if handles:
        legend(figure, handles)
    return figure
