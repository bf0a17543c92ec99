"""The picture of a field: every pixel and hole of it, whatever its size and number of axes."""

import numpy as np
import pytest
from figure_parts import coverage, head, legend, paths
from matplotlib.colors import to_hex, to_rgb
from matplotlib.patches import ConnectionPatch, Rectangle

from dilsearch.report.coverage_figure import HOLE, coverage_figure
from dilsearch.report.field_parts import blocks
from dilsearch.report.style import BLUE


def _hole_like(picture: np.ndarray) -> np.ndarray:
    return np.isclose(picture, to_rgb(HOLE), atol=0.01).all(axis=-1)


def test_gridding_is_drawn_pixel_by_pixel_and_its_holes_are_counted() -> None:
    figure = coverage(paths((2, 2, 2)))
    assert head(figure) == ["output", "13 × 13 px: 120 holes, 29 % of the pixels are seen"]  # noqa: RUF001
    picture = figure.axes[0].images[0]
    assert _hole_like(np.asarray(picture.get_array())).sum() == 120
    assert picture.get_extent() == [-6.5, 6.5, 6.5, -6.5]
    assert legend(figure) == ["output position", "not seen"]
    assert figure.axes[1].get_xlabel() == "paths to the position, relative to the most"


def test_a_field_without_holes_says_so_and_has_no_colour_for_them() -> None:
    figure = coverage(paths((1, 2, 5)))
    assert head(figure)[1].endswith("no holes, every pixel is seen")
    assert not _hole_like(np.asarray(figure.axes[0].images[0].get_array())).any()
    assert legend(figure) == ["output position"]


def test_one_hole_is_no_plural() -> None:
    counts = paths((1, 1))
    counts[0, 0] = 0
    assert "1 hole," in head(coverage(counts))[1]


def test_more_paths_are_darker_and_no_seen_pixel_is_as_light_as_a_hole() -> None:
    picture = np.asarray(coverage(paths((1, 1, 1, 1))).axes[0].images[0].get_array())
    grey = picture @ np.array([0.299, 0.587, 0.114])
    line = grey[4]
    assert (np.diff(line[:5]) < 0).all()
    assert grey.max() < to_rgb(HOLE) @ np.array([0.299, 0.587, 0.114]) - 0.2


def test_the_position_is_marked_at_its_own_pixel() -> None:
    (mark,) = coverage(paths((1, 1))).axes[0].lines
    assert (list(mark.get_xdata()), list(mark.get_ydata())) == ([0], [0])


def test_without_counts_seen_pixels_look_alike_and_there_is_no_colour_bar() -> None:
    seen = paths((2, 2)) > 0
    figure = coverage_figure(seen, origin_px=(-4, -4), title="output")
    assert len(figure.axes) == 1
    picture = np.asarray(figure.axes[0].images[0].get_array())
    assert {to_hex(color) for color in picture[seen]} == {BLUE.lower()}
    assert legend(figure) == ["output position", "seen", "not seen"]


def test_a_single_hole_stays_visible_in_a_large_field() -> None:
    counts = np.ones((1000, 1000))
    whole = np.asarray(coverage(counts).axes[0].images[0].get_array())
    counts[803, 207] = 0
    figure = coverage(counts)
    drawn = np.asarray(figure.axes[0].images[0].get_array())
    changed = np.argwhere(np.abs(drawn - whole).max(axis=-1) > 0.2)
    assert changed.tolist() == [[803 // 8, 207 // 8]]
    assert "one dot: 8 × 8 px" in legend(figure)  # noqa: RUF001
    # The part drawn again has moved to it, and shows it as one pixel.
    assert figure.axes[1].get_title(loc="left") == "64 × 64 px at the nearest hole"  # noqa: RUF001
    part = _hole_like(np.asarray(figure.axes[1].images[0].get_array()))
    left, _, _, top = figure.axes[1].images[0].get_extent()
    ((row, column),) = np.argwhere(part)
    assert (row + top + 0.5 + 500, column + left + 0.5 + 500) == (803, 207)


def test_the_middle_of_a_large_field_is_drawn_again_where_it_has_holes() -> None:
    figure = coverage(paths((2,) * 40))
    assert figure.axes[1].get_title(loc="left") == "64 × 64 px at the position"  # noqa: RUF001
    assert figure.axes[1].images[0].get_size() == (64, 64)
    # The mark stands in the whole as well, unless it would cover the frame around the part.
    assert [len(axes.lines) for axes in figure.axes[:2]] == [1, 1]
    larger = coverage(paths((2,) * 200))
    assert [len(axes.lines) for axes in larger.axes[:2]] == [0, 1]
    assert [type(artist) for artist in figure.artists] == [ConnectionPatch] * 2


def test_colours_span_eight_decades_at_most() -> None:
    counts = np.ones((3, 3))
    counts[0, 0], counts[0, 1] = 1e-60, 1e-300 * 1e-300  # underflows to 0, yet is seen
    seen = np.ones((3, 3), dtype=bool)
    figure = coverage_figure(seen, counts, origin_px=(-1, -1), title="output")
    assert figure.axes[1].get_xlim() == pytest.approx((1e-8, 1))
    picture = np.asarray(figure.axes[0].images[0].get_array())
    assert np.array_equal(picture[0, 0], picture[0, 1])
    assert not _hole_like(picture).any()


def test_the_image_is_outlined_only_where_the_field_reaches_beyond_it() -> None:
    counts = paths((1, 2, 5))

    def outlines(image_px: tuple[int, int]) -> list[tuple[float, ...]]:
        patches = coverage(counts, image_px=image_px).axes[0].patches
        found = [patch for patch in patches if isinstance(patch, Rectangle)]
        return [(*patch.get_xy(), patch.get_width(), patch.get_height()) for patch in found]

    assert outlines((10, 40)) == [(-20.5, -5.5, 40, 10)] * 2
    assert outlines((17, 17)) == []
    assert "image" in legend(coverage(counts, image_px=(10, 40)))


def test_a_series_has_a_bar_for_each_pixel_seen_and_a_tick_for_each_hole() -> None:
    figure = coverage(paths((2, 4), axes=1))
    assert head(figure)[1] == "13 px: 6 holes, 53.8 % of the pixels are seen"
    bars = [patch for patch in figure.axes[0].patches if isinstance(patch, Rectangle)]
    assert [bar.get_x() + bar.get_width() / 2 for bar in bars] == pytest.approx(range(-6, 7, 2))
    (strip,) = figure.axes[0].collections
    assert sorted(path.vertices[:, 0].min() + 0.5 for path in strip.get_paths()) == pytest.approx(
        range(-5, 6, 2)
    )
    assert figure.axes[0].get_yscale() == "log"


def test_a_long_series_keeps_its_only_hole() -> None:
    counts = np.ones(5000)
    counts[1234] = 0
    figure = coverage_figure(counts > 0, counts, origin_px=(-4999,), title="output")
    for axes in figure.axes[:2]:
        strip = axes.collections[0]
        (path,) = strip.get_paths()
        assert path.vertices[:, 0].min() < 1234 - 4999 < path.vertices[:, 0].max()
    assert figure.axes[1].get_xlim()[1] - figure.axes[1].get_xlim()[0] == 64
    assert "one bar above: 20 px" in legend(figure)


def test_a_volume_is_three_planes_through_the_position() -> None:
    counts = paths((1, 2), axes=3)[2:]
    figure = coverage_figure(counts > 0, counts, origin_px=(-1, -3, -3), title="output")
    titles = [axes.get_title(loc="left") for axes in figure.axes[:3]]
    assert titles == ["depth 0", "row 0", "column 0"]
    assert [axes.images[0].get_size() for axes in figure.axes[:3]] == [(7, 7), (5, 7), (5, 7)]


@pytest.mark.parametrize("size", [1, 3, 4])
def test_blocks_keep_the_sum_also_at_ragged_edges(size: int) -> None:
    values = np.arange(70.0).reshape(7, 10)
    summed = blocks(values, size)
    assert summed.shape == (-(-7 // size), -(-10 // size))
    assert summed.sum() == values.sum()
    assert summed[0, 0] == values[:size, :size].sum()
