"""Exact sets of input pixels: published examples, and agreement with sets of coordinates."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dilsearch.errors import GeometryError
from dilsearch.geometry import Coverage, Field

Pixels = set[tuple[int, int]]

pairs = st.tuples(st.integers(1, 4), st.integers(1, 4))
anchors = st.tuples(st.integers(-2, 2), st.integers(-2, 2))


@st.composite
def coverages(draw: st.DrawFn, stride: tuple[int, int] | None = None) -> Coverage:
    """A random set: the smallest box around random pixels."""
    pixels = draw(st.sets(st.tuples(st.integers(-3, 5), st.integers(-4, 4)), min_size=1))
    top, left = min(row for row, _ in pixels), min(column for _, column in pixels)
    picture = np.zeros(
        (max(row for row, _ in pixels) - top + 1, max(column for _, column in pixels) - left + 1),
        dtype=np.bool_,
    )
    for row, column in pixels:
        picture[row - top, column - left] = True
    return Coverage.from_array(picture, (top, left), stride or draw(pairs))


def pixels_of(coverage: Coverage) -> Pixels:
    top, left = coverage.origin_px
    return {
        (top + i, left + j)
        for i, row in enumerate(coverage.to_rows())
        for j, mark in enumerate(row)
        if mark == "#"
    }


def row_of(*rates: int, taps: int = 3) -> Coverage:
    """A stack of one-dimensional convolutions."""
    seen = Coverage.point()
    for rate in rates:
        seen = seen.through((1, taps), [(1, rate)])
    return seen


@pytest.mark.parametrize(
    ("rates", "extent", "support", "holes"),
    [
        ((3,), 7, 3, 4),
        ((1, 3), 9, 9, 0),
        ((2, 2, 2), 13, 7, 6),
        ((2, 4), 13, 7, 6),
        ((1, 2, 5), 17, 17, 0),
        ((1, 2, 9), 25, 21, 4),
        ((2, 4, 8), 29, 15, 14),
        ((1, 2, 3), 13, 13, 0),
        ((1, 2, 4, 8, 16), 63, 63, 0),
    ],
)
def test_stacks_along_one_axis(rates: tuple[int, ...], extent: int, support: int, holes: int):
    # RegSeg Fig. 3 and HDC's examples.
    seen = row_of(*rates)
    assert (seen.size_px, seen.seen, seen.holes) == ((1, extent), support, holes)


@pytest.mark.parametrize("rates", [(3,), (2, 2, 2), (1, 2, 9)])
def test_in_the_plane_a_chain_sees_the_product_of_its_axes(rates: tuple[int, ...]):
    seen = Coverage.point()
    for rate in rates:
        seen = seen.through((3, 3), [(rate, rate)])
    assert seen.seen == row_of(*rates).seen ** 2


def test_two_branches_leave_holes_that_neither_axis_shows():
    # Rates 1 and 4 behind a solid field of 63 px at stride 16.
    solid = Coverage.point().through((63, 63), [(1, 1)], stride=(16, 16))
    both = solid.through((3, 3), [(1, 1), (4, 4)])
    assert (both.size_px, both.seen, both.holes) == ((191, 191), 36_481 - 384, 384)
    assert both.largest_hole_px == 1
    line = Coverage.point().through((1, 63), [(1, 1)], stride=(16, 16))
    assert line.through((1, 3), [(1, 1), (1, 4)]).holes == 0
    assert solid.through((3, 3), [(1, 1), (3, 3)]).holes == 0  # within the bound of 3


def test_a_rate_for_each_axis():
    seen = Coverage.point().through((3, 3), [(1, 4)])
    assert (seen.size_px, seen.origin_px, seen.seen) == ((3, 9), (-1, -4), 9)
    assert (seen.holes, seen.largest_hole_px) == (18, 3)


def test_any_number_of_axes():
    line = Coverage.point(1).through((3,), [(2,)], stride=(3,)).through((2,), [(1,)])
    assert line.to_array().nonzero()[0].tolist() == [0, 2, 3, 4, 5, 7]
    assert (line.origin_px, line.stride_px) == ((-2,), (3,))
    cube = Coverage.point(3).through((2, 3, 1), [(1, 2, 1), (2, 1, 1)])
    assert (cube.size_px, cube.seen, cube.holes) == ((3, 5, 1), 6 + 6 - 1, 4)


def test_picture():
    seen = Coverage.point().through((3, 3), [(1, 1), (1, 2)])
    assert seen.to_rows() == ["#####"] * 3
    assert Coverage.point().through((2, 3), [(2, 2)]).to_rows() == ["#.#.#", ".....", "#.#.#"]


def test_a_pooling_of_two_sees_the_pixel_and_the_next():
    pool = Coverage.point().through((2, 2), [(1, 1)], stride=(2, 2))
    conv = Coverage.point().through((3, 3), [(1, 1)], stride=(2, 2))
    assert pixels_of(pool) == {(i, j) for i in (0, 1) for j in (0, 1)}
    assert pixels_of(conv) == {(i, j) for i in (-1, 0, 1) for j in (-1, 0, 1)}
    assert pool.union(conv) == conv


def test_origins_decide_what_meets_where():
    right = Coverage.point().through((1, 2), [(1, 1)])
    left = Coverage.point().through((1, 2), [(1, 1)], anchor=(0, -1))
    assert right.pattern == left.pattern
    assert right.union(left).to_rows() == ["###"]


def test_anchor_counts_in_positions_of_the_source():
    strided = Coverage.point().through((1, 1), [(1, 1)], stride=(4, 4))
    assert strided.through((3, 3), [(1, 1)], anchor=(1, 0)).origin_px == (0, -4)


def test_union_refuses_unlike_strides():
    fine, coarse = Coverage.point(), Coverage.point().through((2, 2), [(1, 1)], stride=(2, 2))
    with pytest.raises(GeometryError, match=r"strides \(1, 1\) and \(2, 2\) px cannot meet"):
        fine.union(coarse)


@pytest.mark.parametrize(
    "picture",
    [
        np.zeros((0, 0), dtype=np.bool_),
        [[0]],
        [[0], [1]],
        [[1], [0]],
        [[0, 1, 0], [0, 1, 1]],
        [[1, 0], [1, 0]],
        [0, 1],
        [[[1]], [[0]]],
    ],
)
def test_a_box_with_margins_is_refused(picture: list):
    seen = np.array(picture, dtype=np.bool_)
    with pytest.raises(GeometryError, match="cut the empty margin"):
        Coverage.from_array(seen, (0,) * seen.ndim, (1,) * seen.ndim)


def largest_square(picture: np.ndarray) -> int:
    """Side of the largest square of holes, tried one by one."""
    return max(
        side
        for side in range(min(picture.shape) + 1)
        if side == 0
        or any(
            not picture[tuple(slice(low, low + side) for low in corner)].any()
            for corner in np.ndindex(*(size - side + 1 for size in picture.shape))
        )
    )


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 3), st.data())
def test_largest_hole_is_found_by_trying_all(axes: int, data: st.DataObject):
    shape = data.draw(st.tuples(*[st.integers(1, 6)] * axes))
    picture = np.zeros(shape, dtype=np.bool_)
    picture[(0,) * axes] = picture[tuple(size - 1 for size in shape)] = True
    for corner in data.draw(st.sets(st.sampled_from(list(np.ndindex(*shape))), max_size=8)):
        picture[corner] = True
    seen = Coverage.from_array(picture, (0,) * axes, (1,) * axes)
    assert seen.largest_hole_px == largest_square(picture)
    assert seen.holes == (~picture).sum()
    assert (seen.to_array() == picture).all()


def test_largest_hole_by_hand():
    assert Coverage.point().largest_hole_px == 0
    assert row_of(9).largest_hole_px == 1  # squares, so that a row of one pixel has no larger
    assert Coverage.point(1).through((3,), [(9,)]).largest_hole_px == 8
    assert Coverage.point().through((3, 3), [(9, 9)]).largest_hole_px == 8
    assert Coverage.point().through((3, 3), [(1, 1), (9, 9)]).largest_hole_px == 8


def test_largest_hole_of_thousands_of_pixels():
    # A window of 3 x 3 in the middle of one of 5,193 x 5,193.
    wide = Coverage.point().through((3, 3), [(1, 1), (2596, 2596)])
    assert (wide.size_px, wide.largest_hole_px) == ((5193, 5193), 2595)
    # Two pixels seen, one not.
    comb = Coverage.point().through((1800, 1800), [(3, 3)]).through((2, 2), [(1, 1)])
    assert (comb.size_px, comb.largest_hole_px) == ((5399, 5399), 1)


@settings(deadline=None, max_examples=60)
@given(coverages(), pairs, st.lists(pairs, min_size=1, max_size=3), pairs, anchors)
def test_through_moves_the_set_to_every_tap(
    seen: Coverage,
    taps: tuple[int, int],
    rates: list[tuple[int, int]],
    stride: tuple[int, int],
    anchor: tuple[int, int],
):
    down, across = seen.stride_px
    moved = {
        (
            row + (anchor[0] + (i - (taps[0] - 1) // 2) * rate[0]) * down,
            column + (anchor[1] + (j - (taps[1] - 1) // 2) * rate[1]) * across,
        )
        for row, column in pixels_of(seen)
        for rate in rates
        for i in range(taps[0])
        for j in range(taps[1])
    }
    after = seen.through(taps, rates, stride=stride, anchor=anchor)
    assert pixels_of(after) == moved
    assert after.stride_px == (down * stride[0], across * stride[1])
    assert after.seen == len(moved)


@settings(deadline=None, max_examples=60)
@given(st.lists(coverages(stride=(2, 3)), min_size=1, max_size=4), st.data())
def test_union_commutes_associates_and_is_idempotent(some: list[Coverage], data: st.DataObject):
    whole = some[0].union(*some[1:])
    assert pixels_of(whole) == set().union(*map(pixels_of, some))
    first, *others = data.draw(st.permutations(some))
    assert first.union(*others) == whole
    cut = data.draw(st.integers(1, len(some)))
    assert some[0].union(*some[1:cut]).union(*some[cut:]) == whole
    assert whole.union(*some) == whole


@settings(deadline=None, max_examples=60)
@given(
    st.lists(
        st.tuples(coverages(), *[st.sets(st.integers(-5, 5), min_size=1)] * 2),
        min_size=1,
        max_size=4,
    )
)
def test_gather_moves_copies(some: list[tuple[Coverage, set[int], set[int]]]):
    parts = [(seen, (sorted(down), sorted(across))) for seen, down, across in some]
    gathered = Coverage.gather(parts, (3, 7))
    assert gathered.stride_px == (3, 7)
    assert pixels_of(gathered) == {
        (row + down, column + across)
        for seen, downs, acrosses in some
        for row, column in pixels_of(seen)
        for down in downs
        for across in acrosses
    }


@settings(deadline=None, max_examples=40)
@given(coverages(stride=(2, 1)), coverages(stride=(2, 1)), st.lists(pairs, min_size=1, max_size=2))
def test_through_is_monotone(some: Coverage, others: Coverage, rates: list[tuple[int, int]]):
    more = some.union(others)
    assert pixels_of(some.through((3, 2), rates)) <= pixels_of(more.through((3, 2), rates))


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(st.integers(1, 4), st.integers(1, 6), st.integers(1, 2)), max_size=5))
def test_the_box_of_a_chain_is_its_field(layers: list[tuple[int, int, int]]):
    seen, field = Coverage.point(), Field()
    for taps, rate, stride in layers:
        seen = seen.through((taps, 1), [(rate, 1)], stride=(stride, 1))
        field = field.through(taps, rate, stride)
    assert seen.size_px == (field.size_px, 1)
    assert seen.stride_px == (field.stride_px, 1)
