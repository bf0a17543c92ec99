"""A run from end to end: the one place that knows the order of the stages."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from dilsearch.pipeline.network import Network, build_relaxed, network_hash
from dilsearch.pipeline.stages import (
    NETWORK_FILES,
    OUTPUTS,
    run_control,
    run_convert,
    run_evaluate,
    run_retrain,
    run_search,
)
from dilsearch.pipeline.workbench import Resources, Workbench

__all__ = [
    "STAGES",
    "Network",
    "Resources",
    "Workbench",
    "build_relaxed",
    "network_hash",
    "run_stages",
    "take_back",
]

STAGES: Mapping[str, Callable[[Workbench], dict[str, Any]]] = {
    "search": run_search,
    "convert": run_convert,
    "retrain": run_retrain,
    "control": run_control,
    "evaluate": run_evaluate,
}
"""Stages in the order in which they stand on each other; the report is made from their files."""


_USES_DATA = frozenset({"search", "retrain", "control", "evaluate"})
_STALE_AFTER = {
    "search": ("convert", "retrain", "evaluate"),
    "convert": ("retrain", "evaluate"),
    "retrain": ("evaluate",),
    "control": ("evaluate",),
    "evaluate": (),
}


def run_stages(bench: Workbench, stages: Sequence[str], *, force: bool = False) -> None:
    """Run stages in order, skipping those the folder says are finished.

    Whatever stops a stage, an interrupt included, leaves a folder that can be resumed. A stage
    that is run again makes those that stand on it unfinished, and takes their results away.

    Args:
        bench: The run.
        stages: Keys of ``STAGES``.
        force: Run finished stages again.

    Raises:
        KeyboardInterrupt: If the user stopped it; a training has written a checkpoint.
    """
    for stage in stages:
        if bench.folder.is_finished(stage) and not force:
            bench.reporter.say(f"{stage}: finished already")
            continue
        if stage in _USES_DATA:
            bench.open()  # whatever is wrong with data or device is told before anything changes
        take_back(bench, _STALE_AFTER[stage])
        bench.folder.begin(stage)
        before, started = bench.folder.seconds(stage), time.monotonic()
        try:
            summary = STAGES[stage](bench)
        except BaseException:
            bench.folder.pause(stage, seconds=before + time.monotonic() - started)
            raise
        seconds = before + time.monotonic() - started
        _merge_summary(bench, stage, summary, seconds)
        bench.folder.finish(stage, seconds=seconds)
        bench.checkpoint(stage).discard()


def take_back(bench: Workbench, stages: Sequence[str]) -> None:
    """Remove what stages have written, because what they stand on is made again.

    Args:
        bench: The run.
        stages: Keys of ``STAGES``; those that have not begun are passed over.
    """
    stale = [stage for stage in stages if stage in bench.folder.stages]
    if not stale:
        return
    bench.folder.forget(*stale)
    for stage in stale:
        bench.checkpoint(stage).discard()
        for name in OUTPUTS[stage]:
            bench.folder.path(name).unlink(missing_ok=True)
    if bench.folder.has("summary.json"):
        summary = bench.folder.read_json("summary.json")
        for stage in stale:
            summary.pop({"convert": "plan"}.get(stage, stage), None)
        for network in NETWORK_FILES:
            if "evaluate" in stale and network in summary:
                summary[network].pop("val", None)
        bench.folder.write_json("summary.json", summary)


def _merge_summary(
    bench: Workbench, stage: str, summary: Mapping[str, Any], seconds: float
) -> None:
    """Add a stage's figures, and how long it took, to ``summary.json``."""
    space = bench.space
    merged: dict[str, Any] = {"space": space.name, "profile": space.profile, "seed": bench.seed}
    if bench.folder.has("summary.json"):
        merged = bench.folder.read_json("summary.json")
    for section, figures in summary.items():
        known = merged.get(section)
        merged[section] = {**known, **figures} if isinstance(known, dict) else figures
    if stage in merged:
        merged[stage]["seconds"] = round(seconds, 1)
    bench.folder.write_json("summary.json", merged)
