"""The same outputs by torch's own convolution: for integer rates that need no slope."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from dilsearch.ops.rates import Rates
from dilsearch.ops.taps import Axis

_CONVOLUTIONS = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}


def plain_convolution(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    rates: Rates,
    axes: Sequence[Axis],
    groups: int,
) -> Tensor:
    """One convolution, or one for each branch.

    Args:
        x: Images (batch, in_channels, *pixels).
        weight: Kernels.
        bias: One value for each output channel, or None.
        rates: Integer rates, one row for the site or for each branch.
        axes: The spatial axes.
        groups: Channel groups.
    """
    rows = [tuple(map(int, row)) for row in rates.values]
    if len(set(rows)) == 1:
        return _dilated(x, weight, bias, rows[0], axes, groups)
    count = len(rows)
    biases = [None] * count if bias is None else bias.chunk(count)
    parts = zip(x.chunk(count, dim=1), weight.chunk(count), biases, rows, strict=True)
    return torch.cat([_dilated(*part, axes, groups // count) for part in parts], dim=1)


def _dilated(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    rates: tuple[int, ...],
    axes: Sequence[Axis],
    groups: int,
) -> Tensor:
    # Beyond its span all but the anchor have left the image; larger rates change nothing.
    rates = tuple(min(rate, max(axis.span, 1)) for rate, axis in zip(rates, axes, strict=True))
    paddings = [axis.padding_at(rate) for axis, rate in zip(axes, rates, strict=True)]
    strides = [axis.stride for axis in axes]
    even = [min(before, after) for before, after in paddings]
    if min(even) < 0 or any(before != after for before, after in paddings):
        # What cannot be said to the convolution is padded or cropped beforehand.
        edges = [edge for pair in reversed(paddings) for edge in pair]
        x, even = F.pad(x, edges), [0] * len(axes)
    return _CONVOLUTIONS[len(axes)](x, weight, bias, strides, even, rates, groups)
