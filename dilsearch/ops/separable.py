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
class Branch:
    """A run of groups that share one rate, and where their taps fall on each axis."""

    groups: slice
    rows: Shifts
    columns: Shifts

    @classmethod
    def at(cls, groups: slice, grid: Grid, rate: float, *, leftward: bool) -> "Branch":
        """The branch at a finite rate."""
        rows, columns = (
            Shifts(
                dim,
                axis.taps_at(rate, leftward=leftward),
                source_size=axis.size_in,
                target_size=axis.size_out,
                stride=axis.stride,
            )
            for dim, axis in ((-2, grid.rows), (-1, grid.columns))
        )
        return cls(groups, rows, columns)


@dataclass(frozen=True, slots=True)
class Layout:
    """Everything about one call but its tensors.

    Attributes:
        grid: The convolution replaced.
        count: How many rates there are.
        branches: One for each finite rate; the groups of the others get NaN for all values.
    """

    grid: Grid
    count: int
    branches: tuple[Branch, ...]

    @classmethod
    def at(cls, grid: Grid, rates: Sequence[float], leftward: Sequence[bool]) -> "Layout":
        """The layout at these rates, one for each branch."""
        size = grid.groups // len(rates)
        branches = tuple(
            Branch.at(slice(index * size, (index + 1) * size), grid, rate, leftward=left)
            for index, (rate, left) in enumerate(zip(rates, leftward, strict=True))
            if math.isfinite(rate)
        )
        return cls(grid, len(rates), branches)

    def new_images(self, like: Tensor, shape: Sequence[int]) -> Tensor:
        """Images for the branches to fill, in the accurate type; NaN where none will."""
        dtype = accurate_dtype(like.dtype)
        if len(self.branches) == self.count:
            return like.new_empty(shape, dtype=dtype)
        return like.new_full(shape, math.nan, dtype=dtype)


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
            out, slope = _convolve(x, weight, layout, with_slope=with_slope)
            if bias is not None:
                out.add_(bias[:, None, None])
        ctx.layout = layout
        ctx.rate = rate.detach()
        ctx.save_for_backward(x, weight, None if slope is None else slope.to(x.dtype))
        return out.to(x.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of x, weight, bias and rate, as far as they are asked for."""
        x, weight, slope = ctx.saved_tensors
        layout: Layout = ctx.layout
        needs_x, needs_weight, needs_bias, needs_rate, *_ = ctx.needs_input_grad
        grad_x = grad_weight = grad_bias = grad_rate = None
        with torch.autocast(x.device.type, enabled=False):
            if needs_x or needs_weight or needs_rate:
                grad_x, grad_weight, row_slope = _gradients(
                    x, weight, grad, layout, needs_weight=needs_weight, with_slope=needs_rate
                )
            if needs_bias:
                grad_bias = grad.sum((0, 2, 3))
            if needs_rate:
                slopes = _inner_products(x, row_slope, layout.count)
                slopes += _inner_products(grad, slope, layout.count)
                grad_rate = slopes.to(ctx.rate).view_as(ctx.rate)
        return grad_x, grad_weight, grad_bias, grad_rate, None, None


def _convolve(
    x: Tensor, weight: Tensor, layout: Layout, *, with_slope: bool
) -> tuple[Tensor, Tensor | None]:
    """The outputs and, if asked for, their slopes in the rate along the columns' axis alone."""
    grid = layout.grid
    shape = (x.shape[0], weight.shape[0], grid.rows.size_out, grid.columns.size_out)
    out = layout.new_images(x, shape)
    slope = layout.new_images(x, shape) if with_slope else None
    maps, outs = groups_first(x, grid.groups), groups_first(out, grid.groups)
    slopes = None if slope is None else groups_first(slope, grid.groups)
    matrices = _mixing_matrices(weight, grid.groups)
    for branch in layout.branches:
        part = branch.groups
        mixed = _mix(matrices[part], branch.rows.spread(maps[part]), grid.columns.taps)
        branch.columns.gather(mixed, outs[part], None if slopes is None else slopes[part])
    return out, slope


def _gradients(
    x: Tensor,
    weight: Tensor,
    grad: Tensor,
    layout: Layout,
    *,
    needs_weight: bool,
    with_slope: bool,
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Gradients of x and, if asked for, of the weight.

    With ``with_slope`` also the slope of x's gradient in the rate along the rows' axis: its inner
    product with x is the rows' part of the rate's gradient, because the layer is linear in x.
    """
    grid = layout.grid
    grad_x = layout.new_images(x, x.shape)
    slope = layout.new_images(x, x.shape) if with_slope else None
    maps, grads = groups_first(x, grid.groups), groups_first(grad, grid.groups)
    grad_maps = groups_first(grad_x, grid.groups)
    slopes = None if slope is None else groups_first(slope, grid.groups)
    matrices = _mixing_matrices(weight, grid.groups)
    products = torch.full_like(matrices, math.nan) if needs_weight else None
    for branch in layout.branches:
        part = branch.groups
        spread = branch.columns.transposed.spread(grads[part])
        mixed = _mix(matrices[part].transpose(1, 2), spread, grid.rows.taps)
        branch.rows.transposed.gather(
            mixed, grad_maps[part], None if slopes is None else slopes[part]
        )
        del mixed  # its memory serves the copies below
        if products is not None:
            copies = branch.rows.spread(maps[part])
            torch.bmm(_matrix(spread), _matrix(copies).transpose(1, 2), out=products[part])
    grad_weight = None if products is None else _as_weight(products, weight, grid.groups)
    return grad_x.to(x.dtype), grad_weight, slope


def _matrix(copies: Tensor) -> Float[Tensor, "groups taps_and_channels pixels"]:
    """Copies (group, tap, channel, batch, height, width) as one matrix for each group."""
    return copies.flatten(3).flatten(1, 2)


def _mix(matrix: Tensor, copies: Tensor, taps: int) -> Tensor:
    """Multiply the (tap, channel) rows of every group's copies by that group's matrix."""
    mixed = torch.bmm(matrix, _matrix(copies))
    return mixed.view(mixed.shape[0], taps, mixed.shape[1] // taps, *copies.shape[3:])


def _mixing_matrices(weight: Tensor, groups: int) -> Tensor:
    """The weight as (group, column tap and output channel, row tap and input channel)."""
    by_group = torch.unflatten(weight, 0, (groups, -1))  # group, out, in, row tap, column tap
    return by_group.permute(0, 4, 1, 3, 2).flatten(3).flatten(1, 2)


def _as_weight(matrix: Tensor, weight: Tensor, groups: int) -> Tensor:
    """The inverse of ``_mixing_matrix``, in the shape of the weight."""
    inputs, height, width = weight.shape[1:]
    outputs = weight.shape[0] // groups
    split = matrix.view(groups, width, outputs, height, inputs)
    return split.permute(0, 2, 4, 3, 1).reshape(weight.shape)


def _inner_products(a: Tensor, b: Tensor, branches: int) -> Float[Tensor, " branches"]:
    """Sum of products of two sets of images over each branch's channels."""
    dtype = accurate_dtype(a.dtype)
    products = torch.linalg.vecdot(a.flatten(2).to(dtype), b.flatten(2).to(dtype))
    return torch.unflatten(products, 1, (branches, -1)).sum((0, 2))
