"""The contract on the storages that are files, and what a worker does with failures."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import optuna
import pytest
from optuna.exceptions import StorageInternalError
from optuna.trial import FrozenTrial, TrialState
from small_sweep import OBJECTIVES, SmallProtocol, SmallTrainer
from storage_contract import LoneWorkerContract, Place, StorageContract, begin_and_die

from dilsearch.baselines.heartbeat import give_up
from dilsearch.baselines.storage import OpenedStorage, open_storage
from dilsearch.baselines.trial import Suggestion, TrialRequest
from dilsearch.baselines.worker import work
from dilsearch.errors import DataError, Interrupted, SweepError
from dilsearch.plan import DilationPlan, SiteRates


@pytest.fixture(scope="module", params=["sqlite", "journal"])
def storages(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[list[OpenedStorage]]:
    folder = tmp_path_factory.mktemp("sweep")
    text = {"sqlite": None, "journal": str(folder / "sweep.journal")}[request.param]
    opened = [open_storage(text, folder, heartbeat_seconds=1, grace_seconds=4) for _ in range(2)]
    yield opened
    for one in opened:
        one.close()


@pytest.fixture
def place(storages: list[OpenedStorage]) -> Place:
    return Place(storages)


class TestFiles(StorageContract, LoneWorkerContract):
    pass


@pytest.fixture
def memory() -> Place:
    storage = optuna.storages.InMemoryStorage()
    return Place([OpenedStorage(storage, "memory", False, "", 1, 2)])


def fail_at(*numbers: int) -> Callable[[TrialRequest], None]:
    def fail(request: TrialRequest) -> None:
        if request.number in numbers:
            raise DataError(f"no data for trial {request.number}")

    return fail


def test_a_failed_trial_is_tried_again_with_its_parameters(memory: Place, tmp_path: Path) -> None:
    lines: list[str] = []
    trainer = SmallTrainer(tmp_path, before=fail_at(1))
    outcome = memory.join(tmp_path, trainer, total=3, say=lines.append)
    assert outcome.trained == [0, 2, 3]
    assert outcome.failed == [1]
    trials = memory.study().get_trials()
    assert trials[3].params == trials[1].params
    assert trials[3].user_attrs["retry_of"] == 1
    assert trials[1].user_attrs["reason"] == "no data for trial 1"
    assert trials[1].user_attrs["failure"] == "error"
    assert "trial 1 (place 1) failed: no data for trial 1" in lines
    assert "trial 1 (place 1) failed, and its slot is filled again: no data for trial 1" in lines


def test_a_slot_that_fails_twice_is_closed(memory: Place, tmp_path: Path) -> None:
    outcome = memory.join(tmp_path, SmallTrainer(tmp_path, before=fail_at(1, 3)), total=3)
    assert outcome.study_finished
    assert outcome.closed == ("place 1",)
    assert memory.finished_slots() == {"place 0": 1, "place 2": 1}


def test_where_closed_slots_are_replaced_the_total_is_reached(
    memory: Place, tmp_path: Path
) -> None:
    protocol = SmallProtocol(replaces_failed=True)
    trainer = SmallTrainer(tmp_path, before=fail_at(1, 3))
    outcome = memory.join(tmp_path, trainer, total=3, protocol=protocol)
    assert outcome.study_finished
    assert memory.finished_slots() == {"place 0": 1, "place 2": 1, "place 3": 1}


def test_three_failures_at_the_start_end_the_worker(memory: Place, tmp_path: Path) -> None:
    trainer = SmallTrainer(tmp_path, before=fail_at(*range(100)))
    text = r"3 trials in a row failed, the last one, trial 2 \(place 2\), because: no data for"
    with pytest.raises(SweepError, match=text):
        memory.join(tmp_path, trainer, total=20)


def test_ten_failures_in_a_row_end_it_later(memory: Place, tmp_path: Path) -> None:
    trainer = SmallTrainer(tmp_path, before=fail_at(*range(1, 100)))
    with pytest.raises(SweepError, match="10 trials in a row failed"):
        memory.join(tmp_path, trainer, total=20)


def test_a_fault_of_ours_keeps_its_traceback(memory: Place, tmp_path: Path) -> None:
    def divide(request: TrialRequest) -> None:
        if request.number == 0:
            request.number // 0

    memory.join(tmp_path, SmallTrainer(tmp_path, before=divide), total=1)
    failed = memory.study().get_trials()[0].user_attrs
    assert failed["reason"] == "ZeroDivisionError: integer division or modulo by zero"
    assert "request.number // 0" in failed["traceback"]


def test_a_score_that_is_no_number_fails_the_trial(memory: Place, tmp_path: Path) -> None:
    class Diverges(SmallTrainer):
        def __call__(self, *arguments):  # type: ignore[no-untyped-def]
            return replace(super().__call__(*arguments), scores={"mean_iou": float("nan")})

    outcome = memory.join(tmp_path, Diverges(tmp_path), total=1)
    assert outcome.closed == ("place 0",)
    assert "has no value" in memory.study().get_trials()[0].user_attrs["reason"]


def test_equal_plan_and_seed_are_answered(memory: Place, tmp_path: Path) -> None:
    class Same(SmallProtocol):
        def suggest(self, trial):  # type: ignore[no-untyped-def]
            return Suggestion(DilationPlan({"body": SiteRates("site", (2,))}), 0)

    outcome = memory.join(tmp_path, total=3, protocol=Same())
    assert outcome.trained == [0]
    assert outcome.answered == [1, 2]
    trials = memory.study().get_trials()
    assert [t.user_attrs["samples"] for t in trials] == [10, 0, 0]
    assert len({t.value for t in trials}) == 1


def test_a_trial_that_was_enqueued_by_hand_is_not_run_and_said_once(
    memory: Place, tmp_path: Path
) -> None:
    memory.study().enqueue_trial({"place": 0, "rate": 3})
    lines: list[str] = []
    outcome = memory.join(tmp_path, total=3, say=lines.append)
    assert outcome.trained == [1, 2, 3]
    assert outcome.study_finished
    assert memory.study().get_trials()[0].state == TrialState.WAITING
    said = "trial 0 was enqueued by hand and has no slot: it is not run"
    assert [line for line in lines if "by hand" in line] == [said]


@pytest.mark.parametrize("stop", [KeyboardInterrupt(), Interrupted("stopped")])
def test_the_users_stop_is_passed_on(memory: Place, tmp_path: Path, stop: BaseException) -> None:
    def raise_it(request: TrialRequest) -> None:
        raise stop

    with pytest.raises(type(stop)):
        memory.join(tmp_path, SmallTrainer(tmp_path, before=raise_it), total=1)
    (trial,) = memory.study().get_trials()
    assert trial.state.name == "FAIL"
    assert trial.user_attrs["failure"] == "interrupted"


def test_the_pruner_ends_trials_early(memory: Place, tmp_path: Path) -> None:
    study = memory.study()
    study.pruner = optuna.pruners.ThresholdPruner(lower=1e9)
    opened = memory.open()
    outcome = work(
        study,
        opened,
        SmallProtocol(),
        OBJECTIVES,
        SmallTrainer(tmp_path),
        total=2,
        folder=tmp_path,
        pruner_looks=True,
        say=lambda line: None,
    )
    assert outcome.study_finished
    states = [trial.state.name for trial in memory.study().get_trials()]
    assert states == ["PRUNED", "PRUNED"]  # which counts as finished


def test_what_still_runs_is_named(memory: Place, tmp_path: Path) -> None:
    begin_and_die(memory, total=2)
    outcome = memory.join(tmp_path, total=2)
    assert not outcome.study_finished
    (running,) = outcome.running
    assert str(running).startswith("trial 0 (place 0) on an unknown host, since 20")
    assert running.number == 0


def test_a_trial_that_is_given_up_while_it_is_told(
    memory: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other worker comes between the look at the trial and the write that ends it."""
    storage = memory.open().storage
    write = storage.set_trial_state_values

    def overtaken(trial_id: int, state: TrialState, values: Sequence[float] | None = None) -> bool:
        if state == TrialState.COMPLETE and trial_id == 0:
            write(trial_id, TrialState.FAIL)
        return write(trial_id, state, values)

    monkeypatch.setattr(storage, "set_trial_state_values", overtaken)
    outcome = memory.join(tmp_path, total=2)
    assert outcome.lost == [0]
    assert outcome.trained == [1, 2]
    assert memory.finished_slots() == {"place 0": 1, "place 1": 1}


def test_a_trial_whose_answer_got_lost_is_told_again_and_counts_once(
    memory: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = memory.open().storage
    write = storage.set_trial_state_values
    monkeypatch.setattr("dilsearch.baselines.storage.time.sleep", lambda seconds: None)
    stumbles = iter([True])

    def stumbling(trial_id: int, state: TrialState, values: Sequence[float] | None = None) -> bool:
        done = write(trial_id, state, values)
        if state == TrialState.COMPLETE and next(stumbles, False):
            raise StorageInternalError("the connection broke after the write")
        return done

    monkeypatch.setattr(storage, "set_trial_state_values", stumbling)
    assert memory.join(tmp_path, total=2).trained == [0, 1]
    assert memory.finished_slots() == {"place 0": 1, "place 1": 1}


def test_an_error_of_a_trial_that_was_given_up_is_not_its_failure(
    memory: Place, tmp_path: Path
) -> None:
    def fall_over(request: TrialRequest) -> None:
        if request.number == 0:
            give_up(memory.study(), [0])
            raise RuntimeError("the pruner could not be told")

    outcome = memory.join(tmp_path, SmallTrainer(tmp_path, before=fall_over), total=1)
    assert (outcome.lost, outcome.failed, outcome.trained) == ([0], [], [1])


def test_a_storage_that_stops_answering(
    memory: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: object, **options: object) -> list[FrozenTrial]:
        raise StorageInternalError("wrapped") from OSError("the server is gone")

    monkeypatch.setattr("dilsearch.baselines.storage.time.sleep", lambda seconds: None)
    trainer = SmallTrainer(
        tmp_path,
        before=lambda request: monkeypatch.setattr(memory.open().storage, "get_all_trials", refuse),
    )
    text = "storage memory stopped answering: the server is gone. Give the same command to go on"
    with pytest.raises(SweepError, match=text):
        memory.join(tmp_path, trainer, total=1)
