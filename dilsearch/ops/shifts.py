"""Shifting whole feature maps along one axis by real distances: the two halves of the fast path.

A fractional convolution separates: shift along the rows' axis, mix channels, shift along the
columns' axis. `Shifts` is one such axis. It makes one blended copy of a map for every tap
(`spread`), or shifts one map for every tap and sums them (`gather`). The transpose of either is
again such a shift, and is all that the gradients need.

Passes over memory are what this costs, so each value is written once where it can be: the targets
are cut into segments that see the same sources, and every segment gets one operation.

Maps are laid out (group, channel, batch, height, width): the groups of a grouped convolution come
first because the channel mix is one batched matrix product over them, and branches of different
rates are runs of groups.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from dilsearch.ops.taps import Tap, segments

Maps = Float[Tensor, "groups channels batch height width"]
Copies = Float[Tensor, "groups taps channels batch height width"]


def groups_first(images: Float[Tensor, "batch all height width"], groups: int) -> Maps:
    """A view of NCHW images as (group, channel, batch, height, width)."""
    return torch.unflatten(images, 1, (groups, -1)).permute(1, 2, 0, 3, 4)


def accurate_dtype(dtype: torch.dtype) -> torch.dtype:
    """The type to add up in: float32 for the half-precision types, else the type itself."""
    return torch.float32 if dtype in (torch.bfloat16, torch.float16) else dtype


@dataclass(frozen=True, slots=True)
class Shifts:
    """The shifts of every tap along one axis.

    Args:
        dim: The axis: -2 for the rows' (height), -1 for the columns' (width).
        taps: The taps in kernel order.
        source_size: Length of the maps read, along the axis.
        target_size: Length of the maps written.
        stride: Sources between targets.
        spacing: Sources come this far apart, with zeros between them.
    """

    dim: Literal[-2, -1]
    taps: tuple[Tap, ...]
    source_size: int
    target_size: int
    stride: int = 1
    spacing: int = 1

    @property
    def transposed(self) -> "Shifts":
        """The shifts that carry gradients of the targets back to the sources."""
        return replace(
            self,
            taps=tuple(replace(tap, inner=-tap.inner, outer=-tap.outer) for tap in self.taps),
            source_size=self.target_size,
            target_size=self.source_size,
            stride=1,
            spacing=self.stride,
        )

    def spread(self, maps: Maps) -> Copies:
        """One copy of the maps for each tap, shifted and blended; zero from outside the image."""
        maps = self._spaced(maps)
        groups, channels, *shape = maps.shape
        shape[self.dim] = self.target_size
        copies = maps.new_empty((groups, len(self.taps), channels, *shape))
        for index, tap in enumerate(self.taps):
            self._blend(copies[:, index], maps, tap)
        return copies

    def gather(self, copies: Copies, total: Maps, slope: Maps | None) -> None:
        """Shift one map for each tap and sum them.

        Args:
            copies: The maps to shift.
            total: Filled with the sum.
            slope: Filled with the sum's slope in the rate, unless None.
        """
        copies = self._spaced(copies)
        middle = len(self.taps) // 2
        if middle == 0:
            total.zero_()
            if slope is not None:
                slope.zero_()
        for reach in range(1, middle + 1):
            # Both taps at this reach blend alike, so that it is enough to blend their sums. The
            # first pair is summed in place.
            before, after = self.taps[middle - reach], self.taps[middle + reach]
            sources = (copies[:, middle - reach], copies[:, middle + reach])
            inner = total if reach == 1 else torch.empty_like(total)
            outer = torch.empty_like(total) if slope is None or reach > 1 else slope
            self._sum_pair(inner, sources, (before.inner, after.inner))
            self._sum_pair(outer, sources, (before.outer, after.outer))
            if slope is None:
                inner.lerp_(outer, after.fraction)
            else:
                inner.add_(outer.sub_(inner), alpha=after.fraction)
                if reach > 1:
                    slope.add_(outer, alpha=reach)
            if reach > 1:
                total.add_(inner)
        self._add(total, copies[:, middle], self.taps[middle].inner)

    def _blend(self, target: Maps, source: Maps, tap: Tap) -> None:
        """Set the target to the tap's blend of its inner and outer pixels."""
        offsets = (tap.inner, tap.outer) if tap.fraction else (tap.inner,)
        for into, (inner, *outer) in self._cuts(target, (source,) * len(offsets), offsets):
            if inner is None:
                if outer and outer[0] is not None:
                    torch.mul(outer[0], tap.fraction, out=into)
                else:
                    into.zero_()
            elif not outer:
                into.copy_(inner)
            elif outer[0] is None:
                torch.mul(inner, 1 - tap.fraction, out=into)
            else:
                torch.lerp(inner, outer[0], tap.fraction, out=into)

    def _sum_pair(self, target: Maps, sources: tuple[Maps, Maps], offsets: tuple[int, int]) -> None:
        """Set the target to the sum of two sources, each shifted by its offset."""
        for into, found in self._cuts(target, sources, offsets):
            seen = [part for part in found if part is not None]
            if not seen:
                into.zero_()
            elif len(seen) == 1:
                into.copy_(seen[0])
            elif into.dtype == seen[0].dtype:
                torch.add(*seen, out=into)
            else:
                into.copy_(seen[0]).add_(seen[1])

    def _add(self, target: Maps, source: Maps, offset: int) -> None:
        """Add the source, shifted by its offset, to the target."""
        for into, (seen,) in self._cuts(target, (source,), (offset,)):
            if seen is not None:
                into.add_(seen)

    def _cuts(
        self, target: Maps, sources: tuple[Maps, ...], offsets: tuple[int, ...]
    ) -> Iterator[tuple[Tensor, list[Tensor | None]]]:
        """Views of the target's segments, each with what it sees of every source, or None."""
        size = self.spacing * (self.source_size - 1) + 1
        for segment in segments(
            offsets, source_size=size, target_size=self.target_size, stride=self.stride
        ):
            found = [
                self._view(source, segment.first, segment.last, offset) if sees else None
                for source, offset, sees in zip(sources, offsets, segment.sees, strict=True)
            ]
            yield self._cut(target, slice(segment.first, segment.last)), found

    def _view(self, source: Maps, first: int, last: int, offset: int) -> Tensor:
        start = offset + self.stride * first
        stop = offset + self.stride * (last - 1) + 1
        return self._cut(source, slice(start, stop, self.stride))

    def _cut(self, maps: Tensor, part: slice) -> Tensor:
        return maps[..., part] if self.dim == -1 else maps[..., part, :]

    def _spaced(self, maps: Tensor) -> Tensor:
        """The sources with zeros between them, if they come apart."""
        if self.spacing == 1:
            return maps
        shape = list(maps.shape)
        shape[self.dim] = self.spacing * (self.source_size - 1) + 1
        spaced = maps.new_zeros(shape)
        self._cut(spaced, slice(None, None, self.spacing)).copy_(maps)
        return spaced
