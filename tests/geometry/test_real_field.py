"""The field at real-valued rates: between the integers, and how it grows."""

import math
from fractions import Fraction
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dilsearch.errors import PlanError
from dilsearch.geometry import FieldGraph, Part, Reads, Resample, Source, Window
from dilsearch.geometry.real_field import real_field
from dilsearch.plan import DilationPlan, SiteRates

EPSILON = 1 / 64

# RegSeg Tab. 2.
TABLE_2 = (
    *((1, 1), (1, 2), (1, 2), (1, 3), (2, 3), (2, 7), (2, 3)),
    *((2, 6), (2, 5), (2, 9), (2, 11), (4, 7), (5, 14)),
)

whole = st.integers(1, 12).map(float)
# multiples of 1/8 that stay clear of integers by more than EPSILON
between = st.tuples(st.integers(1, 12), st.integers(1, 7)).map(lambda n: n[0] + n[1] / 8)


def sizes(count: int, values: st.SearchStrategy[float]) -> st.SearchStrategy[list[float]]:
    return st.lists(values, min_size=count, max_size=count)


def chain_graph(graphs: SimpleNamespace, strides: list[int], taps: list[int]) -> FieldGraph:
    return graphs.chain([(1, 1)] * len(strides), strides, taps)  # type: ignore[no-any-return]


def fork(graphs: SimpleNamespace) -> FieldGraph:
    """Two paths of two sites and of one, joined, with a squeeze-excite and one more site behind."""
    build = graphs.Builder()
    stem = build.window("stem", "image", stride=2)
    build.window("long.0", stem, site=True)
    build.window("long.1", "long.0", site=True)
    build.window("short", stem, taps=5, site=True)
    build.join("sum", "long.1", "short")
    build.squeeze_excite("se", "sum")
    build.window("last", "se", site=True)
    build.window("head", "last", taps=1)
    return build.graph()  # type: ignore[no-any-return]


def last_size(graph: FieldGraph, plan: DilationPlan) -> int:
    table = graph.propagate(plan)
    assert table.last_site is not None
    return max(field.size_px for field in table.at(table.last_site))


def per_site(**rates: float) -> DilationPlan:
    return DilationPlan({name: SiteRates("site", (rate,)) for name, rate in rates.items()})


def fork_plan(rates: list[float]) -> DilationPlan:
    names = ("long.0", "long.1", "short", "last")
    return per_site(**dict(zip(names, rates, strict=True)))


def assert_slopes_are_differences(graph: FieldGraph, plan: DilationPlan) -> None:
    field = real_field(graph, plan)
    for site, rates in plan.items():
        for branch, rate in enumerate(rates):

            def at(value: float, site: str = site, branch: int = branch) -> float:
                changed = list(plan[site])
                changed[branch] = value
                return real_field(graph, plan.replace({site: tuple(changed)})).size_px

            difference = (at(rate + EPSILON) - at(rate - EPSILON)) / (2 * EPSILON)
            assert difference == pytest.approx(field.slopes_px.get((site, branch), 0), abs=1e-6)


class TestChains:
    @settings(deadline=None, max_examples=60)
    @given(data=st.data(), count=st.integers(1, 5))
    def test_at_integers_it_is_the_field(
        self, graphs: SimpleNamespace, data: st.DataObject, count: int
    ) -> None:
        strides = data.draw(st.lists(st.integers(1, 3), min_size=count, max_size=count))
        taps = data.draw(st.lists(st.sampled_from((3, 5)), min_size=count, max_size=count))
        graph = chain_graph(graphs, strides, taps)
        rates = data.draw(st.lists(sizes(2, whole), min_size=count, max_size=count))
        plan = DilationPlan.per_branch({str(i): tuple(pair) for i, pair in enumerate(rates)})
        assert real_field(graph, plan).size_px == last_size(graph, plan)
        # negative control: half a unit up it is no longer the field of the rates rounded up
        more = plan.replace({"0": (max(plan["0"]) + 0.5, 1.0)})
        assert real_field(graph, more).size_px < last_size(graph, more)

    @settings(deadline=None, max_examples=60)
    @given(data=st.data(), count=st.integers(1, 5))
    def test_slopes_are_differences_and_between_it_is_even(
        self, graphs: SimpleNamespace, data: st.DataObject, count: int
    ) -> None:
        strides = data.draw(st.lists(st.integers(1, 3), min_size=count, max_size=count))
        taps = data.draw(st.lists(st.sampled_from((1, 3, 5)), min_size=count, max_size=count))
        graph = chain_graph(graphs, strides, taps)
        larger = data.draw(sizes(count, between))
        smaller = data.draw(sizes(count, st.sampled_from((0.0, 0.5, 1.0))))
        plan = DilationPlan.per_branch(
            {
                str(i): (max(1 + EPSILON, rate - 1.25 - less), rate)
                for i, (rate, less) in enumerate(zip(larger, smaller, strict=True))
            }
        )
        if all(max(rates) - min(rates) > 2 * EPSILON for rates in plan.values()):
            assert_slopes_are_differences(graph, plan)
        below, above = (
            plan.replace({site: tuple(map(rounded, rates)) for site, rates in plan.items()})
            for rounded in (math.floor, math.ceil)
        )
        assert last_size(graph, below) <= real_field(graph, plan).size_px <= last_size(graph, above)

    def test_by_hand(self, graphs: SimpleNamespace) -> None:
        # 1 + 2 * 2.25, then stride 2 and four taps' distance at 3.5: 5.5 + 4 * 2 * 3.5
        graph = chain_graph(graphs, [2, 1], [3, 5])
        field = real_field(graph, DilationPlan.per_branch({"0": (1.0, 2.25), "1": (3.5, 2.0)}))
        assert field.size_px == 1 + 4.5 + 28
        assert field.slopes_px == {("0", 1): 2, ("1", 0): 8}

    def test_sites_that_are_not_in_the_plan_keep_their_rates(self, graphs: SimpleNamespace) -> None:
        graph = graphs.chain([(4,), (1,), (7,)])
        field = real_field(graph, per_site(**{"1": 2.5}))
        assert field.size_px == 1 + 8 + 5  # the plan's last site is "1"; "2" lies behind it
        assert field.slopes_px == {("1", 0): 2}

    def test_the_larger_side_counts(self) -> None:
        def wide(name: str, source: str, taps: tuple[int, int]) -> Window:
            return Window(name, source, taps, (1, 1), (0, 0), ((1, 1),), site=True)

        graph = FieldGraph(
            (Source("image"), wide("a", "image", (3, 1)), wide("b", "a", (1, 7))), outputs=("b",)
        )
        assert real_field(graph, per_site(a=2.5, b=1.5)).size_px == 1 + 6 * 1.5
        assert real_field(graph, per_site(a=2.5, b=1.5)).slopes_px == {("b", 0): 6, ("a", 0): 0}
        assert real_field(graph, per_site(a=9.5, b=1.5)).slopes_px == {("b", 0): 0, ("a", 0): 2}

    def test_upsampling_on_the_way_adds_what_no_rate_moves(self, graphs: SimpleNamespace) -> None:
        build = graphs.Builder()
        build.window("a", "image", stride=2, site=True)
        build.nodes.append(Resample("up", "a", (Reads.linear(Fraction(1, 2)),) * 2))
        build.window("b", "up", site=True)
        graph = build.graph()
        field = real_field(graph, per_site(a=1.5, b=2.5))
        assert field.size_px == last_size(graph, per_site(a=1, b=1)) + 2 * 0.5 + 2 * 1.5
        assert field.slopes_px == {("a", 0): 2, ("b", 0): 2}

    def test_a_fraction_of_a_pixel_is_no_zero(self, graphs: SimpleNamespace) -> None:
        build = graphs.Builder()
        build.nodes.append(Resample("up", "image", (Reads.nearest(Fraction(1, 2)),) * 2))
        build.window("a", "up", site=True)
        build.window("b", "a", stride=3, site=True)
        build.window("c", "b", site=True)
        slopes = real_field(build.graph(), per_site(a=1.5, b=1.5, c=1.5)).slopes_px
        assert slopes == {("a", 0): 1, ("b", 0): 1, ("c", 0): 3}

    def test_the_branch_that_a_part_takes_is_on_the_path(self) -> None:
        def nodes(branch: int) -> tuple[object, ...]:
            conv = Window("a", "image", (3, 3), (1, 1), (0, 0), ((1, 1), (2, 2)), site=True)
            last = Window("b", "part", (3, 3), (1, 1), (0, 0), ((1, 1),), site=True)
            return (Source("image"), conv, Part("part", "a", "image", branch), last)

        plan = DilationPlan({"a": SiteRates("branch", (2.5, 4.25)), "b": SiteRates("site", (1.5,))})
        near, far = (real_field(FieldGraph(nodes(i), ("b",)), plan) for i in (0, 1))
        assert near.slopes_px == {("a", 0): 2, ("b", 0): 2}
        assert far.slopes_px == {("a", 1): 2, ("b", 0): 2}
        assert (near.size_px, far.size_px) == (1 + 5 + 3, 1 + 8.5 + 3)


class TestJoins:
    @settings(deadline=None, max_examples=60)
    @given(rates=sizes(4, whole))
    def test_at_integers_it_is_the_field(self, graphs: SimpleNamespace, rates: list[float]) -> None:
        graph, plan = fork(graphs), fork_plan(rates)
        assert real_field(graph, plan).size_px == last_size(graph, plan)

    @settings(deadline=None, max_examples=60)
    @given(rates=sizes(4, between))
    def test_slopes_are_differences(self, graphs: SimpleNamespace, rates: list[float]) -> None:
        assert_slopes_are_differences(fork(graphs), fork_plan(rates))

    def test_only_the_longest_path_has_slopes(self, graphs: SimpleNamespace) -> None:
        graph = fork(graphs)
        long = real_field(graph, fork_plan([3.5, 4.5, 2.5, 1.5]))
        assert long.slopes_px == {("long.0", 0): 4, ("long.1", 0): 4, ("last", 0): 4}
        short = real_field(graph, fork_plan([1.5, 1.5, 6.5, 1.5]))
        assert short.slopes_px == {("short", 0): 8, ("last", 0): 4}

    def test_at_a_tie_the_first_path_counts(self, graphs: SimpleNamespace) -> None:
        # 4 * (3 + 3) = 8 * 3
        field = real_field(fork(graphs), fork_plan([3, 3, 3, 1]))
        assert set(field.slopes_px) == {("long.0", 0), ("long.1", 0), ("last", 0)}


class TestRegSeg:
    def test_table_2(self, graphs: SimpleNamespace) -> None:
        # RegSeg (Gao 2022), Tab. 2: 63 px before the sites, stride 16, two taps' distance at each
        graph = graphs.regseg()
        plan = DilationPlan.per_branch(dict(zip(graph.site_names, TABLE_2, strict=True)))
        field = real_field(graph, plan)
        assert field.size_px == 2399 == 63 + 32 * sum(max(rates) for rates in TABLE_2)
        assert set(field.slopes_px.values()) == {32}
        assert [site for site, _ in field.slopes_px] != []
        assert {site for site, _ in field.slopes_px} == set(graph.site_names)
        assert {branch for (site, branch) in field.slopes_px if site != graph.site_names[0]} == {1}
        # negative control: the smaller rates move nothing
        smaller = plan.replace({graph.site_names[12]: (1.0, 14.0)})
        assert real_field(graph, smaller).size_px == 2399

    @settings(deadline=None, max_examples=10)
    @given(rates=sizes(13, st.floats(1, 30)))
    def test_it_is_the_formula_at_any_rates(
        self, graphs: SimpleNamespace, rates: list[float]
    ) -> None:
        graph = graphs.regseg(((1,),) * 13)
        plan = per_site(**dict(zip(graph.site_names, rates, strict=True)))
        assert real_field(graph, plan).size_px == pytest.approx(63 + 32 * sum(rates))


def test_a_plan_that_does_not_fit_is_refused(graphs: SimpleNamespace) -> None:
    with pytest.raises(PlanError, match="'7'"):
        real_field(graphs.chain([(1,)]), per_site(**{"7": 1.5}))
