"""What a method has reached for what it has cost, beside others that were paid in the same coin."""

from typing import Final, Literal

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from dilsearch.baselines.record import column_in_words
from dilsearch.report.best_so_far import over_seeds
from dilsearch.report.sizes import count_text
from dilsearch.report.style import INK, label, new_axes, new_figure
from dilsearch.report.sweep_marks import (
    HEIGHT_IN,
    Mark,
    counted,
    legend_below,
    line_mark,
    marks_of,
    method_words,
    nothing_yet,
)

_LOG_FROM: Final = 20
"""Costs that differ by this factor are drawn on a logarithmic axis."""


def cost_figure(
    curves: pd.DataFrame,
    *,
    score_name: str,
    threshold: float | None,
    unit: Literal["samples", "seconds"],
) -> Figure:
    """The best score so far against what it cost: mean over seeds, in a band from worst to best.

    The band is the range of the seeds and no standard deviation: scores that gather below their
    limit are skewed, and a deviation would leave the scale. A line begins where each of the
    method's seeds has a score, and goes on dotted where nothing more was paid. A method that
    finds its plan in one go is a single jump.

    Args:
        curves: ``method``, ``seed``, ``cost`` and ``best``, a row at each change or more; and
            ``kind`` where names of methods do not say it.
        score_name: Column the scores are from.
        threshold: A score to reach; None leaves its line out.
        unit: What the costs count.
    """
    figure = new_figure(HEIGHT_IN)
    axes = new_axes(figure)
    known = curves.dropna(subset=["cost", "best"]).astype({"cost": float, "best": float})
    scale, words = _cost_unit(known["cost"], unit)
    known = known.assign(cost=known["cost"] / scale)
    end = _cost_axis(axes, known["cost"])
    handles = []
    for name, mark in marks_of(known).items():
        rows = known[known["method"] == name]
        jumps = not rows.duplicated("seed").any()
        (_draw_jump if jumps else _draw_steps)(axes, rows, mark, end)
        seeds = counted(rows["seed"].nunique(), "seed")
        handles.append(line_mark(mark, f"{method_words(name)}, {seeds}", line=not jumps))
    if known.empty:
        nothing_yet(axes, "no trial has been scored yet")
    axes.margins(y=0.08)
    if threshold is not None:
        _draw_threshold(axes, threshold)
    label(axes, f"cost ({words})", f"best {column_in_words(score_name)} so far")
    legend_below(figure, handles)
    return figure


def _draw_jump(axes: Axes, rows: pd.DataFrame, mark: Mark, end: float) -> None:
    """Every seed pays once: the mean score at the mean cost, with the range of both."""
    cost, best = rows["cost"], rows["best"]
    at, height = cost.mean(), best.mean()
    axes.errorbar(
        [at],
        [height],
        xerr=[[at - cost.min()], [cost.max() - at]],
        yerr=[[height - best.min()], [best.max() - height]],
        fmt=mark.shape,
        color=mark.color,
        ms=mark.size,
        mec="white",
        mew=0.7,
        elinewidth=1.3,
        capsize=2.6,
        zorder=6,
    )
    _draw_rest(axes, at, height, mark, end)


def _draw_steps(axes: Axes, rows: pd.DataFrame, mark: Mark, end: float) -> None:
    """The mean over seeds with their range, marked where it begins and where it ends."""
    curve = over_seeds(rows)
    cost, mean, ends = curve["cost"], curve["mean"], [0, -1]
    axes.fill_between(
        cost, curve["low"], curve["high"], step="post", color=mark.color, alpha=0.13, lw=0
    )
    axes.plot(cost, mean, color=mark.color, lw=1.8, drawstyle="steps-post", zorder=4)
    axes.plot(
        cost.iloc[ends],
        mean.iloc[ends],
        mark.shape,
        color=mark.color,
        ms=mark.size,
        mec="white",
        mew=0.7,
        zorder=5,
    )
    _draw_rest(axes, cost.iloc[-1], mean.iloc[-1], mark, end)


def _draw_rest(axes: Axes, start: float, height: float, mark: Mark, end: float) -> None:
    """Dotted to the end of the axis: nothing more was paid."""
    axes.plot([start, end], [height, height], color=mark.color, lw=1.2, ls=":", zorder=3)


def _draw_threshold(axes: Axes, threshold: float) -> None:
    axes.axhline(threshold, color=INK, ls="--", lw=1.1, zorder=1)
    axes.annotate(
        f"{threshold:g}",
        (1.01, threshold),
        xycoords=axes.get_yaxis_transform(),
        va="center",
        fontsize=8.5,
        color=INK,
    )


def _cost_axis(axes: Axes, costs: "pd.Series[float]") -> float:
    """Set scale, ticks and limits along the costs, with room at the sides; the upper limit."""
    positive = costs[costs > 0]
    if len(positive) and positive.max() / positive.min() >= _LOG_FROM:
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=8))
        axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _tick_text(value)))
    return _cost_limits(axes, positive)


def _cost_limits(axes: Axes, costs: "pd.Series[float]") -> float:
    """Set the limits along the costs, with room at the sides, and give the upper one."""
    if costs.empty:
        return 1.0
    if axes.get_xscale() == "log":
        limits = float(costs.min()) / 1.25, float(costs.max()) * 1.25
    else:
        limits = 0.0, float(costs.max()) * 1.05
    axes.set_xlim(*limits)
    return limits[1]


def _cost_unit(costs: "pd.Series[float]", unit: str) -> tuple[float, str]:
    """What to divide the costs by for numbers that people read, and what they count then."""
    if unit != "seconds":
        return 1.0, "training samples"
    most = costs.max() if len(costs) else 0.0
    return (3600.0, "hours") if most >= 7200 else (60.0, "minutes") if most >= 300 else (1.0, unit)


def _tick_text(value: float) -> str:
    """A tick, a round number, with no more digits than it has: ``2.5k``, ``20k``."""
    if value < 1000:
        return f"{value:g}"
    text = count_text(round(value))
    return f"{float(text[:-1]):g}{text[-1]}"
