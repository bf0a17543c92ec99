"""From float to integer rates: rounding, bounds, and the laws both keep."""

import math
from dataclasses import replace
from fractions import Fraction
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dilsearch.errors import PlanError
from dilsearch.geometry import (
    Change,
    FieldGraph,
    Join,
    Node,
    Reads,
    Resample,
    Source,
    Window,
    enforce_bounds,
    hold_to_bounds,
    project,
)
from dilsearch.plan import DilationPlan, SiteRates

# Pairs made up for RegSeg Sec. 3.4's rule, floor of the smaller and ceil of the larger.
PAIRS = (
    *((1.0, 1.2), (1.4, 1.7), (1.9, 1.3), (2.6, 1.2), (2.4, 2.9), (6.1, 2.8), (2.9, 2.2)),
    *((2.7, 5.5), (4.3, 2.1), (8.6, 2.0), (2.5, 10.4), (4.9, 6.3), (13.2, 5.9)),
)
ROUNDED = (
    *((1, 2), (1, 2), (1, 2), (1, 3), (2, 3), (2, 7), (2, 3)),
    *((2, 6), (2, 5), (2, 9), (2, 11), (4, 7), (5, 14)),
)


def wide(graphs: SimpleNamespace, branches: int = 1) -> FieldGraph:
    """One site behind a field of 15 px at stride 4: bound 3."""
    build = graphs.Builder()
    build.window("stem", "image", taps=15, stride=4)
    build.window("site", "stem", rates=(1,) * branches, site=True)
    return build.graph()


def branches(*rates: float) -> DilationPlan:
    return DilationPlan.per_branch({"site": rates})


class TestRounding:
    def test_pairs_on_regseg(self, graphs: SimpleNamespace):
        graph = graphs.regseg()
        plan = DilationPlan.per_branch(dict(zip(graph.site_names, PAIRS, strict=True)))
        final = project(plan, graph).plan
        assert final.is_integer
        assert tuple(tuple(sorted(rates)) for rates in final.values()) == ROUNDED
        assert graph.propagate(final).field_px == 2431

    def test_positions_are_kept(self, graphs: SimpleNamespace):
        final = project(branches(1.9, 1.3), wide(graphs, 2)).plan
        assert final["site"] == (2, 1)

    def test_of_equals_the_first_is_the_smaller(self, graphs: SimpleNamespace):
        assert project(branches(1.5, 1.5), wide(graphs, 2)).plan["site"] == (1, 2)

    def test_four_branches(self, graphs: SimpleNamespace):
        final = project(branches(5.2, 2.5, 1.7, 3.4), wide(graphs, 4), "ignore")
        assert final.plan["site"] == (6, 3, 1, 3)
        assert [change.rule for change in final.changes] == [
            "ceil of the larger",
            "nearest",
            "floor of the smaller",
            "nearest",
        ]

    def test_of_four_equals_the_first_goes_down_and_the_last_up(self, graphs: SimpleNamespace):
        final = project(branches(2.5, 2.5, 2.5, 2.5), wide(graphs, 4))
        assert final.plan["site"] == (2, 3, 3, 3)

    def test_a_site_is_rounded_up(self, graphs: SimpleNamespace):
        plan = DilationPlan({"site": SiteRates("site", (1.01,))})
        final = project(plan, wide(graphs))
        assert final.plan == DilationPlan({"site": SiteRates("site", (2,))})
        assert final.changes == (Change("site", 0, 1.01, 2, "ceil"),)

    def test_integers_stay(self, graphs: SimpleNamespace):
        assert project(branches(3, 1), wide(graphs, 2)).changes == ()


class TestBounds:
    def test_enforce_lowers_and_says_so(self, graphs: SimpleNamespace):
        final = project(branches(1.5, 4.5), wide(graphs, 2), "enforce")
        assert final.plan["site"] == (1, 3)
        assert final.changes == (
            Change("site", 0, 1.5, 1, "floor of the smaller"),
            Change("site", 1, 4.5, 5, "ceil of the larger"),
            Change("site", 1, 5.0, 3, "bound 3 (field 15 px, stride 4 px)"),
        )
        assert final.violations == ()

    def test_report_names_them(self, graphs: SimpleNamespace):
        final = project(branches(4, 4.5), wide(graphs, 2), "report")
        assert final.plan["site"] == (4, 5)
        assert final.violations == (
            "site 'site': rate 4 exceeds bound 3 (field 15 px, stride 4 px). "
            "Lower it, or set gap.policy = 'enforce'.",
            "site 'site': rate 5 exceeds bound 3 (field 15 px, stride 4 px). "
            "Lower it, or set gap.policy = 'enforce'.",
        )

    def test_report_is_silent_within_the_bound(self, graphs: SimpleNamespace):
        assert project(branches(1, 3), wide(graphs, 2), "report").violations == ()

    def test_ignore_leaves_them(self, graphs: SimpleNamespace):
        final = project(branches(4, 5), wide(graphs, 2), "ignore")
        assert (final.plan["site"], final.changes, final.violations) == ((4, 5), (), ())

    def test_the_bound_follows_the_rates_chosen_in_front(self, graphs: SimpleNamespace):
        # Bounds 1, then 3 behind rate 1: the 9 in front is lowered first, and frees no more.
        graph = graphs.chain([(1,), (1,), (1,)])
        plan = DilationPlan({site: SiteRates("site", (9,)) for site in graph.site_names})
        assert list(project(plan, graph).plan.values()) == [(1,), (3,), (9,)]

    def test_anisotropic_fields_bound_by_their_tighter_axis(self):
        nodes = (
            Source("image"),
            Window("wide", "image", (1, 7), (1, 1), (0, 0), ((1, 1),), site=False),
            Window("site", "wide", (3, 3), (1, 1), (0, 0), ((1, 1),), site=True),
            Window("flat", "wide", (1, 3), (1, 1), (0, 0), ((1, 1),), site=True),
        )
        graph = FieldGraph(nodes, outputs=("site", "flat"))
        plan = DilationPlan({name: SiteRates("site", (8,)) for name in ("site", "flat")})
        final = project(plan, graph)
        assert (final.plan["site"], final.plan["flat"]) == ((1,), (7,))
        assert final.changes[0].rule == "bound 1 (field 1 px, stride 1 px)"

    def test_a_bound_below_the_lower_limit_is_an_error(self, graphs: SimpleNamespace):
        limits = {"site": (4, 8)}
        with pytest.raises(
            PlanError,
            match=r"site 'site': its lower limit 4 exceeds bound 3 \(field 15 px, stride 4 px\). "
            r"Lower the limit, raise the rates in front of it, or set gap.policy = 'report'",
        ):
            project(branches(4, 5), wide(graphs, 2), limits=limits)
        with pytest.raises(PlanError, match="site 'site': its lower limit 4 exceeds bound 3"):
            enforce_bounds(branches(4, 5), wide(graphs, 2), limits)
        assert project(branches(4, 5), wide(graphs, 2), "report", limits=limits).violations

    def test_behind_upsampling_every_position_keeps_the_bound(self):
        # Twice as many positions as pixels: a rate of 3 lies one pixel on, or two.
        nodes = (
            Source("image"),
            Resample("up", "image", (Reads.nearest(Fraction(1, 2)),) * 2),
            Window("site", "up", (3, 3), (1, 1), (0, 0), ((1, 1),), site=True),
        )
        graph = FieldGraph(nodes, outputs=("site",))
        final = project(branches(1, 4.5), graph)
        assert final.plan["site"] == (1, 2)
        assert final.changes[-1].rule == "bound 2 (field 1 px, stride 1/2 px)"
        assert enforce_bounds(branches(1, 4.5), graph)["site"] == (1, 2)

    def test_a_field_with_gaps_has_no_rate(self, graphs: SimpleNamespace):
        graph = graphs.chain([(1,), (1,)], strides=[2, 1], taps=[1, 3])
        plan = DilationPlan({"1": SiteRates("site", (1,))})
        with pytest.raises(PlanError, match=r"site '1': its lower limit 1 exceeds bound 0"):
            project(plan, graph)


class TestFaults:
    def test_unknown_policy(self, graphs: SimpleNamespace):
        with pytest.raises(PlanError, match="gap policy 'enforced' is unknown; use enforce,"):
            project(branches(1, 2), wide(graphs, 2), "enforced")

    def test_all_sites_outside_their_limits_at_once(self, graphs: SimpleNamespace):
        graph = graphs.chain([(1,), (1,)])
        plan = DilationPlan(
            {"0": SiteRates("site", (9.5,)), "1": SiteRates("channel", (1, 12, 13, 2))}
        )
        with pytest.raises(PlanError) as refused:
            project(plan, graph, limits={"0": (1, 8), "1": (1, 8)})
        assert "the plan does not keep its limits, 2 faults" in str(refused.value)
        assert "site '0': rate 9.5 is outside its limits 1 to 8;" in str(refused.value)
        assert "'1': rate 12.0 is outside its limits 1 to 8, like 1 more" in str(refused.value)

    @pytest.mark.parametrize("rate", [0.5, 8.5])
    def test_rates_outside_their_limits(self, graphs: SimpleNamespace, rate: float):
        with pytest.raises(
            PlanError, match=f"site 'site': rate {rate} is outside its limits 1 to 8"
        ):
            project(branches(1, rate), wide(graphs, 2), limits={"site": (1, 8)})

    def test_unknown_sites(self, graphs: SimpleNamespace):
        plan = DilationPlan.per_branch({"body.3.conv": (1, 2)})
        for convert in (project, enforce_bounds):
            with pytest.raises(PlanError, match=r"names 'body.3.conv', which is no site"):
                convert(plan, graphs.regseg())


class TestEnforceBounds:
    def test_rates_stay_floats_within_limits_and_bounds(self, graphs: SimpleNamespace):
        clamped = enforce_bounds(branches(0.2, 4.7), wide(graphs, 2), {"site": (1, 8)})
        assert clamped["site"] == (1, 3)
        assert enforce_bounds(branches(1.7, 2.7), wide(graphs, 2))["site"] == (1.7, 2.7)
        assert enforce_bounds(branches(1.7, 2.7), wide(graphs, 2), {"site": (1, 2)})["site"] == (
            1.7,
            2,
        )

    def test_bounds_follow_the_rates_that_projection_would_choose(self, graphs: SimpleNamespace):
        # 1.4 becomes 2 in front: field 3 + 4 = 7 there, and 7 it is, though ceil is not reached.
        graph = graphs.chain([(1,), (1,), (1,)])
        plan = DilationPlan(
            {site: SiteRates("site", (r,)) for site, r in zip("012", (1, 1.4, 99), strict=True)}
        )
        assert list(enforce_bounds(plan, graph).values()) == [(1,), (1.4,), (7,)]

    def test_how_far_rates_may_go_is_told(self, graphs: SimpleNamespace):
        held = hold_to_bounds(branches(0.2, 4.7), wide(graphs, 2), {"site": (1, 8)})
        assert (held.plan["site"], held.highest) == ((1, 3), {"site": (3,)})
        assert hold_to_bounds(branches(1, 1), wide(graphs, 2), {"site": (1, 2)}).highest == {
            "site": (2,)
        }

    def test_a_plan_within_its_bounds_is_itself(self, graphs: SimpleNamespace):
        plan = branches(1.5, 2.5)
        assert enforce_bounds(plan, wide(graphs, 2)) is plan

    def test_of_channels_the_bound_behind_follows_the_nearest_integers(
        self, graphs: SimpleNamespace
    ):
        # 2.4 becomes 2, not 3: behind it the field is 3 + 2 * 2, and so is the bound.
        graph = graphs.chain([(1,), (1,), (1,)])
        plan = DilationPlan(
            {
                "0": SiteRates("site", (1,)),
                "1": SiteRates("channel", (1.2, 2.4, 1)),
                "2": SiteRates("channel", (99, 1, 1.5)),
            }
        )
        assert enforce_bounds(plan, graph)["2"] == (7, 1, 1.5)
        assert project(plan, graph).plan["2"] == (7, 1, 2)


class TestSeparateAxes:
    @pytest.fixture
    def stem(self) -> FieldGraph:
        """A site that sees 9x5 px at stride 3x1: bounds 3 and 5."""
        nodes = (
            Source("image"),
            Window("stem", "image", (9, 5), (3, 1), (0, 0), ((1, 1),), site=False),
            Window("site", "stem", (3, 3), (1, 1), (0, 0), ((1, 1),), site=True),
            Window("flat", "stem", (1, 3), (1, 1), (0, 0), ((1, 1),), site=True),
        )
        return FieldGraph(nodes, outputs=("site", "flat"))

    def test_each_axis_keeps_its_own_bound(self, stem: FieldGraph):
        plan = DilationPlan({"site": SiteRates("site", (4.5, 4.5), axes=2)})
        final = project(plan, stem)
        assert final.plan["site"] == (3, 5)
        assert final.changes == (
            Change("site", 0, 4.5, 5, "ceil", 0),
            Change("site", 0, 4.5, 5, "ceil", 1),
            Change("site", 0, 5.0, 3, "bound 3 along height (field 9 px, stride 3 px)", 0),
        )
        assert enforce_bounds(plan, stem)["site"] == (3, 4.5)
        shared = DilationPlan({"site": SiteRates("site", (4.5,))})
        assert project(shared, stem).plan["site"] == (3,)  # the tightest of its axes

    def test_report_names_the_axis(self, stem: FieldGraph):
        plan = DilationPlan({"site": SiteRates("channel", (1, 7, 4, 6, 1, 7), axes=2)})
        assert project(plan, stem, "report").violations == (
            "site 'site': rate 4 exceeds bound 3 along height (field 9 px, stride 3 px). "
            "Lower it, or set gap.policy = 'enforce'.",
            "site 'site': rate 7 exceeds bound 5 along width (field 5 px, stride 1 px). "
            "Lower it, or set gap.policy = 'enforce'.",
            "site 'site': rate 6 exceeds bound 5 along width (field 5 px, stride 1 px). "
            "Lower it, or set gap.policy = 'enforce'.",
        )

    def test_an_axis_of_one_tap_has_no_bound(self, stem: FieldGraph):
        plan = DilationPlan({"flat": SiteRates("branch", (9, 9, 1, 1), axes=2)})
        assert project(plan, stem).plan["flat"] == (9, 5, 1, 1)
        held = hold_to_bounds(plan, stem, {"flat": (1, 8)})
        assert (held.plan["flat"], held.highest["flat"]) == ((8, 5, 1, 1), (8, 5))

    def test_a_bound_below_the_lower_limit_names_the_axis(self, stem: FieldGraph):
        plan = DilationPlan({"site": SiteRates("site", (5, 5), axes=2)})
        with pytest.raises(PlanError, match="its lower limit 4 exceeds bound 3 along height"):
            project(plan, stem, limits={"site": (4, 8)})

    def test_axes_of_a_volume_are_counted(self):
        nodes = (
            Source("image"),
            Window("site", "image", (3,) * 3, (1,) * 3, (0,) * 3, ((1,) * 3,), site=True),
        )
        plan = DilationPlan({"site": SiteRates("site", (1, 1, 2), axes=3)})
        final = project(plan, FieldGraph(nodes, outputs=("site",)))
        assert final.changes[0].rule == "bound 1 along axis 2 (field 1 px, stride 1 px)"
        assert final.changes[0].axis == 2


layers = st.lists(
    st.tuples(
        st.sampled_from([1, 1, 2]),
        st.lists(st.floats(1, 12), min_size=1, max_size=4),
        st.booleans(),
    ),
    min_size=1,
    max_size=5,
)


def network(
    graphs: SimpleNamespace, drawn: list[tuple[int, list[float], bool]]
) -> tuple[FieldGraph, DilationPlan]:
    """A chain of 3x3 sites of the drawn strides and rates, some with a shortcut."""
    build = graphs.Builder()
    at = build.window("stem", "image", stride=2)
    for index, (stride, _, shortcut) in enumerate(drawn):
        source, at = at, build.window(f"site{index}", at, stride=stride, site=True)
        if shortcut:
            if stride == 2:
                source = build.window(f"pool{index}", source, taps=2, stride=2)
            at = build.join(f"sum{index}", at, source)
    return build.graph(), DilationPlan.per_branch(
        {f"site{index}": tuple(rates) for index, (_, rates, _) in enumerate(drawn)}
    )


@settings(deadline=None, max_examples=80)
@given(drawn=layers)
def test_a_projected_plan_keeps_every_bound_and_stays(graphs: SimpleNamespace, drawn: list):
    graph, plan = network(graphs, drawn)
    final = project(plan, graph, "enforce")
    assert final.plan.is_integer
    assert graph.propagate(final.plan).bound_ok
    again = project(final.plan, graph, "enforce")
    assert (again.plan, again.changes) == (final.plan, ())


@settings(deadline=None, max_examples=40)
@given(drawn=layers, policy=st.sampled_from(["report", "ignore"]))
def test_other_policies_are_idempotent_too(graphs: SimpleNamespace, drawn: list, policy):
    graph, plan = network(graphs, drawn)
    final = project(plan, graph, policy)
    assert project(final.plan, graph, policy).plan == final.plan
    assert bool(project(plan, graph, "report").violations) != graph.propagate(final.plan).bound_ok


@settings(deadline=None, max_examples=80)
@given(drawn=layers)
def test_projection_finds_nothing_to_lower_in_clamped_rates(graphs: SimpleNamespace, drawn: list):
    graph, plan = network(graphs, drawn)
    clamped = enforce_bounds(plan, graph)
    final = project(clamped, graph, "enforce")
    assert not [change for change in final.changes if change.rule.startswith("bound")]
    assert enforce_bounds(clamped, graph) == clamped
    for site, rates in clamped.items():
        assert all(abs(a - b) < 1 for a, b in zip(rates, final.plan[site], strict=True))
        assert max(final.plan[site]) == math.ceil(max(rates))


UPPER = 12


@st.composite
def oblong(draw: st.DrawFn) -> tuple[FieldGraph, DilationPlan]:
    """A chain whose axes differ, some sites with a shortcut, and rates of every form."""
    nodes: list[Node] = [Source("image")]
    sites, at = {}, "image"
    for index in range(draw(st.integers(1, 4))):
        taps = draw(st.sampled_from([(3, 3), (3, 3), (1, 3), (3, 1), (5, 2)]))
        stride = tuple(draw(st.sampled_from([1, 1, 2])) if count > 1 else 1 for count in taps)
        name = f"site{index}"
        nodes.append(Window(name, at, taps, stride, (0, 0), ((1, 1),), site=True))
        if stride == (1, 1) and draw(st.booleans()):
            nodes.append(Join(f"sum{index}", (at, name)))
        at = nodes[-1].name
        kind, axes = draw(st.sampled_from(["site", "branch", "channel"])), draw(st.integers(1, 2))
        count = axes * (1 if kind == "site" else draw(st.integers(1, 4)))
        rates = draw(st.lists(st.floats(1, UPPER), min_size=count, max_size=count))
        sites[name] = SiteRates(kind, tuple(rates), axes)
    return FieldGraph(tuple(nodes), (at,)), DilationPlan(sites)


@settings(deadline=None, max_examples=100)
@given(drawn=oblong())
def test_laws_hold_for_every_kind_and_axis(drawn: tuple[FieldGraph, DilationPlan]):
    graph, plan = drawn
    limits = dict.fromkeys(plan, (1, UPPER))
    final = project(plan, graph, "enforce", limits=limits)
    assert final.plan.is_integer
    assert graph.propagate(final.plan).bound_ok
    again = project(final.plan, graph, "enforce", limits=limits)
    assert (again.plan, again.changes) == (final.plan, ())
    assert all(1 <= rate <= UPPER for rates in final.plan.values() for rate in rates)
    for site, rates in plan.sites.items():
        assert replace(final.plan.sites[site], rates=rates.rates) == rates  # the form is kept
    held = hold_to_bounds(plan, graph, limits)
    lowered = project(held.plan, graph, "enforce", limits=limits)
    assert not [change for change in lowered.changes if change.rule.startswith("bound")]
    assert hold_to_bounds(held.plan, graph, limits) == held
    for site, rates in held.plan.sites.items():
        for row in rates.rows:
            assert all(rate <= most for rate, most in zip(row, held.highest[site], strict=True))
    # what is held back is at the bound, which a rate one larger would break
    for row in graph.propagate(lowered.plan).rows:
        for axis, most in enumerate(held.highest[row.name]):
            spanned = [row.bounds[a] for a in range(2) if row.taps[a] > 1]
            alone = row.bounds[axis] if row.taps[axis] > 1 else UPPER
            bound = alone if held.plan.sites[row.name].axes == 2 else min(spanned)
            assert most == min(bound, UPPER)


@settings(deadline=None, max_examples=40)
@given(drawn=layers, kind=st.sampled_from(["site", "branch", "channel"]))
def test_equal_axes_of_a_square_network_project_as_one(
    graphs: SimpleNamespace, drawn: list, kind: str
):
    graph, plan = network(graphs, drawn)
    rates = {site: values[:1] if kind == "site" else values for site, values in plan.items()}
    shared = DilationPlan({site: SiteRates(kind, values) for site, values in rates.items()})
    apart = DilationPlan(
        {
            site: SiteRates(kind, tuple(rate for rate in values for _ in range(2)), axes=2)
            for site, values in rates.items()
        }
    )
    for convert in (lambda plan: project(plan, graph).plan, lambda p: enforce_bounds(p, graph)):
        one, each = convert(shared), convert(apart)
        assert {site: tuple((rate,) * 2 for (rate,) in one.sites[site].rows) for site in one} == {
            site: each.sites[site].rows for site in each
        }


@settings(deadline=None, max_examples=40)
@given(drawn=layers)
def test_channels_go_to_the_nearest_integer(graphs: SimpleNamespace, drawn: list):
    graph, plan = network(graphs, drawn)
    channels = DilationPlan({site: SiteRates("channel", rates) for site, rates in plan.items()})
    final = project(channels, graph, "ignore").plan
    for site, rates in channels.items():
        assert all(abs(a - b) <= 0.5 for a, b in zip(rates, final[site], strict=True))


@settings(deadline=None, max_examples=30)
@given(st.lists(st.tuples(st.integers(1, 9), st.sampled_from([1, 1, 2])), min_size=1, max_size=5))
def test_a_chain_within_its_bounds_has_no_holes(graphs: SimpleNamespace, drawn: list):
    # The claim of RegSeg Eq. 3; one more than the bound, and there are some.
    graph = graphs.chain([(1,)] * len(drawn), strides=[stride for _, stride in drawn])
    plan = DilationPlan(
        {str(index): SiteRates("site", (rate,)) for index, (rate, _) in enumerate(drawn)}
    )
    final = project(plan, graph).plan
    assert graph.coverage(final).holes == 0
    last = graph.propagate(final).rows[-1]
    assert graph.coverage(final.replace({last.name: (last.bound + 1,)})).holes > 0


def test_branches_within_their_bounds_have_no_holes_on_regseg(graphs: SimpleNamespace):
    graph = graphs.regseg(((1, 1),) * 13)
    plan = DilationPlan.per_branch(dict.fromkeys(graph.site_names, (1, 9)))
    assert graph.coverage(project(plan, graph).plan).holes == 0
    assert graph.coverage(plan).holes > 0


def test_without_a_graph_it_says_where_one_comes_from() -> None:
    plan = DilationPlan({"a": SiteRates("site", (2.5,))})
    with pytest.raises(PlanError, match="there is none; give relax an example input, or project"):
        project(plan, None)
