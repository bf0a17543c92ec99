"""The exact set of input pixels, in the plane, that reach one output position.

A field says how far a position sees; coverage says which pixels in between it really sees. Where
branches or shortcuts meet, the set is a union of rectangular patterns and no product of its axes,
so it is kept as it is: one Python integer per row, one bit per pixel. Shifting and uniting rows
is then arithmetic on long integers, quick enough for fields of thousands of pixels.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from dilsearch.errors import GeometryError


@dataclass(frozen=True, slots=True)
class Coverage:
    """Input pixels seen by one output position, inside their bounding box.

    Every channel is taken to see what any channel sees, as 1x1 convolutions make it.

    Args:
        rows: One integer per row from the top; bit j is the pixel j columns right of the origin.
        origin_px: Row and column of the box's first pixel, for the output position (0, 0); for
            the position (m, n) it lies m and n strides further.
        stride_px: Input pixels between neighbouring output positions, down and across.

    Raises:
        GeometryError: If the box is not the smallest around its pixels.
    """

    rows: tuple[int, ...]
    origin_px: tuple[int, int] = (0, 0)
    stride_px: tuple[int, int] = (1, 1)

    def __post_init__(self) -> None:
        if not (self.rows and self.rows[0] and self.rows[-1] and any(r & 1 for r in self.rows)):
            raise GeometryError(
                "the first and last row and the first column of a coverage must hold a pixel; "
                "cut the empty margin and move the origin"
            )

    @classmethod
    def point(cls) -> "Coverage":
        """What an input pixel sees: itself."""
        return cls((1,))

    def through(
        self,
        taps: Sequence[int],
        rates: Iterable[Sequence[int]],
        *,
        stride: Sequence[int] = (1, 1),
        anchor: Sequence[int] = (0, 0),
    ) -> "Coverage":
        """The pixels seen behind a window: this set, moved to every tap of every branch.

        Args:
            taps: Rows and columns of the window.
            rates: One pair (down, across) for each branch.
            stride: Stride of the window.
            anchor: Where its anchor tap, the one of index (taps - 1) // 2, lies for the output
                position (0, 0), in positions of its source: 0 for a 'same' convolution.
        """
        moves = [
            [
                [(start + (tap - (count - 1) // 2) * rate) * step for tap in range(count)]
                for count, rate, start, step in zip(taps, pair, anchor, self.stride_px, strict=True)
            ]
            for pair in dict.fromkeys(map(tuple, rates))
        ]
        top = min(down[0] for down, _ in moves)
        bottom = max(down[-1] for down, _ in moves)
        left = min(across[0] for _, across in moves)
        rows = [0] * (bottom - top + len(self.rows))
        for down, across in moves:
            shifts = [move - left for move in across]
            spread = [_spread(row, shifts) for row in self.rows]
            for move in down:
                for index, row in enumerate(spread, move - top):
                    rows[index] |= row
        return Coverage(
            tuple(rows),
            (self.origin_px[0] + top, self.origin_px[1] + left),
            (self.stride_px[0] * stride[0], self.stride_px[1] * stride[1]),
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
        top = min(part.origin_px[0] for part in parts)
        left = min(part.origin_px[1] for part in parts)
        bottom = max(part.origin_px[0] + len(part.rows) for part in parts)
        rows = [0] * (bottom - top)
        for part in parts:
            shift = part.origin_px[1] - left
            for index, row in enumerate(part.rows, part.origin_px[0] - top):
                rows[index] |= row << shift
        return Coverage(tuple(rows), (top, left), self.stride_px)

    @property
    def size_px(self) -> tuple[int, int]:
        """Height and width of the bounding box: the field's size."""
        return len(self.rows), max(row.bit_length() for row in self.rows)

    @property
    def seen(self) -> int:
        """How many pixels are seen."""
        return sum(row.bit_count() for row in self.rows)

    @property
    def holes(self) -> int:
        """How many pixels of the bounding box are not seen."""
        height, width = self.size_px
        return height * width - self.seen

    def to_rows(self) -> list[str]:
        """The set as a picture: one text per row, ``#`` for a pixel seen and ``.`` for a hole."""
        width = self.size_px[1]
        picture = str.maketrans("01", ".#")
        return [f"{row:0{width}b}"[::-1].translate(picture) for row in self.rows]


def _spread(row: int, shifts: Sequence[int]) -> int:
    spread = 0
    for shift in shifts:
        spread |= row << shift
    return spread
