"""Smoothed rates: each step runs at rates drawn around the present ones.

Bilinear sampling sees one pixel ahead. Where the loss does not change within that pixel, as on the
long way to a field that suddenly suffices, its slope says nothing about the direction. The expected
loss over a neighbourhood of the rate has a slope there all the same: some of the draws reach what
the present rate does not, the weights learn to use it, and the slope at those draws pulls the rate
after them. The neighbourhood narrows to nothing, so that the search ends at the rates themselves.
"""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from dilsearch.data import derived_seed
from dilsearch.errors import PlanError, SearchError
from dilsearch.surgery import clamp_rates
from dilsearch.surgery.rates import relaxed_sites


@dataclass(frozen=True, slots=True)
class Smoothing:
    """How widely rates are drawn, and for how long.

    Args:
        width: Standard deviation of the logarithm of a drawn rate around that of the present one,
            at the first step; 0 draws nothing. At 0.7 two draws of three lie between half the rate
            and twice the rate. None gives each site the width that follows from its limits: a
            third of the way from the lower to the upper one on a logarithmic scale, so that from
            one limit the other is three standard deviations away.
        share: Share of the search after which the width, falling evenly, is 0.

    Raises:
        SearchError: If the width is negative, or the share is not above 0 and at most 1.
    """

    width: float | None = None
    share: float = 0.7

    def __post_init__(self) -> None:
        if self.width is not None and not 0 <= self.width < math.inf:
            raise SearchError(
                f"Smoothing: width = {self.width} is not a standard deviation; give 0 for none, "
                "or a number such as 1"
            )
        if not 0 < self.share <= 1:
            raise SearchError(
                f"Smoothing: share = {self.share} is not a share of the search; "
                "give a number above 0 and at most 1"
            )

    def width_at(self, step: int, steps: int, *, lower: float, upper: float) -> float:
        """The width at a step counted from 0, of a search of ``steps``, for rates so limited."""
        width = math.log(upper / lower) / 3 if self.width is None else self.width
        return max(0.0, width * (1 - step / (self.share * steps)))

    @property
    def ends(self) -> float:
        """Share of the search after which nothing is drawn."""
        return 0.0 if self.width == 0 else self.share


class SmoothedRates:
    """The rates of a model, moved to a draw for the forward pass and back for the update.

    A draw follows from the seed and the step alone. So it is the same on every rank, and a search
    that resumes draws what it would have drawn.

    Args:
        model: A relaxed model.
        smoothing: Width and its end.
        steps: Length of the whole search.
        seed: Seed of the draws.
        gap: Whether a draw is held to the gap bound, at the field that the rates drawn upstream
            give, beside the limits; as in ``clamp_rates``.
    """

    def __init__(
        self,
        model: nn.Module,
        smoothing: Smoothing,
        *,
        steps: int,
        seed: int,
        gap: Literal["enforce", "ignore"],
    ) -> None:
        self._model = model
        self._layers = list(relaxed_sites(model).values())
        self._smoothing = smoothing
        self._steps = steps
        self._seed = seed
        self._gap = gap
        self._centres: list[Tensor] = []

    @torch.no_grad()
    def draw(self, step: int) -> None:
        """Move every rate to its draw for this step, within limits and bound."""
        self._centres = [layer.rate.detach().clone() for layer in self._layers]
        if step >= self._smoothing.ends * self._steps:
            return
        # on the CPU whatever the device, so that all devices draw the same
        generator = torch.Generator().manual_seed(derived_seed("smoothing", self._seed, step))
        for layer in self._layers:
            if not layer.rate.requires_grad:
                continue
            limits = layer.granularity
            width = self._smoothing.width_at(
                step, self._steps, lower=limits.lower, upper=limits.upper
            )
            normal = torch.randn(layer.rate.shape, generator=generator)
            drawn = layer.rate * torch.exp(width * normal).to(layer.rate.device)
            layer.rate.copy_(drawn.clamp(limits.lower, limits.upper))
        try:
            clamp_rates(self._model, gap=self._gap)
        except PlanError:
            # The fields drawn leave no room above some lower limit, where the present ones do.
            self.restore()

    @torch.no_grad()
    def restore(self) -> None:
        """Move every rate back, if it was drawn; its gradient stays that of the draw."""
        if self._centres:
            for layer, centre in zip(self._layers, self._centres, strict=True):
                layer.rate.copy_(centre)
        self._centres = []
