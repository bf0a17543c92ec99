import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from dilsearch.comparison.methods import PLAN_TYPES, read_methods
from dilsearch.errors import ComparisonError, RunError

WriteRun = Callable[..., Path]


def names(plans: pd.DataFrame) -> list[str]:
    return list(plans["method"])


def test_a_run_is_its_search_and_its_control(tmp_path: Path, write_run: WriteRun) -> None:
    run = write_run(tmp_path / "run", seed=3)
    methods = read_methods([str(run)])
    searched, control = methods.plans.to_dict("records")
    assert list(methods.plans.columns) == [*PLAN_TYPES, "mean_iou", "far_accuracy"]
    assert (searched["method"], searched["kind"], searched["seed"]) == ("search", "search", 3)
    assert (searched["samples"], searched["seconds"]) == (160, 6.0)  # search, convert and retrain
    assert (searched["score"], searched["field_px"]) == (0.9, 87)
    assert searched["rates"] == "a (1, 3), b (1, 9)"
    assert (control["method"], control["kind"], control["rates"]) == (
        "control",
        "control",
        "rate 1",
    )
    assert (control["samples"], control["seconds"], control["field_px"]) == (60, 2.0, 23)
    assert (methods.needed_px, methods.score) == (63, "mean_iou")


def test_another_score_is_compared(tmp_path: Path, write_run: WriteRun) -> None:
    run = write_run(tmp_path / "run", far=0.75)
    plans = read_methods([str(run)], "far_accuracy").plans
    assert list(plans["score"]) == [0.75, 0.75]
    assert list(plans["mean_iou"]) == [0.9, 0.5]


def test_a_sweep_is_all_its_trials(
    tmp_path: Path, write_sweep: WriteRun, tpe_trials: list[dict[str, Any]]
) -> None:
    plans = read_methods([str(write_sweep(tmp_path / "t", tpe_trials, protocol="tpe"))]).plans
    assert list(plans["number"]) == [0, 1, 2, 3, 4, 5]  # what waits is no trial yet
    assert list(plans["state"][:3]) == ["failed", "pruned", "complete"]
    assert list(plans["pruned"]) == [False, True, False, False, False, False]
    assert list(plans["samples"].fillna(-1)) == [10, 20, 60, 0, -1, 60]
    assert math.isnan(plans["score"][0])
    assert plans["score"][1] == 0.99
    assert list(plans["answered_from"].fillna(-1)) == [-1, -1, -1, 2, -1, -1]
    assert set(plans["method"]) == {"tpe"}


def test_an_interrupted_trial_is_no_row(tmp_path: Path, write_sweep: WriteRun) -> None:
    trials = [{"seed": 0, "mean_iou": 0.5, "samples": 60}, {"seed": 0, "state": "interrupted"}]
    plans = read_methods([str(write_sweep(tmp_path / "t", trials, protocol="tpe"))]).plans
    assert list(plans["number"]) == [0]


@pytest.mark.parametrize(
    ("rate", "field_px"), [("1", 23), ("[1, [1, 1]]", 23), ("2", None), ("[1, [1, 2]]", None)]
)
def test_a_control_of_rate_one_says_what_its_field_is(
    tmp_path: Path, write_run: WriteRun, rate: str, field_px: int | None
) -> None:
    run = write_run(tmp_path / "run", overrides=(f"control.rate={rate}",))
    assert read_methods([str(run)]).rate_one_px == field_px


def test_labels_name_methods(
    tmp_path: Path, write_run: WriteRun, write_sweep: WriteRun, grid_trials: list[dict[str, Any]]
) -> None:
    run, hand = write_run(tmp_path / "a"), tmp_path / "hand"
    write_run(hand, stages=("control", "evaluate"), overrides=("control.rate=[2, [2, 4]]",))
    grid = write_sweep(tmp_path / "g", grid_trials)
    plans = read_methods([f"A={run}", f"G={grid}", f"by hand={hand}"]).plans
    assert list(dict.fromkeys(names(plans))) == ["A", "G", "control", "by hand"]
    assert plans["rates"].iloc[-1] == "rates [2, [2, 4]]"


def test_a_control_beside_two_searches_is_one_baseline(tmp_path: Path, write_run: WriteRun) -> None:
    one, two = write_run(tmp_path / "a"), write_run(tmp_path / "b")
    methods = read_methods([f"A={one}", f"B={two}"])
    assert names(methods.plans) == ["A", "B", "control"]
    assert methods.remarks == (f"the control of {two} is that of {one} and counts once",)


def test_a_sweep_that_followed_another_score_is_named(
    tmp_path: Path, write_sweep: WriteRun, tpe_trials: list[dict[str, Any]]
) -> None:
    trials = [{**trial, "far_accuracy": 0.5} for trial in tpe_trials]
    sweep = write_sweep(tmp_path / "t", trials, protocol="tpe")
    assert read_methods([str(sweep)]).remarks == ()
    (remark,) = read_methods([str(sweep)], "far_accuracy").remarks
    assert remark == (
        "the trials of tpe were proposed and pruned by their mean IoU, which is not the score "
        "compared here"
    )


def test_controls_that_clash_are_named_by_their_searches(
    tmp_path: Path, write_run: WriteRun
) -> None:
    one, two = write_run(tmp_path / "a"), write_run(tmp_path / "b", control=0.51)
    three = write_run(tmp_path / "c", seed=1)
    plans = read_methods([f"A={one}", f"B={two}", f"A={three}"]).plans
    assert names(plans) == ["A", "B", "A", "A control", "B control", "A control"]


def test_controls_of_other_rates_are_named_by_them(tmp_path: Path, write_run: WriteRun) -> None:
    rates = ("control.rate=published:exp48",)
    runs = [
        write_run(tmp_path / "a"),
        write_run(tmp_path / "b", seed=1, overrides=rates),
        write_run(tmp_path / "c", seed=2, overrides=("control.rate=present",)),
    ]
    plans = read_methods(list(map(str, runs))).plans
    assert names(plans)[3:] == [
        "control, rate 1",
        "control, published:exp48",
        "control, present rates",
    ]


def test_two_controls_of_one_seed_and_other_scores_are_refused(
    tmp_path: Path, write_run: WriteRun
) -> None:
    alone = ("control", "evaluate")
    one = write_run(tmp_path / "a", stages=alone)
    two = write_run(tmp_path / "b", stages=alone, control=0.6)
    with pytest.raises(ComparisonError) as caught:
        read_methods([f"H={one}", f"H={two}"])
    assert str(caught.value) == (
        f"'H' has two runs of seed 0, {one} and {two}; leave one out, or name them apart, "
        "LABEL=FOLDER"
    )


def test_a_search_cannot_be_called_control(tmp_path: Path, write_run: WriteRun) -> None:
    run = write_run(tmp_path / "a")
    with pytest.raises(ComparisonError) as caught:
        read_methods([f"control={run}"])
    assert str(caught.value) == (
        f"'control' would stand for a search and for a control ({run}); choose another LABEL"
    )


def test_an_unknown_score_is_answered_with_those_there_are(
    tmp_path: Path, write_run: WriteRun
) -> None:
    run = write_run(tmp_path / "a")
    with pytest.raises(ComparisonError) as caught:
        read_methods([str(run)], "far_acuracy")
    assert str(caught.value) == (
        f"--score far_acuracy: there is no such score in {run} (did you mean 'far_accuracy'?); "
        "all runs have far_accuracy, mean_iou"
    )


def test_a_score_that_one_run_lacks_is_no_score(tmp_path: Path, write_run: WriteRun) -> None:
    one, two = write_run(tmp_path / "a"), write_run(tmp_path / "b", seed=1, far=None)
    with pytest.raises(ComparisonError, match=f"in {two}; all runs have mean_iou$"):
        read_methods([str(one), str(two)], "far_accuracy")


def test_a_sweep_without_a_finished_trial_has_no_score(
    tmp_path: Path, write_sweep: WriteRun
) -> None:
    sweep = write_sweep(tmp_path / "s", [{"seed": 0, "state": "failed"}])
    with pytest.raises(ComparisonError, match=r"^no trial of the sweeps has finished, so there is"):
        read_methods([str(sweep)])


def without(document: dict[str, Any], *keys: str) -> dict[str, Any]:
    """A document without one entry, however deep."""
    first, *rest = keys
    if not rest:
        return {key: value for key, value in document.items() if key != first}
    return {**document, first: without(document[first], *rest)}


@pytest.mark.parametrize(
    "keys", [("plan",), ("plan", "field_px"), ("retrain", "val"), ("control",), ("control", "val")]
)
def test_a_summary_that_lacks_something_is_named(
    tmp_path: Path, write_run: WriteRun, keys: tuple[str, ...]
) -> None:
    path = write_run(tmp_path / "a") / "summary.json"
    path.write_text(json.dumps(without(json.loads(path.read_text()), *keys)))
    with pytest.raises(RunError) as caught:
        read_methods([str(tmp_path / "a")])
    assert str(caught.value) == (
        f"{path} has no '{'.'.join(keys)}'. Restore the file, or make the folder anew."
    )


def test_tables_that_lack_something_are_named(
    tmp_path: Path, write_run: WriteRun, write_sweep: WriteRun, grid_trials: list[dict[str, Any]]
) -> None:
    run, sweep = write_run(tmp_path / "a"), write_sweep(tmp_path / "g", grid_trials)
    trials = pd.read_csv(sweep / "trials.csv")
    trials.drop(columns="state").to_csv(sweep / "trials.csv", index=False)
    with pytest.raises(RunError, match=r"trials\.csv has no column 'state'\. Restore the file"):
        read_methods([str(sweep)])
    (run / "retrain.csv").write_text("step,samples\n")
    with pytest.raises(RunError, match=r"retrain\.csv has no row\. Restore the file"):
        read_methods([str(run)])


def test_a_missing_file_is_named(tmp_path: Path, write_run: WriteRun) -> None:
    run = write_run(tmp_path / "a")
    (run / "retrain.csv").unlink()
    with pytest.raises(RunError, match=r"a has no retrain\.csv\. Run the stage that writes it"):
        read_methods([str(run)])
