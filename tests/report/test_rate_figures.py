"""The figures of rates: lines and bands over the steps, and how many came out alike."""

import matplotlib.colors as colors
import pandas as pd
import pytest
from matplotlib.figure import Figure

from dilsearch.plan import SiteRates
from dilsearch.report.figures import as_png
from dilsearch.report.rate_figures import rates_figure, spread_figure


def over_time(**lines: list[float]) -> pd.DataFrame:
    """Long form of a trajectory of one site, by the names of its lines."""
    parts = [
        pd.DataFrame({"step": range(len(rates)), "site": "a", "line": name, "rate": rates})
        for name, rates in lines.items()
    ]
    return pd.concat(parts)


def legend(figure: Figure) -> list[str]:
    return [text.get_text() for drawn in figure.legends for text in drawn.get_texts()]


def test_many_rates_are_a_line_in_a_band() -> None:
    rates = over_time(min=[1, 1], mean=[2, 3], max=[4, 9])
    final = SiteRates("channel", (1, *(3,) * 14, 8))
    figure = rates_figure(rates, {"a": final})
    (axes,) = figure.axes
    (band,) = axes.collections
    assert band.get_paths()[0].get_extents().bounds == (0, 1, 1, 8)
    mean, ends, dot = axes.lines
    assert list(mean.get_ydata()) == [2, 3]
    assert list(ends.get_ydata()) == [1, 8]
    assert list(dot.get_ydata()) == [pytest.approx(51 / 16)]
    assert legend(figure) == ["mean", "smallest to largest", "integer rate"]
    assert axes.get_ylim()[1] > 9
    assert as_png(figure)


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (("0.0", "0.1"), ["height", "width", "integer rate, height", "integer rate, width"]),
        (
            ("0.0", "0.1", "1.0", "1.1"),
            [
                "branch 0, height",
                "branch 0, width",
                "branch 1, height",
                "branch 1, width",
                "integer rate, height",
                "integer rate, width",
            ],
        ),
        (("0.0", "0.1", "0.2"), ["depth", "height", "width"]),
        (("0", "1"), ["branch 0", "branch 1", "integer rate"]),
        (("0",), ["integer rate"]),
    ],
)
def test_every_line_is_named_and_looks_its_own_way(names: tuple[str, ...], told: list[str]) -> None:
    axes_count = 1 + max(int(name.partition(".")[2] or 0) for name in names)
    final = SiteRates("branch", tuple(range(1, len(names) + 1)), axes=axes_count)
    figure = rates_figure(over_time(**{name: [1.0, 2.0] for name in names}), {"a": final})
    assert legend(figure)[: len(told)] == told
    lines = [line for line in figure.axes[0].lines if len(line.get_xdata()) == 2]
    assert len({(line.get_color(), line.get_linestyle()) for line in lines}) == len(names)
    dots = [line for line in figure.axes[0].lines if line.get_marker() == "o"]
    assert [dot.get_ydata()[0] for dot in dots] == list(final.rates)
    hollow = [colors.to_hex(dot.get_markerfacecolor()) == "#ffffff" for dot in dots]
    assert hollow == ["." in name and not name.endswith(".0") for name in names]


def test_the_spread_counts_every_rate_once() -> None:
    plan = {
        "few": SiteRates("branch", (1, 2)),
        "many": SiteRates("channel", (1.2,) * 7 + (2.5,) * 3 + (6,) * 2),
    }
    figure = spread_figure(plan)
    assert figure is not None
    (axes,) = figure.axes
    assert axes.get_title(loc="left") == "many"
    bars = {bar.get_x() + bar.get_width() / 2: bar.get_height() for bar in axes.patches}
    assert bars == {1: 7, 3: 3, 6: 2}
    assert as_png(figure)
    assert spread_figure({"few": plan["few"]}) is None
    assert spread_figure({}) is None
