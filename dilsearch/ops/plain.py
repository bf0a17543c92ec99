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
    return convolve_padded(x, weight, bias, rates, paddings, strides, groups)


def convolve_padded(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    rates: Sequence[int],
    paddings: Sequence[tuple[int, int]],
    strides: Sequence[int],
    groups: int,
    mode: str = "zeros",
) -> Tensor:
    """A plain convolution whose padding may be uneven, negative (which crops) or not of zeros.

    Args:
        x: Images, or one.
        weight: Kernels.
        bias: One value for each output channel, or None.
        rates: Dilation along each axis.
        paddings: Pixels before and after each axis.
        strides: Pixels between outputs along each axis.
        groups: Channel groups.
        mode: What is padded with.
    """
    edges, even = split_padding(paddings, mode)
    if mode != "zeros" and any(even):  # a module would do this itself
        edges.insert(0, ([pixels for pixels in reversed(even) for _ in range(2)], mode))
        even = (0,) * len(even)
    for amounts, kind in edges:
        x = F.pad(x, amounts, "constant" if kind == "zeros" else kind)
    return _CONVOLUTIONS[len(rates)](x, weight, bias, strides, even, tuple(rates), groups)


def split_padding(
    paddings: Sequence[tuple[int, int]], mode: str
) -> tuple[list[tuple[list[int], str]], tuple[int, ...]]:
    """What to pad, then what to crop beforehand, and the padding left to the convolution itself.

    Cropping comes last: a mode copies pixels that may be cropped at the other end.

    Returns:
        Amounts as torch's padding functions take them, last axis first, with the mode of each,
        where only those of zeros may be negative; and one amount for each axis.
    """
    flat = [pixels for pair in reversed(paddings) for pixels in pair]
    crop, grow = [min(pixels, 0) for pixels in flat], [max(pixels, 0) for pixels in flat]
    even = (0,) * len(paddings)
    if all(before == after for before, after in paddings):
        even, grow = tuple(max(before, 0) for before, _ in paddings), [0] * len(flat)
    return [
        (amounts, kind) for amounts, kind in ((grow, mode), (crop, "zeros")) if any(amounts)
    ], even
