"""What the toy promises, over the whole run: slow, so it is off by default (``pytest -m slow``)."""

import json
from pathlib import Path

import pandas as pd
import pytest

from dilsearch.cli import main


def run(path: Path, *words: str) -> dict[str, dict[str, float]]:
    with pytest.raises(SystemExit) as ended:
        main(["run", "toy", "--quiet", "--device", "cpu", "--out", str(path), *words])
    assert ended.value.code == 0
    summary: dict[str, dict[str, float]] = json.loads((path / "summary.json").read_text())
    return summary


@pytest.mark.slow
def test_the_default_run_finds_a_field_that_the_control_lacks(tmp_path: Path) -> None:
    summary = run(tmp_path / "run")
    trajectory = pd.read_csv(tmp_path / "run" / "trajectory.csv")
    rates = [column for column in trajectory if "[" in column]
    assert (trajectory.loc[0, rates] == 1.0).all()
    assert 0.9 <= summary["plan"]["field_px"] / summary["plan"]["needed_px"] <= 2.0
    assert summary["retrain"]["val"]["far_accuracy"] >= 0.98  # type: ignore[index]
    assert summary["control"]["val"]["far_accuracy"] <= 0.60  # type: ignore[index]
    assert summary["plan"]["bound_ok"] is True
    assert summary["plan"]["holes"] == 0


def test_the_smoke_profile_takes_the_whole_path(tmp_path: Path) -> None:
    summary = run(tmp_path / "run", "--profile", "smoke")
    assert {"search", "plan", "fractional", "retrain", "control"} <= set(summary)
    assert (tmp_path / "run" / "report.html").is_file()
    # negative control: 20 steps teach nothing, so that the promise above is not met by chance
    assert summary["retrain"]["val"]["far_accuracy"] < 0.9  # type: ignore[index]
