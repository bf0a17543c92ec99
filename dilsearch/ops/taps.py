"""Where the taps of a fractional convolution fall: whole-number bookkeeping, free of torch.

Each tap reads two neighbouring pixels per axis and blends them. Everything outside the image is
zero and is never read.
"""

import math
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise


@dataclass(frozen=True, slots=True)
class Tap:
    """One kernel position along one axis.

    Attributes:
        inner: Offset of the pixel on the anchor's side: the input index that output 0 reads.
        outer: Offset of the next pixel outward.
        fraction: Weight of the outer pixel; the inner one has the rest.
        reach: Distance from the anchor in kernel positions: how many pixels the tap moves when
            the rate grows by one.
    """

    inner: int
    outer: int
    fraction: float
    reach: int


@dataclass(frozen=True, slots=True)
class Axis:
    """One spatial axis of the convolution replaced, which fixes the output grid for good."""

    size_in: int
    taps: int
    stride: int
    padding: int
    dilation: int

    @property
    def size_out(self) -> int:
        """Number of outputs, by the arithmetic of an ordinary convolution."""
        width = self.dilation * (self.taps - 1) + 1
        return (self.size_in + 2 * self.padding - width) // self.stride + 1

    @property
    def anchor(self) -> int:
        """Input index under the middle tap of output 0; negative inside the padding."""
        return (self.taps - 1) // 2 * self.dilation - self.padding

    @property
    def span(self) -> int:
        """The distance from its anchor from which on no output's tap sees the image."""
        last = self.anchor + self.stride * (self.size_out - 1)
        return max(self.size_in - self.anchor, last + 1, 0)

    def padding_at(self, rate: int) -> int:
        """Padding with which a plain convolution of this dilation has the same outputs.

        A tap j positions from the middle moves by j pixels for each unit of the rate, so the
        padding grows alike. Negative where the image must be cropped instead.
        """
        return self.padding + (self.taps - 1) // 2 * (rate - self.dilation)

    def taps_at(self, rate: float, *, leftward: bool) -> tuple[Tap, ...]:
        """The taps in kernel order at a finite rate.

        Distances are counted outward from the anchor, so that at an integer rate every tap blends
        towards where a growing rate takes it: its slope is the right-hand one. ``leftward`` makes
        it the left-hand one, for a rate that cannot grow.
        """
        half = (self.taps - 1) // 2
        return tuple(self._tap(position, rate, leftward) for position in range(-half, half + 1))

    def _tap(self, position: int, rate: float, leftward: bool) -> Tap:
        if position == 0:
            return Tap(self.anchor, self.anchor, 0.0, 0)
        reach = abs(position)
        outward = position // reach
        distance = reach * rate
        near = math.ceil(distance) - 1 if leftward else math.floor(distance)
        fraction = distance - near
        near = min(max(near, -self.span - 1), self.span)
        return Tap(
            self.anchor + outward * near, self.anchor + outward * (near + 1), fraction, reach
        )


def runs(taps: tuple[Tap, ...]) -> tuple[slice, ...]:
    """Cut the taps into runs that blend alike and start at evenly spaced, rising offsets.

    Such a run can be sampled in one go. The middle tap, whose two pixels are the same, blends like
    any other.
    """
    found: list[slice] = []
    for index in range(len(taps)):
        start = found[-1].start if found else 0
        if found and _is_run(taps[start : index + 1]):
            found[-1] = slice(start, index + 1)
        else:
            found.append(slice(index, index + 1))
    return tuple(found)


def _is_run(taps: tuple[Tap, ...]) -> bool:
    if len({tap.fraction for tap in taps if tap.inner != tap.outer}) > 1:
        return False
    return all(
        len({after - before for before, after in pairwise(offsets)}) == 1
        and offsets[1] >= offsets[0]
        for offsets in ([tap.inner for tap in taps], [tap.outer for tap in taps])
    )


@dataclass(frozen=True, slots=True)
class Segment:
    """Targets first to last - 1, all of which see the image through the same sources."""

    first: int
    last: int
    sees: tuple[bool, ...]


@lru_cache(maxsize=4096)
def segments(
    offsets: tuple[int, ...], *, source_size: int, target_size: int, stride: int
) -> tuple[Segment, ...]:
    """Cut the targets where they begin or cease to see the source through one of the offsets.

    Target q sees source index ``offset + stride * q`` if that lies within the source.
    """
    ranges = [_seeing(offset, source_size, target_size, stride) for offset in offsets]
    cuts = sorted({0, target_size, *(end for seeing in ranges for end in seeing)})
    return tuple(
        Segment(first, last, tuple(start <= first < stop for start, stop in ranges))
        for first, last in pairwise(cuts)
    )


def _seeing(offset: int, source_size: int, target_size: int, stride: int) -> tuple[int, int]:
    start = max(0, -(offset // stride))
    stop = min(target_size, (source_size - 1 - offset) // stride + 1)
    return (start, stop) if start < stop else (0, 0)
