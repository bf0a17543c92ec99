"""Figures of sweeps: the points they draw, held against frames, and words that never collide."""

import statistics

import numpy as np
import pandas as pd
import pytest
from figure_parts import legend
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from dilsearch.report.figures import as_svg
from dilsearch.report.style import ORANGE
from dilsearch.report.sweep_figures import (
    cost_figure,
    field_figure,
    looks_figure,
    pareto_figure,
)
from dilsearch.report.sweep_marks import marks_of

GRID = {47: (0.3, 0.5), 143: (0.6, 0.9), 239: (0.9, 0.95)}
COLUMNS = ["method", "seed", "target_px", "field_px", "score", "pruned"]


def _points() -> pd.DataFrame:
    rows = [
        ("grid", seed, target, target + 4, scores[seed], False)
        for target, scores in GRID.items()
        for seed in (0, 1)
    ]
    rows += [("tpe", 0, None, 60 + 10 * k, 0.4 + 0.1 * k, k == 2) for k in range(4)]
    rows += [("search", seed, None, 190 + 10 * seed, 0.9 + 0.02 * seed, False) for seed in (0, 1)]
    rows += [("control", 0, None, 47, 0.33, False)]
    return pd.DataFrame(rows, columns=COLUMNS)


def _drawn(figure: Figure, marker: str, *, hollow: bool = False) -> list[list[tuple[float, float]]]:
    """The points of every line with that marker."""
    return [
        [(float(x), float(y)) for x, y in line.get_xydata()]
        for line in figure.axes[0].lines
        if line.get_marker() == marker and (line.get_markerfacecolor() == "none") == hollow
    ]


def _texts_overlap(figure: Figure) -> bool:
    figure.draw_without_rendering()
    axes = figure.axes[0]
    texts = [*axes.texts, axes.xaxis.label, axes.yaxis.label]
    texts += [text for shown in figure.legends for text in shown.get_texts()]
    for axis in (axes.xaxis, axes.yaxis):  # labels beyond the limits are there, and not drawn
        lower, upper = axis.get_view_interval()
        ticks = zip(axis.get_majorticklocs(), axis.get_ticklabels(), strict=True)
        texts += [text for place, text in ticks if lower <= place <= upper]
    boxes = [text.get_window_extent() for text in texts if text.get_text() and text.get_visible()]
    return any(
        one.overlaps(other) for index, one in enumerate(boxes) for other in boxes[index + 1 :]
    )


def test_field_figure_joins_the_means_of_the_targets_and_shows_every_seed() -> None:
    figure = field_figure(_points(), score_name="mean_iou", needed_px=191)
    seeds, means = _drawn(figure, "o")
    assert sorted(seeds) == [(t + 4.0, score) for t, scores in GRID.items() for score in scores]
    assert means == [
        (t + 4.0, pytest.approx(statistics.fmean(scores))) for t, scores in GRID.items()
    ]
    bars = figure.axes[0].containers[0].lines[2][0].get_segments()
    for bar, scores in zip(bars, GRID.values(), strict=True):
        assert bar[1][1] - bar[0][1] == pytest.approx(2 * statistics.stdev(scores))


def test_field_figure_draws_trials_as_dots_plans_as_stars_and_pruned_ones_hollow() -> None:
    figure = field_figure(_points(), score_name="mean_iou", needed_px=191, rate_one_px=47)
    [dots] = _drawn(figure, "s")
    assert dots == [(60.0, 0.4), (70.0, 0.5), (90.0, pytest.approx(0.7))]
    assert _drawn(figure, "s", hollow=True) == [[(80.0, pytest.approx(0.6))]]
    stars, mean = _drawn(figure, "*")
    assert stars == [(190.0, 0.9), (200.0, 0.92)]
    assert mean == [(195.0, pytest.approx(0.91))]
    assert legend(figure) == [
        "grid, 2 seeds",
        "tpe, 3 trials",
        "tpe, pruned",
        "search, 2 seeds",
        "control, 1 seed",
    ]
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert texts == ["every rate 1: 47 px", "needed: 191 px"]
    lower, upper = figure.axes[0].get_xlim()
    assert lower < 47
    assert upper > 243


def test_no_words_overlap_in_the_field_figure() -> None:
    named = {"control": "a $method$ whose name is longer than a legend has room for"}
    points = _points()
    more = points.assign(method=points["method"].replace(named))
    figure = field_figure(
        pd.concat([points, more]),
        score_name="mean_iou",
        needed_px=60,
        rate_one_px=50,
    )
    assert not _texts_overlap(figure)
    box = figure.legends[0].get_window_extent()
    assert box.width <= figure.bbox.width
    # The control: words that do overlap are found.
    figure.axes[0].annotate("needed", (0.5, 0.5), xycoords="axes fraction")
    figure.axes[0].annotate("needed", (0.51, 0.5), xycoords="axes fraction")
    assert _texts_overlap(figure)


def test_one_seed_has_no_bars_and_nothing_has_no_figure_of_something() -> None:
    points = _points()
    one = points[(points["method"] == "grid") & (points["seed"] == 0)]
    figure = field_figure(one, score_name="far_accuracy", needed_px=None)
    assert not figure.axes[0].collections
    assert figure.axes[0].get_ylabel() == "far accuracy"
    empty = field_figure(points[:0], score_name="mean_iou", needed_px=191)
    assert [text.get_text() for text in empty.axes[0].texts] == ["no plan has been scored yet"]
    assert not empty.legends


def _curves(factor: float = 1) -> pd.DataFrame:
    rows = [("grid", 0, 10, 0.5), ("grid", 0, 30, 0.9), ("grid", 1, 20, 0.7), ("grid", 1, 40, 0.8)]
    rows += [("search", 0, 20, 0.95), ("search", 1, 24, 0.85)]
    frame = pd.DataFrame(rows, columns=["method", "seed", "cost", "best"])
    return frame.assign(cost=frame["cost"] * factor)


def test_cost_figure_steps_through_the_mean_and_a_search_is_one_jump() -> None:
    figure = cost_figure(_curves(), score_name="mean_iou", threshold=0.98, unit="samples")
    axes = figure.axes[0]
    [steps] = [line for line in axes.lines if line.get_drawstyle() == "steps-post"]
    assert np.allclose(steps.get_xydata(), [(20, 0.6), (30, 0.8), (40, 0.85)])
    [[jump]] = _drawn(figure, "*")
    assert jump == (22.0, pytest.approx(0.9))
    assert legend(figure) == ["grid, 2 seeds", "search, 2 seeds"]
    levels = [line.get_ydata()[0] for line in axes.lines if line.get_linestyle() == "--"]
    assert levels == [0.98]
    assert axes.texts[0].get_text() == "0.98"
    assert axes.get_xscale() == "linear"
    assert axes.get_xlabel() == "cost (training samples)"
    assert not _texts_overlap(figure)


def test_cost_axis_is_logarithmic_where_costs_are_far_apart_and_speaks_in_hours() -> None:
    far = pd.concat([_curves(), _curves(100).assign(method="tpe")])
    figure = cost_figure(far, score_name="mean_iou", threshold=None, unit="samples")
    assert figure.axes[0].get_xscale() == "log"
    assert not _texts_overlap(figure)
    hours = cost_figure(_curves(360), score_name="mean_iou", threshold=None, unit="seconds")
    assert hours.axes[0].get_xlabel() == "cost (hours)"
    [[jump]] = _drawn(hours, "*")
    assert jump[0] == pytest.approx(2.2)
    empty = cost_figure(far[:0], score_name="x", threshold=0.9, unit="seconds")
    assert [text.get_text() for text in empty.axes[0].texts] == [
        "no trial has been scored yet",
        "0.9",
    ]


def test_pareto_figure_joins_and_numbers_the_front_alone() -> None:
    draw = np.random.default_rng(0)
    trials = pd.DataFrame(
        {
            "number": range(40),
            "state": ["complete"] * 39 + ["pruned"],
            "mean_iou": draw.random(40),
            "latency_ms": draw.uniform(3, 9, 40),
        }
    )
    done = trials[:39]
    front = [
        number
        for number, score, time in zip(
            done["number"], done["mean_iou"], done["latency_ms"], strict=True
        )
        if not (
            (done["mean_iou"] >= score)
            & (done["latency_ms"] <= time)
            & ((done["mean_iou"] > score) | (done["latency_ms"] < time))
        ).any()
    ]
    figure = pareto_figure(trials, front, ["mean_iou", "latency_ms"])
    rest, joined, marked = figure.axes[0].lines
    assert len(rest.get_xdata()) == 39 - len(front)
    expected = (
        done.set_index("number").loc[front, ["latency_ms", "mean_iou"]].sort_values("latency_ms")
    )
    for line in (joined, marked):
        assert np.allclose(line.get_xydata(), expected)
    numbers = [int(text.get_text()) for text in figure.axes[0].texts]
    assert set(numbers) <= set(front)
    assert len(numbers) > len(front) / 2
    assert not _texts_overlap(figure)
    assert legend(figure) == ["front, by trial number", "not on the front"]
    three = pareto_figure(trials.assign(far=0.5), front, ["mean_iou", "latency_ms", "far"])
    assert len(three.axes[0].lines) == 2  # no line joins a front of three


def test_looks_end_hollow_where_a_trial_was_pruned_and_the_best_stands_out() -> None:
    rows = [
        (n, 10 * k, 0.1 * n + 0.01 * k, n == 1) for n in range(3) for k in range(1, 5 - (n == 1))
    ]
    looks = pd.DataFrame(rows, columns=["number", "step", "score", "pruned"])
    figure = looks_figure(looks, best=2)
    lines = figure.axes[0].lines
    ends: list[Line2D] = [line for line in lines if len(line.get_xdata()) == 1]
    assert [tuple(end.get_xydata()[0]) for end in ends] == [
        (40, pytest.approx(0.04)),
        (30, pytest.approx(0.13)),
        (40, pytest.approx(0.24)),
    ]
    assert [end.get_markerfacecolor() == "white" for end in ends] == [False, True, False]
    assert [end.get_marker() for end in ends] == ["o", "o", "*"]
    assert ends[2].get_color() == ORANGE
    assert legend(figure) == ["best: trial 2", "complete (1)", "pruned (1)"]
    empty = looks_figure(looks[:0], best=None)
    assert [text.get_text() for text in empty.axes[0].texts] == ["no trial has been looked at yet"]


def test_equal_frames_give_equal_files() -> None:
    few = _points()[:2]
    one, other = (
        as_svg(field_figure(points, score_name="mean_iou", needed_px=None))
        for points in (few, few.copy())
    )
    assert one == other


def test_marks_go_by_kind_whatever_a_method_is_called() -> None:
    kinds = {"mine": "search", "by hand": "control", "a grid": "grid", "later": "search", "x": "y"}
    marks = marks_of(pd.DataFrame({"method": list(kinds), "kind": list(kinds.values())}))
    assert list(marks) == ["a grid", "mine", "later", "by hand", "x"]
    named = marks_of(pd.DataFrame({"method": ["grid", "search", "control"]}))  # without kinds
    assert [marks[name] for name in ("a grid", "mine", "by hand")] == list(named.values())
    assert marks["later"].shape == marks["mine"].shape == "*"
    assert len({mark.color for mark in marks.values()}) == len(marks)
    renamed = _curves().replace({"method": {"search": "mine"}})
    curves = renamed.assign(kind=_curves()["method"])
    figure = cost_figure(curves, score_name="mean_iou", threshold=None, unit="samples")
    assert len(_drawn(figure, "*")) == 1
    points = _points().assign(kind=_points()["method"], method="one, then another")
    mine = points[points["kind"] == "search"]
    assert _drawn(field_figure(mine, score_name="mean_iou", needed_px=None), "*")
