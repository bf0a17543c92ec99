"""Where the taps of a fractional convolution fall: whole-number bookkeeping.

Each tap reads two neighbouring pixels per axis and blends them. Beyond the image everything is
zero, so that a tap which has left the image needs no exact place any more.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from torch import Tensor


@dataclass(frozen=True, slots=True)
class Tap:
    """One kernel position along one axis, at one rate.

    Attributes:
        inner: Input index that output 0 reads, the pixel on the anchor's side.
        outer: Input index of the next pixel outward.
        fraction: Weight of the outer pixel; the inner one has the rest. A tensor, one
            value for each channel or group, where these differ.
        reach: Distance from the anchor in kernel positions: how many pixels the tap moves outward
            when the rate grows by one.
    """

    inner: int
    outer: int
    fraction: float | Tensor
    reach: int

    @property
    def is_whole(self) -> bool:
        """Whether one pixel is all it reads."""
        return self.reach == 0 or (not isinstance(self.fraction, Tensor) and self.fraction == 0)

    @property
    def mirrored(self) -> "Tap":
        """The tap that leads back from the pixel read to the target."""
        return replace(self, inner=-self.inner, outer=-self.outer)


def margins(taps: Sequence[Tap], *, size: int, targets: int, stride: int = 1) -> tuple[int, int]:
    """How many zeros before and after the pixels of an axis let every tap read all its targets."""
    offsets = [offset for tap in taps for offset in (tap.inner, tap.outer)]
    return max(0, -min(offsets)), max(0, max(offsets) + stride * (targets - 1) - (size - 1))


@dataclass(frozen=True, slots=True)
class Axis:
    """One spatial axis of the convolution replaced, which fixes the output grid for good.

    Attributes:
        size_in: Pixels of the image.
        taps: Kernel positions.
        stride: Pixels between outputs.
        padding: Pixels added before and after the image.
        dilation: Rate of the convolution replaced.
        middle: Kernel position of the anchor, the tap that no rate moves.
        furthest: Distance from which on a tap need not be told apart from one further out; None
            for the distance at which it has left the image.
    """

    size_in: int
    taps: int
    stride: int
    padding: tuple[int, int]
    dilation: int
    middle: int
    furthest: int | None = None

    @property
    def size_out(self) -> int:
        """Number of outputs, by the arithmetic of an ordinary convolution."""
        width = self.dilation * (self.taps - 1) + 1
        return (self.size_in + sum(self.padding) - width) // self.stride + 1

    @property
    def anchor(self) -> int:
        """Input index under the anchor of output 0; negative inside the padding."""
        return self.middle * self.dilation - self.padding[0]

    @property
    def last(self) -> int:
        """Input index under the anchor of the last output."""
        return self.anchor + self.stride * (self.size_out - 1)

    @property
    def reaches(self) -> tuple[int, int]:
        """Kernel positions before and after the anchor."""
        return (self.middle, self.taps - 1 - self.middle)

    @property
    def is_still(self) -> bool:
        """Whether every output reads the pixel of its own index, at any rate."""
        return self.taps == 1 and self.stride == 1 and self.padding == (0, 0)

    @property
    def span(self) -> int:
        """The distance from its anchor from which on no output's tap sees the image."""
        return max(self.size_in - self.anchor, self.last + 1, 0)

    def padding_at(self, rate: int) -> tuple[int, int]:
        """Padding before and after with which a plain convolution of this dilation has this grid.

        A tap j positions from the anchor moves by j pixels for each unit of the rate, and the
        padding grows alike. Negative where the image must be cropped instead.
        """
        before, after = (
            padding + reach * (rate - self.dilation)
            for padding, reach in zip(self.padding, self.reaches, strict=True)
        )
        return (before, after)

    def taps_at(self, rate: float, *, leftward: bool) -> tuple[Tap, ...]:
        """The taps in kernel order at a finite rate.

        Distances are counted outward from the anchor, so that at an integer rate every tap blends
        towards where a growing rate takes it: its slope is the right-hand one. ``leftward`` makes
        it the left-hand one, for a rate that cannot grow.
        """
        before, after = self.reaches
        return tuple(self._tap(position, rate, leftward) for position in range(-before, after + 1))

    def _tap(self, position: int, rate: float, leftward: bool) -> Tap:
        if position == 0:
            return Tap(self.anchor, self.anchor, 0.0, 0)
        reach = abs(position)
        outward = position // reach
        distance = reach * rate
        near = math.ceil(distance) - 1 if leftward else math.floor(distance)
        fraction = distance - near
        furthest = self.span if self.furthest is None else self.furthest
        near = min(max(near, -furthest - 1), furthest)
        return Tap(
            self.anchor + outward * near, self.anchor + outward * (near + 1), fraction, reach
        )

    def extended(self, before: int, after: int) -> "Axis":
        """The same outputs of an image that was made longer at both ends."""
        padding = (self.padding[0] - before, self.padding[1] - after)
        size = self.size_in + before + after
        furthest = self.span if self.furthest is None else self.furthest
        return replace(self, size_in=size, padding=padding, furthest=furthest)
