"""The figures of sweeps and of comparisons with them, one function each: frames in, a Figure out.

A method has the same colour and mark in all of them, as ``sweep_marks`` says. Names of levels and
methods stand outside the axes, so that no word runs into the data.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from dilsearch.baselines.record import column_in_words
from dilsearch.report.cost_figure import cost_figure
from dilsearch.report.style import label, new_axes, new_figure
from dilsearch.report.sweep_marks import (
    HEIGHT_IN,
    Mark,
    counted,
    legend_below,
    line_mark,
    marks_of,
    method_words,
    name_needed,
    nothing_yet,
)
from dilsearch.report.trial_figures import looks_figure, pareto_figure

__all__ = ["cost_figure", "field_figure", "looks_figure", "pareto_figure"]


def field_figure(
    points: pd.DataFrame,
    *,
    score_name: str,
    needed_px: int | None,
    rate_one_px: int | None = None,
) -> Figure:
    """Score against field of view, as in RegSeg's Fig. 5: what a wider field gains.

    Plans that were aimed at a target are joined by a line through the means over their seeds;
    methods with one plan for each seed show every plan and their mean with the spread of both
    field and score; of methods with many trials each is a dot. Bars are one standard deviation.
    Pruned trials are hollow and enter no mean.

    Args:
        points: One row per trained plan: ``method``, ``seed``, ``target_px`` (missing without a
            target), ``field_px``, ``score`` and ``pruned``; rows without a score are left out.
            Also ``kind`` where names of methods do not say it.
        score_name: Column the scores are from, such as ``mean_iou``.
        needed_px: The field the task needs; None leaves its line out.
        rate_one_px: The field with every rate 1; None leaves its line out.

    Source: Gao, "Rethink Dilated Convolution for Real-time Semantic Segmentation", Fig. 5.
    """
    figure = new_figure(HEIGHT_IN)
    axes = new_axes(figure)
    known = points.dropna(subset=["field_px", "score"])
    known = known.astype({"field_px": float, "score": float, "pruned": bool})
    handles = []
    for name, mark in marks_of(known).items():
        rows = known[known["method"] == name]
        handles += _draw_method(axes, name, rows, mark)
    levels = [level for level in (needed_px, rate_one_px) if level is not None]
    _limit_fields(axes, [*known["field_px"], *levels])
    axes.margins(y=0.08)
    if known.empty:
        nothing_yet(axes, "no plan has been scored yet")
    else:
        name_needed(axes, needed_px, rate_one_px)
    label(axes, "field of view (px)", column_in_words(score_name))
    legend_below(figure, handles)
    return figure


def _limit_fields(axes: Axes, fields: Sequence[float]) -> None:
    """Limits along the fields, with room at the sides; whatever there is for no field."""
    if fields:
        room = 0.05 * (max(fields) - min(fields)) or 0.1 * max(fields)
        axes.set_xlim(min(fields) - room, max(fields) + room)


def _draw_method(axes: Axes, name: str, rows: pd.DataFrame, mark: Mark) -> list[Line2D]:
    """Draw one method's plans, and give its entries of the legend."""
    whole, pruned = rows[~rows["pruned"]], rows[rows["pruned"]]
    aimed = whole[whole["target_px"].notna()]
    loose = whole[whole["target_px"].isna()]
    handles = []
    if len(aimed):
        handles.append(_draw_targets(axes, name, aimed, mark))
    if len(loose):
        draw = _draw_plans if loose["seed"].is_unique else _draw_trials
        handles.append(draw(axes, name, loose, mark))
    if len(pruned):
        handles.append(_draw_pruned(axes, name, pruned, mark))
    return handles


def _draw_targets(axes: Axes, name: str, rows: pd.DataFrame, mark: Mark) -> Line2D:
    """A line through the means of the targets, every seed a faint dot."""
    axes.plot(
        rows["field_px"], rows["score"], mark.shape, color=mark.color, ms=3.2, mew=0, alpha=0.35
    )
    grouped = rows.groupby("target_px")
    means = grouped[["field_px", "score"]].mean().assign(spread=grouped["score"].std())
    means = means.sort_values("field_px")
    _bars(axes, means["field_px"], means["score"], mark, up=means["spread"], line=True)
    return line_mark(mark, f"{method_words(name)}, {_seeds_text(grouped['seed'].nunique())}")


def _draw_plans(axes: Axes, name: str, rows: pd.DataFrame, mark: Mark) -> Line2D:
    """Every seed's plan faint, and their mean with its spread in both directions."""
    if len(rows) > 1:
        axes.plot(
            rows["field_px"],
            rows["score"],
            mark.shape,
            color=mark.color,
            ms=0.6 * mark.size,
            mew=0,
            alpha=0.45,
            zorder=4,
        )
    mean = rows[["field_px", "score"]].mean().to_frame().T
    spread = rows[["field_px", "score"]].std().to_frame().T
    along = spread["field_px"].where(spread["field_px"] > 0)
    _bars(axes, mean["field_px"], mean["score"], mark, up=spread["score"], along=along, above=True)
    return line_mark(mark, f"{method_words(name)}, {counted(len(rows), 'seed')}", line=False)


def _draw_trials(axes: Axes, name: str, rows: pd.DataFrame, mark: Mark) -> Line2D:
    """Every trial a small dot."""
    size = 0.8 * mark.size
    axes.plot(
        rows["field_px"],
        rows["score"],
        mark.shape,
        color=mark.color,
        ms=size,
        mew=0,
        alpha=0.6,
        zorder=3,
    )
    text = f"{method_words(name)}, {counted(len(rows), 'trial')}"
    return line_mark(mark._replace(size=size), text, line=False)


def _draw_pruned(axes: Axes, name: str, rows: pd.DataFrame, mark: Mark) -> Line2D:
    """Every pruned trial a small hollow dot."""
    axes.plot(
        rows["field_px"],
        rows["score"],
        mark.shape,
        color=mark.color,
        mfc="none",
        ms=4,
        mew=0.9,
        alpha=0.6,
        zorder=2,
    )
    text = f"{method_words(name)}, pruned"
    return line_mark(mark._replace(size=4), text, line=False, hollow=True)


def _bars(
    axes: Axes,
    x: "pd.Series[Any]",
    y: "pd.Series[Any]",
    mark: Mark,
    *,
    up: "pd.Series[Any]",
    along: "pd.Series[Any] | None" = None,
    line: bool = False,
    above: bool = False,
) -> None:
    """Means with their standard deviations; a mean of one seed has none."""
    axes.errorbar(
        x,
        y,
        yerr=None if up.isna().all() else up,
        xerr=None if along is None or along.isna().all() else along,
        fmt=mark.shape,
        ls="-" if line else "none",
        color=mark.color,
        lw=1.6,
        ms=mark.size,
        mec="white",
        mew=0.7,
        elinewidth=1.3,
        capsize=2.6,
        zorder=6 if above else 4,
    )


def _seeds_text(counts: "pd.Series[int]") -> str:
    least, most = int(np.min(counts)), int(np.max(counts))
    return counted(most, "seed") if least == most else f"{least} to {most} seeds"
