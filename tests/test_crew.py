"""What a crew promises beside what a study's runs show: tests/study/test_runner.py."""

import os
import sys
import time
from pathlib import Path

import pytest

from dilsearch.crew import Crew, Ended, Job, Stopping, environments

START = [sys.executable, "-I", "-S", "-c"]


def job(key: str, program: str, environment: dict[str, str] | None = None) -> Job[str]:
    return Job(key, [*START, program], dict(os.environ) if environment is None else environment)


def run(jobs: list[Job[str]], workers: int) -> dict[str, Ended[str]]:
    ended: dict[str, Ended[str]] = {}
    with Crew(jobs, workers).at_work() as events:
        for event in events:
            assert isinstance(event, Ended)
            ended[event.key] = event
    return ended


def test_every_end_is_told_with_its_reason() -> None:
    said = "import sys; print('noise\\ndilsearch: the disk is full', file=sys.stderr); sys.exit(2)"
    ended = run([job("good", ""), job("bad", said), Job("none", ["/nowhere/python"], {})], 2)
    assert ended["good"].code == 0
    assert (ended["bad"].code, ended["bad"].reason) == (2, "the disk is full")
    assert "could not be started" in ended["none"].reason


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_a_killed_process_has_the_signal_as_its_code() -> None:
    ended = run([job("killed", "import os; os.kill(os.getpid(), 9)")], 1)
    assert ended["killed"].code == -9
    assert ended["killed"].reason == "exit code -9"


def test_jobs_run_side_by_side_in_their_own_environments(tmp_path: Path) -> None:
    # Each waits for the file of the other, so that one after the other would take for ever.
    program = (
        "import os, pathlib, time\n"
        f"folder = pathlib.Path({str(tmp_path)!r})\n"
        "(folder / os.environ['MINE']).touch()\n"
        "deadline = time.time() + 20\n"
        "while not (folder / os.environ['THEIRS']).exists() and time.time() < deadline:\n"
        "    time.sleep(0.01)\n"
        "raise SystemExit(not (folder / os.environ['THEIRS']).exists())"
    )
    jobs = [
        job(mine, program, {**os.environ, "MINE": mine, "THEIRS": theirs})
        for mine, theirs in (("a", "b"), ("b", "a"))
    ]
    assert {key: end.code for key, end in run(jobs, 2).items()} == {"a": 0, "b": 0}


def test_there_is_time_for_other_things_while_nothing_happens() -> None:
    calls: list[float] = []
    with Crew([job("slow", "import time; time.sleep(0.5)")], 1).at_work(
        lambda: calls.append(time.monotonic())
    ) as events:
        assert [type(event) for event in events] == [Ended]
    assert len(calls) >= 2


def divide() -> None:
    raise ZeroDivisionError


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_a_fault_on_the_way_stops_what_is_at_work() -> None:
    crew = Crew([job("slow", "import time; time.sleep(20)"), job("never", "")], 1)
    started = time.monotonic()
    with pytest.raises(ZeroDivisionError), crew.at_work(divide) as events:
        next(events)
    assert time.monotonic() - started < 15
    assert crew.interrupted


@pytest.mark.parametrize(
    ("count", "deed"), [(1, "interrupting"), (2, "ending"), (3, "killing"), (4, "killing")]
)
def test_stopping_is_told_by_how_often_it_was_asked_for(count: int, deed: str) -> None:
    assert Stopping(count, 1).deed == deed


class TestEnvironments:
    @pytest.fixture(autouse=True)
    def plain(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        monkeypatch.setattr(os, "cpu_count", lambda: 8)

    def test_without_gpus_none_is_chosen(self) -> None:
        assert all("CUDA_VISIBLE_DEVICES" not in place for place in environments(2))

    def test_each_worker_sees_one_gpu_in_turn(self) -> None:
        seen = [place["CUDA_VISIBLE_DEVICES"] for place in environments(5, 2)]
        assert seen == ["0", "1", "0", "1", "0"]

    def test_gpus_that_the_user_has_chosen_are_shared_out(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3, GPU-5")
        seen = [place["CUDA_VISIBLE_DEVICES"] for place in environments(3, 2)]
        assert seen == ["3", "GPU-5", "3"]

    def test_cores_are_shared_out_and_one_worker_has_them_all(self) -> None:
        assert [place["OMP_NUM_THREADS"] for place in environments(2)] == ["4", "4"]
        assert "OMP_NUM_THREADS" not in environments(1)[0]
