"""The field at real-valued rates: between the integers, and how it grows."""

import math
from fractions import Fraction
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dilsearch.errors import GeometryError, PlanError
from dilsearch.geometry import (
    FieldGraph,
    Join,
    Node,
    Part,
    Reads,
    Resample,
    Source,
    Window,
    enforce_bounds,
)
from dilsearch.geometry.real_field import RealField, real_fields
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


def real_field(graph: FieldGraph, plan: DilationPlan) -> RealField:
    """The field behind the plan's last site, along its larger side."""
    last = graph.propagate(plan).last_site
    assert last is not None
    return max(real_fields(graph, plan, [last])[last], key=lambda side: side.size_px)


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
        assert real_field(graph, per_site(a=2.5, b=1.5)).slopes_px == {("b", 0): 6}
        assert real_field(graph, per_site(a=9.5, b=1.5)).slopes_px == {("a", 0): 2}

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


class TestFaults:
    def test_a_plan_that_does_not_fit(self, graphs: SimpleNamespace) -> None:
        with pytest.raises(PlanError, match="'7'"):
            real_fields(graphs.chain([(1,)]), per_site(**{"7": 1.5}), ["0"])

    def test_nodes_without_a_field(self, graphs: SimpleNamespace) -> None:
        graph, plan = fork(graphs), fork_plan([1.5] * 4)
        with pytest.raises(GeometryError, match="no node 'stm'; the nearest name is 'stem'"):
            real_fields(graph, plan, ["stem", "stm"])
        with pytest.raises(GeometryError, match=r"'se\.pool' sees only what is pooled globally"):
            real_fields(graph, plan, ["se.pool"])
        assert real_fields(graph, plan, []) == {}


class TestNodes:
    def test_in_front_of_a_site_and_behind_it(self, graphs: SimpleNamespace) -> None:
        graph = graphs.regseg()
        plan = per_site(**dict.fromkeys(graph.site_names, 1.5))
        at = [*graph.site_names, "body.256.0", "image", "head.conv4", "stem"]
        fields = real_fields(graph, plan, at)
        assert list(fields) == at
        assert fields["image"] == (RealField(1, 1, {}),) * 2
        assert fields["stem"] == (RealField(3, 2, {}),) * 2
        assert fields["body.256.0"] == (RealField(63, 16, {}),) * 2
        for index, site in enumerate(graph.site_names):
            expected = dict.fromkeys(((name, 0) for name in graph.site_names[: index + 1]), 32)
            assert fields[site] == (RealField(63 + 32 * 1.5 * (index + 1), 16, expected),) * 2
        decoder = fields["head.conv4"][0]
        assert decoder.stride_px == 4
        assert decoder.size_px == 63 + 32 * 1.5 * 13 + 32 + 16
        assert decoder.slopes_px == fields[graph.site_names[-1]][0].slopes_px

    def test_the_stride_behind_upsampling_may_be_half_a_pixel(
        self, graphs: SimpleNamespace
    ) -> None:
        build = graphs.Builder()
        build.nodes.append(Resample("up", "image", (Reads.nearest(Fraction(1, 2)),) * 2))
        graph = build.graph()
        assert real_fields(graph, DilationPlan({}), ["up"])["up"][0].stride_px == 0.5


def volume() -> FieldGraph:
    """Two sites in three dimensions whose axes differ."""
    nodes = (
        Source("image"),
        Window("a", "image", (3, 1, 2), (2, 1, 1), (0,) * 3, ((1,) * 3,), site=True),
        Window("b", "a", (3, 3, 5), (1,) * 3, (0,) * 3, ((1,) * 3,), site=True),
    )
    return FieldGraph(nodes, ("b",))


class TestForms:
    def test_axes_have_their_own_rates(self) -> None:
        plan = DilationPlan(
            {
                "a": SiteRates("site", (1.5, 9.5, 2.25), axes=3),
                "b": SiteRates("branch", (1.5, 3.5, 1.0, 2.5, 1.0, 4.5), axes=3),
            }
        )
        deep, tall, wide = real_fields(volume(), plan, ["b"])["b"]
        assert deep == RealField(1 + 2 * 1.5 + 4 * 2.5, 2, {("a", 0): 2, ("b", 1): 4})
        assert tall == RealField(1 + 2 * 3.5, 1, {("b", 0): 2})
        assert wide == RealField(1 + 2.25 + 4 * 4.5, 1, {("a", 0): 1, ("b", 1): 4})

    def test_the_largest_of_the_channels_counts_and_of_equals_the_first(self) -> None:
        plan = DilationPlan(
            {
                "a": SiteRates("channel", (1.5, 3.25, 3.25, 2)),
                "b": SiteRates("channel", (1, 2.5)),
            }
        )
        deep, tall, _ = real_fields(volume(), plan, ["b"])["b"]
        assert deep == RealField(1 + 2 * 3.25 + 4 * 2.5, 2, {("a", 1): 2, ("b", 1): 4})
        assert tall == RealField(1 + 2 * 2.5, 1, {("b", 1): 2})

    def test_a_causal_site_grows_as_any_other(self, graphs: SimpleNamespace) -> None:
        nodes = (
            Source("sound"),
            Window("a", "sound", (2,), (1,), (0,), ((1,),), site=True),
            Join("sum", ("a", "sound")),
            Window("b", "sum", (3,), (1,), (0,), ((1,),), site=True),
        )
        graph = FieldGraph(nodes, ("b",))
        plan = DilationPlan(
            {name: SiteRates("site", (2.5,), causal=True) for name in graph.site_names}
        )
        for one in (graph, graph.with_causal(["a", "b"])):
            assert real_field(one, plan) == RealField(1 + 2.5 + 5, 1, {("a", 0): 1, ("b", 0): 2})

    def test_a_part_takes_the_largest_of_its_channels(self) -> None:
        nodes = (
            Source("image"),
            Window("a", "image", (3, 3), (1, 1), (0, 0), ((1, 1), (2, 2)), site=True),
            Part("part", "a", "image", 0),
        )
        plan = DilationPlan({"a": SiteRates("channel", (1.5, 4.5))})
        (side, _) = real_fields(FieldGraph(nodes, ("part",)), plan, ["part"])["part"]
        assert side == RealField(1 + 2 * 4.5, 1, {("a", 1): 2})


@st.composite
def searched(draw: st.DrawFn, axes: int) -> tuple[FieldGraph, dict[str, tuple[str, int, int]]]:
    """A residual network with the forms of its sites: kind, rows, and axes of their own."""
    nodes: list[Node] = [Source("image")]
    forms, at = {}, "image"
    for index in range(draw(st.integers(1, 4))):
        taps = tuple(draw(st.integers(1, 3)) for _ in range(axes))
        stride = (draw(st.sampled_from([1, 1, 2])),) * axes
        rates, name = ((1,) * axes,), f"site{index}"
        nodes.append(
            Window(name, at, taps, stride, (0,) * axes, rates, True, causal=draw(st.booleans()))
        )
        if stride[0] == 1 and draw(st.booleans()):
            nodes.append(Join(f"sum{index}", (name, at)))
        at = nodes[-1].name
        kind = draw(st.sampled_from(["site", "branch", "channel"]))
        rows = 1 if kind == "site" else draw(st.integers(1, 3))
        if draw(st.integers(0, 3)):  # a quarter of the windows is not searched
            forms[name] = (kind, rows, draw(st.sampled_from([1, axes])))
    return FieldGraph(tuple(nodes), (at,)), forms


def rates_of(
    data: st.DataObject, forms: dict[str, tuple[str, int, int]], values: st.SearchStrategy[float]
) -> DilationPlan:
    return DilationPlan(
        {
            name: SiteRates(kind, tuple(data.draw(sizes(rows * axes, values))), axes)
            for name, (kind, rows, axes) in forms.items()
        }
    )


@pytest.mark.parametrize("axes", [1, 2, 3])
class TestLaws:
    @settings(deadline=None, max_examples=40)
    @given(data=st.data())
    def test_at_integers_fields_are_those_of_the_table(
        self, axes: int, data: st.DataObject
    ) -> None:
        graph, forms = data.draw(searched(axes))
        plan = rates_of(data, forms, st.integers(1, 9).map(float))
        table = graph.propagate(plan)
        names = [node.name for node in graph.nodes]
        for name, sides in real_fields(graph, plan, names).items():
            assert [(side.size_px, side.stride_px) for side in sides] == [
                (field.size_px, field.stride_px) for field in table.at(name)
            ]

    @settings(deadline=None, max_examples=40)
    @given(data=st.data())
    def test_slopes_are_differences(self, axes: int, data: st.DataObject) -> None:
        graph, forms = data.draw(searched(axes))
        # far enough apart that neither rows nor paths change places within a step
        steps = st.integers(1, 60).map(lambda n: n + 0.5)
        plan = rates_of(data, forms, steps)
        at = graph.outputs[0]
        sides = real_fields(graph, plan, [at])[at]
        for site, form in plan.sites.items():
            tied = any(
                sorted(column)[-2:] == [max(column)] * 2
                for column in (form.rates[axis :: form.axes] for axis in range(form.axes))
            )
            if tied:
                continue
            for flat in range(len(form.rates)):

                def changed(by: float, site: str = site, flat: int = flat) -> tuple[RealField, ...]:
                    rates = list(plan[site])
                    rates[flat] += by
                    return real_fields(graph, plan.replace({site: tuple(rates)}), [at])[at]

                for axis, (more, less) in enumerate(
                    zip(changed(EPSILON), changed(-EPSILON), strict=True)
                ):
                    own = form.axes == 1 or flat % form.axes == axis
                    slope = sides[axis].slopes_px.get((site, flat // form.axes), 0) if own else 0
                    assert (more.size_px - less.size_px) / (2 * EPSILON) == pytest.approx(slope)


def test_what_holds_the_rates_and_what_measures_agree(graphs: SimpleNamespace) -> None:
    # At rates held to their bounds, the next rate's field is at least rate * stride everywhere.
    graph = graphs.regseg()
    wide = enforce_bounds(per_site(**dict.fromkeys(graph.site_names, 30.0)), graph)
    before = {name: graph.node(name).source for name in graph.site_names}
    fields = real_fields(graph, wide, set(before.values()))
    for site, (rate,) in wide.items():
        side = fields[before[site]][0]
        assert rate <= side.size_px / side.stride_px
