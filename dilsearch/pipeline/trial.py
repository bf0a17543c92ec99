"""One trial of a sweep: a plan trained and scored as any run is, in a run folder of its own."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeAlias

import numpy as np
import pandas as pd

from dilsearch.baselines.folders import free_folder
from dilsearch.baselines.record import trial_folder
from dilsearch.baselines.trial import Look, Train, TrialRequest, TrialResult
from dilsearch.data import DataSets
from dilsearch.geometry import FieldGraph
from dilsearch.pipeline import run_stages
from dilsearch.pipeline.latency import latency_ms
from dilsearch.pipeline.looks import LookLog, Looks, PrunedError, look_steps
from dilsearch.pipeline.network import network_hash
from dilsearch.pipeline.stages import (
    keep_plan,
    score_network,
    trained_network,
    validation_scores,
)
from dilsearch.pipeline.trial_log import trial_log
from dilsearch.pipeline.workbench import Resources, Workbench
from dilsearch.progress import Reporter
from dilsearch.report.rates import rates_text
from dilsearch.runs import RunFolder
from dilsearch.scores import counts_table, scores
from dilsearch.surgery import field_graph

Scores: TypeAlias = Mapping[str, float | None]

LOG_FILE: Final = "log.txt"
LOOKS_FILE: Final = "looks.csv"
SHOWN_FILES: Final = ("plan.json", "counts.csv", "summary.json", LOG_FILE)
"""What is shown of a trial beside its study."""


def score_names(data: DataSets) -> tuple[str, ...]:
    """The names that ``validation_scores`` gives of a network that was trained on this data."""
    regions = (f"{region}_accuracy" for region in data.regions if region != "all")
    return (*scores(np.eye(1, dtype=np.int64)), *regions)


def trainer(
    resources: Resources,
    root: Path,
    *,
    command: str,
    looks: int,
    latency: bool,
    reporter: Reporter,
) -> Train:
    """What trains the plans of a sweep, each exactly as ``dilsearch retrain`` would.

    Where a trial comes with a look, its network is scored on the validation set ``looks`` times,
    evenly spaced, which leaves the training as it was. A trial is pruned when the look says to
    stop: its retraining stays unfinished. The last look is at the final scores, so that it comes
    too late to prune.

    Seconds are those of preparing, training and scoring, looks included. Measuring latency comes
    after that and is charged to no trial.

    Args:
        resources: Space, data and device, shared by all trials.
        root: The run folder of the sweep; trial 7 lies in its ``trials/0007``.
        command: The command line, for the record.
        looks: How often to look at a trial that comes with a look; at least 1.
        latency: Whether to measure the time of a forward pass, where a trial is not pruned.
        reporter: Shows the progress of training.

    Returns:
        The function. It raises RunError where training fails, PlanError where the plan is one of
        another network, and KeyboardInterrupt where the user stops it; the trial's ``log.txt``
        ends with the reason.
    """

    def train(request: TrialRequest, look: Look | None) -> TrialResult:
        started, seed = time.monotonic(), request.suggestion.seed
        graph = field_graph(resources.relaxed_network(seed))
        assert graph is not None  # the network of a space is always traced
        graph.propagate(request.suggestion.plan)  # tells of a plan that does not fit
        folder = _begin(resources, root, request, command)
        name = f"trial {request.number}"
        with trial_log(folder.path(LOG_FILE), reporter, name) as log:
            trial = _Trial(Workbench(folder, resources, seed, log), request, started)
            trial.describe(graph)
            return trial.train(look, looks, latency=latency)

    return train


def _begin(resources: Resources, root: Path, request: TrialRequest, command: str) -> RunFolder:
    """Make the trial's folder.

    Raises:
        RunError: If there is a trial in it already.
    """
    path, seed = free_folder(root, request.number), request.suggestion.seed
    space, device, data_hash = resources.space, resources.device_name, resources.data.content_hash
    folder = RunFolder.create(
        path, command=command, space=space.to_toml(), seed=seed, device=device
    )
    folder.require_hash("data", data_hash)
    folder.require_hash("space", space.hash)
    if resources.network is not None:
        folder.require_hash("network", network_hash(resources.relaxed_network(seed)))
    return folder


@dataclass(frozen=True)
class _Trial:
    """A trial whose folder is made.

    Args:
        bench: Its folder, and what it is trained with.
        request: Its plan.
        started: ``time.monotonic`` when it began.
    """

    bench: Workbench
    request: TrialRequest
    started: float

    def describe(self, graph: FieldGraph) -> None:
        """Write what is known before training: plan, field table and the head of the log."""
        space, suggestion = self.bench.space, self.request.suggestion
        summary = {"space": space.name, "profile": space.profile, "seed": suggestion.seed}
        plan = keep_plan(self.bench, suggestion.plan, graph)
        self.bench.folder.write_json("summary.json", summary | plan)
        aim = "" if suggestion.target_px is None else f", target {suggestion.target_px} px"
        lines = [
            f"trial {self.request.number}, slot '{self.request.slot}': "
            f"seed {suggestion.seed}{aim}, field {plan['plan']['field_px']} px",
            *(f"{site}: {rates_text(entry)}" for site, entry in suggestion.plan.sites.items()),
            *suggestion.remarks,
        ]
        for line in lines:
            self.bench.reporter.say(line)

    def train(self, look: Look | None, looks: int, *, latency: bool) -> TrialResult:
        """Train and score the plan."""
        bench, steps = self.bench, self.bench.space.retrain_steps
        log = LookLog(self.started, bench.reporter.say)
        if look is not None:
            self._look_while_training(look, look_steps(steps, looks)[:-1], log)
        try:
            run_stages(bench, ["retrain", "evaluate"])
        except PrunedError as pruning:
            return self._result(log, self._keep_pruned(pruning), pruned=True)
        finally:
            bench.checkpoint("retrain").discard()  # a trial that ended early is never gone on with
        scores = bench.folder.read_json("summary.json")["retrain"]["val"]
        if scores["mean_iou"] is not None:
            log.add(steps, self._samples(), scores["mean_iou"])
            if look is not None:
                look(steps, scores["mean_iou"])
        return self._result(log, scores, pruned=False, latency=latency)

    def _look_while_training(self, look: Look, steps: tuple[int, ...], log: LookLog) -> None:
        bench = self.bench
        bench.retrain_hooks = lambda model: Looks(
            model=model,
            steps=steps,
            score=lambda network: score_network(bench, network),
            ask=look,
            log=log,
            device=bench.fabric.device,
        )

    def _keep_pruned(self, pruning: PrunedError) -> Scores:
        """Write what there is of a pruned trial, in the files of a whole one."""
        folder, counts = self.bench.folder, pruning.evaluation.counts
        scores = validation_scores(pruning.evaluation)
        table = [("retrain", region, matrix) for region, matrix in counts.items()]
        folder.write_csv("counts.csv", counts_table(table))
        folder.write_csv("retrain.csv", pd.DataFrame(pruning.history))
        self._note("retrain", {"steps": len(pruning.history), "val": scores})
        return scores

    def _result(
        self, log: LookLog, scores: Scores, *, pruned: bool, latency: bool = False
    ) -> TrialResult:
        """Write what is known at the end."""
        folder, seconds = self.bench.folder, time.monotonic() - self.started
        place = trial_folder(self.request.number)
        folder.write_csv(LOOKS_FILE, log.frame)
        result = TrialResult(
            pruned=pruned,
            scores=scores,
            field_px=folder.read_json("summary.json")["plan"]["field_px"],
            samples=self._samples(),
            seconds=seconds,
            latency_ms=self._latency_ms() if latency else None,
            device=self.bench.resources.device_name,
            folder=place,
            files={name: Path(place, name) for name in SHOWN_FILES},
        )
        self._note("trial", _in_summary(self.request, result))
        self.bench.reporter.say(_in_words(result))
        return result

    def _samples(self) -> int:
        """Training samples seen."""
        return int(self.bench.folder.read_csv("retrain.csv")["samples"].iloc[-1])

    def _latency_ms(self) -> float:
        data = self.bench.space.data
        network = trained_network(self.bench, "retrain")
        return latency_ms(
            network, image_px=data.image_px, channels=data.channels, fabric=self.bench.fabric
        )

    def _note(self, section: str, figures: Mapping[str, Any]) -> None:
        """Add a section to ``summary.json``."""
        summary = self.bench.folder.read_json("summary.json")
        self.bench.folder.write_json("summary.json", {**summary, section: figures})


def _in_summary(request: TrialRequest, result: TrialResult) -> dict[str, Any]:
    """What ``summary.json`` says of the trial as such."""
    return {
        "number": request.number,
        "slot": request.slot,
        "target_px": request.suggestion.target_px,
        "pruned": result.pruned,
        "samples": result.samples,
        "seconds": round(result.seconds, 1),
        "latency_ms": result.latency_ms,
        "remarks": list(request.suggestion.remarks),
    }


def _in_words(result: TrialResult) -> str:
    """The last line of the log."""
    scores = ", ".join(
        f"{name} {value:.4f}" for name, value in result.scores.items() if value is not None
    )
    latency = "" if result.latency_ms is None else f", {result.latency_ms:.2f} ms a forward pass"
    return (
        f"{'pruned' if result.pruned else 'finished'} after {result.samples} samples and "
        f"{result.seconds:.1f} s{latency}: {scores}"
    )
