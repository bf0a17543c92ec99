"""Predictions of sequences: strips one above the other, so that equal steps stand in one column."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from dilsearch.report.style import INK, MUTED, class_legend, new_figure

_STRIP_IN = 0.17


def strips_figure(
    samples: Sequence[Mapping[str, NDArray[np.uint8]]], legend: Sequence[tuple[str, str]]
) -> Figure:
    """Input, truth and predictions of each sequence as strips, with a legend of the classes.

    Args:
        samples: For each sequence, name of a strip to its colours (1, length, 3).
        legend: Name and colour of every class.
    """
    strips = len(samples[0])
    figure = new_figure(len(samples) * (strips * _STRIP_IN + 0.3) + 0.6, width_in=10.0)
    grid = figure.subplots(len(samples), 1, squeeze=False)[:, 0]
    for axes, sample in zip(grid, samples, strict=True):
        colours = np.concatenate(list(sample.values()))
        axes.imshow(colours, aspect="auto", interpolation="nearest")
        axes.set_yticks(range(strips), list(sample), fontsize=9, color=INK)
        axes.set_yticks(np.arange(strips - 1) + 0.5, minor=True)
        axes.grid(which="minor", axis="y", color="white", lw=2)
        axes.tick_params(which="both", left=False, colors=MUTED, labelsize=8, labelcolor=INK)
        axes.spines[:].set_visible(False)
    grid[-1].set_xlabel("step", fontsize=9, color=INK)
    class_legend(figure, legend)
    return figure
