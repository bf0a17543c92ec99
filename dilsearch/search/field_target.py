"""A pull towards the field that the task is known to need."""

import torch
from torch import nn

from dilsearch.errors import SearchError
from dilsearch.geometry import FieldGraph
from dilsearch.geometry.real_field import real_field
from dilsearch.surgery import field_graph, read_plan
from dilsearch.surgery.rates import relaxed_sites


class FieldTarget:
    """The hinge ``weight * max(0, 1 - field / needed)``: nothing once the field suffices.

    It knows what the field should be, and not where along the network it should grow: that is left
    to the loss. The field is that behind the last site, with the rates as they are, not rounded.

    Args:
        needed_px: The field to reach, in pixels.
        weight: What the whole field missing would cost, in units of the loss.

    Raises:
        SearchError: If either is not positive.

    Source: the rule 2N - 1 of RegSeg (Gao 2022), Sec. 3.1; the hinge is ours.
    """

    def __init__(self, needed_px: int, weight: float = 1.0) -> None:
        for name, value in (("needed_px", needed_px), ("weight", weight)):
            if not 0 < value < float("inf"):
                raise SearchError(f"FieldTarget: {name} = {value}; give a number above 0")
        self.needed_px = needed_px
        self.weight = weight

    def penalty(self, model: nn.Module) -> float:
        """The value of the hinge at the present rates."""
        graph = _graph(model)
        field = real_field(graph, read_plan(model))
        return self.weight * max(0.0, 1 - field.size_px / self.needed_px)

    @torch.no_grad()
    def add_gradient(self, model: nn.Module) -> None:
        """Add the hinge's gradient to that of the rates, as if it stood in the loss."""
        field = real_field(_graph(model), read_plan(model))
        if field.size_px >= self.needed_px:
            return
        layers = relaxed_sites(model)
        for (site, branch), slope in field.slopes_px.items():
            gradient = layers[site].rate.grad
            if gradient is not None:
                gradient.view(-1)[branch] -= self.weight * slope / self.needed_px


def _graph(model: nn.Module) -> FieldGraph:
    graph = field_graph(model)
    if graph is None:
        raise SearchError("FieldTarget needs the model's field graph; give relax an example input")
    return graph
