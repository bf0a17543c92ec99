"""Convolution at a real-valued dilation rate, with exact gradients for everything it reads.

The face of the op: it checks its arguments, reads the rates, and chooses between the plain
convolution, where integer rates need no slope, and the fractional one.
"""

from collections.abc import Sequence
from typing import TypeAlias

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from dilsearch.ops.arguments import Grid, Pair, check_rate, check_tensors, read_grid
from dilsearch.ops.separable import Layout, SeparableConvolution

Upper: TypeAlias = float | Sequence[float] | Tensor | None
Rate: TypeAlias = Float[Tensor, ""] | Float[Tensor, " branches"]


def fractional_conv2d(
    x: Float[Tensor, "*batch in_channels height width"],
    weight: Float[Tensor, "out_channels in_channels_per_group kernel_height kernel_width"],
    bias: Float[Tensor, " out_channels"] | None,
    rate: Rate,
    *,
    stride: Pair = 1,
    padding: Pair | str = 0,
    dilation: Pair = 1,
    groups: int = 1,
    padding_mode: str = "zeros",
    upper: Upper = None,
) -> Float[Tensor, "*batch out_channels out_height out_width"]:
    """A convolution whose taps are ``rate`` pixels apart, ``rate`` being a number to learn.

    It stands for ``F.conv2d(x, weight, bias, stride, padding, dilation, groups)``, and these
    settings fix the output grid: the middle tap stays where theirs is while the others move with
    the rate. Between pixels it samples bilinearly, from zeros outside the image. At an integer
    rate it equals the plain convolution of that dilation (padded to the same grid).

    At an integer rate the slope in the rate jumps. The one given is towards larger rates, or,
    where ``rate >= upper``, towards smaller ones, so that a rate resting on its limit can leave it.
    A rate that is not a finite number makes its outputs NaN. The rate is read on the host once a
    call.

    Args:
        x: Images, or one image; float32, float64, bfloat16 or float16.
        weight: Kernels with an odd number of taps along each axis.
        bias: Added to each output channel, or None.
        rate: Distance between taps in pixels: one for all, or one for each branch, the branches
            being equal runs of channels, as many as there are rates.
        stride: Pixels between outputs, one or (height, width).
        padding: Of the convolution replaced, in pixels, or 'same' or 'valid'.
        dilation: Of the convolution replaced; it only decides the output grid.
        groups: Channel groups, a multiple of the number of branches.
        padding_mode: 'zeros'; the parameter exists to be refused clearly.
        upper: Largest rate allowed, one or one for each branch; None for no limit.

    Returns:
        The outputs, in the type of ``x``, or of autocast where it is active.

    Raises:
        OpError: If the arguments do not fit together.
        RuntimeError: If its gradients are themselves differentiated.

    Source: the sampling is RegSeg's deformable search (Gao 2022) and Learning Dilation Factors'
    Eq. 3, with each tap's own fractions along both axes.
    """
    x, weight, bias = _autocast(x, weight, bias)
    check_tensors(x, weight, bias, groups)
    check_rate(rate, upper, groups)
    grid = read_grid(
        x,
        weight,
        stride=stride,
        padding=padding,
        dilation=dilation,
        groups=groups,
        padding_mode=padding_mode,
    )
    images = x if x.dim() == 4 else x.unsqueeze(0)
    rates, leftward = _read_rates(rate, upper)
    with_slope = torch.is_grad_enabled() and rate.requires_grad
    if not with_slope and all(_is_plain(value) for value in rates):
        out = _plain_convolution(images, weight, bias, [int(value) for value in rates], grid)
    else:
        layout = Layout.at(grid, rates, leftward)
        out = SeparableConvolution.apply(images, weight, bias, rate, layout, with_slope)
    return out if x.dim() == 4 else out.squeeze(0)


def _autocast(
    x: Tensor, weight: Tensor, bias: Tensor | None
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Under autocast, the tensors in its type, as ``F.conv2d`` would take them."""
    device = x.device.type
    if not torch.is_autocast_enabled(device):
        return x, weight, bias
    dtype = torch.get_autocast_dtype(device)

    def cast(tensor: Tensor) -> Tensor:
        eligible = tensor.is_floating_point() and tensor.dtype != torch.float64
        return tensor.to(dtype) if eligible else tensor

    return cast(x), cast(weight), None if bias is None else cast(bias)


def _read_rates(rate: Tensor, upper: Upper) -> tuple[list[float], list[bool]]:
    """The rates as numbers, one for each branch, and which of them have reached their limit."""
    rates = rate.detach().reshape(-1)
    if upper is None:
        return rates.tolist(), [False] * len(rates)
    limits = torch.as_tensor(upper, device=rates.device).detach().to(rates.dtype)
    values, bounds = torch.stack((rates, limits.expand_as(rates))).tolist()
    return values, [value >= bound for value, bound in zip(values, bounds, strict=True)]


def _is_plain(rate: float) -> bool:
    return rate >= 1 and float(rate).is_integer()


def _plain_convolution(
    x: Tensor, weight: Tensor, bias: Tensor | None, rates: list[int], grid: Grid
) -> Tensor:
    """The same outputs by ``F.conv2d``, where every rate is an integer that needs no slope."""
    if len(set(rates)) == 1:
        return _dilated(x, weight, bias, rates[0], grid, grid.groups)
    count = len(rates)
    biases = [None] * count if bias is None else bias.chunk(count)
    parts = zip(x.chunk(count, dim=1), weight.chunk(count), biases, rates, strict=True)
    return torch.cat([_dilated(*part, grid, grid.groups // count) for part in parts], dim=1)


def _dilated(
    x: Tensor, weight: Tensor, bias: Tensor | None, rate: int, grid: Grid, groups: int
) -> Tensor:
    axes = (grid.rows, grid.columns)
    # Beyond this rate all but the middle tap have left the image; larger ones change nothing.
    rates = [min(rate, axis.span) for axis in axes]
    height, width = (axis.padding_at(value) for axis, value in zip(axes, rates, strict=True))
    if min(height, width) < 0:
        crop_y, crop_x = min(height, 0), min(width, 0)
        x = F.pad(x, (crop_x, crop_x, crop_y, crop_y))
    strides = [axis.stride for axis in axes]
    return F.conv2d(x, weight, bias, strides, [max(height, 0), max(width, 0)], rates, groups)
