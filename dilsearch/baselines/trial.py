"""What passes between a protocol, a worker and what trains a plan."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from dilsearch.plan import DilationPlan

Parameters: TypeAlias = Mapping[str, float | int]
"""Values of a trial's parameters, as Optuna has them."""


@dataclass(frozen=True, slots=True)
class Slot:
    """A place for one trial that is to finish, however often it takes to get there.

    Args:
        key: What it is for, unique in its study, such as ``"479 px seed 0"`` or ``"tpe 12"``.
        parameters: Parameters decided beforehand; what is absent is left to the sampler.
    """

    key: str
    parameters: Parameters = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Suggestion:
    """What a protocol makes of a trial.

    Args:
        plan: Integer rates, within limits and bounds.
        seed: Seed of the training.
        target_px: The field aimed at, where one is.
        remarks: What a reader should know of the plan, such as rates lowered to a bound.
    """

    plan: DilationPlan
    seed: int
    target_px: int | None = None
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class TrialRequest:
    """What is to be trained.

    Args:
        number: The trial's number in its study.
        slot: Key of its slot.
        suggestion: Plan and seed.
    """

    number: int
    slot: str
    suggestion: Suggestion


@dataclass(frozen=True, slots=True)
class TrialResult:
    """What came of training a plan.

    Args:
        pruned: Whether training was ended early because a look said so.
        scores: Metrics on the validation set, by the names of ``summary.json``; of a pruned trial
            what the last look saw, ``mean_iou`` at least.
        field_px: The larger side of the field behind the last site.
        samples: Training samples seen, which is what the trial is charged.
        seconds: Wall time of the trial.
        latency_ms: Median time of one forward pass, if it was asked for.
        device: What it ran on, in words.
        folder: The trial's folder, relative to the run folder of the sweep.
        files: Files to show beside the trial: name to path, relative to that run folder too.
    """

    pruned: bool
    scores: Mapping[str, float | None]
    field_px: int
    samples: int
    seconds: float
    latency_ms: float | None = None
    device: str = ""
    folder: str = ""
    files: Mapping[str, Path] = field(default_factory=dict)


Look: TypeAlias = Callable[[int, float], bool]
"""Told the step and the validation mean IoU there; whether to stop, because the trial is pruned."""

Train: TypeAlias = Callable[[TrialRequest, Look | None], TrialResult]
"""Trains and scores one plan; without a look it trains to the end and scores only there."""
