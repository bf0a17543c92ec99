import math

import pandas as pd
import pytest

from dilsearch.bench.cases import all_cases
from dilsearch.bench.outcome import Measurement, Outcome
from dilsearch.bench.tables import (
    QUANTITIES,
    RESULT_TYPES,
    left_out_sentences,
    results_table,
    text_table,
    to_markdown,
)

MACHINE = {
    "cpu": "A processor",
    "gpu": None,
    "threads": 3,
    "precision": "float32",
    "rounds": 4,
    "versions": {"torch": "9.9"},
    "quick": False,
}


@pytest.fixture
def measurements() -> list[Measurement]:
    return [
        Measurement("dense", None, "forward_ms", "native", (1.0, 2.0, 4.0, 8.0)),
        Measurement("dense", None, "forward_ms", "ours", (3.0, 2.0, 8.0, 32.0)),
        Measurement("dense", None, "forward_backward_mib", "native", (10.0,)),
        Measurement("dense", None, "forward_backward_mib", "ours", (25.0,)),
        Measurement("growth-rate", 1.5, "forward_backward_ms", "native", (1.0, 1.0)),
        Measurement("growth-rate", 1.5, "forward_backward_ms", "ours", (1.0, 3.0)),
        Measurement("growth-rate", 2.5, "forward_backward_ms", "ours", (4.0, 4.0)),
    ]


@pytest.fixture
def results(measurements: list[Measurement]) -> pd.DataFrame:
    return results_table(measurements)


def test_ratios_are_medians_of_the_rounds_and_not_ratios_of_medians(results: pd.DataFrame) -> None:
    assert list(results.columns) == list(RESULT_TYPES)
    ours = results.iloc[1]
    # Ratios by round are 3, 1, 2 and 4; the ratio of the medians would be 5.5 / 3.
    assert ours["ratio"] == 2.5
    assert ours["median"] == 5.5
    assert (ours["ratio_lower_quartile"], ours["ratio_upper_quartile"]) == (1.75, 3.25)
    assert (ours["lower_quartile"], ours["upper_quartile"]) == (2.75, 14.0)
    assert ours["rounds"] == 4
    assert results.iloc[0]["ratio"] == 1


def test_points_are_compared_with_their_own(results: pd.DataFrame) -> None:
    grown = results[results["case"] == "growth-rate"]
    assert grown["at"].tolist() == [1.5, 1.5, 2.5]
    assert grown["ratio"].tolist()[:2] == [1, 2]
    assert math.isnan(grown["ratio"].tolist()[2])  # nothing to compare it with


def test_what_takes_nothing_gives_no_ratio() -> None:
    table = results_table(
        [
            Measurement("dense", None, "forward_backward_mib", "native", (0.0,)),
            Measurement("dense", None, "forward_backward_mib", "ours", (1.0,)),
        ]
    )
    assert table["ratio"].isna().all()


def test_no_measurements_give_an_empty_table() -> None:
    empty = results_table([])
    assert list(empty.columns) == list(RESULT_TYPES)
    assert list(text_table(empty).columns) == ["case", "quantity"]


def test_the_text_table_has_a_column_for_each_contestant(results: pd.DataFrame) -> None:
    table = text_table(results)
    assert list(table.columns) == ["case", "quantity", "native", "ours"]
    assert table.values.tolist() == [
        ["dense", "forward, ms", "3", "5.5 (2.50 x, 1.75 to 3.25)"],
        ["dense", "memory of that, MiB", "10", "25 (2.50 x)"],
        ["growth-rate 1.5", "forward and backward, ms", "1", "2 (2.00 x, 1.50 to 2.50)"],
        ["growth-rate 2.5", "forward and backward, ms", "", "4"],
    ]


def test_quartiles_may_be_left_out(results: pd.DataFrame) -> None:
    assert text_table(results, quartiles=False)["ours"].tolist()[:2] == [
        "5.5 (2.50 x)",
        "25 (2.50 x)",
    ]


def test_large_figures_are_not_in_powers_of_ten() -> None:
    table = text_table(
        results_table([Measurement("dense", None, "forward_ms", "native", (12345.6,))])
    )
    assert table["native"].tolist() == ["12346"]


def test_units_stand_at_the_end_of_names() -> None:
    units = {"ms": "ms", "mib": "MiB", "gmac": "GMAC"}
    for name, words in QUANTITIES.items():
        assert words.endswith(f", {units[name.rpartition('_')[2]]}")


def test_markdown_tells_what_was_measured_on_what(results: pd.DataFrame) -> None:
    outcome = Outcome()
    outcome.leave_out("dcls", "not installed", "dense")
    outcome.leave_out("dcls", "not installed", "tcn")
    outcome.leave_out("deformable", "for images only", "tcn")
    outcome.leave_out("deformable", "for images only", "tcn")
    assert left_out_sentences(outcome) == [
        "dcls: not installed", "deformable: for images only (tcn)"
    ]  # fmt: skip
    text = to_markdown(results, all_cases(), outcome, MACHINE)
    headings = [line for line in text.splitlines() if line.startswith("#")]
    assert headings == [
        "# What fractional convolution costs", "## Layers", "## Growth", "## Left out"
    ]  # fmt: skip
    assert (
        "Measured on A processor with threads: 3, in float32, with torch 9.9, 4 rounds.\n" in text
    )
    assert "| case | quantity | native | ours |\n| --- | --- | ---: | ---: |\n" in text
    assert "- `dense`: a dense layer, 1 x 256 x 45 x 60 to 256 channels, at 5.5\n" in text
    assert "- dcls: not installed\n" in text
    quick = to_markdown(results, all_cases(), Outcome(), {**MACHINE, "quick": True, "gpu": "A GPU"})
    assert "Measured on A GPU, in float32" in quick
    assert "the figures mean nothing" in quick
    assert "Left out" not in quick
