"""The kernels for GPUs as a path of the fractional convolution: who can take it, and how."""

import math
from collections.abc import Sequence
from functools import cache

import torch
from torch import Tensor

from dilsearch.ops import triton_conv
from dilsearch.ops.taps import Axis

_STILL = Axis(size_in=1, taps=1, stride=1, padding=(0, 0), dilation=1, middle=0)


@cache
def _have_kernels() -> bool:
    return triton_conv.is_available()


def takes(x: Tensor, padding_mode: str) -> bool:
    """Whether the kernels can do it: one or two axes of zero-padded, not float64 images."""
    return (
        x.is_cuda
        and x.dim() in (3, 4)
        and x.dtype != torch.float64
        and padding_mode == "zeros"
        and _have_kernels()
    )


def convolve(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    table: Tensor,
    upper: Tensor | None,
    axes: Sequence[Axis],
    groups: int,
) -> Tensor:
    """The outputs; see ``dilsearch.ops.fractional_conv2d``."""
    rates, uppers = _by_channel(table, upper, x.shape[1], len(axes))
    rows, columns = _two(axes)
    out = triton_conv.convolve(
        _flat(x),
        _flat(weight),
        bias,
        rates,
        uppers,
        rows,
        columns,
        groups,
        uniform=_is_uniform(table, groups),
    )
    return out.view(*out.shape[:2], *(axis.size_out for axis in axes))


def gradients(
    grad: Tensor,
    x: Tensor,
    weight: Tensor,
    table: Tensor,
    upper: Tensor | None,
    axes: Sequence[Axis],
    groups: int,
    *,
    needs: tuple[bool, bool, bool],
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """Gradients like ``x`` and ``weight``, and one (row, axis) for the rates."""
    rates, uppers = _by_channel(table, upper, x.shape[1], len(axes))
    rows, columns = _two(axes)
    grad_x, grad_weight, grad_rates = triton_conv.gradients(
        _flat(grad),
        _flat(x),
        _flat(weight),
        rates,
        uppers,
        rows,
        columns,
        groups,
        uniform=_is_uniform(table, groups),
        needs=needs,
    )
    if grad_rates is not None:
        grad_rates = torch.unflatten(grad_rates[:, -len(axes) :], 0, (len(table), -1)).sum(1)
    return (
        None if grad_x is None else grad_x.view(x.shape),
        None if grad_weight is None else grad_weight.view(weight.shape),
        grad_rates,
    )


def _is_uniform(table: Tensor, groups: int) -> bool:
    return groups % len(table) == 0


def _two(axes: Sequence[Axis]) -> tuple[Axis, Axis]:
    """A sequence is an image of one row."""
    return (axes[0], axes[1]) if len(axes) == 2 else (_STILL, axes[0])


def _flat(maps: Tensor) -> Tensor:
    return maps if maps.dim() == 4 else maps.unsqueeze(2)


def _by_channel(
    table: Tensor, upper: Tensor | None, channels: int, axes: int
) -> tuple[Tensor, Tensor]:
    """Rates and limits of each channel along rows and columns, in float32 as the kernels want."""

    def spread_out(values: Tensor) -> Tensor:
        every = values.detach().float().expand(len(table), axes)
        every = every.repeat_interleave(channels // len(table), dim=0)
        # The row of a sequence never moves; it takes the sequence's rate, which is a number.
        return every if axes == 2 else every.expand(-1, 2)

    limits = torch.full_like(table, math.inf) if upper is None else upper
    return spread_out(table), spread_out(limits)
