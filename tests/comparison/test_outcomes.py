from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from dilsearch.comparison.methods import read_methods
from dilsearch.comparison.outcomes import OUTCOME_TYPES, best_target, outcomes, scores_by_seed

WriteRun = Callable[..., Path]
Trials = list[dict[str, Any]]


@pytest.fixture
def grid(tmp_path: Path, write_sweep: WriteRun, grid_trials: Trials) -> pd.DataFrame:
    return read_methods([str(write_sweep(tmp_path / "grid", grid_trials))]).plans


def test_a_grid_is_seen_in_two_ways(grid: pd.DataFrame) -> None:
    seeds = outcomes(grid)
    assert list(seeds.columns) == list(OUTCOME_TYPES)
    columns = ["name", "seed", "score", "target_px", "field_px", "trials", "samples", "seconds"]
    assert seeds[columns].to_numpy().tolist() == [
        ["grid", 0, 0.7, 40, 39, 2, 120, 10.0],
        ["grid", 1, 0.8, 80, 79, 2, 120, 10.0],
        ["grid at 80 px", 0, 0.6, 80, 79, 2, 120, 10.0],  # every target was paid for
        ["grid at 80 px", 1, 0.8, 80, 79, 2, 120, 10.0],
    ]
    assert scores_by_seed(seeds, "grid at 80 px") == {0: 0.6, 1: 0.8}


def test_a_grid_of_one_seed_has_one_view(grid: pd.DataFrame) -> None:
    assert best_target(grid[grid["seed"] == 0]) is None
    assert list(outcomes(grid[grid["seed"] == 0])["name"]) == ["grid"]


def test_the_one_target_was_trained_with_every_seed(grid: pd.DataFrame) -> None:
    grid.loc[(grid["seed"] == 0) & (grid["target_px"] == 80), "state"] = "failed"
    assert best_target(grid) == 40  # 80 px has the better mean of the seeds it has
    grid.loc[(grid["seed"] == 1) & (grid["target_px"] == 40), "state"] = "failed"
    assert best_target(grid) is None
    assert list(outcomes(grid)["failed"]) == [1, 1]


def test_of_equal_targets_the_smaller_is_taken(grid: pd.DataFrame) -> None:
    grid["score"] = 0.5
    assert best_target(grid) == 40
    assert set(outcomes(grid)["target_px"]) == {40}


def test_the_best_of_a_sweep_was_trained_to_its_end(
    tmp_path: Path, write_sweep: WriteRun, tpe_trials: Trials
) -> None:
    sweep = write_sweep(tmp_path / "t", tpe_trials, protocol="tpe")
    (best,) = outcomes(read_methods([str(sweep)]).plans).to_dict("records")
    assert (best["score"], best["number"], best["field_px"]) == (0.95, 5, 70)
    assert (best["trials"], best["pruned"], best["failed"], best["samples"]) == (6, 1, 2, 140)
    assert best["answered"] == 1


def test_a_seed_without_a_finished_trial_has_no_row(grid: pd.DataFrame) -> None:
    grid.loc[grid["seed"] == 1, "state"] = "failed"
    assert list(outcomes(grid)["seed"]) == [0]
