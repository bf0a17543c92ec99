"""The best so far against what was paid: held against a reading trial by trial."""

import math

import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st

from dilsearch.report.best_so_far import best_so_far, over_seeds

STATES = ("complete", "pruned", "failed")
trials = st.lists(
    st.tuples(st.integers(0, 2), st.sampled_from(STATES), st.integers(0, 9), st.integers(0, 100)),
    min_size=1,
    max_size=12,
)


def _frame(rows: list[tuple[int, str, int, int]]) -> pd.DataFrame:
    frame = pd.DataFrame(rows, columns=["seed", "state", "samples", "mean_iou"])
    return frame.assign(number=range(len(rows)), mean_iou=frame["mean_iou"] / 100)


def _slowly(rows: list[tuple[int, str, int, int]]) -> list[tuple[int, float, float]]:
    """The same curve, one trial after the other."""
    paid, best, found = dict[int, int](), dict[int, float](), []
    for seed, state, samples, score in rows:
        paid[seed] = paid.get(seed, 0) + (samples if state != "failed" else 0)
        if state == "complete":
            best[seed] = max(best.get(seed, 0.0), score / 100)
        if seed in best:
            found.append((seed, float(paid[seed]), best[seed]))
    return found


@settings(max_examples=15)
@given(trials)
def test_complete_and_pruned_trials_are_paid_for_and_only_complete_ones_find_something(
    rows: list[tuple[int, str, int, int]],
) -> None:
    curve = best_so_far(_frame(rows), method="tpe", cost="samples", score="mean_iou")
    assert list(zip(curve["seed"], curve["cost"], curve["best"], strict=True)) == _slowly(rows)
    assert set(curve["method"]) <= {"tpe"}


@settings(max_examples=15)
@given(trials)
def test_the_mean_over_seeds_is_that_of_what_each_has_at_a_cost(
    rows: list[tuple[int, str, int, int]],
) -> None:
    curve = _slowly(rows)
    seeds = {seed for seed, _, _ in curve}
    frame = pd.DataFrame(curve, columns=["seed", "cost", "best"])
    shown = over_seeds(frame)
    costs = []
    for cost in sorted({cost for _, cost, _ in curve}):
        had = [
            max((b for s, c, b in curve if s == seed and c <= cost), default=None) for seed in seeds
        ]
        if None not in had:
            costs.append(cost)
            [row] = shown[shown["cost"] == cost].to_dict("records")
            assert math.isclose(row["mean"], sum(had) / len(had))
            assert (row["low"], row["high"]) == (min(had), max(had))
    assert list(shown["cost"]) == costs


def test_a_seed_that_joins_late_does_not_make_the_mean_jump() -> None:
    frame = pd.DataFrame({"seed": [0, 1, 1], "cost": [1, 5, 9], "best": [0.9, 0.1, 0.3]})
    shown = over_seeds(frame)
    assert shown.to_dict("list") == {
        "cost": [5.0, 9.0],
        "mean": [0.5, 0.6],
        "low": [0.1, 0.3],
        "high": [0.9, 0.9],
    }
