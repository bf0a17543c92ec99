from io import BytesIO

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from dilsearch.bench.cases import all_cases
from dilsearch.bench.figures import growth_figure, ratios_figure
from dilsearch.bench.outcome import Measurement
from dilsearch.bench.tables import results_table
from dilsearch.report.figures import as_png


@pytest.fixture
def results() -> pd.DataFrame:
    layer = [
        Measurement(case, None, quantity, name, (1.0 * factor, 2.0 * factor))
        for case in ("dense", "tcn")
        for quantity in ("forward_ms", "forward_backward_ms")
        for name, factor in (("native", 1.0), ("ours", 1.5), ("deformable", 20.0))
        if (case, name) != ("tcn", "deformable")
    ]
    grown = [
        Measurement(f"growth-{axis}", value, "forward_backward_ms", name, (factor * value,) * 2)
        for axis, values in (("rate", (1.5, 19.5)), ("size", (16, 128)))
        for value in values
        for name, factor in (("native", 1.0), ("ours", 1.5))
    ]
    return results_table(layer + grown)


def test_every_ratio_is_a_mark(results: pd.DataFrame) -> None:
    figure = ratios_figure(results)
    assert figure is not None
    forward, both = figure.axes
    assert (forward.get_title(loc="left"), both.get_title(loc="left")) == (
        "forward: time", "forward and backward: time"
    )  # fmt: skip
    assert [text.get_text() for text in forward.get_yticklabels()] == ["dense", "tcn"]
    dots = [np.asarray(c.get_offsets()) for c in forward.collections if len(c.get_offsets())]
    found = sorted(float(x) for group in dots for x, _ in group if x)
    assert found == pytest.approx([1.5, 1.5, 20])
    assert forward.get_xscale() == "log"
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["ours", "deformable"]


def test_what_grows_is_a_line_in_its_own_column(results: pd.DataFrame) -> None:
    figure = growth_figure(results, all_cases())
    assert figure is not None
    assert len(figure.axes) == 4
    times, ratios = figure.axes[0], figure.axes[2]
    assert [line.get_ydata().tolist() for line in times.lines][:2] == [[1.5, 19.5], [2.25, 29.25]]
    assert ratios.lines[0].get_ydata().tolist() == pytest.approx([1.5, 1.5])
    assert ratios.get_xlabel() == "rate, px"
    assert figure.axes[3].get_xlabel() == "height and width, px"
    assert times.get_xscale() == times.get_yscale() == "log"


def test_figures_become_files(results: pd.DataFrame) -> None:
    for figure in (ratios_figure(results), growth_figure(results, all_cases())):
        assert figure is not None
        with Image.open(BytesIO(as_png(figure))) as image:
            assert image.width == 1200


def test_nothing_to_draw(results: pd.DataFrame) -> None:
    layers = results[results["at"].isna()]
    assert growth_figure(layers, all_cases()) is None
    assert ratios_figure(results[results["at"].notna()]) is None
    assert ratios_figure(layers[layers["contestant"] == "native"]) is None
    assert ratios_figure(results_table([])) is None
