"""Metrics against matrices worked out by hand, their laws, and matrices that must fail."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from dilsearch.errors import RunError
from dilsearch.scores import (
    as_confusion,
    class_accuracy,
    class_iou,
    confusion_of,
    counts_table,
    freq_weighted_iou,
    mean_iou,
    pixel_accuracy,
    scores,
)

# Truth: 6 pixels of class 0, 4 of class 1, none of class 2.
#   right: 5 and 1; unions: 6 + 8 - 5 = 9, 4 + 1 - 1 = 4, 0 + 1 - 0 = 1
BY_HAND = [
    [5, 0, 1],
    [3, 1, 0],
    [0, 0, 0],
]

confusions = st.integers(1, 6).flatmap(
    lambda classes: arrays(np.int64, (classes, classes), elements=st.integers(0, 10**9))
)


def test_a_matrix_worked_out_by_hand():
    assert pixel_accuracy(BY_HAND) == 6 / 10
    assert class_accuracy(BY_HAND) == pytest.approx((5 / 6 + 1 / 4) / 2)
    assert class_iou(BY_HAND) == [5 / 9, 1 / 4, 0.0]
    assert mean_iou(BY_HAND) == pytest.approx((5 / 9 + 1 / 4 + 0) / 3)
    assert freq_weighted_iou(BY_HAND) == pytest.approx(0.6 * 5 / 9 + 0.4 * 1 / 4)


def test_a_second_matrix_with_a_class_nobody_mentions():
    matrix = [[2, 2, 0], [0, 4, 0], [0, 0, 0]]
    assert scores(matrix) == {
        "pixel_accuracy": 6 / 8,
        "class_accuracy": 3 / 4,
        "mean_iou": pytest.approx((2 / 4 + 4 / 6) / 2),
        "freq_weighted_iou": pytest.approx(0.5 * 2 / 4 + 0.5 * 4 / 6),
    }
    assert class_iou(matrix)[2] is None


def test_nothing_to_score_has_no_score():
    assert set(scores(np.zeros((3, 3), int)).values()) == {None}
    assert class_iou(np.zeros((2, 2), int)) == [None, None]


def test_rows_are_truth():
    # The control: read with columns as truth, the figures differ.
    transposed = np.transpose(BY_HAND)
    assert class_accuracy(transposed) != class_accuracy(BY_HAND)
    assert freq_weighted_iou(transposed) != freq_weighted_iou(BY_HAND)
    assert pixel_accuracy(transposed) == pixel_accuracy(BY_HAND)
    assert mean_iou(transposed) == mean_iou(BY_HAND)


@settings(deadline=None, max_examples=60)
@given(arrays(np.int64, 5, elements=st.integers(0, 10**12)).filter(lambda counts: counts.any()))
def test_a_perfect_prediction_scores_one(counts):
    assert scores(np.diag(counts)) == {
        "pixel_accuracy": 1.0,
        "class_accuracy": 1.0,
        "mean_iou": 1.0,
        "freq_weighted_iou": pytest.approx(1.0),
    }


@settings(deadline=None, max_examples=60)
@given(confusions.filter(lambda matrix: (matrix - np.diag(np.diag(matrix))).any()))
def test_the_control_an_imperfect_one_scores_less(matrix):
    found = scores(matrix)
    assert all(value is not None and 0 <= value < 1 for value in found.values())


@settings(deadline=None, max_examples=60)
@given(confusions, st.randoms())
def test_the_names_of_classes_do_not_matter(matrix, random):
    order = list(range(len(matrix)))
    random.shuffle(order)
    shuffled = matrix[np.ix_(order, order)]
    assert scores(shuffled) == pytest.approx(scores(matrix))
    assert class_iou(shuffled) == [class_iou(matrix)[index] for index in order]


@settings(deadline=None, max_examples=60)
@given(confusions)
def test_a_class_that_never_occurs_changes_nothing(matrix):
    assert scores(np.pad(matrix, (0, 1))) == scores(matrix)


@settings(deadline=None, max_examples=60)
@given(confusions)
def test_no_iou_exceeds_its_accuracy(matrix):
    found = scores(matrix)
    if found["pixel_accuracy"] is not None:
        assert found["mean_iou"] <= found["class_accuracy"] + 1e-12
        assert found["freq_weighted_iou"] <= found["pixel_accuracy"] + 1e-12


@settings(deadline=None, max_examples=60)
@given(confusions)
def test_counts_come_back_from_their_table(matrix):
    table = counts_table([("retrain", "all", matrix), ("retrain", "far", matrix + 1)])
    assert (confusion_of(table, "retrain") == matrix).all()
    assert (confusion_of(table, "retrain", "far") == matrix + 1).all()


def test_the_table_is_plain(tmp_path):
    table = counts_table([("control", "all", [[1, 0], [2, 3]])])
    assert table.to_csv(index=False).split() == [
        "stage,region,truth,predicted,count",
        "control,all,0,0,1",
        "control,all,0,1,0",
        "control,all,1,0,2",
        "control,all,1,1,3",
    ]


def test_absent_counts_are_told():
    table = counts_table([("control", "all", BY_HAND)])
    with pytest.raises(RunError, match=r"no rows for retrain/far; it has control/all\. Evaluate"):
        confusion_of(table, "retrain", "far")


@pytest.mark.parametrize(
    ("counts", "fault"),
    [
        ([[1, 2]], r"square, and this has shape \(1, 2\)"),
        ([1, 2], r"square, and this has shape \(2,\)"),
        ([[1, -1], [0, 0]], "whole numbers of at least 0"),
        ([[0.5, 0.0], [0.0, 0.0]], "whole numbers of at least 0"),
        ([[float("nan")]], "whole numbers of at least 0"),
    ],
)
def test_what_is_no_confusion_matrix_is_refused(counts, fault):
    with pytest.raises(ValueError, match=fault):
        as_confusion(counts)
