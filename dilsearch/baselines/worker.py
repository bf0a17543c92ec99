"""One worker of a sweep: claims trials one after the other, and has each of them trained."""

import os
import platform
import random
import time
import traceback
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

import optuna
from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState

from dilsearch.baselines.attempt import Ending, Sweep, attempt, fail
from dilsearch.baselines.heartbeat import beating, give_up_stale
from dilsearch.baselines.objectives import Objectives
from dilsearch.baselines.outcome import WorkerOutcome as WorkerOutcome
from dilsearch.baselines.outcome import running_trial
from dilsearch.baselines.protocols import SweepProtocol
from dilsearch.baselines.slots import (
    ERROR,
    FAILURE,
    INTERRUPTED,
    REASON,
    SLOT,
    SlotState,
    claim,
    remove_surplus,
    reserve,
    trial_id_of,
    wanted_states,
    wants_more,
)
from dilsearch.baselines.storage import OpenedStorage, cause_of, patiently
from dilsearch.baselines.trial import Train
from dilsearch.errors import DilsearchError, Interrupted, SweepError

_FAILURES_AT_START: Final = 3
_FAILURES_IN_A_ROW: Final = 10
_LONGEST_WAIT_SECONDS: Final = 1.0
_STAGGER_SECONDS: Final = 0.1


def work(
    study: optuna.Study,
    opened: OpenedStorage,
    protocol: SweepProtocol,
    objectives: Objectives,
    train: Train,
    *,
    total: int | None,
    at_most: int | None = None,
    folder: Path,
    pruner_looks: bool = False,
    say: Callable[[str], None] = print,
) -> WorkerOutcome:
    """Take on trials until none is left for this worker.

    With heartbeats it leaves when every slot is finished or has failed for good, since what others
    run may yet come back to it. Without, it leaves when nothing waits.

    Args:
        study: The study, as ``open_study`` gives it.
        opened: Its storage.
        protocol: Which trials there are.
        objectives: What they are judged by.
        train: Trains a plan.
        total: How many trials are to finish over all workers; None where the protocol knows.
        at_most: The most that this worker takes on.
        folder: Root folder of the sweep.
        pruner_looks: Whether the study's pruner may end a trial early.
        say: Told what happens, in lines.

    Raises:
        SweepError: If trials fail one after the other and none finishes, or the storage stops
            answering.
        KeyboardInterrupt: If the user stops it; the slot of its trial is free again.
    """
    sweep = Sweep(study, opened, protocol, objectives, train, folder, pruner_looks)
    try:
        return _Worker(sweep, total, say).work(at_most)
    except StorageInternalError as error:
        raise SweepError(
            f"storage {opened.url} stopped answering: {cause_of(error)}. Give the same command to "
            "go on once it does."
        ) from error


class _Worker:
    """The loop of one worker.

    Args:
        sweep: What its attempts have in common.
        total: How many trials are to finish over all workers.
        say: Told what happens.
    """

    def __init__(self, sweep: Sweep, total: int | None, say: Callable[[str], None]) -> None:
        self._sweep = sweep
        self._total = total
        self._say = say
        self._name = f"{platform.node()} {os.getpid()} {uuid.uuid4().hex[:8]}"
        self._outcome = WorkerOutcome()
        self._failures_in_a_row = 0
        self._strays: set[int] = set()

    def work(self, at_most: int | None) -> WorkerOutcome:
        outcome = self._outcome
        states = patiently(self._put_in_order)
        while at_most is None or outcome.taken_on < at_most:
            claimed = claim(self._sweep.opened, states)
            if claimed is not None:
                self._take_on(claimed)
            elif self._has_to_leave(states):
                break
            else:
                self._wait()
            states = patiently(self._put_in_order)
        outcome.study_finished = all(state.is_decided for state in states)
        outcome.closed = tuple(state.slot.key for state in states if state.is_closed)
        outcome.running = tuple(
            running_trial(state.rightful) for state in states if state.rightful and state.is_running
        )
        return outcome

    def _put_in_order(self) -> list[SlotState]:
        """Give up trials of dead workers, fill empty slots, and see how things stand then."""
        study, opened = self._sweep.study, self._sweep.opened
        give_up_stale(study, opened)
        states = self._states()
        if wants_more(states):
            time.sleep(random.uniform(0, _STAGGER_SECONDS))  # so that few want the same at once
            for state in reserve(study, states, self._name):
                if state.last_failed is not None:
                    self._say(_retry_in_words(state.last_failed, state.slot.key))
            states = self._states()
        if any(state.surplus for state in states):
            remove_surplus(opened, states)
            states = self._states()
        return states

    def _states(self) -> list[SlotState]:
        trials = self._sweep.study.get_trials(deepcopy=False)
        self._note_strays(trials)
        protocol, total = self._sweep.protocol, self._total
        return wanted_states(
            protocol.slots, total, trials, replaces_failed=protocol.replaces_failed
        )

    def _note_strays(self, trials: Sequence[FrozenTrial]) -> None:
        """Say once of a trial that was made by hand, in a dashboard perhaps, that none runs it."""
        for trial in trials:
            is_stray = trial.state == TrialState.WAITING and SLOT not in trial.user_attrs
            if is_stray and trial.number not in self._strays:
                self._strays.add(trial.number)
                self._say(
                    f"trial {trial.number} was enqueued by hand and has no slot: it is not run"
                )

    def _has_to_leave(self, states: Sequence[SlotState]) -> bool:
        if all(state.is_decided for state in states):
            return True
        # A slot that is empty or waits at this moment is being filled or claimed by another worker.
        others_run = all(state.is_decided or state.is_running for state in states)
        return others_run and not self._sweep.opened.heartbeats

    def _wait(self) -> None:
        longest = min(_LONGEST_WAIT_SECONDS, self._sweep.opened.heartbeat_seconds / 4)
        time.sleep(random.uniform(0.3, 1.0) * longest)  # workers that come together drift apart

    def _take_on(self, claimed: FrozenTrial) -> None:
        number, slot = claimed.number, str(claimed.user_attrs[SLOT])
        sweep = self._sweep
        ending: Ending | None = None
        try:
            with beating(sweep.opened, trial_id_of(claimed)):
                ending = attempt(sweep, claimed)
        except UpdateFinishedTrialError:
            pass
        except (KeyboardInterrupt, SystemExit, Interrupted):
            with suppress(UpdateFinishedTrialError, StorageInternalError):
                fail(sweep, claimed, INTERRUPTED, "the user stopped it")
            raise
        except Exception as error:
            try:
                fail(sweep, claimed, ERROR, _reason_of(error), _traceback_of(error))
            except UpdateFinishedTrialError:
                pass
            else:
                self._note_failure(number, slot, error)
                return
        self._note_ending(number, slot, ending)

    def _note_ending(self, number: int, slot: str, ending: Ending | None) -> None:
        if ending is None or not ending.counts:
            self._outcome.lost.append(number)
            self._say(
                f"trial {number} ({slot}) was given up while this worker was not heard of; "
                "what it brought does not count"
            )
            return
        self._failures_in_a_row = 0
        if ending.answered_from is None:
            self._outcome.trained.append(number)
        else:
            self._outcome.answered.append(number)
        self._say(f"trial {number} ({slot}) {_ending_in_words(ending)}")

    def _note_failure(self, number: int, slot: str, error: Exception) -> None:
        self._outcome.failed.append(number)
        self._failures_in_a_row += 1
        self._say(f"trial {number} ({slot}) failed: {_reason_of(error)}")
        finished = self._outcome.trained or self._outcome.answered
        if self._failures_in_a_row >= (_FAILURES_IN_A_ROW if finished else _FAILURES_AT_START):
            raise SweepError(
                f"{self._failures_in_a_row} trials in a row failed, the last one, trial {number} "
                f"({slot}), because: {_reason_of(error)}"
            ) from error


def _reason_of(error: Exception) -> str:
    """The sentence of an error of the input; of any other also what kind it is."""
    if isinstance(error, DilsearchError):
        return str(error)
    return f"{type(error).__name__}: {error}"


def _traceback_of(error: Exception) -> str | None:
    """Where an error that is not the input's comes from."""
    if isinstance(error, DilsearchError):
        return None
    return "".join(traceback.format_exception(error))


def _retry_in_words(failed: FrozenTrial, slot: str) -> str:
    known = failed.user_attrs
    reason = known.get(REASON) if FAILURE in known else "its worker was killed, or it was given up"
    return f"trial {failed.number} ({slot}) failed, and its slot is filled again: {reason}"


def _ending_in_words(ending: Ending) -> str:
    if ending.answered_from is not None:
        return f"has plan and seed of trial {ending.answered_from} and takes its result"
    result = ending.result
    how = "was pruned" if result.pruned else "finished"
    score = result.scores.get("mean_iou")
    at = "" if score is None else f" at mean IoU {score:.4f}"
    return f"{how}{at} after {result.samples} samples in {result.seconds:.1f} s"
