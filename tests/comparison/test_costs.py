import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dilsearch.comparison.costs import (
    best_within,
    costs_table,
    curves,
    first_reached,
    with_first_reached,
)
from dilsearch.comparison.methods import read_methods

WriteRun = Callable[..., Path]

trials = st.lists(
    st.tuples(
        st.sampled_from(["complete", "pruned", "failed"]), st.integers(0, 5), st.integers(0, 4)
    ),
    min_size=1,
    max_size=8,
)


def plans_of(*methods: list[tuple[str, int, int]]) -> pd.DataFrame:
    """Plans of one method each with seeds 0, 1, ...: state, samples, and score in quarters."""
    return pd.DataFrame(
        [
            {
                "method": "m", "kind": "tpe", "seed": seed, "number": number, "state": state,
                "samples": samples, "seconds": 2.0 * samples, "score": score / 4,
            }
            for seed, rows in enumerate(methods)
            for number, (state, samples, score) in enumerate(rows)
        ]
    ).astype({"seed": "Int64", "number": "Int64", "samples": "Int64"})  # fmt: skip


@settings(max_examples=12, deadline=None)
@given(trials, trials, st.integers(0, 4))
def test_curves_agree_with_a_walk_through_the_trials(
    one: list[tuple[str, int, int]], two: list[tuple[str, int, int]], quarters: int
) -> None:
    shuffled = plans_of(one, two).sample(frac=1, random_state=0)
    found = curves(shuffled)
    reached = first_reached(found, quarters / 4).set_index("seed")["cost"]
    for seed, rows in enumerate((one, two)):
        spent, best, expected, first = 0, None, [], None
        for state, samples, score in rows:
            spent += samples if state != "failed" else 0
            if state == "complete":
                best = score / 4 if best is None else max(best, score / 4)
            if best is not None:
                expected.append((float(spent), best))
                if first is None and best >= quarters / 4:
                    first = float(spent)
        part = found[found["seed"] == seed]
        assert list(zip(part["cost"], part["best"], strict=True)) == expected
        if expected:
            assert reached[seed] == first or (first is None and math.isnan(reached[seed]))


@pytest.fixture
def plans(
    tmp_path: Path, write_run: WriteRun, write_sweep: WriteRun, tpe_trials: list[dict[str, Any]]
) -> pd.DataFrame:
    sweep = write_sweep(tmp_path / "t", tpe_trials, protocol="tpe")
    return read_methods([str(write_run(tmp_path / "r")), str(sweep)]).plans


def test_complete_and_pruned_trials_are_charged_and_only_complete_ones_score(
    plans: pd.DataFrame,
) -> None:
    found = curves(plans)
    tpe = found[found["method"] == "tpe"]
    assert list(tpe["cost"]) == [80, 80, 80, 140]
    assert list(tpe["best"]) == [0.5, 0.5, 0.5, 0.95]  # the pruned 0.99 is none
    once = found[found["method"] != "tpe"]
    assert list(zip(once["method"], once["cost"], once["best"], strict=True)) == [
        ("search", 160, 0.9),
        ("control", 60, 0.5),
    ]
    assert list(curves(plans, "seconds")["cost"]) == [6.0, 80.0, 80.0, 80.0, 140.0, 2.0]


def test_first_reached(plans: pd.DataFrame) -> None:
    reached = first_reached(curves(plans), 0.9).set_index("method")["cost"]
    assert reached["search"] == 160  # at the score counts as reached
    assert reached["tpe"] == 140
    assert math.isnan(reached["control"])


def test_best_within_a_budget(plans: pd.DataFrame) -> None:
    best = best_within(curves(plans), 100).set_index("method")["best"]
    assert (best["tpe"], best["control"]) == (0.5, 0.5)
    assert math.isnan(best["search"])
    assert best_within(curves(plans), 140).set_index("method")["best"]["tpe"] == 0.95


def test_the_table_has_both_units(plans: pd.DataFrame) -> None:
    table = costs_table(plans)
    assert list(table.columns) == ["method", "kind", "seed", "samples", "seconds", "best"]
    assert table.iloc[0].to_list() == ["search", "search", 0, 160, 6.0, 0.9]


def test_outcomes_get_what_was_spent_until_then(plans: pd.DataFrame) -> None:
    seeds = pd.DataFrame({"name": ["tpe", "view"], "method": ["tpe", "tpe"], "seed": [0, 0]})
    assert with_first_reached(seeds, plans, None) is seeds
    told = with_first_reached(seeds.astype({"seed": "Int64"}), plans, 0.5)
    assert told["samples_reached"][0] == told["seconds_reached"][0] == 80
    assert math.isnan(told["samples_reached"][1])
