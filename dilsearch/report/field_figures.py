"""The figures of an analysis: frames and arrays in, a matplotlib Figure out.

Here is the growth of the field; the others have files of their own, and are named here so that one
import gives all four.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from dilsearch.report.bounds_figure import bounds_figure
from dilsearch.report.coverage_figure import coverage_figure
from dilsearch.report.effective_figure import effective_figure
from dilsearch.report.field_parts import (
    AXES,
    MOST_NAMES,
    agreeing,
    head,
    legend,
    name_ticks,
    plain_ticks,
)
from dilsearch.report.style import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    label,
    level,
    new_axes,
    new_figure,
    shortened,
)

__all__ = ["bounds_figure", "coverage_figure", "effective_figure", "growth_figure"]

_STYLES: Final = ((BLUE, "-", "o"), (GREEN, "--", "s"), (GREY, "-.", "^"))
_LOG_FROM: Final = 20
"""From this span on small fields would lie on the axis; the scale is logarithmic."""


def growth_figure(
    growth: pd.DataFrame,
    *,
    needed_px: Sequence[int] | None = None,
    title: str = "Growth of the field",
) -> Figure:
    """The field by depth along one path, in pixels, and the node that reaches what is needed.

    Axes with equal values are drawn as one line. The scale is logarithmic where the field grows
    twentyfold or more.

    Args:
        growth: A row per node: ``depth``, ``node``, and ``AXIS_px`` for each axis.
        needed_px: The field needed per axis, in the order of the columns; None leaves it out.
        title: First line above the picture; the second tells where the field ends.
    """
    names = [name for name in AXES if f"{name}_px" in growth]
    needs = [None] * len(names) if needed_px is None else list(needed_px)
    groups = agreeing(
        {
            name: (growth[f"{name}_px"].tolist(), need)
            for name, need in zip(names, needs, strict=True)
        }
    )
    named = len(growth) <= MOST_NAMES
    figure = new_figure(4.3 if named else 3.5)
    axes = new_axes(figure)
    depths = growth["depth"].tolist()
    _scale(axes, [size for sizes, _ in groups.values() for size in sizes], needs)
    _draw_needs(axes, {name: need for name, (_, need) in groups.items() if need is not None})
    for row, (name, (sizes, need)) in enumerate(groups.items()):
        color, style, shape = _STYLES[row]
        axes.plot(
            depths,
            sizes,
            color=color,
            ls=style,
            lw=1.8,
            marker=shape,
            ms=3.5 if len(depths) <= 40 else 0,
            label=name,
            zorder=3,
        )
        reached = next((i for i, size in enumerate(sizes) if need and size >= need), None)
        if reached is not None:
            node = shortened(str(growth["node"].iloc[reached]), 34)
            _tell_reached(axes, depths, reached, sizes[reached], node, row)
    prefix = name_ticks(axes, depths, list(growth["node"])) if named else ""
    if not named:
        axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    where = f" in {prefix.rstrip('.')}" if prefix else ""
    label(axes, f"nodes that widen the field{where}", "field of view (px)")
    axes.xaxis.label.set_parse_math(False)
    axes.set_xlim(depths[0] - 0.5, depths[-1] + 0.5)
    head(figure, title, "\n".join(_told(groups, *group) for group in groups.items()))
    if len(groups) > 1:
        legend(figure, axes.get_legend_handles_labels()[0])
    return figure


def _scale(axes: Axes, sizes: Sequence[int], needs: Sequence[int | None]) -> None:
    top, low = max([*sizes, *(need for need in needs if need)]), min(sizes)
    if top >= _LOG_FROM * low:
        axes.set_yscale("log")
        axes.set_ylim(low / (top / low) ** 0.12, top * (top / low) ** 0.09)
        plain_ticks(axes)
    else:
        axes.set_ylim(0, 1.15 * top)


def _draw_needs(axes: Axes, needs: Mapping[str, int]) -> None:
    """A line for each size that is needed, named on the side away from the others."""
    sizes = sorted(set(needs.values()))
    for place, need in enumerate(sizes):
        whose = " and ".join(name for name, size in needs.items() if size == need)
        text = f"needed: {need} px" if len(sizes) == 1 else f"needed {whose}: {need} px"
        below = place == 0 and len(sizes) > 1
        middle = 0 < place < len(sizes) - 1
        level(axes, need, text, ORANGE, "--", at=0.38 if middle else 0.02, below=below)


def _tell_reached(
    axes: Axes, depths: Sequence[int], reached: int, size: int, node: str, row: int
) -> None:
    """Mark the node that reaches the needed field; its name stands where no curve can be.

    Fields only grow, so that the lower right is always free.
    """
    color, depth = _STYLES[row][0], depths[reached]
    height = 0.05 + 0.09 * row
    axes.plot(depth, size, "o", mfc="white", mec=color, mew=1.6, ms=7, zorder=4)
    axes.annotate(
        f"{node}: {size} px",
        (depth, size),
        xytext=(depth, height),
        textcoords=axes.get_xaxis_transform(),
        ha="right" if 2 * reached > len(depths) else "left",
        va="center",
        fontsize=8.5,
        color=color,
        parse_math=False,
        zorder=5,
        bbox={"fc": "white", "ec": "none", "alpha": 0.85, "pad": 1},
    )
    axes.vlines(depth, axes.get_ylim()[0], size, color=color, lw=0.9, ls=":", zorder=2)


def _told(groups: Mapping[str, Any], name: str, values: tuple[Sequence[int], int | None]) -> str:
    """Where one axis ends, in words."""
    sizes, need = values
    told = f"{name} " if len(groups) > 1 else ""
    told += f"{sizes[-1]} px"
    if need is None:
        return told
    return f"{told}, {sizes[-1] / need:.3g} times the {need} px needed"
