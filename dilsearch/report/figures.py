"""The figures of a run, one function each: frames in, a matplotlib Figure out.

Width, colours and the look of the axes are those of ``style``.
"""

import io
import math
from collections.abc import Mapping, Sequence

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.colors import is_color_like, to_hex, to_rgb
from matplotlib.figure import Figure
from numpy.typing import NDArray

from dilsearch.report.strips_figure import strips_figure
from dilsearch.report.style import (
    BLUE,
    GREY,
    INK,
    ORANGE,
    class_legend,
    label,
    level,
    name_level,
    new_axes,
    new_figure,
)
from dilsearch.report.tables import IGNORE_INDEX, NETWORKS, ClassEntry, Predictions

CURVES = {
    "search": ("search", ORANGE, "-"),
    "retrain": ("retraining", BLUE, "-"),
    "control": ("control", GREY, "--"),
}
PANELS = {"truth": "Ground truth", **NETWORKS}
"""Titles of what stands beside an image; networks the run has not evaluated are left out."""


def field_figure(
    field: pd.DataFrame, needed_px: int | None, rate_one_px: int | None, rounded_px: int | None
) -> Figure:
    """Field over the search steps beside what the task needs and what rate 1 gives, in pixels.

    Args:
        field: ``tables.field_over_time``.
        needed_px: The field needed, drawn as a labelled line; None leaves the line out.
        rate_one_px: The field with every rate 1; None leaves the line out.
        rounded_px: The integer network's field, drawn as a dot at the end; None leaves it out.
    """
    figure = new_figure(2.9)
    axes = new_axes(figure)
    square = field["height_px"].equals(field["width_px"])
    axes.plot(field["step"], field["height_px"], color=BLUE, lw=1.8, label="height")
    if not square:
        axes.plot(field["step"], field["width_px"], color=BLUE, lw=1.8, ls=":", label="width")
        axes.legend(loc="lower right", fontsize=8.5, frameon=False)
    levels = [level for level in (needed_px, rate_one_px, rounded_px) if level is not None]
    top = 1.16 * max([field["height_px"].max(), field["width_px"].max(), *levels])
    axes.set_ylim(0, top)
    if needed_px is not None:
        level(axes, needed_px, f"needed: {needed_px} px", ORANGE, "--", at=0.02)
    if rate_one_px is not None:
        name = f"every rate 1: {rate_one_px} px"
        level(axes, rate_one_px, name, GREY, ":", at=0.98, below=rate_one_px > 0.1 * top)
    if rounded_px is not None:
        # Beside the dot, on the side where the needed line does not run through the text.
        below = needed_px is not None and rounded_px < needed_px < rounded_px + 0.12 * top
        axes.plot(field["step"].iloc[-1], rounded_px, "o", color=BLUE, ms=6, zorder=4)
        name_level(axes, rounded_px, f"rounded: {rounded_px} px", BLUE, at=0.98, below=below)
    label(axes, "search step", "field of view (px)")
    return figure


def loss_figure(losses: Mapping[str, pd.DataFrame]) -> Figure:
    """Training loss by step for search, retraining and control: each step faint, its mean strong.

    Args:
        losses: Stage to a frame with ``step`` and ``loss``.
    """
    figure = new_figure(2.9)
    axes = new_axes(figure)
    for stage, (name, color, style) in CURVES.items():
        if stage not in losses:
            continue
        curve = losses[stage]
        smooth = curve["loss"].rolling(max(len(curve) // 30, 1), min_periods=1, center=True).mean()
        axes.plot(curve["step"], curve["loss"], color=color, lw=0.6, alpha=0.25)
        axes.plot(curve["step"], smooth, color=color, ls=style, lw=1.8, label=name)
    axes.set_ylim(bottom=0)
    axes.legend(loc="upper right", fontsize=8.5, frameon=False)
    label(axes, "training step", "training loss (nats)")
    return figure


def predictions_figure(
    predictions: Predictions, classes: Sequence[ClassEntry], *, most: int = 4
) -> Figure:
    """Images beside ground truth and what each network predicts, with a legend of the classes.

    Sequences are drawn as strips one above the other.

    Args:
        predictions: Samples with labels.
        classes: The classes in index order.
        most: How many samples are shown at most.
    """
    legend = legend_entries(predictions, classes)
    samples = samples_shown(predictions, classes, most=most)
    height, width = predictions.truth.shape[1:3]
    if height == 1:
        return strips_figure(samples, legend)
    titles = list(samples[0])
    panel_in = 10.0 / len(titles)
    legend_in = 0.24 * math.ceil(len(legend) / 6)
    figure = new_figure(len(samples) * panel_in * height / width + 0.5 + legend_in, width_in=10.0)
    grid = figure.subplots(len(samples), len(titles), squeeze=False)
    for row, sample in zip(grid, samples, strict=True):
        for axes, picture in zip(row, sample.values(), strict=True):
            axes.imshow(picture, interpolation="nearest" if width < 200 else "antialiased")
            axes.set_axis_off()
    for axes, title in zip(grid[0], titles, strict=True):
        axes.set_title(title, fontsize=10, color=INK)
    class_legend(figure, legend)
    return figure


def samples_shown(
    predictions: Predictions, classes: Sequence[ClassEntry], *, most: int
) -> list[dict[str, NDArray[np.uint8]]]:
    """For each sample, title to picture: the input, the truth, and what each network predicts.

    Args:
        predictions: Samples with labels.
        classes: The classes in index order.
        most: How many samples are shown at most.
    """
    colors = class_colors(classes)
    maps = {"truth": predictions.truth, **predictions.networks}
    first = "Sequence" if predictions.truth.shape[1] == 1 else "Image"
    return [
        {first: image}
        | {PANELS[name]: colored(maps[name][index], colors) for name in PANELS if name in maps}
        for index, image in enumerate(predictions.images[:most])
    ]


def legend_entries(
    predictions: Predictions, classes: Sequence[ClassEntry]
) -> list[tuple[str, str]]:
    """Name and colour of every class, and of the pixels that are not scored if there are some."""
    entries = [
        (entry.name, color) for entry, color in zip(classes, class_colors(classes), strict=True)
    ]
    if (predictions.truth == IGNORE_INDEX).any():
        entries.append(("not scored", "#000000"))
    return entries


def class_colors(classes: Sequence[ClassEntry]) -> list[str]:
    """A colour ``#rrggbb`` for each class: its own, or one of tab20 where it names none."""
    fallback = mpl.colormaps["tab20"]
    return [
        to_hex(entry.color or "" if is_color_like(entry.color) else fallback(index % 20))
        for index, entry in enumerate(classes)
    ]


def colored(labels: NDArray[np.int64], colors: Sequence[str]) -> NDArray[np.uint8]:
    """Class indices (..., height, width) as RGB (..., 3); an index without a colour is black."""
    palette = np.zeros((256, 3), dtype=np.uint8)
    named = colors[:IGNORE_INDEX]
    palette[: len(named)] = [[round(255 * part) for part in to_rgb(color)] for color in named]
    return palette[np.clip(labels, 0, IGNORE_INDEX)]


def as_png(figure: Figure, *, dpi: int = 150) -> bytes:
    """The figure as a PNG file."""
    _lay_out(figure)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi, metadata={"Software": None})
    return buffer.getvalue()


def as_svg(figure: Figure) -> bytes:
    """The figure as an SVG file; equal figures give equal files."""
    _lay_out(figure)
    buffer = io.BytesIO()
    with mpl.rc_context({"svg.hashsalt": "dilsearch"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return buffer.getvalue()


def _lay_out(figure: Figure) -> None:
    """Place everything once: laying out costs as much as drawing, and each save would repeat it."""
    engine = figure.get_layout_engine()
    if engine is not None:
        engine.execute(figure)
        figure.set_layout_engine("none")
