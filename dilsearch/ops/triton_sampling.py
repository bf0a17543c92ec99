"""Reading an image at real-valued places, for the Triton kernels. Importing this needs Triton.

Rates are read on the device, for each channel a row rate and a column rate. A rate that is not
finite moves nothing, but its fraction is NaN, and so is everything that depends on it.
"""

# mypy leaves functions under no_type_check alone, and so does the shape checker of the tests:
# what Triton compiles is not Python. Of Triton's language only the built-in functions are used,
# not those it writes in itself (zeros, sum, cdiv): the interpreter can run the latter only if it
# was chosen before anything imported Triton, and torchvision imports it.
from typing import no_type_check

import triton
import triton.language as tl


@triton.jit
@no_type_check
def add(one, other):
    """How a reduction puts two values together."""
    return one + other


@triton.jit
@no_type_check
def load_rates(rates, uppers, channels, kept):
    """Both rates of each channel as a column, both limits likewise, and NaN where one is."""
    row = tl.load(rates + 2 * channels, mask=kept, other=0.0)
    column = tl.load(rates + 2 * channels + 1, mask=kept, other=0.0)
    row_upper = tl.load(uppers + 2 * channels, mask=kept, other=float("inf"))
    column_upper = tl.load(uppers + 2 * channels + 1, mask=kept, other=float("inf"))
    finite = (tl.abs(row) < float("inf")) & (tl.abs(column) < float("inf"))
    poison = tl.where(finite, 0.0, float("nan"))
    row += poison
    column += poison
    return row[:, None], column[:, None], row_upper[:, None], column_upper[:, None]


@triton.jit
@no_type_check
def _distance(rate, upper, reach, span):
    """Whole pixels from the anchor to the inner pixel, and the weight of the outer one."""
    leftward = (rate >= upper) & (reach > 0)
    # The product of an enormous rate would overflow; from 2**24 on all are whole and far outside.
    rate = tl.where(rate > 16777216.0, 16777216.0, rate)
    rate = tl.where(rate < -16777216.0, -16777216.0, rate)
    distance = rate * reach.to(tl.float32)
    near = tl.where(leftward, tl.ceil(distance) - 1.0, tl.floor(distance))
    fraction = distance - near
    limit = span.to(tl.float32)
    near = tl.where(near == near, near, 0.0)
    near = tl.where(near > limit, limit, near)
    near = tl.where(near < -limit - 1.0, -limit - 1.0, near)
    return near.to(tl.int32), fraction


@triton.jit
@no_type_check
def _place(position, size, stride: tl.constexpr):
    """Index of the element at a position that counts in steps of one stride, and if it exists."""
    inside = position >= 0
    index = position
    if stride > 1:
        # Only for positions that are not negative: compiled division rounds towards zero.
        index = tl.where(inside, position, 0) // stride
        inside = inside & (index * stride == position)
    return index, inside & (index < size)


@triton.jit
@no_type_check
def _sample_row(
    pointers,
    kept,
    base,
    tap,
    near,
    fraction,
    size,
    moves: tl.constexpr,
    stride: tl.constexpr,
    accumulator: tl.constexpr,
):
    """Blend two pixels of a row; also the outer one less the inner one."""
    sign = (tap > 0).to(tl.int32) - (tap < 0).to(tl.int32)
    index, inside = _place(base + sign * near, size, stride)
    value = tl.load(pointers + index, mask=kept & inside, other=0.0).to(accumulator)
    slope = value
    if moves:
        index, inside = _place(base + sign * (near + 1), size, stride)
        kept = kept & inside & (tap != 0)
        outer = tl.load(pointers + index, mask=kept, other=0.0).to(accumulator)
        slope = outer - value
        value = (1.0 - fraction) * value + fraction * outer
    return value, slope


@triton.jit
@no_type_check
def sample(
    pointers,
    kept,
    row_base,
    column_base,
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
    row_moves: tl.constexpr,
    column_moves: tl.constexpr,
    row_stride: tl.constexpr,
    column_stride: tl.constexpr,
    accumulator: tl.constexpr,
):
    """Blend the four pixels around a tap's place; also the slopes of the value along both axes.

    ``pointers`` (channels, 1) are those of the channels' first pixels, ``kept`` (channels, pixels)
    tells what may be read at all, the bases (1, pixels) are the places of the taps at rate 0 and
    the taps (1, 1) count from the anchor. An axis of which ``moves`` is false has no fractions. A
    stride is that of the positions: an image has one, the outputs have one of the convolution.
    The slopes are those per pixel of distance, and mean nothing at an axis' tap 0.
    """
    sign = (row_tap > 0).to(tl.int32) - (row_tap < 0).to(tl.int32)
    row_near, row_fraction = _distance(row_rate, row_upper, sign * row_tap, row_span)
    reach = tl.where(column_tap > 0, column_tap, -column_tap)
    near, fraction = _distance(column_rate, column_upper, reach, column_span)
    row, inside = _place(row_base + sign * row_near, height, row_stride)
    value, column_slope = _sample_row(
        pointers + row * width,
        kept & inside,
        column_base,
        column_tap,
        near,
        fraction,
        width,
        column_moves,
        column_stride,
        accumulator,
    )
    row_slope = value
    if row_moves:
        row, inside = _place(row_base + sign * (row_near + 1), height, row_stride)
        outer, outer_slope = _sample_row(
            pointers + row * width,
            kept & inside & (row_tap != 0),
            column_base,
            column_tap,
            near,
            fraction,
            width,
            column_moves,
            column_stride,
            accumulator,
        )
        row_slope = outer - value
        value = (1.0 - row_fraction) * value + row_fraction * outer
        column_slope = (1.0 - row_fraction) * column_slope + row_fraction * outer_slope
    return value, row_slope, column_slope
