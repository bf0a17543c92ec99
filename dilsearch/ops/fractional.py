"""Convolution at real-valued dilation rates, with exact gradients for everything it reads.

The face of the op: it checks its arguments, brings them into one form, and leaves rates that are
plain integers and need no slope to torch's own convolution.
"""

from collections.abc import Sequence
from typing import TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor
from torch.autograd import forward_ad

from dilsearch.ops import on_gpu
from dilsearch.ops.arguments import (
    FORMS,
    Form,
    PerAxis,
    check_padding_mode,
    check_rate,
    check_tensors,
    read_axes,
    read_upper,
)
from dilsearch.ops.plain import plain_convolution
from dilsearch.ops.rates import read_rates
from dilsearch.ops.registered import as_numbers, fractional_conv

Upper: TypeAlias = float | Sequence[float] | Sequence[Sequence[float]] | Tensor | None
Rate: TypeAlias = Float[Tensor, ""] | Float[Tensor, " rates"] | Float[Tensor, "rates axes"]


def fractional_conv1d(
    x: Float[Tensor, "*batch in_channels length"],
    weight: Float[Tensor, "out_channels in_channels_per_group kernel"],
    bias: Float[Tensor, " out_channels"] | None,
    rate: Rate,
    *,
    stride: PerAxis = 1,
    padding: PerAxis | str = 0,
    dilation: PerAxis = 1,
    groups: int = 1,
    padding_mode: str = "zeros",
    upper: Upper = None,
    causal: bool = False,
) -> Float[Tensor, "*batch out_channels out_length"]:
    """``fractional_conv2d`` over one axis, such as time.

    Args:
        x: Sequences, or one.
        weight: Kernels.
        bias: Added to each output channel, or None.
        rate: Distance between taps; as for images.
        stride: Samples between outputs.
        padding: Of the convolution replaced, in samples, or 'same' or 'valid'.
        dilation: Of the convolution replaced.
        groups: Channel groups.
        padding_mode: What lies beyond the ends.
        upper: Largest rate allowed.
        causal: The last tap stays in place, not the middle one, so that a growing rate reaches
            further into the past alone. For a convolution that is padded at its start only, or
            at both ends and cropped behind.

    Returns:
        The outputs.

    Raises:
        OpError: If the arguments do not fit together.
    """
    return _fractional_conv(
        1, x, weight, bias, rate, upper, stride, padding, dilation, groups, padding_mode, causal
    )


def fractional_conv2d(
    x: Float[Tensor, "*batch in_channels height width"],
    weight: Float[Tensor, "out_channels in_channels_per_group kernel_height kernel_width"],
    bias: Float[Tensor, " out_channels"] | None,
    rate: Rate,
    *,
    stride: PerAxis = 1,
    padding: PerAxis | str = 0,
    dilation: PerAxis = 1,
    groups: int = 1,
    padding_mode: str = "zeros",
    upper: Upper = None,
) -> Float[Tensor, "*batch out_channels out_height out_width"]:
    """A convolution whose taps are ``rate`` pixels apart, ``rate`` being a number to learn.

    It stands for ``F.conv2d(x, weight, bias, stride, padding, dilation, groups)``, and these
    settings fix the output grid: the anchor, the tap at index (k - 1) // 2 of each axis, stays
    where theirs is while the others move with the rate. Between pixels it samples bilinearly. At an
    integer rate it equals the plain convolution of that dilation (padded to the same grid).

    At an integer rate the slope in the rate jumps. The one given is towards larger rates, or,
    where ``rate >= upper``, towards smaller ones, so that a rate resting on its limit can leave it.
    A rate that is not a finite number makes its outputs NaN, and so may an infinite pixel. But for
    the kernels on a GPU, rates are read on the host.

    Args:
        x: Images, or one image; float32, float64, bfloat16 or float16.
        weight: Kernels of any size.
        bias: Added to each output channel, or None.
        rate: Distance between taps in pixels. Shape () is one for all. Shape (n,) is one for each
            branch, the branches being n equal runs of channel groups, or, where n does not divide
            the groups, one for each of n input channels. A second dimension tells height and width
            apart: (1, 2), (branches, 2) or (in_channels, 2).
        stride: Pixels between outputs, one or (height, width).
        padding: Of the convolution replaced, in pixels, or 'same' or 'valid'.
        dilation: Of the convolution replaced; it only decides the output grid.
        groups: Channel groups, a multiple of the number of branches.
        padding_mode: What lies beyond the image, as far as the taps reach: 'zeros', or copies of
            its pixels by 'reflect', 'replicate' or 'circular'.
        upper: Largest rate allowed: one, or one for each rate; None for no limit.

    Returns:
        The outputs, in the type of ``x``, or of autocast where it is active.

    Raises:
        OpError: If the arguments do not fit together, a tap reaches further than the padding mode
            can go, or a derivative is asked for by ``torch.func`` or forwards.
        RuntimeError: If its gradients are themselves differentiated.

    Source: the sampling is RegSeg's deformable search (Gao 2022) and Learning Dilation Factors'
    Eq. 3, with each tap's own fractions along both axes.
    """
    return _fractional_conv(
        2, x, weight, bias, rate, upper, stride, padding, dilation, groups, padding_mode, False
    )


def fractional_conv3d(
    x: Float[Tensor, "*batch in_channels depth height width"],
    weight: Float[Tensor, "out_channels in_channels_per_group k_depth k_height k_width"],
    bias: Float[Tensor, " out_channels"] | None,
    rate: Rate,
    *,
    stride: PerAxis = 1,
    padding: PerAxis | str = 0,
    dilation: PerAxis = 1,
    groups: int = 1,
    padding_mode: str = "zeros",
    upper: Upper = None,
) -> Float[Tensor, "*batch out_channels out_depth out_height out_width"]:
    """``fractional_conv2d`` over three axes; it samples trilinearly.

    Args:
        x: Volumes, or one.
        weight: Kernels.
        bias: Added to each output channel, or None.
        rate: Distance between taps in voxels; as for images, axes being depth, height and width.
        stride: Voxels between outputs.
        padding: Of the convolution replaced, in voxels, or 'same' or 'valid'.
        dilation: Of the convolution replaced.
        groups: Channel groups.
        padding_mode: What lies beyond the volume.
        upper: Largest rate allowed.

    Returns:
        The outputs.

    Raises:
        OpError: If the arguments do not fit together.
    """
    return _fractional_conv(
        3, x, weight, bias, rate, upper, stride, padding, dilation, groups, padding_mode, False
    )


def _fractional_conv(
    axes_count: int,
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    rate: Tensor,
    upper: Upper,
    stride: PerAxis,
    padding: PerAxis | str,
    dilation: PerAxis,
    groups: int,
    padding_mode: str,
    causal: bool,
) -> Tensor:
    form = FORMS[axes_count]
    x, weight, bias = _autocast(x, weight, bias)
    check_tensors(form, x, weight, bias, groups)
    check_rate(form, rate, groups, weight.shape[1] * groups, x.device)
    check_padding_mode(form, padding_mode)
    limits = read_upper(form, upper, rate)
    axes = read_axes(
        form, x, weight, stride=stride, padding=padding, dilation=dilation, causal=causal
    )
    _refuse_transforms(form, (x, weight, bias, rate))
    images = x if x.dim() == axes_count + 2 else x.unsqueeze(0)
    table = _as_table(rate)
    bounds = None if limits is None or limits.dim() == 0 else _as_table(limits)
    bounds = limits if bounds is None else bounds
    with_slope = torch.is_grad_enabled() and rate.requires_grad
    out = None
    is_readable = not (_is_traced(table) or on_gpu.takes(images, padding_mode))
    if not with_slope and padding_mode == "zeros" and is_readable:
        rates = read_rates(table, None, axes=axes_count, groups=groups)
        if rates.are_plain and not rates.per_channel:
            out = plain_convolution(images, weight, bias, rates, axes, groups)
    if out is None:
        out, _ = fractional_conv(
            images,
            weight,
            bias,
            table,
            bounds,
            as_numbers(axes),
            groups,
            padding_mode,
            with_slope,
        )
    return out if x.dim() == axes_count + 2 else out.squeeze(0)


def _refuse_transforms(form: Form, tensors: Sequence[Tensor | None]) -> None:
    """Refuse derivatives that operators do not pass on: they would be zero without a word.

    Raises:
        OpError: Under ``torch.func.grad`` or ``jvp``, or with dual tensors.
    """
    if torch.compiler.is_compiling():
        return
    for tensor in tensors:
        if tensor is None:
            continue
        is_tracked = torch._C._functorch.is_gradtrackingtensor(tensor)
        has_tangent = (
            forward_ad._current_level >= 0 and forward_ad.unpack_dual(tensor).tangent is not None  # type: ignore[no-untyped-call]
        )
        if is_tracked or has_tangent:
            raise form.error(
                "it has no derivative under torch.func.grad, torch.func.jvp or forward-mode "
                "differentiation. Use torch.autograd.grad or backward()."
            )


def _as_table(rate: Tensor) -> Float[Tensor, "rows columns"]:
    """The rates with one column, or one for each axis."""
    return rate if rate.dim() == 2 else rate.reshape(-1, 1)


def _is_traced(rates: Tensor) -> bool:
    """Whether rates have no numbers to read: while a graph is made, or of a fake or meta tensor."""
    return torch.compiler.is_compiling() or rates.is_meta or isinstance(rates, FakeTensor)


def _autocast(
    x: Tensor, weight: Tensor, bias: Tensor | None
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Under autocast, the tensors in its type, as ``F.conv2d`` would take them."""
    device = x.device.type
    if x.is_meta or not torch.is_autocast_enabled(device):
        return x, weight, bias
    dtype = torch.get_autocast_dtype(device)

    def cast(tensor: Tensor) -> Tensor:
        eligible = tensor.is_floating_point() and tensor.dtype != torch.float64
        return tensor.to(dtype) if eligible else tensor

    return cast(x), cast(weight), None if bias is None else cast(bias)
