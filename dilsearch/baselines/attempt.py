"""One attempt at a slot: a claimed trial, from its parameters to its end."""

import copy
import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import optuna
from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState

from dilsearch.baselines.artifacts import attach
from dilsearch.baselines.objectives import Objectives
from dilsearch.baselines.protocols import SweepProtocol
from dilsearch.baselines.slots import FAILURE, REASON, SLOT, trial_id_of
from dilsearch.baselines.storage import OpenedStorage, patiently
from dilsearch.baselines.table import record_request, record_result
from dilsearch.baselines.trial import Look, Train, TrialRequest, TrialResult
from dilsearch.baselines.twins import answer_from, finished_twin

HOST: Final = "host"
PROCESS: Final = "process"
TRACEBACK: Final = "traceback"


@dataclass(frozen=True, slots=True)
class Sweep:
    """What the attempts of one worker have in common.

    Args:
        study: The study.
        opened: Its storage.
        protocol: Which trials there are.
        objectives: What they are judged by.
        train: Trains a plan.
        folder: Root folder of the sweep.
        pruner_looks: Whether the study's pruner may end a trial early.
    """

    study: optuna.Study
    opened: OpenedStorage
    protocol: SweepProtocol
    objectives: Objectives
    train: Train
    folder: Path
    pruner_looks: bool


@dataclass(frozen=True, slots=True)
class Ending:
    """How an attempt ended that did not fail.

    Args:
        result: What it brought.
        counts: Whether the study took it; it does not if others gave the trial up.
        answered_from: Number of the trial whose result it is, if it trained nothing itself.
    """

    result: TrialResult
    counts: bool
    answered_from: int | None


def attempt(sweep: Sweep, claimed: FrozenTrial) -> Ending:
    """Have a claimed trial trained, or answered from one with the same plan and seed, and tell it.

    All that is to be known of a trial is written before it is told: a finished one takes no more,
    and a worker that dies in between leaves a trial that is done again.

    Raises:
        UpdateFinishedTrialError: If others gave the trial up meanwhile.
    """
    study, trial = _open_trial(sweep, claimed)
    trial.set_user_attr(HOST, platform.node())
    trial.set_user_attr(PROCESS, os.getpid())
    suggestion = sweep.protocol.suggest(trial)
    request = TrialRequest(claimed.number, claimed.user_attrs[SLOT], suggestion)
    record_request(trial, request)
    twin = finished_twin(study, claimed.number, suggestion.plan.hash, suggestion.seed)
    if twin is None:
        result = sweep.train(request, _look_of(trial) if sweep.pruner_looks else None)
    else:
        result = answer_from(trial, twin, suggestion.plan, sweep.folder)
    values = None if result.pruned else sweep.objectives.values(result)
    patiently(lambda: record_result(trial, result))
    _attach(sweep, trial, result)
    state = TrialState.PRUNED if result.pruned else TrialState.COMPLETE
    counts = _tell(study, trial, state, values)
    return Ending(result, counts, None if twin is None else twin.number)


def fail(
    sweep: Sweep, claimed: FrozenTrial, failure: str, reason: str, traceback: str | None = None
) -> None:
    """Mark a running trial as failed.

    Args:
        sweep: The sweep.
        claimed: The trial.
        failure: ``ERROR`` or ``INTERRUPTED``; only the first counts against its slot.
        reason: In words.
        traceback: Where a fault of ours came from.

    Raises:
        UpdateFinishedTrialError: If the trial has ended already, because others gave it up.
    """
    notes = {FAILURE: failure, REASON: reason, TRACEBACK: traceback}
    for name, note in notes.items():
        if note is not None:
            sweep.opened.storage.set_trial_user_attr(trial_id_of(claimed), name, note)
    _tell(sweep.study, claimed.number, TrialState.FAIL, None)


def _open_trial(sweep: Sweep, claimed: FrozenTrial) -> tuple[optuna.Study, optuna.Trial]:
    """A trial with a sampler of its own, which sees all that has finished until now.

    A copy of the study, because one that served another trial remembers for its samplers what the
    trials were then.
    """
    study = copy.copy(sweep.study)
    study.sampler = sweep.protocol.sampler(claimed.number)
    return study, optuna.Trial(study, trial_id_of(claimed))


def _look_of(trial: optuna.Trial) -> Look:
    def look(step: int, value: float) -> bool:
        patiently(lambda: trial.report(value, step))
        return patiently(trial.should_prune)

    return look


def _attach(sweep: Sweep, trial: optuna.Trial, result: TrialResult) -> None:
    """Show a trial's files; a full disk or a stumbling database costs the files, not the trial."""
    try:
        attach(sweep.opened.storage, trial, result.files, sweep.folder)
    except (OSError, StorageInternalError):
        return


def _tell(
    study: optuna.Study,
    trial: optuna.Trial | int,
    state: TrialState,
    values: Sequence[float] | None,
) -> bool:
    """End a trial; False if others gave it up, at the same moment even.

    It may be told twice, where the answer to the first time got lost: nobody but its own worker
    completes a trial, so that one that is found complete was told by us.
    """
    try:
        told = patiently(lambda: study.tell(trial, values, state=state, skip_if_finished=True))
    except UpdateFinishedTrialError:
        return False
    return told.state == state
