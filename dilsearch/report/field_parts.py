"""Parts that the figures of an analysis share: scales and ticks, the part drawn again, legends."""

import math
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullLocator
from numpy.typing import NDArray

from dilsearch.report.style import INK, pixels, shortened

ZOOM_PX: Final = 64
"""Side of the part that is drawn again pixel by pixel."""

AXES: Final = ("depth", "height", "width", "length")
"""Axes as columns of a frame name them, in the order of their values."""

MOST_NAMES: Final = 24
"""More names than this do not fit under an axis."""

ZERO: Final = 0.5
"""Where a bound of 0 is drawn on a logarithmic scale."""

_MOST_DECADES: Final = 8
"""Rarer paths look alike: a range of a hundred decades would hide the pattern in the middle."""


def head(figure: Figure, title: str, summary: str) -> None:
    """Two lines above a picture: what it is, and what there is to see."""
    engine = figure.get_layout_engine()
    if engine is not None:
        engine.set(h_pad=0.07)  # type: ignore[call-arg]
    figure.suptitle(
        f"{title}\n{summary}", x=0.01, ha="left", fontsize=9, color=INK, linespacing=1.5
    ).set_parse_math(False)


def position_mark() -> Line2D:
    """The mark of the output position, for a legend or, with data, for an axes."""
    return Line2D(
        [], [], ls="", marker="o", ms=6, mfc="white", mec=INK, mew=1.3, label="output position"
    )


def panel_title(axes: Axes, text: str) -> None:
    """A small title above one of several panels."""
    axes.set_title(text, fontsize=8.5, color=INK, loc="left", pad=4)


def legend(figure: Figure, handles: Sequence[Any]) -> None:
    """What the marks mean, in one row beneath the picture."""
    figure.legend(
        handles=handles,
        loc="outside lower center",
        ncols=len(handles),
        fontsize=8.5,
        frameon=False,
        handlelength=1.4,
        columnspacing=1.6,
    )


def blocks(values: NDArray[Any], size: int) -> NDArray[np.float64]:
    """Sums over cubes of ``size`` pixels a side; those at the far edges may hold fewer pixels."""
    summed = values.astype(np.float64)
    for axis, side in enumerate(values.shape):
        summed = np.add.reduceat(summed, np.arange(0, side, size), axis=axis)
    return summed


def log_norm(counts: NDArray[np.float64]) -> LogNorm:
    """The scale of path numbers, eight decades at most; rarer paths are drawn as its least."""
    most = float(counts.max(initial=0)) or 1.0
    positive = counts[counts > 0]  # relative numbers may underflow to 0
    least = max(float(positive.min(initial=most)), most * 10.0**-_MOST_DECADES)
    # A single number of paths still needs a scale with two ends.
    return LogNorm(least if least < most else most / 10, most, clip=True)


def tick_paths(axis: Axis, norm: LogNorm) -> None:
    """Decades where there are several, else also what is between them."""
    decades = math.log10(float(norm.vmax or 1) / float(norm.vmin or 1))
    subs = (1.0,) if decades > 2 else (1.0, 2.0, 5.0) if decades > 0.8 else tuple(range(1, 10))
    axis.set_major_locator(LogLocator(subs=subs, numticks=10))
    axis.set_minor_locator(NullLocator())
    if decades <= 3:
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def zoomed(seen: NDArray[np.bool_], origin_px: Sequence[float]) -> tuple[tuple[slice, ...], str]:
    """The part that is drawn again, per axis, and what it is called.

    It is the middle; where that has no holes, but the field has some, it is what surrounds the one
    nearest to the position.
    """
    centre = [-start for start in origin_px]
    window, name = _window(seen.shape, centre), "position"
    if seen[window].all() and not seen.all():
        holes = np.argwhere(~seen)
        nearest = holes[np.square(holes - np.array(centre)).sum(axis=1).argmin()]
        window, name = _window(seen.shape, nearest.tolist()), "nearest hole"
    sizes = pixels([part.stop - part.start for part in window])
    return window, f"{sizes} at the {name}"


def _window(shape: Sequence[int], centre: Sequence[float]) -> tuple[slice, ...]:
    starts = [
        min(max(round(at) - ZOOM_PX // 2, 0), max(side - ZOOM_PX, 0))
        for side, at in zip(shape, centre, strict=True)
    ]
    return tuple(
        slice(start, min(start + ZOOM_PX, side)) for start, side in zip(starts, shape, strict=True)
    )


def agreeing(values: dict[str, Any]) -> dict[str, Any]:
    """Axes with equal values under one name, such as ``height and width``."""
    groups: list[tuple[list[str], Any]] = []
    for name, value in values.items():
        # repr, since a missing bound is no number and unlike itself
        same = next((group for group in groups if repr(group[1]) == repr(value)), None)
        if same is None:
            groups.append(([name], value))
        else:
            same[0].append(name)
    return {" and ".join(names): value for names, value in groups}


def name_ticks(axes: Axes, places: Sequence[float], names: Sequence[str]) -> str:
    """Names under an axis, turned as far as their number needs; returns what all begin with."""
    prefix = common_path(names)
    short = len(names) <= 8
    axes.set_xticks(
        places,
        [shortened(name.removeprefix(prefix)) for name in names],
        rotation=35 if short else 90,
        ha="right" if short else "center",
        rotation_mode="anchor" if short else "default",
        parse_math=False,
    )
    axes.tick_params(axis="x", labelsize=8 if len(names) <= 16 else 7)
    return prefix


def common_path(names: Sequence[str]) -> str:
    """The modules that all names are in, up to and with the last dot: ``backbone.body.``."""
    if len(names) < 2:
        return ""
    parts = [name.split(".")[:-1] for name in names]
    count = 0
    while all(len(path) > count and path[count] == parts[0][count] for path in parts):
        count += 1
    return "".join(f"{part}." for part in parts[0][:count])


def plain_ticks(axes: Axes, *, base: int = 10, zero: bool = False) -> None:
    """Whole numbers on a logarithmic axis: 1, 2, 4 ... or 1, 2, 5, 10 ..."""
    low, high = axes.get_ylim()
    coarser = ((1, 2, 5), (1, 3), (1,)) if base == 10 else ((1, 2), (1,))
    for steps in coarser:
        ticks = [step * (10 if base == 10 else 4) ** power for power in range(20) for step in steps]
        shown = [float(tick) for tick in ticks if low <= tick <= high]
        if len(shown) <= 8:
            break
    if zero:
        shown = [ZERO, *shown]
    axes.yaxis.set_major_locator(FixedLocator(shown))
    axes.yaxis.set_major_formatter(
        FuncFormatter(lambda value, _: "0" if value < 1 else f"{value:g}")
    )
    axes.yaxis.set_minor_locator(NullLocator())
