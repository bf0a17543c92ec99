"""The figures of a study, one function each: results in, a matplotlib Figure out.

Drawn 8 inches wide, which is 1200 px in ``as_png`` of the report's figures. Colours are those of
the report, and the shapes of the marks repeat what the colours say. Dots that would cover each
other are set apart by a fixed rule, never at random, so that equal results give equal figures.
"""

import math
from collections.abc import Sequence
from typing import Final

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from dilsearch.report.style import BLUE, GREY, ORANGE
from dilsearch.study.cases import Part, Study
from dilsearch.study.tables import FOUND_RATIO, SUCCESS, WIDE_RATIO, metric_name

_INK, _MUTED, _LINES = "#1A2230", "#566072", "#D8DEE8"
_WIDTH_IN: Final = 8.0
_MARKS: Final = {
    "searched": (ORANGE, "o"),
    "retrained": (BLUE, "s"),
    "control": (GREY, "^"),
}
"""Colour and shape, in the order of the legend."""
_APART: Final = 0.25
"""How far the marks of one seed stand apart, in steps from seed to seed."""
_TICKS: Final = (0.1, 0.2, 0.3, 0.5, 0.7, 1, 1.5, 2, 3, 5, 10, 20, 50)
_DOT_SHARE: Final = 0.021
"""Width of a dot as a share of the axis, a little more than drawn so that dots do not touch."""
_DOT_IN: Final = 0.12
_MOST_LABELS: Final = 40


def fields_figure(results: pd.DataFrame, study: Study) -> Figure | None:
    """The field found by every run as a share of what its task needs, a panel for each part.

    Args:
        results: ``results_table``.
        study: Titles and order of parts and variants.

    Returns:
        The figure; None if no run has a field to compare.
    """
    known = results[results["field_ratio"] > 0]
    parts = _parts_in(known, study)
    if not parts:
        return None
    lower, upper = _ratio_limits(known["field_ratio"])
    dot = _DOT_SHARE * math.log(upper / lower)
    stacks = {
        (part.name, name): stacked(np.log(rows["field_ratio"].to_numpy()), dot)
        for part in parts
        for name, rows in _by_variant(known, part)
    }
    heights = [
        sum(_row_in(stacks[part.name, name]) for name, _ in _by_variant(known, part))
        for part in parts
    ]
    figure = _figure(sum(heights) + 0.62 * len(parts) + 0.95)
    grid = figure.subplots(
        len(parts), 1, sharex=True, squeeze=False, gridspec_kw={"height_ratios": heights}
    )
    for axes, part in zip(grid[:, 0], parts, strict=True):
        _draw_fields(axes, part, known, stacks)
    lowest = grid[-1, 0]
    lowest.set_xscale("log")
    lowest.set_xlim(lower, upper)
    lowest.xaxis.set_major_locator(FixedLocator(_TICKS))
    lowest.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    lowest.xaxis.set_minor_locator(NullLocator())
    lowest.set_xlabel("field found / field needed, one dot for each seed", fontsize=9, color=_INK)
    handles = [
        _mark(BLUE, "o", "wide enough"),
        _mark(ORANGE, "D", "too narrow", hollow=True),
        Line2D([], [], color=_INK, ls="--", lw=1.2, label=f"{FOUND_RATIO:g} of what is needed"),
        Line2D([], [], color=_MUTED, ls=":", lw=1.4, label=f"{WIDE_RATIO:g} times as much"),
    ]
    _legend(figure, handles)
    return figure


def scores_figure(results: pd.DataFrame, study: Study) -> Figure | None:
    """The metric of every network of every run, a panel for each part.

    Args:
        results: ``results_table``.
        study: Titles and order of parts and variants.

    Returns:
        The figure; None if no network has been scored.
    """
    known = results[results[list(_MARKS)].notna().any(axis=1)]
    parts = _parts_in(known, study)
    if not parts:
        return None
    figure = _figure(2.35 * len(parts) + 0.5)
    grid = figure.subplots(len(parts), 1, squeeze=False)
    for axes, part in zip(grid[:, 0], parts, strict=True):
        _draw_scores(axes, part, known)
    present = [name for name in _MARKS if known[name].notna().any()]
    handles = [_mark(*_MARKS[name], name) for name in present]
    if (known["metric"] == "far_accuracy").any():
        handles.append(Line2D([], [], color=_INK, ls="--", lw=1.0, label=f"{SUCCESS:g}: solved"))
    _legend(figure, handles)
    return figure


def stacked(values: Sequence[float] | np.ndarray, width: float) -> np.ndarray:
    """Whole steps 0, 1, -1, 2, ... off the line, for dots of a width that would cover each other.

    Args:
        values: Where the dots are along the line.
        width: How far apart two dots of one step have to be.
    """
    steps = np.zeros(len(values))
    taken: dict[int, list[float]] = {}
    for index in np.argsort(np.asarray(values), kind="stable"):
        value, step = float(values[index]), 0
        while any(abs(value - other) < width for other in taken.get(step, ())):
            step = -step if step > 0 else 1 - step
        taken.setdefault(step, []).append(value)
        steps[index] = step
    return steps


def _draw_fields(
    axes: Axes,
    part: Part,
    known: pd.DataFrame,
    stacks: dict[tuple[str, str], np.ndarray],
) -> None:
    _clean(axes, grid_axis="x")
    variants = _by_variant(known, part)
    rises = [_row_in(stacks[part.name, name]) for name, _ in variants]
    centres = np.cumsum(rises) - np.asarray(rises) / 2
    for (name, rows), centre in zip(variants, centres, strict=True):
        steps = stacks[part.name, name]
        # Stacks that lean to one side are moved back to the middle of their row.
        places = centre + _DOT_IN * (steps - (steps.max() + steps.min()) / 2)
        ratios = rows["field_ratio"].to_numpy()
        wide = ratios >= FOUND_RATIO
        axes.scatter(ratios[wide], places[wide], s=26, color=BLUE, linewidths=0, zorder=3)
        axes.scatter(
            ratios[~wide],
            places[~wide],
            s=20,
            marker="D",
            facecolors="white",
            edgecolors=ORANGE,
            linewidths=1.3,
            zorder=3,
        )
        axes.annotate(
            f"{int(wide.sum())} of {len(rows)}",
            (1.01, centre),
            xycoords=axes.get_yaxis_transform(),
            va="center",
            fontsize=8.5,
            color=_INK,
        )
    axes.axvline(FOUND_RATIO, color=_INK, ls="--", lw=1.2, zorder=1)
    axes.axvline(WIDE_RATIO, color=_MUTED, ls=":", lw=1.4, zorder=1)
    axes.set_ylim(sum(rises), 0)
    axes.set_yticks(list(centres), [name for name, _ in variants], parse_math=False)
    axes.tick_params(axis="y", length=0, labelsize=8.5, labelcolor=_INK)
    needed = sorted({int(value) for _, rows in variants for value in rows["needed_px"].dropna()})
    needs = ", ".join(map(str, needed))
    _title(axes, f"{part.title} (needs {needs} px)")


def _draw_scores(axes: Axes, part: Part, known: pd.DataFrame) -> None:
    _clean(axes, grid_axis="y")
    variants = _by_variant(known, part)
    start, ticks = 0, dict[int, str]()
    metric = str(variants[0][1]["metric"].iloc[0])
    drawn = pd.concat([rows for _, rows in variants])
    present = [network for network in _MARKS if drawn[network].notna().any()]
    shifts = _APART * (np.arange(len(present)) - (len(present) - 1) / 2)
    for name, rows in variants:
        places = start + np.arange(len(rows))
        for network, shift in zip(present, shifts, strict=True):
            color, shape = _MARKS[network]
            axes.scatter(
                places + shift,
                rows[network],
                s=26,
                marker=shape,
                color=color,
                linewidths=0,
                zorder=3,
                clip_on=False,
            )
        ticks |= dict(zip(places.tolist(), rows["seed"].astype(str), strict=True))
        if len(part.variants) > 1:
            axes.annotate(
                name,
                (float(places.mean()), 1.0),
                xycoords=axes.get_xaxis_transform(),
                xytext=(0, 3),
                textcoords="offset points",
                ha="center",
                fontsize=8.5,
                color=_MUTED,
                parse_math=False,
            )
        start += len(rows) + 1
        if name != variants[-1][0]:
            axes.axvline(start - 1, color=_LINES, lw=1.0)
    every = math.ceil(len(ticks) / _MOST_LABELS)
    shown = list(ticks.items())[::every]
    axes.set_xticks([place for place, _ in shown], [label for _, label in shown])
    axes.set_xlim(-0.7, start - 1.3)
    if metric == "far_accuracy":
        axes.set_ylim(0, 1.02)
        axes.axhline(SUCCESS, color=_INK, ls="--", lw=1.0, zorder=1)
    else:
        axes.margins(y=0.15)
    axes.set_xlabel("seed", fontsize=9, color=_INK)
    axes.set_ylabel(metric_name(metric), fontsize=9, color=_INK)
    _title(axes, part.title, pad=18 if len(part.variants) > 1 else 6)


def _row_in(steps: np.ndarray) -> float:
    """Height of a row in inches, with room for its stacks."""
    return max(0.42, _DOT_IN * float(np.ptp(steps) + 2))


def _parts_in(results: pd.DataFrame, study: Study) -> list[Part]:
    named = set(results["part"])
    return [part for part in study.parts if part.name in named]


def _by_variant(results: pd.DataFrame, part: Part) -> list[tuple[str, pd.DataFrame]]:
    rows = results[results["part"] == part.name]
    found = [(v.name, rows[rows["variant"] == v.name]) for v in part.variants]
    return [(name, chosen) for name, chosen in found if len(chosen)]


def _ratio_limits(ratios: "pd.Series[float]") -> tuple[float, float]:
    """Limits that hold both lines and every dot, with room at the sides."""
    return min(float(ratios.min()), 0.5) / 1.15, max(float(ratios.max()), WIDE_RATIO) * 1.15


def _figure(height_in: float) -> Figure:
    figure = Figure(figsize=(_WIDTH_IN, height_in), layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def _clean(axes: Axes, *, grid_axis: str) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(_LINES)
    axes.grid(axis="x" if grid_axis == "x" else "y", color=_LINES, lw=0.6, alpha=0.7)
    axes.set_axisbelow(True)
    axes.tick_params(colors=_MUTED, labelsize=8, length=3, width=0.8)


def _title(axes: Axes, text: str, pad: float = 6) -> None:
    axes.set_title(text, fontsize=9.5, color=_INK, loc="left", pad=pad, parse_math=False)


def _mark(color: str, shape: str, label: str, *, hollow: bool = False) -> Line2D:
    return Line2D(
        [],
        [],
        ls="",
        marker=shape,
        ms=5.2,
        mfc="white" if hollow else color,
        mec=color,
        label=label,
    )


def _legend(figure: Figure, handles: Sequence[Line2D]) -> None:
    figure.legend(
        handles=handles,
        loc="outside upper center",
        ncols=len(handles),
        fontsize=8.5,
        frameon=False,
    )
