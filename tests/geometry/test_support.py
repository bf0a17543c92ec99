"""Sets and path counts from one position backwards, against a walk through all positions."""

import math
from collections import Counter
from fractions import Fraction
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dilsearch.errors import GeometryError
from dilsearch.geometry import (
    Coverage,
    FieldGraph,
    Join,
    Node,
    Part,
    Reads,
    Resample,
    Source,
    Window,
)
from dilsearch.geometry import coverage as coverages
from dilsearch.plan import DilationPlan

axes = st.integers(1, 3)


def window(name: str, source: str, *rates: tuple[int, ...], **changes: object) -> Window:
    """Three taps per axis, at the rates of each branch."""
    sides = len(rates[0])
    settings_ = {"taps": (3,) * sides, "stride": (1,) * sides, "anchor": (0,) * sides}
    return Window(name=name, source=source, rates=rates, site=True, **{**settings_, **changes})


def graph_of(*nodes: Node, **sizes: tuple[int, ...]) -> FieldGraph:
    return FieldGraph((Source("image"), *nodes), (nodes[-1].name,), sizes=sizes)


def drawn(
    data: st.DataObject, graphs: SimpleNamespace, **how: bool
) -> tuple[FieldGraph, str, tuple[int, ...]]:
    """A network, its last node, and a position of its map."""
    count = data.draw(axes)
    graph = data.draw(graphs.networks(count, most=6 if count < 3 else 3, **how))
    at = graph.outputs[0]
    return graph, at, tuple(data.draw(st.integers(0, n - 1)) for n in graph.sizes[at])


class TestSupport:
    @settings(deadline=None, max_examples=60)
    @given(data=st.data())
    def test_in_the_plane(self, graphs: SimpleNamespace, data: st.DataObject):
        graph, at, position = drawn(data, graphs, unlike=True)
        seen = graph.support(at, position)
        walked = graphs.walk(graph, at, position)
        assert {name: graphs.pixels(one) for name, one in seen.items()} == {
            name: set(one) for name, one in walked.items()
        }
        assert all(one.exact and set(one.stride_px) == {1} for one in seen.values())

    @settings(deadline=None, max_examples=100)
    @given(data=st.data())
    def test_inside_the_image(self, graphs: SimpleNamespace, data: st.DataObject):
        graph, at, position = drawn(data, graphs, unlike=True)
        seen = graph.support(at, position, inside=True)
        walked = graphs.walk(graph, at, position, inside=True)
        assert {name: graphs.pixels(one) for name, one in seen.items()} == {
            name: set(one) for name, one in walked.items()
        }

    @pytest.mark.parametrize(
        ("edge", "columns"),
        [
            ("zeros", {0, 3}),
            ("reflect", {0, 3}),
            ("replicate", {0, 3}),
            ("circular", {0, 3, 5}),
        ],
    )
    def test_edges_by_hand(self, edge: str, columns: set[int]):
        # Position 0 of a map of 8 reads -3, 0 and 3: nothing, 3, 0 or 5.
        conv = window("conv", "image", (3,), edge=edge)
        graph = graph_of(conv, image=(8,), conv=(8,))
        inside = graph.support("conv", (0,), inside=True)["image"]
        assert {inside.origin_px[0] + i for i in inside.to_array().nonzero()[0]} == columns
        plane = graph.support("conv", (0,))["image"]
        assert (plane.origin_px, plane.size_px, plane.seen) == ((-3,), (7,), 3)

    def test_a_last_position_is_reflected_too(self):
        graph = graph_of(window("conv", "image", (2,), edge="reflect"), image=(8,), conv=(8,))
        seen = graph.support("conv", (6,), inside=True)["image"]  # 4, 6 and 8, which is 6
        assert (seen.origin_px, seen.to_array().tolist()) == ((4,), [True, False, True])

    def test_a_map_of_unknown_size_has_no_inside(self):
        graph = graph_of(window("conv", "image", (3,)))
        with pytest.raises(GeometryError, match="size of the map at node 'image' is not known"):
            graph.support("conv", (0,), inside=True)
        assert graph.support("conv", (0,))["image"].seen == 3

    def test_inputs_are_kept_apart(self):
        nodes = (Source("left"), Source("right"), Source("far"))
        graph = FieldGraph(
            (
                *nodes,
                window("conv", "right", (4,)),
                Join("sum", ("left", "conv")),
                window("other", "far", (1,)),
            ),
            ("sum", "other"),
        )
        seen = graph.support("sum", (10,))
        assert {name: (one.origin_px, one.size_px) for name, one in seen.items()} == {
            "left": ((10,), (1,)),
            "right": ((6,), (9,)),
        }
        # Their union is what the node sees in all.
        assert graph.coverage(at="sum").to_array().nonzero()[0].tolist() == [0, 4, 8]

    def test_a_plan_sets_the_rates(self):
        graph = graph_of(window("conv", "image", (1, 1)))
        plan = DilationPlan.per_branch({"conv": (2, 5)})
        assert graph.support("conv", (0, 0), plan)["image"].size_px == (11, 11)
        assert graph.support("conv", (0, 0), plan)["image"].seen == 17
        assert graph.paths("conv", (0, 0), plan).counts.shape == (11, 11)

    def test_a_position_between_the_taps_of_a_transposed_convolution_sees_nothing(self):
        up = Resample("up", "image", (Reads.transposed(2, stride=3),))
        graph = graph_of(up, image=(4,), up=(12,))
        assert graph.support("up", (2,)) == {} == graph.support("up", (2,), inside=True)
        assert graph.support("up", (3,))["image"].origin_px == (1,)
        assert graph.paths("up", (2,)).counts.tolist() == [0]


class TestParts:
    def test_a_branch_of_a_window(self):
        nodes = (
            window("conv", "image", (1, 1), (4, 4)),
            Part("near", "conv", "image", 0),
            Part("far", "conv", "image", 1),
            window("behind", "near", (1, 1)),
        )
        graph = graph_of(*nodes)
        assert graph.coverage(at="near").size_px == (3, 3)
        assert graph.coverage(at="far").size_px == (9, 9)
        assert graph.coverage(at="conv").seen == 17
        assert graph.coverage(at="behind").to_rows() == ["#####"] * 5
        assert graph.propagate().at("behind")[0].size_px == 5
        assert graph.support("behind", (3, 3))["image"].origin_px == (1, 1)
        assert graph.paths("behind", (0, 0)).counts[2, 2] == 1
        # Its rates are those of the window, also where a plan sets them.
        plan = DilationPlan.per_branch({"conv": (2, 7)})
        assert graph.coverage(plan, at="near").size_px == (5, 5)
        assert graph.coverage(plan, at="far").size_px == (15, 15)
        assert graph.propagate(plan).at("far")[0].size_px == 15

    def test_a_plan_of_other_branches_is_seen_as_a_whole(self):
        # Four branches that are alike may be made two, none of which is the fourth.
        conv = window("conv", "image", *[(1,)] * 4)
        graph = graph_of(conv, Part("fourth", "conv", "image", 3))
        assert graph.coverage(at="fourth").size_px == (3,)
        plan = DilationPlan.per_branch({"conv": (1, 2)})
        assert graph.propagate(plan).at("fourth")[0].size_px == 5
        assert graph.coverage(plan, at="fourth").size_px == (5,)

    def test_channels_of_a_grouped_convolution(self):
        # One group reads what has seen 3 px, the other what has seen 9.
        nodes = (
            window("left", "image", (1,)),
            window("right", "image", (4,)),
            Join("both", ("left", "right")),
            window("grouped", "both", (1,)),
            Part("first", "grouped", "left"),
            Part("second", "grouped", "right"),
        )
        graph = graph_of(*nodes)
        seen = graph.coverages(("first", "second", "grouped"))
        assert [one.size_px for one in seen.values()] == [(5,), (11,), (11,)]
        assert seen["first"].union(seen["second"]) == seen["grouped"]
        assert seen["second"].to_array().nonzero()[0].tolist() == [0, 1, 2, 4, 5, 6, 8, 9, 10]

    def test_a_part_of_what_is_no_window(self):
        with pytest.raises(GeometryError, match="'part' is part of 'image', which is no window"):
            graph_of(Part("part", "image", "image"))
        with pytest.raises(GeometryError, match="'part' is part of 'later', which is no window"):
            graph_of(Part("part", "later", "image"), window("later", "image", (1,)))


class TestForwards:
    @settings(deadline=None, max_examples=50)
    @given(data=st.data())
    def test_it_agrees_with_the_way_back(self, graphs: SimpleNamespace, data: st.DataObject):
        graph, _, _ = drawn(data, graphs, uniform=True)
        names = [node.name for node in graph.nodes]
        for at, seen in graph.coverages(names).items():
            position = tuple(data.draw(st.integers(-2, 3)) for _ in seen.size_px)
            back = graph.support(at, position).values()
            assert graphs.pixels(seen, position) == set().union(*map(graphs.pixels, back))
            assert graphs.pixels(seen, position) == set().union(
                *graphs.walk(graph, at, position).values()
            )

    @settings(deadline=None, max_examples=50)
    @given(data=st.data())
    def test_behind_resampling_it_is_the_middle_position(
        self, graphs: SimpleNamespace, data: st.DataObject
    ):
        graph, at, _ = drawn(data, graphs, unlike=data.draw(st.booleans()))
        spans = graph.propagate().spans
        on_the_way = [node for node in graph.nodes if node.name in graph.upstream(at)]
        endless = all(span.repeats for node in on_the_way for span in spans[node.name])
        alike = all(span.uniform for node in on_the_way for span in spans[node.name]) and not any(
            reads.period > 1
            for node in on_the_way
            if isinstance(node, Resample)
            for reads in node.table
        )
        walked = graphs.walk(graph, at, graph.middle(at), inside=not endless)
        if not walked:
            with pytest.raises(GeometryError, match=f"of node '{at}' sees no pixel"):
                graph.coverage(at=at)
            return
        seen = graph.coverage(at=at)
        moved = graph.middle(at) if alike else None
        assert graphs.pixels(seen, moved) == set().union(*walked.values())

    def test_uniform_again_behind_an_upsampling(self):
        # Every second position of twice as many: each sees alike, what lies in between does not.
        nodes = (
            Resample("up", "image", (Reads.nearest(Fraction(1, 2)),)),
            window("down", "up", (1,), stride=(2,)),
        )
        graph = graph_of(*nodes, image=(8,), up=(16,), down=(8,))
        assert graph.propagate().spans["down"][0].uniform
        seen = graph.coverage(at="down")  # position 4 reads 7, 8 and 9, which are 3, 4 and 4
        assert (seen.origin_px, seen.size_px, seen.seen) == ((3,), (2,), 2)

    def test_alike_from_first_to_last_is_not_alike_in_between(self):
        # Positions 0 and 1 see 0..3 and 1..4, but only every second one sees what lies between.
        table = Reads(((0, 1, 2, 3), (1, 4)), 2)
        graph = graph_of(Resample("mixed", "image", (table,)), image=(9,), mixed=(6,))
        assert graph.propagate().spans["mixed"][0].uniform
        seen = graph.coverage(at="mixed")  # position 3
        assert seen.to_array().tolist() == [True, False, False, True]
        assert seen.origin_px == (3,)

    def test_the_middle_moves_on_to_a_position_that_sees_something(self):
        up = Resample("up", "image", (Reads.transposed(1, stride=2), Reads.nearest(Fraction(1, 2))))
        graph = graph_of(up, image=(3, 3), up=(6, 6))
        assert graph.middle("up") == (4, 3)  # row 3 lies between the taps
        assert graph.coverage(at="up").origin_px == (2, 1)

    def test_a_map_that_sees_nothing(self):
        # Rows of zeros only: every second position of a transposed convolution with one tap.
        nodes = (
            Resample("up", "image", (Reads.transposed(1, stride=2),)),
            window("odd", "up", (1,), taps=(1,), stride=(2,), anchor=(1,)),
            window("conv", "odd", (1,)),
            Join("sum", ("image", "conv")),
        )
        graph = graph_of(*nodes)
        spans = graph.propagate().spans
        assert spans["conv"][0].at(5) is None
        assert spans["sum"][0].at(5) == (5, 5)
        with pytest.raises(GeometryError, match="'conv' sees no pixel of any input"):
            graph.coverage(at="conv")
        assert graph.coverage(at="sum").seen == 1


class TestPaths:
    @settings(deadline=None, max_examples=50)
    @given(data=st.data())
    def test_they_are_counted(self, graphs: SimpleNamespace, data: st.DataObject):
        graph, at, position = drawn(data, graphs, unlike=True)
        counted = graph.paths(at, position)
        walked = sum(graphs.walk(graph, at, position).values(), start=Counter())
        most = max(walked.values(), default=1)
        found = {
            tuple(int(i) + low for i, low in zip(place, counted.origin_px, strict=True)): value
            for place, value in np.ndenumerate(counted.counts)
            if value
        }
        assert found == pytest.approx({p: n / most for p, n in walked.items()}, rel=1e-12)

    def test_a_shortcut_is_one_path(self):
        graph = graph_of(window("conv", "image", (1,)), Join("sum", ("image", "conv")))
        assert graph.paths("sum", (0,)).counts.tolist() == [0.5, 1, 0.5]
        assert graph.paths("sum", (7,)).origin_px == (6,)

    def test_two_convolutions_make_a_triangle(self):
        graph = graph_of(window("a", "image", (1, 1)), window("b", "a", (1, 1)))
        line = np.array([1, 2, 3, 2, 1])
        assert graph.paths("b", (0, 0)).counts == pytest.approx(np.outer(line, line) / 9)

    def test_branches_that_read_alike_are_one_path(self):
        graph = graph_of(window("conv", "image", (1,), (1,), (2,)))
        assert graph.paths("conv", (0,)).counts.tolist() == [0.5, 0.5, 1, 0.5, 0.5]
        nodes = (
            window("conv", "image", (1,), (1,)),
            Part("part", "conv", "image"),
            Join("sum", ("image", "part")),
        )
        assert graph_of(*nodes).paths("sum", (0,)).counts.tolist() == [0.5, 1, 0.5]

    def test_deep_networks_do_not_overflow(self):
        # 3 ** 700 is beyond any float.
        names = ["image", *(f"n{i}" for i in range(700))]
        nodes = [window(name, before, (1,)) for before, name in pairwise(names)]
        counts = graph_of(*nodes).paths(names[-1], (0,)).counts
        assert (counts.shape, counts.argmax(), counts.max()) == ((1401,), 700, 1)
        # Near the middle it is a normal distribution of variance 700 * 2 / 3.
        assert counts[721] == pytest.approx(math.exp(-(21**2) / (2 * 700 * 2 / 3)), rel=0.01)


class TestTooManyProducts:
    def test_the_product_of_the_axes_takes_their_place(self, monkeypatch: pytest.MonkeyPatch):
        graph = graph_of(window("conv", "image", (1, 1), (4, 4)))
        exact = graph.coverage(at="conv")
        assert (exact.exact, exact.seen, exact.holes) == (True, 17, 64)
        monkeypatch.setattr(coverages, "MOST_PRODUCTS", 1)
        rough = graph.coverage(at="conv")
        assert (rough.exact, rough.seen, rough.holes) == (False, 25, 56)
        # A product is exact however it is come by.
        assert graph_of(window("conv", "image", (4, 4))).coverage(at="conv").exact

    def test_what_follows_is_not_exact_either(self, monkeypatch: pytest.MonkeyPatch):
        nodes = (
            window("conv", "image", (1, 1), (4, 4)),
            window("next", "conv", (1, 1)),
            Join("sum", ("image", "next")),
        )
        monkeypatch.setattr(coverages, "MOST_PRODUCTS", 1)
        graph = graph_of(*nodes)
        assert not graph.coverage(at="next").exact
        assert not graph.coverage(at="sum").exact
        assert not graph.support("next", (0, 0))["image"].exact
        assert graph.support("image", (0, 0))["image"].exact

    @settings(deadline=None, max_examples=60)
    @given(data=st.data(), most=st.integers(1, 3))
    def test_it_holds_the_set(self, graphs: SimpleNamespace, data: st.DataObject, most: int):
        graph = data.draw(graphs.networks(2, uniform=True))
        at = graph.outputs[0]
        exact: Coverage = graph.coverage(at=at)
        back = graph.support(at, (0, 0))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(coverages, "MOST_PRODUCTS", most)
            rough = graph.coverage(at=at)
            rough_back = graph.support(at, (0, 0))
        for whole, larger in [(exact, rough), *((back[n], rough_back[n]) for n in back)]:
            assert graphs.pixels(whole) <= graphs.pixels(larger)
            assert larger.holes <= whole.holes
            assert (larger.size_px, larger.origin_px) == (whole.size_px, whole.origin_px)
            assert whole.exact
            if larger.exact:
                assert larger == whole
        assert set(back) == set(rough_back)

    @settings(deadline=None, max_examples=40)
    @given(data=st.data(), most=st.integers(1, 2))
    def test_it_holds_the_set_inside_the_image(
        self, graphs: SimpleNamespace, data: st.DataObject, most: int
    ):
        graph, at, position = drawn(data, graphs)
        back = graph.support(at, position, inside=True)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(coverages, "MOST_PRODUCTS", most)
            rough = graph.support(at, position, inside=True)
        for name, whole in back.items():
            assert graphs.pixels(whole) <= graphs.pixels(rough[name])
            assert not rough[name].exact or rough[name] == whole
