"""Field graphs without a model, and what is searched in them: RegSeg's body, and random ones."""

from dataclasses import dataclass
from typing import Literal

from hypothesis import strategies as st

from dilsearch.geometry import FieldGraph, Join, Node, Source, Window
from dilsearch.plan import DilationPlan, SiteRates

Kind = Literal["site", "branch", "channel"]


@dataclass(frozen=True)
class Searched:
    """A network with what is searched in it; the rates of the form do not matter."""

    graph: FieldGraph
    form: DilationPlan
    limits: dict[str, tuple[int, int]]

    def lower_limits_fit(self) -> bool:
        """Whether the bound leaves room above each lower limit, all rates being that low."""
        lowest = {site: (self.limits[site][0],) * len(rates) for site, rates in self.form.items()}
        return self.graph.propagate(self.form.replace(lowest)).bound_ok


def regseg_body(kind: Kind = "branch", count: int = 2, upper: int = 18) -> Searched:
    """What counts for fields in RegSeg's body: 63 px at stride 16, then 13 sites with shortcuts.

    Source: RegSeg (Gao 2022), Tab. 1.
    """
    nodes: list[Node] = [Source("image")]
    for index, stride in enumerate((2, 2, 2, 1, 1, 2)):
        source = nodes[-1].name
        nodes.append(
            Window(f"stem.{index}", source, (3, 3), (stride,) * 2, (0, 0), ((1, 1),), False)
        )
    names = []
    for index in range(5, 18):
        source, name = nodes[-1].name, f"body.{index}.conv2"
        nodes.append(Window(name, source, (3, 3), (1, 1), (0, 0), ((1, 1),), True))
        nodes.append(Join(f"body.{index}", (name, source)))
        names.append(name)
    form = DilationPlan({name: SiteRates(kind, (1,) * count) for name in names})
    graph = FieldGraph(tuple(nodes), (nodes[-1].name,))
    return Searched(graph, form, dict.fromkeys(names, (1, upper)))


@st.composite
def searched_graphs(
    draw: st.DrawFn,
    *,
    most_sites: int = 4,
    most_channels: int = 5,
    uppers: tuple[int, int] = (3, 9),
) -> Searched:
    """A small network of unlike axes, some sites beside one another or with a shortcut.

    Lower limits are mostly 1, so that a bound seldom lies below one.
    """
    nodes: list[Node] = [Source("image")]
    nodes.append(Window("stem", "image", (3, 3), (2, 2), (0, 0), ((1, 1),), False))
    sites, limits = {}, {}
    for index in range(draw(st.integers(1, most_sites))):
        taps = draw(st.sampled_from([(3, 3), (3, 3), (3, 3), (1, 3), (3, 1), (5, 2)]))
        way = draw(st.sampled_from(["plain", "plain", "shortcut", "beside"]))
        strides = [1, 1, 2] if way == "plain" else [1]
        stride = tuple(draw(st.sampled_from(strides)) if count > 1 else 1 for count in taps)
        name, source = f"site{index}", nodes[-1].name
        nodes.append(Window(name, source, taps, stride, (0, 0), ((1, 1),), True))
        if way == "beside":
            other = f"{name}.other"
            nodes.append(Window(other, source, (3, 3), (1, 1), (0, 0), ((1, 1),), True))
            sites[other] = SiteRates("site", (1,))
            nodes.append(Join(f"sum{index}", (name, other)))
        if way == "shortcut":
            nodes.append(Join(f"sum{index}", (name, source)))
        kind, axes = draw(st.sampled_from(["site", "branch", "channel"])), draw(st.integers(1, 2))
        count = 1 if kind == "site" else draw(st.integers(1, most_channels))
        sites[name] = SiteRates(kind, (1,) * (axes * count), axes)
    form = DilationPlan({node.name: sites[node.name] for node in nodes if node.name in sites})
    for name in form:
        limits[name] = (draw(st.sampled_from([1, 1, 1, 1, 2])), draw(st.integers(*uppers)))
    return Searched(FieldGraph(tuple(nodes), (nodes[-1].name,)), form, limits)
