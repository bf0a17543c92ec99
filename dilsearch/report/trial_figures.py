"""The trials of one sweep: what they reached in two objectives, and how they came there."""

from collections.abc import Sequence
from typing import Final

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from dilsearch.baselines.record import column_in_words
from dilsearch.report.number_labels import number_points
from dilsearch.report.style import BLUE, GREY, ORANGE, label, new_axes, new_figure
from dilsearch.report.sweep_marks import (
    HEIGHT_IN,
    Mark,
    legend_below,
    line_mark,
    nothing_yet,
)

MINIMISED: Final = frozenset({"latency_ms"})
"""Objectives of which less is better; of every other, more is."""

_BEST, _COMPLETE, _PRUNED = Mark(ORANGE, "*", 11.0), Mark(BLUE, "o", 4.5), Mark(GREY, "o", 4.5)
_FRONT, _BEHIND = Mark(ORANGE, "D", 5.5), Mark("#A9AFB9", "o", 4.5)


def pareto_figure(
    trials: pd.DataFrame,
    pareto: Sequence[int],
    objectives: Sequence[str],
    *,
    numbered: str = "trial number",
) -> Figure:
    """The first objective against the second: every complete trial, the front joined and numbered.

    The front is joined by steps, since no trial is known to lie between two of its points. With
    more than two objectives it is not joined, because a front of three is no line in two.

    Args:
        trials: ``number``, ``state`` and the objectives' columns.
        pareto: Numbers of the trials that no other dominates, being at least as good in all
            objectives and better in one.
        objectives: Names of the columns, the first for the upright axis.
        numbered: What ``number`` is.
    """
    figure = new_figure(HEIGHT_IN)
    axes = new_axes(figure)
    up, along = objectives[:2]
    complete = trials[trials["state"] == "complete"].dropna(subset=[up, along])
    complete = complete.astype({up: float, along: float})
    on_front = complete["number"].isin(list(pareto))
    front = complete[on_front].sort_values([along, up])
    rest = complete[~on_front]
    axes.plot(rest[along], rest[up], "o", color=GREY, ms=4.5, mew=0, alpha=0.45, zorder=2)
    if len(objectives) == 2:
        style = "steps-post" if along in MINIMISED else "steps-pre"
        axes.plot(front[along], front[up], color=ORANGE, lw=1.4, drawstyle=style, zorder=3)
    axes.plot(front[along], front[up], "D", color=ORANGE, ms=5.5, mew=0, zorder=4)
    if complete.empty:
        nothing_yet(axes, "no trial is complete yet")
    axes.margins(0.1)
    label(axes, column_in_words(along), column_in_words(up))
    handles = [line_mark(_FRONT, f"front, by {numbered}", line=len(objectives) == 2)]
    if len(rest):
        handles.append(line_mark(_BEHIND, "not on the front", line=False))
    legend_below(figure, handles if len(complete) else [])
    number_points(axes, front[along], front[up], front["number"], avoid=rest[[along, up]])
    return figure


def looks_figure(looks: pd.DataFrame, *, best: int | None, score_name: str = "mean_iou") -> Figure:
    """The validation score of every trial while it trained; pruned ones end in a hollow mark.

    Args:
        looks: A row per look: ``number`` of the trial, ``step``, ``score``, and ``pruned``,
            whether the trial was.
        best: Number of the best trial, drawn strong; None where there is none.
        score_name: Column the scores are from.
    """
    figure = new_figure(HEIGHT_IN)
    axes = new_axes(figure)
    known = looks.dropna(subset=["step", "score"]).astype({"score": float, "pruned": bool})
    trials = {
        int(str(number)): rows.sort_values("step") for number, rows in known.groupby("number")
    }
    pruned = {number for number, rows in trials.items() if rows["pruned"].iloc[-1]}
    faint = 1.0 if len(trials) < 12 else 0.6
    for number, rows in trials.items():
        mark = _BEST if number == best else _PRUNED if number in pruned else _COMPLETE
        _draw_looks(axes, rows, mark, faint=faint, hollow=number in pruned)
    if known.empty:
        nothing_yet(axes, "no trial has been looked at yet")
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.set_xlim(left=0)
    label(axes, "training step", f"{column_in_words(score_name)} on validation")
    handles = [line_mark(_BEST, f"best: trial {best}")] if best in trials else []
    if others := trials.keys() - pruned - {best}:
        handles.append(line_mark(_COMPLETE, f"complete ({len(others)})"))
    if pruned:
        handles.append(line_mark(_PRUNED, f"pruned ({len(pruned)})", hollow=True))
    legend_below(figure, handles)
    return figure


def _draw_looks(axes: Axes, rows: pd.DataFrame, mark: Mark, *, faint: float, hollow: bool) -> None:
    """One trial: a line through its looks, and a mark at the last of them."""
    chosen = mark is _BEST
    axes.plot(
        rows["step"],
        rows["score"],
        color=mark.color,
        lw=2.2 if chosen else 1.0,
        alpha=1.0 if chosen else faint,
        zorder=4 if chosen else 3,
    )
    axes.plot(
        rows["step"].iloc[-1:],
        rows["score"].iloc[-1:],
        mark.shape,
        color=mark.color,
        ms=mark.size,
        mfc="white" if hollow else mark.color,
        zorder=6 if chosen else 5,
        clip_on=False,
    )
