"""What a tile of a fractional convolution passes through, with all views into its memory made once.

Maps are (batch, group, channel, *pixels); copies have their taps before the channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from dilsearch.ops.shifts import Gather, Spread, scatter
from dilsearch.ops.taps import Tap, margins

if TYPE_CHECKING:
    from dilsearch.ops.tiles import PartWork

_ROOM_STEP = 8


@dataclass(frozen=True, slots=True)
class Tile:
    """Some images, some of a part's groups, and some rows of outputs.

    Attributes:
        images: Which images.
        groups: Which groups of the part.
        rows: Which outputs along the first axis.
        is_first: Whether it is the first tile of these images and groups.
        is_last: Whether it is their last.
    """

    images: slice
    groups: slice
    rows: slice
    is_first: bool
    is_last: bool

    @property
    def is_whole(self) -> bool:
        """Whether it has all rows."""
        return self.is_first and self.is_last

    def of(self, maps: Tensor) -> Tensor:
        """The tile's images and groups."""
        return maps[self.images, self.groups]

    def rows_of(self, maps: Tensor) -> Tensor:
        """The tile's images, groups and rows."""
        return maps[self.images, self.groups, :, self.rows]


class Copying:
    """From a tile's inputs to the copies that are mixed.

    Attributes:
        levels: The inputs and the copies after each shift.
    """

    def __init__(self, work: PartWork, tile: Tile) -> None:
        before = work.route.before
        self._inside: Tensor | None = None
        self._rows = None if 0 in before else tile.rows
        self._spreads: list[Spread] = []
        self.levels: list[Tensor] = []
        source: Tensor | None = None
        for level, axis in enumerate(before):
            dim, grid = axis - len(work.axes), work.axes[axis]
            channels = work.channels * work.copies_at(level)
            if source is None:
                shape = (*work.sizes_of(tile), channels, *work.pixels(tile, level))
                source, self._inside = work.zeros("inputs", shape, dim, work.margins(axis))
                self.levels.append(self._inside)
            taps = work.taps_on(axis, tile, channels)
            shape = (*work.sizes_of(tile), len(taps) * channels, *work.pixels(tile, level + 1))
            if level + 1 < len(before):
                following = before[level + 1]
                beside = following - len(work.axes)
                wide, copies = work.zeros(f"copies {level}", shape, beside, work.margins(following))
            else:
                wide = copies = work.take("copies", shape)
            start = work.margins(axis)[0] + (grid.stride * tile.rows.start if axis == 0 else 0)
            split = torch.unflatten(copies, 2, (len(taps), -1))
            self._spreads.append(
                Spread(source, taps, split, dim=dim, stride=grid.stride, start=start)
            )
            self.levels.append(copies)
            source = wide

    def run(self, maps: Tensor, tile: Tile) -> Tensor:
        """The copies of these maps."""
        if self._inside is None:
            return maps if self._rows is None else maps[:, :, :, self._rows]
        if self._rows is not None:
            self._inside.copy_(maps[:, :, :, self._rows])
        elif tile.is_first:  # the rows after it find them there
            self._inside.copy_(maps)
        for spread in self._spreads:
            spread()
        return self.levels[-1]


class Signalling:
    """From the gradient of a tile's outputs to its copies along the axis after the mix."""

    def __init__(self, work: PartWork, tile: Tile) -> None:
        after = work.route.after
        self._spread: Spread | None = None
        if after is None:
            return
        taps = [tap.mirrored for tap in reversed(work.taps_on(after, tile))]
        targets = work.pixels(tile, len(work.route.before))
        outputs = [*targets[:-1], work.axes[after].size_out]
        room = roomy(margins(taps, size=outputs[-1], targets=targets[-1]))
        shape = (*work.sizes_of(tile), work.out_channels, *outputs)
        wide, self._inside = work.zeros("signals", shape, -1, room)
        # The memory that the copies had forwards, which is of the same size.
        self._copies = work.take(
            f"entry {after}", (*work.sizes_of(tile), len(taps) * work.out_channels, *targets)
        )
        split = torch.unflatten(self._copies, 2, (len(taps), -1))
        self._spread = Spread(wide, taps, split, dim=-1, stride=1, start=room[0])

    def run(self, signal: Tensor) -> Tensor:
        """The copies of these gradients."""
        if self._spread is None:
            return signal
        self._inside.copy_(signal)
        self._spread()
        return self._copies


class Summing:
    """From copies along an axis to their sum, each target reading where the taps say.

    Attributes:
        entry: Where to write the copies: (batch, group, tap and channel, *pixels).
    """

    def __init__(
        self,
        work: PartWork,
        tile: Tile,
        taps: Sequence[Tap],
        axis: int,
        channels: int,
        copied: Sequence[int],
        targets: Sequence[int],
    ) -> None:
        dim = axis - len(work.axes)
        shape = (*work.sizes_of(tile), len(taps) * channels, *copied)
        room = roomy(margins(taps, size=copied[axis], targets=targets[axis]))
        wide, self._inside = work.zeros(f"gathered {axis}", shape, dim, room, work.accurate)
        # Rows between zeros are one run of memory, which a product can be written to.
        is_direct = axis == 0 and work.accurate == work.dtype
        self.entry = self._inside if is_direct else work.take(f"entry {axis}", shape)
        sums = (*work.sizes_of(tile), channels, *targets)
        self._gather = Gather(
            torch.unflatten(wide, 2, (len(taps), -1)),
            taps,
            lambda number: work.take(f"spare {number}", sums, work.accurate),
            targets=targets[axis],
            dim=dim,
            start=room[0],
        )

    def run(self, sums: Tensor, slopes: Tensor | None, *, is_fresh: bool = True) -> None:
        """Write the sums, and their slope."""
        del is_fresh  # they are written whole
        if self.entry is not self._inside:
            self._inside.copy_(self.entry)
        self._gather(sums, slopes)


class Adding:
    """From copies along an axis to their sum, target by target: for strides and runs of rows.

    Attributes:
        entry: Where to write the copies: (batch, group, tap and channel, *pixels).
    """

    def __init__(
        self,
        work: PartWork,
        tile: Tile,
        taps: Sequence[Tap],
        axis: int,
        channels: int,
        copied: Sequence[int],
    ) -> None:
        self.entry = work.take(
            f"entry {axis}", (*work.sizes_of(tile), len(taps) * channels, *copied)
        )
        self._taps = taps
        self._dim = axis - len(work.axes)
        self._stride = work.axes[axis].stride
        self._first = tile.rows.start if axis == 0 else 0

    def run(self, sums: Tensor, slopes: Tensor | None, *, is_fresh: bool) -> None:
        """Add to the sums and their slope, after setting them to zero if they are fresh."""
        if is_fresh:
            sums.zero_()
            if slopes is not None:
                slopes.zero_()
        copies = torch.unflatten(self.entry, 2, (len(self._taps), -1))
        scatter(
            copies, self._taps, sums, slopes, dim=self._dim, stride=self._stride, first=self._first
        )


def roomy(room: tuple[int, int]) -> tuple[int, int]:
    """A little more room, so that rates that change a little find the same zeros again."""
    return (-(-room[0] // _ROOM_STEP) * _ROOM_STEP, -(-room[1] // _ROOM_STEP) * _ROOM_STEP)
