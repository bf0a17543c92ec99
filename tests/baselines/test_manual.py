"""Manual schedules: published ones are among them, and the closest is what trying all finds."""

from collections.abc import Iterator

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from searched_graphs import Searched, regseg_body, searched_graphs

from dilsearch.baselines.manual import manual_schedule, manual_schedules
from dilsearch.errors import PlanError, SweepError
from dilsearch.geometry import FieldGraph, Source, Window
from dilsearch.models.rates import PUBLISHED_RATES
from dilsearch.plan import DilationPlan, SiteRates

BODY = regseg_body()


def large(plan: DilationPlan) -> list[float]:
    return [max(rates) for rates in plan.values()]


def side(net: Searched, plan: DilationPlan) -> int:
    field = net.graph.propagate(plan).field_px
    return field if isinstance(field, int) else max(field)


def bounds(net: Searched, plan: DilationPlan, site: str) -> list[float]:
    """What each axis with rates of its own may have at a site: limit and bound, from a table."""
    row = next(row for row in net.graph.propagate(plan).rows if row.name == site)
    upper = net.limits[site][1]
    spanned = [row.bounds[axis] for axis in range(2) if row.taps[axis] > 1]
    if net.form.sites[site].axes == 1:
        return [min(upper, *spanned)]
    return [min(upper, row.bounds[axis]) if row.taps[axis] > 1 else upper for axis in range(2)]


def schedule(net: Searched, growth: int, largest: int) -> DilationPlan:
    """One member of the family, rate by rate and with a table for each site."""
    plan, before = net.form, 0
    for index, (site, entry) in enumerate(net.form.sites.items()):
        lower = net.limits[site][0]
        rate = largest if len(net.form) == 1 else min(largest, growth * index)
        allowed = [min(max(rate, lower, before), most) for most in bounds(net, plan, site)]
        before = max(allowed)
        rows = [allowed] * entry.count
        if entry.kind == "branch":
            rows[:-1] = [[lower] * entry.axes] * (entry.count - 1)
        plan = plan.replace({site: tuple(rate for row in rows for rate in row)})
    return plan


def family(net: Searched) -> Iterator[tuple[int, int, DilationPlan]]:
    top = max(upper for _, upper in net.limits.values())
    lowest = min(lower for lower, _ in net.limits.values())
    for growth in range(1, top + 3):
        for largest in range(lowest, top + 1):
            yield growth, largest, schedule(net, growth, largest)


@pytest.mark.parametrize(
    # Fields: 63 px, and 32 px for each of the large branches' rates.
    ("name", "largest", "field_px"),
    [("exp43", 12, 3743), ("exp46", 10, 3295), ("exp47", 14, 4127), ("exp52", 6, 2207)],
)
def test_published_schedules_are_found_by_their_fields(name, largest, field_px):
    found = manual_schedule(field_px, BODY.form, BODY.graph, limits=BODY.limits)
    assert (found.target_px, found.field_px) == (field_px, field_px)
    assert (found.growth, found.largest) == (2, largest)
    published = [entry * 2 if len(entry) == 1 else entry for entry in PUBLISHED_RATES[name]]
    assert list(found.plan.values()) == published


def test_published_schedules_that_jump_are_not_in_the_family():
    # The control: exp48 goes from 4 to 14 at once, and its field of 3807 px is another's.
    found = manual_schedule(3807, BODY.form, BODY.graph, limits=BODY.limits)
    assert large(found.plan) != [max(entry) for entry in PUBLISHED_RATES["exp48"]]


def test_the_grid_of_the_paper_on_regseg():
    targets = range(500, 3501, 500)  # RegSeg (Gao 2022), Fig. 5
    found = manual_schedules(targets, BODY.form, BODY.graph, limits=BODY.limits)
    assert [schedule.target_px for schedule in found] == list(targets)
    # Found by trying the whole family, rate by rate, as below.
    assert [schedule.field_px for schedule in found] == [479, 863, 1439, 2015, 2495, 3039, 3519]
    assert large(found[2].plan) == [1, 1, 2, 3, *[4] * 9]
    assert large(found[5].plan) == [1, 2, 4, 6, 8, *[9] * 8]
    for one in found:
        assert one == manual_schedule(one.target_px, BODY.form, BODY.graph, limits=BODY.limits)
        assert BODY.graph.propagate(one.plan).field_px == one.field_px
        assert BODY.graph.propagate(one.plan).bound_ok


def test_targets_out_of_reach_have_the_ends_of_the_family():
    below, above = manual_schedules((1, 10**6), BODY.form, BODY.graph, limits=BODY.limits)
    assert (set(large(below.plan)), below.field_px) == ({1}, 479)
    assert above.largest == 18
    # Bounds of 3, 9, 27 and more hold the steepest growth back at the first two sites alone.
    assert large(above.plan) == [1, 5, 15, *[18] * 10]


def test_sites_and_channels_with_one_rate_for_all_have_the_large_one():
    for net in (regseg_body("site", 1), regseg_body("channel", 3)):
        found = manual_schedule(2207, net.form, net.graph, limits=net.limits)
        entries = PUBLISHED_RATES["exp52"]
        assert list(found.plan.values()) == [
            (max(entry),) * len(net.form["body.5.conv2"]) for entry in entries
        ]


def test_a_network_of_one_site_may_have_any_rate():
    nodes = (
        Source("image"),
        Window("stem", "image", (9,), (1,), (0,), ((1,),), False),
        Window("site", "stem", (3,), (1,), (0,), ((1,),), True),
    )
    graph = FieldGraph(nodes, ("site",))
    form = DilationPlan({"site": SiteRates("site", (1,))})
    found = manual_schedules((11, 19, 24, 99), form, graph, limits={"site": (1, 8)})
    assert [(one.field_px, one.largest) for one in found] == [(11, 1), (19, 5), (23, 7), (25, 8)]


def test_without_limits_only_the_bound_counts():
    found = manual_schedule(5000, BODY.form, BODY.graph)
    assert abs(found.field_px - 5000) < 100
    assert BODY.graph.propagate(found.plan).bound_ok


@settings(deadline=None, max_examples=12)
@given(net=searched_graphs(most_channels=3, uppers=(2, 5)), data=st.data())
def test_no_member_of_the_family_is_closer(net: Searched, data: st.DataObject):
    assume(net.lower_limits_fit())
    tried = list(family(net))
    fields = [side(net, plan) for _, _, plan in tried]
    targets = data.draw(st.lists(st.integers(1, max(fields) + 20), min_size=1, max_size=4))
    for found in manual_schedules(targets, net.form, net.graph, limits=net.limits):
        ranks = [
            (abs(field - found.target_px), abs(growth - 2), largest, growth)
            for field, (growth, largest, _) in zip(fields, tried, strict=True)
        ]
        best = ranks.index(min(ranks))
        assert found.field_px == fields[best]
        assert found.plan == tried[best][2]
        if len(net.form) > 1:
            assert (found.growth, found.largest) == tried[best][:2]


@settings(deadline=None, max_examples=25)
@given(net=searched_graphs(), target_px=st.integers(1, 300))
def test_a_schedule_keeps_limits_and_bounds(net: Searched, target_px: int):
    assume(net.lower_limits_fit())
    found = manual_schedule(target_px, net.form, net.graph, limits=net.limits)
    assert net.graph.propagate(found.plan).bound_ok
    assert found.field_px == side(net, found.plan)
    for site, (lower, upper) in net.limits.items():
        assert lower <= min(found.plan[site]) <= max(found.plan[site]) <= upper


def test_many_targets_cost_little_more_than_one(monkeypatch: pytest.MonkeyPatch):
    folds = []
    plain = FieldGraph.fold
    monkeypatch.setattr(FieldGraph, "fold", lambda *a, **k: folds.append(1) or plain(*a, **k))
    manual_schedule(2000, BODY.form, BODY.graph, limits=BODY.limits)
    one = len(folds)
    manual_schedules(range(500, 3501, 500), BODY.form, BODY.graph, limits=BODY.limits)
    # Of the 18 x 18 schedules, one target looks at few, and several at each once at most.
    assert one < 40
    assert len(folds) - one < 7 * one


def test_faults():
    with pytest.raises(SweepError, match="the target field 0 px is below 1 px"):
        manual_schedule(0, BODY.form, BODY.graph)
    with pytest.raises(SweepError, match="a plan without sites has no schedule"):
        manual_schedule(500, DilationPlan({}), BODY.graph)
    limits = {**BODY.limits, "body.5.conv2": (4, 18)}
    with pytest.raises(PlanError, match=r"'body.5.conv2': its lower limit 4 exceeds bound 3"):
        manual_schedule(500, BODY.form, BODY.graph, limits=limits)
