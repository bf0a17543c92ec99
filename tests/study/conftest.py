import json
import shlex
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from dilsearch.study import Case, Part, Study, Variant

WriteRun = Callable[..., Path]
SCORED = ("search", "convert", "retrain", "control", "evaluate")


@pytest.fixture
def study() -> Study:
    """Two parts: one with a needed field and two variants, one that needs data."""
    variants = (
        Variant("default", "the defaults"),
        Variant("plain", "no smoothing | at all", ("search.smoothing=0",)),
    )
    bars = Part(
        "bars",
        "Thin bars",
        "toy",
        variants,
        (0, 1),
        overrides=("data.size_px=64",),
        stages=("search", "convert", "evaluate"),
    )
    streets = Part(
        "streets", "Streets", "regseg_camvid", variants[:1], (0, 1), profile="quick",
        needs_data=True,
    )  # fmt: skip
    return Study("small", "A small study", (bars, streets))


@pytest.fixture
def write_run() -> WriteRun:
    """Writes a run folder as the command line leaves it."""

    def write(
        root: Path,
        case: Case,
        *,
        field_px: int = 127,
        needed_px: int | None = 127,
        scores: Mapping[str, Mapping[str, float | None]] | None = None,
        stages: tuple[str, ...] = SCORED,
        command: str | None = None,
        space: str = "",
        seconds: float = 30.0,
        space_hash: str | None = None,
    ) -> Path:
        folder = root / case.folder
        folder.mkdir(parents=True)
        record = {
            "schema_version": 1,
            "command": command or shlex.join(case.words(root)),
            "seed": case.seed,
            "hashes": {} if space_hash is None else {"space": space_hash},
            "stages": {stage: {"status": "finished", "seconds": 1.0} for stage in stages},
            "device": "cpu",
        }
        summary: dict[str, Any] = {
            "search": {"steps": 400, "seconds": seconds},
            "plan": {
                "field_px": field_px, "needed_px": needed_px, "bound_ok": True, "holes": 0
            },
            "retrain": {"seconds": 20.0},
        }  # fmt: skip
        for network, values in (scores or {}).items():
            summary[network] = {**summary.get(network, {}), "val": values}
        (folder / "run.json").write_text(json.dumps(record))
        (folder / "summary.json").write_text(json.dumps(summary))
        (folder / "space.toml").write_text(space)
        return folder

    return write
