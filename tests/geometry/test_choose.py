"""Integer rates chosen site by site: what is offered is what the bound and the limits allow."""

from dataclasses import replace

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from searched_graphs import regseg_body, searched_graphs

from dilsearch.errors import PlanError
from dilsearch.geometry import choose_rates
from dilsearch.geometry.choose import choose_with_fields
from dilsearch.plan import DilationPlan

BODY = regseg_body()


def test_the_highest_rate_follows_from_the_rates_in_front():
    offered = []

    def choose(site: str, highest: tuple[int, ...]) -> tuple[int, int]:
        offered.extend(highest)
        return (1, 2)

    plan = choose_rates(BODY.form, BODY.graph, choose, limits=BODY.limits)
    # 63 px at stride 16, and 64 px more behind each rate of 2; RegSeg Eq. 3. Then the limit, 18.
    assert offered[:5] == [3, 7, 11, 15, 18]
    assert set(plan.values()) == {(1, 2)}
    assert BODY.graph.propagate(plan).field_px == 63 + 32 * 26


def test_without_the_bound_only_the_limit_counts():
    plan = choose_rates(
        BODY.form, BODY.graph, lambda _, highest: (1, *highest), limits=BODY.limits, enforce=False
    )
    assert set(plan.values()) == {(1, 18)}
    assert not BODY.graph.propagate(plan).bound_ok


def test_fields_are_those_behind_the_last_site():
    chosen = choose_with_fields(BODY.form, BODY.graph, lambda _, __: (1, 3), limits=BODY.limits)
    assert [field.size_px for field in chosen.fields] == [63 + 32 * 39] * 2
    none = choose_with_fields(DilationPlan({}), BODY.graph, lambda _, __: ())
    assert (none.plan, none.fields) == (DilationPlan({}), ())


@pytest.mark.parametrize(
    ("rates", "text"),
    [
        ((1, 4), "site 'body.5.conv2': rate 4 is not a whole number from 1 to 3, which limits and"),
        ((0, 3), "site 'body.5.conv2': rate 0 is not a whole number from 1 to 3"),
        ((1, 2.5), "site 'body.5.conv2': rate 2.5 is not a whole number"),
        ((1,), "site 'body.5.conv2': 1 rates are chosen where it has 2; choose one for each"),
    ],
)
def test_what_is_not_allowed_is_refused(rates, text):
    with pytest.raises(PlanError, match=text):
        choose_rates(BODY.form, BODY.graph, lambda _, __: rates, limits=BODY.limits)
    # The control: the bound of 3 itself is allowed.
    choose_rates(BODY.form, BODY.graph, lambda _, __: (1, 3), limits=BODY.limits)


def test_a_bound_below_a_lower_limit_is_refused():
    limits = {**BODY.limits, "body.5.conv2": (4, 18)}
    with pytest.raises(PlanError, match=r"'body.5.conv2': its lower limit 4 exceeds bound 3"):
        choose_rates(BODY.form, BODY.graph, lambda _, __: (4, 4), limits=limits)


def test_a_rate_that_nothing_limits_is_refused():
    with pytest.raises(PlanError, match="has neither an upper limit nor a bound"):
        choose_rates(BODY.form, BODY.graph, lambda _, __: (1, 1), enforce=False)
    # The control: the bound is one.
    choose_rates(BODY.form, BODY.graph, lambda _, __: (1, 1))


@settings(deadline=None, max_examples=60)
@given(net=searched_graphs(), data=st.data())
def test_any_choice_within_what_is_offered_leaves_no_gap_and_more_would(net, data):
    assume(net.lower_limits_fit())
    offered = {}

    def choose(site: str, highest: tuple[int, ...]) -> list[int]:
        lower, offered[site] = net.limits[site][0], highest
        count = net.form.sites[site].count
        return [data.draw(st.integers(lower, most)) for _ in range(count) for most in highest]

    chosen = choose_with_fields(net.form, net.graph, choose, limits=net.limits)
    table = net.graph.propagate(chosen.plan)
    assert table.bound_ok
    assert chosen.fields == table.at(table.last_site)
    for row in table.rows:
        (lower, upper), entry = net.limits[row.name], chosen.plan.sites[row.name]
        assert all(lower <= rate <= upper for rate in entry.rates)
        assert replace(entry, rates=net.form[row.name]) == net.form.sites[row.name]
        for axis, most in enumerate(offered[row.name]):
            spanned = [row.bounds[a] for a in range(2) if row.taps[a] > 1]
            alone = row.bounds[axis] if row.taps[axis] > 1 else upper
            assert most == min(upper, alone if entry.axes == 2 else min(spanned))
