"""The exact set of input pixels that reach one output position.

A field says how far a position sees; coverage says which pixels in between it really sees. Where
branches or shortcuts meet, the set is a union of products of the axes and no product itself, so
that no axis alone shows its holes (``patterns``).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from dilsearch.errors import GeometryError
from dilsearch.geometry.patterns import (
    Pattern,
    count,
    from_array,
    hull,
    products,
    to_array,
    unite,
)
from dilsearch.geometry.reads import Reads

MOST_PRODUCTS: Final = 2000
"""Products of one set beyond which it is replaced by the product that holds it."""


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
        moves = [
            [
                [offset * step for offset in reads.offsets[0]]
                for reads, step in zip(table, self.stride_px, strict=True)
            ]
            for table in tables
        ]
        first = [min(axis[0] for axis in side) for side in zip(*moves, strict=True)]
        last = [max(axis[-1] for axis in side) for side in zip(*moves, strict=True)]
        moved = (
            tuple(
                _copies(bits, move, low)
                for bits, move, low in zip(product, branch, first, strict=True)
            )
            for branch in moves
            for product in products(self.pattern)
        )
        return self._with(
            unite(moved),
            [size + high - low for size, low, high in zip(self.size_px, first, last, strict=True)],
            [origin + low for origin, low in zip(self.origin_px, first, strict=True)],
            [step * reads.advance for step, reads in zip(self.stride_px, tables[0], strict=True)],
        )

    def union(self, *others: "Coverage") -> "Coverage":
        """The pixels seen where paths meet: those of any of them, each at its own origin.

        Raises:
            GeometryError: If their strides differ.
        """
        if not others:
            return self
        parts = (self, *others)
        if len({part.stride_px for part in parts}) > 1:
            listed = " and ".join(str(part.stride_px) for part in parts)
            raise GeometryError(
                f"coverages of strides {listed} px cannot meet; resample one of them first"
            )
        origin = [min(axis) for axis in zip(*(part.origin_px for part in parts), strict=True)]
        ends = zip(*(part._ends() for part in parts), strict=True)
        size = [max(axis) - low for axis, low in zip(ends, origin, strict=True)]
        moved = (
            tuple(
                bits << start - low
                for bits, start, low in zip(product, part.origin_px, origin, strict=True)
            )
            for part in parts
            for product in products(part.pattern)
        )
        exact = all(part.exact for part in parts)
        return self._with(unite(moved), size, origin, self.stride_px, exact=exact)

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
        hidden = ~self.to_array()
        side = 1
        while True:  # squares of side n + 1 are those of side n that overlap in all but one row
            smaller = hidden
            for axis in range(hidden.ndim):
                low = smaller.take(range(smaller.shape[axis] - 1), axis)
                smaller = low & smaller.take(range(1, smaller.shape[axis]), axis)
            if not smaller.any():
                return side
            hidden, side = smaller, side + 1

    def to_array(self) -> NDArray[np.bool_]:
        """The set as a picture, of shape ``size_px``."""
        return to_array(self.pattern, self.size_px)

    def to_rows(self) -> list[str]:
        """The set in the plane as text: ``#`` for a pixel seen and ``.`` for a hole."""
        return ["".join("#" if seen else "." for seen in row) for row in self.to_array()]

    def _ends(self) -> tuple[int, ...]:
        return tuple(
            origin + size for origin, size in zip(self.origin_px, self.size_px, strict=True)
        )

    def _with(
        self,
        pattern: Pattern,
        size: Sequence[int],
        origin: Sequence[int],
        stride: Sequence[int],
        *,
        exact: bool | None = None,
    ) -> "Coverage":
        exact = self.exact if exact is None else exact
        pattern, exact = within_reason(pattern, exact)
        return Coverage(pattern, tuple(size), tuple(origin), tuple(stride), exact)


def within_reason(pattern: Pattern, exact: bool) -> tuple[Pattern, bool]:
    """The set, or the product that holds it where it is made of too many products."""
    for number, _ in enumerate(products(pattern), 1):
        if number > MOST_PRODUCTS:
            return unite([hull(pattern)]), False
    return pattern, exact


def _copies(bits: int, moves: Sequence[int], low: int) -> int:
    copies = 0
    for move in moves:
        copies |= bits << move - low
    return copies
