"""The fast path of fractional convolution: shift along one axis, mix channels, shift again.

Bilinear sampling separates into the two axes. So, for a k_h x k_w kernel, the layer makes k_h
copies of the input, each shifted by its tap's real distance along the rows' axis; mixes channels
once, with k_h times the inputs and k_w times the outputs; and sums the k_w results, each shifted
along the columns' axis. The multiplications are those of a plain convolution, and the shifts are
cheap passes over memory. Only the input, the weight and, for the rate, one map (the slope of the
second sum) are kept for the gradients; the copies are made anew.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from dilsearch.ops.arguments import Grid
from dilsearch.ops.shifts import Shifts, accurate_dtype, groups_first
from dilsearch.ops.taps import Axis, Tap


@dataclass(frozen=True, slots=True)
class Layout:
    """Everything about one call but its tensors: where each branch's taps fall on each axis.

    The columns' taps are listed from last to first: their transpose, which the backward pass
    spreads, then has rising offsets, as the rows' taps have forwards.
    """

    groups: int
    kernel: tuple[int, int]
    branches: int
    rows: Shifts
    columns: Shifts

    @classmethod
    def at(cls, grid: Grid, rates: Sequence[float], leftward: Sequence[bool]) -> "Layout":
        """The layout at these rates, one for each branch."""

        def taps(axis: Axis, order: int) -> tuple[tuple[Tap, ...] | None, ...]:
            return tuple(
                axis.taps_at(rate, leftward=left)[::order] if math.isfinite(rate) else None
                for rate, left in zip(rates, leftward, strict=True)
            )

        rows, columns = grid.rows, grid.columns
        return cls(
            groups=grid.groups,
            kernel=(rows.taps, columns.taps),
            branches=len(rates),
            rows=Shifts(-2, taps(rows, 1), rows.size_in, rows.size_out, rows.stride),
            columns=Shifts(
                -1, taps(columns, -1), columns.size_in, columns.size_out, columns.stride
            ),
        )


class SeparableConvolution(torch.autograd.Function):
    """Fractional convolution with its gradients worked out by hand."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Float[Tensor, "batch in_channels height width"],
        weight: Float[Tensor, "out_channels in_channels_per_group kernel_height kernel_width"],
        bias: Float[Tensor, " out_channels"] | None,
        rate: Tensor,
        layout: Layout,
        with_slope: bool,
    ) -> Float[Tensor, "batch out_channels out_height out_width"]:
        """Convolve; with ``with_slope``, keep what the rate's gradient needs."""
        with torch.autocast(x.device.type, enabled=False):
            copies = layout.rows.spread(groups_first(x, layout.groups), layout.kernel[0])
            mixed = _mix(_mixing_matrix(weight, layout.groups), copies, layout.kernel[1])
            out, slope = layout.columns.gather(mixed, with_slope=with_slope)
            if bias is not None:
                out.add_(bias[:, None, None])
        ctx.layout = layout
        ctx.rate_like = rate.detach()
        ctx.save_for_backward(x, weight, None if slope is None else slope.to(x.dtype))
        return out.to(x.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of x, weight, bias and rate, as far as they are asked for."""
        x, weight, column_slope = ctx.saved_tensors
        layout: Layout = ctx.layout
        needs_x, needs_weight, needs_bias, needs_rate, *_ = ctx.needs_input_grad
        grad_x = grad_weight = grad_bias = grad_rate = None
        groups, (height, width) = layout.groups, layout.kernel
        with torch.autocast(x.device.type, enabled=False):
            grads = layout.columns.transposed.spread(groups_first(grad, groups), width)
            if needs_x or needs_rate:
                transposed = _mixing_matrix(weight, groups).transpose(1, 2)
                mixed = _mix(transposed, grads, height)
                grad_x, row_slope = layout.rows.transposed.gather(mixed, with_slope=needs_rate)
                grad_x = grad_x.to(x.dtype)
            if needs_weight:
                copies = layout.rows.spread(groups_first(x, groups), height)
                products = torch.bmm(_matrix(grads), _matrix(copies).transpose(1, 2))
                grad_weight = _as_weight(products, weight, groups)
            if needs_bias:
                grad_bias = grad.sum((0, 2, 3))
            if needs_rate:
                assert row_slope is not None
                along_rows = _inner_products(x, row_slope, layout.branches)
                along_columns = _inner_products(grad, column_slope, layout.branches)
                grad_rate = (along_rows + along_columns).to(ctx.rate_like).view_as(ctx.rate_like)
        return grad_x, grad_weight, grad_bias, grad_rate, None, None


def _matrix(copies: Tensor) -> Float[Tensor, "groups taps_and_channels pixels"]:
    """Copies (group, tap, channel, batch, height, width) as one matrix for each group."""
    return copies.flatten(3).flatten(1, 2)


def _mix(matrix: Tensor, copies: Tensor, taps: int) -> Tensor:
    """Multiply the (tap, channel) rows of every group's copies by that group's matrix."""
    mixed = torch.bmm(matrix, _matrix(copies))
    return mixed.view(mixed.shape[0], taps, mixed.shape[1] // taps, *copies.shape[3:])


def _mixing_matrix(weight: Tensor, groups: int) -> Tensor:
    """The weight as (group, column tap and output channel, row tap and input channel)."""
    by_group = torch.unflatten(weight.flip(3), 0, (groups, -1))
    return by_group.permute(0, 4, 1, 3, 2).flatten(3).flatten(1, 2)


def _as_weight(matrix: Tensor, weight: Tensor, groups: int) -> Tensor:
    """The inverse of ``_mixing_matrix``, in the shape of the weight."""
    inputs, height, width = weight.shape[1:]
    split = matrix.view(groups, width, weight.shape[0] // groups, height, inputs)
    return split.permute(0, 2, 4, 3, 1).reshape(weight.shape).flip(3)


def _inner_products(a: Tensor, b: Tensor, branches: int) -> Float[Tensor, " branches"]:
    """Sum of products of two sets of images over each branch's channels."""
    dtype = accurate_dtype(a.dtype)
    products = torch.linalg.vecdot(a.flatten(2).to(dtype), b.flatten(2).to(dtype))
    return torch.unflatten(products, 1, (branches, -1)).sum((0, 2))
