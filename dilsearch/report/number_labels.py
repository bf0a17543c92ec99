"""Numbers beside the points of a figure, placed where they cover nothing."""

from collections.abc import Iterable
from typing import Any, Final

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox
from numpy.typing import NDArray

from dilsearch.report.style import INK

_PLACES: Final = ((-5, 5), (5, -5), (5, 5), (-5, -5), (-5, 14), (5, -14), (-14, 5), (14, -5))
"""Offsets in points that are tried in turn."""
_POINT_PX: Final = 4.0


def number_points(
    axes: Axes,
    x: "pd.Series[Any]",
    y: "pd.Series[Any]",
    numbers: Iterable[int],
    *,
    avoid: pd.DataFrame,
) -> None:
    """Write a number beside every point where there is room; a point in a crowd goes without.

    Args:
        axes: With its limits settled.
        x: Where the points are along the axis.
        y: And how high.
        numbers: One for each point.
        avoid: Other points, two columns, that a number must not cover.
    """
    figure = axes.figure
    assert isinstance(figure, Figure)
    figure.draw_without_rendering()  # places depend on the limits and on the layout
    points = np.column_stack([x, y]).astype(float).reshape(-1, 2)
    others = avoid.to_numpy(dtype=float).reshape(-1, 2)
    dots = axes.transData.transform(np.concatenate([points, others]))
    inside, taken = axes.get_window_extent(), list[Bbox]()
    for point, number in zip(points, numbers, strict=True):
        for place in _PLACES:
            text = axes.annotate(
                str(number),
                (float(point[0]), float(point[1])),
                xytext=place,
                textcoords="offset points",
                ha="right" if place[0] < 0 else "left",
                va="bottom" if place[1] > 0 else "top",
                fontsize=8,
                color=INK,
                zorder=7,
            )
            box = text.get_window_extent()
            if _free(box, inside, taken, dots):
                taken.append(box)
                break
            text.remove()


def _free(box: Bbox, inside: Bbox, taken: list[Bbox], dots: NDArray[np.float64]) -> bool:
    """Whether a box lies within the axes and covers neither another box nor a point."""
    within = inside.x0 <= box.x0 and box.x1 <= inside.x1
    within = within and inside.y0 <= box.y0 and box.y1 <= inside.y1
    near = box.padded(_POINT_PX - 1.0)
    covers = (
        (near.x0 < dots[:, 0])
        & (dots[:, 0] < near.x1)
        & (near.y0 < dots[:, 1])
        & (dots[:, 1] < near.y1)
    )
    return within and not covers.any() and not any(box.overlaps(other) for other in taken)
