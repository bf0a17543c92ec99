"""What a sweep promises on every storage: one suite, which is run over each of them."""

import itertools
import threading
from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import optuna
import pytest
import sqlalchemy
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState
from small_sweep import OBJECTIVES, SmallProtocol, SmallTrainer, join

from dilsearch.baselines.heartbeat import give_up
from dilsearch.baselines.outcome import WorkerOutcome
from dilsearch.baselines.slots import claim, reserve, slot_states
from dilsearch.baselines.storage import OpenedStorage, open_study
from dilsearch.baselines.trial import TrialRequest
from dilsearch.errors import SweepError

PROTOCOL = SmallProtocol()
_numbers = itertools.count()


class Place:
    """A study of its own in a storage that several workers have opened.

    Args:
        storages: The same storage as each of them opened it.
    """

    def __init__(self, storages: Sequence[OpenedStorage]) -> None:
        self.name = f"study {next(_numbers)}"
        self._storages = itertools.cycle(storages)

    def open(self) -> OpenedStorage:
        """The storage as the next worker sees it."""
        return next(self._storages)

    def study(self) -> optuna.Study:
        """The study as the next worker sees it."""
        return study_of(self.open(), self.name)

    def join(
        self, folder: Path, train: SmallTrainer | None = None, **options: Any
    ) -> WorkerOutcome:
        """Work on it."""
        return join(self.open(), folder, train, name=self.name, **options)

    def finished_slots(self) -> Counter[str]:
        """How often each slot was finished."""
        trials = self.study().get_trials(states=(TrialState.COMPLETE, TrialState.PRUNED))
        return Counter(trial.user_attrs["slot"] for trial in trials)


def study_of(opened: OpenedStorage, name: str) -> optuna.Study:
    return open_study(opened, name, OBJECTIVES.directions, PROTOCOL.describe())


def places(count: int) -> dict[str, int]:
    """Every slot once."""
    return {f"place {number}": 1 for number in range(count)}


def begin_and_die(place: Place, total: int) -> FrozenTrial:
    """What a worker leaves that is killed while it trains: a trial that runs, and no heartbeat."""
    opened = place.open()
    study = study_of(opened, place.name)
    slots = PROTOCOL.slots(total)
    reserve(study, slot_states(slots, study.get_trials()), "doomed")
    claimed = claim(opened, slot_states(slots, study.get_trials()))
    assert claimed is not None
    fall_silent(opened)
    return claimed


def fall_silent(opened: OpenedStorage) -> None:
    """Make every heartbeat an hour old, as if whoever gave it had died then."""
    if isinstance(opened.storage, RDBStorage):
        table = sqlalchemy.table("trial_heartbeats", sqlalchemy.column("heartbeat"))
        long_ago = datetime.now() - timedelta(days=2)
        with opened.storage.engine.begin() as connection:
            connection.execute(sqlalchemy.update(table).values(heartbeat=long_ago))


class StorageContract:
    """What depends on how a storage keeps order among workers; tests over a fixture ``place``."""

    def test_workers_at_once_share_the_slots(self, place: Place, tmp_path: Path) -> None:
        trainers = [SmallTrainer(tmp_path, lambda: 0.02) for _ in range(3)]
        threads = [
            threading.Thread(target=place.join, args=(tmp_path, trainer), daemon=True)
            for trainer in trainers
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=60)
        assert place.finished_slots() == places(4)
        assert sum(len(trainer.trained) for trainer in trainers) == 4

    def test_one_of_two_workers_gets_a_trial(self, place: Place) -> None:
        one, other = place.open(), place.open()
        study = study_of(one, place.name)
        slots = PROTOCOL.slots(1)
        reserve(study, slot_states(slots, study.get_trials()), "one")
        states = slot_states(slots, study.get_trials())
        assert claim(one, states) is not None
        assert claim(other, states) is None

    def test_a_trial_of_a_killed_worker_is_done_again_once_it_is_given_up(
        self, place: Place, tmp_path: Path
    ) -> None:
        dead = begin_and_die(place, total=2)
        if not place.open().heartbeats:
            left = place.join(tmp_path, total=2)
            assert [running.number for running in left.running] == [dead.number]
            give_up(place.study(), [dead.number])
        outcome = place.join(tmp_path, total=2)
        assert outcome.study_finished
        assert place.finished_slots() == places(2)
        retries = {t.number: t.user_attrs.get("retry_of") for t in place.study().get_trials()}
        assert [value for value in retries.values() if value is not None] == [dead.number]

    def test_what_a_worker_brings_that_was_given_up_does_not_count(
        self, place: Place, tmp_path: Path
    ) -> None:
        def sleep_through_it(request: TrialRequest) -> None:
            if request.number == 0:
                give_up(place.study(), [0])
                assert place.join(tmp_path, total=2).study_finished

        trainer = SmallTrainer(tmp_path, before=sleep_through_it)
        outcome = place.join(tmp_path, trainer, total=2)
        assert outcome.lost == [0]
        assert outcome.trained == []
        assert place.finished_slots() == places(2)


class LoneWorkerContract:
    """What one worker meets alone, which depends on the storage but little."""

    def test_the_total_is_exact_nothing_is_repeated_and_a_higher_one_only_adds(
        self, place: Place, tmp_path: Path
    ) -> None:
        assert place.join(tmp_path, total=2).trained == [0, 1]
        assert place.finished_slots() == places(2)
        again = place.join(tmp_path, total=2)
        assert again.finished_already
        assert again.taken_on == 0
        assert place.join(tmp_path, total=3).trained == [2]
        assert place.finished_slots() == places(3)

    def test_at_most_is_what_one_worker_takes_on(self, place: Place, tmp_path: Path) -> None:
        outcome = place.join(tmp_path, total=2, at_most=1)
        assert outcome.trained == [0]
        assert not outcome.study_finished

    def test_an_interrupted_trial_is_free_again_at_once(self, place: Place, tmp_path: Path) -> None:
        def press_ctrl_c(request: TrialRequest) -> None:
            raise KeyboardInterrupt

        for _ in range(2):  # which would close the slot if it counted
            with pytest.raises(KeyboardInterrupt):
                place.join(tmp_path, SmallTrainer(tmp_path, before=press_ctrl_c), total=1)
        outcome = place.join(tmp_path, total=1)
        assert outcome.trained == [2]
        rates = [t.params["rate"] for t in place.study().get_trials()]
        assert len(set(rates)) == 1  # what was interrupted is what is trained

    def test_another_description_is_refused(self, place: Place) -> None:
        place.study()
        with pytest.raises(SweepError, match='protocol is "small" there and "other" now'):
            open_study(place.open(), place.name, ["maximize"], {"protocol": "other"})
        with pytest.raises(SweepError, match=r"directions is .* Give the command that began it"):
            open_study(place.open(), place.name, ["minimize"], PROTOCOL.describe())
