"""The field graph while it is being written: nodes, joins without repetition, and layers."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

from dilsearch.geometry import (
    FieldGraph,
    GlobalContext,
    Join,
    Node,
    Part,
    Reads,
    Resample,
    Window,
)
from dilsearch.tracing.values import NOWHERE


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """One use of a convolution.

    Args:
        kind: Name of its class, or of the function.
        module: Path of the module; empty for a function.
        taps: Taps per axis.
        rates: Rates per axis, for each branch.
        stride: Stride per axis.
        groups: Channel groups.
        in_channels: Channels that it reads.
        out_channels: Channels that it writes.
        transposed: Whether its stride multiplies positions.
        parameters: Weights and biases.
        macs: Multiply-accumulates.
    """

    kind: str
    module: str
    taps: tuple[int, ...]
    rates: tuple[tuple[int, ...], ...]
    stride: tuple[int, ...]
    groups: int
    in_channels: int
    out_channels: int
    transposed: bool
    parameters: int
    macs: int


@dataclass
class GraphBuilder:
    """Nodes in topological order; a place is the index of a node."""

    nodes: list[Node] = field(default_factory=list)
    sizes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    unfollowed: dict[str, str] = field(default_factory=dict)
    remarks: dict[str, str] = field(default_factory=dict)
    layers: dict[str, Layer] = field(default_factory=dict)
    _context: set[int] = field(default_factory=set)
    _joins: dict[frozenset[int], int] = field(default_factory=dict)
    _parts: dict[int, list[int]] = field(default_factory=dict)
    _names: Counter[str] = field(default_factory=Counter)

    def add(self, node: Node, size: Sequence[int] | None = None) -> int:
        """Enter a node, whose map has that size per axis, and return its place."""
        self.nodes.append(node)
        if size is not None:
            self.sizes[node.name] = tuple(size)
        return len(self.nodes) - 1

    def context(self, name: str, places: Sequence[int], cause: str) -> int:
        """A place that sees all that these places see, wherever it is."""
        source = self.unite(places)
        place = self.add(GlobalContext(self.name(name), self.nodes[source].name, cause))
        self._context.add(place)
        return place

    def unfollowed_at(
        self, places: Sequence[int], name: str, text: str, size: Sequence[int] | None = None
    ) -> int:
        """A place behind an operation that cannot be followed; its field is not fully known.

        Args:
            places: What it reads.
            name: What its node is called.
            text: The operation and its module.
            size: Positions of its map, where they are known; of another size than what it reads,
                it is taken to read the nearest, so that the stride behind it is right.
        """
        members = tuple(dict.fromkeys(self.nodes[place].name for place in sorted(set(places))))
        sized = [self.sizes[member] for member in members if member in self.sizes]
        node = Join(self.name(name), members)
        self.unfollowed[node.name] = text
        place = self.add(node, sized[0] if sized else None)
        if not sized or size is None or tuple(size) == sized[0]:
            return place
        table = tuple(
            Reads.nearest(Fraction(before, after))
            for before, after in zip(sized[0], size, strict=True)
        )
        return self.add(Resample(self.name(f"{name}.size"), node.name, table), size)

    def part(self, window: int, source: int, branch: int | None, label: str) -> int:
        """Some channels of a window's output."""
        node = self.nodes[window]
        name = self.name(f"{node.name}{label}")
        place = self.add(
            Part(name, node.name, self.nodes[source].name, branch), self.sizes.get(node.name)
        )
        self._parts.setdefault(window, []).append(place)
        return place

    def unite(self, places: Iterable[int], name: str = "join") -> int:
        """The place where several meet; ``name`` is what a new node is called."""
        distinct = frozenset(place for place in places if place != NOWHERE)
        for window, parts in self._parts.items():
            if distinct.issuperset(parts) and self._is_whole(window, parts):
                distinct = distinct.difference(parts) | {window}
        if len(distinct) <= 1:
            return next(iter(distinct), NOWHERE)
        if distinct not in self._joins:
            members = tuple(self.nodes[place].name for place in sorted(distinct))
            sized = [self.sizes[name] for name in members if name in self.sizes]
            place = self.add(Join(self.name(name), members), sized[0] if sized else None)
            self._joins[distinct] = place
            if distinct <= self._context:
                self._context.add(place)
        return self._joins[distinct]

    def name(self, wanted: str) -> str:
        """A name that is not taken: ``wanted``, or with ``:2`` and so on behind it."""
        self._names[wanted] += 1
        count = self._names[wanted]
        return wanted if count == 1 else self.name(f"{wanted}:{count}")

    def only_context(self, places: Iterable[int]) -> bool:
        """Whether nothing of these has a field."""
        return all(place in self._context for place in places)

    def graph(self, outputs: Sequence[int]) -> FieldGraph:
        """The field graph."""
        names = tuple(self.nodes[place].name for place in outputs)
        return FieldGraph(tuple(self.nodes), names, self.unfollowed, self.sizes)

    def _is_whole(self, window: int, parts: Sequence[int]) -> bool:
        """Whether the parts together see what the window sees."""
        node = self.nodes[window]
        assert isinstance(node, Window)
        if len(node.rates) == 1:  # one for each source of the window
            return True
        made = [part for place in parts if isinstance(part := self.nodes[place], Part)]
        same_source = {part.source for part in made} == {node.source}
        return same_source and len({part.branch for part in made}) == len(node.rates)
