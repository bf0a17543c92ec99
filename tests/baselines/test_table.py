"""What is recorded of trials and read again, the best of them, and the Pareto front."""

import io
import math
from itertools import product
from typing import Any

import optuna
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.exceptions import ExperimentalWarning
from optuna.trial import TrialState, create_trial

from dilsearch.baselines.objectives import Objectives
from dilsearch.baselines.record import TRIAL_TYPES
from dilsearch.baselines.table import (
    Best,
    best_of,
    pareto,
    plan_of_trial,
    record_request,
    record_result,
    record_sweep,
    trials_table,
)
from dilsearch.baselines.trial import Suggestion, TrialRequest, TrialResult
from dilsearch.plan import DilationPlan, SiteRates

PLAN = DilationPlan({"body.0": SiteRates("branch", (1, 4)), "body.1": SiteRates("site", (3,))})
MIOU = Objectives.parse("miou")
BOTH = Objectives.parse("miou,latency")


def recorded() -> optuna.Study:
    """One trial of every state, as a worker leaves them."""
    study = optuna.create_study(direction="maximize")
    trial = study.ask()
    suggestion = Suggestion(PLAN, seed=2, target_px=100, remarks=("first", "second"))
    record_request(trial, TrialRequest(0, "100 px seed 2", suggestion))
    scores = {"mean_iou": 0.5, "far_accuracy": 1, "class_accuracy": None}
    record_result(
        trial, TrialResult(False, scores, 99, 640, 1.23456, device="cpu", folder="trials/0000")
    )
    study.tell(trial, 0.5)
    pruned = study.ask()
    record_result(pruned, TrialResult(True, {"mean_iou": 0.25}, 51, 64, 0.5, latency_ms=7.0))
    study.tell(pruned, state=TrialState.PRUNED)
    failed = study.ask()
    failed.set_user_attr("reason", "out of memory")
    study.tell(failed, state=TrialState.FAIL)
    study.ask()
    surplus = study.ask()
    surplus.set_user_attr("failure", "surplus")
    study.tell(surplus, state=TrialState.FAIL)
    study.enqueue_trial({}, user_attrs={"slot": "tpe 4", "retry_of": 2})
    return study


class TestTable:
    def test_a_row_for_whatever_became_of_a_trial(self):
        table = trials_table(recorded())
        assert list(table.columns) == [*TRIAL_TYPES, "far_accuracy"]
        assert {name: str(kind) for name, kind in table.dtypes.items()} == {
            **TRIAL_TYPES,
            "far_accuracy": "float64",
        }
        states = ["complete", "pruned", "failed", "running", "waiting"]
        assert list(table["state"]) == states
        assert list(table["number"]) == [0, 1, 2, 3, 5]  # 4 was taken back before it ran
        first = table.iloc[0]
        assert first["slot"] == "100 px seed 2"
        assert (first["seed"], first["target_px"], first["field_px"]) == (2, 100, 99)
        assert first["rates"] == "body.0 (1, 4), body.1 (3)"
        assert first["plan_hash"] == PLAN.hash
        assert (first["mean_iou"], first["far_accuracy"]) == (0.5, 1.0)
        assert (first["samples"], first["seconds"]) == (640, 1.235)
        assert first["reason"] == "first; second"
        assert first["host"]
        assert table["latency_ms"][1] == 7.0
        assert table["reason"][2] == "out of memory"
        assert table["retry_of"][4] == 2

    def test_of_no_trial(self):
        table = trials_table(optuna.create_study())
        assert list(table.columns) == list(TRIAL_TYPES)
        assert table.empty
        assert best_of(table, "tpe", MIOU) is None
        assert pareto(table, "tpe", BOTH) == []

    def test_written_and_read_again(self):
        table = trials_table(recorded())
        text = table.to_csv(index=False)
        pd.testing.assert_frame_equal(
            pd.read_csv(io.StringIO(text), dtype={**TRIAL_TYPES}), table, check_dtype=True
        )

    def test_the_plan_is_kept(self):
        trials = recorded().trials
        assert plan_of_trial(trials[0]) == PLAN
        assert plan_of_trial(trials[1]) is None
        assert "\n" not in trials[0].user_attrs["plan"]


def table_of(*rows: dict[str, Any]) -> pd.DataFrame:
    whole = [
        {
            "number": number,
            "state": "complete",
            "slot": f"slot {number}",
            "field_px": 100,
            "plan_hash": f"{number:x}",
            **row,
        }
        for number, row in enumerate(rows)
    ]
    return pd.DataFrame(whole, columns=[*TRIAL_TYPES]).astype(dict(TRIAL_TYPES))


def trial_of(best: Best | None) -> int | None:
    return best and best.trial


def test_the_study_says_what_it_is():
    study = optuna.create_study(directions=BOTH.directions)
    record_sweep(study, {"sweep": "a grid", "seeds": [0, 1]}, BOTH)
    record_sweep(study, {"sweep": "a grid", "seeds": [0, 1, 2]}, BOTH)  # by one who joins
    assert study.user_attrs == {"sweep": "a grid", "seeds": [0, 1, 2]}
    assert study.metric_names == ["mean_iou", "latency_ms"]
    with pytest.warns(ExperimentalWarning):  # which record_sweep keeps quiet
        study.set_metric_names(["mean_iou", "latency_ms"])


class TestBest:
    def test_of_a_grid_is_the_target_with_the_highest_mean(self):
        table = table_of(
            {"target_px": 50, "seed": 0, "mean_iou": 0.7, "field_px": 51},
            {"target_px": 90, "seed": 0, "mean_iou": 0.9, "field_px": 91},
            {"target_px": 50, "seed": 1, "mean_iou": 0.8, "field_px": 51},
            {"target_px": 90, "seed": 1, "mean_iou": 0.5, "field_px": 91},
            {"target_px": 90, "seed": 2, "state": "failed", "field_px": 91},
        )
        best = best_of(table, "grid", MIOU)
        assert best is not None
        assert best == Best(
            trial=2,
            slot="slot 2",
            score=0.75,
            mean_iou=0.75,
            std=best.std,
            seeds=2,
            field_px=51,
            target_px=50,
            plan_hash="2",
        )
        assert best.std == pytest.approx(math.sqrt(0.005))
        assert trial_of(best_of(table, "tpe", MIOU)) == 1

    def test_a_target_that_failed_with_a_seed_of_all_others_comes_last(self):
        """Its mean is that of the easier seeds; one that was not tried yet takes nothing away."""
        easy, hard = {"seed": 0, "mean_iou": 0.9}, {"seed": 1, "mean_iou": 0.5}
        failed = {"seed": 1, "state": "failed"}
        both = [{"target_px": 50, **easy, "mean_iou": 0.8}, {"target_px": 50, **hard}]
        one_failed = table_of({"target_px": 90, **easy}, {"target_px": 90, **failed}, *both)
        assert trial_of(best_of(one_failed, "grid", MIOU)) == 2
        not_yet = table_of({"target_px": 90, **easy}, *both)
        assert trial_of(best_of(not_yet, "grid", MIOU)) == 0
        waits = table_of({"target_px": 90, **easy}, {**failed, "state": "waiting"}, *both)
        assert trial_of(best_of(waits, "grid", MIOU)) == 0

    def test_where_every_target_failed_once_all_are_compared(self):
        table = table_of(
            {"target_px": 50, "seed": 0, "mean_iou": 0.5},
            {"target_px": 50, "seed": 1, "state": "failed"},
            {"target_px": 90, "seed": 1, "mean_iou": 0.9},
            {"target_px": 90, "seed": 0, "state": "failed"},
        )
        assert trial_of(best_of(table, "grid", MIOU)) == 2

    def test_on_a_tie_the_smaller_field_then_the_lower_number(self):
        rows = [
            {"mean_iou": 0.5, "field_px": 90},
            {"mean_iou": 0.5, "field_px": 70},
            {"mean_iou": 0.5, "field_px": 70},
        ]
        for protocol in ("tpe", "grid"):
            targets = [{**row, "target_px": number + 1} for number, row in enumerate(rows)]
            assert trial_of(best_of(table_of(*targets), protocol, MIOU)) == 1

    def test_what_does_not_count(self):
        table = table_of(
            {"mean_iou": 0.9, "state": "pruned"},
            {"mean_iou": 0.9, "answered_from": 3, "field_px": 1},
            {"state": "waiting"},
            {"mean_iou": 0.6},
            {"mean_iou": math.nan},
        )
        assert trial_of(best_of(table, "tpe", MIOU)) == 3
        assert best_of(table, "tpe", Objectives.parse("far_accuracy")) is None

    @given(
        rows=st.lists(
            st.tuples(st.integers(1, 3), st.integers(0, 4), st.integers(1, 3)), max_size=12
        )
    )
    @settings(max_examples=12, deadline=None)
    def test_against_a_plain_loop(self, rows: list[tuple[int, int, int]]):
        scored = [
            {"target_px": target, "mean_iou": score / 4, "field_px": 10 * target}
            for target, score, _ in rows
        ]
        best = best_of(table_of(*scored), "grid", MIOU)
        means: dict[int, float] = {}
        for target in {target for target, _, _ in rows}:
            own = [score / 4 for other, score, _ in rows if other == target]
            means[target] = math.fsum(own) / len(own)
        if not means:
            assert best is None
            return
        assert best is not None
        assert best.target_px == min(means, key=lambda target: (-means[target], target))
        assert best.score == pytest.approx(means[best.target_px])
        assert best.seeds == sum(target == best.target_px for target, _, _ in rows)


def dominates(one: tuple[float, float], other: tuple[float, float]) -> bool:
    """Of a score that is to be high and a latency that is to be low."""
    return one != other and one[0] >= other[0] and one[1] <= other[1]


class TestPareto:
    @given(
        points=st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), max_size=14),
        unfinished=st.integers(0, 2),
    )
    @settings(max_examples=20, deadline=None)
    def test_against_every_pair_and_against_optuna(
        self, points: list[tuple[int, int]], unfinished: int
    ):
        study = optuna.create_study(directions=BOTH.directions)
        for score, latency in points:
            study.add_trial(
                create_trial(
                    values=[float(score), float(latency)],
                    user_attrs={"mean_iou": float(score), "latency_ms": float(latency)},
                )
            )
        for _ in range(unfinished):
            study.ask()
        front = pareto(trials_table(study), "tpe", BOTH)
        beaten = {
            number
            for (number, one), other in product(enumerate(points), points)
            if dominates(other, one)
        }
        assert front == [number for number in range(len(points)) if number not in beaten]
        assert front == sorted(trial.number for trial in study.best_trials)

    def test_what_was_answered_from_another_is_left_out(self):
        table = table_of(
            {"mean_iou": 0.5, "latency_ms": 2.0},
            {"mean_iou": 0.5, "latency_ms": 2.0, "answered_from": 0},
            {"mean_iou": 0.9, "latency_ms": 3.0},
            {"mean_iou": 0.8, "latency_ms": 3.0},
        )
        assert pareto(table, "tpe", BOTH) == [0, 2]
        assert pareto(table, "tpe", MIOU) == [2]

    def test_of_a_grid_compares_targets_by_their_means(self):
        """A lucky seed of a target that is worse on average puts nothing on the front."""
        table = table_of(
            {"target_px": 50, "seed": 0, "mean_iou": 0.6, "latency_ms": 2.0},
            {"target_px": 50, "seed": 1, "mean_iou": 0.8, "latency_ms": 2.0},
            {"target_px": 90, "seed": 0, "mean_iou": 0.9, "latency_ms": 3.0},
            {"target_px": 90, "seed": 1, "mean_iou": 0.4, "latency_ms": 3.0},
            {"target_px": 120, "seed": 0, "mean_iou": 0.8, "latency_ms": 4.0},
            {"target_px": 120, "seed": 1, "mean_iou": 0.7, "latency_ms": 4.0},
        )
        assert pareto(table, "grid", BOTH) == [0, 1, 4, 5]
        assert pareto(table, "tpe", BOTH) == [1, 2]
