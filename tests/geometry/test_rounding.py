"""Rounding by kind and by axis."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dilsearch.geometry.rounding import rounded
from dilsearch.plan import SiteRates

rates = st.floats(1, 20)


class TestKinds:
    def test_a_site_is_rounded_up(self):
        assert rounded(SiteRates("site", (2.01,))) == ((3,), ("ceil",))
        assert rounded(SiteRates("branch", (2.01,))) == ((3,), ("ceil",))

    def test_branches_keep_the_extremes(self):
        whole, rules = rounded(SiteRates("branch", (2.5, 1.9, 7.1)))
        assert whole == (3, 1, 8)
        assert rules == ("nearest", "floor of the smaller", "ceil of the larger")

    @pytest.mark.parametrize(("rate", "whole"), [(2.49, 2), (2.5, 3), (3.5, 4), (2.51, 3), (4, 4)])
    def test_channels_go_to_the_nearest_halves_up(self, rate: float, whole: int):
        assert rounded(SiteRates("channel", (rate,))) == ((whole,), ("nearest",))
        assert rounded(SiteRates("channel", (1, rate)))[0] == (1, whole)


class TestAxes:
    def test_each_axis_is_rounded_by_itself(self):
        assert rounded(SiteRates("site", (2.1, 3), axes=2))[0] == (3, 3)
        # heights 1.9 and 1.3, widths 4.2 and 6.5: the smaller is now the one, now the other
        whole, rules = rounded(SiteRates("branch", (1.9, 4.2, 1.3, 6.5), axes=2))
        assert whole == (2, 4, 1, 7)
        assert rules == (
            *("ceil of the larger", "floor of the smaller"),
            *("floor of the smaller", "ceil of the larger"),
        )
        assert rounded(SiteRates("channel", (1.5, 1.4, 2.6), axes=3))[0] == (2, 1, 3)

    @settings(deadline=None, max_examples=60)
    @given(
        kind=st.sampled_from(["site", "branch", "channel"]),
        values=st.lists(rates, min_size=1, max_size=5),
        axes=st.integers(1, 3),
    )
    def test_equal_axes_are_rounded_as_one(self, kind: str, values: list[float], axes: int):
        values = values[:1] if kind == "site" else values
        together = rounded(SiteRates(kind, tuple(values)))
        apart = tuple(rate for rate in values for _ in range(axes))
        for one, each in zip(together, rounded(SiteRates(kind, apart, axes)), strict=True):
            assert each == tuple(value for value in one for _ in range(axes))


@settings(deadline=None, max_examples=60)
@given(kind=st.sampled_from(["branch", "channel"]), values=st.lists(rates, min_size=1, max_size=6))
def test_rounded_rates_stay_within_whole_limits_and_round_to_themselves(
    kind: str, values: list[float]
):
    whole, _ = rounded(SiteRates(kind, tuple(values)))
    assert all(math.floor(min(values)) <= rate <= math.ceil(max(values)) for rate in whole)
    assert all(abs(rate - value) < 1 for rate, value in zip(whole, values, strict=True))
    assert rounded(SiteRates(kind, whole))[0] == whole
