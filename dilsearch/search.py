"""The search: weights and rates of a relaxed model, trained together by gradient descent."""

from collections.abc import Callable, Mapping
from typing import Literal

import torch
from lightning_fabric import Fabric
from torch import nn
from torch.optim import Optimizer

from dilsearch.surgery import clamp_rates, field_graph, rate_parameters, read_plan
from dilsearch.training.checkpoints import Checkpoint, Row
from dilsearch.training.loop import Batches, History, fit
from dilsearch.training.losses import Loss
from dilsearch.training.schedule import PolySchedule


def search(
    model: nn.Module,
    batches: Batches,
    *,
    fabric: Fabric,
    weight_optimizer: Optimizer,
    rate_optimizer: Optimizer,
    loss: Loss,
    schedule: PolySchedule,
    gap: Literal["enforce", "report", "ignore"] = "enforce",
    checkpoint: Checkpoint | None = None,
    watch: Callable[[Row], None] | None = None,
) -> History:
    """Train a relaxed model in place; its rates at the end are what was found.

    After every step the rates are clamped to their sites' limits and, where the gap policy is
    ``"enforce"``, to the gap bound at the field that the sites upstream have by then.

    Args:
        model: A relaxed model that knows its field graph (``relax`` with an example).
        batches: See :func:`dilsearch.training.fit`.
        fabric: Device and precision.
        weight_optimizer: Over the weights; its learning rate is the one the history shows.
        rate_optimizer: Over ``rate_parameters(model)``, without weight decay.
        loss: Logits and labels to a scalar.
        schedule: Length, and the factor on both learning rates.
        gap: The gap policy.
        checkpoint: Where to keep the state; an existing one is continued.
        watch: Called with every row of the history.

    Returns:
        One row a step, with ``field_px`` (rates rounded up, as bilinear sampling touches the outer
        pixel) and a column ``SITE[BRANCH]`` for each rate.
    """
    enforced: Literal["enforce", "ignore"] = "enforce" if gap == "enforce" else "ignore"

    def clamp() -> None:
        clamp_rates(model, gap=enforced)

    def after_step() -> Mapping[str, float]:
        clamp()
        return search_columns(model)

    return fit(
        model,
        batches,
        fabric=fabric,
        optimizers=(weight_optimizer, rate_optimizer),
        loss=loss,
        schedule=schedule,
        before_first_step=clamp,
        after_step=after_step,
        checkpoint=checkpoint,
        watch=watch,
    )


def build_rate_optimizer(
    model: nn.Module, *, name: Literal["adam", "sgd"], learning_rate: float
) -> Optimizer:
    """The optimiser of the rates: no weight decay, since a rate has no reason to shrink."""
    rates = rate_parameters(model)
    if name == "sgd":
        return torch.optim.SGD(rates, lr=learning_rate, momentum=0.9)
    return torch.optim.Adam(rates, lr=learning_rate)


def search_columns(model: nn.Module) -> dict[str, float]:
    """What a trajectory says of a relaxed model: its field and each of its rates.

    ``field_px`` is the larger side of the field behind the last site, with rates rounded up; it is
    left out where the model has no field graph. A rate's column is named ``SITE[BRANCH]``.
    """
    plan, graph = read_plan(model), field_graph(model)
    columns: dict[str, float] = {}
    if graph is not None:
        table = graph.propagate(plan)
        assert table.last_site is not None  # a plan has at least one site
        columns["field_px"] = max(field.size_px for field in table.at(table.last_site))
    for site, rates in plan.items():
        columns |= {f"{site}[{branch}]": rate for branch, rate in enumerate(rates)}
    return columns
