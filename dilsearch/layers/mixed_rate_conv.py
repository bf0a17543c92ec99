"""A convolution at integer rates for which torch.nn has no word: what a search may end in."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dilsearch.layers.grid import ConvGrid
from dilsearch.layers.sharing import device_of
from dilsearch.layers.stand_in import StandIn


class MixedRateConv(StandIn):
    """A convolution over any number of axes whose rates or padding ``torch.nn`` cannot express.

    Rates may differ between branches, which are split, convolved and joined, or between input
    channels, which are selected by rate, convolved and summed. Or there is one rate for all, and
    the padding that keeps the output grid is uneven, or negative, which crops. All are ordinary
    convolutions behind padding, exact and exportable; there is nothing to learn but weight and
    bias, which are those of the convolution it stands for, by the same names. So are the sizes that
    it says of itself (see ``StandIn``): ``dilation`` and ``padding`` are the replaced ones.

    Args:
        grid: The output grid.
        rates: A rate for each axis, for all channels, each branch or each input channel.
        source: The convolution whose weight and bias it takes over, with their parametrisations.

    Attributes:
        rates: As given.
    """

    weight: Tensor
    bias: Tensor | None

    def __init__(self, grid: ConvGrid, rates: Sequence[Sequence[int]], source: nn.Module) -> None:
        super().__init__(grid, source)
        self.rates = tuple(tuple(row) for row in rates)
        self._kinds = tuple(dict.fromkeys(self.rates))
        if self.by_channel:
            for number, kind in enumerate(self._kinds):
                chosen = [index for index, rate in enumerate(self.rates) if rate == kind]
                members = torch.tensor(chosen, device=device_of(source))
                self.register_buffer(f"_members_{number}", members, persistent=False)

    @property
    def by_channel(self) -> bool:
        """Whether rates are those of input channels."""
        return self.groups % len(self.rates) != 0

    def forward(self, x: Float[Tensor, "*maps"]) -> Float[Tensor, "*outputs"]:
        """Convolve at these rates."""
        weight, bias = self.weight, self.bias
        if not self.by_channel:
            return self.grid.convolve_branches(x, weight, bias, self.rates, self.groups)
        members = [
            (kind, self.get_buffer(f"_members_{number}")) for number, kind in enumerate(self._kinds)
        ]
        return self.grid.convolve_channels(x, weight, bias, members, self.groups)

    def extra_repr(self) -> str:
        """Sizes and rates."""
        if len(self.rates) == 1:
            (rate,) = self.rates
            what = f"rate={rate}, padding={self.grid.padding_at(rate)}"
        else:
            rates = sorted(set(self.rates))
            shown = ", ".join(map(str, rates[:8])) + (", ..." if len(rates) > 8 else "")
            what = f"rates by {'channel' if self.by_channel else 'branch'} among {shown}"
        return (
            f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, "
            f"{what}, stride={self.grid.stride}, groups={self.groups}"
        )
