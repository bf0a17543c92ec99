"""Field graphs built by hand, random ones, and a slow walk backwards through their positions."""

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from fractions import Fraction
from functools import cache
from itertools import product
from types import SimpleNamespace

import pytest
from hypothesis import strategies as st

from dilsearch.geometry import (
    Coverage,
    FieldGraph,
    GlobalContext,
    Join,
    Node,
    Part,
    Reads,
    Resample,
    Source,
    Window,
)

Rates = Sequence[Sequence[int]]


class Builder:
    """Lists nodes; each method returns the name of the node it added."""

    def __init__(self) -> None:
        self.nodes: list[Node] = [Source("image")]

    def window(
        self,
        name: str,
        source: str,
        taps: int = 3,
        stride: int = 1,
        rates: Sequence[int] = (1,),
        site: bool = False,
    ) -> str:
        self.nodes.append(
            Window(
                name=name,
                source=source,
                taps=(taps, taps),
                stride=(stride, stride),
                anchor=(0, 0),
                rates=tuple((rate, rate) for rate in rates),
                site=site,
            )
        )
        return name

    def join(self, name: str, *sources: str) -> str:
        self.nodes.append(Join(name, sources))
        return name

    def squeeze_excite(self, name: str, source: str) -> str:
        self.nodes.append(GlobalContext(f"{name}.pool", source))
        self.window(f"{name}.conv1", f"{name}.pool", taps=1)
        self.window(f"{name}.conv2", f"{name}.conv1", taps=1)
        return self.join(name, source, f"{name}.conv2")

    def d_block(
        self, name: str, source: str, rates: Sequence[int], stride: int = 1, site: bool = False
    ) -> str:
        self.window(f"{name}.conv1", source, taps=1)
        self.window(f"{name}.conv2", f"{name}.conv1", stride=stride, rates=rates, site=site)
        self.squeeze_excite(f"{name}.se", f"{name}.conv2")
        self.window(f"{name}.conv3", f"{name}.se", taps=1)
        if stride == 2:
            self.window(f"{name}.shortcut.pool", source, taps=2, stride=2)
            source = self.window(f"{name}.shortcut.conv", f"{name}.shortcut.pool", taps=1)
        return self.join(name, f"{name}.conv3", source)

    def y_block(self, name: str, source: str, rate: int = 1, stride: int = 1) -> str:
        self.window(f"{name}.conv2", source, stride=stride, rates=(rate,))
        self.squeeze_excite(f"{name}.se", f"{name}.conv2")
        if stride == 2:
            source = self.window(f"{name}.shortcut", source, taps=1, stride=2)
        return self.join(name, f"{name}.se", source)

    def graph(self) -> FieldGraph:
        return FieldGraph(tuple(self.nodes), outputs=(self.nodes[-1].name,))


def regseg(rates: Rates = ((1,),) * 13, upsampling: str = "linear") -> FieldGraph:
    """RegSeg (Gao 2022), Tab. 1 and Fig. 5: stem, body with 13 sites, decoder."""
    build = Builder()
    at = build.window("stem", "image", stride=2)
    quarter = build.d_block("body.48.0", at, (1,), stride=2)
    at = build.d_block("body.128.0", quarter, (1,), stride=2)
    at = build.d_block("body.128.1", at, (1,))
    eighth = build.d_block("body.128.2", at, (1,))
    at = build.d_block("body.256.0", eighth, (1,), stride=2)
    for index, block in enumerate(rates):
        at = build.d_block(f"body.{index}", at, block, site=True)
    for name, skip, join in (("8", eighth, "head.sum"), ("4", quarter, "head.concat")):
        table = getattr(Reads, upsampling)(Fraction(1, 2))
        build.nodes.append(Resample(f"head.up{name}", at, (table, table)))
        build.window(f"head.skip{name}", skip, taps=1)
        build.join(join, f"head.up{name}", f"head.skip{name}")
        at = build.window(f"head.conv{name}", join)
    return build.graph()


def regnety600mf(aspp: Sequence[int] = ()) -> FieldGraph:
    """RegNetY-600MF at output stride 16, with the three-by-threes of an ASPP behind it."""
    build = Builder()
    at = build.window("stem", "image", stride=2)
    for width, blocks, stride in ((48, 1, 2), (112, 3, 2), (256, 7, 2), (608, 4, 1)):
        for index in range(blocks):
            rate = 2 if width == 608 and index > 0 else 1
            at = build.y_block(f"{width}.{index}", at, rate, stride if index == 0 else 1)
    if aspp:
        build.window("aspp", at, rates=aspp)
    return build.graph()


def chain(
    rates: Sequence[Sequence[int]], strides: Sequence[int] = (), taps: Sequence[int] = ()
) -> FieldGraph:
    """Sites "0", "1", ... one behind the other; strides and taps default to 1 and 3."""
    build = Builder()
    at = "image"
    for index, branches in enumerate(rates):
        stride = strides[index] if strides else 1
        count = taps[index] if taps else 3
        at = build.window(str(index), at, count, stride, branches, site=True)
    return build.graph()


@st.composite
def resamplings(draw: st.DrawFn, size: int) -> Reads:
    """Any kind of table, for a source of that size."""
    kinds = ["transposed", "nearest", "linear", "cubic", "adaptive"]
    kind = draw(st.sampled_from(kinds))
    if kind == "transposed":
        return Reads.transposed(
            draw(st.integers(1, 4)),
            rate=draw(st.integers(1, 2)),
            stride=draw(st.integers(1, 3)),
            padding=draw(st.integers(0, 2)),
        )
    if kind == "adaptive":
        return Reads.adaptive(size, draw(st.integers(1, 9)))
    scale = draw(st.sampled_from([Fraction(1, 2), Fraction(1, 3), Fraction(2, 3), Fraction(3, 2)]))
    return getattr(Reads, kind)(scale, **{_SWITCHES[kind]: draw(st.booleans())})


_SWITCHES = {"nearest": "centred", "linear": "align_corners", "cubic": "align_corners"}


@st.composite
def networks(
    draw: st.DrawFn, axes: int, *, unlike: bool = False, uniform: bool = False, most: int = 6
) -> FieldGraph:
    """A small network of any nodes with the sizes of its maps, as a tracer would give it.

    Args:
        draw: Given by hypothesis.
        axes: Spatial axes.
        unlike: Whether maps may meet that have equal sizes and unlike strides.
        uniform: Whether all positions see alike.
        most: Nodes at most, beside the inputs.
    """

    def each(values: st.SearchStrategy[int]) -> tuple[int, ...]:
        return tuple(draw(st.tuples(*[values] * axes)))

    size = each(st.integers(5, 9))
    nodes: list[Node] = [Source("a")]
    sizes, strides = {"a": size}, {"a": (Fraction(1),) * axes}
    if draw(st.booleans()):
        nodes.append(Source("b"))
        sizes["b"], strides["b"] = size, strides["a"]
    windows: list[Window] = []
    for index in range(draw(st.integers(1, most))):
        name = f"n{index}"
        source = draw(st.sampled_from(list(sizes)[-3:]))
        peers = [
            node
            for node in sizes
            if sizes[node] == sizes[source] and (unlike or strides[node] == strides[source])
        ]
        kinds = ["window", "window", *["join"] * (len(peers) > 1), *["part"] * bool(windows)]
        kind = draw(st.sampled_from(kinds if uniform else [*kinds, "resample"]))
        if kind == "join":
            sources = draw(st.lists(st.sampled_from(peers), min_size=2, max_size=3, unique=True))
            nodes.append(Join(name, tuple(sources)))
            sizes[name], strides[name] = sizes[source], strides[source]
            continue
        if kind == "part":
            whole = draw(st.sampled_from(windows))
            alike = [
                n
                for n in sizes
                if (sizes[n], strides[n]) == (sizes[whole.source], strides[whole.source])
            ]
            branch = draw(st.sampled_from([None, *range(len(whole.rates))]))
            nodes.append(Part(name, whole.name, draw(st.sampled_from(alike)), branch))
            sizes[name], strides[name] = sizes[whole.name], strides[whole.name]
            continue
        wide = min(sizes[source]) > 4
        if kind == "resample":
            table = tuple(draw(resamplings(n)) for n in sizes[source])
            edge = draw(st.sampled_from(["zeros", "replicate"]))
            nodes.append(Resample(name, source, table, edge))
            moves = [Fraction(reads.advance, reads.period) for reads in table]
        else:
            stride = each(st.sampled_from([1, 1, 1, 2]))
            window = Window(
                name,
                source,
                each(st.integers(1, 3)),
                stride,
                each(st.integers(-1, 1)),
                tuple(each(st.integers(1, 2)) for _ in range(draw(st.integers(1, 2)))),
                site=True,
                edge=draw(st.sampled_from(EDGES if wide else EDGES[:1])),
                causal=draw(st.booleans()),
            )
            nodes.append(window)
            windows.append(window)
            moves = [Fraction(step) for step in stride]
        sizes[name] = tuple(-int(-n // m) for n, m in zip(sizes[source], moves, strict=True))
        strides[name] = tuple(s * m for s, m in zip(strides[source], moves, strict=True))
    return FieldGraph(tuple(nodes), (nodes[-1].name,), sizes=sizes)


EDGES = ["zeros", "reflect", "replicate", "circular"]

Position = tuple[int, ...]


def _beyond(index: int, size: int, edge: str) -> int | None:
    """The index inside the map that stands for one outside; None for a zero."""
    while not 0 <= index < size:
        match edge:
            case "zeros":
                return None
            case "replicate":
                index += 1 if index < 0 else -1
            case "circular":
                index += size if index < 0 else -size
            case "reflect":
                index = -index if index < 0 else 2 * (size - 1) - index
    return index


def _window_reads(window: Window, rates: Position, position: Position) -> list[Position]:
    axes = zip(window.taps, rates, window.stride, window.anchor, position, strict=True)
    reads = []
    for taps, rate, stride, anchor, p in axes:
        stays = taps - 1 if window.causal else (taps - 1) // 2
        reads.append([p * stride + anchor + (tap - stays) * rate for tap in range(taps)])
    return list(product(*reads))


def _table_reads(table: Sequence[Reads], position: Position) -> list[Position]:
    axes = []
    for reads, p in zip(table, position, strict=True):
        n = len(reads.offsets)
        axes.append([(p - p % n) // n * reads.advance + o for o in reads.offsets[p % n]])
    return list(product(*axes))


def walk(
    graph: FieldGraph,
    at: str,
    position: Position,
    *,
    inside: bool = False,
    clipped: Collection[str] = (),
) -> dict[str, Counter[Position]]:
    """How many paths lead to one position, from each pixel of each input: position by position.

    Args:
        graph: The network, without global pooling.
        at: The node.
        position: The position.
        inside: Whether maps end at their edges.
        clipped: Nodes that see nothing outside their own maps.
    """
    nodes = {node.name: node for node in graph.nodes}

    def reads(node: Node, position: Position) -> list[tuple[str, str, Position]]:
        """Source, what is read beyond its edge, and position, once for every path."""
        match node:
            case Join():
                return [(source, "none", position) for source in node.sources]
            case Resample():
                found = _table_reads(node.table, position)
                return [(node.source, node.edge, read) for read in found]
            case Window():
                window, branches = node, node.rates
            case Part():
                window = nodes[node.window]
                branches = window.rates
                if node.branch is not None:
                    branches = (branches[node.branch],)
        return [
            (node.source, window.edge, read)
            for rates in set(branches)
            for read in _window_reads(window, rates, position)
        ]

    @cache
    def paths(name: str, position: Position) -> Counter[tuple[str, Position]]:
        node = nodes[name]
        if name in clipped and not all(
            0 <= p < n for p, n in zip(position, graph.sizes[name], strict=True)
        ):
            return Counter()
        if isinstance(node, Source):
            return Counter({(name, position): 1})
        total: Counter[tuple[str, Position]] = Counter()
        for source, edge, read in reads(node, position):
            if inside and edge != "none":
                sizes = graph.sizes[source]
                read = tuple(_beyond(p, n, edge) for p, n in zip(read, sizes, strict=True))
                if None in read:
                    continue
            total.update(paths(source, read))
        return total

    found: dict[str, Counter[Position]] = {}
    for (source, pixel), count in paths(at, tuple(position)).items():
        found.setdefault(source, Counter())[pixel] = count
    return found


def pixels(seen: Coverage, position: Sequence[int] | None = None) -> set[Position]:
    """The pixels of a coverage, moved to an output position."""
    index = position or (0,) * len(seen.size_px)
    origin = [
        low + n * step for low, n, step in zip(seen.origin_px, index, seen.stride_px, strict=True)
    ]
    found = seen.to_array().nonzero()
    return {
        tuple(int(i) + low for i, low in zip(place, origin, strict=True))
        for place in zip(*found, strict=True)
    }


@pytest.fixture(scope="session")
def graphs() -> SimpleNamespace:
    """The builders above, for tests to call."""
    builders: dict[str, Callable[..., object]] = {
        "Builder": Builder,
        "regseg": regseg,
        "regnety600mf": regnety600mf,
        "chain": chain,
        "networks": networks,
        "resamplings": resamplings,
        "walk": walk,
        "pixels": pixels,
    }
    return SimpleNamespace(**builders)
