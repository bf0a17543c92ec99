"""Worker processes on one storage, some of which are killed outright while they train."""

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import optuna
import pytest
import small_sweep
from optuna.trial import FrozenTrial, TrialState
from small_sweep import join
from storage_contract import fall_silent, places, study_of

from dilsearch.baselines.storage import open_storage
from dilsearch.plan import DilationPlan

FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)
KILLED = -9


def run(folder: Path, **options: Any) -> dict[int, int]:
    """Run workers in processes of their own, and give how each ended."""
    words = [
        f"--{name.replace('_', '-')}" + ("" if value is True else f"={value}")
        for name, value in options.items()
    ]
    here = Path(small_sweep.__file__)
    ended = subprocess.run(
        [sys.executable, str(here), str(folder), *words],
        env={**os.environ, "PYTHONPATH": str(here.parents[2]), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert ended.returncode == 0, ended.stderr
    assert "database is locked" not in ended.stderr
    codes = json.loads((folder / "codes.json").read_text())
    assert set(codes.values()) <= {0, KILLED}, ended.stderr
    return {int(worker): code for worker, code in codes.items()}


def trials_of(folder: Path, storage: str | None = None) -> list[FrozenTrial]:
    opened = open_storage(storage, folder)
    trials: list[FrozenTrial] = study_of(opened, "small").get_trials()
    opened.close()
    return trials


def check(folder: Path, trials: list[FrozenTrial], total: int) -> None:
    """As many as there were to be, each slot once, nothing left over, a plan file for each."""
    finished = [trial for trial in trials if trial.state in FINISHED]
    slots = Counter(trial.user_attrs["slot"] for trial in finished)
    assert slots == places(total)
    assert {trial.state for trial in trials} <= {*FINISHED, TrialState.FAIL}
    for trial in finished:
        text = (folder / "trials" / f"{trial.number:04d}" / "plan.json").read_text()
        assert DilationPlan.from_json(text)["body"] == (trial.params["rate"],)
    reports = [json.loads(path.read_text()) for path in folder.glob("worker*.json")]
    told = [number for report in reports for number in report["trained"] + report["answered"]]
    assert len(told) == len(set(told))
    assert set(told) <= {trial.number for trial in finished}


@pytest.mark.parametrize(
    ("workers", "total", "kill"),
    [(3, 7, 1), pytest.param(8, 40, 2, marks=pytest.mark.slow)],
)
def test_nothing_is_lost_or_done_twice(tmp_path: Path, workers: int, total: int, kill: int) -> None:
    codes = run(
        tmp_path,
        workers=workers,
        total=total,
        seconds=0.06,
        kill=kill,
        highest_rate=2,
        one_seed=True,
    )
    assert [code for code in codes.values() if code == KILLED] == [KILLED] * kill
    trials = trials_of(tmp_path)
    check(tmp_path, trials, total)
    killed = [t for t in trials if t.state == TrialState.FAIL and "failure" not in t.user_attrs]
    retries = {t.user_attrs["retry_of"] for t in trials if "retry_of" in t.user_attrs}
    assert len(killed) >= kill
    assert {trial.number for trial in killed} <= retries
    answered = [trial for trial in trials if "answered_from" in trial.user_attrs]
    assert len(answered) >= total - 2 * (workers - kill)  # each worker trains a plan once


@pytest.mark.slow
def test_all_are_killed_and_the_study_goes_on(tmp_path: Path) -> None:
    codes = run(tmp_path, workers=2, total=4, seconds=0.02, kill=2, kill_at=2)
    assert codes == {0: KILLED, 1: KILLED}
    before = trials_of(tmp_path)
    assert [t.state for t in before].count(TrialState.RUNNING) == 2
    opened = open_storage(None, tmp_path)
    fall_silent(opened)
    outcome = join(opened, tmp_path, total=4)
    assert outcome.study_finished
    assert len(outcome.trained) == 2
    check(tmp_path, trials_of(tmp_path), 4)
    opened.close()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sqlite", "journal"])
def test_workers_of_different_speeds_reach_the_total_exactly(tmp_path: Path, kind: str) -> None:
    storage = f"journal:{tmp_path / 'sweep.journal'}" if kind == "journal" else None
    chosen = {} if storage is None else {"storage": storage}
    assert run(tmp_path, workers=2, total=7, seconds=0.05, spread=3.0, **chosen) == {0: 0, 1: 0}
    check(tmp_path, trials_of(tmp_path, storage), 7)


@pytest.mark.parametrize(
    ("finished", "error"), [((0, 0, 2), AssertionError), ((0, 1, 2), FileNotFoundError)]
)
def test_the_check_can_fail(
    tmp_path: Path, finished: tuple[int, ...], error: type[Exception]
) -> None:
    """Control: one slot finished twice, and another not at all; and a plan file that is missing."""
    study = optuna.create_study(direction="maximize")
    for place in finished:
        study.enqueue_trial({}, user_attrs={"slot": f"place {place}"})
        study.tell(study.ask(), 1.0)
    with pytest.raises(error):
        check(tmp_path, study.get_trials(), 3)
