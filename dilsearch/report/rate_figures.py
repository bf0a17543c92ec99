"""The figures of a run's rates: how they moved while searching, and how many came out alike."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from dilsearch.plan import SiteRates
from dilsearch.report.sizes import axes_of
from dilsearch.report.style import BLUE, GREEN, INK, MUTED, ORANGE, PURPLE, clean, new_figure
from dilsearch.runs.rate_columns import MOST_LISTED, labelled

BRANCH_STYLES: Final = ((BLUE, "-"), (ORANGE, "--"), (GREEN, "-."), (PURPLE, ":"))
_AXIS_STYLES: Final = ("-", "--", ":")
_BAND: Final = {"min", "max"}


def rates_figure(rates: pd.DataFrame, final: Mapping[str, SiteRates]) -> Figure:
    """Rates over the search steps, one panel per site, one line per branch, or axis of it.

    Of a site with many rates the mean is a line, in a band from the smallest to the largest.

    Args:
        rates: ``rates.rates_over_time``.
        final: Site to its integer rates, drawn as dots where the search ends; may be empty.
    """
    sites = list(dict.fromkeys(rates["site"]))
    figure, grid = _panels(sites, share=True)
    dots = {site: labelled(rates) for site, rates in final.items()}
    for axes, site in zip(grid.flat, sites, strict=False):
        _draw_rates(axes, rates[rates["site"] == site], dots.get(site, {}))
    largest = max(
        [rates["rate"].max(), *(rate for site in dots.values() for rate in site.values())]
    )
    grid[0, 0].set_ylim(0, 1.08 * largest)
    figure.supxlabel("search step", fontsize=9, color=INK)
    figure.supylabel("dilation rate", fontsize=9, color=INK)
    _rates_legend(figure, list(dict.fromkeys(rates["line"])), with_final=bool(final))
    return figure


def spread_figure(plan: Mapping[str, SiteRates]) -> Figure | None:
    """How many rates of a site are alike, one panel per site that has many; None if none has.

    Args:
        plan: Site to its rates; each counts for the whole number next to it.
    """
    sites = [site for site, rates in plan.items() if len(rates.rates) > MOST_LISTED]
    if not sites:
        return None
    figure, grid = _panels(sites, share=False)
    for axes, site in zip(grid.flat, sites, strict=False):
        counts = Counter(math.floor(rate + 0.5) for rate in plan[site].rates)
        axes.bar(list(counts), list(counts.values()), width=0.8, color=BLUE, lw=0)
        axes.set_xlim(min(counts) - 1, max(counts) + 1)
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))
    figure.supxlabel("dilation rate", fontsize=9, color=INK)
    figure.supylabel("number of rates", fontsize=9, color=INK)
    return figure


def _panels(sites: Sequence[str], *, share: bool) -> tuple[Figure, NDArray[Any]]:
    """A panel for each site with its name above it; only the lowest of a column name steps."""
    columns = min(len(sites), 2 if len(sites) <= 6 else 3)
    rows = math.ceil(len(sites) / columns)
    figure = new_figure(rows * min(max(5.4 / rows, 1.05), 2.0) + 0.7)
    grid = figure.subplots(rows, columns, sharex=share, sharey=share, squeeze=False)
    for axes, site in zip(grid.flat, sites, strict=False):
        clean(axes)
        axes.set_title(site, fontsize=8, color=INK, loc="left", pad=3, parse_math=False)
    for axes in grid.flat[len(sites) :]:
        axes.remove()
    for column in range(columns):
        lowest = grid[(len(sites) - 1 - column) // columns, column]
        lowest.tick_params(labelbottom=True)
    return figure, grid


def _draw_rates(axes: Axes, rates: pd.DataFrame, final: Mapping[str, float]) -> None:
    lines = {str(line): part for line, part in rates.groupby("line", sort=False)}
    if lines.keys() >= _BAND:
        least, most = lines["min"], lines["max"]
        axes.fill_between(
            least["step"].to_numpy(),
            least["rate"].to_numpy(),
            most["rate"].to_numpy(),
            color=BLUE,
            alpha=0.18,
            lw=0,
        )
    for name, line in lines.items():
        if name not in _BAND:
            color, style = _style(name, lines)
            axes.plot(line["step"], line["rate"], color=color, ls=style, lw=1.5)
    last = rates["step"].max()
    if final.keys() >= _BAND:
        ends = [final["min"], final["max"]]
        axes.plot([last, last], ends, color=BLUE, lw=1.2, marker="_", clip_on=False, zorder=4)
    for name, rate in final.items():
        if name not in _BAND:
            color, style = _style(name, final)
            inside = "white" if "." in name and style != _AXIS_STYLES[0] else color
            (dot,) = axes.plot([last], [rate], "o", color=color, ms=4.5, clip_on=False, zorder=4)
            dot.set_markerfacecolor(inside)


def _style(line: str, among: Mapping[str, Any]) -> tuple[str, str]:
    """Colour and dashes of a branch; where axes are separate, the dashes tell the axis."""
    if line == "mean":
        return BLUE, "-"
    branch, _, axis = line.partition(".")
    if not axis:
        return BRANCH_STYLES[int(branch) % len(BRANCH_STYLES)]
    single = all(name.startswith("0.") for name in among)
    color, _ = BRANCH_STYLES[int(axis if single else branch) % len(BRANCH_STYLES)]
    return color, _AXIS_STYLES[int(axis) % len(_AXIS_STYLES)]


def _rates_legend(figure: Figure, lines: Sequence[str], *, with_final: bool) -> None:
    handles: list[Any] = []
    single = [line for line in lines if line not in {*_BAND, "mean"}]
    if len(single) > 1:
        for line in single:
            color, style = _style(line, dict.fromkeys(single))
            handles.append(Line2D([], [], color=color, ls=style, lw=1.5, label=_name(line, single)))
    if "mean" in lines:
        handles.append(Line2D([], [], color=BLUE, lw=1.5, label="mean"))
        handles.append(Patch(fc=BLUE, alpha=0.18, label="smallest to largest"))
    if with_final:
        names = _axis_names(single)
        ends = [f"integer rate, {name}" for name in names] if len(names) > 1 else ["integer rate"]
        for axis, label in enumerate(ends):
            inside = "white" if axis else MUTED
            dot = Line2D([], [], color=MUTED, mfc=inside, ls="", marker="o", ms=4.5, label=label)
            handles.append(dot)
    _legend(figure, handles)


def _name(line: str, among: Sequence[str]) -> str:
    branch, _, axis = line.partition(".")
    if not axis:
        return f"branch {branch}"
    names = _axis_names(among)
    if all(name.startswith("0.") for name in among):
        return names[int(axis)]
    return f"branch {branch}, {names[int(axis)]}"


def _axis_names(lines: Sequence[str]) -> tuple[str, ...]:
    """What the axes are called that have lines of their own."""
    axes = sorted({line.partition(".")[2] for line in lines if "." in line})
    return axes_of(axes) if axes else ()


def _legend(figure: Figure, handles: Sequence[Any]) -> None:
    if handles:
        figure.legend(
            handles=handles,
            loc="outside upper center",
            ncols=min(len(handles), 3 if any(len(h.get_label()) > 12 for h in handles) else 5),
            fontsize=8.5,
            frameon=False,
        )
