"""Signs of life while a trial is trained, and giving up trials that show none."""

import threading
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress

import optuna
from optuna.exceptions import (
    ExperimentalWarning,
    StorageInternalError,
    UpdateFinishedTrialError,
)
from optuna.storages import RDBStorage, fail_stale_trials
from optuna.trial import TrialState

from dilsearch.baselines.storage import OpenedStorage
from dilsearch.errors import SweepError


def beat(opened: OpenedStorage, trial_id: int) -> None:
    """Give one sign of life; nothing on a storage without heartbeats."""
    if isinstance(opened.storage, RDBStorage) and opened.heartbeats:
        opened.storage.record_heartbeat(trial_id)


@contextmanager
def beating(opened: OpenedStorage, trial_id: int) -> Iterator[None]:
    """Give signs of life from a thread until the block is left.

    A beat that the database refuses is not the end: the next one may reach it, and if none does
    within the grace, the trial is given up by others, which is noticed when it is told.
    """
    if not opened.heartbeats:
        yield
        return
    done = threading.Event()
    thread = threading.Thread(
        target=_beat_until, args=(done, opened, trial_id), name="heartbeat", daemon=True
    )
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _beat_until(done: threading.Event, opened: OpenedStorage, trial_id: int) -> None:
    try:
        while True:
            with suppress(StorageInternalError):
                beat(opened, trial_id)
            if done.wait(opened.heartbeat_seconds):
                return
    finally:
        if isinstance(opened.storage, RDBStorage):
            opened.storage.remove_session()  # sessions belong to threads


def give_up_stale(study: optuna.Study, opened: OpenedStorage) -> None:
    """Fail the running trials whose workers have given no sign of life for the grace."""
    if opened.heartbeats:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            fail_stale_trials(study)


def give_up(study: optuna.Study, numbers: Iterable[int]) -> None:
    """Fail running trials whose workers are known to be dead, so that their slots are free again.

    This is for storages without heartbeats. A worker that is alive after all is not told twice:
    what it brings is refused.

    Args:
        study: The study.
        numbers: Numbers of the trials.

    Raises:
        SweepError: If one of them is not running; then none is given up.
    """
    wanted = sorted(set(numbers))
    states = {trial.number: trial.state for trial in study.get_trials(deepcopy=False)}
    for number in wanted:
        if states.get(number) != TrialState.RUNNING:
            raise _not_running(number, states)
    for number in wanted:
        try:
            study.tell(number, state=TrialState.FAIL)
        except (UpdateFinishedTrialError, ValueError):
            raise SweepError(
                f"trial {number} ended by itself before it could be given up. "
                "Look at the study again."
            ) from None


def _not_running(number: int, states: dict[int, TrialState]) -> SweepError:
    running = [str(other) for other, state in states.items() if state == TrialState.RUNNING]
    now = f"is {states[number].name.lower()}" if number in states else "does not exist"
    choice = f"running are {', '.join(running)}" if running else "none is running"
    return SweepError(f"trial {number} {now}, and only a running trial can be given up; {choice}.")
