"""The figures of a sweep's page, and what stands below them."""

from collections.abc import Mapping
from typing import Final

import pandas as pd
from matplotlib.figure import Figure

from dilsearch.report.best_so_far import best_so_far
from dilsearch.report.sweep_figures import cost_figure, field_figure, looks_figure, pareto_figure
from dilsearch.report.sweep_tables import SweepData, target_means

_FIGURES: Final = {
    "field": (
        "Score against field of view, one mark for each trained plan",
        "What a wider field gains. {points} The dashed line is the field that the task needs.",
    ),
    "cost": (
        "Best score so far against the training samples paid for",
        "The best score so far against all samples paid for, those of pruned trials "
        "included.{band}",
    ),
    "pareto": (
        "Two objectives of every complete {one}, with the front joined",
        "On the front is every {one} that no other dominates, by being at least as good in "
        "all objectives and better in one.{means} The steps between them are what is known to be "
        "reached.",
    ),
    "looks": (
        "Validation score of every trial while it trained",
        "Mean IoU on the validation set while each trial trained. A trial that was pruned ends in "
        "a hollow mark.",
    ),
}
_TRIAL_WORDS: Final = {
    "one": "trial",
    "points": "A dot is a trial that ran to its end; a hollow one was pruned.",
    "band": "",
    "means": "",
}
_GRID_WORDS: Final = {
    "one": "target",
    "points": "Marks are means over the seeds, bars one standard deviation, faint dots the seeds.",
    "band": (
        " The line is the mean over the seeds, each of which pays for its own trials, in a band "
        "from the lowest to the highest."
    ),
    "means": " Each stands for its mean over the seeds.",
}


def draw_sweep_figures(data: SweepData) -> dict[str, Figure]:
    """The figures that the sweep has data for: ``field``, ``cost``, ``pareto``, ``looks``."""
    drawn: dict[str, Figure] = {}
    if data.trained.empty:
        return drawn
    method = "grid" if data.is_grid else "tpe"
    known = data.charged[data.charged["answered_from"].isna()]
    points = known.assign(method=method, score=known[data.score], pruned=known["state"] == "pruned")
    drawn["field"] = field_figure(points, score_name=data.score, needed_px=data.result("needed_px"))
    curve = best_so_far(data.trials, method=method, cost="samples", score=data.score)
    drawn["cost"] = cost_figure(curve, score_name=data.score, threshold=None, unit="samples")
    if len(data.objectives) > 1 and set(data.objectives) <= set(known.columns):
        drawn["pareto"] = _draw_pareto(data, known)
    if data.looks["number"].duplicated().any():  # more than the final score of each trial
        drawn["looks"] = looks_figure(data.looks, best=data.result("best", "trial"))
    return drawn


def pictures(data: SweepData, images: Mapping[str, str]) -> list[dict[str, str]]:
    """Address, description and caption of each figure, in the order of the page.

    Args:
        data: The sweep.
        images: Figure name to its ``data:`` address.
    """
    words = _GRID_WORDS if data.is_grid else _TRIAL_WORDS
    return [
        {
            "address": images[name],
            "text": text.format(**words),
            "caption": caption.format(**words),
        }
        for name, (text, caption) in _FIGURES.items()
        if name in images
    ]


def _draw_pareto(data: SweepData, known: pd.DataFrame) -> Figure:
    """The front: of proposed plans over trials, of a grid over targets."""
    front = known[known["number"].isin(list(data.result("pareto") or ()))]
    if data.is_grid:
        targets, means = front["target_px"].drop_duplicates(), target_means(data)
        return pareto_figure(means, list(targets), data.objectives, numbered="target (px)")
    return pareto_figure(known, list(front["number"]), data.objectives)
