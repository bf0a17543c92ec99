"""Segmentation metrics as formulas of one confusion matrix.

Rows are true classes, columns predicted ones, entries numbers of pixels. A metric that would
divide by nothing, such as any metric of no pixels, is None: it has no value, and NaN is no JSON.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dilsearch.errors import RunError

if TYPE_CHECKING:
    import pandas as pd

Confusion: TypeAlias = NDArray[np.int64]
"""Pixel counts, (classes, classes): rows truth, columns prediction."""

COUNTS_COLUMNS: Final = ("stage", "region", "truth", "predicted", "count")
"""Columns of ``counts.csv``, one row for each entry of each confusion matrix."""


def as_confusion(counts: ArrayLike) -> Confusion:
    """Counts as a checked confusion matrix.

    Raises:
        ValueError: If they are not square, not whole, or negative.
    """
    given = np.asarray(counts)
    if given.ndim != 2 or given.shape[0] != given.shape[1]:
        raise ValueError(f"a confusion matrix is square, and this has shape {given.shape}")
    if given.dtype.kind not in "iu" or (given < 0).any():
        raise ValueError("a confusion matrix holds whole numbers of at least 0")
    return given.astype(np.int64)


def pixel_accuracy(counts: ArrayLike) -> float | None:
    """Share of pixels whose class is right."""
    matrix = as_confusion(counts)
    return _ratio(np.trace(matrix), matrix.sum())


def class_accuracy(counts: ArrayLike) -> float | None:
    """Mean over the classes that occur of the share of their pixels that is right."""
    matrix = as_confusion(counts)
    truth = matrix.sum(axis=1)
    return _mean(np.diag(matrix)[truth > 0] / truth[truth > 0])


def class_iou(counts: ArrayLike) -> list[float | None]:
    """Intersection over union of each class; None for one that is neither true nor predicted."""
    matrix = as_confusion(counts)
    return [
        _ratio(right, union) for right, union in zip(np.diag(matrix), _union(matrix), strict=True)
    ]


def mean_iou(counts: ArrayLike) -> float | None:
    """Mean intersection over union of the classes that are true or predicted anywhere."""
    matrix = as_confusion(counts)
    union = _union(matrix)
    return _mean(np.diag(matrix)[union > 0] / union[union > 0])


def freq_weighted_iou(counts: ArrayLike) -> float | None:
    """Intersection over union of the classes, each weighted by its share of the true pixels."""
    matrix = as_confusion(counts)
    truth, union = matrix.sum(axis=1), _union(matrix)
    occurs = truth > 0
    if not occurs.any():
        return None
    iou = np.diag(matrix)[occurs] / union[occurs]
    return float((iou * truth[occurs]).sum() / truth.sum())


def scores(counts: ArrayLike) -> dict[str, float | None]:
    """The four metrics by the names that ``summary.json`` gives them."""
    return {
        "pixel_accuracy": pixel_accuracy(counts),
        "class_accuracy": class_accuracy(counts),
        "mean_iou": mean_iou(counts),
        "freq_weighted_iou": freq_weighted_iou(counts),
    }


def counts_table(matrices: Iterable[tuple[str, str, ArrayLike]]) -> "pd.DataFrame":
    """Confusion matrices as the rows of ``counts.csv``; zeros are kept.

    Args:
        matrices: Stage, region (``"all"`` or ``"far"``) and confusion matrix.
    """
    import pandas as pd  # here, so that the command line starts without it

    rows = [
        (stage, region, truth, predicted, int(count))
        for stage, region, counts in matrices
        for (truth, predicted), count in np.ndenumerate(as_confusion(counts))
    ]
    return pd.DataFrame(rows, columns=list(COUNTS_COLUMNS))


def confusion_of(table: "pd.DataFrame", stage: str, region: str = "all") -> Confusion:
    """The confusion matrix of one stage and region, from the rows of ``counts.csv``.

    Raises:
        RunError: If the table has no rows for them.
    """
    chosen = table[(table["stage"] == stage) & (table["region"] == region)]
    if chosen.empty:
        have = sorted({f"{row.stage}/{row.region}" for row in table.itertuples()})
        raise RunError(
            f"counts.csv has no rows for {stage}/{region}; it has {', '.join(have) or 'none'}. "
            "Evaluate the run again."
        )
    classes = int(chosen[["truth", "predicted"]].to_numpy().max()) + 1
    matrix = np.zeros((classes, classes), dtype=np.int64)
    matrix[chosen["truth"], chosen["predicted"]] = chosen["count"]
    return matrix


def _union(matrix: Confusion) -> NDArray[np.int64]:
    union: NDArray[np.int64] = matrix.sum(axis=0) + matrix.sum(axis=1) - np.diag(matrix)
    return union


def _ratio(part: Any, whole: Any) -> float | None:
    return float(part) / float(whole) if whole else None


def _mean(values: NDArray[np.float64]) -> float | None:
    return float(values.mean()) if values.size else None
