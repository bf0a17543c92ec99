"""Which positions are read: known cases, and formulas applied position by position."""

import math
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dilsearch.errors import GeometryError
from dilsearch.geometry import Reads

scales = st.builds(Fraction, st.integers(1, 9), st.integers(1, 9))
HALF = Fraction(1, 2)
POSITIONS = range(-12, 13)


def rows(reads: Reads, count: int) -> list[tuple[int, ...]]:
    return [reads.at(position) for position in range(count)]


class TestWindow:
    def test_a_convolution(self):
        reads = Reads.window(3, rate=2, stride=4, anchor=1)
        assert (reads.period, reads.advance) == (1, 4)
        assert rows(reads, 3) == [(-1, 1, 3), (3, 5, 7), (7, 9, 11)]
        assert reads.at(-1) == (-5, -3, -1)

    def test_an_even_kernel_has_its_anchor_left_of_the_middle(self):
        assert Reads.window(2).at(0) == (0, 1)
        assert Reads.window(4, rate=3).at(0) == (-3, 0, 3, 6)
        assert Reads.window(1, rate=9).at(5) == (5,)

    def test_another_anchor_tap(self):
        assert Reads.window(3, rate=4, anchor_tap=2).at(0) == (-8, -4, 0)
        assert Reads.window(3, rate=4, anchor=1, anchor_tap=0).at(0) == (1, 5, 9)
        assert Reads.window(4, rate=2, anchor_tap=1) == Reads.window(4, rate=2)

    def test_reach(self):
        assert Reads.window(3, rate=4).reach == 8
        assert Reads.transposed(2, stride=3).reach == 0
        assert Reads.transposed(4, stride=2, padding=1).reach == 1


class TestTransposed:
    def test_four_taps_stride_two(self):
        # k = 4, s = 2, p = 1, the usual upsampling by 2: every position reads two.
        reads = Reads.transposed(4, stride=2, padding=1)
        assert (reads.period, reads.advance) == (2, 1)
        assert rows(reads, 4) == [(-1, 0), (0, 1), (0, 1), (1, 2)]

    def test_fewer_taps_than_the_stride_leave_positions_that_read_nothing(self):
        assert rows(Reads.transposed(2, stride=3), 6) == [(0,), (0,), (), (1,), (1,), ()]

    def test_three_taps_stride_two_read_by_turns_one_and_two(self):
        assert rows(Reads.transposed(3, stride=2, padding=1), 4) == [(0,), (0, 1), (1,), (1, 2)]

    def test_without_a_stride_it_is_a_convolution(self):
        assert Reads.transposed(3, rate=2, padding=2) == Reads.window(3, rate=2)

    @settings(deadline=None, max_examples=80)
    @given(st.integers(1, 5), st.integers(1, 6), st.integers(1, 5), st.integers(0, 4))
    def test_it_is_scattered_to(self, taps: int, rate: int, stride: int, padding: int):
        reached: dict[int, set[int]] = {position: set() for position in POSITIONS}
        for source in range(-60, 61):
            for tap in range(taps):
                reached.get(source * stride + tap * rate - padding, set()).add(source)
        reads = Reads.transposed(taps, rate=rate, stride=stride, padding=padding)
        for position in POSITIONS:
            assert reads.at(position) == tuple(sorted(reached[position]))


class TestNearest:
    @pytest.mark.parametrize(
        ("scale", "read"),
        [
            (Fraction(1, 2), [0, 0, 1, 1, 2, 2]),
            (Fraction(1, 3), [0, 0, 0, 1, 1, 1]),
            (Fraction(2, 3), [0, 0, 1, 2, 2, 3]),
            (Fraction(3, 2), [0, 1, 3, 4, 6, 7]),
            (Fraction(1), [0, 1, 2, 3, 4, 5]),
        ],
    )
    def test_scales(self, scale: Fraction, read: list[int]):
        assert rows(Reads.nearest(scale), 6) == [(one,) for one in read]

    @pytest.mark.parametrize(
        ("scale", "read"),
        [
            (Fraction(1, 2), [0, 0, 1, 1]),
            (Fraction(2, 3), [0, 1, 1, 2]),
            (Fraction(2), [1, 3, 5, 7]),
        ],
    )
    def test_centred(self, scale: Fraction, read: list[int]):
        assert rows(Reads.nearest(scale, centred=True), 4) == [(one,) for one in read]

    @settings(deadline=None, max_examples=60)
    @given(scales, st.booleans())
    def test_the_formula_at_every_position(self, scale: Fraction, centred: bool):
        reads = Reads.nearest(scale, centred=centred)
        for position in POSITIONS:
            assert reads.at(position) == (math.floor((position + centred * HALF) * scale),)


class TestLinear:
    @pytest.mark.parametrize(
        ("scale", "read"),
        [
            (Fraction(1, 2), [(-1, 0), (0, 1), (0, 1), (1, 2)]),
            (Fraction(1, 3), [(-1, 0), (0,), (0, 1), (0, 1)]),
            (Fraction(2, 3), [(-1, 0), (0, 1), (1, 2), (1, 2)]),
            (Fraction(3, 2), [(0, 1), (1, 2), (3, 4), (4, 5)]),
            (Fraction(3), [(1,), (4,), (7,), (10,)]),
            (Fraction(1), [(0,), (1,), (2,), (3,)]),
        ],
    )
    def test_scales(self, scale: Fraction, read: list[tuple[int, ...]]):
        assert rows(Reads.linear(scale), 4) == read

    def test_with_corners_aligned_every_factor_th_position_reads_one(self):
        # 5 positions to 13: scale (5 - 1) / (13 - 1).
        reads = Reads.linear(Fraction(4, 12), align_corners=True)
        assert rows(reads, 5) == [(0,), (0, 1), (0, 1), (1,), (1, 2)]
        assert reads.at(12) == (4,)


class TestCubic:
    @pytest.mark.parametrize(
        ("scale", "read"),
        [
            (Fraction(1, 2), [(-2, -1, 0, 1), (-1, 0, 1, 2), (-1, 0, 1, 2)]),
            (Fraction(1, 3), [(-2, -1, 0, 1), (0,), (-1, 0, 1, 2)]),
            (Fraction(3, 2), [(-1, 0, 1, 2), (0, 1, 2, 3), (2, 3, 4, 5)]),
        ],
    )
    def test_scales(self, scale: Fraction, read: list[tuple[int, ...]]):
        assert rows(Reads.cubic(scale), 3) == read

    def test_with_corners_aligned_every_factor_th_position_reads_one(self):
        reads = Reads.cubic(Fraction(1, 4), align_corners=True)
        assert [len(reads.at(position)) for position in range(9)] == [1, 4, 4, 4, 1, 4, 4, 4, 1]
        assert reads.at(8) == (2,)


def weights(kind: str, at: Fraction) -> dict[int, Fraction]:
    """Interpolation weights as torch has them: the hat, and the cubic with A = -3/4."""
    a, reach = Fraction(-3, 4), 1 if kind == "linear" else 2
    found = {}
    for position in range(math.floor(at) - 3, math.floor(at) + 5):
        x = abs(at - position)
        if kind == "linear":
            weight = 1 - x
        elif x <= 1:
            weight = (a + 2) * x**3 - (a + 3) * x**2 + 1
        else:
            weight = a * x**3 - 5 * a * x**2 + 8 * a * x - 4 * a
        if x < reach and weight:
            found[position] = weight
    return found


@settings(deadline=None, max_examples=80)
@given(st.sampled_from(["linear", "cubic"]), scales, st.booleans())
def test_interpolation_reads_what_has_a_weight(kind: str, scale: Fraction, aligned: bool):
    reads = getattr(Reads, kind)(scale, align_corners=aligned)
    for position in POSITIONS:
        at = position * scale if aligned else (position + HALF) * scale - HALF
        assert reads.at(position) == tuple(sorted(weights(kind, at)))


class TestAdaptive:
    def test_64_to_6(self):
        reads = Reads.adaptive(64, 6)
        assert (reads.period, reads.advance) == (3, 32)
        bins = [(read[0], read[-1] + 1) for read in rows(reads, 6)]
        assert bins == [(0, 11), (10, 22), (21, 32), (32, 43), (42, 54), (53, 64)]

    def test_sizes_that_divide_are_a_pooling(self):
        assert Reads.adaptive(64, 16) == Reads.window(4, stride=4, anchor=1)

    def test_more_bins_than_positions(self):
        assert rows(Reads.adaptive(2, 4), 4) == [(0,), (0,), (1,), (1,)]
        assert rows(Reads.adaptive(2, 3), 3) == [(0,), (0, 1), (1,)]

    @settings(deadline=None, max_examples=60)
    @given(st.integers(1, 40), st.integers(1, 20))
    def test_bins_cover_the_map(self, size: int, bins: int):
        read = rows(Reads.adaptive(size, bins), bins)
        for index, one in enumerate(read):  # in integers, as torch has it
            assert one == tuple(range(index * size // bins, -(-(index + 1) * size // bins)))
        assert sorted(set().union(*read)) == list(range(size))


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(st.integers(-5, 5)), min_size=1, max_size=4), st.integers(1, 5))
def test_reads_repeat_with_their_period(offsets: list[tuple[int, ...]], advance: int):
    reads = Reads(tuple(offsets), advance)
    for position in POSITIONS:
        moved = tuple(read + advance for read in reads.at(position))
        assert reads.at(position + reads.period) == moved
    assert [reads.at(position) for position in range(len(offsets))] == offsets


@pytest.mark.parametrize(("offsets", "advance"), [((), 1), (((0,),), 0), (((0,),), -1)])
def test_reads_that_lead_nowhere(offsets: tuple[tuple[int, ...], ...], advance: int):
    with pytest.raises(GeometryError, match="lead nowhere; both must be at least 1"):
        Reads(offsets, advance)
