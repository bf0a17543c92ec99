"""What may vary at a site: limits that are possible, and errors for those that are not."""

import pytest

from dilsearch.errors import SpaceError
from dilsearch.sites import PerBranch, PerSite


def test_kinds_and_branches():
    assert (PerSite(1, 8).kind, PerSite(1, 8).branches) == ("site", 1)
    assert (PerBranch(1, 18).kind, PerBranch(1, 18).branches) == ("branch", 2)
    assert PerBranch(1, 18, branches=4).branches == 4


def test_equal_limits_and_initial_rates_on_a_limit_are_possible():
    assert PerSite(2, 2, initial=2.0) == PerSite(2, 2, 2.0)
    assert PerBranch(1, 18, initial=18.0).initial == 18.0


@pytest.mark.parametrize("granularity", [PerSite, PerBranch])
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
