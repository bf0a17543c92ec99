"""A run along one axis: what is found, that it is causal to the bit, and how it is shown."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from dilsearch.cli import main
from dilsearch.pipeline import STAGES, Resources, Workbench, run_stages
from dilsearch.plan import DilationPlan
from dilsearch.progress import Reporter
from dilsearch.report.html import render
from dilsearch.report.tables import read_run
from dilsearch.runs import RunFolder
from dilsearch.space import SearchSpace
from dilsearch.surgery import load

SHORT = (
    "data.segment=16",
    "data.pulse=2",
    "data.classes=3",
    "data.validation_sequences=16",
    "model.options={ width = 16, blocks = 3 }",
    "train.learning_rate=0.01",
    "train.warmup_steps=5",
    "search.steps=100",
    "retrain.steps=100",
)


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Workbench:
    space = SearchSpace.load("long_memory", overrides=SHORT)
    path = tmp_path_factory.mktemp("run") / "memory"
    folder = RunFolder.create(path, command="test", space=space.to_toml(), seed=0, resume=False)
    made = Workbench(folder, Resources(space, device="cpu"), 0, Reporter(quiet=True))
    run_stages(made, list(STAGES))
    return made


@pytest.fixture(scope="module")
def summary(bench: Workbench) -> dict[str, Any]:
    found: dict[str, Any] = bench.folder.read_json("summary.json")
    return found


def _retrained(bench: Workbench) -> nn.Module:
    plan = DilationPlan.from_json(bench.folder.read_text("plan.json"))
    return load(bench.integer_network(plan), bench.folder.path("weights.safetensors")).eval()


def test_the_search_finds_the_field_and_the_control_stays_at_chance(
    summary: dict[str, Any], bench: Workbench
) -> None:
    assert summary["plan"]["needed_px"] == 15
    assert 15 <= summary["plan"]["field_px"] <= 27
    assert summary["plan"]["bound_ok"] is True
    assert summary["plan"]["holes"] == 0
    assert summary["retrain"]["val"]["far_accuracy"] > 0.95
    # Its 7 steps see none of the pulses that are 8 steps back.
    assert summary["control"]["field_px"] == 7
    assert summary["control"]["val"]["far_accuracy"] < 0.5


def test_the_plan_says_that_it_is_causal(bench: Workbench) -> None:
    plan = DilationPlan.from_json(bench.folder.read_text("plan.json"))
    assert list(plan) == ["blocks.0.conv", "blocks.1.conv", "blocks.2.conv"]
    assert all(site.causal for site in plan.sites.values())


def _changed_by(model: nn.Module, step: int) -> torch.Tensor:
    """The steps at which outputs differ, to the bit, if the input differs at one step."""
    noise = torch.Generator().manual_seed(step)
    before = torch.randn(4, 3, 64, generator=noise)
    after = before.clone()
    after[..., step] = torch.randn(4, 3, generator=noise)
    with torch.no_grad():
        return torch.nonzero((model(before) != model(after)).any(dim=1).any(dim=0)).flatten()


@pytest.mark.parametrize("step", [1, 9, 20, 31])
def test_the_retrained_network_sees_its_field_of_the_past_and_nothing_of_the_future(
    bench: Workbench, summary: dict[str, Any], step: int
) -> None:
    changed = _changed_by(_retrained(bench), step)
    assert changed.min().item() == step
    assert changed.max().item() == step + summary["plan"]["field_px"] - 1


def test_one_step_of_the_future_would_be_noticed(bench: Workbench) -> None:
    model = _retrained(bench)
    model.get_submodule("blocks.1").pad = nn.ZeroPad1d((1, 1))  # in the place of (2, 0)
    assert _changed_by(model, 20).min().item() == 19


def test_predictions_are_pictures_one_row_high(bench: Workbench) -> None:
    with np.load(bench.folder.path("arrays/predictions.npz")) as arrays:
        assert arrays["images"].shape == (6, 1, 32, 3)
        for name in ("truth", "fractional", "retrain", "control"):
            assert arrays[name].shape == (6, 1, 32)
            assert arrays[name].dtype == np.int16


def test_the_report_draws_sequences_as_strips(bench: Workbench) -> None:
    page = render(read_run(bench.folder.path()), {})
    assert '<div class="sample strips">' in page
    assert "<figcaption>Sequence</figcaption>" in page
    assert "<figcaption>Image</figcaption>" not in page


@pytest.mark.slow
def test_the_default_run_finds_a_memory_that_the_control_lacks(tmp_path: Path) -> None:
    path = tmp_path / "run"
    with pytest.raises(SystemExit) as ended:
        main(["run", "long_memory", "--quiet", "--device", "cpu", "--out", str(path)])
    assert ended.value.code == 0
    summary = json.loads((path / "summary.json").read_text())
    trajectory = pd.read_csv(path / "trajectory.csv")
    rates = [column for column in trajectory if "[" in column]
    assert (trajectory.loc[0, rates] == 1.0).all()
    assert 0.95 <= summary["plan"]["field_px"] / summary["plan"]["needed_px"] <= 1.5
    assert summary["retrain"]["val"]["far_accuracy"] >= 0.98
    assert summary["control"]["val"]["far_accuracy"] <= 0.35
    assert summary["plan"]["bound_ok"] is True
    assert summary["plan"]["holes"] == 0
