"""What may vary at a site: limits that are possible, and errors for those that are not."""

import pytest

from dilsearch.errors import SpaceError
from dilsearch.sites import Kernel, PerBranch, PerChannel, PerSite


def test_kinds_and_branches():
    assert (PerSite(1, 8).kind, PerSite(1, 8).branches) == ("site", 1)
    assert (PerBranch(1, 18).kind, PerBranch(1, 18).branches) == ("branch", 2)
    assert PerBranch(1, 18, branches=4).branches == 4
    assert PerChannel(1, 4).kind == "channel"
    assert not hasattr(PerChannel(1, 4), "branches")  # as many as there are channels


@pytest.mark.parametrize("granularity", [PerSite, PerBranch, PerChannel])
def test_axes_are_shared_and_the_middle_tap_stays_unless_asked_for(granularity):
    plain = granularity(1, 8)
    assert (plain.separate_axes, plain.causal, plain.initial) == (False, False, None)
    asked = granularity(1, 8, separate_axes=True, causal=True)
    assert (asked.separate_axes, asked.causal) == (True, True)


@pytest.mark.parametrize("granularity", [PerSite, PerBranch, PerChannel])
def test_the_initial_rate_may_be_drawn(granularity):
    assert granularity(1, 8, initial="uniform").initial == "uniform"
    with pytest.raises(SpaceError, match=f"{granularity.__name__}: initial = 'even' is no rate"):
        granularity(1, 8, initial="even")


class TestKernel:
    def test_one_number_is_for_all_axes(self):
        assert Kernel(3).matches((3,))
        assert Kernel(3).matches((3, 3, 3))
        assert not Kernel(3).matches((1, 3))

    def test_a_number_for_each_axis(self):
        assert Kernel((1, 3)).matches([1, 3])
        assert not Kernel((1, 3)).matches((3, 1))
        assert not Kernel((3,)).matches((3, 3))

    @pytest.mark.parametrize("size", [0, 2.5, (3, 0), (), True, "3"])
    def test_what_is_no_number_of_taps(self, size):
        with pytest.raises(SpaceError, match="is not a number of taps; give Kernel\\(3\\), or one"):
            Kernel(size)


def test_equal_limits_and_initial_rates_on_a_limit_are_possible():
    assert PerSite(2, 2, initial=2.0) == PerSite(2, 2, 2.0)
    assert PerBranch(1, 18, initial=18.0).initial == 18.0


@pytest.mark.parametrize("granularity", [PerSite, PerBranch, PerChannel])
@pytest.mark.parametrize(
    ("lower", "upper", "initial", "text"),
    [
        (0, 8, None, "lower = 0, but a dilation rate is at least 1"),
        (5, 4, None, "upper = 4 is below lower = 5"),
        (1.5, 4, None, "lower = 1.5 is not an integer"),
        (1, 4.0, None, "upper = 4.0 is not an integer"),
        (True, 4, None, "lower = True is not an integer"),
        (2, 4, 1.0, "initial = 1.0 is outside the limits 2 to 4"),
        (2, 4, 4.5, "initial = 4.5 is outside the limits 2 to 4"),
        (2, 4, float("nan"), "initial = nan is outside the limits 2 to 4"),
    ],
)
def test_impossible_limits_name_the_value(granularity, lower, upper, initial, text):
    with pytest.raises(SpaceError, match=f"{granularity.__name__}: {text}"):
        granularity(lower, upper, initial=initial)


@pytest.mark.parametrize("branches", [0, -2, 1.5])
def test_impossible_branches(branches):
    with pytest.raises(SpaceError, match=f"branches = {branches}, but a site has a whole number"):
        PerBranch(1, 4, branches=branches)
