"""What all figures share: colours, width, axes and the words on them.

Drawn for a column about 5.4 inches wide, so that the text stays legible on a phone and beside a
second column alike. Colours are Okabe and Ito's, which colour-blind readers can tell apart, and
line styles repeat what the colours say. No global state of matplotlib is touched.
"""

from collections.abc import Sequence
from typing import Final

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Patch

BLUE, ORANGE, GREEN, PURPLE, GREY = "#0072B2", "#D55E00", "#009E73", "#AA4499", "#6B7280"
"""Blue, vermilion and green are Okabe and Ito's; the purple is darkened to read on white."""

INK, MUTED, LINES = "#1A2230", "#566072", "#D8DEE8"
"""Words, lesser words, and lines that stay in the background."""

WIDTH_IN: Final = 5.4
_LONGEST: Final = 26


def new_figure(height_in: float, *, width_in: float = WIDTH_IN) -> Figure:
    """An empty figure that places its parts by itself."""
    figure = Figure(figsize=(width_in, height_in), layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def new_axes(figure: Figure) -> Axes:
    """The only axes of a figure."""
    axes = figure.add_subplot()
    clean(axes)
    return axes


def clean(axes: Axes) -> None:
    """Two spines, a faint grid behind the data, small ticks."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(LINES)
    axes.grid(color=LINES, lw=0.6, alpha=0.7)
    axes.set_axisbelow(True)
    axes.tick_params(colors=MUTED, labelsize=8, length=3, width=0.8)


def label(axes: Axes, x: str, y: str) -> None:
    """Name both axes."""
    axes.set_xlabel(x, fontsize=9, color=INK)
    axes.set_ylabel(y, fontsize=9, color=INK)


def class_legend(figure: Figure, entries: Sequence[tuple[str, str]]) -> None:
    """A legend below the figure: name and colour of every class."""
    handles = [Patch(color=color, label=name) for name, color in entries]
    shown = figure.legend(
        handles=handles, loc="outside lower center", ncols=6, fontsize=9, frameon=False
    )
    for text in shown.get_texts():
        text.set_parse_math(False)  # a dollar sign in a name starts no formula


def level(
    axes: Axes, value: float, text: str, color: str, style: str, *, at: float, below: bool = False
) -> None:
    """A horizontal line with its name on it."""
    axes.axhline(value, color=color, ls=style, lw=1.4)
    name_level(axes, value, text, color, at=at, below=below)


def name_level(axes: Axes, value: float, text: str, color: str, *, at: float, below: bool) -> None:
    """A name above or below a level, at a share of the width; words of the right half end there."""
    axes.annotate(
        text,
        (at, value),
        xycoords=axes.get_yaxis_transform(),
        xytext=(0, -5 if below else 5),
        textcoords="offset points",
        ha="left" if at < 0.5 else "right",
        va="top" if below else "bottom",
        fontsize=8.5,
        color=color,
    )


def shortened(name: str, longest: int = _LONGEST) -> str:
    """A module path that fits under an axis: its end tells more than its beginning."""
    return name if len(name) <= longest else "…" + name[1 - longest :]


def pixels(sizes: Sequence[int]) -> str:
    """Sizes as words: ``19 × 19 px``."""
    return " \N{MULTIPLICATION SIGN} ".join(map(str, sizes)) + " px"
