"""The run folder of a sweep: begun or joined by any number of workers, written when trials ended.

It is an ordinary run folder whose ``plan.json`` is the best plan of all trials, so that stages and
analysis go on from it as from the plan of a search.
"""

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import optuna
import pandas as pd
from optuna.trial import FrozenTrial, TrialState

from dilsearch.baselines.objectives import Objectives
from dilsearch.baselines.record import CHARGED, TRIALS_FILE
from dilsearch.baselines.slots import FAILURE, SLOT, SURPLUS, SlotState, slot_states
from dilsearch.baselines.table import Best, best_of, pareto, plan_of_trial, trials_table
from dilsearch.baselines.trial import Slot
from dilsearch.errors import RunError, SweepError
from dilsearch.pipeline import take_back
from dilsearch.pipeline.frames import whole_rates
from dilsearch.pipeline.ground import Ground
from dilsearch.pipeline.stages import keep_plan
from dilsearch.pipeline.workbench import Resources, Workbench
from dilsearch.plan import DilationPlan
from dilsearch.progress import Reporter
from dilsearch.runs import RUN_FILE, RunFolder
from dilsearch.runs.differences import differences

STAGE: Final = "sweep"
RECORD_FILE: Final = "study.json"
_FINISHED: Final = (TrialState.COMPLETE, TrialState.PRUNED)
_SHOWN: Final = 3


@dataclass(frozen=True)
class SweepRecord:
    """What makes a sweep this one and no other.

    Args:
        command: The command line, for the record.
        seed: Seed of the run folder, with which its plan is retrained.
        study: Name of the study.
        storage: Where its study lies, without a password; None for a file of the folder's own.
        description: What must be equal for a worker to join.
        hashes: Hashes of what the run folder is made of, such as its data.
    """

    command: str
    seed: int
    study: str
    storage: str | None
    description: Mapping[str, Any]
    hashes: Mapping[str, str]

    def document(self) -> dict[str, Any]:
        """As ``study.json`` has it."""
        return {
            "study": self.study,
            "storage": self.storage,
            "description": json.loads(json.dumps(self.description)),
        }


def refuse_other(path: Path, record: SweepRecord, space_toml: str) -> None:
    """Refuse a folder that holds anything but this sweep, before anything is written.

    Raises:
        RunError: If it holds a run of another kind, space or seed, or files that are no run.
        SweepError: If it holds another sweep; names what differs.
    """
    if (path / RUN_FILE).exists():
        _join(path, record, space_toml)
    else:
        RunFolder.refuse_unfit(path, space_toml)


def begin_or_join(path: Path, record: SweepRecord, space_toml: str, device: str) -> RunFolder:
    """Make the run folder of a sweep, or join the one that is there.

    Two workers may begin at the same moment: one of them makes the folder, the other joins.

    Args:
        path: The folder.
        record: What makes the sweep this one.
        space_toml: The resolved space.
        device: What the sweep computes on, in words.

    Raises:
        RunError: As ``refuse_other``, or if the folder cannot be written.
        SweepError: As ``refuse_other``.
    """
    try:
        folder = RunFolder.create(
            path, command=record.command, space=space_toml, seed=record.seed, device=device
        )
        folder.begin(STAGE)
        for what, digest in record.hashes.items():
            folder.require_hash(what, digest)
    except RunError:
        if not (path / RUN_FILE).exists():
            raise
        folder = _join(path, record, space_toml)
    if not folder.has(RECORD_FILE):
        folder.write_json(RECORD_FILE, record.document())
    return folder


def reopen(path: Path, states: Sequence[SlotState]) -> None:
    """Note that a finished sweep is under way again, where places for trials have been added."""
    folder = RunFolder.open(path)
    if folder.is_finished(STAGE) and not all(state.is_decided for state in states):
        folder.begin(STAGE)


def trials_expected(
    wanted: int | None, states: Sequence[SlotState], trials: Sequence[FrozenTrial]
) -> int:
    """How many finished trials a study is to have.

    Args:
        wanted: What was asked for, which a larger study has more of; None for one in every place.
        states: What has become of the places that were asked for.
        trials: All trials of the study, those that fill places which others asked for too.
    """
    if wanted is not None:
        return max(wanted, sum(trial.state in _FINISHED for trial in trials))
    return len({state.slot.key for state in states} | set(_places(trials)))


def _join(path: Path, record: SweepRecord, space_toml: str) -> RunFolder:
    folder = RunFolder.open(path)
    command = shlex.split(str(folder.record.get("command", "")))
    if command[1:2] != [STAGE]:
        raise RunError(
            f"{path} already holds a run that is no sweep, begun with 'dilsearch "
            f"{' '.join(command[1:3])}'. Write elsewhere with --out."
        )
    # Seeds of a grid may be added, so the folder keeps that which it was begun with.
    RunFolder.create(path, command="", space=space_toml, seed=folder.seed, resume=True)
    if folder.has(RECORD_FILE):
        _require_same(path, folder.read_json(RECORD_FILE), record.document())
    return folder


def _require_same(path: Path, there: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    before, wanted = there["description"], now["description"]
    if before["protocol"] != wanted["protocol"]:  # nothing else of the two can be compared
        before, wanted = ({"protocol": words["protocol"]} for words in (before, wanted))
    different = [*differences(before, wanted)] or [*differences(there, now)]
    if different:
        more = len(different) - _SHOWN
        raise SweepError(
            f"{path} holds another sweep: {', '.join(different[:_SHOWN])}"
            + (f", and {more} more" if more > 0 else "")
            + ". Join it with the same options, or write elsewhere with --out."
        )


@dataclass(frozen=True)
class SweepResults:
    """What is written at the end of a sweep, or of one worker's part of it.

    Args:
        path: The run folder.
        resources: Space, data and device.
        ground: What its plans are made on.
        protocol: ``"grid"`` or ``"tpe"``.
        objectives: What trials are judged by.
        study: The study with its trials.
        targets_px: Fields of the grid; None where plans are proposed.
        total: Finished trials that the study is to have; None for one in every place there is.
        states: What has become of the places for trials.
    """

    path: Path
    resources: Resources
    ground: Ground
    protocol: str
    objectives: Objectives
    study: optuna.Study
    targets_px: Sequence[int] | None
    total: int | None
    states: Sequence[SlotState]

    def write(self) -> dict[str, Any]:
        """Write tables, the best plan and the summary.

        Returns:
            The section ``sweep`` of ``summary.json``.
        """
        folder = RunFolder.open(self.path)  # as it is now: others have worked on it
        table, trials = trials_table(self.study), self.study.get_trials(deepcopy=False)
        best = best_of(table, self.protocol, self.objectives)
        plan = None if best is None else plan_of_trial(trials[best.trial])
        section = self._section(table, best, plan)
        section["total"] = trials_expected(self.total, self.states, trials)
        bench = Workbench(folder, self.resources, folder.seed, Reporter(quiet=True))
        if plan is not None and folder.record["hashes"].get("plan") not in (None, plan.hash):
            take_back(bench, ("retrain", "evaluate"))  # they were of another plan
        found = {} if plan is None else keep_plan(bench, plan, self.ground.graph)
        folder.write_csv(TRIALS_FILE, table)
        space = self.resources.space
        summary = {"space": space.name, "profile": space.profile, "seed": folder.seed}
        if folder.has("summary.json"):
            summary = folder.read_json("summary.json")
        folder.write_json("summary.json", {**summary, STAGE: section, **found})
        if self._nothing_is_left(trials):
            folder.finish(STAGE, seconds=section["seconds"])
        elif folder.is_finished(STAGE):  # for another, who asked for less
            folder.begin(STAGE)
        return section

    @property
    def has_page(self) -> bool:
        """Whether a page was set before."""
        from dilsearch.report.html import REPORT_NAME

        return (self.path / REPORT_NAME).exists()

    def write_page(self) -> Path:
        """Draw the figures and set the page, from the files alone."""
        from dilsearch.report.sweep_page import write_sweep_report  # takes a while, as figures do

        return write_sweep_report(self.path)

    def _section(
        self, table: pd.DataFrame, best: Best | None, plan: DilationPlan | None
    ) -> dict[str, Any]:
        states, space = table["state"].value_counts(), self.resources.space
        charged = table[table["state"].isin(CHARGED)]
        return {
            "protocol": self.protocol,
            "objectives": list(self.objectives.names),
            "seeds": sorted({int(seed) for seed in table["seed"].dropna()}),
            "complete": int(states.get("complete", 0)),
            "pruned": int(states.get("pruned", 0)),
            "failed": int(states.get("failed", 0)),
            "interrupted": int(states.get("interrupted", 0)),
            "samples": int(charged["samples"].sum()),
            "seconds": round(float(charged["seconds"].sum()), 1),
            "needed_px": space.needed_px,
            "targets_px": None if self.targets_px is None else list(self.targets_px),
            "retrain_steps": space.retrain_steps,
            "best": None if best is None or plan is None else _best_section(best, plan),
            "pareto": None
            if self.objectives.single
            else pareto(table, self.protocol, self.objectives),
        }

    def _nothing_is_left(self, trials: Sequence[FrozenTrial]) -> bool:
        """Whether nothing more comes of the places asked for, nor of those that others asked for.

        Proposed plans that were asked for once may be left untried, but not a part of a grid.
        """
        others = slot_states([Slot(key) for key in _places(trials)], trials)
        if self.total is not None:
            others = [state for state in others if state.is_running]
        return all(state.is_decided for state in (*self.states, *others))


def _places(trials: Sequence[FrozenTrial]) -> list[str]:
    """Keys of the places that trials of a study fill."""
    return [*dict.fromkeys(trial.user_attrs[SLOT] for trial in trials if SLOT in trial.user_attrs)]


def is_surplus(trial: FrozenTrial) -> bool:
    """Whether a trial failed untrained, because another worker had filled its place."""
    return bool(trial.user_attrs.get(FAILURE) == SURPLUS)


def _best_section(best: Best, plan: DilationPlan) -> dict[str, Any]:
    return {
        "trial": best.trial,
        "slot": best.slot,
        "score": best.score,
        "mean_iou": best.mean_iou,
        "std": best.std,
        "seeds": best.seeds,
        "target_px": best.target_px,
        "field_px": best.field_px,
        "rates": {site: whole_rates(rates) for site, rates in plan.sites.items()},
    }
