"""The figures of a benchmark, one function each: results in, a matplotlib Figure out.

Drawn 8 inches wide, in the colours of the report; the shapes of the marks repeat what the colours
say.
"""

from collections.abc import Mapping, Sequence
from typing import Final

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from dilsearch.bench.cases import REFERENCE, Case, GrowthCase
from dilsearch.bench.tables import QUANTITIES
from dilsearch.report.style import BLUE, GREEN, GREY, INK, ORANGE, clean, new_figure

_WIDTH_IN: Final = 8.0
_ROW_IN: Final = 0.3
_MARKS: Final[Mapping[str, tuple[str, str]]] = {
    "native": (GREY, "^"),
    "ours": (BLUE, "o"),
    "deformable": (ORANGE, "s"),
    "dcls": (GREEN, "D"),
}
"""Colour and shape of each contestant, in the order of the legend."""
_TITLES: Final[Mapping[str, str]] = {
    "forward_ms": "forward: time",
    "forward_backward_ms": "forward and backward: time",
    "forward_backward_mib": "forward and backward: memory",
    "training_step_ms": "training step: time",
    "training_step_mib": "training step: memory",
    "inference_ms": "inference: time",
}
"""Quantities whose ratios are drawn, in order."""


def ratios_figure(results: pd.DataFrame) -> Figure | None:
    """How many times the plain convolution each contestant takes, a panel for each quantity.

    Bars span the quartiles of the rounds. Cases that grow have a figure of their own.

    Args:
        results: ``results_table``.

    Returns:
        The figure; None if there is nothing to compare.
    """
    drawn = results["at"].isna() & results["quantity"].isin(list(_TITLES))
    known = results[drawn & results["ratio"].notna()]
    compared = known[known["contestant"] != REFERENCE]
    if not len(compared):
        return None
    panels = [(name, compared[compared["quantity"] == name]) for name in _TITLES]
    panels = [(name, rows) for name, rows in panels if len(rows)]
    heights = [rows["case"].nunique() for _, rows in panels]
    figure = new_figure(_ROW_IN * sum(heights) + 0.45 * len(panels) + 0.9, width_in=_WIDTH_IN)
    grid = figure.subplots(
        len(panels), 1, sharex=True, squeeze=False, gridspec_kw={"height_ratios": heights}
    )
    for axes, (quantity, rows) in zip(grid[:, 0], panels, strict=True):
        _draw_ratios(axes, rows, _TITLES[quantity])
    lowest = grid[-1, 0]
    lowest.set_xscale("log")
    _plain_ticks(lowest.xaxis)
    lowest.set_xlabel(f"times {REFERENCE}", fontsize=9, color=INK)
    _legend(figure, [name for name in _MARKS if (compared["contestant"] == name).any()])
    return figure


def growth_figure(results: pd.DataFrame, cases: Sequence[Case]) -> Figure | None:
    """Milliseconds and ratios of the cases that grow, a column for each.

    Args:
        results: ``results_table``.
        cases: The cases measured, for what it is that grows.

    Returns:
        The figure; None if nothing grew.
    """
    measured = set(results["case"])
    growing = [case for case in cases if isinstance(case, GrowthCase) and case.name in measured]
    if not growing:
        return None
    figure = new_figure(5.2, width_in=_WIDTH_IN)
    grid = figure.subplots(2, len(growing), sharex="col", sharey="row", squeeze=False)
    present = [name for name in _MARKS if (results["contestant"] == name).any()]
    for column, case in enumerate(growing):
        rows = results[results["case"] == case.name]
        _draw_growth(grid[0, column], rows, "median", present)
        _draw_growth(grid[1, column], rows, "ratio", [n for n in present if n != REFERENCE])
        grid[1, column].axhline(1, color=_MARKS[REFERENCE][0], lw=1.0, ls="--", zorder=1)
        grid[0, column].set_title(case.title, fontsize=9.5, color=INK, loc="left")
        grid[1, column].set_xlabel(case.axis, fontsize=9, color=INK)
        values = list(case.points)
        grid[1, column].set_xticks(values, [f"{value:g}" for value in values])
    grid[0, 0].set_ylabel(QUANTITIES["forward_backward_ms"], fontsize=9, color=INK)
    grid[1, 0].set_ylabel(f"times {REFERENCE}", fontsize=9, color=INK)
    _legend(figure, present)
    return figure


def _draw_ratios(axes: Axes, rows: pd.DataFrame, title: str) -> None:
    clean(axes)
    cases = list(dict.fromkeys(rows["case"]))
    for name, (color, shape) in _MARKS.items():
        chosen = rows[rows["contestant"] == name]
        places = [cases.index(case) for case in chosen["case"]]
        axes.hlines(
            places,
            chosen["ratio_lower_quartile"],
            chosen["ratio_upper_quartile"],
            color=color,
            lw=2.2,
            alpha=0.6,
        )
        axes.scatter(
            chosen["ratio"], places, s=26, marker=shape, color=color, linewidths=0, zorder=3
        )
    axes.axvline(1, color=INK, ls="--", lw=1.0, zorder=1)
    axes.set_ylim(len(cases) - 0.5, -0.5)
    axes.set_yticks(range(len(cases)), cases, parse_math=False)
    axes.tick_params(axis="y", length=0, labelsize=8.5, labelcolor=INK)
    axes.set_title(title, fontsize=9.5, color=INK, loc="left")


def _draw_growth(axes: Axes, rows: pd.DataFrame, column: str, names: Sequence[str]) -> None:
    clean(axes)
    for name in names:
        color, shape = _MARKS[name]
        chosen = rows[rows["contestant"] == name]
        axes.plot(chosen["at"], chosen[column], color=color, marker=shape, ms=4.5, lw=1.5)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.xaxis.set_minor_locator(NullLocator())
    _plain_ticks(axes.yaxis)


def _plain_ticks(axis: Axis) -> None:
    """Numbers as they are, not as powers."""
    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_locator(NullLocator())


def _legend(figure: Figure, names: Sequence[str]) -> None:
    handles = [
        Line2D([], [], ls="", marker=shape, ms=5.2, color=color, label=name)
        for name, (color, shape) in _MARKS.items()
        if name in names
    ]
    figure.legend(
        handles=handles,
        loc="outside upper center",
        ncols=len(handles),
        fontsize=8.5,
        frameon=False,
    )
