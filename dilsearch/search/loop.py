"""Weights and rates of a relaxed model, trained together by gradient descent."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal

import torch
from lightning_fabric import Fabric
from torch import nn
from torch.optim import Optimizer

from dilsearch.errors import PlanError, SurgeryError
from dilsearch.geometry import FieldGraph
from dilsearch.geometry.project import Limits
from dilsearch.plan import DilationPlan
from dilsearch.runs.rate_columns import rate_values
from dilsearch.search.after_step import HeldRates
from dilsearch.search.field_target import FieldTarget
from dilsearch.search.rate_optimizer import build_rate_optimizer
from dilsearch.search.reach import widest_field_px
from dilsearch.search.settling import findings, settled, tolerance_px
from dilsearch.search.smoothing import SmoothedRates, Smoothing
from dilsearch.surgery import clamp_rates, field_graph, read_plan
from dilsearch.surgery.rates import rate_limits
from dilsearch.training import Checkpoint, Hooks, PolySchedule, fit
from dilsearch.training.checkpoints import Row
from dilsearch.training.loop import Batches, History
from dilsearch.training.losses import Loss


@dataclass(frozen=True)
class SearchResult:
    """How a search went.

    Args:
        plan: The rates found, not rounded.
        history: The row before the first step, then one row a step; see :func:`search`.
        settled: Whether it ended early because no rate moved any more.
        findings: What a user should know about the outcome, in sentences; none if all is well.
    """

    plan: DilationPlan
    history: History
    settled: bool
    findings: tuple[str, ...]


def search(
    model: nn.Module,
    batches: Batches,
    *,
    fabric: Fabric,
    weight_optimizer: Optimizer,
    loss: Loss,
    schedule: PolySchedule,
    rate_optimizer: Literal["adam", "sgd"] = "adam",
    rate_learning_rate: float | None = None,
    smoothing: Smoothing | None = None,
    gap: Literal["enforce", "report", "ignore"] = "enforce",
    needed_px: int | None = None,
    field_target: float = 0.0,
    patience: int = 0,
    seed: int = 0,
    checkpoint: Checkpoint | None = None,
    watch: Callable[[Row], None] | None = None,
) -> SearchResult:
    """Train a relaxed model in place; its rates at the end are what was found.

    Every step runs at rates drawn around the present ones, and the gradient there moves the
    present ones; see :mod:`dilsearch.search.smoothing` for the reason. After every step the rates
    are clamped to their sites' limits and, where the gap policy is ``"enforce"``, to the gap bound
    at the field that the sites upstream have by then.

    Args:
        model: A relaxed model that knows its field graph (``relax`` with an example), or whose gap
            policy is not ``"enforce"``.
        batches: See :func:`dilsearch.training.fit`.
        fabric: Device and precision.
        weight_optimizer: Over the weights; its learning rate is the one the history shows.
        loss: Logits and labels to a scalar.
        schedule: Length, and the factor on both learning rates.
        rate_optimizer: Optimiser of the rates.
        rate_learning_rate: Its learning rate; None lets it follow from limits and length.
        smoothing: How widely rates are drawn; None for the default width.
        gap: The gap policy.
        needed_px: Field that the task asks for, in pixels; None where it is unknown. A search that
            ends far below says so.
        field_target: Weight of a pull towards that field, beside the loss; 0 for none. It acts on
            the present rates, not on those drawn, and the history's loss does not hold it.
        patience: Steps over which no rate may move for the search to end early, counted in the
            second half and once nothing is drawn any more; 0 never ends it early. Movement below
            0.1 px, or below 1 % of the range between a site's limits, counts as none.
        seed: Seed of the draws.
        checkpoint: Where to keep the state; an existing one is continued.
        watch: Called with every row of the history.

    Returns:
        Plan, history and findings. A row has step, samples, loss, learning rate, ``field_px``
        (rates rounded up, as bilinear sampling touches the outer pixel) and the columns of
        :mod:`dilsearch.runs.rate_columns` for the rates.

    Raises:
        SurgeryError: If the model has no relaxed site, or no field graph for the gap bound.
        SearchError: If it has no field graph for the field target.
        PlanError: If the gap bound lies below a site's lower limit from the start.
        RunError: If the loss stops being finite, the data ends, or the checkpoint is unfit.
    """
    enforced: Literal["enforce", "ignore"] = "enforce" if gap == "enforce" else "ignore"
    clamp_rates(model, gap=enforced)  # what cannot be held is told before anything is trained
    target = FieldTarget(needed_px, field_target) if needed_px and field_target else None
    if target is not None:
        target.check(model)
    limits = rate_limits(model)
    rates = build_rate_optimizer(
        model, name=rate_optimizer, learning_rate=rate_learning_rate, steps=schedule.steps
    )
    hooks = _SearchHooks(
        model,
        Smoothing() if smoothing is None else smoothing,
        steps=schedule.steps,
        seed=seed,
        gap=enforced,
        field_target=target,
        patience=patience,
        limits=limits,
        rate_optimizer=rates,
    )
    first: Row = {"step": 0, "samples": 0, **search_columns(model)}
    try:
        history = fit(
            model,
            batches,
            fabric=fabric,
            optimizers=(weight_optimizer, rates),
            loss=loss,
            schedule=schedule,
            hooks=hooks,
            checkpoint=checkpoint,
            watch=watch,
        )
    except BaseException:
        hooks.abandon()  # whatever broke a step off, nobody is left with rates that were drawn
        raise
    told = findings(
        [first, *history],
        limits=limits,
        needed_px=needed_px,
        widest_px=widest_field_px(model, enforced),
    )
    return SearchResult(
        plan=read_plan(model),
        history=[first, *history],
        settled=hooks.settled,
        findings=tuple(told),
    )


def search_columns(model: nn.Module, plan: DilationPlan | None = None) -> dict[str, float]:
    """What a trajectory says of a relaxed model: its field and its rates.

    ``field_px`` is the larger side of the field behind the last site, with rates rounded up; it is
    left out where the model has no field graph. The columns of the rates are those of
    :mod:`dilsearch.runs.rate_columns`.

    Args:
        model: The relaxed model.
        plan: Its present rates, where they have been read already.
    """
    plan, graph = plan or read_plan(model), field_graph(model)
    field = {} if graph is None else {"field_px": _field_px(graph, plan)}
    return {**field, **rate_values(plan)}


def _field_px(graph: FieldGraph, plan: DilationPlan) -> int:
    table = graph.propagate(plan)
    assert table.last_site is not None  # a plan has at least one site
    return max(field.size_px for field in table.at(table.last_site))


class _SearchHooks(Hooks):
    """Draw before the forward pass, put back before the update, clamp after it."""

    def __init__(
        self,
        model: nn.Module,
        smoothing: Smoothing,
        *,
        steps: int,
        seed: int,
        gap: Literal["enforce", "ignore"],
        field_target: FieldTarget | None,
        patience: int,
        limits: Limits,
        rate_optimizer: Optimizer,
    ) -> None:
        self.settled = False
        self._gap = gap
        self._model = model
        self._rates = SmoothedRates(model, smoothing, steps=steps, seed=seed, gap=gap)
        self._field_target = field_target
        self._patience = patience
        self._limits = limits
        self._held = HeldRates(model, gap)
        self._rate_optimizer = rate_optimizer  # a checkpoint gives it other groups
        self._settles_after = max(smoothing.ends, 0.5) * steps

    def begin(self) -> None:
        clamp_rates(self._model, gap=self._gap)

    def before_step(self, step: int) -> None:
        self._rates.draw(step)

    def before_update(self) -> None:
        self._rates.restore()
        self._held.remember()
        if self._field_target is not None:
            self._field_target.add_gradient(self._model)

    @torch.no_grad()
    def abandon(self) -> None:
        self._rates.restore()
        with suppress(PlanError, SurgeryError):  # there is an error to tell already
            clamp_rates(self._model, gap=self._gap)  # the bounds were those of the draw

    def after_step(self) -> Mapping[str, float]:
        return search_columns(self._model, self._held.hold())

    def is_finished(self, history: Sequence[Row]) -> bool:
        still = [row for row in history[-self._patience - 1 :] if row["step"] > self._settles_after]
        self.settled = self._could_have_moved() and settled(
            still, self._patience, limits=self._limits
        )
        return self.settled

    def _could_have_moved(self) -> bool:
        """Rates that had no way to move far have not settled, they are slow.

        Only Adam's learning rate says how far a rate may go in a step. Sites whose limits are equal
        do not count, and where all are, there is nothing to settle.
        """
        groups = self._rate_optimizer.param_groups
        ways = [
            (self._patience * group["lr"], tolerance_px(*limits))
            for limits, group in zip(self._limits.values(), groups, strict=True)
            if len({*limits}) == 2
        ]
        adam = isinstance(self._rate_optimizer, torch.optim.Adam)
        return adam and bool(ways) and all(way >= 10 * tolerance for way, tolerance in ways)
