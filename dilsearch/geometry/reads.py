"""Which positions of its source a node reads, along one axis."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

from dilsearch.errors import GeometryError


@dataclass(frozen=True, slots=True)
class Reads:
    """The positions of the source that each position reads; they repeat with a period.

    With ``n = len(offsets)``, position ``m * n + i`` reads ``m * advance + offset`` for every
    offset of ``offsets[i]``. A convolution has a period of 1 and advances by its stride; an
    upsampling by 4 has a period of 4 and advances by 1.

    Args:
        offsets: For each position of one period, what it reads, in ascending order. May be empty,
            as between the taps of a transposed convolution with fewer taps than its stride.
        advance: Positions of the source from one period to the next.

    Raises:
        GeometryError: If there is no period, or it does not advance.
    """

    offsets: tuple[tuple[int, ...], ...]
    advance: int

    def __post_init__(self) -> None:
        if not self.offsets or self.advance < 1:
            raise GeometryError(
                f"reads with a period of {len(self.offsets)} and an advance of {self.advance} "
                "lead nowhere; both must be at least 1"
            )

    @classmethod
    def window(
        cls,
        taps: int,
        *,
        rate: int = 1,
        stride: int = 1,
        anchor: int = 0,
        anchor_tap: int | None = None,
    ) -> "Reads":
        """A convolution or pooling, whose anchor tap lies ``anchor`` on at first.

        The anchor tap is that of index ``(taps - 1) // 2`` if no other is given.
        """
        tap = (taps - 1) // 2 if anchor_tap is None else anchor_tap
        return _window(taps, rate, stride, anchor, tap)

    @classmethod
    def transposed(cls, taps: int, *, rate: int = 1, stride: int = 1, padding: int = 0) -> "Reads":
        """A transposed convolution: position p is reached by q * stride + tap * rate - padding."""
        return cls(
            tuple(
                tuple(
                    (phase + padding - tap * rate) // stride
                    for tap in reversed(range(taps))
                    if (phase + padding - tap * rate) % stride == 0
                )
                for phase in range(stride)
            ),
            1,
        )

    @classmethod
    def nearest(cls, scale: Fraction, *, centred: bool = False) -> "Reads":
        """Nearest interpolation with ``scale`` positions of the source to one of its own.

        ``centred`` measures from the middle of a position, as ``nearest-exact`` does.
        """
        shift = Fraction(1, 2) if centred else Fraction(0)
        return cls._periodic(scale, ((math.floor((p + shift) * scale),) for p in _period(scale)))

    @classmethod
    def linear(cls, scale: Fraction, *, align_corners: bool = False) -> "Reads":
        """Linear interpolation between the two nearest positions; one, where it falls on it."""
        return cls._interpolated(scale, align_corners, (0, 1))

    @classmethod
    def cubic(cls, scale: Fraction, *, align_corners: bool = False) -> "Reads":
        """Cubic interpolation between the four nearest positions; one, where it falls on it."""
        return cls._interpolated(scale, align_corners, (-1, 0, 1, 2))

    @classmethod
    def adaptive(cls, source_size: int, size: int) -> "Reads":
        """Adaptive pooling: bin i spans floor(i n / m) up to ceil((i + 1) n / m)."""
        scale = Fraction(source_size, size)
        bins = (
            tuple(range(math.floor(p * scale), math.ceil((p + 1) * scale))) for p in _period(scale)
        )
        return cls._periodic(scale, bins)

    @property
    def period(self) -> int:
        """Positions after which the reads repeat."""
        return len(self.offsets)

    @property
    def reach(self) -> int:
        """How many positions lie between the first and the last of what one position reads."""
        return max((row[-1] - row[0] for row in self.offsets if row), default=0)

    def at(self, position: int) -> tuple[int, ...]:
        """What one position reads."""
        cycle, phase = divmod(position, len(self.offsets))
        return tuple(cycle * self.advance + offset for offset in self.offsets[phase])

    @classmethod
    def _interpolated(
        cls, scale: Fraction, align_corners: bool, neighbours: tuple[int, ...]
    ) -> "Reads":
        rows = []
        for p in _period(scale):
            at = p * scale if align_corners else (p + Fraction(1, 2)) * scale - Fraction(1, 2)
            base = math.floor(at)
            # On a position exactly, the weights of all its neighbours are zero.
            rows.append((base,) if at == base else tuple(base + step for step in neighbours))
        return cls._periodic(scale, rows)

    @classmethod
    def _periodic(cls, scale: Fraction, offsets: Iterable[tuple[int, ...]]) -> "Reads":
        return cls(tuple(offsets), scale.numerator)


@lru_cache(maxsize=4096)
def _window(taps: int, rate: int, stride: int, anchor: int, anchor_tap: int) -> Reads:
    """Remembered, because a search asks for the same few at every step."""
    first = anchor - anchor_tap * rate
    return Reads((tuple(first + tap * rate for tap in range(taps)),), stride)


def _period(scale: Fraction) -> range:
    return range(scale.denominator)
