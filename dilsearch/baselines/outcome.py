"""What one worker did, and what others were at when it left."""

from dataclasses import dataclass, field
from datetime import datetime

from optuna.trial import FrozenTrial

from dilsearch.baselines.attempt import HOST, PROCESS
from dilsearch.baselines.slots import SLOT


@dataclass(frozen=True, slots=True)
class RunningTrial:
    """A trial that another worker is training, or was when it was killed.

    Args:
        number: Its number.
        slot: Key of its slot.
        host: Where its worker runs.
        process: Number of its worker's process there.
        since: When it was begun.
    """

    number: int
    slot: str
    host: str | None
    process: int | None
    since: datetime | None

    def __str__(self) -> str:
        host = self.host or "an unknown host"
        process = "" if self.process is None else f", process {self.process}"
        since = "" if self.since is None else f", since {self.since:%Y-%m-%d %H:%M:%S}"
        return f"trial {self.number} ({self.slot}) on {host}{process}{since}"


@dataclass(slots=True)
class WorkerOutcome:
    """What one worker did, and how it left the study.

    Args:
        trained: Numbers of the trials that it trained to an end, pruned ones included.
        answered: Those that it answered from a trial with the same plan and seed.
        failed: Those that failed.
        lost: Those that others gave up while this worker was not heard of.
        study_finished: Whether nothing more will come of any slot.
        closed: Keys of the slots that failed for good.
        running: What others were training when it left.
    """

    trained: list[int] = field(default_factory=list)
    answered: list[int] = field(default_factory=list)
    failed: list[int] = field(default_factory=list)
    lost: list[int] = field(default_factory=list)
    study_finished: bool = False
    closed: tuple[str, ...] = ()
    running: tuple[RunningTrial, ...] = ()

    @property
    def taken_on(self) -> int:
        """How many trials it had, whatever became of them."""
        return len(self.trained) + len(self.answered) + len(self.failed) + len(self.lost)

    @property
    def finished_already(self) -> bool:
        """Whether there was nothing left to do when it came."""
        return self.study_finished and self.taken_on == 0


def running_trial(trial: FrozenTrial) -> RunningTrial:
    """What is known of a trial that runs."""
    known = trial.user_attrs
    return RunningTrial(
        trial.number, known[SLOT], known.get(HOST), known.get(PROCESS), trial.datetime_start
    )
