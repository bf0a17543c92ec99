"""``sweep --workers N``: what is told of workers, and of trials whoever trained them."""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from io import StringIO
from pathlib import Path

import optuna
import pytest
from optuna.exceptions import StorageInternalError
from optuna.trial import TrialState
from rich.console import Console

from dilsearch.baselines.objectives import Objectives
from dilsearch.baselines.slots import FAILURE, INTERRUPTED, REASON, SURPLUS
from dilsearch.cli import sweep_crew
from dilsearch.cli.sweep_account import Account
from dilsearch.cli.sweep_crew import run_workers
from dilsearch.errors import SweepError
from dilsearch.progress import Reporter


class Told:
    """What a user reads."""

    def __init__(self) -> None:
        self.stream = StringIO()
        self.reporter = Reporter(console=Console(file=self.stream, width=200))

    @property
    def lines(self) -> list[str]:
        return self.stream.getvalue().splitlines()


@pytest.fixture
def told() -> Told:
    return Told()


GOOD = "pass"
DIES = "import os; os.kill(os.getpid(), 9)"
FAILS = "import sys; print('dilsearch: no space left', file=sys.stderr); sys.exit(2)"


@pytest.fixture
def run(told: Told, monkeypatch: pytest.MonkeyPatch) -> Callable[[Sequence[str]], bool]:
    """Workers that are programs of a line or two."""
    start = [sys.executable, "-I", "-S", "-c"]
    monkeypatch.setattr(sweep_crew, "command_of", lambda words: [*start, words[1]])

    def run(programs: Sequence[str]) -> bool:
        return run_workers(
            [["dilsearch", program] for program in programs],
            environment={"ADDRESS": "of the storage"},
            gpus=0,
            resume_command="dilsearch sweep toy",
            reporter=told.reporter,
            idle=lambda: None,
        )

    return run


class TestWorkers:
    def test_of_good_ones_nothing_is_told(
        self, run: Callable[[Sequence[str]], bool], told: Told
    ) -> None:
        assert run([GOOD, GOOD]) is False
        assert told.lines == []

    @pytest.mark.skipif(os.name != "posix", reason="signals")
    def test_the_others_go_on_without_one_that_is_killed(
        self, run: Callable[[Sequence[str]], bool], told: Told
    ) -> None:
        assert run([DIES, GOOD]) is False
        assert told.lines == [
            "worker 1 was killed (signal 9); the others go on, and a trial that it was at is "
            "trained once more"
        ]

    def test_one_that_fails_says_why(
        self, run: Callable[[Sequence[str]], bool], told: Told
    ) -> None:
        assert run([GOOD, FAILS]) is False
        assert told.lines == ["worker 2 failed: no space left; the others go on"]

    def test_each_finds_in_its_environment_what_it_is_not_called_with(
        self, run: Callable[[Sequence[str]], bool], told: Told
    ) -> None:
        program = "import os, sys; sys.exit(os.environ['ADDRESS'])"
        assert run([GOOD, program]) is False
        assert told.lines == ["worker 2 failed: of the storage; the others go on"]

    def test_when_all_are_gone_the_command_ends(self, run: Callable[[Sequence[str]], bool]) -> None:
        with pytest.raises(
            SweepError,
            match=r"^all 2 workers ended early; worker \d failed: no space left\. What has "
            r"finished is kept; go on with: dilsearch sweep toy$",
        ):
            run([FAILS, FAILS])

    @pytest.mark.skipif(os.name != "posix", reason="signals")
    def test_ctrl_c_reaches_each_once(
        self, run: Callable[[Sequence[str]], bool], told: Told, tmp_path: Path
    ) -> None:
        program = (
            "import pathlib, sys, time\n"
            "folder = pathlib.Path({0!r})\n"
            "try:\n"
            "    (folder / 'begun{1}').touch()\n"
            "    time.sleep(20)\n"
            "except KeyboardInterrupt:\n"
            "    with open(folder / 'told{1}', 'a') as file: file.write('x')\n"
            "    sys.exit(130)"
        )
        thread = threading.Thread(target=interrupt_when, args=(tmp_path, 2))
        thread.start()
        assert run([program.format(str(tmp_path), number) for number in (1, 2)]) is True
        thread.join()
        assert [(tmp_path / f"told{number}").read_text() for number in (1, 2)] == ["x", "x"]
        assert told.lines == [
            "interrupting 2 workers; each frees the trial it is at, and Ctrl-C again ends them at "
            "once"
        ]


def interrupt_when(folder: Path, begun: int) -> None:
    """Send this process a SIGINT once so many workers have begun."""
    deadline = time.time() + 20
    while len(list(folder.glob("begun*"))) < begun and time.time() < deadline:
        time.sleep(0.02)
    os.kill(os.getpid(), signal.SIGINT)


class TestAccount:
    @pytest.fixture
    def study(self) -> optuna.Study:
        return optuna.create_study(direction="maximize")

    @pytest.fixture
    def account(self, study: optuna.Study, told: Told) -> Account:
        return Account(study, Objectives.parse("miou,latency"), 9, told.reporter)

    def end(self, study: optuna.Study, state: TrialState, **known: object) -> None:
        trial = study.ask()
        trial.set_user_attr("slot", f"tpe {trial.number}")
        for name, value in known.items():
            trial.set_user_attr(name, value)
        study.tell(trial, 0.5 if state == TrialState.COMPLETE else None, state=state)

    def test_each_trial_is_told_once(
        self, study: optuna.Study, account: Account, told: Told
    ) -> None:
        figures = {"field_px": 47, "mean_iou": 0.5, "samples": 1260}
        self.end(study, TrialState.COMPLETE, **figures)
        account.begin()
        self.end(study, TrialState.COMPLETE, **figures, latency_ms=2.25)
        study.ask()
        account.tell()
        account.tell()
        assert told.lines == [
            "1 of 9 trials finished already",
            "trial 1, tpe 1: field 47 px, mean IoU 0.500, latency (ms) 2.250, 1,260 samples "
            "(2 of 9 finished, 1 running)",
        ]

    @pytest.mark.parametrize(
        ("state", "known", "text"),
        [
            (
                TrialState.COMPLETE,
                {"field_px": 47, "mean_iou": 0.5, "samples": 0, "answered_from": 3},
                "field 47 px, mean IoU 0.500, as trial 3 (1 of 9 finished",
            ),
            (TrialState.PRUNED, {"field_px": 47, "samples": 9}, "pruned, field 47 px, 9 samples"),
            (TrialState.FAIL, {FAILURE: "error", REASON: "no memory"}, "failed: no memory (0 of 9"),
            (TrialState.FAIL, {FAILURE: INTERRUPTED}, "interrupted, its slot is free again"),
            (TrialState.FAIL, {}, "failed: its worker was killed"),
        ],
    )
    def test_what_became_of_it_is_told(
        self,
        study: optuna.Study,
        account: Account,
        told: Told,
        state: TrialState,
        known: dict[str, object],
        text: str,
    ) -> None:
        self.end(study, state, **known)
        account.look()
        assert told.lines[0].startswith(f"trial 0, tpe 0: {text}")
        assert len(told.lines) == 1

    def test_what_never_ran_is_not_told(
        self, study: optuna.Study, account: Account, told: Told
    ) -> None:
        self.end(study, TrialState.FAIL, **{FAILURE: SURPLUS})
        account.tell()
        assert told.lines == []

    def test_a_database_that_stumbles_is_asked_again(
        self,
        study: optuna.Study,
        account: Account,
        told: Told,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        self.end(study, TrialState.COMPLETE)

        def stumble(*_: object, **__: object) -> None:
            raise StorageInternalError

        with monkeypatch.context() as patched:
            patched.setattr(study, "get_trials", stumble)
            account.look()
            with pytest.raises(StorageInternalError):  # control: it did stumble
                account.tell()
        assert told.lines == []
        account.look()  # too soon
        assert told.lines == []
        account.tell()
        assert len(told.lines) == 1
