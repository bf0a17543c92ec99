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


_WORKSPACE_BYTES = 1 << 40


@dataclass(frozen=True, slots=True)
class Branch:
    """A run of groups with one rate: where its taps fall on each axis."""

    groups: slice
    rows: Shifts
    columns: Shifts


@dataclass(frozen=True, slots=True)
class Layout:
    """Everything about one call but its tensors.

    Attributes:
        grid: The convolution replaced.
        branches: One for each rate; None where the rate is not a finite number, which makes the
            branch's values and gradients NaN.
    """

    grid: Grid
    branches: tuple[Branch | None, ...]

    @classmethod
    def at(cls, grid: Grid, rates: Sequence[float], leftward: Sequence[bool]) -> "Layout":
        """The layout at these rates, one for each branch."""
        size = grid.groups // len(rates)

        def branch(index: int) -> Branch | None:
            if not math.isfinite(rates[index]):
                return None
            left = leftward[index]
            rows, columns = (
                axis.taps_at(rates[index], leftward=left) for axis in (grid.rows, grid.columns)
            )
            return Branch(
                slice(index * size, (index + 1) * size),
                Shifts(-2, rows, grid.rows.size_in, grid.rows.size_out, grid.rows.stride),
                Shifts(
                    -1, columns, grid.columns.size_in, grid.columns.size_out, grid.columns.stride
                ),
            )

        return cls(grid, tuple(branch(index) for index in range(len(rates))))

    def parts(self, group_bytes: int):
        n = max(1, _WORKSPACE_BYTES // max(group_bytes, 1))
        for index, b in enumerate(self.branches):
            step = -(-(b.groups.stop - b.groups.start) // n)  # parts
            k = -(-(b.groups.stop - b.groups.start) // n)
            size = -(-(b.groups.stop - b.groups.start) // k)
            for g in range(b.groups.start, b.groups.stop, size):
                yield index, slice(g, min(g + size, b.groups.stop)), b


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
        grid = layout.grid
        dtype = accurate_dtype(x.dtype)
        shape = (x.shape[0], weight.shape[0], grid.rows.size_out, grid.columns.size_out)
        out = x.new_empty(shape, dtype=dtype)
        slope = torch.empty_like(out) if with_slope else None
        ins, outs = groups_first(x, grid.groups), groups_first(out, grid.groups)
        slopes = None if slope is None else groups_first(slope, grid.groups)
        with torch.autocast(x.device.type, enabled=False):
            matrix = _mixing_matrix(weight, grid.groups)
            for _, part, branch in layout.parts(workspace(x, weight, grid)):
                mixed = _mix(matrix[part], branch.rows.spread(ins[part]), grid.columns.taps)
                branch.columns.gather(mixed, outs[part], None if slopes is None else slopes[part])
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
        grid = layout.grid
        needs_x, needs_weight, needs_bias, needs_rate, *_ = ctx.needs_input_grad
        grad_x = grad_weight = grad_bias = grad_rate = None
        height, width = grid.rows.taps, grid.columns.taps
        dtype = accurate_dtype(x.dtype)
        with torch.autocast(x.device.type, enabled=False):
            ins, grads = groups_first(x, grid.groups), groups_first(grad, grid.groups)
            grad_x = x.new_empty(x.shape, dtype=dtype)
            grad_ins = groups_first(grad_x, grid.groups)
            matrix = _mixing_matrix(weight, grid.groups).transpose(1, 2)
            products = x.new_zeros(grid.groups, matrix.shape[2], matrix.shape[1])
            if needs_rate:
                column_slopes = groups_first(column_slope, grid.groups)
                sums = [[] for _ in layout.branches]
            for index, part, branch in layout.parts(workspace(x, weight, grid)):
                spread = branch.columns.transposed.spread(grads[part])
                if needs_x or needs_rate:
                    mixed = _mix(matrix[part], spread, height)
                    row_slope = torch.empty_like(grad_ins[part]) if needs_rate else None
                    branch.rows.transposed.gather(mixed, grad_ins[part], row_slope)
                    del mixed
                if needs_rate:
                    sums[index] += [
                        _inner_product(ins[part], row_slope),
                        _inner_product(grads[part], column_slopes[part]),
                    ]
                if needs_weight:
                    copies = branch.rows.spread(ins[part])
                    torch.bmm(_matrix(spread), _matrix(copies).transpose(1, 2), out=products[part])
            grad_x = grad_x.to(x.dtype)
            if needs_weight:
                grad_weight = _as_weight(products, weight, grid.groups)
            if needs_bias:
                grad_bias = grad.sum((0, 2, 3))
            if needs_rate:
                grad_rate = (
                    torch.stack([sum(s) for s in sums]).to(ctx.rate_like).view_as(ctx.rate_like)
                )
        return grad_x, grad_weight, grad_bias, grad_rate, None, None


def workspace(x, weight, grid):
    pixels = x.shape[0] * x.shape[2] * x.shape[3]
    return (
        x.element_size()
        * (weight.shape[1] * grid.rows.taps + weight.shape[0] // grid.groups * grid.columns.taps)
        * pixels
    )


def _matrix(copies: Tensor) -> Float[Tensor, "groups taps_and_channels pixels"]:
    """Copies (group, tap, channel, batch, height, width) as one matrix for each group."""
    return copies.flatten(3).flatten(1, 2)


def _mix(matrix: Tensor, copies: Tensor, taps: int) -> Tensor:
    """Multiply the (tap, channel) rows of every group's copies by that group's matrix."""
    mixed = torch.bmm(matrix, _matrix(copies))
    return mixed.view(mixed.shape[0], taps, mixed.shape[1] // taps, *copies.shape[3:])


def _mixing_matrix(weight: Tensor, groups: int) -> Tensor:
    """The weight as (group, column tap and output channel, row tap and input channel)."""
    by_group = torch.unflatten(weight, 0, (groups, -1))  # group, out, in, row tap, column tap
    return by_group.permute(0, 4, 1, 3, 2).flatten(3).flatten(1, 2)


def _as_weight(matrix: Tensor, weight: Tensor, groups: int) -> Tensor:
    """The inverse of ``_mixing_matrix``, in the shape of the weight."""
    inputs, height, width = weight.shape[1:]
    outputs = weight.shape[0] // groups
    split = matrix.view(groups, width, outputs, height, inputs)
    return split.permute(0, 2, 4, 3, 1).reshape(weight.shape)


def _inner_product(a: Tensor, b: Tensor) -> Float[Tensor, ""]:
    """Sum of products of two sets of maps."""
    dtype = accurate_dtype(a.dtype)
    return torch.linalg.vecdot(a.to(dtype).flatten(3), b.to(dtype).flatten(3)).sum()
