"""Sets forwards, phase by phase: against the way back, and how long they take to repeat."""

from fractions import Fraction
from itertools import pairwise
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dilsearch.geometry import (
    Coverage,
    FieldGraph,
    Join,
    Reads,
    Resample,
    Source,
    Window,
    forwards,
)
from dilsearch.geometry import coverage as coverages
from dilsearch.geometry.forwards import Cycle, Forwards

DOUBLE = Reads.linear(Fraction(1, 2))


def conv(name: str, source: str, *rates: int, stride: int = 1, taps: int = 3) -> Window:
    """A convolution along one axis."""
    return Window(name, source, (taps,), (stride,), (0,), tuple((r,) for r in rates or (1,)), True)


def forwards_of(graph: FieldGraph) -> Forwards:
    rates = {node.name: node.rates for node in graph.nodes if isinstance(node, Window)}
    return Forwards(graph.nodes, rates, graph.axes)


def backwards(graph: FieldGraph, at: str, position: tuple[int, ...]) -> Coverage | None:
    seen = tuple(graph.support(at, position).values())
    return seen[0].union(*seen[1:]) if seen else None


class TestAgainstTheWayBack:
    @settings(deadline=None, max_examples=80)
    @given(data=st.data())
    def test_they_agree_at_any_position(self, graphs: SimpleNamespace, data: st.DataObject):
        axes = data.draw(st.integers(1, 3))
        graph = data.draw(graphs.networks(axes, unlike=data.draw(st.booleans()), most=8 - axes))
        ahead = forwards_of(graph)
        names = [node.name for node in graph.nodes if node.name in ahead]
        asked = {name: data.draw(st.tuples(*[st.integers(-9, 30)] * axes)) for name in names}
        found = ahead.seen(asked)
        for name, position in asked.items():
            assert found.get(name) == backwards(graph, name, position)

    @settings(deadline=None, max_examples=40)
    @given(data=st.data(), most=st.sampled_from([1, 2, 5]))
    def test_the_limit_of_phases_makes_no_difference(
        self, graphs: SimpleNamespace, data: st.DataObject, most: int
    ):
        graph = data.draw(graphs.networks(2))
        names = [node.name for node in graph.nodes]
        expected = graph.coverages(names)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(forwards, "MOST_PHASES", most)
            assert graph.coverages(names) == expected

    @settings(deadline=None, max_examples=40)
    @given(data=st.data(), most=st.integers(1, 3))
    def test_too_many_products_hold_the_set(
        self, graphs: SimpleNamespace, data: st.DataObject, most: int
    ):
        graph = data.draw(graphs.networks(2))
        names = [node.name for node in graph.nodes]
        exact = graph.coverages(names)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(coverages, "MOST_PRODUCTS", most)
            rough = graph.coverages(names)
        assert list(rough) == list(exact)
        for name, whole in exact.items():
            assert whole.exact
            assert graphs.pixels(whole) <= graphs.pixels(rough[name])
            assert not rough[name].exact or rough[name] == whole


class TestCycles:
    @pytest.mark.parametrize(
        ("before", "reads", "behind"),
        [
            (Cycle(), Reads.window(3, stride=2), Cycle(1, 2)),
            (Cycle(1, 8), DOUBLE, Cycle(2, 8)),
            (Cycle(2, 8), DOUBLE, Cycle(4, 8)),
            (Cycle(4, 8), Reads.window(3), Cycle(4, 8)),
            (Cycle(4, 8), Reads.window(3, stride=2), Cycle(2, 8)),
            (Cycle(4, 8), Reads.window(3, stride=3), Cycle(4, 24)),
            (Cycle(1, 2), Reads.nearest(Fraction(2, 3)), Cycle(3, 4)),
            (Cycle(3, 4), Reads.nearest(Fraction(2, 3)), Cycle(9, 8)),
        ],
    )
    def test_through(self, before: Cycle, reads: Reads, behind: Cycle):
        assert before.through(reads) == behind

    def test_where_paths_meet(self):
        assert Cycle.join([Cycle(2, 4), Cycle(1, 2), Cycle(3, 6)]) == Cycle(6, 12)
        assert Cycle.join([Cycle(2, 4), Cycle(1, 4)]) is None

    def test_sets_may_repeat_later_than_their_ends(self):
        # Both positions of a period see from their own pixel 3 px on, one of them with a hole.
        table = Reads(((0, 1, 2, 3), (1, 4)), 2)
        graph = FieldGraph((Source("image"), Resample("mixed", "image", (table,))), ("mixed",))
        assert len(graph.propagate().at("mixed")) == 1
        assert len(graph.propagate().spans["mixed"][0].starts) == 1
        ahead = forwards_of(graph)
        assert [ahead.seen({"mixed": (p,)})["mixed"].seen for p in range(4)] == [4, 2, 4, 2]

    def test_what_does_not_repeat_is_left_to_the_way_back(self):
        nodes = (
            Source("image"),
            conv("half", "image", stride=2),
            Join("sum", ("image", "half")),
            conv("behind", "sum"),
        )
        sizes = {node.name: (8,) for node in nodes}
        ahead = forwards_of(FieldGraph(nodes, ("behind",), sizes=sizes))
        assert [node.name in ahead for node in nodes] == [True, True, False, False]

    def test_too_many_phases_are_left_to_the_way_back(self):
        up = Reads.linear(Fraction(1, 9))
        nodes = (Source("image"), Resample("up", "image", (up, up)))
        graph = FieldGraph(nodes, ("up",))
        assert "up" not in forwards_of(graph)  # 81
        assert graph.coverage(at="up") == graph.support("up", (0, 0))["image"]


def test_thousands_of_nodes():
    names = ["up", *(f"n{i}" for i in range(2000))]
    nodes = (
        Source("image"),
        conv("stem", "image", stride=2),
        Resample("up", "stem", (DOUBLE,)),
        *(conv(name, before) for before, name in pairwise(names)),
    )
    graph = FieldGraph(nodes, (names[-1],))
    seen = graph.coverages(names)
    assert seen["n1999"].holes == 0
    assert seen["n99"] == graph.support("n99", (0,))["image"]
    assert set(graph.basis(graph.propagate()).values()) == {"plane", "position"}
    assert len(graph.downstream(("stem",))) == 2002
