"""The graph while it is written: joins without repetition, parts, names and context."""

import pytest

from dilsearch.geometry import GlobalContext, Join, Part, Source, Window
from dilsearch.tracing.builder import GraphBuilder
from dilsearch.tracing.values import NOWHERE


def window(name: str, source: str, *rates: int) -> Window:
    return Window(name, source, (3,), (1,), (0,), tuple((rate,) for rate in rates), True)


@pytest.fixture
def builder() -> GraphBuilder:
    made = GraphBuilder()
    made.add(Source(made.name("x")), (8,))
    made.add(window("a", "x", 1), (8,))
    made.add(window("b", "x", 2), (6,))
    return made


def test_the_same_places_meet_once(builder: GraphBuilder) -> None:
    assert builder.unite([1, 2], "sum") == builder.unite([2, 1, 1, NOWHERE], "other") == 3
    assert builder.nodes[3] == Join("sum", ("a", "b"))
    assert builder.sizes["sum"] == (8,)
    assert len(builder.nodes) == 4


def test_one_place_alone_needs_no_join(builder: GraphBuilder) -> None:
    assert builder.unite([2, 2, NOWHERE]) == 2
    assert builder.unite([]) == builder.unite([NOWHERE]) == NOWHERE
    assert len(builder.nodes) == 3


def test_names_are_told_apart(builder: GraphBuilder) -> None:
    assert [builder.name(name) for name in ("c", "c", "c:2", "c")] == ["c", "c:2", "c:2:2", "c:3"]
    assert builder.name("x") == "x:2"


def test_all_branches_together_are_the_window(builder: GraphBuilder) -> None:
    place = builder.add(window("c", "x", 1, 4), (8,))
    first = builder.part(place, 0, 0, "[0]")
    assert builder.unite([first]) == first
    second = builder.part(place, 0, 1, "[1]")
    assert builder.nodes[second] == Part("c[1]", "c", "x", 1)
    assert builder.sizes["c[1]"] == (8,)
    assert builder.unite([first, second]) == place
    assert builder.nodes[builder.unite([first, second, 1], "j")] == Join("j", ("a", "c"))


def test_branches_of_several_sources_are_not_the_window(builder: GraphBuilder) -> None:
    both = builder.unite([1, 2], "both")
    place = builder.add(window("c", "both", 1, 4), (8,))
    parts = [builder.part(place, source, branch, "") for branch, source in enumerate((1, 2))]
    joined = builder.unite(parts, "j")
    assert joined not in (place, both)
    assert isinstance(builder.nodes[joined], Join)


def test_groups_of_several_sources_together_are_the_window(builder: GraphBuilder) -> None:
    builder.unite([1, 2], "both")
    place = builder.add(window("c", "both", 3), (8,))
    parts = [builder.part(place, source, None, f"[{source}]") for source in (1, 2)]
    assert builder.unite(parts) == place
    assert builder.unite(parts[:1]) == parts[0]


def test_context_remains_context_when_it_meets_context(builder: GraphBuilder) -> None:
    one = builder.context("pool", [1, 2], "mean in module 'm'")
    node = builder.nodes[one]
    assert node == GlobalContext("pool", "join", "mean in module 'm'")
    other = builder.context("pool", [0], "mean")
    both = builder.unite([one, other])
    assert builder.only_context([one, other, both])
    assert builder.only_context([])
    assert not builder.only_context([both, 0])
    assert not builder.only_context([builder.unite([one, 0])])


def test_what_is_not_followed_has_a_node_and_a_text(builder: GraphBuilder) -> None:
    place = builder.unfollowed_at([1, 1], "roll", "aten.roll.default in module 'm'")
    again = builder.unfollowed_at([1], "roll", "aten.roll.default in module 'm'")
    assert builder.nodes[place] == Join("roll", ("a",))
    assert builder.sizes["roll"] == (8,)
    assert place != again
    graph = builder.graph([again])
    assert set(graph.unfollowed) == {"roll", "roll:2"}
    assert graph.outputs == ("roll:2",)
