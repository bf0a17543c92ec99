"""Shared by the tests of the ops: the public deformable convolution as an independent oracle."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torchvision.ops import deform_conv2d


def _pair(value: int | tuple[int, int]) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else value


def _deform(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    rate: Tensor,
    *,
    stride: int | tuple[int, int] = 1,
    padding: int | tuple[int, int] = 0,
    dilation: int | tuple[int, int] = 1,
    groups: int = 1,
) -> Tensor:
    """Every tap moved from its place in the replaced convolution to where the rate wants it.

    A row of the table of rates is an offset group: equal runs of channels, down to one channel.
    """
    del groups  # deform_conv2d reads them off the shapes
    stride, padding, dilation = _pair(stride), _pair(padding), _pair(dilation)
    table = rate if rate.dim() == 2 else rate.reshape(-1, 1).expand(-1, 2)
    taps = weight.shape[2:]
    moves = []
    for axis, (k, d) in enumerate(zip(taps, dilation, strict=True)):
        positions = (torch.arange(k) - (k - 1) // 2).to(table)
        along = (table[:, axis, None] - d) * positions
        moves.append((along[:, :, None] if axis == 0 else along[:, None, :]).expand(-1, *taps))
    sizes = [
        (n + 2 * p - d * (k - 1) - 1) // s + 1
        for n, p, d, k, s in zip(x.shape[2:], padding, dilation, taps, stride, strict=True)
    ]
    offsets = torch.stack(moves, dim=-1).reshape(1, -1, 1, 1).to(x).expand(len(x), -1, *sizes)
    return deform_conv2d(
        x, offsets.contiguous(), weight, bias, stride=stride, padding=padding, dilation=dilation
    )


@pytest.fixture(scope="session")
def deformable() -> Callable[..., Tensor]:
    """torchvision's deformable convolution, called as a fractional one."""
    return _deform
