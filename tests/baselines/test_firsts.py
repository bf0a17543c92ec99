"""Lists tried first: fitted to limits, order and bound, or refused."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sweep_parts import FORM, LIMITS, NAMES, graph

from dilsearch.baselines.constraints import bound_excess, order_excess
from dilsearch.baselines.firsts import FirstPlan, fit_first
from dilsearch.baselines.shares import rates_from_shares
from dilsearch.errors import SweepError
from dilsearch.plan import DilationPlan, SiteRates


def branches(*pairs: tuple[float, ...]) -> DilationPlan:
    return DilationPlan.per_branch(dict(zip(NAMES, pairs, strict=False)))


def fit(given: DilationPlan, *, form: DilationPlan = FORM, enforce: bool = True) -> FirstPlan:
    return fit_first("exp48", given, form, graph(), limits=LIMITS, enforce=enforce)


def test_one_that_fits_is_taken_as_it_is():
    given = branches((1, 3), (1, 4), (2, 5), (9, 9))
    first = fit(given)
    assert first.plan == given
    assert first.remarks == ()


def test_what_is_changed_is_said():
    given = branches((1, 4), (1, 12), (2, 1), (1, 30))
    limits = dict.fromkeys(NAMES, (1, 20))
    first = fit_first("exp48", given, FORM, graph(), limits=limits, enforce=True)
    assert first.plan == branches((1, 3), (1, 9), (1, 2), (1, 20))
    assert first.remarks == (
        "exp48: site 'a' (1, 4) lowered to (1, 3)",
        "exp48: site 'b' (1, 12) lowered to (1, 9)",  # the bound behind 3; behind 4 it is 11
        "exp48: site 'c' (2, 1) put in order to (1, 2)",
        "exp48: site 'd' (1, 30) lowered to (1, 20)",
    )


def test_what_lies_below_a_limit_is_raised():
    limits = {**LIMITS, "b": (2, 9)}
    given = branches((1, 3), (1, 4), (2, 5), (9, 9))
    first = fit_first("list", given, FORM, graph(), limits=limits, enforce=True)
    assert first.plan["b"] == (2, 4)
    assert first.remarks == ("list: site 'b' (1, 4) raised to (2, 4)",)


@given(
    pairs=st.lists(st.tuples(st.integers(1, 40), st.integers(1, 40)), min_size=4, max_size=4),
    enforce=st.booleans(),
)
@settings(max_examples=25, deadline=None)
def test_any_list_becomes_a_plan_that_can_be_proposed(pairs: list[tuple[int, int]], enforce: bool):
    given = branches(*pairs)
    first = fit(given, enforce=enforce)
    assert order_excess(first.plan) <= 0
    assert bound_excess(first.plan, graph()) <= 0 or not enforce
    made = rates_from_shares(first.shares, FORM, graph(), limits=LIMITS, enforce=enforce)
    assert made == first.plan
    assert len(first.remarks) == sum(first.plan[site] != given[site] for site in NAMES)
    again = fit(first.plan, enforce=enforce)
    assert (again.plan, again.remarks) == (first.plan, ())


def test_channels_with_one_rate():
    form = DilationPlan({name: SiteRates("channel", (1,) * 6) for name in NAMES})
    given = DilationPlan({name: SiteRates("channel", (7,) * 6) for name in NAMES})
    assert fit(given, form=form).plan["a"] == (3,) * 6


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            branches((1, 1), (1, 2)),
            "first list 'exp48' has 2 sites, and 4 are searched; give an entry for each",
        ),
        (
            branches((1, 1), (1, 2), (1, 2, 3, 4), (1, 1)),
            "first list 'exp48' does not fit: it has 4 branches for site 'c', which has 2 "
            "branches; give a rate for each",
        ),
        (
            branches((1, 1), (1, 2), (1, 2.5), (1, 1)),
            r"rates \(1, 2.5\) of site 'c' are not whole; round them",
        ),
        (
            DilationPlan.per_branch(dict.fromkeys(("a", "b", "c", "e"), (1, 1))),
            "it has no rates for site 'd'; it has a, b, c, e",
        ),
        (
            DilationPlan({name: SiteRates("site", (1, 2), axes=2) for name in NAMES}),
            "4 faults:\n  - it has 1 rate with a rate for each of 2 axes for site 'a', which has 2",
        ),
    ],
)
def test_refused(given: DilationPlan, message: str):
    with pytest.raises(SweepError, match=message):
        fit(given)


def test_channels_that_no_shares_stand_for():
    form = DilationPlan({name: SiteRates("channel", (1,) * 4) for name in NAMES})
    given = DilationPlan({name: SiteRates("channel", (3, 1, 1, 2)) for name in NAMES})
    with pytest.raises(SweepError, match="first list 'exp48': the plan has no shares"):
        fit(given, form=form)
