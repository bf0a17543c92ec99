"""Where the taps of a fractional convolution fall: whole-number bookkeeping, free of torch.

Each tap reads two neighbouring pixels per axis and blends them. Which pairs of outputs and inputs
meet that way is a pair of slices, a `Window`; everything outside the image is zero and is never
read.
"""

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Window:
    """Along one axis: outputs whose tap falls inside the image, and the input each reads."""

    outputs: slice
    inputs: slice

    @property
    def empty(self) -> bool:
        """Whether no output reads inside the image."""
        return bool(self.outputs.start >= self.outputs.stop)


@dataclass(frozen=True, slots=True)
class Tap:
    """One kernel position: the pixel on its anchor's side, the next one outward, and the blend.

    ``fraction`` is the weight of ``outer``; ``reach`` is the tap's distance from the anchor in
    kernel positions, and so how many pixels it moves when the rate grows by one.
    """

    inner: Window
    outer: Window
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
        span = self.dilation * (self.taps - 1) + 1
        return (self.size_in + 2 * self.padding - span) // self.stride + 1

    @property
    def anchor(self) -> int:
        """Input index under the anchor tap of output 0; negative inside the padding."""
        return (self.taps - 1) // 2 * self.dilation - self.padding

    @property
    def span(self) -> int:
        """A distance from its anchor at which no output's tap sees the image any more."""
        return self.size_in + self.stride * self.size_out + abs(self.anchor) + 1

    def padding_at(self, rate: int) -> int:
        """Padding with which a plain convolution of this dilation has the same outputs.

        A tap j positions from the middle moves by j pixels for each unit of the rate, so the
        padding grows alike. Negative where the image must be cropped instead.
        """
        return self.padding + (self.taps - 1) // 2 * (rate - self.dilation)

    def window(self, offset: int) -> Window:
        """Outputs q, and their inputs offset + stride * q, that lie inside the image."""
        first = max(0, -(offset // self.stride))
        last = min(self.size_out - 1, (self.size_in - 1 - offset) // self.stride)
        if last < first:
            return Window(slice(0, 0), slice(0, 0))
        start = offset + self.stride * first
        stop = offset + self.stride * last + 1
        step = self.stride if self.stride > 1 else None
        return Window(slice(first, last + 1), slice(start, stop, step))

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
            anchor = self.window(self.anchor)
            return Tap(anchor, anchor, 0.0, 0)
        reach = abs(position)
        outward = 1 if position > 0 else -1
        distance = reach * rate
        near = math.ceil(distance) - 1 if leftward else math.floor(distance)
        fraction = distance - near
        near = min(max(near, -self.span), self.span)
        return Tap(
            self.window(self.anchor + outward * near),
            self.window(self.anchor + outward * (near + 1)),
            fraction,
            reach,
        )
