"""From one position of a node back to the input: the pixels it sees, and by how many paths.

Going backwards, every node holds the set of its own positions that matter, which is small where
the stride is large, and it makes no difference whether positions see alike.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from dilsearch.errors import GeometryError
from dilsearch.geometry.coverage import Coverage, unite_within_reason
from dilsearch.geometry.nodes import (
    Edge,
    GlobalContext,
    Join,
    Node,
    Part,
    Rates,
    Resample,
    Source,
    Window,
    tables_of,
)
from dilsearch.geometry.patterns import (
    Product,
    array_to_bits,
    bits_to_array,
    hull,
    products,
    unite,
)
from dilsearch.geometry.reads import Reads

Line: TypeAlias = NDArray[np.int64]
"""Positions along one axis, in ascending order."""

Sizes: TypeAlias = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class PathCounts:
    """How many paths lead from each input pixel to one position.

    Args:
        counts: Paths from each pixel of the box, relative to the pixel with the most. Less than
            1e-300 of the most counts as none. All zero if the position sees nothing.
        origin_px: The box's first pixel.
    """

    counts: NDArray[np.float64]
    origin_px: tuple[int, ...]


def support(
    nodes: Sequence[Node],
    rates: Mapping[str, Rates],
    at: str,
    position: Sequence[int],
    sizes: Sizes | None,
) -> dict[str, Coverage]:
    """What one position of a node sees of every input.

    Args:
        nodes: In topological order, those without a field left out.
        rates: Rates of the windows.
        at: The node.
        position: Index of the position along each axis.
        sizes: Positions of the maps, which end there; None for maps without end.

    Raises:
        GeometryError: If the size of a map is not among them.
    """
    windows = {node.name: node for node in nodes if isinstance(node, Window)}
    needed: dict[str, list[_Set]] = {at: [_Set.point(position)]}
    seen: dict[str, Coverage] = {}
    for node in reversed(nodes):
        if node.name not in needed:
            continue
        here = _Set.union(needed.pop(node.name))
        match node:
            case Source():
                if here.products:
                    seen[node.name] = here.coverage()
            case Join():
                for name in node.sources:
                    needed.setdefault(name, []).append(here)
            case Window() | Part() | Resample():
                edge = windows[node.window].edge if isinstance(node, Part) else node.edge
                ends = None if sizes is None else _size_of(node.source, sizes)
                for table in tables_of(node, windows, rates):
                    needed.setdefault(node.source, []).append(here.read(table, ends, edge))
            case GlobalContext():
                raise AssertionError("nodes behind a global pooling have no field")
    return dict(reversed(seen.items()))


def count_paths(
    nodes: Sequence[Node], rates: Mapping[str, Rates], at: str, position: Sequence[int]
) -> PathCounts:
    """Paths to one position of a node from every pixel, through maps without end.

    Counts are kept as multiples of a power of two, so that no network is too deep. Inputs are
    counted together.
    """
    windows = {node.name: node for node in nodes if isinstance(node, Window)}
    start = _Counts(np.ones((1,) * len(position)), tuple(position))
    needed: dict[str, list[_Counts]] = {at: [start]}
    inputs: list[_Counts] = []
    for node in reversed(nodes):
        if node.name not in needed:
            continue
        here = _Counts.total(needed.pop(node.name))
        match node:
            case Source():
                inputs.append(here)
            case Join():
                for name in node.sources:
                    needed.setdefault(name, []).append(here)
            case Window() | Part() | Resample():
                for table in tables_of(node, windows, rates):
                    needed.setdefault(node.source, []).append(here.read(table))
            case GlobalContext():
                raise AssertionError("nodes behind a global pooling have no field")
    total = _Counts.total(inputs)
    return PathCounts(total.values / (total.values.max() or 1), total.origin)


@dataclass(frozen=True, slots=True)
class _Set:
    """Positions of one node, as products of positions along each axis."""

    products: tuple[tuple[Line, ...], ...]
    exact: bool = True

    @classmethod
    def point(cls, position: Sequence[int]) -> "_Set":
        return cls((tuple(np.array([index], dtype=np.int64) for index in position),))

    @classmethod
    def union(cls, sets: Sequence["_Set"]) -> "_Set":
        """The same positions as disjoint products, as few as there are."""
        first, *others = sets
        if not others and len(first.products) == 1:
            return first
        parts = [product for one in sets for product in one.products]
        if not parts:
            return cls((), all(one.exact for one in sets))
        origin, bits = _as_bits(parts)
        pattern, exact = unite_within_reason(bits, exact=all(one.exact for one in sets))
        lines = tuple(
            tuple(_as_line(axis, low) for axis, low in zip(product, origin, strict=True))
            for product in products(pattern)
        )
        return cls(lines, exact)

    def read(self, table: Sequence[Reads], ends: Sequence[int] | None, edge: Edge) -> "_Set":
        """The positions of the source that these read."""
        last = ends or (None,) * len(table)
        read = (
            tuple(
                _read(line, reads, end, edge)
                for line, reads, end in zip(product, table, last, strict=True)
            )
            for product in self.products
        )
        return _Set(tuple(p for p in read if all(line.size for line in p)), self.exact)

    def coverage(self) -> Coverage:
        origin, bits = _as_bits(self.products)
        pattern = unite(bits)
        size = tuple(side.bit_length() for side in hull(pattern))
        return Coverage(pattern, size, origin, (1,) * len(origin), self.exact)


@dataclass(frozen=True, slots=True)
class _Counts:
    """A number for each position of a box of one node: its value times a power of two."""

    values: NDArray[np.float64]
    origin: tuple[int, ...]
    exponent: int = 0

    @classmethod
    def total(cls, parts: Sequence["_Counts"]) -> "_Counts":
        if len(parts) == 1:
            return parts[0]
        origin = tuple(min(axis) for axis in zip(*(part.origin for part in parts), strict=True))
        ends = zip(
            *(np.add(part.origin, part.values.shape).tolist() for part in parts), strict=True
        )
        shape = [max(axis) - low for axis, low in zip(ends, origin, strict=True)]
        total = np.zeros(shape)
        exponent = max(part.exponent for part in parts)
        for part in parts:
            inside = tuple(
                slice(start - low, start - low + size)
                for start, low, size in zip(part.origin, origin, part.values.shape, strict=True)
            )
            total[inside] += np.ldexp(part.values, part.exponent - exponent)
        return cls(total, origin, exponent)

    def read(self, table: Sequence[Reads]) -> "_Counts":
        """Each position's number handed to all the positions of the source that it reads."""
        values, origin = self.values, list(self.origin)
        for axis, reads in enumerate(table):
            values, origin[axis] = _hand_on(values, axis, origin[axis], reads)
        _, more = math.frexp(values.max())
        return _Counts(np.ldexp(values, -more), tuple(origin), self.exponent + more)


def _hand_on(
    values: NDArray[np.float64], axis: int, first: int, reads: Reads
) -> tuple[NDArray[np.float64], int]:
    positions = np.arange(first, first + values.shape[axis])
    taps = [_targets(positions, reads, phase, tap) for phase, tap in _phases(reads)]
    taps = [(where, to) for where, to in taps if to.size]
    if not taps:
        return np.zeros_like(values.take([0], axis)), first
    low = min(int(to[0]) for _, to in taps)
    high = max(int(to[-1]) for _, to in taps)
    lines = np.moveaxis(values, axis, 0)
    source = np.zeros((high - low + 1, *lines.shape[1:]))
    for where, to in taps:  # within one phase and tap, no position is met twice
        source[to - low] += lines[where]
    return np.moveaxis(source, 0, axis), low


def _phases(reads: Reads) -> list[tuple[int, int]]:
    return [
        (phase, tap) for phase, offsets in enumerate(reads.offsets) for tap in range(len(offsets))
    ]


def _targets(positions: Line, reads: Reads, phase: int, tap: int) -> tuple[Line, Line]:
    """Indices of the positions of one phase, and what their tap reads."""
    where = np.flatnonzero(positions % len(reads.offsets) == phase)
    cycles = positions[where] // len(reads.offsets)
    return where, cycles * reads.advance + reads.offsets[phase][tap]


def _read(line: Line, reads: Reads, end: int | None, edge: Edge) -> Line:
    """What positions along one axis read: of a map that ends, or of one without end."""
    found = [_targets(line, reads, phase, tap)[1] for phase, tap in _phases(reads)]
    read = np.unique(np.concatenate(found)) if found else np.empty(0, dtype=np.int64)
    if end is None:
        return read
    match edge:
        case "zeros":
            return read[(read >= 0) & (read < end)]
        case "replicate":
            read = np.clip(read, 0, end - 1)
        case "circular":
            read = read % end
        case "reflect":
            read = np.abs(read)
            read = np.where(read < end, read, 2 * (end - 1) - read)
    return np.unique(read)


def _as_bits(parts: Sequence[tuple[Line, ...]]) -> tuple[tuple[int, ...], list[Product]]:
    """Products of integers, and the position that bit 0 of each axis stands for."""
    origin = tuple(min(int(line[0]) for line in axis) for axis in zip(*parts, strict=True))
    return origin, [
        tuple(_as_integer(line - low) for line, low in zip(product, origin, strict=True))
        for product in parts
    ]


def _as_integer(line: Line) -> int:
    present = np.zeros(int(line[-1]) + 1, dtype=np.bool_)
    present[line] = True
    return array_to_bits(present)


def _as_line(bits: int, low: int) -> Line:
    return np.flatnonzero(bits_to_array(bits, bits.bit_length())) + low


def _size_of(name: str, sizes: Sizes) -> tuple[int, ...]:
    if name not in sizes:
        raise GeometryError(
            f"the size of the map at node '{name}' is not known; give the graph the sizes of its "
            "maps"
        )
    return sizes[name]
