"""The rates of one call as numbers, and the channels that can be moved together.

Channels whose taps read the same pixels, blended alike or not, are a `Part`: a few operations on
whole tensors shift them all. One rate makes one part, branches make one each unless they read the
same pixels, and channels with rates of their own are sorted by the pixels that their taps read.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor

from dilsearch.ops.taps import Axis, Tap

Table: TypeAlias = tuple[tuple[float, ...], ...]
AxisTaps: TypeAlias = tuple[tuple[Tap, ...], ...]
"""For each spatial axis, the taps in kernel order."""
Selection: TypeAlias = slice | Tensor
"""Indices: a run of them where possible, which is read without a copy."""

_CACHED = 32
"""Calls whose parts are remembered: backwards asks for what forwards had, layers later."""


@dataclass(frozen=True, slots=True)
class Rates:
    """The rates of one call, fetched from their device.

    Attributes:
        values: For each row of the table (the site, a branch or an input channel), the rate along
            each spatial axis.
        at_limit: Likewise, whether the rate has reached its upper limit.
        per_channel: Whether rows stand for input channels; else they stand for runs of groups.
    """

    values: Table
    at_limit: tuple[tuple[bool, ...], ...]
    per_channel: bool

    @property
    def are_plain(self) -> bool:
        """Whether a convolution module could have these rates: whole numbers of at least 1."""
        return all(rate >= 1 and rate.is_integer() for row in self.values for rate in row)


def read_rates(
    table: Float[Tensor, "rows columns"], upper: Tensor | None, *, axes: int, groups: int
) -> Rates:
    """Fetch the rates and their limits, in one transfer.

    Args:
        table: One column for each spatial axis, or one for all of them.
        upper: Largest rates, of a shape that broadcasts to the table's; None for no limits.
        axes: Number of spatial axes.
        groups: Channel groups of the convolution.
    """
    rates = table.detach()
    if upper is None:
        values = rates.tolist()
        bounds = [[math.inf] * len(row) for row in values]
    else:
        values, bounds = torch.stack((rates, upper.detach().to(rates).expand_as(rates))).tolist()
    repeat = axes // table.shape[1]
    return Rates(
        values=tuple(tuple(row * repeat) for row in values),
        at_limit=tuple(
            tuple([value >= bound for value, bound in zip(*rows, strict=True)] * repeat)
            for rows in zip(values, bounds, strict=True)
        ),
        per_channel=groups % len(values) != 0,
    )


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """Channels whose taps read the same pixels.

    Attributes:
        groups: Their groups. With rates per channel it is one group.
        channels: Which input channels of each group.
        taps: The taps on each axis; None where a rate is not a finite number.
        rows: The row of the rate table for each group or, with rates per channel, each channel.
        row: The row, where it is the same for all.
        per_channel: Whether rows stand for channels.
    """

    groups: Selection
    channels: Selection
    taps: AxisTaps | None
    rows: Tensor
    row: int | None
    per_channel: bool


@lru_cache(maxsize=_CACHED)
def deal(
    rates: Rates, axes: tuple[Axis, ...], *, groups: int, in_channels: int
) -> tuple[Part, ...]:
    """Sort all channels into parts.

    Args:
        rates: The rates.
        axes: The spatial axes.
        groups: Channel groups.
        in_channels: Input channels of all groups.
    """
    width, run = in_channels // groups, groups // len(rates.values)
    found: dict[tuple[int | None, tuple[int, ...] | None], list[int]] = {}
    distances = [_distances(rates, axes, row) for row in range(len(rates.values))]
    for row, (near, _) in enumerate(distances):
        owner = row // width if rates.per_channel else None
        found.setdefault((owner, near), []).append(row)
    parts = []
    for (_, near), rows in found.items():
        some_groups: Selection = slice(rows[0] // width, rows[0] // width + 1)
        channels: Selection = slice(0, width)
        owners = rows
        if rates.per_channel:
            channels = _selection([row % width for row in rows])
        else:
            some_groups = _selection([row * run + step for row in rows for step in range(run)])
            owners = [row for row in rows for _ in range(run)]
        blends = [distances[row][1] for row in owners]
        taps = None if near is None else _taps(rates, axes, rows[0], blends)
        only = rows[0] if len(rows) == 1 else None
        every = torch.tensor(owners)
        parts.append(Part(some_groups, channels, taps, every, only, rates.per_channel))
    return tuple(parts)


@lru_cache(maxsize=_CACHED)
def in_runs(parts: tuple[Part, ...], groups: int) -> tuple[tuple[Part, ...], Tensor | None]:
    """The parts of channels that were brought into an order in which each is a run.

    Args:
        parts: All parts of a call.
        groups: Channel groups; with several, whose channels cannot change places, nothing is done.

    Returns:
        The parts, and the order, or None if there is nothing to reorder.
    """
    scattered = any(isinstance(part.channels, Tensor) for part in parts)
    if groups > 1 or not scattered:
        return parts, None
    runs, indices, start = [], [], 0
    for part in parts:
        channels = part.channels
        if isinstance(channels, slice):
            channels = torch.arange(channels.start, channels.stop)
        indices.append(channels)
        runs.append(replace(part, channels=slice(start, start + len(channels))))
        start += len(channels)
    return tuple(runs), torch.cat(indices)


def _distances(
    rates: Rates, axes: Sequence[Axis], row: int
) -> tuple[tuple[int, ...] | None, tuple[float, ...]]:
    """For each reach on each axis, the last whole pixel before the tap and its distance to it.

    None where a rate is not a finite number.
    """
    near, fractions = [], []
    for axis, rate, limit in zip(axes, rates.values[row], rates.at_limit[row], strict=True):
        if not math.isfinite(rate):
            return None, ()
        for reach in range(1, max(axis.reaches) + 1):
            distance = reach * rate
            near.append(math.ceil(distance) - 1 if limit else math.floor(distance))
            fractions.append(distance - near[-1])
    return tuple(near), tuple(fractions)


def _taps(
    rates: Rates, axes: Sequence[Axis], row: int, blends: Sequence[tuple[float, ...]]
) -> AxisTaps:
    """The taps of channels that read the same pixels; fractions that differ become tensors."""
    found, columns = [], iter(list(zip(*blends, strict=True)))
    for axis, rate, limit in zip(axes, rates.values[row], rates.at_limit[row], strict=True):
        taps = axis.taps_at(rate, leftward=limit)
        for reach in range(1, max(axis.reaches) + 1):
            fractions = next(columns)
            if len(set(fractions)) == 1:
                continue
            own = torch.tensor(fractions, dtype=torch.float64)
            taps = tuple(replace(tap, fraction=own) if tap.reach == reach else tap for tap in taps)
        found.append(taps)
    return tuple(found)


def _selection(indices: list[int]) -> Selection:
    if indices[-1] - indices[0] == len(indices) - 1:  # they rise
        return slice(indices[0], indices[-1] + 1)
    return torch.tensor(indices)
