"""Windows: the tap that stays in place, and causal networks against sets of positions."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from dilsearch.errors import GeometryError
from dilsearch.geometry import FieldGraph, Join, Node, Source, Span, Window
from dilsearch.plan import DilationPlan, SiteRates

LENGTH = 24


def window(taps: tuple[int, ...], rates: tuple[tuple[int, ...], ...], **changes: object) -> Window:
    ones, zeros = (1,) * len(taps), (0,) * len(taps)
    return Window("a", "image", taps, ones, zeros, rates, site=True, **changes)


class TestAnchor:
    def test_the_middle_tap_stays_or_the_last(self):
        assert window((1, 2, 3), ((1, 1, 1),)).anchor_taps == (0, 0, 1)
        assert window((1, 2, 3), ((1, 1, 1),), causal=True).anchor_taps == (0, 1, 2)
        assert window((4,), ((3,),)).reads((3,))[0].at(0) == (-3, 0, 3, 6)
        assert window((4,), ((3,),), causal=True).reads((3,))[0].at(0) == (-9, -6, -3, 0)

    @settings(deadline=None, max_examples=40)
    @given(st.lists(st.tuples(*[st.integers(1, 5)] * 4), min_size=1, max_size=3))
    def test_turning_causal_moves_no_read(self, axes: list[tuple[int, int, int, int]]):
        taps, rates, strides, anchors = map(tuple, zip(*axes, strict=True))
        plain = Window("a", "image", taps, strides, anchors, (rates,), site=True)
        turned = plain.turned_causal()
        assert turned.reads(rates) == plain.reads(rates)
        assert turned.turned_causal() is turned
        further = tuple(rate + 1 for rate in rates)
        for reads, before, count in zip(
            turned.reads(further), plain.reads(rates), taps, strict=True
        ):
            assert reads.at(0)[-1] == before.at(0)[-1]
            assert reads.reach == before.reach + count - 1

    def test_branches_that_end_apart_cannot_turn(self):
        with pytest.raises(GeometryError, match="site 'a': its branches have the rates") as refused:
            window((3, 3), ((1, 1), (2, 1))).turned_causal()
        assert "give them one rate first" in str(refused.value)
        assert window((1, 3), ((1, 2), (5, 2))).turned_causal().anchor == (0, 2)


class TestAxes:
    def test_spanned(self):
        assert window((3, 1, 2), ((1, 1, 1),)).spanned == (0, 2)
        assert window((1, 1), ((1, 1),)).spanned == (0, 1)

    def test_along_holds_every_rate_once(self):
        conv = window((3, 1), ((4, 1), (2, 7), (4, 9)))
        tall, wide = conv.along(conv.rates)
        assert [reads.at(0) for reads in tall] == [(-2, 0, 2), (-4, 0, 4)]
        assert [reads.at(0) for reads in wide] == [(0,)]

    def test_the_largest_rate_of_each_axis_keeps_its_bound(self):
        spans = (Span((0,), (3,), 1), Span((0,), (1,), 1))
        conv = window((3, 3), ((1, 1),))
        assert conv.leaves_no_gap(spans, ((4, 1), (1, 2)))
        assert not conv.leaves_no_gap(spans, ((4, 1), (1, 3)))
        assert not conv.leaves_no_gap(spans, ((5, 1),))


def causal_network(layers: list[tuple[int, int, bool]]) -> FieldGraph:
    """Convolutions of (taps, rate) padded on the left, as a tracer writes them, some residual."""
    nodes: list[Node] = [Source("sound")]
    sizes, at = {"sound": (LENGTH,)}, "sound"
    for index, (taps, rate, residual) in enumerate(layers):
        padding, middle = (taps - 1) * rate, (taps - 1) // 2 * rate
        pad = Window(f"pad{index}", at, (1,), (1,), (-padding,), ((1,),), site=False)
        conv = Window(f"conv{index}", pad.name, (taps,), (1,), (middle,), ((rate,),), site=True)
        nodes += [pad, conv]
        sizes |= {pad.name: (LENGTH + padding,), conv.name: (LENGTH,)}
        if residual:
            nodes.append(Join(f"sum{index}", (conv.name, at)))
            sizes[f"sum{index}"] = (LENGTH,)
        at = nodes[-1].name
    return FieldGraph(tuple(nodes), (at,), sizes=sizes)


def seen_by_hand(
    layers: list[tuple[int, int, bool]], rates: list[tuple[float, ...]]
) -> NDArray[np.bool_]:
    """Which inputs every output sees: matrices of who reads whom, multiplied."""
    seen = np.eye(LENGTH, dtype=bool)
    for (taps, _, residual), every in zip(layers, rates, strict=True):
        reads = np.zeros((LENGTH, LENGTH), dtype=bool)
        for rate in every:
            for back in range(taps):
                reads |= np.eye(LENGTH, k=-back * int(rate), dtype=bool)
        behind = reads.astype(int) @ seen.astype(int) > 0
        seen = behind | seen if residual else behind
    return seen


layers = st.lists(
    st.tuples(st.sampled_from([2, 3]), st.integers(1, 3), st.booleans()), min_size=1, max_size=4
)


def draw_plan(data: st.DataObject, count: int) -> DilationPlan:
    sites = {}
    for index in range(count):
        kind = data.draw(st.sampled_from(["site", "branch", "channel"]))
        most = 1 if kind == "site" else 3
        rates = data.draw(st.lists(st.integers(1, 9), min_size=1, max_size=most))
        sites[f"conv{index}"] = SiteRates(kind, tuple(rates), causal=True)
    return DilationPlan(sites)


@settings(deadline=None, max_examples=60)
@given(drawn=layers, data=st.data())
def test_a_causal_network_sees_the_past_alone_at_every_plan(
    drawn: list[tuple[int, int, bool]], data: st.DataObject
):
    graph = causal_network(drawn).with_causal([f"conv{index}" for index in range(len(drawn))])
    plan = draw_plan(data, len(drawn))
    expected = seen_by_hand(drawn, list(plan.values()))
    assert not np.triu(expected, k=1).any()
    at = graph.outputs[0]
    for time in (0, 7, LENGTH - 1):
        found = graph.support(at, (time,), plan, inside=True)["sound"]
        row = np.zeros(LENGTH, dtype=bool)
        row[found.origin_px[0] : found.origin_px[0] + found.size_px[0]] = found.to_array()
        assert (row == expected[time]).all()
    without_end = graph.coverage(plan, at)
    assert without_end.origin_px[0] + without_end.size_px[0] <= 1  # position 0 is the last seen


def test_with_the_middle_tap_in_place_it_would_see_the_future():
    graph = causal_network([(3, 1, True), (2, 1, False)])
    plan = DilationPlan({name: SiteRates("site", (4,)) for name in graph.site_names})
    ahead = graph.coverage(plan, "conv1")
    assert ahead.origin_px[0] + ahead.size_px[0] > 1
    turned = graph.with_causal(graph.site_names).coverage(plan, "conv1")
    assert turned.origin_px[0] + turned.size_px[0] == 1
    half = graph.with_causal(["conv0"]).coverage(plan, "conv1")
    assert half.origin_px[0] + half.size_px[0] > 1


def test_equal_but_for_the_tap_that_stays_are_not_equal():
    conv = window((3,), ((1,),))
    assert replace(conv, causal=True) != conv
