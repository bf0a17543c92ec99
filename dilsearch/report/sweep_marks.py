"""What the figures of a sweep share: a colour and a mark for every method, words, and a legend."""

from collections.abc import Sequence
from itertools import cycle
from typing import Final, NamedTuple

import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from dilsearch.report.style import BLUE, GREEN, GREY, MUTED, ORANGE, PURPLE

HEIGHT_IN: Final = 3.4
"""Height of a figure of the style's width."""

_LONGEST_NAME: Final = 24
_NAME_SHARE: Final = 0.45
"""Lines this share of the axis apart have room for their names beside each other."""


class Mark(NamedTuple):
    """How a method is drawn: the shape repeats what the colour says, for who cannot see it."""

    color: str
    shape: str
    size: float


_MARKS: Final = {
    "grid": Mark(BLUE, "o", 5.0),
    "tpe": Mark(GREEN, "s", 4.2),
    "search": Mark(ORANGE, "*", 11.0),
    "control": Mark(GREY, "^", 6.0),
}
_OTHERS: Final = (
    Mark(PURPLE, "D", 4.8),
    Mark("#3C8DBC", "v", 6.0),
    Mark("#8C6D00", "P", 6.5),
    Mark("#7A3E00", "X", 6.5),
)
"""For all but the first method of a kind, and for other kinds, in turn and around again."""


def marks_of(rows: pd.DataFrame) -> dict[str, Mark]:
    """Every method with its mark, by kind in a settled order.

    A kind's first method has the mark of the kind, whatever it is called; further ones have its
    shape in other colours.

    Args:
        rows: ``method`` and ``kind`` (grid, tpe, search or control); without ``kind`` the name of
            a method says what kind it is.
    """
    named = rows.assign(kind=rows["kind"] if "kind" in rows else rows["method"])
    pairs = named[["method", "kind"]].drop_duplicates("method").astype(str)
    kinds = list(_MARKS)
    found = sorted(
        zip(pairs["method"], pairs["kind"], strict=True),
        key=lambda pair: kinds.index(pair[1]) if pair[1] in _MARKS else len(kinds),
    )
    marks, taken, others = dict[str, Mark](), set[str](), cycle(_OTHERS)
    for name, kind in found:
        if kind in _MARKS and kind not in taken:
            marks[name] = _MARKS[kind]
        elif kind in _MARKS:
            marks[name] = _MARKS[kind]._replace(color=next(others).color)
        else:
            marks[name] = next(others)
        taken.add(kind)
    return marks


def method_words(name: str) -> str:
    """A method as a legend names it: cut at its end where it is long."""
    return name if len(name) <= _LONGEST_NAME else name[: _LONGEST_NAME - 1].rstrip() + "…"


def counted(count: int, what: str) -> str:
    """A count with its noun: ``1 seed``, ``3 seeds``."""
    return f"{count:,} {what}" + ("" if count == 1 else "s")


def name_needed(axes: Axes, needed_px: int | None, rate_one_px: int | None) -> None:
    """Vertical lines at the field needed and at that of rate 1, named above the axes.

    Names of lines that are close together have a row each, so that their words do not mix.
    """
    levels = [
        (rate_one_px, "every rate 1", GREY, ":"),
        (needed_px, "needed", ORANGE, "--"),
    ]
    known = [level for level in levels if level[0] is not None]
    lower, upper = axes.get_xlim()
    apart = [value for value, *_ in known if value is not None]
    close = max(apart, default=0) - min(apart, default=0) < _NAME_SHARE * (upper - lower)
    for row, (value, text, color, style) in enumerate(known):
        assert value is not None
        axes.axvline(value, color=color, ls=style, lw=1.4, zorder=1)
        share = (value - lower) / (upper - lower)
        axes.annotate(
            f"{text}: {value:,} px",
            (value, 1.0),
            xycoords=axes.get_xaxis_transform(),
            xytext=(0, 3 + 12 * row * close),
            textcoords="offset points",
            ha="left" if share < 0.2 else "right" if share > 0.8 else "center",
            va="bottom",
            fontsize=8.5,
            color=color,
        )


def line_mark(mark: Mark, text: str, *, line: bool = True, hollow: bool = False) -> Line2D:
    """An entry of a legend: the mark, on its line if it has one, and what it stands for."""
    return Line2D(
        [],
        [],
        color=mark.color,
        ls="-" if line else "",
        lw=1.8,
        marker=mark.shape,
        ms=mark.size,
        mfc="white" if hollow else mark.color,
        mec=mark.color,
        label=text,
    )


def legend_below(figure: Figure, handles: Sequence[Artist]) -> None:
    """A legend below the figure in as many columns as fit its width; none of nothing."""
    if not handles:
        return
    room_px = 0.98 * figure.bbox.width
    for columns in range(len(handles), 0, -1):
        shown = figure.legend(
            handles=list(handles),
            loc="outside lower center",
            ncols=columns,
            fontsize=8.5,
            frameon=False,
            columnspacing=1.4,
            handletextpad=0.5,
        )
        for text in shown.get_texts():
            text.set_parse_math(False)  # a dollar sign in a name starts no formula
        if columns == 1 or shown.get_window_extent().width <= room_px:
            return
        shown.remove()


def nothing_yet(axes: Axes, text: str) -> None:
    """Say in the middle of empty axes why they are empty, and nothing else."""
    axes.grid(visible=False)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.annotate(text, (0.5, 0.5), xycoords="axes fraction", ha="center", va="center", color=MUTED)
