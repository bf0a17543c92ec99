"""Slow references, written straight from their definitions: what the fast code must agree with.

They are public so that anyone can check the library, or an own kernel, against them.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor


def fractional_conv2d_oracle(
    x: Float[Tensor, "batch in_channels height width"],
    weight: Float[Tensor, "out_channels in_channels_per_group kernel_height kernel_width"],
    bias: Float[Tensor, " out_channels"] | None,
    rate: Float[Tensor, ""] | Float[Tensor, " branches"],
    *,
    stride: int | tuple[int, int] = 1,
    padding: int | tuple[int, int] = 0,
    dilation: int | tuple[int, int] = 1,
    groups: int = 1,
    upper: float | Sequence[float] | Tensor | None = None,
) -> Float[Tensor, "batch out_channels out_height out_width"]:
    """What ``dilsearch.ops.fractional_conv2d`` computes, tap by tap, differentiable by autograd.

    Output (m, n) of a branch with rate r is the sum over taps (i, j), counted from the middle one,
    of the weight times the image at row ``anchor + m * stride + i * r``, column likewise. That
    point lies between four pixels, which are blended bilinearly, each being zero if outside the
    image. Along each axis the two pixels are those at ``floor(|i| * r)`` and one further away from
    the middle tap; where ``r >= upper``, at ``ceil(|i| * r) - 1`` and one further.

    Args:
        x: Images; float64 for comparisons.
        weight: Kernels with an odd number of taps along each axis.
        bias: Added to each output channel, or None.
        rate: One rate in pixels, or one for each branch (equal runs of channels).
        stride: Pixels between outputs.
        padding: Of the convolution replaced, in pixels.
        dilation: Of the convolution replaced; with padding it decides the anchor and the grid.
        groups: Channel groups, a multiple of the number of branches.
        upper: Largest rate, one or one for each branch.

    Returns:
        The outputs. The arguments are not checked.

    Source: Learning Dilation Factors (Eq. 3) with each tap's own fractions along both axes.
    """
    rates = rate.reshape(-1)
    count = len(rates)
    uppers = torch.as_tensor(torch.inf if upper is None else upper).to(rates).expand(count)
    geometry = (_pair(stride), _pair(padding), _pair(dilation))
    outputs = [
        _one_rate(image, kernels, r, bool(r >= limit), *geometry, groups // count)
        for image, kernels, r, limit in zip(
            x.chunk(count, dim=1), weight.chunk(count), rates, uppers, strict=True
        )
    ]
    out = torch.cat(outputs, dim=1)
    return out if bias is None else out + bias[:, None, None]


def sample_bilinear(
    x: Float[Tensor, "batch channels height width"],
    rows: tuple[Tensor, Tensor, Tensor],
    columns: tuple[Tensor, Tensor, Tensor],
) -> Float[Tensor, "batch channels out_height out_width"]:
    """Blend the four pixels around each point of a grid; pixels outside the image are zero.

    Args:
        x: Images.
        rows: Along the height, for each output row: index of one pixel, index of its neighbour,
            and the weight of the neighbour.
        columns: The same along the width.
    """
    near_row, far_row, row_fraction = rows
    near_column, far_column, column_fraction = columns
    f, g = row_fraction[:, None], column_fraction[None, :]
    return (
        (1 - f) * (1 - g) * _pixels(x, near_row, near_column)
        + (1 - f) * g * _pixels(x, near_row, far_column)
        + f * (1 - g) * _pixels(x, far_row, near_column)
        + f * g * _pixels(x, far_row, far_column)
    )


def _one_rate(
    x: Tensor,
    weight: Tensor,
    rate: Tensor,
    leftward: bool,
    stride: tuple[int, int],
    padding: tuple[int, int],
    dilation: tuple[int, int],
    groups: int,
) -> Tensor:
    taps = weight.shape[2:]
    middle = [(k - 1) // 2 for k in taps]
    grids = [
        (torch.arange((n + 2 * p - d * (k - 1) - 1) // s + 1, device=x.device) * s + c * d - p)
        for n, k, s, p, d, c in zip(
            x.shape[2:], taps, stride, padding, dilation, middle, strict=True
        )
    ]
    total = torch.zeros((), dtype=x.dtype, device=x.device)
    for i in range(taps[0]):
        for j in range(taps[1]):
            rows = _along(grids[0], i - middle[0], rate, leftward, x)
            columns = _along(grids[1], j - middle[1], rate, leftward, x)
            sampled = sample_bilinear(x, rows, columns)
            total = total + _mix_channels(sampled, weight[:, :, i, j], groups)
    return total


def _along(
    anchors: Tensor, position: int, rate: Tensor, leftward: bool, x: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """The two pixels that a tap reads for each output along an axis, and the outer one's weight."""
    finite = torch.where(rate.isfinite(), rate, torch.nan)
    distance = abs(position) * finite
    inner = distance.detach().ceil() - 1 if leftward and position else distance.detach().floor()
    fraction = (distance - inner).to(x.dtype)
    # Past the image every pixel is as zero as the next: keep the indices within integers.
    limit = 2 * sum(x.shape[2:]) + int(anchors.abs().amax()) if len(anchors) else 0
    steps = inner.nan_to_num(0).clamp(-limit, limit).long()
    outward = (position > 0) - (position < 0)
    near = anchors + outward * steps
    return near, near + outward, fraction.expand(len(anchors))


def _pixels(x: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Values at every pair of a row and a column, zero outside the image."""
    height, width = x.shape[2:]
    inside = ((rows >= 0) & (rows < height))[:, None] & ((columns >= 0) & (columns < width))
    found = x[:, :, rows.clamp(0, height - 1)[:, None], columns.clamp(0, width - 1)]
    return torch.where(inside, found, 0)


def _mix_channels(x: Tensor, weight: Tensor, groups: int) -> Tensor:
    """Sum over the input channels of each group, for one tap's weights (out, in / groups)."""
    images = torch.unflatten(x, 1, (groups, -1))
    kernels = torch.unflatten(weight, 0, (groups, -1))
    return torch.einsum("bgihw,goi->bgohw", images, kernels).flatten(1, 2)


def _pair(value: int | tuple[int, int]) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else value
