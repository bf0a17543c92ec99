"""The bound of a site in words and numbers, and limits."""

import math

import pytest

from dilsearch.errors import PlanError
from dilsearch.geometry import Span, Window
from dilsearch.geometry.bounds import Bound, attainable, bounds_of, check_limits, limits_of
from dilsearch.plan import DilationPlan

WIDE = Span((0,), (14,), 4)  # 15 px at stride 4: bound 3
WIDER = Span((0,), (22,), 4)  # 23 px: bound 5


def window(*taps: int) -> Window:
    axes = len(taps)
    return Window("site", "image", taps, (1,) * axes, (0,) * axes, ((1,) * axes,), True)


def test_one_rate_for_all_axes_keeps_the_tightest_bound_that_it_spans():
    (both,) = bounds_of(window(3, 3), (WIDER, WIDE), 1)
    assert (both.rate, str(both)) == (3, "bound 3 (field 15 px, stride 4 px)")
    (height,) = bounds_of(window(3, 1), (WIDER, WIDE), 1)
    assert height.rate == 5


def test_each_axis_with_rates_of_its_own_has_its_bound():
    bounds = bounds_of(window(3, 3), (WIDER, WIDE), 2)
    assert [bound.rate for bound in bounds] == [5, 3]
    assert str(bounds[1]) == "bound 3 along width (field 15 px, stride 4 px)"
    flat = bounds_of(window(3, 1), (WIDER, WIDE), 2)
    assert (flat[1].rate, str(flat[1])) == (math.inf, "no bound")
    deep = bounds_of(window(3, 3, 3), (WIDER, WIDE, WIDE), 3)
    assert deep[2].axis == "axis 2"


def test_a_bound_leaves_room_above_the_lower_limit():
    assert attainable("site", Bound(WIDE), 3) == 3
    with pytest.raises(PlanError, match=r"site 'site': its lower limit 4 exceeds bound 3 \(field"):
        attainable("site", Bound(WIDE), 4)


def test_sites_without_limits_begin_at_one():
    assert limits_of("a", {"a": (2, 5)}) == (2, 5)
    assert limits_of("b", {"a": (2, 5)}) == limits_of("b", None) == (1, math.inf)


def test_all_rates_outside_their_limits_are_named():
    plan = DilationPlan.per_branch({"a": (1, 6, 7), "b": (1, 1), "c": (0.5,)})
    with pytest.raises(PlanError) as caught:
        check_limits(plan, {"a": (1, 5)})
    assert "site 'a': rate 6.0 is outside its limits 1 to 5, like 1 more" in str(caught.value)
    assert "site 'c': rate 0.5 is outside its limits 1 to inf" in str(caught.value)
    assert "'b'" not in str(caught.value)
    check_limits(plan.replace({"c": (1,)}), {"a": (1, 7)})
