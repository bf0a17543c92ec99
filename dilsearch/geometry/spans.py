"""What the positions along one axis see of the input, and how a node changes it."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

from dilsearch.errors import GeometryError
from dilsearch.geometry.field import Field
from dilsearch.geometry.reads import Reads

_LONGEST_PERIOD = 4096
"""Longer than any feature map; beyond it, positions are counted one by one inside the map."""


@dataclass(frozen=True, slots=True)
class Span:
    """The first and last input pixel that each position along one axis sees.

    Behind convolutions and poolings all positions see alike, each a stride from the next. Behind
    upsampling they repeat with a period: position ``p + period`` sees what ``p`` sees,
    ``advance_px`` further. Where grids do not fit into one another, nothing repeats: the span then
    lists the positions of its map one by one, and what lies outside the map is not there.

    Args:
        starts: First pixel seen, for each position of one period.
        ends: Last pixel seen; before the start where a position sees nothing.
        advance_px: Input pixels from one period to the next; 0 if nothing repeats.
        listed_stride_px: The mean stride where nothing repeats; otherwise it follows.
    """

    starts: tuple[int, ...] = (0,)
    ends: tuple[int, ...] = (0,)
    advance_px: int = 1
    listed_stride_px: Fraction = Fraction(1)

    @property
    def repeats(self) -> bool:
        """Whether what is seen repeats with a period."""
        return self.advance_px > 0

    @property
    def uniform(self) -> bool:
        """Whether every position sees alike, and sees something."""
        return len(self.starts) == 1 and self.advance_px > 0 and self.starts[0] <= self.ends[0]

    @property
    def field(self) -> Field:
        """The largest field of its positions, and their mean stride."""
        return Field(self.largest_px or 1, self.stride_px)

    @property
    def largest_px(self) -> int:
        """The largest field of its positions; 0 if none sees anything."""
        return max(self._sizes(), default=0)

    @property
    def smallest_px(self) -> int:
        """The smallest field of its positions, those left out that see nothing at all."""
        return min(self._sizes(), default=0)

    @property
    def stride_px(self) -> int | Fraction:
        """Mean input pixels between neighbouring positions."""
        if self.repeats and len(self.starts) == 1:
            return self.advance_px
        stride = self.listed_stride_px
        if self.repeats:
            stride = Fraction(self.advance_px, len(self.starts))
        return int(stride) if stride.denominator == 1 else stride

    @property
    def centre_px(self) -> float:
        """The pixel on which the field of position 0 is centred."""
        return (self.starts[0] + self.ends[0]) / 2

    @property
    def bound(self) -> int:
        """The largest rate at which the pixels of neighbouring taps touch, at every position.

        With one field and stride for all positions it is field // stride (``max_rate``).
        """
        if self.uniform:
            return (self.ends[0] - self.starts[0] + 1) // self.advance_px
        gapped = [
            rate for step in range(len(self.starts)) for rate in self._first_gaps(step) if rate > 0
        ]
        return min(gapped, default=len(self.starts)) - 1

    def at(self, position: int) -> tuple[int, int] | None:
        """First and last pixel that a position sees; None if it sees nothing."""
        cycle, phase = divmod(position, len(self.starts))
        if cycle and not self.repeats:
            return None
        start, end = self.starts[phase], self.ends[phase]
        moved = cycle * self.advance_px
        return (start + moved, end + moved) if start <= end else None

    def behind(self, branches: Sequence[Reads], size: int | None = None) -> "Span":
        """What is seen where branches that read these positions meet.

        Args:
            branches: What each of them reads; all have one tap in common.
            size: Positions of their map, where nothing repeats.
        """
        if len(branches) > 1 and self.uniform:  # the branch that reads furthest sees all
            branches = (max(branches, key=lambda reads: reads.reach),)
        spans = [self.through(reads, size) for reads in branches]
        return spans[0] if len(spans) == 1 else Span.join(spans, size)

    def through(self, reads: Reads, size: int | None = None) -> "Span":
        """What is seen behind a node that reads these positions.

        Args:
            reads: What it reads.
            size: Positions of its map, where nothing repeats.
        """
        # Nearly always, and in every search step.
        if self.uniform and len(reads.offsets) == 1 and reads.offsets[0]:
            offsets, step = reads.offsets[0], self.advance_px
            if offsets == (0,) and reads.advance == 1:
                return self
            return Span(
                (self.starts[0] + offsets[0] * step,),
                (self.ends[0] + offsets[-1] * step,),
                step * reads.advance,
            )
        stride = Fraction(self.stride_px) * reads.advance / len(reads.offsets)
        if not self.repeats:
            return Span._listed([self._union(reads.at(p)) for p in range(_known(size))], stride)
        cycles = len(self.starts) // math.gcd(reads.advance, len(self.starts))
        period = cycles * len(reads.offsets)
        advance_px = reads.advance * cycles // len(self.starts) * self.advance_px
        if period > _LONGEST_PERIOD and size is not None:
            return Span._listed([self._union(reads.at(p)) for p in range(size)], stride)
        return Span._shortest([self._union(reads.at(p)) for p in range(period)], advance_px)

    @staticmethod
    def join(spans: Sequence["Span"], size: int | None = None) -> "Span":
        """What is seen where paths meet, position by position: from the first pixel to the last.

        Args:
            spans: At least one.
            size: Positions of the map, so that grids of unlike strides can be counted one by one.

        Raises:
            GeometryError: If strides differ and the size is not known.
        """
        first = spans[0]
        if all(span.uniform and span.advance_px == first.advance_px for span in spans):
            starts = min(span.starts[0] for span in spans)
            return Span((starts,), (max(span.ends[0] for span in spans),), first.advance_px)
        strides = {span.stride_px if span.repeats else None for span in spans}
        period = math.lcm(*(len(span.starts) for span in spans))
        if len(strides) > 1 or None in strides or period > _LONGEST_PERIOD:
            if size is None:
                raise GeometryError(_unlike(spans))
            stride = Fraction(min(span.stride_px for span in spans))
            return Span._listed([_hull(span.at(p) for span in spans) for p in range(size)], stride)
        advance_px = first.advance_px * (period // len(first.starts))
        positions = [_hull(span.at(p) for span in spans) for p in range(period)]
        return Span._shortest(positions, advance_px)

    def _sizes(self) -> Iterator[int]:
        sizes = (end - start + 1 for start, end in zip(self.starts, self.ends, strict=True))
        return (size for size in sizes if size > 0)

    def _union(self, positions: Sequence[int]) -> tuple[int, int] | None:
        return _hull(self.at(position) for position in positions)

    def _first_gaps(self, step: int) -> Iterator[int]:
        """For each position, the first rate of ``step`` and whole periods that leaves a gap."""
        period = len(self.starts)
        for position in range(period):
            here = self.at(position)
            there = self.at(position + step)
            if here is None or there is None:
                continue
            room = here[1] + 1 - there[0]
            if room < 0 or there[1] + 1 < here[0]:
                yield step
            elif self.repeats:
                yield (room // self.advance_px + 1) * period + step

    @classmethod
    def _shortest(cls, positions: list[tuple[int, int] | None], advance_px: int) -> "Span":
        """The span with the shortest period that says the same."""
        starts, ends = _columns(positions)
        period = len(starts)
        for divisor in range(1, period):
            if period % divisor or advance_px * divisor % period:
                continue
            move = advance_px * divisor // period
            if all(
                starts[p] == starts[p - divisor] + move and ends[p] == ends[p - divisor] + move
                for p in range(divisor, period)
            ):
                return cls(starts[:divisor], ends[:divisor], move)
        return cls(starts, ends, advance_px)

    @classmethod
    def _listed(cls, positions: list[tuple[int, int] | None], stride_px: Fraction) -> "Span":
        return cls(*_columns(positions), advance_px=0, listed_stride_px=stride_px)


def _columns(
    positions: Sequence[tuple[int, int] | None],
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    seen = [(0, -1) if position is None else position for position in positions]
    return tuple(start for start, _ in seen), tuple(end for _, end in seen)


def _hull(seen: "Iterator[tuple[int, int] | None]") -> tuple[int, int] | None:
    found = [pair for pair in seen if pair is not None]
    if not found:
        return None
    return min(start for start, _ in found), max(end for _, end in found)


def _known(size: int | None) -> int:
    if size is None:
        raise GeometryError(
            "what is seen does not repeat along the map, whose size is not known; give the graph "
            "the sizes of its maps"
        )
    return size


def _unlike(spans: Sequence[Span]) -> str:
    strides = sorted({span.stride_px for span in spans})
    listed = " and ".join(f"{stride} px" for stride in strides)
    return f"fields of strides {listed} cannot meet at one position; resample one of them first"
