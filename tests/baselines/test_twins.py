"""Equal plans: which finished trial answers for another, and what the answer says."""

from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState, create_trial

from dilsearch.baselines.artifacts import attach
from dilsearch.baselines.table import record_result, trials_table
from dilsearch.baselines.trial import TrialResult
from dilsearch.baselines.twins import answer_from, finished_twin
from dilsearch.errors import RunError
from dilsearch.plan import DilationPlan, SiteRates

PLAN = DilationPlan({"body.0": SiteRates("branch", (1, 3))})
RECORD: dict[str, Any] = {
    "plan_hash": "f00d",
    "seed": 0,
    "field_px": 151,
    "mean_iou": 0.5,
    "far_accuracy": 0.75,
    "latency_ms": 3.0,
    "samples": 800,
    "seconds": 12.5,
    "device": "a formula",
    "folder": "trials/0000",
}


def study_of(*trials: tuple[TrialState, dict[str, Any]]) -> optuna.Study:
    """A study of trials with the record above, but for what is given."""
    study = optuna.create_study(direction="maximize")
    for state, changed in trials:
        study.add_trial(
            create_trial(
                state=state,
                value=0.5 if state == TrialState.COMPLETE else None,
                intermediate_values={10: 0.25, 5: 0.125},
                user_attrs={**RECORD, **changed},
            )
        )
    return study


COMPLETE, PRUNED, FAIL = TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL


@pytest.mark.parametrize(
    ("trials", "twin"),
    [
        ([(COMPLETE, {})], 0),
        ([(PRUNED, {})], 0),
        ([(PRUNED, {}), (COMPLETE, {})], 1),
        ([(COMPLETE, {}), (COMPLETE, {})], 0),
        ([(COMPLETE, {"answered_from": 7}), (COMPLETE, {})], 1),
        ([(COMPLETE, {"plan_hash": "beef"})], None),
        ([(COMPLETE, {"seed": 1})], None),
        ([(FAIL, {}), (TrialState.RUNNING, {}), (TrialState.WAITING, {})], None),
        ([(COMPLETE, {"answered_from": 7})], None),
        ([], None),
    ],
)
def test_who_answers(trials: list[tuple[TrialState, dict[str, Any]]], twin: int | None):
    found = finished_twin(study_of(*trials), 99, "f00d", 0)
    assert (found and found.number) == twin


def test_a_trial_is_not_its_own_twin_and_a_later_one_may_answer():
    study = study_of((COMPLETE, {}), (COMPLETE, {}))
    found = finished_twin(study, 0, "f00d", 0)
    assert found is not None
    assert found.number == 1


@pytest.mark.parametrize("state", [COMPLETE, PRUNED])
def test_the_answer(state: TrialState, tmp_path: Path):
    study = study_of((state, {}))
    (tmp_path / "trials/0000").mkdir(parents=True)
    for name in ("counts.csv", "log.txt", "plan.json"):
        (tmp_path / "trials/0000" / name).write_text(f"the twin's {name}")
    trial = study.ask()
    result = answer_from(trial, study.trials[0], PLAN, tmp_path)
    assert result == TrialResult(
        pruned=state == PRUNED,
        scores={"mean_iou": 0.5, "far_accuracy": 0.75},
        field_px=151,
        samples=0,
        seconds=0.0,
        latency_ms=3.0,
        device="a formula",
        folder="trials/0001",
        files={name: Path("trials/0001") / name for name in ("plan.json", "log.txt", "counts.csv")},
    )
    folder = tmp_path / "trials/0001"
    assert DilationPlan.from_json((folder / "plan.json").read_text()) == PLAN
    assert "answered from trial 0" in (folder / "log.txt").read_text()
    assert (folder / "counts.csv").read_text() == "the twin's counts.csv"
    record_result(trial, result)
    study.tell(trial, state=state, values=0.5 if state == COMPLETE else None)
    answered = study.trials[1]
    assert answered.user_attrs["answered_from"] == 0
    assert answered.intermediate_values == {5: 0.125, 10: 0.25}
    assert answered.value == study.trials[0].value or state == PRUNED
    table = trials_table(study)
    assert list(table["samples"]) == [800, 0]
    assert list(table["far_accuracy"]) == [0.75, 0.75]
    assert finished_twin(study, 2, "f00d", 0).number == 0  # type: ignore[union-attr]


def test_what_is_attached_is_the_trials_own(tmp_path: Path):
    study = study_of((COMPLETE, {}))
    trial = study.ask()
    result = answer_from(trial, study.trials[0], PLAN, tmp_path)
    assert attach(study._storage, trial, result.files, tmp_path) == ("plan.json", "log.txt")
    shown = {path.read_text() for path in (tmp_path / "artifacts").iterdir()}
    assert shown == {
        PLAN.to_json(),
        "answered from trial 0, which trained this plan with this seed\n",
    }


def test_a_folder_that_another_study_left_is_not_touched(tmp_path: Path):
    study = study_of((COMPLETE, {}))
    folder = tmp_path / "trials/0001"
    folder.mkdir(parents=True)
    (folder / "run.json").write_text("{}")
    with pytest.raises(
        RunError,
        match=r"0001 holds a trial that another study left, and trial 1 of this one has to go",
    ):
        answer_from(study.ask(), study.trials[0], PLAN, tmp_path)
    assert [path.name for path in folder.iterdir()] == ["run.json"]
    assert "answered_from" not in study.trials[1].user_attrs
