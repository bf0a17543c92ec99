"""The path with the largest and the smallest field, against all paths."""

from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dilsearch.errors import GeometryError
from dilsearch.geometry import FieldGraph, GlobalContext, Join, Part, Source, Span, Window


def conv(name: str, source: str, *rates: int) -> Window:
    branches = tuple((rate,) for rate in rates)
    return Window(name, source, (3,), (1,), (0,), branches, site=True)


def sizes_of_paths(graph: FieldGraph, at: str) -> set[int]:
    """The field of every path to a node, one branch and one source at a time, along all axes."""
    nodes = {node.name: node for node in graph.nodes}

    def ways(name: str) -> list[tuple[Span, ...]]:
        match nodes[name]:
            case Join(sources=sources):
                return [way for source in sources for way in ways(source)]
            case Window() as node:
                window, branches = node, node.rates
            case Part() as node:
                window = nodes[node.window]
                branches = window.rates if node.branch is None else (window.rates[node.branch],)
            case _:
                return [(Span(),) * graph.axes]
        return [
            tuple(s.through(reads) for s, reads in zip(way, window.reads(rates), strict=True))
            for way in ways(node.source)
            for rates in branches
        ]

    return {sum(span.field.size_px for span in way) for way in ways(at)}


@settings(deadline=None, max_examples=60)
@given(data=st.data(), axes=st.integers(1, 2))
def test_none_is_larger_and_none_is_smaller(
    graphs: SimpleNamespace, data: st.DataObject, axes: int
):
    graph = data.draw(graphs.networks(axes, uniform=True))
    for node in graph.nodes:
        sizes = sizes_of_paths(graph, node.name)
        assert graph.route(node.name, max).size_px == max(sizes)
        assert graph.route(node.name, min).size_px == min(sizes)


def test_by_hand():
    nodes = (
        Source("image"),
        conv("stem", "image", 1),
        conv("body", "stem", 2, 5),
        Join("sum", ("stem", "body")),
        conv("last", "sum", 1),
    )
    graph = FieldGraph(nodes, ("last",))
    far, near = graph.route("last", max), graph.route("last", min)
    assert (far.nodes, far.size_px) == (("stem", "body", "last"), 1 + 2 + 10 + 2)
    assert (near.nodes, near.size_px) == (("stem", "last"), 1 + 2 + 2)
    assert far.tables[1] == conv("body", "stem", 5).reads((5,))
    assert [before[0].field.size_px for before in far.before] == [1, 3, 13]


def test_through_a_part_of_a_window_that_is_not_on_the_way_itself():
    nodes = (Source("image"), conv("conv", "image", 1, 4), Part("near", "conv", "image", 0))
    route = FieldGraph(nodes, ("near",)).route("near", max)
    assert (route.nodes, route.size_px) == (("conv",), 3)


def test_there_is_none_to_what_is_pooled_globally():
    graph = FieldGraph((Source("image"), GlobalContext("pool", "image")), ("pool",))
    with pytest.raises(GeometryError, match="'pool' sees only what is pooled globally"):
        graph.route("pool", min)
