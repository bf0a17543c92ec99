"""The two ways to sweep: a grid of target fields, and plans that TPE proposes.

A protocol says which trials there are to be, what plan each trains and with which seed. It holds
no state: any number of workers on any hosts make the same one and say the same.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol

import optuna
from optuna.samplers import BaseSampler

from dilsearch.baselines.constraints import set_constraints
from dilsearch.baselines.firsts import FirstPlan, fit_first
from dilsearch.baselines.manual import ManualSchedule, manual_schedules
from dilsearch.baselines.record import rates_in_words
from dilsearch.baselines.samplers import make_fixed_sampler, make_tpe_sampler, trial_seed
from dilsearch.baselines.slots import SLOT
from dilsearch.baselines.suggest import suggest_plan
from dilsearch.baselines.trial import Slot, Suggestion
from dilsearch.errors import SweepError
from dilsearch.geometry import FieldGraph, Limits
from dilsearch.geometry.bounds import limits_of
from dilsearch.plan import DilationPlan, SiteRates


class SweepProtocol(Protocol):
    """Which trials a sweep has, and what each of them trains."""

    @property
    def name(self) -> str:
        """``"grid"`` or ``"tpe"``."""

    @property
    def replaces_failed(self) -> bool:
        """Whether a slot that failed for good is replaced by a fresh one."""

    @property
    def total(self) -> int | None:
        """How many slots there are; None if the user says."""

    def slots(self, total: int | None) -> tuple[Slot, ...]:
        """The places for trials; those of a smaller total come first in those of a larger."""

    def suggest(self, trial: optuna.Trial) -> Suggestion:
        """Ask a trial for its parameters, and make a plan of them."""

    def sampler(self, trial_number: int) -> BaseSampler:
        """What proposes the parameters of one trial that are not decided beforehand."""

    def describe(self) -> dict[str, Any]:
        """What all workers of a study must have in common, in words and JSON values."""


class GridProtocol:
    """The manual protocol: for each target the schedule in the manual style, and every seed.

    Targets whose closest schedule is the same are trained once, as the first of them.

    Args:
        form: A plan of the sites; its rates do not matter.
        graph: The network's field graph.
        limits: Limits of the rates by site.
        targets_px: Fields to aim at.
        seeds: Seeds of the training.

    Raises:
        SweepError: If there is no target or no seed, or one is below its least value.
    """

    name: Final = "grid"
    replaces_failed: Final = False

    def __init__(
        self,
        form: DilationPlan,
        graph: FieldGraph,
        limits: Limits,
        targets_px: Sequence[int],
        seeds: Sequence[int],
    ) -> None:
        if not targets_px or min(targets_px) < 1:
            raise SweepError(
                f"targets {list(targets_px)} are no grid; give fields of at least 1 px"
            )
        if not seeds or min(seeds) < 0:
            raise SweepError(f"seeds {list(seeds)} are no seeds; give whole numbers from 0 on")
        self._form, self._graph, self._limits = form, graph, limits
        self._targets_px = tuple(dict.fromkeys(targets_px))
        self._seeds = tuple(dict.fromkeys(seeds))
        schedules = manual_schedules(self._targets_px, form, graph, limits=limits)
        self._schedules = {schedule.target_px: schedule for schedule in schedules}
        firsts: dict[DilationPlan, int] = {}
        for target_px, schedule in self._schedules.items():
            firsts.setdefault(schedule.plan, target_px)
        self._first_of = {
            target_px: firsts[schedule.plan] for target_px, schedule in self._schedules.items()
        }

    @property
    def total(self) -> int:
        """How many slots there are: schedules times seeds."""
        return len(set(self._first_of.values())) * len(self._seeds)

    def slots(self, total: int | None = None) -> tuple[Slot, ...]:
        """All targets with the first seed, then all with the next, up to ``total``."""
        slots = tuple(
            Slot(f"{target_px} px seed {seed}", {"target_px": target_px, "seed": seed})
            for seed in self._seeds
            for target_px in dict.fromkeys(self._first_of.values())
        )
        return slots[:total]

    def suggest(self, trial: optuna.Trial) -> Suggestion:
        """The schedule of the trial's target."""
        target_px = trial.suggest_int("target_px", min(self._targets_px), max(self._targets_px))
        seed = trial.suggest_int("seed", min(self._seeds), max(self._seeds))
        plan = self._schedules[target_px].plan
        set_constraints(trial, plan, self._graph, enforce=True)
        return Suggestion(plan, seed, target_px, self._remarks(target_px))

    def sampler(self, trial_number: int) -> BaseSampler:
        """One that is never asked, since slots decide every parameter."""
        return make_fixed_sampler(trial_seed(0, trial_number))

    def describe(self) -> dict[str, Any]:
        """Targets, schedules and seeds, in words."""
        return {
            "sweep": (
                f"grid of {len(self._targets_px)} fields of view from {min(self._targets_px)} to "
                f"{max(self._targets_px)} px, a schedule in the manual style for each, every one "
                f"trained with {_counted(len(self._seeds), 'seed')}"
            ),
            "protocol": self.name,
            "targets_px": list(self._targets_px),
            "seeds": list(self._seeds),
            "schedules": [_schedule_in_words(one) for one in self._schedules.values()],
            "sites": sites_in_words(self._form, self._limits),
        }

    def _remarks(self, target_px: int) -> tuple[str, ...]:
        others = [
            f"{other} px"
            for other, first in self._first_of.items()
            if first == target_px and other != target_px
        ]
        return (f"the closest schedule to {', '.join(others)} too",) if others else ()


class TpeProtocol:
    """Plans proposed by TPE from the trials finished so far, after lists that are tried first.

    A plan is described by shares from 0 to 1, so that every proposal keeps limits, order and, if it
    is enforced, the bound. All trials are trained with one seed, so that equal plans score equal.

    Args:
        form: A plan of the sites; its rates do not matter.
        graph: The network's field graph.
        limits: Limits of the rates by site.
        enforce: Whether rates are held to the bound.
        seed: Seed of the training, and with a trial's number that of its proposal.
        first: Plans to try first, by name, in order.

    Raises:
        SweepError: If a plan to try first does not fit the sites.
    """

    name: Final = "tpe"
    replaces_failed: Final = True
    total: Final = None

    def __init__(
        self,
        form: DilationPlan,
        graph: FieldGraph,
        limits: Limits,
        enforce: bool,
        seed: int,
        first: Mapping[str, DilationPlan],
    ) -> None:
        self._form, self._graph, self._limits = form, graph, limits
        self._enforce, self._seed = enforce, seed
        self._first: dict[str, FirstPlan] = {
            f"first {name}": fit_first(name, plan, form, graph, limits=limits, enforce=enforce)
            for name, plan in first.items()
        }

    def slots(self, total: int | None) -> tuple[Slot, ...]:
        """The lists to try first, then places for proposals, ``total`` of all.

        Raises:
            SweepError: If no total is given.
        """
        if total is None:
            raise SweepError("proposed plans have no end of their own; say how many with --trials")
        firsts = [Slot(key, dict(first.shares)) for key, first in self._first.items()]
        proposals = [Slot(f"tpe {number}") for number in range(len(firsts), total)]
        return (*firsts, *proposals)[:total]

    def suggest(self, trial: optuna.Trial) -> Suggestion:
        """The plan that the trial's shares stand for."""
        plan = suggest_plan(
            trial, self._form, self._graph, limits=self._limits, enforce=self._enforce
        )
        first = self._first.get(trial.user_attrs.get(SLOT, ""))
        return Suggestion(plan, self._seed, remarks=first.remarks if first else ())

    def sampler(self, trial_number: int) -> BaseSampler:
        """TPE with random numbers of this trial's own."""
        return make_tpe_sampler(trial_seed(self._seed, trial_number))

    def describe(self) -> dict[str, Any]:
        """Sites, seed and the lists tried first, in words."""
        bound = "within the bound" if self._enforce else "not held to the bound"
        return {
            "sweep": (
                f"plans proposed by TPE, {bound}, after {_counted(len(self._first), 'list')} of "
                f"rates tried first; every plan trained with seed {self._seed}"
            ),
            "protocol": self.name,
            "seed": self._seed,
            "enforce": self._enforce,
            "first": {first.name: _first_in_words(first) for first in self._first.values()},
            "sites": sites_in_words(self._form, self._limits),
        }


def sites_in_words(form: DilationPlan, limits: Limits) -> dict[str, str]:
    """What may vary at each site."""
    return {site: _site_in_words(site, entry, limits) for site, entry in form.sites.items()}


def _site_in_words(site: str, entry: SiteRates, limits: Limits) -> str:
    lower, upper = limits_of(site, limits)
    each = "" if entry.axes == 1 else f", one for each of {entry.axes} axes"
    causal = ", causal" if entry.causal else ""
    return f"{_counted(entry.count, 'rate')} by {entry.kind}{each}{causal}, {lower} to {upper:g}"


def _schedule_in_words(schedule: ManualSchedule) -> str:
    largest = {max(rates) for rates in schedule.plan.values()}
    grow = f"largest rates grow by {schedule.growth:g} a site up to {schedule.largest:g}"
    shape = grow if len(largest) > 1 else f"largest rate of every site {largest.pop():g}"
    return f"{schedule.target_px} px: field {schedule.field_px} px, {shape}"


def _first_in_words(first: FirstPlan) -> str:
    return f"{rates_in_words(first.plan)} (plan {first.plan.hash[:8]})"


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
