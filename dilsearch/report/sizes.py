"""How sizes, strides and counts are written, and when a field covers what is needed."""

from collections.abc import Sequence
from typing import Literal, TypeAlias

Reach: TypeAlias = Literal["all", "some", "none"]
"""Which positions see as much as is needed."""

_MOST_RATES = 8
_AXES = {1: ("length",), 2: ("height", "width"), 3: ("depth", "height", "width")}


def axes_of(sizes: Sequence[object]) -> tuple[str, ...]:
    """What the axes of a size are called: height and width in the plane."""
    return _AXES[len(sizes)]


def whole_text(size: Sequence[float], times: str = "x", *, grouped: bool = True) -> str:
    """Every axis of a size or stride, height first: ``1,023 x 2,047``."""
    return f" {times} ".join(number_text(value, grouped=grouped) for value in size)


def size_text(size: Sequence[float], times: str = "x", *, grouped: bool = True) -> str:
    """A size or stride in short: one number where all axes agree."""
    alike = len(set(size)) == 1
    return whole_text(size[:1] if alike else size, times, grouped=grouped)


def range_text(
    smallest: Sequence[int], largest: Sequence[int], times: str = "x", *, grouped: bool = True
) -> str:
    """A size that differs among positions, ``63 to 67``; one size where it does not."""
    if tuple(smallest) == tuple(largest):
        return size_text(largest, times, grouped=grouped)
    ends = (size_text(size, times, grouped=grouped) for size in (smallest, largest))
    return " to ".join(ends)


def rates_text(rates: Sequence[Sequence[int]], times: str = "x") -> str:
    """The rates of a site, branch by branch: ``1, 4``; ``1, 2 x 4`` where axes differ.

    Of many, the smallest and the largest along every axis: ``64: 1 to 9``.
    """
    if len(rates) > _MOST_RATES:
        least, most = ([pick(axis) for axis in zip(*rates, strict=True)] for pick in (min, max))
        return f"{len(rates)}: {range_text(least, most, times)}"
    return ", ".join(size_text(branch, times) for branch in rates)


def number_text(value: float, *, grouped: bool = True) -> str:
    """A number as it is if whole, else with three digits."""
    if float(value).is_integer():
        return f"{int(value):,}" if grouped else f"{int(value)}"
    return f"{float(value):.3g}"


def count_text(count: int) -> str:
    """A large count in three digits: ``864``, ``36.9k``, ``1.23M``, ``23.5G``."""
    text, sign = str(count), ""
    for power, unit in enumerate("kMGTP", start=1):
        if float(text) < 1000:
            break
        value = count / 1000**power
        digits = 2 if value < 9.995 else 1 if value < 99.95 else 0
        text, sign = f"{value:.{digits}f}", unit
    return text + sign


def reach(
    field_px: Sequence[int], field_min_px: Sequence[int] | None, needed_px: Sequence[int]
) -> tuple[Reach, ...]:
    """Per axis, whether the fields of all, some or no positions are as large as needed.

    Args:
        field_px: The largest field among the positions.
        field_min_px: The smallest; None if all are alike.
        needed_px: What is needed.
    """
    smallest = field_px if field_min_px is None else field_min_px
    return tuple(
        "all" if low >= needed else "some" if high >= needed else "none"
        for high, low, needed in zip(field_px, smallest, needed_px, strict=True)
    )
