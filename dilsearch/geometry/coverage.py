"""The exact set of input pixels that reach one output position.

A field says how far a position sees; coverage says which pixels in between it really sees. Where
branches or shortcuts meet, the set is a union of products of the axes and no product itself, so
that no axis alone shows its holes (``patterns``).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from operator import add
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from dilsearch.errors import GeometryError
from dilsearch.geometry.patterns import (
    Pattern,
    Product,
    TooManyProductsError,
    bits_to_array,
    count,
    from_array,
    hull,
    hull_of,
    products,
    to_array,
    union_of,
    unite,
)
from dilsearch.geometry.reads import Reads

MOST_PRODUCTS: Final = 500
"""Products of one set beyond which it is replaced by the product that holds it."""

Lines: TypeAlias = NDArray[np.object_]
"""Pixels along the last axis as the bits of an integer, for each index of the other axes."""

Moves: TypeAlias = Sequence[Sequence[int]]
"""For each axis, by how many pixels copies of a set are moved, in ascending order."""


@dataclass(frozen=True, slots=True)
class Coverage:
    """Input pixels seen by one output position, inside their bounding box.

    Every channel is taken to see what any channel sees, as 1x1 convolutions make it.

    Args:
        pattern: The set, in canonical form; index 0 of each axis is the first pixel of the box.
        size_px: Extent of the box per axis: the field's size.
        origin_px: The box's first pixel, for the output position 0; for the position n it lies n
            strides further.
        stride_px: Input pixels between neighbouring output positions.
        exact: Whether this is the set itself. A set of more than ``MOST_PRODUCTS`` products is
            replaced by the product of its axes, which holds it and may have fewer holes.

    Raises:
        GeometryError: If the box is not the smallest around its pixels.
    """

    pattern: Pattern
    size_px: tuple[int, ...]
    origin_px: tuple[int, ...]
    stride_px: tuple[int, ...]
    exact: bool = True

    def __post_init__(self) -> None:
        sides = hull(self.pattern) if self.pattern else ()
        if not sides or any(
            not bits & 1 or bits.bit_length() != size
            for bits, size in zip(sides, self.size_px, strict=True)
        ):
            raise GeometryError(
                "every side of a coverage's box must hold a pixel; cut the empty margin and move "
                "the origin"
            )

    @classmethod
    def point(cls, axes: int = 2) -> "Coverage":
        """What an input pixel sees: itself."""
        return cls(unite([(1,) * axes]), (1,) * axes, (0,) * axes, (1,) * axes)

    @classmethod
    def from_array(
        cls, seen: NDArray[np.bool_], origin_px: Sequence[int], stride_px: Sequence[int]
    ) -> "Coverage":
        """The true pixels of a picture, whose sides must each hold one."""
        return cls(from_array(seen), tuple(seen.shape), tuple(origin_px), tuple(stride_px))

    def through(
        self,
        taps: Sequence[int],
        rates: Iterable[Sequence[int]],
        *,
        stride: Sequence[int] | None = None,
        anchor: Sequence[int] | None = None,
    ) -> "Coverage":
        """The pixels seen behind a window: this set, moved to every tap of every branch.

        Args:
            taps: Taps of the window per axis.
            rates: Rates per axis, for each branch.
            stride: Stride of the window; 1 by default.
            anchor: Where its anchor tap, the one of index (taps - 1) // 2, lies for the output
                position 0, in positions of its source: by default 0, as for a 'same' convolution.
        """
        axes = len(self.size_px)
        stride, anchor = stride or (1,) * axes, anchor or (0,) * axes
        return self.reading(
            tuple(
                Reads.window(count, rate=rate, stride=step, anchor=start)
                for count, rate, step, start in zip(taps, branch, stride, anchor, strict=True)
            )
            for branch in dict.fromkeys(map(tuple, rates))
        )

    def reading(self, branches: Iterable[Sequence[Reads]]) -> "Coverage":
        """The pixels seen behind a node that reads such positions of this one.

        Args:
            branches: Reads per axis, for each branch; every position must read alike.
        """
        tables = [tuple(branch) for branch in branches]
        return Coverage.gather(
            [
                (
                    self,
                    [
                        [offset * step for offset in reads.offsets[0]]
                        for reads, step in zip(table, self.stride_px, strict=True)
                    ],
                )
                for table in tables
            ],
            [step * reads.advance for step, reads in zip(self.stride_px, tables[0], strict=True)],
        )

    def union(self, *others: "Coverage") -> "Coverage":
        """The pixels seen where paths meet: those of any of them, each at its own origin.

        Raises:
            GeometryError: If their strides differ.
        """
        parts = (self, *others)
        if len({part.stride_px for part in parts}) > 1:
            listed = " and ".join(str(part.stride_px) for part in parts)
            raise GeometryError(
                f"coverages of strides {listed} px cannot meet; resample one of them first"
            )
        stay = [(0,)] * len(self.size_px)
        return Coverage.gather([(part, stay) for part in parts], self.stride_px)

    @classmethod
    def gather(
        cls, parts: Sequence[tuple["Coverage", Moves]], stride_px: Sequence[int]
    ) -> "Coverage":
        """The union of copies of coverages, in pixels, whatever their strides.

        Args:
            parts: At least one coverage, each with how far its copies are moved.
            stride_px: Stride of the union.
        """
        first, moves = parts[0]
        if len(parts) == 1 and all(len(axis) == 1 for axis in moves):
            return replace(first.moved([axis[0] for axis in moves]), stride_px=tuple(stride_px))
        starts = [
            [start + axis[0] for start, axis in zip(part.origin_px, moves, strict=True)]
            for part, moves in parts
        ]
        ends = [
            [
                start + size + axis[-1]
                for start, size, axis in zip(part.origin_px, part.size_px, moves, strict=True)
            ]
            for part, moves in parts
        ]
        origin = tuple(map(min, zip(*starts, strict=True)))
        copies = (
            tuple(
                union_of(bits << start + move - low for move in axis)
                for bits, start, axis, low in zip(
                    product, part.origin_px, moves, origin, strict=True
                )
            )
            for part, moves in parts
            for product in products(part.pattern)
        )
        pattern, exact = unite_within_reason(copies, exact=all(part.exact for part, _ in parts))
        size = tuple(
            max(axis) - low for axis, low in zip(zip(*ends, strict=True), origin, strict=True)
        )
        return cls(pattern, size, origin, tuple(stride_px), exact)

    def moved(self, pixels: Sequence[int]) -> "Coverage":
        """The same set so many pixels further."""
        if not any(pixels):
            return self
        return replace(self, origin_px=tuple(map(add, self.origin_px, pixels)))

    @property
    def seen(self) -> int:
        """How many pixels are seen."""
        return count(self.pattern)

    @property
    def holes(self) -> int:
        """How many pixels of the bounding box are not seen."""
        box = 1
        for size in self.size_px:
            box *= size
        return box - self.seen

    @property
    def largest_hole_px(self) -> int:
        """Side of the largest square (run, cube) in the box without a pixel seen; 0 for none."""
        if not self.holes:
            return 0
        hidden = self._hidden_lines()
        side = step = 1
        while step:  # doubled as long as there are such squares, then halved
            larger = _grown(hidden, step)
            if larger.any():
                hidden, side, step = larger, side + step, 2 * step if step == side else step // 2
            else:
                step //= 2
        return side

    def to_array(self) -> NDArray[np.bool_]:
        """The set as a picture, of shape ``size_px``."""
        return to_array(self.pattern, self.size_px)

    def to_rows(self) -> list[str]:
        """The set in the plane as text: ``#`` for a pixel seen and ``.`` for a hole."""
        return ["".join("#" if seen else "." for seen in row) for row in self.to_array()]

    def _hidden_lines(self) -> Lines:
        """The holes along the last axis, as an integer for each index of the other axes."""
        *sides, last = self.size_px
        hidden = np.full(sides, (1 << last) - 1, dtype=object)
        for *product, bits in products(self.pattern):
            axes = [bits_to_array(side, size) for side, size in zip(product, sides, strict=True)]
            hidden[np.ix_(*axes)] ^= bits
        return hidden


def unite_within_reason(some: Iterable[Product], *, exact: bool) -> tuple[Pattern, bool]:
    """The union, or the product that holds it where it is made of too many products."""
    kept = [product for product in some if all(product)]
    try:
        return unite(kept, MOST_PRODUCTS), exact
    except TooManyProductsError:
        return unite([hull_of(kept)]), False


def _grown(squares: Lines, more: int) -> Lines:
    """First corners of squares, made those of the squares that are larger by ``more``.

    These are where the smaller ones lie at all four corners, which they fill if ``more`` is at
    most their side.
    """
    for _ in range(squares.ndim):
        squares = np.moveaxis(squares[more:] & squares[:-more], 0, -1)
    return np.asarray(squares & squares >> more, dtype=object)
