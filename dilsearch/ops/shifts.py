"""Shifting whole feature maps along one axis by real distances: the two halves of the fast path.

A fractional convolution separates: shift along the rows' axis, mix channels, shift along the
columns' axis. `Shifts` is one such axis. It makes one blended copy of a map for every tap
(`spread`), or shifts one map for every tap and sums them (`gather`). The transpose of either is
again such a shift, and is all that the gradients need.

What this costs is passes over memory and calls of small operations, so both are kept few: one
blend makes all the copies it can, and sums are written segment by segment, each target once.

Maps are laid out (group, channel, batch, height, width): the groups of a grouped convolution come
first because the channel mix is one batched matrix product over them, and branches of different
rates are runs of groups.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from dilsearch.ops.taps import Segment, Tap, runs, segments

# Heights and widths are left open: shifts lead from one size to another.
Maps = Float[Tensor, "groups channels batch _ _"]
Copies = Float[Tensor, "groups taps channels batch _ _"]


def groups_first(images: Float[Tensor, "batch all height width"], groups: int) -> Maps:
    """A view of NCHW images as (group, channel, batch, height, width)."""
    return torch.unflatten(images, 1, (groups, -1)).permute(1, 2, 0, 3, 4)


def accurate_dtype(dtype: torch.dtype) -> torch.dtype:
    """The type to add up in: float32 for the half-precision types, else the type itself."""
    return torch.float32 if dtype in (torch.bfloat16, torch.float16) else dtype


@dataclass(frozen=True, slots=True)
class Shifts:
    """The shifts of every tap along one axis, for each branch.

    Args:
        dim: The axis: -2 for the rows' (height), -1 for the columns' (width).
        branches: The taps of each branch, in one order for all; None for a branch whose rate is
            not a finite number, which makes all its values NaN.
        source_size: Length of the maps read, along the axis.
        target_size: Length of the maps written.
        stride: Sources between targets.
        spacing: Sources come this far apart, with zeros between them.
    """

    dim: Literal[-2, -1]
    branches: tuple[tuple[Tap, ...] | None, ...]
    source_size: int
    target_size: int
    stride: int = 1
    spacing: int = 1

    @property
    def transposed(self) -> "Shifts":
        """The shifts that carry gradients of the targets back to the sources."""
        return replace(
            self,
            branches=tuple(taps and tuple(map(_mirrored, taps)) for taps in self.branches),
            source_size=self.target_size,
            target_size=self.source_size,
            stride=1,
            spacing=self.stride,
        )

    def spread(self, maps: Maps, taps: int) -> Copies:
        """One copy of the maps for each tap, shifted and blended; zero from outside the image."""
        groups, channels, *shape = maps.shape
        shape[self.dim] = self.target_size
        copies = maps.new_empty((groups, taps, channels, *shape))
        before, after = self._margins()
        padded = self._padded(maps, before, after)
        for part, branch in self._parts(groups):
            if branch is None:
                copies[part].fill_(math.nan)
                continue
            for run in runs(branch):
                inner = [before + tap.inner for tap in branch[run]]
                outer = [before + tap.outer for tap in branch[run]]
                torch.lerp(
                    self._stacked(padded[part], inner),
                    self._stacked(padded[part], outer),
                    max(tap.fraction for tap in branch[run]),
                    out=copies[part, run],
                )
        return copies

    def gather(self, copies: Copies, *, with_slope: bool) -> tuple[Tensor, Tensor | None]:
        """Shift one map for each tap and sum them; also the sum's slope in the branch's rate.

        Returns:
            The sums and, if asked for, the slopes: images (batch, groups * channels, height,
            width), in the accurate type.
        """
        copies = self._padded(copies, 0, 0)
        groups, taps, channels, *shape = copies.shape
        shape[self.dim] = self.target_size
        images = (shape[0], groups * channels, *shape[1:])
        sums = copies.new_empty(images, dtype=accurate_dtype(copies.dtype))
        slopes = torch.empty_like(sums) if with_slope else None
        if taps == 1:
            sums.zero_()
            if slopes is not None:
                slopes.zero_()
        for reach in range(1, taps // 2 + 1):
            # Both taps at a reach blend alike, so that it is enough to blend their sums. The first
            # pair is summed in place.
            inner = sums if reach == 1 else torch.empty_like(sums)
            outer = torch.empty_like(sums) if slopes is None or reach > 1 else slopes
            self._sum_pairs(inner, outer, copies, reach)
            if slopes is not None:
                outer.sub_(inner)
            self._blend_pairs(inner, outer, reach, differences=with_slope)
            if reach > 1:
                sums.add_(inner)
                if slopes is not None:
                    slopes.add_(outer, alpha=reach)
        self._add_middle(sums, copies)
        for part, branch in self._parts(groups):
            if branch is None:
                groups_first(sums, groups)[part] = math.nan
                if slopes is not None:
                    groups_first(slopes, groups)[part] = math.nan
        return sums, slopes

    def _sum_pairs(self, inner: Tensor, outer: Tensor, copies: Copies, reach: int) -> None:
        """Set images to the sums of both taps' inner pixels, and of both taps' outer ones."""
        groups, taps = copies.shape[:2]
        indices = (taps // 2 - reach, taps // 2 + reach)
        inners, outers = groups_first(inner, groups), groups_first(outer, groups)
        for part, branch in self._parts(groups):
            if branch is None:
                continue
            first, second = (branch[index] for index in indices)
            sources = tuple(copies[part, index] for index in indices)
            self._sum_two(inners[part], sources, (first.inner, second.inner))
            self._sum_two(outers[part], sources, (first.outer, second.outer))

    def _sum_two(self, target: Maps, sources: tuple[Maps, ...], offsets: tuple[int, int]) -> None:
        """Set the target to the sum of two sources, each shifted by its offset."""
        for segment in self._segments(offsets):
            into = self._cut(target, slice(segment.first, segment.last))
            seen = [
                self._seen(source, segment, offset)
                for source, offset, sees in zip(sources, offsets, segment.sees, strict=True)
                if sees
            ]
            if not seen:
                into.zero_()
            elif len(seen) == 1:
                into.copy_(seen[0])
            elif into.dtype == seen[0].dtype:
                torch.add(*seen, out=into)
            else:
                into.copy_(seen[0]).add_(seen[1])

    def _blend_pairs(self, inner: Tensor, outer: Tensor, reach: int, *, differences: bool) -> None:
        """Move the inner sums towards the outer ones, given as such or as differences."""
        count = len(self.branches)
        inners, outers = groups_first(inner, count), groups_first(outer, count)
        for index, branch in enumerate(self.branches):
            if branch is None:
                continue
            fraction = branch[len(branch) // 2 + reach].fraction
            if differences:
                inners[index].add_(outers[index], alpha=fraction)
            else:
                inners[index].lerp_(outers[index], fraction)

    def _add_middle(self, sums: Tensor, copies: Copies) -> None:
        """Add the middle tap's map, which no rate moves."""
        groups, taps = copies.shape[:2]
        anchor = next((taps[len(taps) // 2].inner for taps in self.branches if taps), None)
        if anchor is None:
            return
        for segment in self._segments((anchor,)):
            if segment.sees[0]:
                into = self._cut(groups_first(sums, groups), slice(segment.first, segment.last))
                into.add_(self._seen(copies[:, taps // 2], segment, anchor))

    def _stacked(self, maps: Maps, starts: list[int]) -> Copies:
        """The windows of the maps that begin at each of these evenly spaced places, as a view."""
        shape, strides = list(maps.shape), list(maps.stride())
        step = strides[self.dim]
        shape[self.dim] = self.target_size
        strides[self.dim] = step * self.stride
        between = starts[1] - starts[0] if len(starts) > 1 else 0
        shape.insert(1, len(starts))
        strides.insert(1, between * step)
        return maps.as_strided(shape, strides, maps.storage_offset() + starts[0] * step)

    def _margins(self) -> tuple[int, int]:
        """How far the taps read beyond either end of the sources."""
        offsets = [
            offset for taps in self.branches if taps for t in taps for offset in (t.inner, t.outer)
        ]
        last = self.stride * (self.target_size - 1)
        before = -min(offsets, default=0)
        after = max(offsets, default=0) + last - (self._length - 1)
        return max(before, 0), max(after, 0)

    @property
    def _length(self) -> int:
        """Length of the sources with the zeros between them."""
        return self.spacing * (self.source_size - 1) + 1

    def _padded(self, maps: Tensor, before: int, after: int) -> Tensor:
        """The sources with zeros between them, and beyond either end."""
        if before == after == 0 and self.spacing == 1:
            return maps
        shape = list(maps.shape)
        shape[self.dim] = before + self._length + after
        if self.spacing > 1:
            padded = maps.new_zeros(shape)
        else:
            padded = maps.new_empty(shape)
            self._cut(padded, slice(0, before)).zero_()
            self._cut(padded, slice(before + self._length, None)).zero_()
        self._cut(padded, slice(before, before + self._length, self.spacing)).copy_(maps)
        return padded

    def _segments(self, offsets: tuple[int, ...]) -> tuple[Segment, ...]:
        return segments(
            offsets,
            source_size=self._length,
            target_size=self.target_size,
            stride=self.stride,
        )

    def _seen(self, source: Maps, segment: Segment, offset: int) -> Tensor:
        start = offset + self.stride * segment.first
        stop = offset + self.stride * (segment.last - 1) + 1
        return self._cut(source, slice(start, stop, self.stride))

    def _cut(self, maps: Tensor, part: slice) -> Tensor:
        return maps[..., part] if self.dim == -1 else maps[..., part, :]

    def _parts(self, groups: int) -> Iterator[tuple[slice, tuple[Tap, ...] | None]]:
        size = groups // len(self.branches)
        for index, branch in enumerate(self.branches):
            yield slice(index * size, (index + 1) * size), branch


def _mirrored(tap: Tap) -> Tap:
    return replace(tap, inner=-tap.inner, outer=-tap.outer)
