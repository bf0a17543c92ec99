"""Shifting whole feature maps along one axis by real distances: what fractional convolution is of.

`Spread` makes one blended copy of the maps for every tap. `Gather` and `scatter` are its transpose:
they shift one map for every tap back and sum them, which is what gradients need, and what the last
axis needs once the channels are mixed. `Gather` makes the fewest passes over memory; `scatter` also
serves strides and runs of targets.

Maps are (batch, group, channel, *pixels) and copies of them (batch, group, tap, channel, *pixels).
"""

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor

from dilsearch.ops.taps import Tap


class Spread:
    """Writes a shifted and blended copy of the maps for each tap.

    Everything is looked up once, so that a call is nothing but its passes over memory.

    Args:
        source: Maps between as many zeros as the taps need.
        taps: The pixels that target 0 reads, and how it blends them, in rising order.
        copies: Written by each call: as many targets along the axis as it is long.
        dim: The axis, counted from the end.
        stride: Pixels between targets.
        start: Index of pixel 0 in the source.
    """

    def __init__(
        self,
        source: Tensor,
        taps: Sequence[Tap],
        copies: Tensor,
        *,
        dim: int,
        stride: int,
        start: int,
    ) -> None:
        self._jobs: list[tuple[Tensor, Tensor, Tensor | None, float | Tensor]] = []
        for run in runs(taps):
            into, members = copies[:, :, run], taps[run]
            inner, outer = (
                _windows(source, [start + offset for offset in offsets], into, dim, stride)
                for offsets in ([tap.inner for tap in members], [tap.outer for tap in members])
            )
            fraction = next((tap.fraction for tap in members if not tap.is_whole), 0.0)
            is_whole = all(tap.is_whole for tap in members)
            if isinstance(fraction, Tensor):
                fraction = fraction.unsqueeze(1)
            self._jobs.append((into, inner, None if is_whole else outer, fraction))

    def __call__(self) -> None:
        """Write the copies of what the source holds now."""
        for into, inner, outer, fraction in self._jobs:
            if outer is None:
                into.copy_(inner)
            else:
                torch.lerp(inner, outer, fraction, out=into)


def runs(taps: Sequence[Tap]) -> list[slice]:
    """Cut the taps into runs that blend alike and start at evenly spaced, rising pixels.

    Such a run is sampled in one go. The anchor, whose two pixels are the same, blends like any
    other.
    """
    found: list[slice] = []
    for index in range(len(taps)):
        start = found[-1].start if found else 0
        if found and _is_run(taps[start : index + 1]):
            found[-1] = slice(start, index + 1)
        else:
            found.append(slice(index, index + 1))
    return found


def _is_run(taps: Sequence[Tap]) -> bool:
    fractions = [tap.fraction for tap in taps if tap.reach]
    first = fractions[0] if fractions else 0.0
    for fraction in fractions:
        if isinstance(fraction, Tensor) or isinstance(first, Tensor):
            if fraction is not first:
                return False
        elif fraction != first:
            return False
    for offsets in ([tap.inner for tap in taps], [tap.outer for tap in taps]):
        steps = {after - before for before, after in pairwise(offsets)}
        if len(steps) > 1 or min(steps) < 0:
            return False
    return True


def _windows(source: Tensor, starts: Sequence[int], like: Tensor, dim: int, stride: int) -> Tensor:
    """The windows of the maps that begin at these evenly spaced places, as a view."""
    strides = list(source.stride())
    step = strides[dim]
    strides[dim] = step * stride
    between = starts[1] - starts[0] if len(starts) > 1 else 0
    strides.insert(2, between * step)
    return source.as_strided(like.shape, strides, source.storage_offset() + starts[0] * step)


class Gather:
    """Sums every tap's copy, each target reading and blending two pixels of it.

    Args:
        copies: One map for each tap, between as many zeros as the taps need.
        taps: The pixels that target 0 reads, and how it blends them.
        targets: Targets along the axis.
        spare: Gives memory for a map of sums, by number.
        dim: The axis, counted from the end.
        start: Index of pixel 0 in the copies.
    """

    def __init__(
        self,
        copies: Tensor,
        taps: Sequence[Tap],
        spare: Callable[[int], Tensor],
        *,
        targets: int,
        dim: int,
        start: int,
    ) -> None:
        def windows(members: Sequence[tuple[int, int]]) -> list[Tensor]:
            return [
                copies.select(2, index).narrow(dim, start + offset, targets)
                for index, offset in members
            ]

        numbered = list(enumerate(taps))
        self._spare = spare
        self._still = windows([(i, tap.inner) for i, tap in numbered if tap.reach == 0])
        # Taps at one reach blend alike, so that it is enough to blend their sums.
        self._moving = [
            (
                windows([(i, tap.inner) for i, tap in numbered if tap.reach == reach]),
                windows([(i, tap.outer) for i, tap in numbered if tap.reach == reach]),
                next(tap.fraction for tap in taps if tap.reach == reach),
                reach,
            )
            for reach in sorted({tap.reach for tap in taps} - {0})
        ]

    def __call__(self, sums: Tensor, slopes: Tensor | None) -> None:
        """Write the sums and, unless it is None, their slope in the rate."""
        written = False
        for inner_parts, outer_parts, fraction, reach in self._moving:
            inner = self._spare(0) if written else sums
            outer = self._spare(1) if written or slopes is None else slopes
            _add_up(inner_parts, inner)
            _add_up(outer_parts, outer)
            outer -= inner
            if isinstance(fraction, Tensor):
                inner.addcmul_(outer, fraction)
            elif fraction != 0:
                inner.add_(outer, alpha=fraction)
            if written:
                sums += inner
                if slopes is not None:
                    slopes.add_(outer, alpha=reach)
            written = True
        for middle in self._still:
            sums.add_(middle) if written else sums.copy_(middle)
        if not self._moving and slopes is not None:
            slopes.zero_()


def _add_up(parts: Sequence[Tensor], total: Tensor) -> None:
    if len(parts) == 2:
        torch.add(parts[0], parts[1], out=total)
    else:
        total.copy_(parts[0])


def scatter(
    copies: Tensor,
    taps: Sequence[Tap],
    sums: Tensor,
    slopes: Tensor | None,
    *,
    dim: int,
    stride: int,
    first: int,
) -> None:
    """Add every tap's copy to the two pixels that each of its targets was blended from.

    Args:
        copies: One map for each tap: as many targets as it is long, from ``first`` on.
        taps: The pixels that target 0 was blended from.
        sums: Added to, the axis whole; pixels outside it are left out.
        slopes: Added to: the slope of the sums in the rate; or None.
        dim: The axis, counted from the end.
        stride: Pixels between targets.
        first: The first target.
    """
    size, targets = sums.shape[dim], copies.shape[dim]
    for index, tap in enumerate(taps):
        for offset, share, slope in (
            (tap.inner, 1 - tap.fraction, -tap.reach),
            (tap.outer, tap.fraction, tap.reach),
        ):
            origin = offset + stride * first
            begin = max(0, -(origin // stride))
            end = min(targets, (size - 1 - origin) // stride + 1)
            if begin >= end:
                continue
            part = copies.select(2, index).narrow(dim, begin, end - begin)
            place = (dim, origin + stride * begin, end - begin, stride)
            if isinstance(share, Tensor):
                _every(sums, *place).addcmul_(part, share)
            elif share != 0:
                _every(sums, *place).add_(part, alpha=share)
            if slopes is not None and slope != 0:
                _every(slopes, *place).add_(part, alpha=slope)


def _every(maps: Tensor, dim: int, start: int, count: int, stride: int) -> Tensor:
    """So many pixels, ``stride`` apart, as a view."""
    span = maps.narrow(dim, start, stride * (count - 1) + 1)
    return span if stride == 1 else span.unfold(dim, 1, stride).squeeze(-1)
