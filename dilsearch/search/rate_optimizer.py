"""The optimiser of the rates, and the learning rate that needs no tuning."""

from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import nn
from torch.optim import Optimizer

from dilsearch.sites import Granularity
from dilsearch.surgery.rates import relaxed_sites

RANGES_TRAVELLED = 10.0
LARGEST_SHARE = 0.1  # of the range in one step, where a search is too short for anything else


def default_rate_learning_rate(lower: float, upper: float, steps: int) -> float:
    """The learning rate with which a rate can cross its range, however long the search is.

    Adam moves a rate by at most about its learning rate a step, so at ``10 * range / steps`` it
    could travel ten times from limit to limit at a constant learning rate, and about five times
    under the polynomial decay: room to find its place, come back and settle. The 10 was found on
    the thin bars at 96 px with weights trained by SGD, where 0.6 over 400 steps and a range of 23
    works and 0.05 does not.

    Args:
        lower: Lower limit of the rate.
        upper: Upper limit of the rate.
        steps: Length of the search.
    """
    return (upper - lower) * min(RANGES_TRAVELLED / steps, LARGEST_SHARE)


def build_rate_optimizer(
    model: nn.Module,
    *,
    name: Literal["adam", "sgd"] = "adam",
    learning_rate: float | None = None,
    steps: int,
) -> Optimizer:
    """The optimiser of the rates: no weight decay, since a rate has no reason to shrink.

    Args:
        model: A relaxed model.
        name: ``"adam"``, or ``"sgd"`` with a momentum of 0.9.
        learning_rate: The same for all rates; None gives each site the one that follows from its
            limits and the number of steps, which is meant for Adam.
        steps: Length of the search.
    """
    groups = rate_groups(model, learning_rate, steps)
    if name == "sgd":
        return torch.optim.SGD(groups, momentum=0.9)
    return torch.optim.Adam(groups)


def rate_groups(
    model: nn.Module, learning_rate: float | Mapping[str, float] | None, steps: int
) -> list[dict[str, Any]]:
    """A parameter group without weight decay for the rates of each site, upstream first.

    Args:
        model: A relaxed model.
        learning_rate: The same for all, or by site; None lets it follow from limits and steps.
        steps: Length of the search.
    """

    def of(site: str, granularity: Granularity) -> float:
        if isinstance(learning_rate, Mapping):
            return learning_rate[site]
        if learning_rate is not None:
            return learning_rate
        return default_rate_learning_rate(granularity.lower, granularity.upper, steps)

    return [
        {
            "name": f"rates of {site}",
            "params": [layer.rate],
            "lr": of(site, layer.granularity),
            "weight_decay": 0.0,
        }
        for site, layer in relaxed_sites(model).items()
    ]
