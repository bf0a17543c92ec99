import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import compared_folders as folders
import pandas as pd
import pytest

from dilsearch.baselines.record import column_in_words
from dilsearch.comparison.methods import read_methods
from dilsearch.comparison.outcomes import outcomes
from dilsearch.comparison.tables import (
    DIFFERENCE_TYPES,
    Comparison,
    decimals,
    differences_table,
    pairs,
    short_table,
    shown_table,
)

WriteRun = Callable[..., Path]
Trials = list[dict[str, Any]]

PARTS = "6 (1 pruned, 1 answered, 2 failed)"


@pytest.fixture(scope="module")
def comparison(tmp_path_factory: pytest.TempPathFactory) -> Comparison:
    path = tmp_path_factory.mktemp("compared")
    with pytest.MonkeyPatch.context() as patch:
        folders.made_quickly(patch)
        runs = [folders.write_run(path / f"run{n}", seed=n, score=(0.9, 0.8)[n]) for n in (0, 1)]
        grid = folders.write_sweep(path / "grid", folders.grid_trials())
        tpe = folders.write_sweep(path / "tpe", folders.tpe_trials(), protocol="tpe")
    return Comparison.of(read_methods(list(map(str, (*runs, grid, tpe)))), 0.9)


@pytest.fixture(scope="module")
def without_threshold(comparison: Comparison) -> Comparison:
    return Comparison.of(comparison.methods)


def test_the_summary_of_each_method(comparison: Comparison) -> None:
    rows = comparison.summary.set_index("name")
    assert list(rows.index) == ["search", "grid", "grid at 80 px", "tpe", "control"]
    search, grid, tpe = rows.loc["search"], rows.loc["grid"], rows.loc["tpe"]
    assert (search["seeds"], search["trials"], search["samples_mean"]) == (2, 2, 160)
    assert search["score_mean"] == pytest.approx(0.85)
    assert search["score_std"] == pytest.approx(math.sqrt(0.005))  # two values 0.1 apart
    assert (search["score_min"], search["score_max"]) == (0.8, 0.9)
    assert list(grid[["field_median", "field_min", "field_max"]]) == [59, 39, 79]
    assert (grid["trials"], grid["samples_mean"], grid["seconds_mean"]) == (4, 120, 10)
    assert math.isnan(tpe["score_std"])  # one seed says nothing of its spread
    assert (tpe["pruned"], tpe["answered"], tpe["failed"]) == (1, 1, 2)
    assert tpe["samples_mean"] == 140  # what is on record of a failed trial is not charged


def test_what_it_took_to_reach_the_threshold(
    comparison: Comparison, without_threshold: Comparison
) -> None:
    rows = comparison.summary.set_index("name")
    assert list(rows["reached"].fillna(-1)) == [1, 0, -1, 1, 0]
    assert rows.loc["search", "samples_reached_median"] == 160  # of the one seed that did
    assert rows.loc["tpe", "samples_reached_median"] == 140
    assert math.isnan(rows.loc["control", "seconds_reached_median"])
    assert "reached" not in without_threshold.summary


def test_a_search_is_held_against_all_others(comparison: Comparison) -> None:
    table = differences_table(comparison.pairs)
    assert list(table.columns) == list(DIFFERENCE_TYPES)
    assert list(table["first"]) == ["search"] * 4
    assert list(table["second"]) == ["grid", "grid at 80 px", "tpe", "control"]
    assert list(table["mean"]) == pytest.approx([0.1, 0.15, -0.05, 0.35])
    assert list(table["seeds_first"]) == [2, 2, 1, 2]
    assert list(table["paired"]) == [True] * 4
    assert set(table["verdict"]) == {"too few seeds"}


def test_without_a_search_all_others_are_held_against_each_other(
    comparison: Comparison,
) -> None:
    plans = comparison.methods.plans
    found = [
        (pair.first, pair.second) for pair in pairs(outcomes(plans[plans["kind"] != "search"]))
    ]
    assert ("grid", "tpe") in found
    assert ("grid", "grid at 80 px") not in found
    assert len(found) == 5


def test_two_searches_are_compared_in_the_order_given(tmp_path: Path, write_run: WriteRun) -> None:
    one, two = write_run(tmp_path / "a"), write_run(tmp_path / "b", score=0.7)
    found = Comparison.of(read_methods([f"B={two}", f"A={one}"])).pairs
    named = [(pair.first, pair.second) for pair in found]
    assert named == [("B", "A"), ("B", "control"), ("A", "control")]


def test_the_texts_of_the_table(comparison: Comparison, without_threshold: Comparison) -> None:
    shown = shown_table(comparison)
    assert shown.to_numpy().tolist() == [
        ["search", "2", "0.850 ± 0.071", "87", "2", "160", "6.0", "160", "1 of 2"],
        ["grid", "2", "0.750 ± 0.071", "59 (39 to 79)", "4", "120", "10", "", "0 of 2"],
        ["grid at 80 px", "2", "0.700 ± 0.141", "79", "4", "120", "10", "", ""],
        ["tpe", "1", "0.950", "70", PARTS, "140", "140", "140", "1 of 1"],
        ["control", "2", "0.500 ± 0.000", "23", "2", "60", "2.0", "", "0 of 2"],
    ]
    assert list(shown.columns) == [
        "method", "seeds", "mean IoU", "field, px", "trials", "samples per seed",
        "seconds per seed", "samples to 0.9", "reached by",
    ]  # fmt: skip
    assert len(shown_table(without_threshold).columns) == 7


def test_the_short_table_fits_a_terminal(
    comparison: Comparison, without_threshold: Comparison
) -> None:
    short = short_table(comparison)
    assert short.iloc[2].to_list() == ["grid at 80 px", "2", "0.700 ± 0.141", "79", "120", "", ""]
    assert short.iloc[3].to_list() == ["tpe", "1", "0.950", "70", "140", "140", "1 of 1"]
    assert list(short.columns)[-2:] == ["to 0.9", "reached by"]
    assert list(short_table(without_threshold).columns)[-1] == "samples"


def test_scores_in_words() -> None:
    words = [column_in_words(name) for name in ("mean_iou", "far_accuracy", "freq_weighted_iou")]
    assert words == ["mean IoU", "far accuracy", "frequency-weighted IoU"]


def test_no_method_needs_another(tmp_path: Path, write_sweep: WriteRun, tpe_trials: Trials) -> None:
    sweep = write_sweep(tmp_path / "tpe", tpe_trials, protocol="tpe")
    alone = Comparison.of(read_methods([str(sweep)]))
    assert alone.pairs == ()
    assert differences_table(alone.pairs).empty
    assert isinstance(alone.summary, pd.DataFrame)


@pytest.mark.parametrize(
    ("spread", "digits"),
    [(0.2, 3), (0.001, 3), (0.0009, 4), (0.00012, 4), (0.00001, 5), (0.0, 3), (math.nan, 3)],
)
def test_a_spread_is_never_written_as_zeros(spread: float, digits: int) -> None:
    assert decimals(spread) == digits
    assert not spread > 0 or float(f"{spread:.{digits}f}") > 0
