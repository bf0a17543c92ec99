"""What is seen by node: how far it goes, and that its short cuts change nothing."""

from types import SimpleNamespace

from hypothesis import given, settings
from hypothesis import strategies as st

from dilsearch.geometry import FieldGraph, Join, Source, Span, Window
from dilsearch.geometry.fold import up_to


def test_up_to_the_last_of_the_names(graphs: SimpleNamespace):
    nodes = graphs.chain([(1,)] * 4).nodes
    assert [node.name for node in up_to(nodes, {"0", "2"})] == ["image", "0", "1", "2"]
    assert list(up_to(nodes, ())) == []


def test_a_fold_for_sites_alone_ends_at_the_last(graphs: SimpleNamespace):
    graph = graphs.regseg()
    sites, met = graph.site_names[2:5], []

    def choose(window: Window, spans: tuple[Span, ...]) -> tuple[tuple[int, ...], ...]:
        met.append((window.name, spans))
        return ((3, 3),)

    some = graph.fold(sites, choose, until_last=True)
    every = graph.fold(sites, choose)
    assert list(some)[-1] == sites[-1]
    assert "head.conv4" in every
    assert {name: every[name] for name in some} == some
    assert met[:3] == met[3:]
    assert tuple(name for name, _ in met[:3]) == sites


def test_what_hands_on_what_it_sees_is_no_crop():
    # Four positions of 4 px meet four of 3 px; nothing repeats, so that the map's end counts.
    def conv(name: str, source: str, taps: int, stride: int) -> Window:
        return Window(name, source, (taps,), (stride,), (0,), ((1,),), site=False)

    nodes = (
        Source("sound"),
        conv("four", "sound", 1, 4),
        conv("three", "sound", 1, 3),
        Join("sum", ("four", "three")),
        conv("same", "sum", 1, 1),
        conv("cropped", "sum", 1, 1),
    )
    sizes = {"sound": (16,), "cropped": (3,)}
    sizes |= dict.fromkeys(("four", "three", "sum", "same"), (4,))
    spans = FieldGraph(nodes, ("cropped",), sizes=sizes).propagate().spans
    assert spans["same"] is spans["sum"]
    assert len(spans["same"][0].starts) == 4
    assert len(spans["cropped"][0].starts) == 3


@settings(deadline=None, max_examples=40)
@given(data=st.data())
def test_spans_are_those_of_every_axis_by_itself(graphs: SimpleNamespace, data: st.DataObject):
    graph = data.draw(graphs.networks(2))
    spans = graph.propagate().spans
    for axis in range(2):
        alone = one_axis(graph, axis).propagate().spans
        assert {name: (both[axis],) for name, both in spans.items()} == alone


def one_axis(graph: FieldGraph, axis: int) -> FieldGraph:
    """The same network along one of its axes."""
    nodes = []
    for node in graph.nodes:
        if isinstance(node, Window):
            node = Window(
                node.name,
                node.source,
                node.taps[axis : axis + 1],
                node.stride[axis : axis + 1],
                node.anchor[axis : axis + 1],
                tuple(branch[axis : axis + 1] for branch in node.rates),
                node.site,
                node.module,
                node.edge,
                node.causal,
            )
        elif hasattr(node, "table"):
            node = type(node)(node.name, node.source, (node.table[axis],), node.edge)
        nodes.append(node)
    sizes = {name: (size[axis],) for name, size in graph.sizes.items()}
    return FieldGraph(tuple(nodes), graph.outputs, sizes=sizes)
