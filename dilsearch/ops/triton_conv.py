"""Fractional convolution on a GPU: one Triton kernel forwards, two or three backwards.

Nothing is read back from the device, rates included, and equal inputs give equal bits: partial
sums go to a buffer and are added in a fixed order. Images are made contiguous first: the kernels
gain their speed from neighbouring threads reading neighbouring columns, which a channels-last image
does not offer. Sums are in float32, of float64 images in float64.

Triton is imported by the first call that launches something, so that this module needs none.
"""

import importlib.util
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from dilsearch.ops.taps import Axis

# Enough programs for every processor of a large GPU to hold several.
_PROGRAMS = 1024
# Fused multiplications and additions are Triton's default today; asking keeps them, unwarned.
_LAUNCH = {"num_warps": 4, "enable_fp_fusion": True}
# Of the products that per-channel rates need for the gradient of the image, at a time.
_BUFFER_BYTES = 256 * 2**20


def is_available() -> bool:
    """Whether Triton is installed; says nothing about a GPU."""
    return importlib.util.find_spec("triton") is not None


def convolve(
    x: Float[Tensor, "batch in_channels height width"],
    weight: Float[Tensor, "out_channels in_channels_per_group kernel_height kernel_width"],
    bias: Float[Tensor, " out_channels"] | None,
    rates: Float[Tensor, "in_channels 2"],
    uppers: Float[Tensor, "in_channels 2"],
    rows: Axis,
    columns: Axis,
    groups: int,
    *,
    uniform: bool = False,
) -> Float[Tensor, "batch out_channels out_height out_width"]:
    """Convolve with every tap at its channel's real-valued rates.

    Args:
        x: Images.
        weight: Kernels of any size, of the images' type.
        bias: Added to each out channel, or None; of the images' type.
        rates: Row and column rate of each in channel, in float32. Outputs that depend on a channel
            whose rates are not all finite are NaN.
        uppers: From which rate on a tap looks inward at whole distances, in float32; inf for none.
        rows: Where the rows of the output lie.
        columns: Where the columns of the output lie.
        groups: Channel groups.
        uniform: All channels of a group have the same rates: the same result, sooner.

    Returns:
        The outputs, contiguous and of the images' type.
    """
    images, out_channels = x.shape[0], weight.shape[0]
    out = x.new_empty((images, out_channels, rows.size_out, columns.size_out))
    if out.numel() == 0 or x.numel() == 0:
        return out.zero_()
    from dilsearch.ops.triton_kernels import convolve_kernel

    shape = _shape(weight, groups, rows, columns)
    blocks = _blocks(x.dtype, shape["out_channels"], shape["in_channels"], out[0, 0].numel())
    same = uniform or shape["in_channels"] == 1
    grid = (
        images * _ceil(out[0, 0].numel(), blocks["block_pixels"]),
        groups * _ceil(shape["out_channels"], blocks["block_out"]),
    )
    with torch.cuda.device_of(x):  # type: ignore[no-untyped-call]
        convolve_kernel[grid](
            x.contiguous(),
            _by_tap(weight),
            x if bias is None else bias.contiguous(),
            rates.contiguous(),
            uppers.contiguous(),
            out,
            groups,
            *_places(rows, columns),
            **shape,
            has_bias=bias is not None,
            rates_per_block=1 if same else blocks["block_in"],
            **blocks,
            **_LAUNCH,
        )
    return out


def gradients(
    grad: Float[Tensor, "batch out_channels out_height out_width"],
    x: Float[Tensor, "batch in_channels height width"],
    weight: Float[Tensor, "out_channels in_channels_per_group kernel_height kernel_width"],
    rates: Float[Tensor, "in_channels 2"],
    uppers: Float[Tensor, "in_channels 2"],
    rows: Axis,
    columns: Axis,
    groups: int,
    *,
    uniform: bool,
    needs: tuple[bool, bool, bool],
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """Gradients of the image, the weight and the rates.

    Args:
        grad: Gradient of the outputs, of the images' type.
        x: As given to ``convolve``, like the following.
        weight: Kernels.
        rates: Row and column rate of each in channel.
        uppers: Limits of the rates.
        rows: Where the rows of the output lie.
        columns: Where the columns of the output lie.
        groups: Channel groups.
        uniform: All channels of a group have the same rates: a must for the faster way, which
            would give a wrong gradient of the image otherwise.
        needs: Which of the three are asked for; the others are None.

    Returns:
        Gradients of x and weight in their types and of the rates in float32, for each in channel
        and axis (an axis of one tap has none).
    """
    needs_x, needs_weight, needs_rates = needs
    if grad.numel() == 0 or x.numel() == 0:
        return (
            torch.zeros_like(x) if needs_x else None,
            torch.zeros_like(weight) if needs_weight else None,
            torch.zeros_like(rates) if needs_rates else None,
        )
    grad, x = grad.contiguous(), x.contiguous()
    rates, uppers = rates.contiguous(), uppers.contiguous()
    same = uniform or weight.shape[1] == 1
    grad_x = grad_weight = grad_rates = None
    with torch.cuda.device_of(x):  # type: ignore[no-untyped-call]
        if needs_x:
            of_image = _image_gradient if same else _image_gradient_by_channel
            grad_x = of_image(grad, x, weight, rates, uppers, rows, columns, groups)
        if needs_weight or needs_rates:
            grad_weight, grad_rates = _parameter_gradients(
                grad,
                x,
                weight,
                rates,
                uppers,
                rows,
                columns,
                groups,
                uniform=same,
                needs=(needs_weight, needs_rates),
            )
    return grad_x, grad_weight, grad_rates


def _image_gradient(
    grad: Tensor,
    x: Tensor,
    weight: Tensor,
    rates: Tensor,
    uppers: Tensor,
    rows: Axis,
    columns: Axis,
    groups: int,
) -> Tensor:
    from dilsearch.ops.triton_kernels import image_gradient_kernel

    shape = _shape(weight, groups, rows, columns)
    # The roles of in and out channels are swapped: the product sums over the latter.
    blocks = _blocks(x.dtype, shape["in_channels"], shape["out_channels"], x[0, 0].numel())
    blocks["block_in"], blocks["block_out"] = blocks["block_out"], blocks["block_in"]
    grid = (
        len(x) * _ceil(x[0, 0].numel(), blocks["block_pixels"]),
        groups * _ceil(shape["in_channels"], blocks["block_in"]),
    )
    grad_x = torch.empty_like(x)
    image_gradient_kernel[grid](
        grad,
        _by_tap(weight),
        rates,
        uppers,
        grad_x,
        groups,
        *_places(rows, columns),
        **shape,
        **blocks,
        **_LAUNCH,
    )
    return grad_x


def _image_gradient_by_channel(
    grad: Tensor,
    x: Tensor,
    weight: Tensor,
    rates: Tensor,
    uppers: Tensor,
    rows: Axis,
    columns: Axis,
    groups: int,
) -> Tensor:
    """The products are kept in the images' type, as an unfolding convolution would keep them.

    They need as many numbers as there are taps for every in channel and output, so that they are
    made for as many images at a time as fit a fixed buffer.
    """
    from dilsearch.ops.triton_kernels import collect_kernel

    shape = _shape(weight, groups, rows, columns)
    del shape["out_channels"]
    blocks = _blocks(x.dtype, 1, shape["in_channels"], x[0, 0].numel())
    del blocks["block_out"]
    blocks["block_in"] = 8  # no product, and all taps' loads are in flight at once
    by_group = torch.unflatten(weight, 0, (groups, -1))
    matrix = by_group.permute(0, 3, 4, 2, 1).flatten(1, 3)
    grads = torch.unflatten(grad.flatten(2), 1, (groups, -1))
    per_image = matrix[:, :, 0].numel() * grads.shape[-1] * x.element_size()
    at_a_time = max(1, _BUFFER_BYTES // per_image)
    grad_x = torch.empty_like(x)
    images = range(0, len(x), at_a_time)
    for some, target in ((t[i : i + at_a_time] for t in (grads, grad_x)) for i in images):
        grid = (
            len(target) * _ceil(x[0, 0].numel(), blocks["block_pixels"]),
            groups * _ceil(shape["in_channels"], blocks["block_in"]),
        )
        collect_kernel[grid](
            torch.matmul(matrix, some).contiguous(),
            rates,
            uppers,
            target,
            groups,
            *_places(rows, columns),
            **shape,
            **blocks,
            **_LAUNCH,
        )
    return grad_x


def _parameter_gradients(
    grad: Tensor,
    x: Tensor,
    weight: Tensor,
    rates: Tensor,
    uppers: Tensor,
    rows: Axis,
    columns: Axis,
    groups: int,
    *,
    uniform: bool,
    needs: tuple[bool, bool],
) -> tuple[Tensor | None, Tensor | None]:
    from dilsearch.ops.triton_kernels import parameter_gradient_kernel

    needs_weight, needs_rates = needs
    shape = _shape(weight, groups, rows, columns)
    blocks = _blocks(x.dtype, shape["out_channels"], shape["in_channels"], grad[0, 0].numel())
    taps, out_blocks = rows.taps * columns.taps, _ceil(shape["out_channels"], blocks["block_out"])
    programs = groups * taps * out_blocks * _ceil(shape["in_channels"], blocks["block_in"])
    pixel_blocks = len(x) * _ceil(grad[0, 0].numel(), blocks["block_pixels"])
    splits = min(pixel_blocks, _ceil(_PROGRAMS, programs))
    dtype = torch.float64 if x.dtype == torch.float64 else torch.float32
    by_tap = _by_tap(weight)
    # What is not asked for gets an empty buffer, which the kernel leaves alone.
    weight_parts = x.new_empty((splits * needs_weight, *by_tap.shape), dtype=dtype)
    rate_parts = x.new_empty((splits * needs_rates, taps, out_blocks, x.shape[1], 2), dtype=dtype)
    parameter_gradient_kernel[programs, splits](
        grad,
        x,
        by_tap,
        rates,
        uppers,
        weight_parts,
        rate_parts,
        len(x),
        groups,
        *_places(rows, columns),
        **shape,
        needs_weight=needs_weight,
        needs_rates=needs_rates,
        rates_per_block=1 if uniform else blocks["block_in"],
        **blocks,
        **_LAUNCH,
    )
    grad_weight = grad_rates = None
    if needs_weight:
        grad_weight = weight_parts.sum(0).permute(1, 2, 0).reshape(weight.shape).to(weight.dtype)
    if needs_rates:
        grad_rates = rate_parts.sum((0, 1, 2)).to(rates.dtype)
    return grad_weight, grad_rates


def _by_tap(weight: Tensor) -> Float[Tensor, "taps out_channels in_channels_per_group"]:
    """The weight with each tap's matrix in one piece."""
    return weight.flatten(2).permute(2, 0, 1).contiguous()


def _places(rows: Axis, columns: Axis) -> tuple[int, ...]:
    """The sizes and anchors in the order in which every kernel takes them."""
    return (
        rows.size_in,
        columns.size_in,
        rows.size_out,
        columns.size_out,
        rows.anchor,
        columns.anchor,
        rows.span,
        columns.span,
    )


def _shape(weight: Tensor, groups: int, rows: Axis, columns: Axis) -> dict[str, Any]:
    """What a kernel is compiled for: channels of a group, taps and strides."""
    return {
        "in_channels": weight.shape[1],
        "out_channels": weight.shape[0] // groups,
        "row_taps": rows.taps,
        "column_taps": columns.taps,
        "row_middle": rows.middle,
        "column_middle": columns.middle,
        "row_stride": rows.stride,
        "column_stride": columns.stride,
    }


def _blocks(dtype: torch.dtype, kept: int, summed: int, pixels: int) -> dict[str, Any]:
    """Sizes of what one program holds: powers of two, 16 at least, for the matrix units' sake.

    ``kept`` channels are the rows of the product, ``summed`` ones are blended in registers, four
    pixels at a time, which limits them. Single precision has no matrix units, and its products
    are unrolled, so that larger blocks would only make longer programs.
    """
    import triton.language as tl

    half = dtype.itemsize == 2
    return {
        "block_out": min(_power_of_two(kept), 64 if half else 32),
        "block_in": min(_power_of_two(summed), 32 if half else 16),
        "block_pixels": min(_power_of_two(pixels), 64),
        "accumulator": tl.float64 if dtype == torch.float64 else tl.float32,
    }


def _power_of_two(size: int) -> int:
    """The next power of two, 16 at least."""
    return max(16, 1 << (size - 1).bit_length())


def _ceil(size: int, block: int) -> int:
    return -(-size // block)
