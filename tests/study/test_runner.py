import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from dilsearch.errors import Interrupted, RunError
from dilsearch.progress import Reporter
from dilsearch.study import Case, Study, runner
from dilsearch.study.runner import Outcome, command_of, run_cases

STUB = """
import json, os, pathlib, shlex, signal, sys, time

words = sys.argv[1:]
out = pathlib.Path(words[words.index("--out") + 1])
mode = pathlib.Path(sys.argv[0]).with_name("modes.json")
mode = json.loads(mode.read_text()).get(out.name, "finish")
out.mkdir(parents=True, exist_ok=True)


def interrupted(number, frame):
    (out / "interrupted").write_text("")
    if mode != "stubborn":
        sys.exit(130)


signal.signal(signal.SIGINT, interrupted)
facts = {"threads": os.environ.get("OMP_NUM_THREADS"), "group": os.getpgrp(), "begun": time.time()}
(out / "facts.tmp").write_text(json.dumps(facts))
os.replace(out / "facts.tmp", out / "begun.json")
if mode in ("wait", "stubborn"):
    deadline = time.time() + 20
    while time.time() < deadline:
        time.sleep(0.02)
if mode == "fail":
    print("a warning\\ndilsearch: the disk is full\\n\\n", file=sys.stderr)
    sys.exit(2)
if mode == "faults":
    print("a warning\\ndilsearch: the space, 2 faults:\\n  - one\\n  - two", file=sys.stderr)
    sys.exit(2)
if mode == "die":
    sys.exit(9)
if mode != "idle":
    stages = {stage: {"status": "finished", "seconds": 1} for stage in
              ("search", "convert", "evaluate")}
    record = {"schema_version": 1, "command": shlex.join(["dilsearch", *words]), "seed": 0,
              "hashes": {}, "stages": stages}
    summary = {"plan": {"field_px": 120, "needed_px": 127},
               "fractional": {"val": {"far_accuracy": 0.97, "mean_iou": 0.5}}}
    (out / "summary.json").write_text("{" if mode == "damage" else json.dumps(summary))
    (out / "run.json").write_text(json.dumps(record))
"""


class Runs:
    """Cases run by the stub: what they are to do, and what was said."""

    def __init__(self, root: Path, cases: Sequence[Case]) -> None:
        self.root, self.cases = root, cases
        self.modes: dict[str, str] = {}
        self.stream = StringIO()

    def run(self, *, workers: int = 1) -> Outcome:
        (self.root / "modes.json").write_text(json.dumps(self.modes))
        reporter = Reporter(console=Console(file=self.stream, width=200))
        return run_cases(self.cases, self.root, workers=workers, reporter=reporter)

    @property
    def said(self) -> list[str]:
        return self.stream.getvalue().splitlines()

    def facts(self, index: int) -> dict[str, object]:
        path = self.root / self.cases[index].folder / "begun.json"
        return dict(json.loads(path.read_text())) if path.exists() else {}

    def interrupt_when(self, *files: str) -> threading.Thread:
        """Send this process one SIGINT for each file that appears, one after the other."""

        def wait() -> None:
            for name in files:
                deadline = time.time() + 20
                while not (self.root / "bars" / name).exists() and time.time() < deadline:
                    time.sleep(0.02)
                os.kill(os.getpid(), signal.SIGINT)

        thread = threading.Thread(target=wait)
        thread.start()
        return thread


@pytest.fixture
def runs(tmp_path: Path, study: Study, monkeypatch: pytest.MonkeyPatch) -> Runs:
    stub = tmp_path / "stub.py"
    stub.write_text(STUB)
    # -I -S: nothing but the standard library, so that it starts fast
    start = [sys.executable, "-I", "-S", str(stub)]
    monkeypatch.setattr(runner, "command_of", lambda words: [*start, *words[1:]])
    return Runs(tmp_path, list(study.parts[0].cases()))


def test_the_command_is_this_dilsearch() -> None:
    assert command_of(["dilsearch", "run", "toy"]) == [
        sys.executable, "-m", "dilsearch", "run", "toy"
    ]  # fmt: skip


def test_every_case_is_run_and_told(runs: Runs) -> None:
    outcome = runs.run()
    assert outcome.finished == list(runs.cases)
    outcome.require_success("dilsearch study small")
    assert len(runs.said) == 4
    assert runs.said[1].startswith(
        "bars plain seed 0: 120 px of 127, far accuracy 0.97 (2 of 4 done, "
    )
    assert runs.said[1].endswith(" s)")
    begun = [runs.facts(index)["begun"] for index in range(4)]
    assert begun == sorted(begun, key=str)  # one after the other, in the order of the study


@pytest.mark.parametrize(("cores", "workers", "threads"), [(8, 2, "4"), (8, 3, "2"), (2, 4, "1")])
def test_processes_share_the_cores(
    runs: Runs, monkeypatch: pytest.MonkeyPatch, cores: int, workers: int, threads: str
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: cores)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    runs.cases = runs.cases[:1]
    runs.run(workers=workers)
    assert runs.facts(0)["threads"] == threads


def test_a_process_by_itself_is_left_alone(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    runs.cases = runs.cases[:1]
    runs.run(workers=1)
    assert runs.facts(0)["threads"] is None


@pytest.mark.parametrize("workers", [1, 2])
def test_a_number_of_threads_that_the_user_has_set_is_kept(
    runs: Runs, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "77")
    runs.cases = runs.cases[:1]
    runs.run(workers=workers)
    assert runs.facts(0)["threads"] == "77"


def test_as_many_run_at_a_time_as_there_are_workers(runs: Runs) -> None:
    runs.modes = {"default-seed0": "wait", "plain-seed0": "wait"}
    thread = runs.interrupt_when("plain-seed0/begun.json")  # begun although the first goes on
    outcome = runs.run(workers=2)
    thread.join()
    assert outcome.interrupted
    assert runs.facts(0)
    assert not runs.facts(2)


def test_finished_cases_are_not_started(runs: Runs, write_run: Callable[..., Path]) -> None:
    write_run(runs.root, runs.cases[0])
    write_run(runs.root, runs.cases[1], stages=("search",))
    outcome = runs.run()
    assert len(outcome.finished) == 4
    assert [bool(runs.facts(index)) for index in range(4)] == [False, True, True, True]
    assert runs.said[0] == "1 of 4 finished already"
    assert "(2 of 4 done, " in runs.said[1]


def test_failures_do_not_stop_the_others(runs: Runs) -> None:
    runs.modes = {"default-seed0": "fail", "plain-seed0": "die"}
    outcome = runs.run()
    assert [str(case) for case in outcome.finished] == ["bars default seed 1", "bars plain seed 1"]
    assert list(outcome.failed.values()) == ["the disk is full", "exit code 9"]
    assert runs.said[0] == "bars default seed 0: failed: the disk is full"
    with pytest.raises(RunError) as caught:
        outcome.require_success("dilsearch study small")
    assert str(caught.value) == (
        "2 of 4 runs failed (bars default seed 0, bars plain seed 0); the first because: "
        "the disk is full"
    )


def test_a_list_of_faults_is_told_whole(runs: Runs) -> None:
    runs.modes = {"default-seed0": "faults"}
    outcome = runs.run()
    assert list(outcome.failed.values()) == ["the space, 2 faults: - one - two"]


@pytest.mark.parametrize(
    ("mode", "reason"),
    [("idle", "is not finished, or holds the run of another"), ("damage", "not readable JSON")],
)
def test_a_run_that_ends_well_without_its_files_has_failed(
    runs: Runs, mode: str, reason: str
) -> None:
    runs.modes = {"default-seed0": mode}
    outcome = runs.run()
    assert reason in outcome.failed[runs.cases[0]]
    assert len(outcome.finished) == 3


def test_a_command_that_cannot_be_started_has_failed(
    runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "command_of", lambda words: ["/nowhere/python"])
    assert all("could not be started" in text for text in runs.run().failed.values())


@pytest.mark.skipif(os.name != "posix", reason="process groups")
def test_an_interrupt_reaches_the_processes_once_and_starts_no_more(runs: Runs) -> None:
    before = signal.getsignal(signal.SIGINT)
    runs.modes = {"plain-seed0": "wait"}
    thread = runs.interrupt_when("plain-seed0/begun.json")
    outcome = runs.run()
    thread.join()
    assert [str(case) for case in outcome.finished] == ["bars default seed 0"]
    assert not outcome.failed
    assert (runs.root / "bars" / "plain-seed0" / "interrupted").exists()
    assert not runs.facts(2)
    # The terminal's own Ctrl-C must not reach it as well.
    assert runs.facts(1)["group"] != os.getpgrp()
    assert "interrupting 1 run at work;" in runs.said[1]
    assert signal.getsignal(signal.SIGINT) is before
    with pytest.raises(Interrupted, match=r"^stopped; go on with: dilsearch study small$"):
        outcome.require_success("dilsearch study small")


@pytest.mark.skipif(os.name != "posix", reason="process groups")
def test_a_second_interrupt_ends_what_the_first_did_not(runs: Runs) -> None:
    runs.modes = {"default-seed0": "stubborn"}
    started = time.monotonic()
    thread = runs.interrupt_when("default-seed0/begun.json", "default-seed0/interrupted")
    outcome = runs.run()
    thread.join()
    assert time.monotonic() - started < 15  # the stub would go on for 20 s
    assert outcome.interrupted
    assert not outcome.finished
    assert "ending 1 run at work" in runs.said[1]


@pytest.mark.skipif(os.name != "posix", reason="process groups")
def test_a_fault_of_ours_leaves_no_process_behind(
    runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(root: Path, case: Case) -> str:
        raise ZeroDivisionError

    runs.modes = {"plain-seed0": "wait"}
    monkeypatch.setattr(runner, "result_in_words", broken)
    before = set(threading.enumerate())  # libraries of other tests may keep some of their own
    started = time.monotonic()
    with pytest.raises(ZeroDivisionError):
        runs.run()
    assert time.monotonic() - started < 15
    assert set(threading.enumerate()) <= before
    assert not runs.facts(2)
