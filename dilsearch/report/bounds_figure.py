"""Rates against bounds, site by site."""

import math
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from dilsearch.report.field_parts import (
    AXES,
    MOST_NAMES,
    ZERO,
    agreeing,
    common_path,
    head,
    legend,
    name_ticks,
    plain_ticks,
)
from dilsearch.report.style import BLUE, MUTED, ORANGE, clean, label, new_figure, shortened

_MOST_LEVEL: Final = 10
"""From more sites than this on, words above a cross are turned."""
_ALLOWED: Final = "#CFE3F1"


def bounds_figure(sites: pd.DataFrame, *, title: str = "Rates against bounds") -> Figure:
    """The dilation rates of every site against the largest that leave no gap.

    A rate above its bound is crossed in vermilion, and its site named. Axes with equal rates and
    bounds are drawn as one panel.

    Args:
        sites: A row per site, in the order of the forward pass: ``name``, and ``rate_AXIS`` and
            ``bound_AXIS`` (missing where there is no bound) for each axis. If there is ``rates``,
            such as ``1,1;4,4``, every branch has a dot. If there is ``kernel_AXIS``, one tap breaks
            no bound.
        title: First line above the picture; the second tells how many sites break a bound.
    """
    axes_named = [name for name in AXES if f"rate_{name}" in sites]
    panels = agreeing(
        {
            name: _axis(sites, name, _branches(sites, name, index))
            for index, name in enumerate(axes_named)
        }
    )
    broken = {name: np.array(over, dtype=bool) for name, (_, _, over) in panels.items()}
    sites_broken = np.any(list(broken.values()), axis=0)
    # Names under the lowest panel take room of their own.
    under = 1.9 if len(sites) <= MOST_NAMES else 3.0 if sites_broken.any() else 1.4
    figure = new_figure(2.0 * len(panels) + under)
    grid = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
    for axes, (name, (rates, bounds, _)) in zip(grid, panels.items(), strict=True):
        _draw_bounds(axes, rates, bounds, broken[name])
        label(axes, "", "dilation rate" if len(panels) == 1 else f"rate, {name}")
    _name_sites(grid[-1], list(sites["name"]), sites_broken)
    grid[-1].set_xlim(-0.7, len(sites) - 0.3)
    count = int(sites_broken.sum())
    verb = "breaks its bound" if count == 1 else "break their bounds"
    told = f"{count} of {len(sites)} sites {verb}" if count else "every rate keeps its bound"
    head(figure, title, told)
    handles: list[Any] = [
        _dot("o", BLUE, BLUE, "rate"),
        Patch(fc=_ALLOWED, ec=BLUE, lw=0.8, label="up to the bound"),
    ]
    if count:
        handles.append(Line2D([], [], ls="", marker="X", ms=7, color=ORANGE, label="above it"))
    if any(math.isnan(bound) for _, bounds, _ in panels.values() for bound in bounds):
        handles.append(_dot("o", BLUE, "white", "rate, no bound"))
    legend(figure, handles)
    return figure


def _dot(shape: str, edge: str, face: str, name: str) -> Line2D:
    return Line2D([], [], ls="", marker=shape, ms=5, mec=edge, mfc=face, label=name)


def _name_sites(axes: Axes, names: Sequence[str], broken: NDArray[np.bool_]) -> None:
    """Every site's name where there is room; else the names of those that break their bound."""
    if len(names) <= MOST_NAMES:
        prefix = name_ticks(axes, range(len(names)), names)
        for index, text in enumerate(axes.get_xticklabels()):
            text.set_color(ORANGE if broken[index] else MUTED)
        label(axes, f"sites in {prefix.rstrip('.')}" if prefix else "", str(axes.get_ylabel()))
        axes.xaxis.label.set_parse_math(False)
        return
    prefix = common_path(names)
    where = f" in {prefix.rstrip('.')}" if prefix else ""
    order = f"{len(names)} sites{where}, in the order of the forward pass"
    label(axes, order, str(axes.get_ylabel()))
    axes.xaxis.label.set_parse_math(False)
    shown = _apart(broken)
    if not shown:
        axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
        return
    told = [
        names[place].removeprefix(prefix) + (f" and {count - 1} more" if count > 1 else "")
        for place, count in shown.items()
    ]
    axes.set_xticks(
        list(shown),
        [shortened(name, 34) for name in told],
        rotation=90,
        fontsize=7,
        color=ORANGE,
        parse_math=False,
    )


def _apart(broken: NDArray[np.bool_]) -> dict[int, int]:
    """Places of sites far enough apart to be named, and how many each name stands for."""
    shown: dict[int, int] = {}
    last = -math.inf
    for place in np.flatnonzero(broken).tolist():
        if place - last >= len(broken) / MOST_NAMES:
            last = place
            shown[place] = 0
        shown[int(last)] += 1
    return shown


def _draw_bounds(
    axes: Axes,
    rates: Sequence[Sequence[float]],
    bounds: Sequence[float],
    broken: NDArray[np.bool_],
) -> None:
    clean(axes)
    axes.grid(visible=False, axis="x")
    axes.set_yscale("log")
    tops = np.maximum(np.nan_to_num(np.asarray(bounds, dtype=float), nan=1), ZERO)
    top = max([2.0, *tops, *(rate for branches in rates for rate in branches)])
    floor = 0.36 if ZERO in tops else 0.55
    places = np.arange(len(rates))
    known = ~np.isnan(np.asarray(bounds, dtype=float))
    gap = 0.2 if len(rates) <= 2 * MOST_NAMES else 0.0
    axes.bar(
        places[known],
        tops[known] - floor,
        width=1 - gap,
        bottom=floor,
        color=_ALLOWED,
        zorder=1,
    )
    axes.hlines(
        tops[known], places[known] - 0.5 + gap / 2, places[known] + 0.5 - gap / 2, BLUE, lw=1
    )
    small = 5.0 if len(rates) <= MOST_NAMES else 3.0
    for place, branches in enumerate(rates):
        for rate in branches:
            over = bool(broken[place]) and rate > bounds[place]
            axes.plot(
                place,
                rate,
                "X" if over else "o",
                ms=small + 2.5 if over else small,
                mfc=ORANGE if over else BLUE if known[place] else "white",
                mec="white" if known[place] else BLUE,
                mew=0.5 if known[place] else 1,
                zorder=4 if over else 3,
            )
    turned = len(rates) > _MOST_LEVEL
    room = (0.36 if turned else 0.18) if broken.any() else 0.06
    axes.set_ylim(floor, top * (top / floor) ** room)
    plain_ticks(axes, base=2, zero=bool((tops[known] < 1).any()))
    _name_broken(axes, rates, bounds, broken)


def _name_broken(
    axes: Axes,
    rates: Sequence[Sequence[float]],
    bounds: Sequence[float],
    broken: NDArray[np.bool_],
) -> None:
    """Rate and bound above a cross."""
    for place in _apart(broken):
        most = max(rates[place])
        axes.annotate(
            f"{most:g} > {bounds[place]:g}",
            (float(place), most),
            xytext=(0, 7),
            textcoords="offset points",
            ha="center",
            va="bottom",
            rotation=90 if len(rates) > _MOST_LEVEL else 0,
            fontsize=7.5,
            color=ORANGE,
            zorder=5,
            bbox={"fc": "white", "ec": "none", "alpha": 0.8, "pad": 0.8},
        )


def _branches(sites: pd.DataFrame, axis: str, index: int) -> tuple[tuple[float, ...], ...]:
    """Rates along one axis, for each branch of each site."""
    if "rates" not in sites:
        return tuple((float(rate),) for rate in sites[f"rate_{axis}"])
    return tuple(
        tuple(_part(branch, index) for branch in str(text).split(";")) for text in sites["rates"]
    )


def _part(branch: str, index: int) -> float:
    """The rate along one axis; a branch with one number has it along every axis."""
    parts = branch.split(",")
    return float(parts[min(index, len(parts) - 1)])


def _numbers(sites: pd.DataFrame, column: str) -> tuple[float, ...]:
    return tuple(pd.to_numeric(sites[column]).astype("Float64").to_numpy(float, na_value=math.nan))


def _axis(
    sites: pd.DataFrame, axis: str, rates: tuple[tuple[float, ...], ...]
) -> tuple[tuple[tuple[float, ...], ...], tuple[float, ...], tuple[bool, ...]]:
    """Rates, bounds and which are broken along one axis, as values that can be compared."""
    bounds = _numbers(sites, f"bound_{axis}")
    return rates, bounds, tuple(_broken(sites, axis, rates, bounds).tolist())


def _broken(
    sites: pd.DataFrame,
    axis: str,
    rates: Sequence[Sequence[float]],
    bounds: Sequence[float],
) -> NDArray[np.bool_]:
    """Which sites go beyond their bound along one axis."""
    pairs = zip(rates, bounds, strict=True)
    over = np.array([max(each) > bound for each, bound in pairs], dtype=bool)
    if "bound_ok" in sites:
        # A column with gaps may hold None, NaN or NA, none of which says that a bound is broken.
        over &= np.array([not pd.isna(ok) and not ok for ok in sites["bound_ok"]], dtype=bool)
    if f"kernel_{axis}" in sites:
        over &= sites[f"kernel_{axis}"].to_numpy(int) > 1
    return over
