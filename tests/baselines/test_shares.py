"""Shares of rates: any of them are a sound plan, and every sound plan has its shares."""

import math
from itertools import pairwise

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from searched_graphs import Searched, regseg_body, searched_graphs

from dilsearch.baselines.shares import rates_from_shares, share_names, shares_of
from dilsearch.errors import PlanError, SweepError
from dilsearch.geometry import project
from dilsearch.models.rates import PUBLISHED_RATES
from dilsearch.plan import DilationPlan, SiteRates
from dilsearch.runs.rate_columns import rate_values

BODY = regseg_body()
PAIRS = ("dnas_table2", "exp30", "exp43", "exp46", "exp47", "exp48", "exp52")


def published(name: str) -> DilationPlan:
    rates = (entry * 2 if len(entry) == 1 else entry for entry in PUBLISHED_RATES[name])
    return DilationPlan.per_branch(dict(zip(BODY.form, rates, strict=True)))


def drawn_shares(data: st.DataObject, form: DilationPlan) -> dict[str, float]:
    share = st.floats(0, 1) | st.sampled_from([0.0, 1.0])
    return {name: data.draw(share) for name in share_names(form)}


def in_order(plan: DilationPlan) -> bool:
    return all(
        before <= behind
        for entry in plan.sites.values()
        for column in zip(*entry.rows, strict=True)
        for before, behind in pairwise(column)
    )


class TestNames:
    def test_they_are_those_of_rate_columns(self):
        form = DilationPlan(
            {
                "one": SiteRates("site", (1,)),
                "four": SiteRates("branch", (1, 1, 1, 1)),
                "apart": SiteRates("branch", (1, 1, 1, 1), axes=2),
            }
        )
        assert share_names(form) == tuple(rate_values(form))
        assert share_names(form)[-3:] == ("apart[0.1]", "apart[1.0]", "apart[1.1]")

    def test_channels_have_two_however_many_they_are(self):
        form = DilationPlan({"a": SiteRates("channel", (1,) * 64)})
        assert share_names(form) == ("a[min]", "a[max]")
        apart = DilationPlan({"a": SiteRates("channel", (1,) * 64, axes=2)})
        assert share_names(apart) == ("a[min.0]", "a[min.1]", "a[max.0]", "a[max.1]")


class TestRates:
    def plan(self, **shares: float) -> tuple[float, ...]:
        """The last site's rates, where all shares in front are 1: highest allowed 18."""
        given = dict.fromkeys(share_names(BODY.form), 1.0)
        given |= {f"body.17.conv2[{branch}]": shares[f"b{branch}"] for branch in (0, 1)}
        rates = rates_from_shares(given, BODY.form, BODY.graph, limits=BODY.limits)
        return rates["body.17.conv2"]

    def test_zero_is_the_lowest_and_one_the_highest_allowed(self):
        assert self.plan(b0=0.0, b1=0.0) == (1, 1)
        assert self.plan(b0=0.0, b1=1.0) == (1, 18)
        assert self.plan(b0=1.0, b1=1.0) == (18, 18)

    def test_between_them_rates_follow_on_the_log_scale(self):
        for share in (0.1, 0.3, 0.5, 0.77):
            assert self.plan(b0=0.0, b1=share) == (1, round(math.exp(share * math.log(18))))

    def test_a_branch_lies_below_the_one_behind_it(self):
        assert self.plan(b0=1.0, b1=0.5) == (4, 4)
        assert self.plan(b0=0.5, b1=0.5) == (2, 4)

    def test_the_bound_counts_only_where_it_is_enforced(self):
        shares = dict.fromkeys(share_names(BODY.form), 1.0)
        held = rates_from_shares(shares, BODY.form, BODY.graph, limits=BODY.limits)
        assert held["body.5.conv2"] == (3, 3)
        free = rates_from_shares(shares, BODY.form, BODY.graph, limits=BODY.limits, enforce=False)
        assert free["body.5.conv2"] == (18, 18)

    def test_channels_are_spread_evenly_between_the_outer_two(self):
        net = regseg_body("channel", count=5, upper=16)
        shares = {name: float(name.endswith("[max]")) for name in share_names(net.form)}
        plan = rates_from_shares(shares, net.form, net.graph, limits=net.limits)
        assert plan["body.17.conv2"] == (1, 2, 4, 8, 16)


@settings(deadline=None, max_examples=25)
@given(net=searched_graphs(), enforce=st.booleans(), data=st.data())
def test_any_shares_are_a_sound_plan_and_come_back(net: Searched, enforce: bool, data):
    assume(net.lower_limits_fit())
    shares = drawn_shares(data, net.form)
    settings_ = {"limits": net.limits, "enforce": enforce}
    plan = rates_from_shares(shares, net.form, net.graph, **settings_)
    assert plan.is_integer
    assert in_order(plan)
    for site, (lower, upper) in net.limits.items():
        assert lower <= min(plan[site]) <= max(plan[site]) <= upper
    if enforce:
        assert net.graph.propagate(plan).bound_ok
    back = shares_of(plan, net.graph, **settings_)
    assert tuple(back) == share_names(net.form)
    assert all(0 <= share <= 1 for share in back.values())
    assert rates_from_shares(back, net.form, net.graph, **settings_) == plan


@settings(deadline=None, max_examples=25)
@given(net=searched_graphs(), data=st.data())
def test_every_sound_plan_has_shares_that_give_it_back(net: Searched, data):
    assume(net.lower_limits_fit())
    drawn = {}
    for site, entry in net.form.sites.items():
        limits = st.integers(*net.limits[site])
        columns = []
        for _ in range(entry.axes):
            if entry.kind == "channel":  # spread channels are tested above
                columns.append([data.draw(limits)] * entry.count)
            else:
                columns.append(sorted(data.draw(limits) for _ in range(entry.count)))
        drawn[site] = tuple(rate for row in zip(*columns, strict=True) for rate in row)
    plan = project(net.form.replace(drawn), net.graph, "enforce", limits=net.limits).plan
    assert in_order(plan)
    shares = shares_of(plan, net.graph, limits=net.limits)
    assert rates_from_shares(shares, net.form, net.graph, limits=net.limits) == plan


@settings(deadline=None, max_examples=25)
@given(lowest=st.integers(1, 40), room=st.integers(0, 400), data=st.data())
@example(lowest=1, room=10**6, data=None)
def test_every_rate_between_any_limits_comes_back(lowest, room, data):
    net = regseg_body("site", count=1)
    limits = dict.fromkeys(net.form, (lowest, lowest + room))
    pick = st.integers(lowest, lowest + room)
    rates = [data.draw(pick) if data else 999_983 for _ in net.form]
    plan = net.form.replace({site: (rate,) for site, rate in zip(net.form, rates, strict=True)})
    shares = shares_of(plan, net.graph, limits=limits, enforce=False)
    again = rates_from_shares(shares, net.form, net.graph, limits=limits, enforce=False)
    assert again == plan


@pytest.mark.parametrize("name", PAIRS)
def test_published_rates_have_shares(name: str):
    plan = published(name)
    keeps = name != "exp30"  # its first 4 exceeds the bound of 3
    shares = shares_of(plan, BODY.graph, limits=BODY.limits, enforce=keeps)
    again = rates_from_shares(shares, BODY.form, BODY.graph, limits=BODY.limits, enforce=keeps)
    assert again == plan
    if not keeps:
        with pytest.raises(PlanError, match=r"'body.5.conv2': rate 4 is not a whole number from 1"):
            shares_of(plan, BODY.graph, limits=BODY.limits)


class TestFaults:
    def test_shares_must_be_those_of_the_plan(self):
        shares = dict.fromkeys(share_names(BODY.form), 0.5)
        wrong = {**shares, "body.4.conv2[0]": 0.5, "body.6.conv2[1]": 1.5}
        del wrong["body.5.conv2[0]"]
        with pytest.raises(SweepError) as caught:
            rates_from_shares(wrong, BODY.form, BODY.graph, limits=BODY.limits)
        for fault in (
            "'body.5.conv2[0]' is missing",
            "'body.4.conv2[0]' is the share of no rate",
            "'body.6.conv2[1]' = 1.5 is not a number from 0 to 1",
        ):
            assert fault in str(caught.value)
        rates_from_shares(shares, BODY.form, BODY.graph, limits=BODY.limits)  # the control

    @pytest.mark.parametrize("share", [float("nan"), -0.1, float("inf")])
    def test_a_share_is_a_number_from_zero_to_one(self, share: float):
        shares = dict.fromkeys(share_names(BODY.form), share)
        with pytest.raises(SweepError, match=r"is not a number from 0 to 1"):
            rates_from_shares(shares, BODY.form, BODY.graph, limits=BODY.limits)

    @pytest.mark.parametrize(
        ("site", "text"),
        [
            (SiteRates("branch", (3, 1)), r"site 'body.5.conv2': rates \(3, 1\) do not ascend"),
            (SiteRates("branch", (1, 2.5)), r"rates \(1, 2.5\) are not whole; project the plan"),
            (SiteRates("branch", (1, 2, 2, 1), axes=2), r"rates \(1x2, 2x1\) do not ascend"),
            (
                SiteRates("channel", (1, 1, 3)),
                r"channels with the rates \(1, 1, 3\) are not spread",
            ),
            (SiteRates("channel", (3, 2, 1)), r"rates \(3, 2, 1\) do not ascend"),
        ],
    )
    def test_rates_that_no_shares_stand_for_are_refused(self, site: SiteRates, text: str):
        plan = DilationPlan({**BODY.form.sites, "body.5.conv2": site})
        with pytest.raises(SweepError, match=text):
            shares_of(plan, BODY.graph, limits=BODY.limits)

    def test_all_of_them_are_named(self):
        plan = BODY.form.replace(dict.fromkeys(("body.6.conv2", "body.9.conv2"), (2, 1)))
        with pytest.raises(SweepError, match=r"(?s)body\.6\.conv2.*body\.9\.conv2"):
            shares_of(plan, BODY.graph, limits=BODY.limits)

    def test_a_rate_beyond_its_bound_has_none(self):
        plan = BODY.form.replace({"body.5.conv2": (1, 4)})
        with pytest.raises(PlanError, match="from 1 to 3"):
            shares_of(plan, BODY.graph, limits=BODY.limits)
        assert shares_of(plan, BODY.graph, limits=BODY.limits, enforce=False)
