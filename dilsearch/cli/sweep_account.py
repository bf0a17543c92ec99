"""A live account of a sweep, read from its study: what has ended since it was last looked at."""

import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

import optuna
from optuna.exceptions import StorageInternalError
from optuna.trial import FrozenTrial, TrialState

from dilsearch.baselines.objectives import Objectives
from dilsearch.baselines.record import column_in_words
from dilsearch.baselines.slots import FAILURE, INTERRUPTED, REASON
from dilsearch.pipeline.sweep import is_surplus
from dilsearch.progress import Reporter

_EVERY_SECONDS: Final = 1.0
_FINISHED: Final = (TrialState.COMPLETE, TrialState.PRUNED)


@dataclass
class Account:
    """Tells of every trial once, whoever trained it.

    Args:
        study: The study.
        objectives: What trials are judged by.
        total: Finished trials that the study is to have.
        reporter: Where it is told.
    """

    study: optuna.Study
    objectives: Objectives
    total: int
    reporter: Reporter
    _told: set[int] = field(default_factory=set, init=False, repr=False)
    _looked: float = field(default=0.0, init=False, repr=False)

    def begin(self) -> None:
        """Take what has ended before as told, and say how much that is."""
        trials = self._trials()
        self._told = {trial.number for trial in trials if trial.state.is_finished()}
        finished = sum(trial.state in _FINISHED for trial in trials)
        if finished:
            self.reporter.say(f"{finished} of {self.total} trials finished already")

    def look(self) -> None:
        """Tell what has ended since the last time, at most once a second."""
        if time.monotonic() - self._looked < _EVERY_SECONDS:
            return
        # The database may be busy or being restarted: there is another look in a second.
        with suppress(StorageInternalError):
            self.tell()
        self._looked = time.monotonic()

    def tell(self) -> None:
        """Tell what has ended since the last time."""
        trials = self._trials()
        ended = [t for t in trials if t.state.is_finished() and t.number not in self._told]
        done = sum(trial.state in _FINISHED for trial in trials if trial.number in self._told)
        states = Counter(trial.state for trial in trials)
        running = states[TrialState.RUNNING]
        for trial in sorted(ended, key=_ended_at):
            self._told.add(trial.number)
            done += trial.state in _FINISHED
            if not is_surplus(trial):
                counts = f"{done} of {self.total} finished, {running} running"
                self.reporter.say(f"{trial_in_words(trial, self.objectives)} ({counts})")

    def _trials(self) -> list[FrozenTrial]:
        return self.study.get_trials(deepcopy=False)


def trial_in_words(trial: FrozenTrial, objectives: Objectives) -> str:
    """What became of a trial, in one line."""
    known = trial.user_attrs
    name = f"trial {trial.number}, {known.get('slot', 'no slot')}"
    if trial.state == TrialState.FAIL:
        if known.get(FAILURE) == INTERRUPTED:
            return f"{name}: interrupted, its slot is free again"
        return f"{name}: failed: {known.get(REASON, 'its worker was killed')}"
    parts = [f"field {known['field_px']} px"] if "field_px" in known else []
    parts += [
        f"{column_in_words(column)} {known[column]:.3f}"
        for column in objectives.columns
        if isinstance(known.get(column), float)
    ]
    twin = known.get("answered_from")
    parts.append(f"as trial {twin}" if twin is not None else f"{known.get('samples', 0):,} samples")
    pruned = "pruned, " if trial.state == TrialState.PRUNED else ""
    return f"{name}: {pruned}{', '.join(parts)}"


def _ended_at(trial: FrozenTrial) -> float:
    return trial.datetime_complete.timestamp() if trial.datetime_complete is not None else 0.0
