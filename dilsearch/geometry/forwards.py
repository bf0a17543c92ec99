"""From the input to the nodes: the sets behind all that were asked for, in one pass.

What is seen repeats along each axis, as a rule, so that a node needs one set for each phase in
which its positions may be: one behind convolutions and poolings, four behind an upsampling by two
in the plane. The set at a phase is the union of those that it reads, each moved to where it is
read. Behind many upsamplings there are too many phases, and where grids do not fit into one
another there are none: such nodes are for ``support``, which goes backwards from one position.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Final, TypeAlias

from dilsearch.geometry.coverage import Coverage, Moves
from dilsearch.geometry.nodes import (
    GlobalContext,
    Join,
    Node,
    Part,
    Rates,
    Resample,
    Source,
    Tables,
    Window,
    tables_of,
)
from dilsearch.geometry.reads import Reads

MOST_PHASES: Final = 64
"""Phases of one node beyond which its sets are found backwards, one by one."""

Position: TypeAlias = tuple[int, ...]
"""Index along each axis; a phase is a position of the first period."""

_Part: TypeAlias = tuple[str, Position, Moves]
"""What is read of a source at one of its phases, and how far each copy is moved."""


@dataclass(frozen=True, slots=True)
class Cycle:
    """After how many positions along one axis sets repeat, and how many input pixels further.

    The period follows from the network's form alone. That of ``Span`` may be shorter, where sets
    differ that have the same first and last pixel.
    """

    period: int = 1
    advance_px: int = 1

    def through(self, reads: Reads) -> "Cycle":
        """The cycle behind a node that reads these positions."""
        turns = self.period // math.gcd(reads.advance, self.period)
        advance = reads.advance * turns // self.period
        return Cycle(turns * reads.period, advance * self.advance_px)

    @staticmethod
    def join(cycles: Sequence["Cycle"]) -> "Cycle | None":
        """The cycle where paths meet; None if their strides differ."""
        period = math.lcm(*(cycle.period for cycle in cycles))
        advances = {cycle.advance_px * (period // cycle.period) for cycle in cycles}
        return Cycle(period, advances.pop()) if len(advances) == 1 else None


class Forwards:
    """The sets behind the nodes of a network at given rates, phase by phase.

    Args:
        nodes: In topological order, those without a field left out.
        rates: Rates of the windows.
        axes: Number of spatial axes.
    """

    def __init__(self, nodes: Sequence[Node], rates: Mapping[str, Rates], axes: int) -> None:
        windows = {node.name: node for node in nodes if isinstance(node, Window)}
        self._nodes = nodes
        self._axes = axes
        self._tables: dict[str, Tables] = {
            node.name: tables_of(node, windows, rates)
            for node in nodes
            if isinstance(node, Window | Part | Resample)
        }
        self._cycles: dict[str, tuple[Cycle, ...]] = {}
        for node in nodes:
            cycles = self._cycles_of(node)
            if cycles and math.prod(cycle.period for cycle in cycles) <= MOST_PHASES:
                self._cycles[node.name] = cycles

    def __contains__(self, name: str) -> bool:
        """Whether sets behind the node repeat, in not too many phases."""
        return name in self._cycles

    def seen(self, asked: Mapping[str, Position]) -> dict[str, Coverage]:
        """What one position of each node sees of all inputs; nodes that see nothing are left out.

        Maps go on without end, and origins are those of the positions.
        """
        places = {name: self._place(name, at) for name, at in asked.items()}
        parts = self._parts_needed((name, phase) for name, (phase, _) in places.items())
        seen: dict[tuple[str, Position], Coverage] = {}
        for node in self._nodes:
            for phase, read in parts.get(node.name, {}).items():
                if isinstance(node, Source):
                    seen[node.name, phase] = Coverage.point(self._axes)
                    continue
                found = [(seen[name, at], by) for name, at, by in read if (name, at) in seen]
                if found:
                    seen[node.name, phase] = Coverage.gather(found, (1,) * self._axes)
        return {
            name: seen[name, phase].moved(by)
            for name, (phase, by) in places.items()
            if (name, phase) in seen
        }

    def _parts_needed(
        self, asked: Iterable[tuple[str, Position]]
    ) -> dict[str, dict[Position, list[_Part]]]:
        """What is read at every phase of every node that matters to those asked for."""
        needed: dict[str, dict[Position, list[_Part]]] = {}
        for name, phase in asked:
            needed.setdefault(name, {})[phase] = []
        for node in reversed(self._nodes):
            for phase, read in needed.get(node.name, {}).items():
                read.extend(self._reads(node, phase))
                for source, at, _ in read:
                    needed.setdefault(source, {}).setdefault(at, [])
        return needed

    def _reads(self, node: Node, phase: Position) -> Iterator[_Part]:
        match node:
            case Join():
                for name in node.sources:
                    at, by = self._place(name, phase)
                    yield name, at, [(move,) for move in by]
            case Window() | Part() | Resample():
                for table in self._tables[node.name]:
                    axes = zip(table, phase, self._cycles[node.source], strict=True)
                    groups = (_by_phase(reads.at(p), cycle).items() for reads, p, cycle in axes)
                    for group in product(*groups):
                        at, moves = zip(*group, strict=True)
                        yield node.source, at, moves
            case Source():
                return
            case GlobalContext():
                raise AssertionError("nodes behind a global pooling have no field")

    def _place(self, name: str, position: Position) -> tuple[Position, tuple[int, ...]]:
        """The phase of a position, and by how many pixels it lies further."""
        turned = [
            (p % cycle.period, p // cycle.period * cycle.advance_px)
            for p, cycle in zip(position, self._cycles[name], strict=True)
        ]
        return tuple(phase for phase, _ in turned), tuple(by for _, by in turned)

    def _cycles_of(self, node: Node) -> tuple[Cycle, ...] | None:
        match node:
            case Join():
                sides = [self._cycles.get(name) for name in node.sources]
                known = [side for side in sides if side is not None]
                joined = [Cycle.join(axis) for axis in zip(*known, strict=True)]
                whole = tuple(cycle for cycle in joined if cycle is not None)
                return whole if len(known) == len(sides) and len(whole) == len(joined) else None
            case Window() | Part() | Resample():
                before = self._cycles.get(node.source)
                table = self._tables[node.name][0]  # branches differ in their offsets only
                if before is None:
                    return None
                return tuple(
                    cycle.through(reads) for cycle, reads in zip(before, table, strict=True)
                )
            case _:
                return (Cycle(),) * self._axes


def _by_phase(positions: Iterable[int], cycle: Cycle) -> dict[int, list[int]]:
    """Positions along one axis by their phase, each as pixels from that of the first period."""
    groups: dict[int, list[int]] = {}
    for position in positions:
        turns, phase = divmod(position, cycle.period)
        groups.setdefault(phase, []).append(turns * cycle.advance_px)
    return groups
