"""Figures: what they show, their labels, and files that are equal for equal runs."""

import math
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from dilsearch.report import figures, tables
from dilsearch.report.rate_figures import rates_figure
from dilsearch.report.rates import rates_over_time
from dilsearch.report.tables import ClassEntry, Predictions


def _texts(figure: Figure) -> str:
    drawn = [text.get_text() for axes in figure.axes for text in axes.texts]
    return "\n".join(drawn)


def _rates(sites: int, branches: int) -> pd.DataFrame:
    return pd.DataFrame(
        [
            (step, f"body.{site}", str(branch), 1.0 + step * branch)
            for site in range(sites)
            for branch in range(branches)
            for step in (0, 1, 2)
        ],
        columns=["step", "site", "line", "rate"],
    )


@pytest.mark.parametrize(("sites", "branches"), [(1, 1), (1, 4), (5, 2), (7, 2), (13, 2)])
def test_rates_figure_has_a_panel_for_each_site_and_a_line_for_each_branch(
    sites: int, branches: int
) -> None:
    figure = rates_figure(_rates(sites, branches), {})
    assert [axes.get_title(loc="left") for axes in figure.axes] == [
        f"body.{site}" for site in range(sites)
    ]
    for axes in figure.axes:
        styles = [line.get_linestyle() for line in axes.lines]
        assert len(styles) == len(set(styles)) == branches
    assert figures.as_png(figure).startswith(b"\x89PNG")


def test_rates_figure_marks_the_integer_rates(finished: Mapping[str, Path]) -> None:
    data = tables.read_run(finished["toy"])
    assert data.trajectory is not None
    assert data.plan is not None
    figure = rates_figure(rates_over_time(data.trajectory), data.plan.sites)
    third = figure.axes[2]
    dots = [line.get_ydata()[0] for line in third.lines if line.get_marker() == "o"]
    assert dots == [2, 9]
    assert third.get_ylim()[1] > 9
    assert figure.get_supxlabel() == "search step"
    assert figure.get_supylabel() == "dilation rate"


def test_field_figure_names_its_levels_in_pixels() -> None:
    field = pd.DataFrame({"step": [0, 1], "height_px": [47, 199], "width_px": [47, 199]})
    figure = figures.field_figure(field, 191, 47, 199)
    told = _texts(figure)
    assert "needed: 191 px" in told
    assert "every rate 1: 47 px" in told
    assert "rounded: 199 px" in told
    axes = figure.axes[0]
    assert axes.get_ylabel() == "field of view (px)"
    assert axes.get_xlabel() == "search step"
    assert axes.get_ylim()[1] > 199


def test_field_figure_draws_no_level_that_is_not_known() -> None:
    field = pd.DataFrame({"step": [0, 1], "height_px": [47, 63], "width_px": [47, 47]})
    figure = figures.field_figure(field, None, None, None)
    assert _texts(figure) == ""
    assert [line.get_label() for line in figure.axes[0].lines] == ["height", "width"]


def test_field_figure_shows_a_needed_field_far_above() -> None:
    field = pd.DataFrame({"step": [0, 1], "height_px": [47, 63], "width_px": [47, 63]})
    assert figures.field_figure(field, 511, None, None).axes[0].get_ylim()[1] > 511


def test_loss_figure_has_a_named_curve_for_each_stage(finished: Mapping[str, Path]) -> None:
    losses = tables.read_run(finished["toy"]).losses
    legend = figures.loss_figure(losses).axes[0].get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == ["search", "retraining", "control"]


def test_loss_figure_of_a_single_step() -> None:
    figure = figures.loss_figure({"search": pd.DataFrame({"step": [1], "loss": [0.7]})})
    assert math.isclose(figure.axes[0].lines[-1].get_ydata()[0], 0.7)


def test_predictions_are_drawn_in_the_colours_of_their_classes() -> None:
    labels = np.array([[0, 1], [255, 2]])
    picture = figures.colored(labels, ["#ff0000", "#00ff00"])
    assert picture.tolist() == [[[255, 0, 0], [0, 255, 0]], [[0, 0, 0], [0, 0, 0]]]


def test_predictions_figure_leaves_out_networks_without_predictions() -> None:
    truth = np.zeros((3, 8, 8), dtype=np.int64)
    shown = Predictions(np.zeros((3, 8, 8, 3), np.uint8), truth, {"retrain": truth})
    figure = figures.predictions_figure(shown, [ClassEntry("a $b$ <c>")], most=2)
    assert [axes.get_title() for axes in figure.axes[:3]] == ["Image", "Ground truth", "Retrained"]
    assert len(figure.axes) == 6
    assert not figure.legends[0].get_texts()[0].get_parse_math()


def test_predictions_of_sequences_are_strips_one_above_the_other() -> None:
    truth = np.zeros((3, 1, 50), dtype=np.int64)
    truth[..., 20:] = 1
    shown = Predictions(np.full((3, 1, 50, 3), 9, np.uint8), truth, {"control": 1 - truth})
    figure = figures.predictions_figure(
        shown, [ClassEntry("a $b$", "#ff0000"), ClassEntry("c", "#00ff00")], most=2
    )
    assert len(figure.axes) == 2
    for axes in figure.axes:
        names = [text.get_text() for text in axes.get_yticklabels()]
        assert names == ["Sequence", "Ground truth", "Control"]
        (image,) = axes.get_images()
        colours = np.asarray(image.get_array())
        assert colours.shape == (3, 50, 3)
        assert colours[:, 19].tolist() == [[9, 9, 9], [255, 0, 0], [0, 255, 0]]
        assert colours[:, 20].tolist() == [[9, 9, 9], [0, 255, 0], [255, 0, 0]]
    assert figure.axes[1].get_xlabel() == "step"
    assert not figure.legends[0].get_texts()[0].get_parse_math()
    # The control: pictures two pixels high stand side by side.
    tall = Predictions(shown.images.repeat(2, 1), truth.repeat(2, 1), {})
    assert len(figures.predictions_figure(tall, [ClassEntry("a"), ClassEntry("c")]).axes) == 6


def test_pixels_that_are_not_scored_are_in_the_legend_where_there_are_some() -> None:
    truth = np.array([[[0, 255]]])
    classes = [ClassEntry("road", "#804080")]
    shown = Predictions(np.zeros((1, 1, 2, 3), np.uint8), truth, {})
    assert figures.legend_entries(shown, classes) == [
        ("road", "#804080"),
        ("not scored", "#000000"),
    ]
    scored = Predictions(shown.images, truth * 0, {})
    assert figures.legend_entries(scored, classes) == [("road", "#804080")]


def test_class_colors_are_the_runs_own_or_tab20() -> None:
    entries = [ClassEntry("a", "#123456"), ClassEntry("b"), ClassEntry("c", "no colour")]
    assert figures.class_colors(entries) == ["#123456", "#aec7e8", "#ff7f0e"]


def test_equal_figures_give_equal_svg_files() -> None:
    one, other = (figures.as_svg(rates_figure(_rates(3, 2), {})) for _ in range(2))
    assert one == other
    assert one != figures.as_svg(rates_figure(_rates(4, 2), {}))


def test_a_site_name_with_dollar_signs_is_drawn_as_it_is() -> None:
    rates = _rates(1, 1).assign(site=r"a$\bad$")
    assert figures.as_svg(rates_figure(rates, {}))


def test_drawing_starts_no_window_system() -> None:
    code = (
        "import sys, dilsearch.report.figures\n"
        "sys.exit('matplotlib.pyplot' in sys.modules or 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], env={**os.environ}, check=False)
    assert done.returncode == 0
