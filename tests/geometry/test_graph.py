"""Field graphs: published fields and bounds, and coverage against a walk over coordinates."""

import copy
import pickle
from fractions import Fraction
from functools import cache
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dilsearch.errors import GeometryError, PlanError
from dilsearch.geometry import (
    Coverage,
    Field,
    FieldGraph,
    GlobalContext,
    Join,
    Node,
    Reads,
    Resample,
    Source,
    Window,
)
from dilsearch.plan import DilationPlan, SiteRates

# RegSeg Tab. 2.
TABLE_2 = (
    *((1, 1), (1, 2), (1, 2), (1, 3), (2, 3), (2, 7), (2, 3)),
    *((2, 6), (2, 5), (2, 9), (2, 11), (4, 7), (5, 14)),
)
ABLATIONS = {  # RegSeg, the authors' ablation table: rates of the 13 sites and the field
    "exp48": (((1,), (1, 2), *[(1, 4)] * 4, *[(1, 14)] * 7), 3807),
    "exp43": (((1,), (1, 2), (1, 4), (1, 6), (1, 8), (1, 10), *[(1, 12)] * 7), 3743),
    "exp50": (((1,), (1, 2), (1, 4), (1, 6), (1, 8), (1, 10), *[(1, 3, 6, 12)] * 7), 3743),
    "exp46": (((1,), (1, 2), (1, 4), (1, 6), (1, 8), *[(1, 10)] * 8), 3295),
    "exp49": (((1,), (1, 2), *[(1, 4)] * 6, *[(1, 6, 12, 18)] * 5), 3807),
    "exp52": (((1,), (1, 2), (1, 4), *[(1, 6)] * 10), 2207),
    "exp51": (((1,), (1, 2), (1, 4), (1, 6), (1, 8), (1, 10), *[(1, 4, 8, 12)] * 7), 3743),
}


def square(field: Field) -> tuple[Field, Field]:
    return field, field


def window(name: str, source: str, **changes: object) -> Window:
    settings_ = {"taps": (3, 3), "stride": (1, 1), "anchor": (0, 0), "rates": ((1, 1),)}
    return Window(name=name, source=source, site=True, **{**settings_, **changes})


class TestPublishedFields:
    def test_regseg_table_2(self, graphs: SimpleNamespace):
        table = graphs.regseg(TABLE_2).propagate()
        assert table.at("body.12") == square(Field(2399, 16))
        assert table.field_px == 2399

    def test_a_plan_takes_the_place_of_the_graphs_rates(self, graphs: SimpleNamespace):
        graph = graphs.regseg()
        plan = DilationPlan.per_branch(dict(zip(graph.site_names, TABLE_2, strict=True)))
        assert graph.propagate(plan) == graphs.regseg(TABLE_2).propagate()
        assert graph.propagate().field_px == 479  # every rate 1

    @pytest.mark.parametrize("name", ABLATIONS)
    def test_regseg_ablations(self, graphs: SimpleNamespace, name: str):
        rates, size = ABLATIONS[name]
        assert graphs.regseg(rates).propagate().field_px == size

    def test_regnety_and_aspp(self, graphs: SimpleNamespace):
        # RegSeg Fig. 2, caption: 479 and 1055.
        table = graphs.regnety600mf((6, 12, 18)).propagate()
        assert table.at("256.6") == square(Field(255, 16))
        assert table.at("608.3") == square(Field(479, 16))
        assert table.at("aspp") == square(Field(1055, 16))

    def test_bounds_of_table_2(self, graphs: SimpleNamespace):
        # RegSeg Eq. 3 on Tab. 2.
        table = graphs.regseg(TABLE_2).propagate()
        tuned = [row for row in table.rows if row.name.removesuffix(".conv2") in _BLOCKS]
        assert [row.field_in[0].size_px / row.field_in[0].stride_px for row in tuned] == [
            *(3.9375, 5.9375, 9.9375, 13.9375, 19.9375, 25.9375, 39.9375),
            *(45.9375, 57.9375, 67.9375, 85.9375, 107.9375, 121.9375),
        ]
        assert [row.bound for row in tuned] == [3, 5, 9, 13, 19, 25, 39, 45, 57, 67, 85, 107, 121]
        assert table.bound_ok

    def test_the_decoder_adds_its_convolutions_and_interpolations(self, graphs: SimpleNamespace):
        # A 3x3 behind an upsampling by 2 reads two positions of the coarse map if it is nearest,
        # and three if it is bilinear. At stride 8, neighbours see one coarse position or none more:
        # two of them, or three, reach over one more in all.
        nearest = graphs.regseg(TABLE_2, upsampling="nearest").propagate()
        assert nearest.at("head.conv4") == square(Field(2399 + 16 + 16, 4))
        bilinear = graphs.regseg(TABLE_2, upsampling="linear").propagate()
        assert bilinear.at("head.conv4") == square(Field(2399 + 32 + 16, 4))

    @pytest.mark.parametrize(("rates", "size"), [(TABLE_2, 2399), (ABLATIONS["exp48"][0], 3807)])
    def test_regseg_sees_every_pixel_of_its_field(
        self, graphs: SimpleNamespace, rates: tuple[tuple[int, ...], ...], size: int
    ):
        seen = graphs.regseg(rates).coverage()
        assert (seen.size_px, seen.holes) == ((size, size), 0)


_BLOCKS = {f"body.{index}" for index in range(13)}


class TestPropagate:
    def test_rows_hold_sites_in_order(self, graphs: SimpleNamespace):
        table = graphs.chain([(1,), (1, 3)], strides=[2, 1]).propagate()
        first, second = table.rows
        assert (first.name, first.rates, first.field_in) == ("0", ((1, 1),), square(Field()))
        assert (second.name, second.taps, second.rates) == ("1", (3, 3), ((1, 1), (3, 3)))
        assert (second.field_in, second.field_out) == (square(Field(3, 2)), square(Field(15, 2)))
        assert (second.bound, second.bound_ok, table.bound_ok) == (1, False, False)

    def test_fractional_rates_reach_the_integer_above(self, graphs: SimpleNamespace):
        graph = graphs.chain([(1, 1)])
        table = graph.propagate(DilationPlan.per_branch({"0": (1.2, 2.1)}))
        assert table.rows[0].rates == ((2, 2), (3, 3))
        assert table.field_px == 7

    def test_last_site_is_the_plans(self, graphs: SimpleNamespace):
        graph = graphs.chain([(1,), (1,), (1,)])
        assert graph.propagate().last_site == "2"
        table = graph.propagate(DilationPlan({"1": SiteRates("site", (4,))}))
        assert (table.last_site, table.field_px) == ("1", 11)
        assert table.at("2") == square(Field(13, 1))

    def test_one_rate_stands_for_all_branches(self, graphs: SimpleNamespace):
        graph = graphs.chain([(1, 5)])
        assert graph.propagate(DilationPlan({"0": SiteRates("site", (2,))})).field_px == 5

    def test_a_plan_may_split_a_convolution(self, graphs: SimpleNamespace):
        graph = graphs.chain([(1,)])
        table = graph.propagate(DilationPlan.per_branch({"0": (1, 2, 3, 4)}))
        assert table.rows[0].rates == ((1, 1), (2, 2), (3, 3), (4, 4))

    def test_axes_are_kept_apart(self):
        graph = FieldGraph(
            (
                Source("image"),
                window("wide", "image", taps=(1, 5), rates=((1, 2),)),
                window("tall", "wide", stride=(2, 1), rates=((1, 7),)),
                window("flat", "tall", taps=(1, 3), rates=((9, 20),)),
            ),
            outputs=("flat",),
        )
        table = graph.propagate()
        assert table.at("wide") == (Field(1, 1), Field(9, 1))
        assert table.at("tall") == (Field(3, 2), Field(23, 1))
        assert table.field_px == (3, 63)
        # "tall" keeps the bound of each axis, 1 and 9; for a rate on both axes it is the smaller.
        # "flat" does not span the height, whose bound is 1.
        assert [row.bound for row in table.rows] == [1, 1, 23]
        assert [row.bound_ok for row in table.rows] == [False, True, True]

    def test_one_axis_is_enough(self):
        graph = FieldGraph(
            (
                Source("sound"),
                window("conv", "sound", taps=(2,), stride=(1,), anchor=(0,), rates=((512,),)),
            ),
            outputs=("conv",),
        )
        assert graph.propagate().field_px == 513
        seen = graph.coverage()
        assert (seen.size_px, seen.origin_px, seen.seen) == ((513,), (0,), 2)
        assert seen.to_array().nonzero()[0].tolist() == [0, 512]
        assert seen.largest_hole_px == 511

    def test_graph_rates_as_a_plan(self, graphs: SimpleNamespace):
        plan = graphs.chain([(2,), (1, 3)]).plan()
        assert plan == DilationPlan(
            {"0": SiteRates("site", (2,)), "1": SiteRates("branch", (1, 3))}
        )
        graph = graphs.regseg(TABLE_2)
        assert graph.propagate(graph.plan()) == graph.propagate()

    def test_sites_with_unlike_axes_have_a_rate_for_each_in_the_plan(self):
        nodes = (
            Source("image"),
            window("a", "image", rates=((1, 2),)),
            window("b", "a"),
            window("c", "b", rates=((2, 2), (1, 3)), causal=True),
        )
        graph = FieldGraph(nodes, outputs=("b",))
        assert graph.plan() == DilationPlan(
            {
                "a": SiteRates("site", (1, 2), axes=2),
                "b": SiteRates("site", (1,)),
                "c": SiteRates("branch", (2, 2, 1, 3), axes=2, causal=True),
            }
        )
        assert graph.propagate(graph.plan()) == graph.propagate()

    def test_upstream_follows_fields_only(self, graphs: SimpleNamespace):
        graph = graphs.regseg()
        assert graph.upstream("body.48.0.se") == {
            "image",
            "stem",
            "body.48.0.conv1",
            "body.48.0.conv2",
            "body.48.0.se",
        }

    def test_downstream_follows_fields_only(self, graphs: SimpleNamespace):
        graph = graphs.regseg()
        behind = graph.downstream(("body.48.0.conv2", "head.up4"))
        assert {"body.48.0.conv2", "body.48.0.se", "body.48.0", "head.conv4"} <= behind
        assert not {"stem", "body.48.0.conv1", "body.48.0.se.pool", "body.48.0.se.conv1"} & behind
        assert graph.downstream(()) == frozenset()
        for name in behind & set(graph.propagate().spans):
            assert not {"body.48.0.conv2", "head.up4"}.isdisjoint(graph.upstream(name))

    def test_basis(self):
        nodes = (
            Source("image"),
            window("half", "image", stride=(2, 2)),
            Resample("up", "half", (Reads.linear(Fraction(1, 2)),) * 2),
            window("behind", "up"),
            window("half_again", "behind", stride=(2, 2)),
            Join("sum", ("image", "behind")),
            Join("unlike", ("image", "half")),
            window("inside", "unlike"),
        )
        sizes = {node.name: (8, 8) for node in nodes}
        graph = FieldGraph(nodes, ("sum", "inside"), sizes=sizes)
        assert graph.basis(graph.propagate()) == {
            "image": "plane",
            "half": "plane",
            "up": "position",
            "behind": "position",
            "half_again": "position",
            "sum": "position",
            "unlike": "image",
            "inside": "image",
        }

    def test_unfollowed_names_a_node(self):
        unfollowed = {"image": "aten.roll in module 'shift'"}
        graph = FieldGraph((Source("image"),), ("image",), unfollowed)
        assert graph.unfollowed == unfollowed
        assert hash(graph) == hash(FieldGraph((Source("image"),), ("image",)))
        assert graph != FieldGraph((Source("image"),), ("image",))
        with pytest.raises(GeometryError, match="'roll' is given as output or unfollowed"):
            FieldGraph((Source("image"),), ("image",), {"roll": "aten.roll"})

    def test_copies_are_equal(self, graphs: SimpleNamespace):
        graph = graphs.regseg(TABLE_2)
        assert copy.deepcopy(graph) == graph == pickle.loads(pickle.dumps(graph))
        assert pickle.loads(pickle.dumps(graph)).propagate() == graph.propagate()


class TestBehindResampling:
    @pytest.mark.parametrize("rates", [((1, 1),) * 13, TABLE_2])
    def test_the_decoder_sees_every_pixel_of_its_field(
        self, graphs: SimpleNamespace, rates: tuple[tuple[int, ...], ...]
    ):
        graph = graphs.regseg(rates)
        seen = graph.coverages(("head.up8", "head.conv8", "head.conv4", "head.skip8"))
        size = graph.propagate().field_px
        assert [one.size_px[0] for one in seen.values()] == [size + 16, size + 32, size + 48, 47]
        assert [one.holes for one in seen.values()] == [0] * 4
        assert all(one.exact for one in seen.values())

    def test_it_is_what_the_position_sees(self, graphs: SimpleNamespace):
        graph = graphs.regseg(((1,),) * 12 + ((60,),))
        seen = graph.coverage(at="head.conv8")
        assert seen.holes > 0
        assert seen == graph.support("head.conv8", (0, 0))["image"]

    def test_super_resolution(self):
        # Position p of twice as many reads p // 2; its neighbours see half a pixel further.
        nodes = (
            Source("image"),
            Resample("up", "image", (Reads.nearest(Fraction(1, 2)),) * 2),
            window("conv", "up", rates=((2, 2),)),
        )
        graph = FieldGraph(nodes, ("conv",), sizes={"up": (16, 16), "conv": (16, 16)})
        table = graph.propagate()
        assert table.at("up") == square(Field(1, Fraction(1, 2)))
        assert table.at("conv") == square(Field(3, Fraction(1, 2)))
        assert (
            table.rows[0].bound == 2
        )  # three positions apart, some neighbours are two pixels apart
        assert table.bound_ok
        assert graph.coverage().to_rows() == ["###"] * 3
        assert graph.coverage().origin_px == (3, 3)
        three = DilationPlan({"conv": SiteRates("site", (3,))})
        assert not graph.propagate(three).bound_ok

    def test_grids_that_do_not_fit_are_listed(self):
        # Three positions of 4 px meet four of 3 px, cut to three.
        nodes = (
            Source("image"),
            window("four", "image", taps=(1, 1), stride=(4, 4)),
            window("three", "image", taps=(1, 1), stride=(3, 3)),
            Join("sum", ("four", "three")),
            window("conv", "sum"),
        )
        sizes = {"image": (9, 9), **dict.fromkeys(("four", "three", "sum", "conv"), (3, 3))}
        graph = FieldGraph(nodes, ("conv",), sizes=sizes)
        spans = graph.propagate().spans
        assert not spans["sum"][0].repeats
        assert [spans["sum"][0].at(p) for p in range(-1, 4)] == [None, (0, 0), (3, 4), (6, 8), None]
        assert [spans["conv"][0].at(p) for p in range(3)] == [(0, 4), (0, 8), (3, 8)]
        # The middle sees rows 0, 4, 8 with columns 0, 4, 8, and 0, 3, 6 with 0, 3, 6.
        assert graph.coverage().seen == 9 + 9 - 1
        # Two positions away there are none, so that only the middle is left: 4 with 4, 3 with 3.
        wide = DilationPlan({"conv": SiteRates("site", (2,))})
        assert [graph.propagate(wide).spans["conv"][0].at(p) for p in range(3)] == [
            (0, 8),
            (3, 4),
            (0, 8),
        ]
        assert graph.coverage(wide).to_rows() == ["#.", ".#"]
        assert graph.coverage(wide).origin_px == (3, 3)
        with pytest.raises(GeometryError, match="node 'sum': fields of strides 3 px and 4 px"):
            FieldGraph(nodes, ("conv",))
        del sizes["conv"]
        with pytest.raises(GeometryError, match=r"node 'conv': .* whose size is not known"):
            FieldGraph(nodes, ("conv",), sizes=sizes)

    def test_a_joined_network_without_windows_has_the_axes_of_its_maps(self):
        nodes = (Source("a"), Source("b"), Join("sum", ("a", "b")))
        graph = FieldGraph(nodes, ("sum",), sizes=dict.fromkeys(("a", "b", "sum"), (8,)))
        assert graph.coverage(at="sum").size_px == (1,)
        assert graph.support("sum", (5,))["b"].origin_px == (5,)

    def test_volumes(self):
        conv = window(
            "conv",
            "image",
            taps=(3, 1, 2),
            stride=(1,) * 3,
            anchor=(0,) * 3,
            rates=((2, 1, 3), (1, 1, 1)),
        )
        seen = FieldGraph((Source("image"), conv), ("conv",)).coverage()
        # Depths -2, 0, 2 with columns 0, 3, and -1, 0, 1 with 0, 1; both have the middle.
        assert (seen.size_px, seen.origin_px, seen.seen) == ((5, 1, 4), (-2, 0, 0), 6 + 6 - 1)
        assert seen.holes == 9


class TestTwiceRun:
    @pytest.fixture
    def graph(self) -> FieldGraph:
        nodes = (
            Source("image"),
            window("shared", "image", module="shared"),
            window("shared:2", "shared", module="shared"),
            window("own", "shared:2", module="own"),
        )
        return FieldGraph(nodes, ("own",))

    @pytest.mark.parametrize("site", ["shared", "shared:2"])
    def test_a_plan_cannot_name_it(self, graph: FieldGraph, site: str):
        plan = DilationPlan({site: SiteRates("site", (2,))})
        for refuse in (graph.check, graph.propagate, graph.coverage):
            with pytest.raises(PlanError, match=f"site '{site}' runs 2 times in one forward pass"):
                refuse(plan)

    def test_each_use_has_its_row(self, graph: FieldGraph):
        assert [row.field_out[0].size_px for row in graph.propagate().rows] == [3, 5, 7]
        plan = DilationPlan({"own": SiteRates("site", (2,))})
        assert graph.propagate(plan).field_px == 9


class TestGlobalContext:
    def test_squeeze_excite_is_flagged_and_not_counted(self, graphs: SimpleNamespace):
        table = graphs.regseg().propagate()
        assert not table.global_context("body.48.0.conv2")
        for node in ("body.48.0.se", "body.48.0.se.conv1", "body.48.0", "head.conv4"):
            assert table.global_context(node)
        assert table.at("body.48.0") == table.at("body.48.0.conv2")

    @pytest.fixture
    def pooled(self) -> FieldGraph:
        nodes = (
            Source("image"),
            window("near", "image"),
            GlobalContext("pool", "near"),
            window("gate", "pool", taps=(1, 1)),
            Join("both", ("gate", "pool")),
            Resample("up", "both", (Reads.linear(Fraction(1, 7)),) * 2),
            Join("gated", ("near", "up")),
        )
        return FieldGraph(nodes, outputs=("gated",))

    def test_what_is_only_pooled_has_no_field(self, pooled: FieldGraph):
        table = pooled.propagate()
        for node in ("pool", "gate", "both", "up"):
            assert table.global_context(node)
            with pytest.raises(GeometryError, match=f"node '{node}' sees only what is pooled glob"):
                table.at(node)
        assert [row.name for row in table.rows] == ["near"]
        assert table.last_site == "near"

    def test_what_is_only_pooled_is_no_site_of_a_plan(self, pooled: FieldGraph):
        with pytest.raises(PlanError, match="site 'gate' sees only what is pooled globally"):
            pooled.propagate(DilationPlan({"gate": SiteRates("site", (2,))}))

    def test_coverage_leaves_it_out(self, pooled: FieldGraph):
        assert pooled.coverage(at="gated").to_rows() == ["###"] * 3
        with pytest.raises(GeometryError, match="node 'pool' sees only what is pooled globally"):
            pooled.coverage(at="pool")


class TestFaults:
    def test_unknown_site(self, graphs: SimpleNamespace):
        plan = DilationPlan.per_branch({"body.11.conv": (1, 2)})
        with pytest.raises(
            PlanError, match=r"names 'body.11.conv', which is no site; .* 'body.11.conv2'"
        ):
            graphs.regseg().propagate(plan)

    def test_a_pooling_is_no_site(self, graphs: SimpleNamespace):
        plan = DilationPlan({"body.48.0.shortcut.pool": SiteRates("site", (2,))})
        with pytest.raises(PlanError, match="which is no site"):
            graphs.regseg().propagate(plan)

    def test_rates_for_other_branches(self, graphs: SimpleNamespace):
        graph = graphs.chain([(1, 3)])
        with pytest.raises(
            PlanError, match="site '0': the plan has 3 rates where the network has 2 branches"
        ):
            graph.propagate(DilationPlan.per_branch({"0": (1, 2, 3)}))

    def test_unknown_node(self, graphs: SimpleNamespace):
        with pytest.raises(GeometryError, match="no node 'stm'; the nearest name is 'stem'"):
            graphs.regseg().propagate().at("stm")
        with pytest.raises(GeometryError, match="no node 'stm'"):
            graphs.regseg().propagate().global_context("stm")
        with pytest.raises(GeometryError, match="no node 'stm'"):
            graphs.regseg().coverage(at="stm")

    def test_no_site(self):
        graph = FieldGraph((Source("image"),), outputs=("image",))
        assert graph.propagate().rows == ()
        assert graph.propagate().last_site is None
        with pytest.raises(GeometryError, match="no site to read the field at"):
            _ = graph.propagate().field_px
        with pytest.raises(GeometryError, match="no site to count coverage at"):
            graph.coverage()

    def test_coverage_of_fractional_rates(self, graphs: SimpleNamespace):
        plan = DilationPlan({"0": SiteRates("site", (1.5,))})
        with pytest.raises(PlanError, match="whole rates only; project the plan first"):
            graphs.chain([(1,)]).coverage(plan)

    def test_strides_that_do_not_fit_name_the_node(self):
        nodes = (Source("image"), window("conv", "image", stride=(2, 2)))
        with pytest.raises(GeometryError, match="node 'sum': fields of strides 1 px and 2 px"):
            FieldGraph((*nodes, Join("sum", ("conv", "image"))), outputs=("sum",))
        up = Resample("up", "conv", (Reads.nearest(Fraction(1, 4)),) * 2)
        with pytest.raises(GeometryError, match="node 'sum': fields of strides 1/2 px and 1 px"):
            FieldGraph((*nodes, up, Join("sum", ("up", "image"))), outputs=("sum",))

    @pytest.mark.parametrize(
        ("nodes", "outputs", "text"),
        [
            ((Source("a"), Source("a")), (), "name 'a' stands for two nodes"),
            ((window("b", "a"), Source("a")), (), "'b' reads 'a', which is not among"),
            ((Source("a"), Join("b", ())), (), "node 'b' joins nothing"),
            ((Source("a"),), ("b",), "'b' is given as output or unfollowed, but is no node"),
            (
                (
                    Source("a"),
                    window("b", "a"),
                    Resample("c", "b", (Reads.nearest(Fraction(1, 2)),)),
                ),
                (),
                r"number of axes \('b' has 2, 'c' has 1\)",
            ),
        ],
    )
    def test_graphs_that_cannot_be(
        self, nodes: tuple[Node, ...], outputs: tuple[str, ...], text: str
    ):
        with pytest.raises(GeometryError, match=text):
            FieldGraph(nodes, outputs)

    @pytest.mark.parametrize(
        ("changes", "text"),
        [
            ({"stride": (1,)}, "node 'a': taps, stride, anchor and rates must have as many axes"),
            ({"rates": ((1,),)}, "give 2 values for each"),
            ({"rates": ()}, "with at least one branch"),
            ({"rates": ((1, 0),)}, "must be at least 1"),
            ({"taps": (0, 3)}, "must be at least 1"),
        ],
    )
    def test_windows_that_cannot_be(self, changes: dict[str, object], text: str):
        with pytest.raises(GeometryError, match=text):
            window("a", "image", **changes)

    def test_resamplings_that_cannot_be(self):
        with pytest.raises(GeometryError, match="node 'a' reads along no axis"):
            Resample("a", "image", ())


pairs = st.tuples(st.integers(1, 3), st.integers(1, 3))
windows = st.builds(
    Window,
    name=st.just(""),
    source=st.just(""),
    taps=pairs,
    stride=st.tuples(st.integers(1, 2), st.integers(1, 2)),
    anchor=st.tuples(st.integers(-1, 1), st.integers(-1, 1)),
    rates=st.lists(pairs, min_size=1, max_size=2).map(tuple),
    site=st.booleans(),
)


@st.composite
def small_graphs(draw: st.DrawFn) -> FieldGraph:
    """A few windows, each behind any earlier node, and joins of nodes with equal strides."""
    nodes: list[Node] = [Source("n0")]
    strides = {"n0": (1, 1)}
    for index in range(1, draw(st.integers(2, 7))):
        name, source = f"n{index}", draw(st.sampled_from(list(strides)))
        peers = [node for node in strides if strides[node] == strides[source]]
        if len(peers) > 1 and draw(st.booleans()):
            sources = draw(st.lists(st.sampled_from(peers), min_size=1, max_size=3))
            nodes.append(Join(name, tuple(sources)))
            strides[name] = strides[source]
        else:
            drawn = draw(windows)
            nodes.append(
                Window(
                    name,
                    source,
                    drawn.taps,
                    drawn.stride,
                    drawn.anchor,
                    drawn.rates,
                    drawn.site,
                )
            )
            strides[name] = (
                strides[source][0] * drawn.stride[0],
                strides[source][1] * drawn.stride[1],
            )
    return FieldGraph(tuple(nodes), outputs=(nodes[-1].name,))


def walk(graph: FieldGraph, at: str, position: tuple[int, int]) -> frozenset[tuple[int, int]]:
    """Input pixels reaching one position, followed tap by tap through absolute coordinates."""
    nodes = {node.name: node for node in graph.nodes}

    @cache
    def pixels(name: str, row: int, column: int) -> frozenset[tuple[int, int]]:
        node = nodes[name]
        if isinstance(node, Source):
            return frozenset({(row, column)})
        if isinstance(node, Join):
            return frozenset().union(*(pixels(source, row, column) for source in node.sources))
        assert isinstance(node, Window)
        reads = [
            (
                row * node.stride[0] + node.anchor[0] + (i - (node.taps[0] - 1) // 2) * down,
                column * node.stride[1] + node.anchor[1] + (j - (node.taps[1] - 1) // 2) * across,
            )
            for down, across in node.rates
            for i in range(node.taps[0])
            for j in range(node.taps[1])
        ]
        return frozenset().union(*(pixels(node.source, *read) for read in reads))

    return pixels(at, *position)


def placed(seen: Coverage, position: tuple[int, int]) -> set[tuple[int, int]]:
    """A coverage's pixels for one output position."""
    top, left = (
        origin + index * stride
        for origin, index, stride in zip(seen.origin_px, position, seen.stride_px, strict=True)
    )
    return {
        (top + i, left + j)
        for i, row in enumerate(seen.to_rows())
        for j, mark in enumerate(row)
        if mark == "#"
    }


@settings(deadline=None, max_examples=80)
@given(small_graphs(), st.tuples(st.integers(-2, 3), st.integers(-2, 3)))
def test_coverage_is_what_a_walk_over_coordinates_finds(
    graph: FieldGraph, position: tuple[int, int]
):
    at = graph.outputs[0]
    assert placed(graph.coverage(at=at), position) == walk(graph, at, position)


def test_the_walk_tells_shifted_poolings_apart():
    def pooled(anchor: int) -> FieldGraph:
        pool = window("pool", "image", taps=(2, 2), stride=(2, 2), anchor=(anchor, anchor))
        return FieldGraph((Source("image"), pool), outputs=("pool",))

    assert walk(pooled(0), "pool", (1, 1)) == placed(pooled(0).coverage(), (1, 1))
    assert walk(pooled(0), "pool", (1, 1)) != placed(pooled(-1).coverage(), (1, 1))


@settings(deadline=None, max_examples=60)
@given(small_graphs())
def test_fields_never_exceed_the_box_of_the_coverage(graph: FieldGraph):
    at = graph.outputs[0]
    sizes = tuple(axis.size_px for axis in graph.propagate().at(at))
    box = graph.coverage(at=at).size_px
    assert all(size <= side for size, side in zip(sizes, box, strict=True))
