"""Sets as disjoint products, against sets of coordinates."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dilsearch.geometry.patterns import (
    Pattern,
    Product,
    TooManyProductsError,
    array_to_bits,
    bits_to_array,
    count,
    from_array,
    hull,
    products,
    to_array,
    unite,
)

Pixels = set[tuple[int, ...]]
SIDE = 6

some_axes = st.integers(1, 3)


def products_of(axes: int, most: int = 6) -> st.SearchStrategy[list[Product]]:
    bits = st.integers(0, 2**SIDE - 1)
    return st.lists(st.tuples(*[bits] * axes), max_size=most)


def indices(bits: int) -> list[int]:
    return [index for index in range(SIDE) if bits >> index & 1]


def pixels_of(some: list[Product]) -> Pixels:
    return {pixel for one in some for pixel in product(*map(indices, one))}


def pixels(pattern: Pattern) -> Pixels:
    return pixels_of(list(products(pattern)))


@settings(deadline=None, max_examples=60)
@given(st.data(), some_axes)
def test_a_union_holds_what_its_products_hold(data: st.DataObject, axes: int):
    some = data.draw(products_of(axes))
    united = unite(some)
    assert pixels(united) == pixels_of(some)
    assert count(united) == len(pixels_of(some))


@settings(deadline=None, max_examples=60)
@given(st.data(), some_axes)
def test_its_products_are_disjoint(data: st.DataObject, axes: int):
    made = list(products(unite(data.draw(products_of(axes)))))
    assert sum(len(pixels_of([one])) for one in made) == len(pixels_of(made))
    assert all(all(one) for one in made)


@settings(deadline=None, max_examples=60)
@given(st.data(), some_axes)
def test_unions_commute_associate_and_are_idempotent(data: st.DataObject, axes: int):
    some = data.draw(products_of(axes))
    whole = unite(some)
    assert unite(data.draw(st.permutations(some))) == whole
    cut = data.draw(st.integers(0, len(some)))
    assert unite([*products(unite(some[:cut])), *products(unite(some[cut:]))]) == whole
    assert unite([*some, *some, *products(whole)]) == whole


@settings(deadline=None, max_examples=60)
@given(st.data(), some_axes)
def test_equal_sets_are_equal_values(data: st.DataObject, axes: int):
    # However a set is come by: from its products, from its pixels, or from a picture.
    some = data.draw(products_of(axes))
    whole = unite(some)
    one_by_one = [tuple(1 << index for index in pixel) for pixel in pixels_of(some)]
    picture = np.zeros((SIDE,) * axes, dtype=np.bool_)
    for pixel in pixels_of(some):
        picture[pixel] = True
    assert unite(one_by_one) == whole == from_array(picture)
    assert hash(unite(one_by_one)) == hash(whole)
    others = data.draw(products_of(axes))
    assert (unite(others) == whole) == (pixels_of(others) == pixels_of(some))


@settings(deadline=None, max_examples=60)
@given(st.data(), st.lists(st.integers(1, 9), min_size=1, max_size=3))
def test_pictures_and_back(data: st.DataObject, shape: list[int]):
    size = int(np.prod(shape))
    flat = data.draw(st.lists(st.booleans(), min_size=size, max_size=size))
    picture = np.array(flat, dtype=np.bool_).reshape(shape)
    pattern = from_array(picture)
    assert (to_array(pattern, shape) == picture).all()
    assert count(pattern) == picture.sum()
    assert unite(products(pattern)) == pattern


@settings(deadline=None, max_examples=60)
@given(st.data(), some_axes)
def test_the_hull_is_the_union_along_each_axis(data: st.DataObject, axes: int):
    some = data.draw(products_of(axes))
    found = pixels_of(some)
    sides = hull(unite(some))
    if not found:
        assert sides == ()
    else:
        assert [set(indices(bits)) for bits in sides] == [
            {pixel[axis] for pixel in found} for axis in range(axes)
        ]


@settings(deadline=None, max_examples=60)
@given(st.data(), some_axes, st.integers(1, 6))
def test_a_limit_is_kept_or_refused(data: st.DataObject, axes: int, most: int):
    some = data.draw(products_of(axes))
    whole = unite(some)
    try:
        assert unite(some, most) == whole
        assert len(list(products(whole))) <= most
    except TooManyProductsError:
        assert axes > 1
        assert sum(map(all, some)) > 1


def test_a_limit_is_refused_before_the_union_is_made():
    # Each row of so many has columns of its own.
    side = 5_000
    with pytest.raises(TooManyProductsError):
        unite([(1 << row, 1 << row) for row in range(side)], 10)


def test_by_hand():
    # A cross: its middle row by itself, the rows above and below together.
    cross = unite([(0b010, 0b111), (0b111, 0b010)])
    assert cross == ((0b010, 0b111), (0b101, 0b010))
    assert count(cross) == 5
    assert to_array(cross, (3, 4)).astype(int).tolist() == [
        [0, 1, 0, 0],
        [1, 1, 1, 0],
        [0, 1, 0, 0],
    ]
    assert unite([(0b11,), (0b101,)]) == 0b111
    # Two halves of a product are that product.
    assert unite([(0b01, 0b11), (0b10, 0b11)]) == ((0b11, 0b11),)


@pytest.mark.parametrize("some", [[], [(0, 3)], [(3, 0), (0, 0)]])
def test_nothing(some: list[Product]):
    assert unite(some) == 0 == from_array(np.zeros((2, 3), dtype=np.bool_))
    assert count(0) == 0
    assert list(products(0)) == []
    assert not to_array(unite(some), (2, 3)).any()


def test_thousands_of_pixels_are_a_few_products():
    wide = (1 << 4000) - 1
    pattern = unite([(wide, wide << 9), (wide << 20, wide)])
    assert len(list(products(pattern))) == 3
    assert count(pattern) == 2 * 4000**2 - (4000 - 20) * (4000 - 9)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.booleans(), min_size=1, max_size=40))
def test_bits(line: list[bool]):
    bits = array_to_bits(np.array(line))
    assert bits == sum(1 << index for index, bit in enumerate(line) if bit)
    assert bits_to_array(bits, len(line)).tolist() == line
    assert bits_to_array(bits, len(line) + 5).tolist() == [*line, *[False] * 5]
