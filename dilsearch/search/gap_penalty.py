"""A price on rates beyond the gap bound."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dilsearch.errors import SearchError
from dilsearch.geometry import FieldGraph, Window
from dilsearch.geometry.real_field import RealField, real_fields
from dilsearch.search.real_sizes import graph_of, real_rates, sizes_px
from dilsearch.surgery import read_plan


@dataclass(frozen=True, slots=True)
class GapPenalty:
    """The hinge ``weight * max(0, rate * stride / field - 1)``, its mean at each site in sum.

    Field and stride are those in front of the site, with the rates there as they are, not rounded.
    So a rate beyond its bound is drawn down, and the rates in front of it are drawn up, which
    raises the bound. It is 0, and so is its gradient, when every rate keeps its real bound, field /
    stride. Where a rate stands for all axes, the axis with the tightest bound counts; where axes
    have their own, each has its own bound, and the mean is over them too. An axis along which the
    kernel has a single tap leaves no gap.

    ``loss = criterion(model(x), y) + GapPenalty()(model)`` lets the loss weigh gaps against what
    they buy; ``clamp_after_step(..., gap="enforce")`` does not allow them at all.

    Args:
        weight: What a rate of twice its bound costs, in units of the loss.

    Raises:
        SearchError: If it is not positive.

    Source: the bound is RegSeg's (Gao 2022), Eq. 3; the penalty is ours.
    """

    weight: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.weight < math.inf:
            raise SearchError(f"GapPenalty: weight = {self.weight}; give a number above 0")

    def __call__(self, model: nn.Module) -> Tensor:
        """The penalty at the present rates: a float32 scalar to add to the loss.

        Raises:
            SearchError: If the model has no field graph.
            SurgeryError: If it has no relaxed site, or a rate is not a finite number.
        """
        graph = graph_of(model, "a gap penalty", otherwise="train without one")
        plan, rates = read_plan(model), real_rates(model)
        windows = {site: _window(graph, site) for site in plan}
        fields = real_fields(graph, plan, {window.source for window in windows.values()})
        along = {
            site: _axes(window, fields[window.source], each=plan.sites[site].axes > 1)
            for site, window in windows.items()
        }
        bounding = [
            (fields[windows[site].source][axis], axis)
            for site, axes in along.items()
            for axis in axes
        ]
        sizes = sizes_px(bounding, rates)
        strides = sizes.new_tensor([field.stride_px for field, _ in bounding])
        total, start = sizes.new_zeros(()), 0
        for site, axes in along.items():
            own = rates[site][:, list(axes)] if plan.sites[site].axes > 1 else rates[site]
            part = slice(start, start := start + len(axes))
            # the difference first: on the bound it is 0 to the last bit
            beyond = own * strides[part] - sizes[part]
            total = total + (torch.relu(beyond) / sizes[part]).mean()
        return self.weight * total


def _window(graph: FieldGraph, site: str) -> Window:
    node = graph.node(site)
    assert isinstance(node, Window)  # a site is one
    return node


def _axes(window: Window, before: Sequence[RealField], *, each: bool) -> tuple[int, ...]:
    """The axes whose bounds count: those that the window spans, or of them the tightest."""
    spanned = tuple(axis for axis, taps in enumerate(window.taps) if taps > 1)
    if each:
        return spanned
    return (min(spanned, key=lambda axis: before[axis].size_px / before[axis].stride_px),)
