"""What a method has reached for what it has cost, beside others that were paid in the same coin."""

from typing import Final, Literal

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

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
    score_words,
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
        curves: ``method``, ``seed``, ``cost`` and ``best``, a row at each change or more.
        score_name: Column the scores are from.
        threshold: A score to reach; None leaves its line out.
        unit: What the costs count.
    """
    figure = new_figure(HEIGHT_IN)
    axes = new_axes(figure)
    known = curves.dropna(subset=["cost", "best"]).astype({"cost": float, "best": float})
    scale, words = _cost_unit(known["cost"], unit)
    known = known.assign(cost=known["cost"] / scale)
    positive = known.loc[known["cost"] > 0, "cost"]
    if len(positive) and positive.max() / positive.min() >= _LOG_FROM:
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=8))
        axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _tick_text(value)))
    end = _cost_limits(axes, positive)
    handles = [
        _draw_curve(axes, name, known[known["method"] == name], mark, end)
        for name, mark in marks_of(known["method"]).items()
    ]
    if known.empty:
        nothing_yet(axes, "no trial has been scored yet")
    axes.margins(y=0.08)
    if threshold is not None:
        axes.axhline(threshold, color=INK, ls="--", lw=1.1, zorder=1)
        axes.annotate(
            f"{threshold:g}",
            (1.01, threshold),
            xycoords=axes.get_yaxis_transform(),
            va="center",
            fontsize=8.5,
            color=INK,
        )
    label(axes, f"cost ({words})", f"best {score_words(score_name)} so far")
    legend_below(figure, handles)
    return figure


def _draw_curve(axes: Axes, name: str, rows: pd.DataFrame, mark: Mark, end: float) -> Line2D:
    """One method's mean over its seeds with their range, dotted to the end of the axis."""
    curve = over_seeds(rows)
    single = not rows.duplicated("seed").any()
    cost, mean = curve["cost"], curve["mean"]
    if single:
        # every seed pays once: what counts is the mean at the mean cost
        at, height = rows["cost"].mean(), rows["best"].mean()
        low, high = rows["best"].min(), rows["best"].max()
        axes.errorbar(
            [at],
            [height],
            yerr=[[height - low], [high - height]],
            xerr=[[at - rows["cost"].min()], [rows["cost"].max() - at]],
            fmt=mark.shape,
            color=mark.color,
            ms=mark.size,
            mec="white",
            mew=0.7,
            elinewidth=1.3,
            capsize=2.6,
            zorder=6,
        )
        axes.plot([at, end], [height, height], color=mark.color, lw=1.2, ls=":", zorder=3)
    else:
        axes.fill_between(
            cost, curve["low"], curve["high"], step="post", color=mark.color, alpha=0.13, lw=0
        )
        axes.plot(cost, mean, color=mark.color, lw=1.8, drawstyle="steps-post", zorder=4)
        axes.plot(
            cost.iloc[[0, -1]],
            mean.iloc[[0, -1]],
            mark.shape,
            color=mark.color,
            ms=mark.size,
            mec="white",
            mew=0.7,
            zorder=5,
        )
        axes.plot(
            [cost.iloc[-1], end],
            [mean.iloc[-1]] * 2,
            color=mark.color,
            lw=1.2,
            ls=":",
            zorder=3,
        )
    return line_mark(
        mark, f"{method_words(name)}, {counted(rows['seed'].nunique(), 'seed')}", line=not single
    )


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
