"""A pull towards the field that the task is known to need."""

import math
from dataclasses import dataclass

import torch
from torch import nn

from dilsearch.errors import SearchError
from dilsearch.geometry.real_field import RealField, real_field
from dilsearch.surgery import field_graph, read_plan
from dilsearch.surgery.rates import relaxed_sites


@dataclass(frozen=True, slots=True)
class FieldTarget:
    """The hinge ``weight * max(0, 1 - field / needed)``: nothing once that field suffices.

    It says how wide the field has to be and not where along the network it should grow, nor how far
    beyond: that is left to the loss. The field is that behind the last site, with the rates as they
    are, not rounded, and with the mean of its branches as the rate of a site: the pull is the same
    on all branches, and the plan that is found does not hang on one branch of every site. A network
    that does is slow to train, however wide its field.

    Args:
        needed_px: The field to reach, in pixels.
        weight: What the whole field missing would cost, in units of the loss.

    Raises:
        SearchError: If either is not positive.

    Source: 2N - 1 as the field that an image of N pixels needs is RegSeg's (Gao 2022), Sec. 3.1;
    the penalty is ours.
    """

    needed_px: int
    weight: float = 2.0

    def __post_init__(self) -> None:
        for name, value in (("needed_px", self.needed_px), ("weight", self.weight)):
            if not 0 < value < math.inf:
                raise SearchError(f"FieldTarget: {name} = {value}; give a number above 0")

    def check(self, model: nn.Module) -> None:
        """Refuse a model whose field cannot be told.

        Raises:
            SearchError: If it has no field graph.
        """
        if field_graph(model) is None:
            raise SearchError(
                "a field target needs the model's field graph; give relax an example input, or "
                "search without one (field_target = 0)"
            )

    def penalty(self, model: nn.Module) -> float:
        """The value of the hinge at the present rates.

        Raises:
            SearchError: If the model has no field graph.
        """
        self.check(model)
        return self.weight * max(0.0, 1 - _field(model).size_px / self.needed_px)

    @torch.no_grad()
    def add_gradient(self, model: nn.Module) -> None:
        """Add the hinge's gradient to that of the rates, as if it stood in the loss.

        Raises:
            SearchError: If the model has no field graph.
        """
        self.check(model)
        field = _field(model)
        if field.size_px >= self.needed_px:
            return
        layers = relaxed_sites(model)
        for (site, _), slope_px in field.slopes_px.items():
            gradient = layers[site].rate.grad
            if gradient is not None:
                gradient -= self.weight * slope_px / self.needed_px / gradient.numel()


def _field(model: nn.Module) -> RealField:
    """The field at the mean rate of every site; only the first branch of a site has its slope."""
    graph = field_graph(model)
    assert graph is not None  # checked by those who call
    plan = read_plan(model)
    means = {site: (sum(rates) / len(rates),) * len(rates) for site, rates in plan.items()}
    return real_field(graph, plan.replace(means))
