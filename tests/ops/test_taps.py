"""Tap bookkeeping against counting by hand."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dilsearch.ops.taps import Axis, runs, segments

SAME = Axis(size_in=10, taps=3, stride=1, padding=1, dilation=1)


def offsets(axis: Axis, rate: float, *, leftward: bool = False) -> list[tuple[int, int, float]]:
    return [(t.inner, t.outer, t.fraction) for t in axis.taps_at(rate, leftward=leftward)]


def test_pixels_are_counted_outward_from_the_anchor():
    assert offsets(SAME, 2.25) == [(-2, -3, 0.25), (0, 0, 0.0), (2, 3, 0.25)]


def test_an_integer_rate_looks_outward_and_a_limit_inward():
    assert offsets(SAME, 2) == [(-2, -3, 0.0), (0, 0, 0.0), (2, 3, 0.0)]
    assert offsets(SAME, 2, leftward=True) == [(-1, -2, 1.0), (0, 0, 0.0), (1, 2, 1.0)]


def test_the_second_tap_moves_twice_as_fast():
    five = Axis(size_in=20, taps=5, stride=1, padding=2, dilation=1)
    assert offsets(five, 1.75)[3:] == [(1, 2, 0.75), (3, 4, 0.5)]
    assert [tap.reach for tap in five.taps_at(1.75, leftward=False)] == [2, 1, 0, 1, 2]


def test_the_anchor_is_that_of_the_convolution_replaced():
    axis = Axis(size_in=10, taps=3, stride=2, padding=0, dilation=2)
    assert (axis.anchor, axis.size_out) == (2, 3)
    assert [tap.inner for tap in axis.taps_at(1.5, leftward=False)] == [1, 2, 3]


@settings(deadline=None)
@given(
    st.integers(1, 9),
    st.integers(1, 9),
    st.integers(1, 3),
    st.lists(st.integers(-20, 20), min_size=1, max_size=2),
)
def test_segments_tell_what_every_target_sees(source, target, stride, offsets):
    found = segments(tuple(offsets), source_size=source, target_size=target, stride=stride)
    assert [found[0].first, found[-1].last] == [0, target]
    for segment in found:
        for q in range(segment.first, segment.last):
            assert segment.sees == tuple(0 <= o + stride * q < source for o in offsets)


@pytest.mark.parametrize(
    ("taps", "rate", "expected"),
    [
        (3, 2.5, [(0, 3)]),
        (3, 2.0, [(0, 3)]),
        (5, 1.75, [(0, 1), (1, 4), (4, 5)]),
        (5, 1.0, [(0, 2), (2, 4), (4, 5)]),
        (3, -1.5, [(0, 1), (1, 2), (2, 3)]),
        (1, 4.5, [(0, 1)]),
    ],
)
def test_runs_hold_taps_that_blend_alike_at_even_rising_distances(taps, rate, expected):
    axis = Axis(size_in=9, taps=taps, stride=1, padding=taps // 2, dilation=1)
    found = runs(axis.taps_at(rate, leftward=False))
    assert [(run.start, run.stop) for run in found] == expected


@settings(deadline=None)
@given(st.integers(1, 9), st.integers(1, 3), st.integers(0, 4), st.floats(0, 1e30))
def test_taps_far_outside_the_image_stay_at_small_offsets_and_see_nothing(
    size, stride, padding, excess
):
    axis = Axis(size_in=size, taps=3, stride=stride, padding=padding + 1, dilation=1)
    for tap in axis.taps_at(axis.span + excess, leftward=False)[::2]:
        assert abs(tap.outer) <= axis.span + abs(axis.anchor) + 1
        for offset in (tap.inner, tap.outer):
            (nothing,) = segments(
                (offset,), source_size=size, target_size=axis.size_out, stride=stride
            )
            assert nothing.sees == (False,)
