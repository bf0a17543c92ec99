"""Growth of the field along chains and at joins."""

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dilsearch.errors import GeometryError
from dilsearch.geometry import Field, join

fields = st.builds(Field, st.integers(1, 500), st.integers(1, 32))
same_stride = st.lists(st.builds(Field, st.integers(1, 500), st.just(8)), min_size=1, max_size=4)


def test_two_strided_convolutions_give_field_7_at_stride_4():
    # The formula k + (k' - 1) r s by hand: 1 -> 3 -> 3 + 2 * 2.
    assert Field().through(3, stride=2).through(3, stride=2) == Field(7, 4)


def test_rate_counts_in_positions_of_the_source():
    assert Field(63, 16).through(3, 14) == Field(63 + 2 * 14 * 16, 16)


def test_context_module_reaches_67_px():
    # Yu & Koltun (2016), Tab. 1: rates 1, 1, 2, 4, 8, 16, 1 and a 1x1.
    field, sizes = Field(), []
    for taps, rate in ((3, 1), (3, 1), (3, 2), (3, 4), (3, 8), (3, 16), (3, 1), (1, 1)):
        field = field.through(taps, rate)
        sizes.append(field.size_px)
    assert sizes == [3, 5, 9, 17, 33, 65, 67, 67]


def test_a_whole_float_rate_counts_as_the_integer():
    field = Field(7, 4).through(3, 2.0)
    assert field == Field(23, 4)
    assert type(field.size_px) is int


@pytest.mark.parametrize("rate", [1.5, 0, 0.0, -1, float("nan"), float("inf")])
def test_other_rates_are_refused(rate: float):
    with pytest.raises(GeometryError, match=f"rate {rate} is not a whole number of at least 1"):
        Field().through(3, rate)


@pytest.mark.parametrize(
    ("size", "stride"), [(0, 1), (1, 0), (-3, 1), (1, Fraction(0)), (1, Fraction(-3))]
)
def test_impossible_fields_are_refused(size: int, stride: int):
    with pytest.raises(GeometryError, match=r"field (size|stride) (0|-3) is not a whole number"):
        Field(size, stride)


def test_zero_taps_are_refused():
    with pytest.raises(GeometryError, match="taps 0 is not a whole number"):
        Field().through(0)


def test_a_fractional_stride_grows_the_field_by_whole_pixels():
    # Super-resolution: twice as many positions as pixels.
    field = Field(2, Fraction(1, 2)).through(3, 2)
    assert field == Field(4, Fraction(1, 2))
    assert type(field.size_px) is int
    assert field.through(1, stride=2) == Field(4, 1)
    assert join(field, Field(7, Fraction(1, 2))) == Field(7, Fraction(1, 2))
    with pytest.raises(GeometryError, match="strides 1/2 px and 1 px cannot meet"):
        join(field, Field(7, 1))


def test_a_field_that_ends_between_pixels_is_refused():
    with pytest.raises(GeometryError, match="field size 5/2 is not a whole number"):
        Field(2, Fraction(1, 2)).through(2)


@pytest.mark.parametrize("stride", [0.5, 1.5])
def test_a_fraction_is_not_a_float(stride: float):
    with pytest.raises(GeometryError, match=f"field stride {stride} is not a whole number"):
        Field(7, stride)


def test_join_keeps_the_largest():
    assert join(Field(63, 16), Field(95, 16), Field(79, 16)) == Field(95, 16)


def test_join_refuses_unlike_strides():
    with pytest.raises(GeometryError, match="strides 4 px and 8 px cannot meet"):
        join(Field(7, 8), Field(7, 4))


def test_join_refuses_nothing():
    with pytest.raises(GeometryError, match="nothing to join"):
        join()


@settings(deadline=None, max_examples=50)
@given(same_stride, st.data())
def test_join_commutes_associates_and_is_idempotent(some: list[Field], data: st.DataObject):
    whole = join(*some)
    assert join(*data.draw(st.permutations(some))) == whole
    cut = data.draw(st.integers(1, len(some)))
    assert join(join(*some[:cut]), *some[cut:]) == whole
    assert join(whole, *some) == whole


@settings(deadline=None, max_examples=50)
@given(fields, st.integers(0, 9), st.integers(1, 7), st.integers(1, 9), st.integers(1, 3))
def test_through_is_monotone(field: Field, more: int, taps: int, rate: int, stride: int):
    larger = Field(field.size_px + more, field.stride_px)
    after = field.through(taps, rate, stride)
    assert after.size_px >= field.size_px
    assert larger.through(taps, rate, stride).size_px - after.size_px == more
    assert field.through(taps, rate + more, stride).size_px >= after.size_px
    assert field.through(taps + more, rate, stride).size_px >= after.size_px
