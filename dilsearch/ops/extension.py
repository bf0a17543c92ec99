"""Padding modes: the image made longer, as far as the taps reach, by its own pixels.

Reflecting, replicating and going round all copy existing pixels, so that each is one index along
the axis; the gradient adds the copies up again.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from dilsearch.errors import OpError
from dilsearch.ops.arguments import FORMS
from dilsearch.ops.rates import Rates
from dilsearch.ops.taps import Axis


@dataclass(frozen=True, slots=True)
class Extension:
    """Pixels to copy along each axis, and the convolution of the longer image.

    Attributes:
        axes: The axes of the longer image, with the same outputs.
        rates: The rates; one that reaches as far as the mode can go counts as at its limit.
        sources: For each axis, the pixel that each pixel of the longer image is a copy of; None
            where the image is long enough.
    """

    axes: tuple[Axis, ...]
    rates: Rates
    sources: tuple[Tensor | None, ...]

    @classmethod
    def needed(cls, axes: Sequence[Axis], rates: Rates, mode: str) -> "Extension":
        """What these rates need under a padding mode.

        Raises:
            OpError: If a tap reaches further than the mode can go.
        """
        if mode == "zeros":
            return cls(tuple(axes), rates, (None,) * len(axes))
        at_limit, longer, sources = [list(row) for row in rates.at_limit], [], []
        for index, axis in enumerate(axes):
            most, margins = _limit(mode, axis), [max(0, end) for end in _beyond(axis, 0, 0)]
            # Copies of the edge are all alike; other copies lie no further than the mode can go.
            axis = replace(axis, furthest=axis.span + (0 if most is None else 2 * axis.size_in))
            for row, values in enumerate(rates.values):
                if not math.isfinite(rate := values[index]):
                    continue
                if most is not None and max(_beyond(axis, *_extremes(axis, rate))) > most:
                    raise _too_far(axes, index, mode, most, rate)
                ends = _blended(axis, rate, leftward=at_limit[row][index])
                if most is not None and max(ends) > most:
                    # There is no further pixel to blend with: the rate can only grow smaller.
                    at_limit[row][index] = True
                    ends = _blended(axis, rate, leftward=True)
                margins = [max(pair) for pair in zip(margins, ends, strict=True)]
            if most is not None:
                margins = [min(end, most) for end in margins]
            longer.append(axis.extended(margins[0], margins[1]))
            sources.append(
                _sources(axis.size_in, margins[0], margins[1], mode) if any(margins) else None
            )
        limits = tuple(tuple(row) for row in at_limit)
        return cls(tuple(longer), replace(rates, at_limit=limits), tuple(sources))

    def apply(self, x: Tensor) -> Tensor:
        """The longer image."""
        for dim, source in self._dims():
            x = x.index_select(dim, source.to(x.device))
        return x

    def back(self, grad: Tensor) -> Tensor:
        """The gradient of the image from that of the longer one."""
        for dim, source in self._dims():
            shape = list(grad.shape)
            shape[dim] = int(source.max()) + 1
            grad = grad.new_zeros(shape).index_add_(dim, source.to(grad.device), grad)
        return grad

    def _dims(self) -> list[tuple[int, Tensor]]:
        count = len(self.sources)
        return [(i - count, source) for i, source in enumerate(self.sources) if source is not None]


def _beyond(axis: Axis, least: int, greatest: int) -> tuple[int, int]:
    """How far taps between these distances from the anchor reach before and behind the image."""
    return -(axis.anchor + least), axis.last + greatest - (axis.size_in - 1)


def _extremes(axis: Axis, rate: float) -> tuple[int, int]:
    """The furthest pixels that have a share in a value, counted from the anchor."""
    before, after = axis.reaches
    ends = (-before * rate, 0.0, after * rate)
    return math.floor(min(ends)), math.ceil(max(ends))


def _blended(axis: Axis, rate: float, *, leftward: bool) -> tuple[int, int]:
    """How far the pixels that taps blend lie beyond the image, even those of no weight."""
    taps = axis.taps_at(rate, leftward=leftward)
    offsets = [offset - axis.anchor for tap in taps for offset in (tap.inner, tap.outer)]
    return _beyond(axis, min(offsets), max(offsets))


def _limit(mode: str, axis: Axis) -> int | None:
    """How many pixels the mode can add at one end; None for any number."""
    return {"reflect": axis.size_in - 1, "circular": axis.size_in}.get(mode)


def _sources(size: int, before: int, after: int, mode: str) -> Tensor:
    index = torch.arange(-before, size + after)
    if mode == "circular":
        return index % size
    if mode == "reflect":
        index = index.abs()
        return torch.where(index < size, index, 2 * (size - 1) - index)
    return index.clamp(0, size - 1)


def _too_far(axes: Sequence[Axis], index: int, mode: str, most: int, rate: float) -> OpError:
    form, size = FORMS[len(axes)], axes[index].size_in
    needed = max(_beyond(axes[index], *_extremes(axes[index], rate)))
    return form.error(
        f"padding_mode '{mode}' adds at most {most} pixels at each end of a {form.axes[index]} of "
        f"{size}, but at rate {rate:g} a tap reaches {needed} beyond it. "
        f"Lower the upper limit of the rate, use larger {form.samples}, or pad with zeros."
    )
