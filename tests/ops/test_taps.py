"""Tap bookkeeping against counting by hand."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from dilsearch.ops.taps import Axis, Tap, margins

SAME = Axis(size_in=10, taps=3, stride=1, padding=(1, 1), dilation=1, middle=1)


def offsets(axis: Axis, rate: float, *, leftward: bool = False) -> list[tuple[int, int, float]]:
    return [(t.inner, t.outer, t.fraction) for t in axis.taps_at(rate, leftward=leftward)]


axes = st.builds(
    lambda size, taps, stride, padding, dilation, causal: Axis(
        size, taps, stride, padding, dilation, taps - 1 if causal else (taps - 1) // 2
    ),
    st.integers(9, 12),
    st.integers(1, 5),
    st.integers(1, 3),
    st.tuples(st.integers(0, 4), st.integers(0, 4)),
    st.integers(1, 2),
    st.booleans(),
)


def test_pixels_are_counted_outward_from_the_anchor():
    assert offsets(SAME, 2.25) == [(-2, -3, 0.25), (0, 0, 0.0), (2, 3, 0.25)]


def test_an_integer_rate_looks_outward_and_a_limit_inward():
    assert offsets(SAME, 2) == [(-2, -3, 0.0), (0, 0, 0.0), (2, 3, 0.0)]
    assert offsets(SAME, 2, leftward=True) == [(-1, -2, 1.0), (0, 0, 0.0), (1, 2, 1.0)]
    # between integers both are the same
    assert offsets(SAME, 2.25, leftward=True) == offsets(SAME, 2.25)


def test_the_second_tap_moves_twice_as_fast():
    five = Axis(size_in=20, taps=5, stride=1, padding=(2, 2), dilation=1, middle=2)
    assert offsets(five, 1.75)[3:] == [(1, 2, 0.75), (3, 4, 0.5)]
    assert [tap.reach for tap in five.taps_at(1.75, leftward=False)] == [2, 1, 0, 1, 2]


def test_an_even_kernel_has_one_tap_more_behind_its_anchor():
    four = Axis(size_in=9, taps=4, stride=1, padding=(1, 2), dilation=1, middle=1)
    assert four.reaches == (1, 2)
    assert offsets(four, 1.25) == [(-1, -2, 0.25), (0, 0, 0.0), (1, 2, 0.25), (2, 3, 0.5)]


def test_a_causal_kernel_has_all_its_taps_before_its_anchor():
    causal = Axis(size_in=9, taps=3, stride=1, padding=(2, 0), dilation=1, middle=2)
    assert causal.reaches == (2, 0)
    assert offsets(causal, 1.25) == [(-2, -3, 0.5), (-1, -2, 0.25), (0, 0, 0.0)]
    assert (causal.anchor, causal.last, causal.size_out) == (0, 8, 9)


def test_the_anchor_is_that_of_the_convolution_replaced():
    axis = Axis(size_in=10, taps=3, stride=2, padding=(0, 0), dilation=2, middle=1)
    assert (axis.anchor, axis.size_out, axis.last) == (2, 3, 6)
    assert [tap.inner for tap in axis.taps_at(1.5, leftward=False)] == [1, 2, 3]


def test_a_rate_may_be_negative_or_nothing():
    assert offsets(SAME, 0.0) == [(0, -1, 0.0), (0, 0, 0.0), (0, 1, 0.0)]
    assert offsets(SAME, -1.25) == [(2, 1, 0.75), (0, 0, 0.0), (-2, -1, 0.75)]


@settings(deadline=None)
@given(axes)
def test_outputs_are_as_many_as_torch_makes(axis):
    x = F.pad(torch.zeros(1, 1, axis.size_in), axis.padding)
    weight = torch.zeros(1, 1, axis.taps)
    y = F.conv1d(x, weight, stride=axis.stride, dilation=axis.dilation)
    assert y.shape[-1] == axis.size_out


@settings(deadline=None)
@given(axes, st.integers(1, 6))
def test_padded_for_a_rate_the_plain_convolution_has_the_same_grid(axis, rate):
    before, after = axis.padding_at(rate)
    width = rate * (axis.taps - 1) + 1
    assert (axis.size_in + before + after - width) // axis.stride + 1 == axis.size_out
    assert axis.middle * rate - before == axis.anchor  # and its anchor in the same place
    assert axis.padding_at(axis.dilation) == axis.padding


@settings(deadline=None)
@given(axes, st.integers(0, 5), st.integers(0, 5))
def test_a_longer_image_has_the_same_outputs_at_shifted_pixels(axis, before, after):
    longer = axis.extended(before, after)
    assert longer.size_in == axis.size_in + before + after
    assert longer.size_out == axis.size_out
    assert (longer.anchor, longer.last) == (axis.anchor + before, axis.last + before)
    assert (longer.middle, longer.reaches) == (axis.middle, axis.reaches)


@settings(deadline=None)
@given(axes, st.floats(0, 1e30))
def test_taps_far_outside_the_image_stay_at_small_offsets_and_see_nothing(axis, excess):
    for tap in axis.taps_at(axis.span + excess, leftward=False):
        if tap.reach == 0:
            continue
        assert abs(tap.outer) <= axis.span + abs(axis.anchor) + 1
        for offset in (tap.inner, tap.outer):
            seen = [offset + axis.stride * output for output in range(axis.size_out)]
            assert not any(0 <= pixel < axis.size_in for pixel in seen)


@settings(deadline=None)
@given(axes)
def test_the_control_within_the_span_some_tap_sees_the_image(axis):
    if axis.taps > 1 and axis.size_out > 0 and axis.span > 0 and min(axis.reaches) > 0:
        (*_, last) = axis.taps_at(axis.span - 0.5, leftward=False)
        (first, *_) = axis.taps_at(axis.span - 0.5, leftward=False)
        if last.reach == first.reach == 1:
            seen = {
                offset + axis.stride * output
                for tap in (first, last)
                for offset in (tap.inner, tap.outer)
                for output in range(axis.size_out)
            }
            assert any(0 <= pixel < axis.size_in for pixel in seen)


@settings(deadline=None)
@given(axes, st.floats(-5, 20), st.booleans())
def test_margins_are_just_wide_enough(axis, rate, leftward):
    taps = axis.taps_at(rate, leftward=leftward)
    before, after = margins(taps, size=axis.size_in, targets=axis.size_out, stride=axis.stride)
    read = [
        offset + axis.stride * output
        for tap in taps
        for offset in (tap.inner, tap.outer)
        for output in (0, axis.size_out - 1)
    ]
    assert before == max(0, -min(read))
    assert after == max(0, max(read) - axis.size_in + 1)


@pytest.mark.parametrize(
    ("tap", "whole"),
    [
        (Tap(1, 2, 0.0, 1), True),
        (Tap(1, 2, 0.5, 1), False),
        (Tap(3, 3, 0.0, 0), True),
        (Tap(1, 2, torch.zeros(2), 1), False),
    ],
)
def test_a_whole_tap_reads_one_pixel(tap, whole):
    assert tap.is_whole is whole


def test_a_mirrored_tap_leads_back():
    tap = Tap(2, 3, 0.25, 1)
    assert tap.mirrored == Tap(-2, -3, 0.25, 1)
    assert tap.mirrored.mirrored == tap


@pytest.mark.parametrize(
    ("changed", "still"),
    [({}, True), ({"stride": 2}, False), ({"padding": (1, 1)}, False), ({"taps": 2}, False)],
)
def test_an_axis_is_still_where_every_output_reads_its_own_pixel(changed, still):
    plain = {"taps": 1, "stride": 1, "padding": (0, 0)} | changed
    axis = Axis(size_in=5, dilation=1, middle=0, **plain)
    assert axis.is_still is still
