"""A pull towards the field that the task is known to need."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dilsearch.errors import SearchError
from dilsearch.geometry import FieldGraph
from dilsearch.geometry.real_field import real_fields
from dilsearch.plan import DilationPlan, SiteRates
from dilsearch.search.real_sizes import Rows, graph_of, real_rates, sizes_px
from dilsearch.surgery import read_plan
from dilsearch.surgery.rates import relaxed_sites


@dataclass(frozen=True, slots=True)
class FieldTarget:
    """The hinge ``weight * max(0, 1 - field / needed)``: nothing once that field suffices.

    ``loss = criterion(model(x), y) + FieldTarget(1023)(model)`` adds it to a loss of your own.

    It says how wide the field has to be and not where along the network it should grow, nor how far
    beyond: that is left to the loss. The field is that behind the last site, along its larger side,
    with the rates as they are, not rounded, and with the mean of its branches or channels as the
    rate of a site: the pull is the same on all branches, and the plan that is found does not hang
    on one branch of every site. A network that does is slow to train, however wide its field.

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
        _graph(model)

    def __call__(self, model: nn.Module) -> Tensor:
        """The hinge at the present rates: a float32 scalar to add to the loss.

        Raises:
            SearchError: If the model has no field graph.
            SurgeryError: If it has no relaxed site, or a rate is not a finite number.
        """
        return self._hinge(model, real_rates(model))

    def add_gradient(self, model: nn.Module) -> None:
        """Add the hinge's gradient to that of the rates, as if it stood in the loss.

        Rates that have no gradient, since they are frozen or the loss left them out, get none. No
        hook of the Parameters runs, so that nothing is sent between ranks a second time.

        Raises:
            SearchError: As for a call.
            SurgeryError: As for a call.
        """
        rates = {site: rows.detach().requires_grad_() for site, rows in real_rates(model).items()}
        with torch.enable_grad():
            hinge = self._hinge(model, rates)
        if not hinge.requires_grad:
            return
        gradients = torch.autograd.grad(
            hinge, list(rates.values()), allow_unused=True, materialize_grads=True
        )
        for layer, gradient in zip(relaxed_sites(model).values(), gradients, strict=True):
            if layer.rate.grad is not None:
                layer.rate.grad += gradient.reshape(layer.rate.shape)

    def _hinge(self, model: nn.Module, rates: Rows) -> Tensor:
        graph = _graph(model)
        plan = _evened(read_plan(model))
        last = next(site for site in reversed(graph.site_names) if site in plan)
        sides = real_fields(graph, plan, (last,))[last]
        axis = max(range(len(sides)), key=lambda side: sides[side].size_px)
        means = {site: rows.mean(0, keepdim=True).expand_as(rows) for site, rows in rates.items()}
        (size_px,) = sizes_px([(sides[axis], axis)], means)
        return self.weight * torch.relu(1 - size_px / self.needed_px)


def _graph(model: nn.Module) -> FieldGraph:
    return graph_of(model, "a field target", otherwise="search without one (field_target = 0)")


def _evened(plan: DilationPlan) -> DilationPlan:
    """The plan with the mean of its branches or channels at every site, axis by axis."""

    def evened(rates: SiteRates) -> tuple[float, ...]:
        count = len(rates.rates) // rates.axes
        columns = (rates.rates[axis :: rates.axes] for axis in range(rates.axes))
        return tuple(sum(column) / count for column in columns) * count

    return plan.replace({site: evened(rates) for site, rates in plan.sites.items()})
