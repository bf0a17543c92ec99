"""One part of a fractional convolution, worked off tile by tile.

A tile is a few images, groups and rows of outputs: so few that its copies stay in the cache from
one pass to the next. Tiles of the same sizes and rows share their stages, the memory that they pass
through and all views into it, so that a tile costs little more than its passes.

Maps are (batch, group, channel, *pixels); copies have their taps before the channels.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from math import prod

import torch
from torch import Tensor

from dilsearch.ops.rates import Part
from dilsearch.ops.route import Route
from dilsearch.ops.scratch import Scratch
from dilsearch.ops.stages import Adding, Copying, Signalling, Summing, Tile, roomy
from dilsearch.ops.taps import Axis, Tap, margins

TILE_ELEMENTS = 2**18
"""Numbers in the copies of a tile for each thread: 1 MiB of float32, the L2 cache of a core."""


def accurate_dtype(dtype: torch.dtype) -> torch.dtype:
    """The type to add up in: float32 for the half-precision types, else the type itself."""
    return torch.float32 if dtype in (torch.bfloat16, torch.float16) else dtype


class PartWork:
    """The shifts and mixes of one part, on tensors that hold the part's groups and channels alone.

    Args:
        part: The channels; their rates are finite.
        route: The order of shifts and mix.
        axes: The spatial axes.
        maps: Inputs of the part.
        matrix: Weights of the part, as the route has them.
    """

    def __init__(
        self, part: Part, route: Route, axes: Sequence[Axis], maps: Tensor, matrix: Tensor
    ) -> None:
        assert part.taps is not None
        self._part = part
        self.route = route
        self.axes = axes
        self.dtype = maps.dtype
        self.accurate = accurate_dtype(maps.dtype)
        self.channels = maps.shape[2]
        self.out_channels = matrix.shape[1]
        if route.after is not None:
            self.out_channels //= axes[route.after].taps
        self._taps = part.taps
        self._maps = maps
        self._matrix = matrix.flatten(2)
        self._scratch = Scratch(maps)
        self._differs = any(isinstance(tap.fraction, Tensor) for axis in part.taps for tap in axis)

    # ---------------------------------------------------------------------------------- forwards

    def convolve(self, sums: Tensor, slopes: Tensor | None = None) -> None:
        """Write the outputs, and the slope along the axis after the mix.

        Args:
            sums: Outputs; without an axis after the mix they are added to.
            slopes: The slope, or None.
        """
        stages: dict[object, tuple[Copying, Summing | None]] = {}
        for tile in self._tiles():
            kind = self._kind(tile)
            if kind not in stages:
                summing = None if self.route.after is None else self._summing_after(tile)
                stages[kind] = (Copying(self, tile), summing)
            copying, after = stages[kind]
            copies = copying.run(tile.of(self._maps), tile)
            target = tile.rows_of(sums)
            if after is None:
                self._add_product(self._matrices(tile), copies, target)
            else:
                self._multiply(self._matrices(tile), copies, after.entry)
                after.run(target, None if slopes is None else tile.rows_of(slopes))

    def _summing_after(self, tile: Tile) -> Summing:
        """The sum along the axis after the mix, whose taps the matrix has from last to first."""
        axis = self.route.after
        assert axis is not None
        pixels = self.pixels(tile, len(self.route.before))
        targets = [*pixels[:-1], self.axes[axis].size_out]
        channels = self._matrix.shape[1] // self.axes[axis].taps
        return Summing(self, tile, self.taps_on(axis, tile)[::-1], axis, channels, pixels, targets)

    # --------------------------------------------------------------------------------- backwards

    def back(
        self,
        signals: Tensor,
        grad_maps: Tensor | None,
        products: Tensor | None,
        table: Tensor | None,
    ) -> None:
        """Work out the gradients that are wanted.

        Args:
            signals: Gradient of the part's outputs.
            grad_maps: Written: gradient of the part's inputs; needed for the rates' too.
            products: Added to: gradient of the part's matrix.
            table: Added to: gradient of all rates (row, axis), along the axes before the mix.
        """
        before = self.route.before
        copies_wanted = products is not None or (table is not None and len(before) > 1)
        stages: dict[object, tuple[Signalling, Copying | None, list[Summing | Adding]]] = {}
        for tile in self._tiles():
            kind = self._kind(tile)
            if kind not in stages:
                stages[kind] = (
                    Signalling(self, tile),
                    Copying(self, tile) if copies_wanted else None,
                    [self._summing_back(tile, level) for level in range(len(before))],
                )
            signalling, copying, summing = stages[kind]
            signal = signalling.run(tile.rows_of(signals))
            if copying is not None:
                copies = copying.run(tile.of(self._maps), tile)
                if products is not None:
                    self._add_products(tile, signal, copies, products)
            if grad_maps is None:
                continue
            # Rows that are not shifted are a tile's own; others are shared with the next tile.
            shares = before[:1] == (0,)
            target = tile.of(grad_maps) if shares else tile.rows_of(grad_maps)
            matrices = self._matrices(tile).transpose(2, 3)
            if not summing:
                out = self.take("mixed", self._mixed_shape(matrices, signal))
                target.copy_(self._multiply(matrices, signal, out))
                continue
            self._multiply(matrices, signal, summing[-1].entry)
            for level in range(len(before) - 1, 0, -1):
                tilts = self._tilts(level, table, summing[level - 1].entry)
                summing[level].run(summing[level - 1].entry, tilts, is_fresh=True)
                if tilts is not None and table is not None and copying is not None:
                    self._add_slopes(tilts, copying.levels[level], tile, table[:, before[level]])
            tilts = self._tilts(0, table, target)
            summing[0].run(target, tilts, is_fresh=tile.is_first or not shares)
            if tilts is not None and table is not None and (tile.is_last or not shares):
                maps = tile.of(self._maps) if shares else tile.rows_of(self._maps)
                self._add_slopes(tilts, maps, tile, table[:, before[0]])

    def _summing_back(self, tile: Tile, level: int) -> Summing | Adding:
        """The way back from the copies along an axis to what they were made from."""
        axis = self.route.before[level]
        channels = self._maps.shape[2] * self.copies_at(level)
        copied, source = self.pixels(tile, level + 1), self.pixels(tile, level)
        taps = self.taps_on(axis, tile, channels)
        if self.axes[axis].stride > 1 or (axis == 0 and not tile.is_whole):
            return Adding(self, tile, taps, axis, channels, copied)
        mirrored = [tap.mirrored for tap in taps]
        return Summing(self, tile, mirrored, axis, channels, copied, source)

    def _tilts(self, level: int, table: Tensor | None, like: Tensor) -> Tensor | None:
        """Memory for a slope, if slopes are wanted."""
        if table is None:
            return None
        return self.take(f"tilts {level}", like.shape, self.accurate)

    def _add_products(self, tile: Tile, signal: Tensor, copies: Tensor, products: Tensor) -> None:
        """Add the outer products of gradients and copies, summed over pixels, to the matrix's."""
        left, right = (each.reshape(*each.shape[:3], -1) for each in (signal, copies))
        target = products[tile.groups]
        is_flat = target.stride(2) == target.shape[3]
        if is_flat and len(left) == 1 and target.dtype == left.dtype:
            target.flatten(2).baddbmm_(left[0], right[0].transpose(1, 2))
        else:
            target += torch.matmul(left, right.transpose(2, 3)).sum(0).view(target.shape)

    def _add_slopes(self, tilts: Tensor, source: Tensor, tile: Tile, column: Tensor) -> None:
        """Add the inner products of slopes and what they are the slopes of, by row of the rates."""
        rows, width = self._part.rows, self._maps.shape[2]
        if self._part.row is not None:
            pair = (each.reshape(-1).to(tilts.dtype) for each in (tilts, source))
            column[self._part.row] += torch.dot(*pair)
            return
        products = (tilts * source).flatten(3).sum((0, 3))  # group, (tap and) channel
        by_channel = torch.unflatten(products, 1, (-1, width)).sum(1)
        if self._part.per_channel:
            column.index_add_(0, rows.to(column.device), by_channel[0])
        else:
            column.index_add_(0, rows[tile.groups].to(column.device), by_channel.sum(1))

    # --------------------------------------------------------------------- what the stages ask for

    def pixels(self, tile: Tile, level: int) -> list[int]:
        """Sizes of a tile's maps once so many axes are shifted."""
        shifted, rows = self.route.before[:level], tile.rows.stop - tile.rows.start
        sizes = [
            axis.size_out if index in shifted else axis.size_in
            for index, axis in enumerate(self.axes)
        ]
        if 0 in shifted or 0 not in self.route.before:
            sizes[0] = rows
        return sizes

    def copies_at(self, level: int) -> int:
        """How many copies there are of each map once so many axes are shifted."""
        return prod(self.axes[axis].taps for axis in self.route.before[:level])

    def sizes_of(self, tile: Tile) -> tuple[int, int]:
        """Images and groups of a tile."""
        return tile.images.stop - tile.images.start, tile.groups.stop - tile.groups.start

    def margins(self, axis: int) -> tuple[int, int]:
        """The zeros needed beside the inputs of an axis."""
        grid = self.axes[axis]
        return roomy(
            margins(self._taps[axis], size=grid.size_in, targets=grid.size_out, stride=grid.stride)
        )

    def taps_on(self, axis: int, tile: Tile, channels: int | None = None) -> Sequence[Tap]:
        """The taps of a tile's groups; fractions that differ are made to fit its maps."""
        if not self._differs:
            return self._taps[axis]
        # Once for all taps at a reach: that they blend alike is seen by the tensor they share.
        fitted = {
            tap.reach: self._fitted(tap.fraction, tile, channels)
            for tap in self._taps[axis]
            if isinstance(tap.fraction, Tensor)
        }
        return [
            replace(tap, fraction=fitted.get(tap.reach, tap.fraction)) for tap in self._taps[axis]
        ]

    def _fitted(self, fractions: Tensor, tile: Tile, channels: int | None) -> Tensor:
        own, count = fractions.to(self._maps), len(self.axes)
        if not self._part.per_channel:
            return own[tile.groups].reshape(-1, *[1] * (1 + count))
        copies = (channels or len(own)) // len(own)
        return own.repeat(copies).reshape(1, -1, *[1] * count)

    def take(self, name: str, shape: Sequence[int], dtype: torch.dtype | None = None) -> Tensor:
        """Memory of that name."""
        return self._scratch.take(name, shape, dtype)

    def zeros(
        self,
        name: str,
        shape: Sequence[int],
        dim: int,
        room: tuple[int, int],
        dtype: torch.dtype | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Memory for maps between zeros along an axis, and the inside of it."""
        whole = list(shape)
        whole[dim] += sum(room)
        wide = self._scratch.take_between_zeros(name, whole, dim, room, dtype)
        return wide, wide.narrow(dim, room[0], shape[dim])

    # -------------------------------------------------------------------------------- mix and tiles

    def _matrices(self, tile: Tile) -> Tensor:
        """The matrix of every image and group of a tile."""
        return self._matrix[tile.groups].expand(self.sizes_of(tile)[0], -1, -1, -1)

    def _mixed_shape(self, matrices: Tensor, maps: Tensor) -> list[int]:
        return [*matrices.shape[:3], *maps.shape[3:]]

    def _multiply(self, matrices: Tensor, maps: Tensor, out: Tensor) -> Tensor:
        """Multiply the channels of maps by their group's matrix."""
        images, groups, rows, columns = matrices.shape
        # without a copy where either is 1, and small matrices otherwise
        left = matrices.reshape(images * groups, rows, columns)
        right = maps.reshape(images * groups, columns, -1)
        torch.bmm(left, right, out=out.flatten(0, 1).flatten(2))
        return out

    def _add_product(self, matrices: Tensor, maps: Tensor, target: Tensor) -> None:
        """Multiply likewise, and add to maps."""
        if len(target) == 1 and target.dtype == maps.dtype:
            right = maps[0].reshape(maps.shape[1], maps.shape[2], -1)
            target[0].flatten(2).baddbmm_(matrices[0], right)  # rows are one run: a view
        else:
            target += self._multiply(matrices, maps, self.take("mixed", target.shape))

    def _kind(self, tile: Tile) -> object:
        """Tiles of one kind pass through the same stages."""
        groups = (tile.groups.start, tile.groups.stop) if self._differs else None
        return (self.sizes_of(tile), groups, tile.rows.start, tile.rows.stop)

    def _tiles(self) -> Iterator[Tile]:
        images, groups = self._maps.shape[:2]
        copies = self._matrix.shape[2]
        if self.route.after is not None:
            copies = max(copies, self._matrix.shape[1])
        sizes = [axis.size_out for axis in self.axes]
        budget = self._budget()
        plane = copies * prod(sizes)
        per_tile = _fitting(groups, plane, budget)
        together = _fitting(images, plane * groups, budget) if per_tile == groups else 1
        rows = _fitting(sizes[0], copies * prod(sizes[1:]), budget)
        row_runs = list(_runs(sizes[0], rows if per_tile == 1 else sizes[0]))
        for some_images in _runs(images, together):
            for some_groups in _runs(groups, per_tile):
                for run in row_runs:
                    is_first, is_last = run is row_runs[0], run is row_runs[-1]
                    yield Tile(some_images, some_groups, run, is_first, is_last)

    def _budget(self) -> int:
        """Numbers that one tile's copies may have."""
        if self._maps.device.type != "cpu":
            return 2**62  # other devices want few large operations
        # A large matrix is read again for every tile, which the tile has to be worth.
        return max(TILE_ELEMENTS * torch.get_num_threads(), 2 * self._matrix[0].numel())


def _fitting(count: int, size: int, budget: int) -> int:
    """How many of ``count`` things of this size fit the budget, at least 1."""
    return max(1, min(count, budget // max(size, 1)))


def _runs(count: int, length: int) -> Iterator[slice]:
    """Cut ``count`` things into runs of about equal length, none longer than ``length``."""
    parts = -(-count // length)
    ends = [count * part // parts for part in range(parts + 1)] if parts else []
    yield from (slice(start, stop) for start, stop in pairwise(ends))
