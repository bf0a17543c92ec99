"""A sweep of two parameters whose training is a short sleep; as a program, many workers at once.

The program makes processes by forking, so that what is imported is imported once. Each process
opens the storage for itself, as a command of its own would.
"""

import argparse
import json
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import optuna
from optuna.samplers import BaseSampler, RandomSampler

from dilsearch.baselines.objectives import Objectives
from dilsearch.baselines.outcome import WorkerOutcome
from dilsearch.baselines.storage import OpenedStorage, open_storage, open_study
from dilsearch.baselines.trial import Look, Slot, Suggestion, Train, TrialRequest, TrialResult
from dilsearch.baselines.worker import work
from dilsearch.plan import DilationPlan, SiteRates

OBJECTIVES = Objectives.parse("miou")


@dataclass(frozen=True)
class SmallProtocol:
    """Slots "place 0", "place 1", ...: a rate that the sampler draws, and the place as the seed.

    With few rates and one seed for all places, plans come again, and trials are answered.
    """

    replaces_failed: bool = False
    highest_rate: int = 1_000_000
    one_seed: bool = False
    seed: int = 0
    name: str = "small"
    total: int | None = None

    def slots(self, total: int | None) -> tuple[Slot, ...]:
        return tuple(Slot(f"place {place}", {"place": place}) for place in range(total or 0))

    def suggest(self, trial: optuna.Trial) -> Suggestion:
        place = trial.suggest_int("place", 0, 10_000)
        rate = trial.suggest_int("rate", 1, self.highest_rate)
        plan = DilationPlan({"body": SiteRates("site", (rate,))})
        return Suggestion(plan, 0 if self.one_seed else place)

    def sampler(self, trial_number: int) -> BaseSampler:
        return RandomSampler(seed=1000 * self.seed + trial_number)

    def describe(self) -> dict[str, Any]:
        return {"protocol": self.name}


@dataclass
class SmallTrainer:
    """Sleeps, reports what the looks ask for, and leaves a plan file in the folder."""

    folder: Path
    seconds: Callable[[], float] = lambda: 0.0
    before: Callable[[TrialRequest], None] = lambda request: None
    trained: list[int] = field(default_factory=list)

    def __call__(self, request: TrialRequest, look: Look | None) -> TrialResult:
        place = self.folder / "trials" / f"{request.number:04d}"
        place.mkdir(parents=True, exist_ok=True)
        time.sleep(self.seconds() / 2)
        self.before(request)
        time.sleep(self.seconds() / 2)
        rate = request.suggestion.plan["body"][0]
        (place / "plan.json").write_text(request.suggestion.plan.to_json())
        pruned = look is not None and look(1, rate)
        self.trained.append(request.number)
        return TrialResult(
            pruned=pruned,
            scores={"mean_iou": 1.0 / rate},
            field_px=int(rate),
            samples=10,
            seconds=0.1,
            folder=f"trials/{request.number:04d}",
            files={"plan.json": place.relative_to(self.folder) / "plan.json"},
        )


def join(
    opened: OpenedStorage,
    folder: Path,
    train: Train | None = None,
    *,
    name: str = "small",
    total: int = 4,
    protocol: SmallProtocol | None = None,
    **options: Any,
) -> WorkerOutcome:
    """Work on the study of this name."""
    protocol = protocol or SmallProtocol()
    study = open_study(opened, name, OBJECTIVES.directions, protocol.describe())
    options.setdefault("say", lambda line: None)
    trainer = SmallTrainer(folder) if train is None else train
    return work(study, opened, protocol, OBJECTIVES, trainer, total=total, folder=folder, **options)


def _work_in_process(number: int, given: argparse.Namespace) -> None:
    opened = open_storage(
        given.storage, given.folder, heartbeat_seconds=given.heartbeat, grace_seconds=given.grace
    )
    chance = random.Random(number)
    begun = 0

    def die_in_time(request: TrialRequest) -> None:
        nonlocal begun
        begun += 1
        if number < given.kill and begun == given.kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    slow = 1.0 + given.spread * number
    trainer = SmallTrainer(
        given.folder, lambda: slow * given.seconds * chance.uniform(0.5, 1.5), die_in_time
    )
    if number >= given.kill:
        _wait_for_trials(given.folder, given.kill)
    protocol = SmallProtocol(highest_rate=given.highest_rate, one_seed=given.one_seed)
    outcome = join(opened, given.folder, trainer, total=given.total, protocol=protocol, say=print)
    report = {"trained": outcome.trained, "answered": outcome.answered}
    (given.folder / f"worker{number}.json").write_text(json.dumps(report))


def _wait_for_trials(folder: Path, count: int) -> None:
    """Leave the first trials to those who are to die, or there may be none left for them."""
    while len(list(folder.glob("trials/*"))) < count:
        time.sleep(0.01)


def _fork(number: int, given: argparse.Namespace) -> int:
    process = os.fork()
    if process:
        return process
    code = 1
    try:
        _work_in_process(number, given)
        code = 0
    finally:
        sys.stdout.flush()
        if code:
            sys.excepthook(*sys.exc_info())  # type: ignore[arg-type]
        os._exit(code)


def main() -> None:
    """Start workers, and say how each ended: ``{"0": 0, "1": -9}``."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--storage")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--total", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=0.1)
    parser.add_argument("--spread", type=float, default=0.0)
    parser.add_argument("--kill", type=int, default=0)
    parser.add_argument("--kill-at", type=int, default=1)
    parser.add_argument("--highest-rate", type=int, default=1_000_000)
    parser.add_argument("--one-seed", action="store_true")
    parser.add_argument("--heartbeat", type=int, default=1)
    parser.add_argument("--grace", type=int, default=2)
    given = parser.parse_args()
    open_storage(given.storage, given.folder).close()  # what that imports is imported once, too
    processes = {number: _fork(number, given) for number in range(given.workers)}
    codes = {n: os.waitstatus_to_exitcode(os.waitpid(p, 0)[1]) for n, p in processes.items()}
    (given.folder / "codes.json").write_text(json.dumps(codes))


if __name__ == "__main__":
    main()
