"""A convolution whose channel groups have dilation rates of their own: split, convolve, join."""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dilsearch.errors import SurgeryError
from dilsearch.layers.grid import ConvGrid, per_axis


class BranchConv2d(nn.Module):
    """A grouped 2-D convolution in which branch i, the i-th equal part of the channels, has rate i.

    It stands for one plain convolution: ``padding`` and ``dilation`` are that convolution's and
    fix the output grid, and each branch pads by ``padding + (k - 1) // 2 * (rate - dilation)`` per
    axis, or crops where that is negative, so that the centre tap stays where it was. Weight, bias,
    their names and their initial values for a given seed are those of the ``nn.Conv2d`` it stands
    for, so that checkpoints pass between the two; with equal rates the outputs agree as well.
    RegSeg's D block splits its 3x3 convolution so (Gao 2022, Sec. 3.2).

    Args:
        in_channels: Channels of the input, divisible by ``groups``.
        out_channels: Channels of the output, divisible by ``groups``.
        kernel_size: Taps, or (height, width) taps; odd.
        rates: One whole rate of at least 1 for each branch, in channel order, for both axes.
        stride: Step in pixels, one or (height, width).
        padding: Zeros at each side in pixels, one or (height, width).
        dilation: Rate that ``padding`` is meant for, one or (height, width).
        groups: Channel groups; the number of branches must divide it.
        bias: Whether to add a learnable bias.
        device: Where the Parameters live.
        dtype: Their type.

    Raises:
        SurgeryError: If the sizes or rates cannot be; every fault is listed.
    """

    weight: Tensor
    bias: Tensor | None
    padding_mode = "zeros"
    transposed = False
    output_padding = (0, 0)

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, int],
        *,
        rates: Sequence[int],
        stride: int | tuple[int, int] = 1,
        padding: int | tuple[int, int] = 0,
        dilation: int | tuple[int, int] = 1,
        groups: int = 1,
        bias: bool = True,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.kernel_size = _pair(kernel_size)
        self.rates = tuple(rates)
        self.stride = _pair(stride)
        self.padding = _pair(padding)
        self.dilation = _pair(dilation)
        self.groups = groups
        faults = [*_size_faults(self), *_rate_faults(self)]
        if faults:
            raise SurgeryError.from_faults("cannot build the convolution", faults)
        padded = tuple((pixels, pixels) for pixels in self.padding)
        self.grid = ConvGrid(self.kernel_size, self.stride, padded, self.dilation)
        shape = (out_channels, in_channels // groups, *self.kernel_size)
        self.weight = nn.Parameter(torch.empty(shape, device=device, dtype=dtype))
        self.register_parameter("bias", None)
        if bias:
            self.bias = nn.Parameter(torch.empty(out_channels, device=device, dtype=dtype))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw weight and bias as ``nn.Conv2d`` does: uniform, within 1 / sqrt(fan-in)."""
        # The two calls, not only their distribution, are those of nn.Conv2d: the same seed must
        # give the same weights whether or not a network's convolutions are split.
        nn.init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        if self.bias is not None:
            reach = 1 / math.sqrt(self.weight[0].numel())
            nn.init.uniform_(self.bias, -reach, reach)

    def forward(
        self, x: Float[Tensor, "*batch in_channels height width"]
    ) -> Float[Tensor, "*batch out_channels out_height out_width"]:
        """Convolve every branch at its rate and concatenate; one convolution if all are equal."""
        rates = [(rate, rate) for rate in self.rates]
        return self.grid.convolve_branches(x, self.weight, self.bias, rates, self.groups)

    def extra_repr(self) -> str:
        """Sizes and rates, in the manner of ``nn.Conv2d``."""
        parts = [
            f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}",
            f"rates={self.rates}, stride={self.stride}",
        ]
        if self.padding != (0, 0):
            parts.append(f"padding={self.padding}")
        if self.dilation != (1, 1):
            parts.append(f"dilation={self.dilation}")
        if self.groups != 1:
            parts.append(f"groups={self.groups}")
        if self.bias is None:
            parts.append("bias=False")
        return ", ".join(parts)


def _size_faults(conv: BranchConv2d) -> list[str]:
    faults = []
    taps = conv.kernel_size
    if any(count < 1 or count % 2 == 0 for count in taps):
        faults.append(
            f"its kernel is {taps[0]} x {taps[1]}, and only odd kernels have a centre tap that "
            "stays while rates differ; choose odd sizes"
        )
    if conv.groups < 1:
        return [*faults, f"groups = {conv.groups} is below 1; give at least 1"]
    faults += [
        f"{name} = {channels} is not a positive multiple of groups = {conv.groups}; change either"
        for name, channels in (
            ("in_channels", conv.in_channels),
            ("out_channels", conv.out_channels),
        )
        if channels < 1 or channels % conv.groups
    ]
    lowest = {"stride": 1, "padding": 0, "dilation": 1}
    faults += [
        f"{name} = {getattr(conv, name)} is below {least}; give at least {least}"
        for name, least in lowest.items()
        if min(getattr(conv, name)) < least
    ]
    return faults


def _rate_faults(conv: BranchConv2d) -> list[str]:
    branches = len(conv.rates)
    if branches == 0:
        return ["it has no rates; give one for each branch"]
    faults = [
        f"rate {rate} of branch {branch} is not a whole number of at least 1; "
        "give whole rates, as a projected plan has"
        for branch, rate in enumerate(conv.rates)
        if not _is_whole_rate(rate)
    ]
    if conv.groups >= 1 and conv.groups % branches:
        faults.append(
            f"{branches} rates ask for {branches} branches, which do not divide its "
            f"{conv.groups} groups; give a number of rates that does"
        )
    return faults


def _is_whole_rate(rate: object) -> bool:
    return isinstance(rate, int) and not isinstance(rate, bool) and rate >= 1


def _pair(value: int | tuple[int, int]) -> tuple[int, int]:
    height, width = per_axis(value, 2)
    return (height, width)
