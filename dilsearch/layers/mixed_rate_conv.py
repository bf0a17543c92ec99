"""A convolution whose branches or channels have different integer rates: what a search ends in."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dilsearch.layers.grid import ConvGrid


class MixedRateConv(nn.Module):
    """A convolution over any number of axes with an integer rate for each branch or input channel.

    Branches are split, convolved and joined. Input channels with rates of their own are selected by
    rate, convolved and summed. Both are ordinary convolutions, exact and exportable; there is
    nothing to learn but weight and bias, which are those of the convolution it stands for.

    Args:
        grid: The output grid.
        rates: A rate for each axis, for each branch or each input channel.
        weight: Kernels, shared with whoever gives them.
        bias: One value for each output channel, or None.
        groups: Channel groups; divisible by the number of branches, or else ``rates`` are as many
            as there are input channels.
    """

    def __init__(
        self,
        grid: ConvGrid,
        rates: Sequence[Sequence[int]],
        weight: nn.Parameter,
        bias: nn.Parameter | None,
        groups: int,
    ) -> None:
        super().__init__()
        self.grid = grid
        self.rates = tuple(tuple(row) for row in rates)
        self.groups = groups
        self.in_channels = weight.shape[1] * groups
        self.out_channels = weight.shape[0]
        self.kernel_size = grid.kernel_size
        self.weight = weight
        self.bias = bias
        self._kinds = tuple(dict.fromkeys(self.rates))
        if self.by_channel:
            for number, kind in enumerate(self._kinds):
                chosen = [index for index, rate in enumerate(self.rates) if rate == kind]
                members = torch.tensor(chosen, device=weight.device)
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
        rates = sorted(set(self.rates))
        shown = ", ".join(str(rate) for rate in rates[:8]) + (", ..." if len(rates) > 8 else "")
        unit = "channel" if self.by_channel else "branch"
        return (
            f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, "
            f"rates by {unit} among {shown}, stride={self.grid.stride}, groups={self.groups}"
        )
