import itertools
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from PIL import Image

from dilsearch.report.figures import as_png
from dilsearch.study import Study
from dilsearch.study.figures import fields_figure, scores_figure, stacked
from dilsearch.study.tables import results_table

FIELDS = (90, 250, 60, 90)


@pytest.fixture
def results(tmp_path: Path, study: Study, write_run: Callable[..., Path]) -> pd.DataFrame:
    for case, field_px in zip(study.parts[0].cases(), FIELDS, strict=True):
        scores = {"fractional": {"far_accuracy": field_px / 250}}
        write_run(tmp_path, case, field_px=field_px, needed_px=100, scores=scores)
    for case in study.parts[1].cases():
        scores = {name: {"mean_iou": 0.3} for name in ("fractional", "retrain", "control")}
        write_run(tmp_path, case, needed_px=None, scores=scores)
    return results_table(tmp_path, study)


def _dots(figure: Figure, panel: int) -> list[tuple[float, float]]:
    points = [np.asarray(dots.get_offsets()) for dots in figure.axes[panel].collections]
    return [(float(x), float(y)) for x, y in np.concatenate(points)]


def test_every_run_is_a_dot_of_the_fields(results: pd.DataFrame, study: Study) -> None:
    figure = fields_figure(results, study)
    assert figure is not None
    (axes,) = figure.axes  # nothing says how wide the field of the streets has to be
    assert axes.get_title(loc="left") == "Thin bars (needs 100 px)"
    assert sorted(x for x, _ in _dots(figure, 0)) == pytest.approx([0.6, 0.9, 0.9, 2.5])
    assert [text.get_text() for text in axes.get_yticklabels()] == ["default", "plain"]
    assert [text.get_text() for text in axes.texts] == ["1 of 2", "2 of 2"]
    lines = [float(np.asarray(line.get_xdata())[0]) for line in axes.lines]
    assert lines == [0.9, 2.0]
    left, right = axes.get_xlim()
    assert left < 0.6
    assert right > 2.5
    assert axes.get_xscale() == "log"


def test_every_network_is_a_mark_of_the_scores(results: pd.DataFrame, study: Study) -> None:
    figure = scores_figure(results, study)
    assert figure is not None
    bars, streets = figure.axes
    assert sorted(y for _, y in _dots(figure, 0)) == pytest.approx([0.24, 0.36, 0.36, 1.0])
    assert (bars.get_ylabel(), streets.get_ylabel()) == ("far accuracy", "mean IoU")
    assert [text.get_text() for text in bars.texts] == ["default", "plain"]
    assert [text.get_text() for text in bars.get_xticklabels()] == ["0", "1", "0", "1"]
    marks = _dots(figure, 1)
    assert len(marks) == 6
    assert len({x for x, _ in marks}) == 6  # equal scores lie beside each other
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert legend == ["searched", "retrained", "control", "0.95: solved"]


def test_there_is_no_figure_of_nothing(results: pd.DataFrame, study: Study) -> None:
    assert fields_figure(results[results["part"] == "streets"], study) is None
    assert scores_figure(results.iloc[:0], study) is None


def test_figures_are_1200_px_wide_and_made_the_same_again(
    results: pd.DataFrame, study: Study
) -> None:
    for draw in (fields_figure, scores_figure):
        first, second = draw(results, study), draw(results, study)
        assert first is not None
        assert second is not None
        png = as_png(first)
        assert png == as_png(second)
        assert Image.open(BytesIO(png)).width == 1200


def test_dots_are_set_apart_only_where_they_would_touch() -> None:
    values = [1.0, 1.0, 1.0, 1.05, 2.0, 1.0]
    steps = stacked(values, 0.1)
    assert list(steps) == [0, 1, -1, -2, 0, 2]
    places = zip(values, steps, strict=True)
    for (x, step), (other_x, other_step) in itertools.combinations(places, 2):
        assert step != other_step or abs(x - other_x) >= 0.1
    assert list(stacked(values, 0.0)) == [0] * 6
    assert list(stacked([], 0.1)) == []
