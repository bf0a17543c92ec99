"""Figures of an analysis: what they draw, what they say, and equal files for equal figures."""

import subprocess
import sys
from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
import pytest
from figure_parts import coverage, head, legend, paths
from matplotlib.collections import LineCollection
from matplotlib.contour import QuadContourSet
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from dilsearch.report.effective_figure import threshold
from dilsearch.report.field_figures import (
    bounds_figure,
    coverage_figure,
    effective_figure,
    growth_figure,
)
from dilsearch.report.field_parts import common_path
from dilsearch.report.figures import as_png, as_svg
from dilsearch.report.style import ORANGE


def _texts(figure: Figure) -> list[str]:
    return [text.get_text() for axes in figure.axes for text in axes.texts]


def _growth(sizes: Sequence[int], wide: Sequence[int] | None = None) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "depth": range(1, len(sizes) + 1),
            "node": [f"net.body.{index}" for index in range(len(sizes))],
            "height_px": sizes,
            "width_px": sizes if wide is None else wide,
        }
    )


def _levels(figure: Figure) -> list[float]:
    return [line.get_ydata()[0] for line in figure.axes[0].lines if line.get_linestyle() == "--"]


def test_growth_of_equal_axes_is_one_line_and_names_the_node_that_suffices() -> None:
    figure = growth_figure(_growth([3, 7, 23, 63, 95]), needed_px=(63, 63))
    curve = next(line for line in figure.axes[0].lines if len(line.get_xdata()) == 5)
    assert list(curve.get_ydata()) == [3, 7, 23, 63, 95]
    assert _texts(figure) == ["needed: 63 px", "net.body.3: 63 px"]
    assert head(figure)[1:] == ["95 px, 1.51 times the 63 px needed"]
    assert [label.get_text() for label in figure.axes[0].get_xticklabels()] == list("01234")
    assert figure.axes[0].get_xlabel() == "nodes that widen the field in net.body"
    assert legend(figure) == []


def test_growth_that_does_not_suffice_names_no_node() -> None:
    figure = growth_figure(_growth([3, 7, 11]), needed_px=(63, 63))
    assert _texts(figure) == ["needed: 63 px"]
    assert figure.axes[0].get_ylim()[1] > 63


def test_growth_of_different_axes_is_two_lines_with_their_own_needs() -> None:
    figure = growth_figure(_growth([3, 9, 15], [3, 5, 7]), needed_px=(9, 19))
    assert legend(figure) == ["height", "width"]
    assert sorted(_levels(figure))[-2:] == [9, 19]
    assert "needed height: 9 px" in _texts(figure)
    assert "needed width: 19 px" in _texts(figure)
    assert len(head(figure)) == 3


def test_growth_is_logarithmic_from_a_twentyfold_span_on() -> None:
    assert growth_figure(_growth([3, 59])).axes[0].get_yscale() == "linear"
    assert growth_figure(_growth([3, 60])).axes[0].get_yscale() == "log"


def test_growth_of_many_nodes_counts_them() -> None:
    figure = growth_figure(_growth(list(range(3, 183, 2))), needed_px=(101, 101))
    assert "net.body.49: 101 px" in _texts(figure)
    assert figure.axes[0].get_xlabel() == "nodes that widen the field"
    assert not any("body" in text.get_text() for text in figure.axes[0].get_xticklabels())


def _sites(count: int, broken: Sequence[int] = ()) -> pd.DataFrame:
    bounds = [2 if index in broken else 6 for index in range(count)]
    return pd.DataFrame(
        {
            "name": [f"body.{index}.conv2" for index in range(count)],
            "rate_height": 4,
            "rate_width": 4,
            "bound_height": pd.array(bounds, dtype="Int64"),
            "bound_width": pd.array(bounds, dtype="Int64"),
            "bound_ok": pd.array([index not in broken for index in range(count)], "boolean"),
        }
    )


def _crosses(figure: Figure) -> list[tuple[float, float]]:
    return [
        (float(line.get_xdata()[0]), float(line.get_ydata()[0]))
        for axes in figure.axes
        for line in axes.lines
        if line.get_marker() == "X" and line.get_markerfacecolor() == ORANGE
    ]


def test_a_broken_bound_is_crossed_and_its_site_named_in_vermilion() -> None:
    figure = bounds_figure(_sites(5, broken=[3]))
    assert _crosses(figure) == [(3, 4)]
    assert _texts(figure) == ["4 > 2"]
    colors = [text.get_color() for text in figure.axes[0].get_xticklabels()]
    assert [color == ORANGE for color in colors] == [False, False, False, True, False]
    assert head(figure)[1] == "1 of 5 sites breaks its bound"
    assert "above it" in legend(figure)
    assert len(figure.axes) == 1


def test_bounds_that_are_kept_leave_nothing_in_vermilion() -> None:
    figure = bounds_figure(_sites(5))
    assert _crosses(figure) == []
    assert head(figure)[1] == "every rate keeps its bound"
    assert legend(figure) == ["rate", "up to the bound"]


def test_bounds_are_drawn_at_their_values() -> None:
    figure = bounds_figure(_sites(4, broken=[1]))
    (lines,) = (item for item in figure.axes[0].collections if isinstance(item, LineCollection))
    assert [segment[0][1] for segment in lines.get_segments()] == [6, 2, 6, 6]
    assert figure.axes[0].get_yscale() == "log"


def test_among_many_sites_those_that_break_their_bound_are_named() -> None:
    figure = bounds_figure(_sites(120, broken=[10, 60, 61, 117]))
    names = [text.get_text() for text in figure.axes[0].get_xticklabels()]
    assert names == ["10.conv2", "60.conv2 and 1 more", "117.conv2"]
    assert figure.axes[0].get_xlabel() == "120 sites in body, in the order of the forward pass"
    assert len(_crosses(figure)) == 4
    assert as_png(figure)


def test_every_branch_has_a_dot_and_only_the_one_beyond_the_bound_a_cross() -> None:
    sites = _sites(2, broken=[0]).assign(rates="1,1;4,4")
    figure = bounds_figure(sites)
    assert _crosses(figure) == [(0, 4)]
    dots = [(line.get_xdata()[0], line.get_ydata()[0]) for line in figure.axes[0].lines]
    assert dots == [(0, 1), (0, 4), (1, 1), (1, 4)]


def test_axes_that_differ_have_a_panel_each() -> None:
    figure = bounds_figure(_sites(3, broken=[1]).assign(rate_width=1))
    assert [axes.get_ylabel() for axes in figure.axes] == ["rate, height", "rate, width"]
    assert _crosses(figure) == [(1, 4)]


def test_one_tap_breaks_no_bound() -> None:
    sites = _sites(3, broken=[1])
    assert _crosses(bounds_figure(sites.assign(kernel_height=1, kernel_width=1))) == []
    assert _crosses(bounds_figure(sites.assign(kernel_height=3, kernel_width=3))) == [(1, 4)]
    flat = bounds_figure(sites.assign(kernel_height=1, kernel_width=3))
    assert [len(axes.texts) for axes in flat.axes] == [0, 1]


def test_a_site_without_a_bound_is_a_hollow_dot() -> None:
    sites = _sites(3)
    sites.loc[1, ["bound_height", "bound_width", "bound_ok"]] = pd.NA
    figure = bounds_figure(sites)
    hollow = [line.get_xdata()[0] for line in figure.axes[0].lines if _is_hollow(line)]
    assert hollow == [1]
    assert legend(figure)[-1] == "rate, no bound"
    assert _crosses(figure) == []


def _is_hollow(line: object) -> bool:
    return line.get_markerfacecolor() == "white"  # type: ignore[attr-defined]


def test_a_bound_of_zero_has_a_place_on_the_scale() -> None:
    sites = _sites(2, broken=[0])
    sites["bound_height"] = sites["bound_width"] = pd.array([0, 6], dtype="Int64")
    figure = bounds_figure(sites)
    figure.draw_without_rendering()
    assert figure.axes[0].get_yticklabels()[0].get_text() == "0"
    assert _texts(figure) == ["4 > 0"]


def _bell(height: int = 60, width: int = 80) -> np.ndarray:
    rows, columns = np.mgrid[:height, :width]
    return np.asarray(np.exp(-((rows - 30) ** 2 + (columns - 40) ** 2) / (2 * 6**2)))


def test_effective_field_has_its_contour_box_and_mark() -> None:
    figure = effective_figure(_bell(), field_box_px=[(-5, 55), (20, 61)], position=(30, 40))
    axes = figure.axes[0]
    (box,) = (patch for patch in axes.patches if isinstance(patch, Rectangle))
    # Clipped to the image above, and half a pixel around the outermost pixel elsewhere.
    assert (*box.get_xy(), box.get_width(), box.get_height()) == (19.5, -0.5, 41, 55)
    (mark,) = axes.lines
    assert (mark.get_xdata()[0], mark.get_ydata()[0]) == (40, 30)
    (contour,) = (item for item in axes.collections if isinstance(item, QuadContourSet))
    edge = contour.get_paths()[0].vertices
    radii = np.hypot(edge[:, 0] - 40, edge[:, 1] - 30)
    # A disk of radius r holds 1 - exp(-r^2 / 2 s^2) of a round bell.
    assert radii == pytest.approx(6 * np.sqrt(-2 * np.log(0.05)), rel=0.08)
    assert legend(figure) == ["output position", "95 % of the gradient", "theoretical field"]
    assert "field 60 × 41 px; 95 % of the gradient on" in head(figure)[1]  # noqa: RUF001


def test_effective_field_draws_nothing_that_is_not_known() -> None:
    figure = effective_figure(_bell(), share=None)
    axes = figure.axes[0]
    assert (len(axes.lines), len(axes.patches), len(axes.collections)) == (0, 0, 0)
    assert figure.legends == []


def test_effective_field_lies_over_the_image_and_leaves_it_as_it_is_elsewhere() -> None:
    image = np.zeros((60, 80, 3), dtype=np.uint8)
    image[:, ::2] = 255
    over = np.asarray(effective_figure(_bell(), image=image).axes[0].images[0].get_array())
    assert np.ptp(over[0, :2], axis=0).min() > 0.5
    assert np.ptp(over[30, 40:42], axis=0).max() < 0.1
    plain = np.asarray(effective_figure(_bell()).axes[0].images[0].get_array())
    assert plain[0, 0].max() < 0.02


def test_threshold_keeps_the_fewest_pixels_that_hold_the_share() -> None:
    values = np.array([0.1, 0.5, 0.2, 0.2])
    assert threshold(values, 0.5) == 0.5
    assert threshold(values, 0.6) == 0.2
    assert threshold(values, 1.0) == 0.1


def test_a_gradient_that_is_zero_is_told() -> None:
    figure = effective_figure(np.zeros((8, 8)), position=(4, 4))
    assert head(figure)[1] == "the gradient is 0 everywhere"
    assert as_png(figure)


def test_an_even_gradient_lies_on_as_many_pixels_as_its_share() -> None:
    figure = effective_figure(np.ones((20, 20)), share=1.0)
    assert head(figure)[1] == "100 % of the gradient on 100 % of the image's pixels"


def test_effective_field_of_a_series_and_of_a_volume() -> None:
    line = effective_figure(_bell()[30], field_box_px=[(20, 61)], position=(40,))
    assert list(line.axes[0].lines[0].get_ydata()) == _bell()[30].tolist()
    assert legend(line) == ["theoretical field", "95 % of the gradient", "output position"]
    volume = np.stack([_bell(), 0.5 * _bell()])
    planes = effective_figure(volume, position=(0, 30, 40))
    assert [axes.get_title(loc="left") for axes in planes.axes[:3]] == [
        "depth 0",
        "row 30",
        "column 40",
    ]


@pytest.mark.parametrize(
    "draw",
    [
        lambda: coverage(paths((2,) * 40)),
        lambda: coverage(paths((2, 4), axes=1)),
        lambda: growth_figure(_growth([3, 9, 15], [3, 5, 7]), needed_px=(9, 19)),
        lambda: bounds_figure(_sites(30, broken=[3])),
        lambda: effective_figure(_bell(), field_box_px=[(5, 55), (20, 61)], position=(30, 40)),
    ],
    ids=["plane", "series", "growth", "bounds", "effective"],
)
def test_equal_figures_give_equal_svg_files(draw: Callable[[], Figure]) -> None:
    assert as_svg(draw()) == as_svg(draw())


def test_names_with_dollar_signs_start_no_formula() -> None:
    growth = _growth([3, 9]).assign(node=[r"a$\bad$.x", r"a$\bad$.y"])
    sites = _sites(2, broken=[0]).assign(name=growth["node"])
    assert as_png(growth_figure(growth, needed_px=(5, 5)))
    assert as_png(bounds_figure(sites))
    assert as_png(coverage_figure(np.ones((3, 3), bool), origin_px=(-1, -1), title=r"$\bad$"))


def test_common_path_ends_with_a_whole_module() -> None:
    assert common_path(["a.b.c1", "a.b.c2"]) == "a.b."
    assert common_path(["a.b", "a.b"]) == "a."
    assert common_path(["conv1", "conv2"]) == ""
    assert common_path(["a.b.c"]) == ""


def test_drawing_loads_neither_a_window_system_nor_torch_nor_the_analysis() -> None:
    code = (
        "import sys, dilsearch.report.field_figures\n"
        "names = ('matplotlib.pyplot', 'torch', 'dilsearch.analysis')\n"
        "sys.exit(any(name in sys.modules for name in names))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
