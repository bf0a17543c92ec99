"""Run folders as a comparison finds them: small, written by hand, trained by nobody."""

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from dilsearch.baselines.record import TRIAL_TYPES
from dilsearch.plan import DilationPlan, SiteRates
from dilsearch.runs import RunFolder, atomic, provenance
from dilsearch.space import SearchSpace

SMALL = ("model.options.blocks=2", "data.size_px=32")
PLAN = DilationPlan({"a": SiteRates("branch", (1, 3)), "b": SiteRates("branch", (1, 9))})


def made_quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run folders that ask neither git nor the packages, and do not wait for the disk."""
    monkeypatch.setattr(provenance, "_revision", lambda: None)
    monkeypatch.setattr(provenance, "_versions", dict)
    monkeypatch.setattr(atomic, "_flush", lambda path: None)


@cache
def small_space(overrides: tuple[str, ...]) -> str:
    """The toy in the smallest size that has something to compare."""
    return SearchSpace.load("toy", "smoke", (*SMALL, *overrides)).to_toml()


def steps(samples: int) -> str:
    """A log of two steps that ends at so many samples."""
    return f"step,samples,loss\n1,{samples // 2},1.0\n2,{samples},0.5\n"


def write_run(
    path: Path,
    *,
    seed: int = 0,
    score: float = 0.9,
    control: float = 0.5,
    far: float | None = 0.8,
    stages: Sequence[str] = ("search", "convert", "retrain", "control", "evaluate"),
    overrides: Sequence[str] = (),
    data: str = "d" * 64,
    samples: tuple[int, int, int] = (100, 60, 60),
    device: str = "cpu",
) -> Path:
    """Writes the folder of ``dilsearch run`` as far as a comparison reads it."""
    folder = RunFolder.create(
        path,
        command=f"dilsearch run toy --seed {seed}",
        space=small_space(tuple(overrides)),
        seed=seed,
        device=device,
    )
    folder.note_hash("data", data)
    for stage in stages:
        folder.finish(stage, seconds=2.0)
    names = ("trajectory.csv", "retrain.csv", "control.csv")
    for name, count in zip(names, samples, strict=True):
        folder.write_text(name, steps(count))
    folder.write_text("plan.json", PLAN.to_json())
    extra = {} if far is None else {"far_accuracy": far}
    folder.write_json(
        "summary.json",
        {
            "plan": {"field_px": 87},
            "retrain": {"val": {"mean_iou": score, **extra}},
            "control": {"field_px": 23, "val": {"mean_iou": control, **extra}},
        },
    )
    return path


def write_sweep(
    path: Path,
    trials: Sequence[Mapping[str, Any]],
    *,
    protocol: str = "grid",
    seed: int = 0,
    overrides: Sequence[str] = (),
    data: str = "d" * 64,
    finished: bool = True,
    total: int | None = None,
    description: Mapping[str, Any] | None = None,
) -> Path:
    """Writes the root folder of ``dilsearch sweep``; a trial is a mapping of columns.

    What ``study.json`` describes is what protocols of this kind say, and what is given.
    """
    folder = RunFolder.create(
        path,
        command=f"dilsearch sweep toy --out {path}",
        space=small_space(tuple(overrides)),
        seed=seed,
    )
    folder.note_hash("data", data)
    folder.begin("sweep")
    if finished:
        folder.finish("sweep", seconds=100.0)
    rows = [{"number": number, "state": "complete", **row} for number, row in enumerate(trials)]
    columns = dict.fromkeys((*TRIAL_TYPES, "far_accuracy"))
    folder.write_csv("trials.csv", pd.DataFrame(rows, columns=list(columns)))
    seeds = sorted({row.get("seed", seed) for row in trials})
    targets = sorted({row["target_px"] for row in trials if row.get("target_px")})
    own = {"targets_px": targets} if protocol == "grid" else {"seed": seed, "pruner": "median"}
    said = {"protocol": protocol, "objectives": ["miou"], "data": data, **own}
    folder.write_json(
        "study.json",
        {"study": "toy", "storage": None, "description": {**said, **(description or {})}},
    )
    folder.write_json(
        "summary.json",
        {
            "sweep": {
                "protocol": protocol,
                "objectives": ["miou"],
                "seeds": seeds,
                "total": total or len(trials),
                "targets_px": targets or None,
            }
        },
    )
    return path


def grid_trials() -> list[dict[str, Any]]:
    """Two targets and two seeds: 40 px is best with seed 0, 80 px with seed 1 and on average."""
    scores = {(0, 40): 0.7, (0, 80): 0.6, (1, 40): 0.4, (1, 80): 0.8}
    return [
        {
            "seed": seed,
            "target_px": target,
            "field_px": target - 1,
            "rates": f"({target})",
            "mean_iou": score,
            "far_accuracy": score / 2,
            "samples": 60,
            "seconds": 5.0,
        }
        for (seed, target), score in scores.items()
    ]


def tpe_trials() -> list[dict[str, Any]]:
    """A pruned trial that looked best, two that end, an answered one, and two that failed."""

    def trial(score: float | None, samples: float | None, **more: Any) -> dict[str, Any]:
        return {
            "seed": 0, "field_px": 50, "mean_iou": score, "far_accuracy": score,
            "samples": samples, "seconds": samples, **more,
        }  # fmt: skip

    return [
        trial(None, 10, state="failed"),
        trial(0.99, 20, state="pruned"),
        trial(0.5, 60),
        trial(0.5, 0, answered_from=2),
        trial(None, None, state="failed"),
        trial(0.95, 60, field_px=70),
        {"state": "waiting"},
    ]
