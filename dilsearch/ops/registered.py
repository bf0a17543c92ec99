"""The fractional convolution as operators of torch, so that everything in torch can carry it.

`torch.compile` and `torch.export` keep an operator whole, whatever it does inside: here it reads
rates on the host, which no graph could. Activation checkpointing, hooks on saved tensors and
distributed training work because the gradient is registered with it. How it is computed is chosen
here, by what the tensors are.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from dilsearch.ops import eager, on_gpu
from dilsearch.ops.extension import Extension
from dilsearch.ops.rates import read_rates
from dilsearch.ops.route import Route
from dilsearch.ops.taps import Axis

GRID_NUMBERS = 6
"""Whole numbers that an axis is passed as, since operators take no objects."""


def as_numbers(axes: Sequence[Axis]) -> list[int]:
    """The axes as the operators take them."""
    return [
        number
        for axis in axes
        for number in (axis.taps, axis.stride, *axis.padding, axis.dilation, axis.middle)
    ]


@torch.library.custom_op("dilsearch::fractional_conv", mutates_args=())
def fractional_conv(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    table: Tensor,
    upper: Tensor | None,
    grid: list[int],
    groups: int,
    padding_mode: str,
    with_slope: bool,
) -> tuple[Tensor, Tensor]:
    """Outputs, and what the rates' gradient needs of them: their slope, or an empty tensor."""
    axes = _axes(x, grid)
    with torch.autocast(x.device.type, enabled=False):
        if on_gpu.takes(x, padding_mode):
            outputs = on_gpu.convolve(x, weight, bias, table, upper, axes, groups)
            return outputs, x.new_empty(0)
        rates = read_rates(table, upper, axes=len(axes), groups=groups)
        longer = Extension.needed(axes, rates, padding_mode)
        outputs, slope = eager.convolve(
            longer.apply(x),
            weight,
            bias,
            longer.rates,
            longer.axes,
            groups,
            Route.of(axes, per_channel=rates.per_channel),  # as the fake one, which knows no rates
            with_slope=with_slope,
        )
    return outputs, x.new_empty(0) if slope is None else slope


@fractional_conv.register_fake
def _(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    table: Tensor,
    upper: Tensor | None,
    grid: list[int],
    groups: int,
    padding_mode: str,
    with_slope: bool,
) -> tuple[Tensor, Tensor]:
    axes = _axes(x, grid)
    outputs = x.new_empty(x.shape[0], weight.shape[0], *(axis.size_out for axis in axes))
    per_channel = groups % table.shape[0] != 0
    sloping = (
        with_slope
        and not on_gpu.takes(x, padding_mode)
        and Route.of(axes, per_channel=per_channel).after is not None
    )
    return outputs, torch.empty_like(outputs) if sloping else x.new_empty(0)


@torch.library.custom_op("dilsearch::fractional_conv_backward", mutates_args=())
def fractional_conv_backward(
    grad: Tensor,
    x: Tensor,
    weight: Tensor,
    table: Tensor,
    upper: Tensor | None,
    slope: Tensor,
    grid: list[int],
    groups: int,
    padding_mode: str,
    needs: list[bool],
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of x, weight and table; an empty tensor for each that is not needed."""
    axes = _axes(x, grid)
    needs_x, needs_weight, needs_rates = needs
    three = (needs_x, needs_weight, needs_rates)
    with torch.autocast(x.device.type, enabled=False):
        if on_gpu.takes(x, padding_mode):
            grad_x, grad_weight, grad_table = on_gpu.gradients(
                grad, x, weight, table, upper, axes, groups, needs=three
            )
        else:
            rates = read_rates(table, upper, axes=len(axes), groups=groups)
            longer = Extension.needed(axes, rates, padding_mode)
            grad_x, grad_weight, grad_table = eager.gradients(
                grad,
                longer.apply(x),
                weight,
                slope if slope.numel() else None,
                longer.rates,
                longer.axes,
                groups,
                Route.of(axes, per_channel=rates.per_channel),
                needs=three,
            )
            grad_x = None if grad_x is None else longer.back(grad_x).to(x.dtype)
    if grad_table is not None and table.shape[1] == 1:
        grad_table = grad_table.sum(1, keepdim=True)
    return (
        x.new_empty(0) if grad_x is None else grad_x,
        x.new_empty(0) if grad_weight is None else grad_weight,
        x.new_empty(0) if grad_table is None else grad_table.to(table.dtype),
    )


@fractional_conv_backward.register_fake
def _(
    grad: Tensor,
    x: Tensor,
    weight: Tensor,
    table: Tensor,
    upper: Tensor | None,
    slope: Tensor,
    grid: list[int],
    groups: int,
    padding_mode: str,
    needs: list[bool],
) -> tuple[Tensor, Tensor, Tensor]:
    first, second, third = (
        torch.empty_like(like, memory_format=torch.contiguous_format) if needed else x.new_empty(0)
        for like, needed in zip((x, weight, table), needs, strict=True)
    )
    return first, second, third


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    x, weight, _bias, table, upper, *ctx.settings, _with_slope = inputs
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(x, weight, table, upper, output[1])


def _differentiate(ctx: Any, grad: Tensor | None, _: Tensor | None) -> tuple[Tensor | None, ...]:
    nothing = (None,) * 4
    if grad is None:
        return (None, None, None, None, None, *nothing)
    x, weight, table, upper, slope = ctx.saved_tensors
    needs_x, needs_weight, needs_bias, needs_rates, *_ = ctx.needs_input_grad
    needs = [needs_x, needs_weight, needs_rates]
    found = fractional_conv_backward(grad, x, weight, table, upper, slope, *ctx.settings, needs)
    grad_x, grad_weight, grad_table = (
        each if needed else None for each, needed in zip(found, needs, strict=True)
    )
    grad_bias = grad.sum([0, *range(2, grad.dim())]) if needs_bias else None
    return (grad_x, grad_weight, grad_bias, grad_table, None, *nothing)


fractional_conv.register_autograd(_differentiate, setup_context=_keep)


def _axes(x: Tensor, grid: Sequence[int]) -> tuple[Axis, ...]:
    axes = []
    for size, start in zip(x.shape[2:], range(0, len(grid), GRID_NUMBERS), strict=True):
        taps, stride, before, after, dilation, middle = grid[start : start + GRID_NUMBERS]
        axes.append(Axis(size, taps, stride, (before, after), dilation, middle))
    return tuple(axes)


def _flops(outputs: Sequence[int], weight: Sequence[int]) -> int:
    """Those of the plain convolution: a multiplication and an addition for each weight."""
    count = 2 * outputs[0] * outputs[1]
    for size in (*outputs[2:], *weight[1:]):
        count *= size
    return count


@register_flop_formula(torch.ops.dilsearch.fractional_conv)
def _(x: Any, weight: Any, *_: Any, out_shape: Any = None, **__: Any) -> int:
    return _flops(out_shape[0], weight)


@register_flop_formula(torch.ops.dilsearch.fractional_conv_backward)
def _(grad: Any, x: Any, weight: Any, *rest: Any, out_shape: Any = None, **_: Any) -> int:
    needs_x, needs_weight, _needs_rates = rest[-1]
    return _flops(grad, weight) * (int(needs_x) + int(needs_weight))
