"""Plans of every kind on a graph: what fits, and what is seen at their rates."""

import math
from dataclasses import replace
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dilsearch.errors import GeometryError, PlanError
from dilsearch.geometry import Field, FieldGraph, Node, Part, Source, Window
from dilsearch.geometry.plans import spread
from dilsearch.plan import DilationPlan, SiteRates


def site(name: str, source: str, rates: tuple[tuple[int, ...], ...], **changes: object) -> Window:
    ones = (1,) * len(rates[0])
    taps, anchor = tuple(3 for _ in ones), tuple(0 for _ in ones)
    return Window(name, source, taps, ones, anchor, rates, site=True, **changes)


def plan(**sites: SiteRates) -> DilationPlan:
    return DilationPlan(sites)


class TestSpread:
    def test_branches_keep_their_places(self):
        rates = SiteRates("branch", (2.5, 1.5, 2.5))
        assert spread(rates, (3, 1, 3), 2) == ((3, 3), (1, 1), (3, 3))
        apart = SiteRates("branch", (2.5, 1.5, 2.5, 1.5), axes=2)
        assert spread(apart, (3, 1, 3, 1), 2) == ((3, 1), (3, 1))

    def test_channels_that_read_alike_count_once(self):
        assert spread(SiteRates("channel", (5, 1, 5)), (5, 1, 5), 1) == ((1,), (5,))
        apart = SiteRates("channel", (3, 1, 1, 3, 3, 1), axes=2)
        assert spread(apart, (3, 1, 1, 3, 3, 1), 2) == ((3, 1), (1, 3))


class TestCheck:
    graph = FieldGraph((Source("image"), site("a", "image", ((1, 1), (2, 2)))), ("a",))

    @pytest.mark.parametrize(
        "rates",
        [
            SiteRates("site", (4,)),
            SiteRates("site", (4, 2), axes=2),
            SiteRates("branch", (1, 3)),
            SiteRates("branch", (1, 3, 2, 2), axes=2),
            SiteRates("channel", (1, 2, 3, 4, 5)),
            SiteRates("channel", (1, 2, 3, 4, 5, 6), axes=2),
        ],
    )
    def test_what_fits(self, rates: SiteRates):
        self.graph.check(plan(a=rates))

    @pytest.mark.parametrize("kind", ["site", "branch", "channel"])
    def test_other_axes(self, kind: str):
        three = SiteRates(kind, (1, 2, 3), axes=3)
        with pytest.raises(
            PlanError,
            match="site 'a': the plan has a rate for each of 3 axes where the network has 2; give "
            "one rate for all axes, or 2",
        ):
            self.graph.propagate(plan(a=three))
        sound = FieldGraph((Source("sound"), site("a", "sound", ((1,),))), ("a",))
        with pytest.raises(PlanError, match=r"has 1; give one rate for all axes$"):
            sound.check(plan(a=SiteRates("site", (1, 2), axes=2)))

    def test_branches_are_counted_by_rows(self):
        for rates in (SiteRates("branch", (1, 2, 3)), SiteRates("branch", (1,) * 6, axes=2)):
            with pytest.raises(PlanError, match="has 3 rates where the network has 2 branches"):
                self.graph.check(plan(a=rates))

    def test_all_faults_at_once(self):
        with pytest.raises(PlanError) as refused:
            self.graph.check(
                plan(b=SiteRates("site", (1,)), a=SiteRates("branch", (1,) * 9, axes=3))
            )
        text = str(refused.value)
        assert "the plan does not fit the network, 3 faults" in text
        for part in ("names 'b', which is no site", "each of 3 axes", "3 rates where the network"):
            assert part in text


class TestChannels:
    def test_the_largest_rate_makes_the_field_and_all_the_coverage(self):
        graph = FieldGraph((Source("sound"), site("a", "sound", ((1,),))), ("a",))
        channels = plan(a=SiteRates("channel", (4, 2, 4, 2)))
        assert graph.propagate(channels).at("a") == (Field(9, 1),)
        assert graph.propagate(channels).rows[0].rates == ((2,), (4,))
        assert graph.coverage(channels).to_array().nonzero()[0].tolist() == [0, 2, 4, 6, 8]

    def test_a_part_reads_at_all_of_them_even_if_there_are_as_many_as_branches(self):
        nodes = (
            Source("image"),
            site("a", "image", ((1, 1), (2, 2))),
            Part("one", "a", "image", branch=0),
        )
        graph = FieldGraph(nodes, ("one",))
        assert graph.propagate().at("one")[0].size_px == 3
        for rates, size in (
            (SiteRates("branch", (1, 5)), 3),
            (SiteRates("channel", (1, 5)), 11),
            (SiteRates("channel", (1, 5, 5)), 11),
            (SiteRates("site", (4,)), 9),
        ):
            asked = plan(a=rates)
            assert graph.propagate(asked).at("one")[0].size_px == size
            assert graph.at_rates(asked).propagate().at("one")[0].size_px == size
            assert graph.coverage(asked, "one").size_px == (size, size)


class TestCausal:
    graph = FieldGraph((Source("sound"), site("a", "sound", ((2,),))), ("a",))

    def test_the_graph_turns_where_the_plan_is_causal(self):
        for turned in (
            self.graph.coverage(plan(a=SiteRates("site", (5,), causal=True))),
            self.graph.at_rates(plan(a=SiteRates("site", (5,), causal=True))).coverage(),
            self.graph.with_causal(["a"]).coverage(plan(a=SiteRates("site", (5,)))),
        ):
            assert (turned.origin_px, turned.size_px) == ((2 - 10,), (11,))
        plain = self.graph.coverage(plan(a=SiteRates("site", (5,))))
        assert (plain.origin_px, plain.size_px) == ((-5,), (11,))

    def test_reads_at_the_present_rates_are_the_same(self):
        turned = self.graph.with_causal(["a"])
        assert turned.coverage() == self.graph.coverage()
        assert turned.with_causal(["a"]) is turned
        assert turned.plan().sites["a"].causal

    def test_unknown_sites(self):
        with pytest.raises(GeometryError) as refused:
            self.graph.with_causal(["a", "b", "sound"])
        assert "these cannot be causal, 2 faults" in str(refused.value)
        assert "'b' is no site of the network; the nearest name is 'a'" in str(refused.value)
        assert "'sound' is no site" in str(refused.value)

    def test_a_module_that_runs_twice_turns_at_both(self):
        nodes = (
            Source("sound"),
            site("a", "sound", ((1,),), module="a"),
            site("a:2", "a", ((1,),), module="a"),
        )
        turned = FieldGraph(nodes, ("a:2",)).with_causal(["a"])
        assert [turned.node(name).causal for name in ("a", "a:2")] == [True, True]


@st.composite
def plans(draw: st.DrawFn, graph: FieldGraph) -> DilationPlan:
    """Whole rates of any form at some of the sites."""
    sites = {}
    for name in graph.site_names:
        if draw(st.booleans()):
            window = graph.node(name)
            kind = draw(st.sampled_from(["site", "branch", "channel"]))
            axes = draw(st.sampled_from([1, graph.axes]))
            rows = {"site": 1, "branch": len(window.rates), "channel": draw(st.integers(1, 4))}
            count = rows[kind] * axes
            rates = draw(st.lists(st.integers(1, 3), min_size=count, max_size=count))
            alike = window.causal or len(set(window.rates)) == 1
            sites[name] = SiteRates(kind, tuple(rates), axes, alike and draw(st.booleans()))
    return DilationPlan(sites)


def set_by_hand(graph: FieldGraph, asked: DilationPlan) -> FieldGraph:
    """The network with windows that have the plan's rates, written down node by node."""
    nodes: list[Node] = []
    for node in graph.nodes:
        if isinstance(node, Window) and node.name in asked:
            form = asked.sites[node.name]
            rows = tuple(
                tuple(math.ceil(row[axis % len(row)]) for axis in range(graph.axes))
                for row in form.rows
            )
            anchor = list(node.anchor)
            if form.causal and not node.causal:  # where the last tap lies at the graph's rate
                for axis, taps in enumerate(node.taps):
                    anchor[axis] += (taps - 1 - (taps - 1) // 2) * node.rates[0][axis]
            node = replace(
                node, rates=rows, anchor=tuple(anchor), causal=node.causal or form.causal
            )
        if isinstance(node, Part) and node.branch is not None and node.window in asked:
            form, whole = asked.sites[node.window], graph.node(node.window)
            if form.kind == "channel" or form.count != len(whole.rates):
                node = replace(node, branch=None)
        nodes.append(node)
    return FieldGraph(tuple(nodes), graph.outputs, sizes=graph.sizes)


@pytest.mark.parametrize("axes", [1, 2])
@settings(deadline=None, max_examples=40)
@given(data=st.data())
def test_what_is_seen_is_what_a_walk_finds(graphs: SimpleNamespace, axes: int, data: st.DataObject):
    graph = data.draw(graphs.networks(axes, uniform=True, most=4))
    asked = data.draw(plans(graph))
    by_hand, at = set_by_hand(graph, asked), graph.outputs[0]
    position = (2,) * axes
    expected = graphs.walk(by_hand, at, position)
    found = graph.support(at, position, asked)
    assert {name: graphs.pixels(one) for name, one in found.items()} == {
        name: set(counts) for name, counts in expected.items()
    }
    table, other = graph.propagate(asked), by_hand.propagate()
    assert table.spans == other.spans
    assert graph.at_rates(asked).propagate().spans == other.spans
    assert graph.coverages([at], asked) == by_hand.coverages([at])


def test_the_walk_tells_forms_apart(graphs: SimpleNamespace):
    graph = FieldGraph((Source("image"), site("a", "image", ((1, 1),))), ("a",))
    asked = plan(a=SiteRates("site", (1, 2), axes=2))
    seen = graphs.pixels(graph.support("a", (0, 0), asked)["image"])
    turned = set_by_hand(graph, plan(a=SiteRates("site", (2, 1), axes=2)))
    assert seen == set(graphs.walk(set_by_hand(graph, asked), "a", (0, 0))["image"])
    assert seen != set(graphs.walk(turned, "a", (0, 0))["image"])
