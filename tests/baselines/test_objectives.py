"""What a sweep is judged by, as it is written and as it is read from a result."""

import math

import pytest

from dilsearch.baselines.objectives import Objectives
from dilsearch.baselines.trial import TrialResult
from dilsearch.errors import SweepError


def result(latency_ms: float | None = None, **scores: float | None) -> TrialResult:
    return TrialResult(False, scores, field_px=9, samples=1, seconds=1.0, latency_ms=latency_ms)


def test_miou_alone():
    objectives = Objectives.parse("miou")
    assert objectives.single
    assert not objectives.needs_latency
    assert objectives.primary == "mean_iou"
    assert objectives.directions == ("maximize",)
    assert objectives.values(result(mean_iou=0.5, far_accuracy=0.9)) == [0.5]


def test_a_score_and_the_latency():
    objectives = Objectives.parse(" far_accuracy, latency ")
    assert str(objectives) == "far_accuracy,latency"
    assert not objectives.single
    assert objectives.needs_latency
    assert objectives.columns == ("far_accuracy", "latency_ms")
    assert objectives.directions == ("maximize", "minimize")
    assert objectives.values(result(7.5, mean_iou=0.5, far_accuracy=0.9)) == [0.9, 7.5]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "'' is no name of a score; give miou, latency"),
        ("miou,,latency", "objectives = 'miou,,latency': '' is no name of a score"),
        ("mIoU", "'mIoU' is no name of a score"),
        ("miou,mean_iou", "names one figure twice; name each once"),
        ("latency,miou", "has no score in the first place, and without one the smallest rates"),
    ],
)
def test_refused(text: str, message: str):
    with pytest.raises(SweepError, match=message):
        Objectives.parse(text)


def test_a_score_that_the_data_set_does_not_have():
    with pytest.raises(
        SweepError,
        match="objective 'far_accuracy' is not among the scores of this data set, mean_iou, "
        "pixel_accuracy; choose one of these",
    ):
        Objectives.parse("far_accuracy").values(result(mean_iou=0.5, pixel_accuracy=0.7))
    with pytest.raises(SweepError, match="which has none"):
        Objectives.parse("miou").values(result())


@pytest.mark.parametrize("value", [None, math.nan, math.inf])
def test_a_score_without_a_value(value: float | None):
    with pytest.raises(SweepError, match=f"'miou' has no value .*mean_iou is {value}"):
        Objectives.parse("miou").values(result(mean_iou=value))


def test_latency_that_was_not_measured():
    with pytest.raises(SweepError, match="'latency' is not among the scores"):
        Objectives.parse("miou,latency").values(result(mean_iou=0.5))
