"""Triton kernels of fractional convolution in two dimensions. Importing this needs Triton.

All four kernels read an image at real-valued places through one function, ``sample``. Forwards an
output reads the image at its taps; backwards a pixel reads the outputs' gradients at the mirrored
taps, so that no kernel writes to one place twice and none needs atomic operations. Tensors are
contiguous, batch first and columns last, so that neighbouring threads read neighbouring pixels.

Each kernel spells out all its arguments, which is the only form that Triton compiles.
"""

# Why no_type_check, and which of Triton's functions may be used: see ``triton_sampling``.
from typing import no_type_check

import triton
import triton.language as tl

from dilsearch.ops.triton_sampling import add, load_rates, sample


@triton.jit(do_not_specialize=["row_anchor", "column_anchor", "row_span", "column_span"])
@no_type_check
def convolve_kernel(
    x,
    weight,  # (taps, out channels, in channels of a group)
    bias,
    rates,
    uppers,
    out,
    groups,
    height,
    width,
    out_height,
    out_width,
    row_anchor,
    column_anchor,
    row_span,
    column_span,
    in_channels: tl.constexpr,  # of a group, as are the out channels
    out_channels: tl.constexpr,
    row_taps: tl.constexpr,
    column_taps: tl.constexpr,
    row_middle: tl.constexpr,
    column_middle: tl.constexpr,
    row_stride: tl.constexpr,
    column_stride: tl.constexpr,
    has_bias: tl.constexpr,
    rates_per_block: tl.constexpr,  # 1 where all channels of a group have the same
    block_out: tl.constexpr,
    block_in: tl.constexpr,
    block_pixels: tl.constexpr,
    accumulator: tl.constexpr,
):
    """Outputs of one image, block of out channels and block of pixels: a product for each tap."""
    pixels_total = out_height * out_width
    pixel_blocks = (pixels_total + block_pixels - 1) // block_pixels
    out_blocks: tl.constexpr = (out_channels + block_out - 1) // block_out
    in_blocks: tl.constexpr = (in_channels + block_in - 1) // block_in
    image = (tl.program_id(0) // pixel_blocks).to(tl.int64)
    group = tl.program_id(1) // out_blocks
    pixels = (tl.program_id(0) % pixel_blocks) * block_pixels + tl.arange(0, block_pixels)
    outs = (tl.program_id(1) % out_blocks) * block_out + tl.arange(0, block_out)
    pixels_kept = (pixels < pixels_total)[None, :]
    outs_kept = outs < out_channels
    all_outs = group * out_channels + outs

    row_base = (row_anchor + row_stride * (pixels // out_width))[None, :]
    column_base = (column_anchor + column_stride * (pixels % out_width))[None, :]
    first = x + (image * groups + group) * in_channels * height * width
    zero = tl.full((1, 1), 0, tl.int32)
    total = tl.full((block_out, block_pixels), 0, accumulator)
    for step in range(row_taps * column_taps * in_blocks):
        tap = step // in_blocks
        start = step % in_blocks * block_in
        ins = start + tl.arange(0, block_in)
        ins_kept = ins < in_channels
        rated = start + tl.arange(0, rates_per_block)
        row_rate, column_rate, row_upper, column_upper = load_rates(
            rates, uppers, group * in_channels + rated, rated < in_channels
        )
        value = sample(
            first + ins.to(tl.int64)[:, None] * height * width,
            ins_kept[:, None] & pixels_kept,
            row_base,
            column_base,
            zero + (tap // column_taps - row_middle),
            zero + (tap % column_taps - column_middle),
            row_rate,
            column_rate,
            row_upper,
            column_upper,
            row_span,
            column_span,
            height,
            width,
            row_taps > 1,
            column_taps > 1,
            1,
            1,
            accumulator,
        )[0]
        tap_weight = tl.load(
            weight + (tap * groups * out_channels + all_outs)[:, None] * in_channels + ins[None, :],
            mask=outs_kept[:, None] & ins_kept[None, :],
            other=0.0,
        )
        total = tl.dot(
            tap_weight,
            value.to(tap_weight.dtype),
            total,
            input_precision="ieee",
            out_dtype=accumulator,
        )
    if has_bias:
        total += tl.load(bias + all_outs, mask=outs_kept, other=0.0).to(accumulator)[:, None]
    places = (image * groups * out_channels + all_outs)[:, None] * pixels_total + pixels[None, :]
    tl.store(out + places, total.to(out.dtype.element_ty), mask=outs_kept[:, None] & pixels_kept)


@triton.jit(do_not_specialize=["row_anchor", "column_anchor", "row_span", "column_span"])
@no_type_check
def image_gradient_kernel(
    grad,
    weight,  # (taps, out channels, in channels of a group)
    rates,
    uppers,
    grad_x,
    groups,
    height,
    width,
    out_height,
    out_width,
    row_anchor,
    column_anchor,
    row_span,
    column_span,
    in_channels: tl.constexpr,  # of a group, as are the out channels
    out_channels: tl.constexpr,
    row_taps: tl.constexpr,
    column_taps: tl.constexpr,
    row_middle: tl.constexpr,
    column_middle: tl.constexpr,
    row_stride: tl.constexpr,
    column_stride: tl.constexpr,
    block_out: tl.constexpr,
    block_in: tl.constexpr,
    block_pixels: tl.constexpr,
    accumulator: tl.constexpr,
):
    """Gradient of the image where all channels of a group share their rates.

    Then the blend and the sum over out channels commute: each pixel blends the gradients of the
    outputs that read it, and a product with the tap's weights follows.
    """
    pixels_total = height * width
    pixel_blocks = (pixels_total + block_pixels - 1) // block_pixels
    in_blocks: tl.constexpr = (in_channels + block_in - 1) // block_in
    out_blocks: tl.constexpr = (out_channels + block_out - 1) // block_out
    image = (tl.program_id(0) // pixel_blocks).to(tl.int64)
    group = tl.program_id(1) // in_blocks
    pixels = (tl.program_id(0) % pixel_blocks) * block_pixels + tl.arange(0, block_pixels)
    ins = (tl.program_id(1) % in_blocks) * block_in + tl.arange(0, block_in)
    pixels_kept = (pixels < pixels_total)[None, :]
    ins_kept = ins < in_channels

    shared = group * in_channels + tl.arange(0, 1)
    row_rate, column_rate, row_upper, column_upper = load_rates(rates, uppers, shared, shared >= 0)
    row_base = (pixels // width - row_anchor)[None, :]
    column_base = (pixels % width - column_anchor)[None, :]
    first = grad + (image * groups + group) * out_channels * out_height * out_width
    zero = tl.full((1, 1), 0, tl.int32)
    total = tl.full((block_in, block_pixels), 0, accumulator)
    for step in range(row_taps * column_taps * out_blocks):
        tap = step // out_blocks
        start = step % out_blocks * block_out
        outs = start + tl.arange(0, block_out)
        outs_kept = outs < out_channels
        value = sample(
            first + outs.to(tl.int64)[:, None] * out_height * out_width,
            outs_kept[:, None] & pixels_kept,
            row_base,
            column_base,
            zero + (row_middle - tap // column_taps),
            zero + (column_middle - tap % column_taps),
            row_rate,
            column_rate,
            row_upper,
            column_upper,
            row_span,
            column_span,
            out_height,
            out_width,
            row_taps > 1,
            column_taps > 1,
            row_stride,
            column_stride,
            accumulator,
        )[0]
        all_outs = (tap * groups + group) * out_channels + outs
        tap_weight = tl.load(
            weight + all_outs[None, :] * in_channels + ins[:, None],
            mask=ins_kept[:, None] & outs_kept[None, :],
            other=0.0,
        )
        total = tl.dot(
            tap_weight,
            value.to(tap_weight.dtype),
            total,
            input_precision="ieee",
            out_dtype=accumulator,
        )
    all_ins = (image * groups + group) * in_channels + ins
    places = all_ins[:, None] * pixels_total + pixels[None, :]
    tl.store(
        grad_x + places, total.to(grad_x.dtype.element_ty), mask=ins_kept[:, None] & pixels_kept
    )


@triton.jit(do_not_specialize=["row_anchor", "column_anchor", "row_span", "column_span"])
@no_type_check
def collect_kernel(
    products,  # (images, groups, taps, in channels of a group, outputs)
    rates,
    uppers,
    grad_x,
    groups,
    height,
    width,
    out_height,
    out_width,
    row_anchor,
    column_anchor,
    row_span,
    column_span,
    in_channels: tl.constexpr,  # of a group
    row_taps: tl.constexpr,
    column_taps: tl.constexpr,
    row_middle: tl.constexpr,
    column_middle: tl.constexpr,
    row_stride: tl.constexpr,
    column_stride: tl.constexpr,
    block_in: tl.constexpr,
    block_pixels: tl.constexpr,
    accumulator: tl.constexpr,
):
    """Gradient of the image where rates differ in a group, from each tap's weights times grad.

    Each channel blends at its own places, which must follow the sum over out channels.
    """
    pixels_total = height * width
    pixel_blocks = (pixels_total + block_pixels - 1) // block_pixels
    in_blocks: tl.constexpr = (in_channels + block_in - 1) // block_in
    image = (tl.program_id(0) // pixel_blocks).to(tl.int64)
    group = tl.program_id(1) // in_blocks
    pixels = (tl.program_id(0) % pixel_blocks) * block_pixels + tl.arange(0, block_pixels)
    ins = (tl.program_id(1) % in_blocks) * block_in + tl.arange(0, block_in)
    ins_kept = ins < in_channels
    kept = ins_kept[:, None] & (pixels < pixels_total)[None, :]

    row_rate, column_rate, row_upper, column_upper = load_rates(
        rates, uppers, group * in_channels + ins, ins_kept
    )
    row_base = (pixels // width - row_anchor)[None, :]
    column_base = (pixels % width - column_anchor)[None, :]
    first = (image * groups + group) * row_taps * column_taps * in_channels
    zero = tl.full((1, 1), 0, tl.int32)
    total = tl.full((block_in, block_pixels), 0, accumulator)
    for tap in range(row_taps * column_taps):
        channels = first + tap * in_channels + ins
        value = sample(
            products + channels[:, None] * out_height * out_width,
            kept,
            row_base,
            column_base,
            zero + (row_middle - tap // column_taps),
            zero + (column_middle - tap % column_taps),
            row_rate,
            column_rate,
            row_upper,
            column_upper,
            row_span,
            column_span,
            out_height,
            out_width,
            row_taps > 1,
            column_taps > 1,
            row_stride,
            column_stride,
            accumulator,
        )[0]
        total += value
    all_ins = (image * groups + group) * in_channels + ins
    places = all_ins[:, None] * pixels_total + pixels[None, :]
    tl.store(grad_x + places, total.to(grad_x.dtype.element_ty), mask=kept)


@triton.jit(do_not_specialize=["row_anchor", "column_anchor", "row_span", "column_span"])
@no_type_check
def parameter_gradient_kernel(
    grad,
    x,
    weight,  # (taps, out channels, in channels of a group)
    rates,
    uppers,
    weight_parts,  # (splits, taps, out channels, in channels of a group)
    rate_parts,  # (splits, taps, blocks of out channels, in channels, 2)
    images,
    groups,
    height,
    width,
    out_height,
    out_width,
    row_anchor,
    column_anchor,
    row_span,
    column_span,
    in_channels: tl.constexpr,  # of a group, as are the out channels
    out_channels: tl.constexpr,
    row_taps: tl.constexpr,
    column_taps: tl.constexpr,
    row_middle: tl.constexpr,
    column_middle: tl.constexpr,
    row_stride: tl.constexpr,
    column_stride: tl.constexpr,
    needs_weight: tl.constexpr,
    needs_rates: tl.constexpr,
    rates_per_block: tl.constexpr,  # 1 where all channels of a group have the same
    block_out: tl.constexpr,
    block_in: tl.constexpr,
    block_pixels: tl.constexpr,
    accumulator: tl.constexpr,
):
    """Gradients of one tap's weights, and its share in those of the rates, over some pixels.

    The gradient of a rate is the sum over taps and out channels of the weight times what would be
    the weight's gradient if the image were replaced by its slope at the tap.
    """
    pixels_total = out_height * out_width
    pixel_blocks = (pixels_total + block_pixels - 1) // block_pixels
    out_blocks: tl.constexpr = (out_channels + block_out - 1) // block_out
    in_blocks: tl.constexpr = (in_channels + block_in - 1) // block_in
    taps: tl.constexpr = row_taps * column_taps
    tap = tl.program_id(0) % taps
    in_block = tl.program_id(0) // taps % in_blocks
    out_block = tl.program_id(0) // (taps * in_blocks) % out_blocks
    group = tl.program_id(0) // (taps * in_blocks * out_blocks)
    ins = in_block * block_in + tl.arange(0, block_in)
    outs = out_block * block_out + tl.arange(0, block_out)
    ins_kept = ins < in_channels
    outs_kept = outs < out_channels
    all_outs = group * out_channels + outs

    rated = in_block * block_in + tl.arange(0, rates_per_block)
    row_rate, column_rate, row_upper, column_upper = load_rates(
        rates, uppers, group * in_channels + rated, rated < in_channels
    )
    row_tap = tl.full((1, 1), 0, tl.int32) + (tap // column_taps - row_middle)
    column_tap = tl.full((1, 1), 0, tl.int32) + (tap % column_taps - column_middle)
    total = tl.full((block_out, block_in), 0, accumulator)
    row_total = tl.full((block_out, block_in), 0, accumulator)
    column_total = tl.full((block_out, block_in), 0, accumulator)
    # One split takes a run of pixel blocks, which may reach over several images.
    splits = tl.num_programs(1)
    share = (images * pixel_blocks + splits - 1) // splits
    end = tl.minimum((tl.program_id(1) + 1) * share, images * pixel_blocks)
    for item in range(tl.program_id(1) * share, end):
        image = (item // pixel_blocks).to(tl.int64)
        pixels = (item % pixel_blocks) * block_pixels + tl.arange(0, block_pixels)
        pixels_kept = (pixels < pixels_total)[None, :]
        all_ins = (image * groups + group) * in_channels + ins
        value, row_slope, column_slope = sample(
            x + all_ins[:, None] * height * width,
            ins_kept[:, None] & pixels_kept,
            (row_anchor + row_stride * (pixels // out_width))[None, :],
            (column_anchor + column_stride * (pixels % out_width))[None, :],
            row_tap,
            column_tap,
            row_rate,
            column_rate,
            row_upper,
            column_upper,
            row_span,
            column_span,
            height,
            width,
            row_taps > 1,
            column_taps > 1,
            1,
            1,
            accumulator,
        )
        places = (image * groups * out_channels + all_outs)[:, None] * pixels_total
        grads = tl.load(
            grad + places + pixels[None, :], mask=outs_kept[:, None] & pixels_kept, other=0.0
        )
        if needs_weight:
            total = tl.dot(
                grads,
                tl.trans(value.to(grads.dtype)),
                total,
                input_precision="ieee",
                out_dtype=accumulator,
            )
        if needs_rates and row_taps > 1:
            row_total = tl.dot(
                grads,
                tl.trans(row_slope.to(grads.dtype)),
                row_total,
                input_precision="ieee",
                out_dtype=accumulator,
            )
        if needs_rates and column_taps > 1:
            column_total = tl.dot(
                grads,
                tl.trans(column_slope.to(grads.dtype)),
                column_total,
                input_precision="ieee",
                out_dtype=accumulator,
            )

    places = (tap * groups * out_channels + all_outs)[:, None] * in_channels + ins[None, :]
    kept = outs_kept[:, None] & ins_kept[None, :]
    if needs_weight:
        split = tl.program_id(1).to(tl.int64) * taps * groups * out_channels * in_channels
        tl.store(weight_parts + split + places, total, mask=kept)
    if needs_rates:
        weights = tl.load(weight + places, mask=kept, other=0.0).to(accumulator)
        block = (tl.program_id(1) * taps + tap) * out_blocks + out_block
        parts = rate_parts + 2 * (block * groups * in_channels + group * in_channels + ins)
        row_reach = tl.abs(tap // column_taps - row_middle)
        column_reach = tl.abs(tap % column_taps - column_middle)
        # A tap 0 has no slope, whatever was summed for it; a rate that is no number makes NaN.
        poison = tl.reshape(row_rate - row_rate, [rates_per_block])
        row = tl.where(row_reach > 0, tl.reduce(weights * row_total, 0, add) * row_reach, 0.0)
        column = tl.where(
            column_reach > 0, tl.reduce(weights * column_total, 0, add) * column_reach, 0.0
        )
        tl.store(parts, row + poison, mask=ins_kept)
        tl.store(parts + 1, column + poison, mask=ins_kept)
