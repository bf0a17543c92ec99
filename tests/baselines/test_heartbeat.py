"""Signs of life, and what happens to trials that show none."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import optuna
import pytest
from optuna.exceptions import StorageInternalError
from optuna.storages import RDBStorage
from optuna.trial import TrialState
from storage_contract import Place, begin_and_die, fall_silent

from dilsearch.baselines.heartbeat import beating, give_up, give_up_stale
from dilsearch.baselines.slots import trial_id_of
from dilsearch.baselines.storage import OpenedStorage, open_storage
from dilsearch.errors import SweepError


@pytest.fixture(scope="module")
def storages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[OpenedStorage]]:
    folder = tmp_path_factory.mktemp("sweep")
    opened = [open_storage(None, folder, heartbeat_seconds=1, grace_seconds=2)]
    yield opened
    for one in opened:
        one.close()


@pytest.fixture
def place(storages: list[OpenedStorage]) -> Place:
    return Place(storages)


def states(place: Place) -> list[str]:
    return [trial.state.name for trial in place.study().get_trials()]


def test_a_living_worker_is_left_alone_and_a_silent_one_is_not(place: Place) -> None:
    trial = begin_and_die(place, total=1)
    opened = place.open()
    with beating(opened, trial_id_of(trial)):
        time.sleep(0.3)
        give_up_stale(place.study(), opened)
        assert states(place) == ["RUNNING"]
    fall_silent(opened)
    give_up_stale(place.study(), opened)
    assert states(place) == ["FAIL"]


def test_a_refused_beat_is_not_the_end(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    trial = begin_and_die(place, total=1)
    opened = place.open()
    beats = threading.Semaphore(0)

    def refuse(self: RDBStorage, trial_id: int) -> None:
        beats.release()
        raise StorageInternalError("down")

    monkeypatch.setattr(RDBStorage, "record_heartbeat", refuse)
    with beating(opened, trial_id_of(trial)):
        assert beats.acquire(timeout=10)
        assert beats.acquire(timeout=10)
    assert not any(thread.name == "heartbeat" for thread in threading.enumerate())


def test_without_heartbeats_there_is_no_thread() -> None:
    storage = optuna.storages.InMemoryStorage()
    with beating(OpenedStorage(storage, "memory", False, "", 1, 2), 0):
        assert not any(thread.name == "heartbeat" for thread in threading.enumerate())


@pytest.fixture
def study() -> optuna.Study:
    study = optuna.create_study()
    for state in (TrialState.RUNNING, TrialState.RUNNING, TrialState.WAITING):
        study.add_trial(optuna.create_trial(state=state))
    study.add_trial(optuna.create_trial(value=1.0))
    return study


def test_running_trials_are_given_up(study: optuna.Study) -> None:
    give_up(study, [1, 0, 1])
    assert [t.state.name for t in study.get_trials()] == ["FAIL", "FAIL", "WAITING", "COMPLETE"]


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (2, "trial 2 is waiting, and only a running trial can be given up; running are 0, 1."),
        (3, "trial 3 is complete, and only a running trial can be given up; running are 0, 1."),
        (9, "trial 9 does not exist, and only a running trial can be given up; running are 0, 1."),
    ],
)
def test_others_are_not_and_then_none_is(study: optuna.Study, number: int, text: str) -> None:
    with pytest.raises(SweepError) as refused:
        give_up(study, [0, number])
    assert str(refused.value) == text
    assert study.get_trials()[0].state == TrialState.RUNNING


def test_nothing_runs() -> None:
    with pytest.raises(SweepError, match="can be given up; none is running"):
        give_up(optuna.create_study(), [0])


def test_a_trial_that_ends_by_itself_meanwhile(
    study: optuna.Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    tell = study.tell

    def tell_too_late(number: int, **options: object) -> None:
        tell(number, 1.0)
        tell(number, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(study, "tell", tell_too_late)
    with pytest.raises(SweepError, match="trial 0 ended by itself before it could be given up"):
        give_up(study, [0])


def test_a_worker_takes_up_what_fell_silent(place: Place, tmp_path: Path) -> None:
    begin_and_die(place, total=2)
    assert place.join(tmp_path, total=2).trained == [1, 2]
