"""What tests of the figures draw, and what they read off them."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from dilsearch.report.field_figures import coverage_figure


def paths(rates: Sequence[int], axes: int = 2) -> np.ndarray:
    """Paths through 3-tap convolutions of these rates, relative to the most."""
    line = np.ones(1)
    for rate in rates:
        taps = np.zeros(2 * rate + 1)
        taps[::rate] = 1
        line = np.convolve(line, taps)
    counts = line
    for _ in range(axes - 1):
        counts = np.multiply.outer(counts, line)
    return counts / counts.max()


def coverage(counts: np.ndarray, **options: object) -> Figure:
    origin = [-(side // 2) for side in counts.shape]
    return coverage_figure(counts > 0, counts, origin_px=origin, title="output", **options)


def head(figure: Figure) -> list[str]:
    return figure.get_suptitle().split("\n")


def legend(figure: Figure) -> list[str]:
    return [text.get_text() for legend in figure.legends for text in legend.get_texts()]
