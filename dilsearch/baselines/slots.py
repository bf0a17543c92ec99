"""Slots: places for trials that are to finish, of which no two workers ever fill the same one.

A trial of a sweep is never made by running it. It is put into the study as a *waiting* trial that
carries the key of its slot, and workers claim waiting trials. What holds, and why:

* Trials are numbered in the order in which they appear: who sees a trial sees all lower ones.
* What has failed stays failed, and nothing of it can be changed any more. So does what is complete
  or pruned, which is what *finished* means.
* Of the trials of a slot, the lowest that has not failed is the *rightful* one, if fewer than two
  of those below it count against the slot. All of those have failed, so that a trial that is
  rightful stays so until it fails itself. Whatever two workers have seen of a study and when, they
  never hold two trials of a slot for rightful that have not failed.
* Only a rightful trial is claimed for training, and the storage lets one worker alone turn it from
  waiting to running. Only who claimed it finishes it, and a trial that was given up meanwhile
  refuses to be finished. Hence **no slot is finished twice**.
* Two workers may fill an empty slot at the same moment. Every trial but the rightful one is
  surplus: it is claimed, so that nobody runs it, and failed untrained.
* A slot without a rightful trial that may still have one is empty, whoever emptied it and whoever
  died meanwhile; the next worker that looks fills it again, with the parameters of the one that
  failed. Hence **none is lost**. A kill or an error counts against a slot, two of them close it
  for good; a Ctrl-C does not.
* There are ``total`` slots, and where a closed one is replaced, one more for each that is closed,
  which stays so. Hence **never more than the total is finished**, and a higher total only adds.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState

from dilsearch.baselines.heartbeat import beat
from dilsearch.baselines.storage import OpenedStorage
from dilsearch.baselines.trial import Slot

SLOT: Final = "slot"
RETRY_OF: Final = "retry_of"
RESERVED_BY: Final = "reserved_by"
FAILURE: Final = "failure"
REASON: Final = "reason"

INTERRUPTED: Final = "interrupted"
ERROR: Final = "error"
SURPLUS: Final = "surplus"
"""What ``FAILURE`` says; a trial that failed without it was killed or given up."""

_MOST_FAILURES: Final = 2
_FEW_WAITING: Final = 4
_ENOUGH_WAITING: Final = 24


@dataclass(frozen=True, slots=True)
class SlotState:
    """What has become of a slot so far.

    Args:
        slot: The slot.
        rightful: The one trial that may fill it, waiting, running or finished.
        last_failed: The last trial that failed in it, for whatever reason.
        failures: How many count against it, which two do for good.
        surplus: Waiting trials that must not run.
    """

    slot: Slot
    rightful: FrozenTrial | None
    last_failed: FrozenTrial | None
    failures: int
    surplus: tuple[FrozenTrial, ...]

    @property
    def is_closed(self) -> bool:
        """Whether it has failed for good."""
        return self.rightful is None and self.failures >= _MOST_FAILURES

    @property
    def is_empty(self) -> bool:
        """Whether a trial has to be put into it."""
        return self.rightful is None and not self.is_closed

    @property
    def is_finished(self) -> bool:
        """Whether its trial is complete or pruned."""
        return self.rightful is not None and self.rightful.state.is_finished()

    @property
    def is_waiting(self) -> bool:
        """Whether its trial can be claimed."""
        return self.rightful is not None and self.rightful.state == TrialState.WAITING

    @property
    def is_running(self) -> bool:
        """Whether its trial is being trained, or was when its worker died."""
        return self.rightful is not None and self.rightful.state == TrialState.RUNNING

    @property
    def is_decided(self) -> bool:
        """Whether nothing more will come of it."""
        return self.is_finished or self.is_closed


def slot_states(slots: Sequence[Slot], trials: Sequence[FrozenTrial]) -> list[SlotState]:
    """What has become of slots, in their order.

    Args:
        slots: The slots.
        trials: All trials of the study, in the order of their numbers.
    """
    of_slot: dict[str, list[FrozenTrial]] = {slot.key: [] for slot in slots}
    for trial in trials:
        of_slot.get(trial.user_attrs.get(SLOT, ""), []).append(trial)
    return [_state_of(slot, of_slot[slot.key]) for slot in slots]


def wanted_states(
    slots_of: Callable[[int | None], Sequence[Slot]],
    total: int | None,
    trials: Sequence[FrozenTrial],
    *,
    replaces_failed: bool,
) -> list[SlotState]:
    """States of all slots of a sweep, with one more for each that is closed, if those are replaced.

    Args:
        slots_of: A protocol's slots for a total; those for a higher one begin with the same.
        total: How many trials are to finish; None where the protocol knows.
        trials: All trials of the study.
        replaces_failed: Whether closed slots are replaced.
    """
    replaced = 0
    while True:
        states = slot_states(slots_of(None if total is None else total + replaced), trials)
        closed = sum(state.is_closed for state in states)
        if not replaces_failed or total is None or closed == replaced:
            return states
        replaced = closed


def wants_more(states: Sequence[SlotState]) -> bool:
    """Whether trials have to be put into empty slots, because few are waiting."""
    few = sum(state.is_waiting for state in states) < _FEW_WAITING
    return few and any(state.is_empty for state in states)


def reserve(study: optuna.Study, states: Sequence[SlotState], worker: str) -> list[SlotState]:
    """Put trials into empty slots, some ahead of those that are at work.

    A worker that meets another at this leaves it to the one whose trial was the first, so that a
    crowd makes few surplus trials.

    Args:
        study: The study.
        states: What the slots looked like.
        worker: Name of this worker, unlike that of any other.

    Returns:
        The slots that were filled, as they were before.
    """
    filled: list[SlotState] = []
    if not wants_more(states):
        return filled
    for state in [state for state in states if state.is_empty][:_ENOUGH_WAITING]:
        looked_at = [state.slot, *(before.slot for before in filled[-1:])]
        now, *before = slot_states(looked_at, study.get_trials(deepcopy=False))
        if not now.is_empty or any(_is_filled_by_another(one, worker) for one in before):
            break
        _enqueue(study, now, worker)
        filled.append(now)
    return filled


def claim(opened: OpenedStorage, states: Sequence[SlotState]) -> FrozenTrial | None:
    """Turn the first trial that waits for a worker into a running one, which is then ours alone."""
    for trial in _in_order(state.rightful for state in states if state.is_waiting):
        if _take(opened, trial):
            return trial
    return None


def remove_surplus(opened: OpenedStorage, states: Sequence[SlotState]) -> None:
    """Fail waiting trials that stand beside the rightful one of their slot."""
    for trial in _in_order(trial for state in states for trial in state.surplus):
        # Claimed first: it may have become the rightful one, and somebody may have begun it.
        if _take(opened, trial):
            trial_id = trial_id_of(trial)
            note = opened.storage.set_trial_user_attr
            try:
                note(trial_id, FAILURE, SURPLUS)
                note(trial_id, REASON, "not trained: another worker filled its slot first")
                opened.storage.set_trial_state_values(trial_id, TrialState.FAIL)
            except UpdateFinishedTrialError:
                pass  # we slept, and others gave it up


def trial_id_of(trial: FrozenTrial) -> int:
    """What the storage calls a trial; asking it by number would take two more queries."""
    return trial._trial_id


def _state_of(slot: Slot, trials: Sequence[FrozenTrial]) -> SlotState:
    rightful: FrozenTrial | None = None
    last_failed: FrozenTrial | None = None
    failures = 0
    surplus: list[FrozenTrial] = []
    for trial in trials:
        if trial.state == TrialState.FAIL:
            if trial.user_attrs.get(FAILURE) == SURPLUS:
                continue
            last_failed = trial
            failures += trial.user_attrs.get(FAILURE) != INTERRUPTED
        elif rightful is None and failures < _MOST_FAILURES:
            rightful = trial
        elif trial.state == TrialState.WAITING:
            surplus.append(trial)
    return SlotState(slot, rightful, last_failed, failures, tuple(surplus))


def _is_filled_by_another(state: SlotState, worker: str) -> bool:
    rightful = state.rightful
    return rightful is not None and rightful.user_attrs.get(RESERVED_BY) != worker


def _enqueue(study: optuna.Study, state: SlotState, worker: str) -> None:
    attributes: dict[str, object] = {SLOT: state.slot.key, RESERVED_BY: worker}
    parameters = dict(state.slot.parameters)
    if state.last_failed is not None:
        parameters |= state.last_failed.params
        attributes[RETRY_OF] = state.last_failed.number
    study.enqueue_trial(parameters, user_attrs=attributes)


def _in_order(trials: Iterable[FrozenTrial | None]) -> list[FrozenTrial]:
    return sorted((t for t in trials if t is not None), key=lambda trial: trial.number)


def _take(opened: OpenedStorage, trial: FrozenTrial) -> bool:
    """Make a waiting trial ours; False if somebody else was faster.

    The sign of life comes first: a worker that is killed right after leaves a trial that is seen
    to be stale, and not one that runs for ever.
    """
    trial_id = trial_id_of(trial)
    beat(opened, trial_id)
    try:
        return opened.storage.set_trial_state_values(trial_id, TrialState.RUNNING)
    except UpdateFinishedTrialError:
        return False
