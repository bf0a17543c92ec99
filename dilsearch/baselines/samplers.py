"""What proposes the rates of a trial, and what ends a trial early."""

import hashlib
from typing import Final, Literal, TypeAlias, get_args

from optuna import Study
from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, NopPruner
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial

from dilsearch.errors import SweepError

PrunerName: TypeAlias = Literal["median", "hyperband", "none"]

STARTUP_TRIALS: Final = 10
"""Trials finished before proposals follow from them: until then they are drawn evenly."""
_PRUNING_STARTUP_TRIALS: Final = 5
_HYPERBAND_FACTOR: Final = 3
_SEEDS: Final = 2**32  # as many as numpy's generators take


def trial_seed(seed: int, number: int) -> int:
    """The seed of a trial's sampler, fixed by the sweep's seed and the trial's number alone.

    It is hashed, so that neighbours such as (seed 1, trial 2) and (seed 2, trial 1) are unrelated,
    and is the same on every machine: whichever worker takes a trial would propose the same for it
    from the same finished trials, and two workers never propose from the same random numbers.
    """
    digest = hashlib.blake2b(f"sweep\0{seed}\0{number}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") % _SEEDS


def make_tpe_sampler(seed: int) -> BaseSampler:
    """TPE that sees all parameters together and keeps away from what other workers are trying.

    With several objectives the parameters are seen one by one, which is Optuna's choice there.
    """
    return TPESampler(seed=seed, n_startup_trials=STARTUP_TRIALS, constant_liar=True)


def make_fixed_sampler(seed: int) -> BaseSampler:
    """For trials whose parameters are all decided beforehand."""
    return RandomSampler(seed=seed)


def make_pruner(name: str, *, looks: int, train_steps: int) -> BasePruner:
    """What decides after a look at a trial whether it goes on.

    The median pruner ends a trial whose best look so far is below the median of the others at
    the same step: never in the first third of the looks, nor before five trials have run to their
    end. Hyperband is stricter from the first look on, for most of the trials.

    Args:
        name: ``"median"``, ``"hyperband"`` or ``"none"``.
        looks: How often a trial is looked at.
        train_steps: Training steps of a whole trial; looks are told their step.

    Raises:
        SweepError: If no pruner has the name, or there is nothing to look at.
    """
    if name not in get_args(PrunerName):
        raise SweepError(f"pruner '{name}' is unknown; use {', '.join(get_args(PrunerName))}")
    if name == "none":
        return NopPruner()
    if looks < 1 or train_steps < looks:
        raise SweepError(
            f"pruner '{name}' needs looks at a trial on the way, and there are {looks} in "
            f"{train_steps} steps; set sweep.looks between 1 and the steps, or use --pruner none"
        )
    if name == "median":
        return _Median(
            train_steps,
            n_startup_trials=_PRUNING_STARTUP_TRIALS,
            n_warmup_steps=-(-train_steps // 3),
            n_min_trials=2,
        )
    return _Hyperband(
        train_steps,
        min_resource=train_steps // looks,
        max_resource=train_steps,
        reduction_factor=_HYPERBAND_FACTOR,
    )


class _Median(MedianPruner):
    """The median pruner until a trial's end."""

    def __init__(self, train_steps: int, **settings: int) -> None:
        super().__init__(**settings)
        self._train_steps = train_steps

    def prune(self, study: Study, trial: FrozenTrial) -> bool:
        return not _ended(trial, self._train_steps) and super().prune(study, trial)


class _Hyperband(HyperbandPruner):
    """Hyperband until a trial's end; TPE knows it by its class, and sees each bracket alone."""

    def __init__(self, train_steps: int, **settings: int) -> None:
        super().__init__(**settings)
        self._train_steps = train_steps

    def prune(self, study: Study, trial: FrozenTrial) -> bool:
        return not _ended(trial, self._train_steps) and super().prune(study, trial)


def _ended(trial: FrozenTrial, train_steps: int) -> bool:
    return trial.last_step is not None and trial.last_step >= train_steps
