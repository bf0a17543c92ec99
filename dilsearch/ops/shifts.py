"""Shifting whole feature maps along one axis by real distances: the two halves of the fast path.

A fractional convolution separates: shift along the rows' axis, mix channels, shift along the
columns' axis. `Shifts` is one such axis. It makes one blended copy of a map for every tap
(`spread`), or shifts one map for every tap and sums them (`gather`). Each also runs backwards, as
its transpose, which is all that the gradients need.

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

from dilsearch.ops.taps import Tap, Window

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
    """The shifts of every tap along one axis, for each branch.

    Args:
        dim: The axis: -2 for the rows' (height), -1 for the columns' (width).
        branches: The taps of each branch in kernel order; None for a branch whose rate is not a
            finite number, which makes all its values NaN.
        sizes: Lengths along the axis of (inputs, outputs).
        backwards: False carries inputs to outputs, True outputs back to inputs.
    """

    dim: Literal[-2, -1]
    branches: tuple[tuple[Tap, ...] | None, ...]
    sizes: tuple[int, int]
    backwards: bool = False

    @property
    def transposed(self) -> "Shifts":
        """The same shifts, carrying outputs back to inputs."""
        return replace(self, backwards=True)

    def spread(self, maps: Maps, taps: int) -> Copies:
        """One copy of the maps for each tap, shifted and blended; zero from outside the image."""
        groups, channels, *rest = maps.shape
        copies = maps.new_empty((groups, taps, channels, *self._resized(rest)))
        for part, branch in self._parts(groups):
            if branch is None:
                copies[part].fill_(torch.nan)
                continue
            for index, tap in enumerate(branch):
                copy = copies[part, index]
                self._put(copy, maps[part], tap.inner, 1 - tap.fraction)
                if tap.fraction:
                    self._add(copy, maps[part], tap.outer, tap.fraction)
        return copies

    def gather(self, copies: Copies, *, with_slope: bool) -> tuple[Tensor, Tensor | None]:
        """Shift one map for each tap and sum them; also the sum's slope in the branch's rate.

        Returns:
            The sums and, if asked for, the slopes: images (batch, groups * channels, height,
            width), in the accurate type.
        """
        groups, _, channels, *rest = copies.shape
        batch, height, width = self._resized(rest)
        shape = (batch, groups * channels, height, width)
        sums = copies.new_empty(shape, dtype=accurate_dtype(copies.dtype))
        slopes = torch.empty_like(sums) if with_slope else None
        for part, branch in self._parts(groups):
            total = groups_first(sums, groups)[part]
            slope = None if slopes is None else groups_first(slopes, groups)[part]
            if branch is not None:
                self._gather_branch(total, slope, copies[part], branch)
                continue
            total.fill_(torch.nan)
            if slope is not None:
                slope.fill_(torch.nan)
        return sums, slopes

    def _gather_branch(
        self, total: Maps, slope: Maps | None, copies: Copies, taps: tuple[Tap, ...]
    ) -> None:
        centre = len(taps) // 2
        if centre == 0:
            self._put(total, copies[:, 0], taps[0].inner)
            if slope is not None:
                slope.zero_()
            return
        for reach in range(1, centre + 1):
            # Both taps at this reach blend alike, so that it is enough to blend their sums. The
            # first pair is summed in place.
            inner = total if reach == 1 else torch.empty_like(total)
            outer = torch.empty_like(total) if slope is None or reach > 1 else slope
            self._sum_pair(inner, outer, copies, taps, reach)
            fraction = taps[centre + reach].fraction
            if slope is None:
                inner.lerp_(outer, fraction)
            else:
                inner.add_(outer.sub_(inner), alpha=fraction)
                if reach > 1:
                    slope.add_(outer, alpha=reach)
            if reach > 1:
                total.add_(inner)
        self._add(total, copies[:, centre], taps[centre].inner)

    def _sum_pair(
        self, inner: Maps, outer: Maps, copies: Copies, taps: tuple[Tap, ...], reach: int
    ) -> None:
        before, after = len(taps) // 2 - reach, len(taps) // 2 + reach
        self._put(inner, copies[:, before], taps[before].inner)
        self._add(inner, copies[:, after], taps[after].inner)
        self._put(outer, copies[:, before], taps[before].outer)
        self._add(outer, copies[:, after], taps[after].outer)

    def _put(self, target: Maps, source: Maps, window: Window, scale: float = 1.0) -> None:
        """Set the target to the shifted source times scale, zero where nothing arrives."""
        into, out_of = self._ends(window)
        if into.step is not None:
            target.zero_()
        else:
            if into.start > 0:
                self._cut(target, slice(0, into.start)).zero_()
            if into.stop < target.shape[self.dim]:
                self._cut(target, slice(into.stop, None)).zero_()
        if window.empty:
            return
        if scale == 1:
            self._cut(target, into).copy_(self._cut(source, out_of))
        else:
            torch.mul(self._cut(source, out_of), scale, out=self._cut(target, into))

    def _add(self, target: Maps, source: Maps, window: Window, scale: float = 1.0) -> None:
        """Add the shifted source times scale to the target."""
        if not window.empty:
            into, out_of = self._ends(window)
            self._cut(target, into).add_(self._cut(source, out_of), alpha=scale)

    def _ends(self, window: Window) -> tuple[slice, slice]:
        if self.backwards:
            return window.inputs, window.outputs
        return window.outputs, window.inputs

    def _cut(self, maps: Tensor, part: slice) -> Tensor:
        return maps[..., part] if self.dim == -1 else maps[..., part, :]

    def _resized(self, shape: list[int]) -> list[int]:
        """(batch, height, width) with the length along this axis that the shifts lead to."""
        resized = list(shape)
        resized[self.dim] = self.sizes[not self.backwards]
        return resized

    def _parts(self, groups: int) -> Iterator[tuple[slice, tuple[Tap, ...] | None]]:
        size = groups // len(self.branches)
        for index, branch in enumerate(self.branches):
            yield slice(index * size, (index + 1) * size), branch
