"""The two published rules against gaps, and where they part from the truth."""

import pytest

from dilsearch.errors import GeometryError
from dilsearch.geometry import Coverage, Field, hdc_m2, hdc_ok, max_rate


@pytest.mark.parametrize(
    ("field", "bound"),
    [
        (Field(63, 16), 3),
        (Field(95, 16), 5),
        (Field(64, 16), 4),
        (Field(1, 1), 1),
        (Field(1, 2), 0),
    ],
)
def test_bound_is_the_floor_of_size_over_stride(field: Field, bound: int):
    assert max_rate(field) == bound  # RegSeg Eq. 3


@pytest.mark.parametrize(
    ("rates", "m2"),
    [
        ([1, 2, 5], 2),
        ([1, 2, 9], 5),
        ([2, 4, 8], 4),
        ([1, 2, 7], 3),
        ([1, 2, 3], 2),
        ([2, 2, 2], 2),
        ([5, 9, 17], 9),
    ],
)
def test_hdc_distance(rates: list[int], m2: int):
    # HDC (Wang et al. 2018), Eq. 2 and the examples beside it.
    assert hdc_m2(rates) == m2
    assert hdc_ok(rates) == (m2 <= 3)


def test_hdc_goal_is_the_number_of_taps():
    assert not hdc_ok([1, 2, 9])
    assert hdc_ok([1, 2, 9], taps=5)


def test_hdc_passes_a_stack_with_holes():
    seen = Coverage.point()
    for rate in (2, 2, 2):
        seen = seen.through((1, 3), [(1, rate)])
    assert hdc_ok([2, 2, 2])
    assert seen.holes == 6


def test_hdc_needs_two_layers():
    with pytest.raises(GeometryError, match="1 rates were given; give the rates of at least 2"):
        hdc_m2([3])


def test_hdc_refuses_rates_below_1():
    with pytest.raises(GeometryError, match="rate 0 is below 1"):
        hdc_m2([1, 0, 2])
