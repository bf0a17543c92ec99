"""Slow references, written straight from their definitions: what the fast code must agree with.

They are public so that anyone can check the library, or an own kernel, against them.
"""

from collections.abc import Sequence
from itertools import product
from typing import TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor

PerAxis: TypeAlias = int | Sequence[int]
Upper: TypeAlias = float | Sequence[float] | Sequence[Sequence[float]] | Tensor | None


def fractional_conv1d_oracle(
    x: Float[Tensor, "batch in_channels length"],
    weight: Float[Tensor, "out_channels in_channels_per_group kernel"],
    bias: Float[Tensor, " out_channels"] | None,
    rate: Tensor,
    *,
    stride: PerAxis = 1,
    padding: PerAxis | str = 0,
    dilation: PerAxis = 1,
    groups: int = 1,
    padding_mode: str = "zeros",
    upper: Upper = None,
    causal: bool = False,
) -> Float[Tensor, "batch out_channels out_length"]:
    """What ``fractional_conv1d`` computes; see ``fractional_conv2d_oracle``."""
    return _convolve(
        x, weight, bias, rate, stride, padding, dilation, groups, padding_mode, upper, causal
    )


def fractional_conv2d_oracle(
    x: Float[Tensor, "batch in_channels height width"],
    weight: Float[Tensor, "out_channels in_channels_per_group kernel_height kernel_width"],
    bias: Float[Tensor, " out_channels"] | None,
    rate: Tensor,
    *,
    stride: PerAxis = 1,
    padding: PerAxis | str = 0,
    dilation: PerAxis = 1,
    groups: int = 1,
    padding_mode: str = "zeros",
    upper: Upper = None,
) -> Float[Tensor, "batch out_channels out_height out_width"]:
    """What ``fractional_conv2d`` computes, tap by tap, differentiable by autograd.

    Output (m, n) is the sum over input channels c and taps (i, j), counted from the anchor, of the
    weight times channel c at row ``anchor + m * stride + i * r``, column likewise, r being the
    channel's rate along that axis. The point lies between four pixels, which are blended
    bilinearly. Along each axis the two pixels are those at ``floor(|i| * r)`` and one further away
    from the anchor; where ``r >= upper``, or where the padding mode has no further pixel, those at
    ``ceil(|i| * r) - 1`` and one further. A pixel outside the image is zero, or the one that the
    padding mode says.

    Args:
        x: Images; float64 for comparisons.
        weight: Kernels.
        bias: Added to each output channel, or None.
        rate: (), (branches,) or (in_channels,), or with a second dimension for the axes.
        stride: Pixels between outputs.
        padding: Of the convolution replaced, in pixels, or 'same' or 'valid'.
        dilation: Of the convolution replaced; with padding it decides the anchor and the grid.
        groups: Channel groups, a multiple of the number of branches.
        padding_mode: 'zeros', 'reflect', 'replicate' or 'circular'.
        upper: Largest rate, one or one for each rate.

    Returns:
        The outputs. The arguments are not checked.

    Source: Learning Dilation Factors (Eq. 3) with each tap's own fractions along both axes.
    """
    return _convolve(
        x, weight, bias, rate, stride, padding, dilation, groups, padding_mode, upper, False
    )


def fractional_conv3d_oracle(
    x: Float[Tensor, "batch in_channels depth height width"],
    weight: Float[Tensor, "out_channels in_channels_per_group k_depth k_height k_width"],
    bias: Float[Tensor, " out_channels"] | None,
    rate: Tensor,
    *,
    stride: PerAxis = 1,
    padding: PerAxis | str = 0,
    dilation: PerAxis = 1,
    groups: int = 1,
    padding_mode: str = "zeros",
    upper: Upper = None,
) -> Float[Tensor, "batch out_channels out_depth out_height out_width"]:
    """What ``fractional_conv3d`` computes; see ``fractional_conv2d_oracle``."""
    return _convolve(
        x, weight, bias, rate, stride, padding, dilation, groups, padding_mode, upper, False
    )


def _convolve(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    rate: Tensor,
    stride: PerAxis,
    padding: PerAxis | str,
    dilation: PerAxis,
    groups: int,
    padding_mode: str,
    upper: Upper,
    causal: bool,
) -> Tensor:
    count, channels = x.dim() - 2, x.shape[1]
    taps = weight.shape[2:]
    strides, dilations = (_per_axis(value, count) for value in (stride, dilation))
    limits = torch.as_tensor(torch.inf if upper is None else upper).to(rate).expand_as(rate)
    rates, uppers = (_by_channel(table, channels, count) for table in (rate, limits))
    middles = [k - 1 if causal else (k - 1) // 2 for k in taps]
    anchors = []
    for axis, (size, k, d) in enumerate(zip(x.shape[2:], taps, dilations, strict=True)):
        before, after = _padding(padding, axis, count, d * (k - 1))
        outputs = (size + before + after - d * (k - 1) - 1) // strides[axis] + 1
        steps = torch.arange(outputs, device=x.device)
        anchors.append(middles[axis] * d - before + strides[axis] * steps)
    leftward = rates >= uppers
    for axis, size in enumerate(x.shape[2:]):
        last, most = (
            int(anchors[axis][-1]),
            {"reflect": size - 1, "circular": size}.get(padding_mode),
        )
        for reach, beyond in (
            (middles[axis], -int(anchors[axis][0])),
            (taps[axis] - 1 - middles[axis], last - size + 1),
        ):
            if most is not None and reach:
                leftward[:, axis] |= (reach * rates[:, axis]).floor() + 1 + beyond > most
    total = torch.zeros((), dtype=x.dtype, device=x.device)
    for number, tap in enumerate(product(*(range(k) for k in taps))):
        places = [
            _along(anchors[axis], tap[axis] - middles[axis], rates[:, axis], leftward[:, axis], x)
            for axis in range(count)
        ]
        sampled = sample_linear(x, places, padding_mode=padding_mode)
        total = total + _mix_channels(sampled, weight.flatten(2)[..., number], groups)
    return total if bias is None else total + bias.reshape(-1, *[1] * count)


def sample_linear(
    x: Tensor, places: Sequence[tuple[Tensor, Tensor, Tensor]], *, padding_mode: str = "zeros"
) -> Tensor:
    """Blend the pixels around each point of a grid: two in a sequence, four in an image.

    Args:
        x: Maps (batch, channels, *pixels).
        places: For each axis the index of one pixel and of its neighbour, both (channels, outputs),
            and the weight of the neighbour (channels, 1).
        padding_mode: What a pixel outside the image is.

    Returns:
        Maps (batch, channels, *outputs).
    """
    count = len(places)
    channels = torch.arange(x.shape[1], device=x.device).reshape(-1, *[1] * count)
    total = torch.zeros((), dtype=x.dtype, device=x.device)
    for corner in product((0, 1), repeat=count):
        indices: list[slice | Tensor] = [slice(None), channels]
        share = torch.ones((), dtype=x.dtype, device=x.device)
        inside = torch.ones((), dtype=torch.bool, device=x.device)
        for axis, (far, place) in enumerate(zip(corner, places, strict=True)):
            size, shape = x.shape[2 + axis], [len(channels), *[1] * count]
            shape[1 + axis] = -1
            index = place[far].reshape(shape)
            weight = place[2] if far else 1 - place[2]
            share = share * weight.reshape(-1, *[1] * count)
            inside = inside & (index >= 0) & (index < size)
            indices.append(_source(index, size, padding_mode))
        found = x[tuple(indices)]
        if padding_mode == "zeros":
            found = torch.where(inside, found, 0)
        total = total + share * found
    return total


def _along(
    anchors: Tensor, position: int, rates: Tensor, leftward: Tensor, x: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """For each channel and output, the two pixels that a tap reads, and the outer one's weight."""
    finite = torch.where(rates.isfinite(), rates, torch.nan)
    distance = abs(position) * finite
    fixed = distance.detach()
    inner = torch.where(leftward, fixed.ceil() - 1, fixed.floor()) if position else fixed.floor()
    fraction = (distance - inner).to(x.dtype)
    # Past the image every pixel is as zero as the next: keep the indices within integers.
    limit = 2 * sum(x.shape[2:]) + (int(anchors.abs().amax()) if len(anchors) else 0)
    steps = inner.nan_to_num(0).clamp(-limit, limit).long()[:, None]
    outward = (position > 0) - (position < 0)
    near = anchors + outward * steps
    return near, near + outward, fraction[:, None]


def _source(index: Tensor, size: int, padding_mode: str) -> Tensor:
    """The pixel that a place beyond the image is a copy of."""
    if padding_mode == "circular":
        return index % size
    if padding_mode == "reflect":
        index = index.abs()
        index = torch.where(index < size, index, 2 * (size - 1) - index)
    return index.clamp(0, size - 1)


def _by_channel(table: Tensor, channels: int, count: int) -> Float[Tensor, "channels axes"]:
    """Rates or limits of each input channel along each axis."""
    rows = table if table.dim() == 2 else table.reshape(-1, 1)
    return rows.expand(-1, count).repeat_interleave(channels // len(rows), dim=0)


def _mix_channels(x: Tensor, weight: Tensor, groups: int) -> Tensor:
    """Sum over the input channels of each group, for one tap's weights (out, in / groups)."""
    images = torch.unflatten(x, 1, (groups, -1))
    kernels = torch.unflatten(weight, 0, (groups, -1))
    return torch.einsum("bgi...,goi->bgo...", images, kernels).flatten(1, 2)


def _padding(padding: PerAxis | str, axis: int, count: int, total: int) -> tuple[int, int]:
    if padding == "valid":
        return (0, 0)
    if padding == "same":
        return (total // 2, total - total // 2)
    assert not isinstance(padding, str)
    each = _per_axis(padding, count)[axis]
    return (each, each)


def _per_axis(value: PerAxis, count: int) -> tuple[int, ...]:
    return (value,) * count if isinstance(value, int) else tuple(value)
