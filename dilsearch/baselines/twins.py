"""Trials with one plan and one seed: trained once, and answered from that trial ever after."""

from pathlib import Path
from typing import Final

import optuna
from optuna.trial import FrozenTrial, TrialState

from dilsearch.baselines.folders import free_folder
from dilsearch.baselines.record import trial_folder
from dilsearch.baselines.table import scores_of
from dilsearch.baselines.trial import TrialResult
from dilsearch.plan import DilationPlan
from dilsearch.runs import write_atomically

_COUNTS_FILE: Final = "counts.csv"
_FINISHED: Final = (TrialState.COMPLETE, TrialState.PRUNED)


def finished_twin(
    study: optuna.Study, trial_number: int, plan_hash: str, seed: int
) -> FrozenTrial | None:
    """The trial that trained this plan with this seed to its end, or until it was pruned.

    A complete one is preferred to a pruned one, then the lowest number; one that was answered
    from another trained nothing and does not count.

    Args:
        study: The study.
        trial_number: The trial that asks, which is not its own twin.
        plan_hash: Of the plan.
        seed: Of the training.
    """
    twins = [
        trial
        for trial in study.get_trials(deepcopy=False, states=_FINISHED)
        if trial.number != trial_number
        and trial.user_attrs.get("plan_hash") == plan_hash
        and trial.user_attrs.get("seed") == seed
        and trial.user_attrs.get("answered_from") is None
    ]
    return min(
        twins,
        key=lambda trial: (trial.state != TrialState.COMPLETE, trial.number),
        default=None,
    )


def answer_from(
    trial: optuna.Trial, twin: FrozenTrial, plan: DilationPlan, root: Path
) -> TrialResult:
    """Make a trial's record that of its twin's looks, and give the twin's result as its own.

    The result costs nothing: no samples and no seconds. The trial's folder holds its plan, the
    twin's counts where they are on this host, and a log that says where the rest is.

    Args:
        trial: The trial that is answered.
        twin: What ``finished_twin`` found for it.
        plan: The plan of both.
        root: Root folder of the sweep.

    Raises:
        RunError: If the trial's folder holds a trial of another study.
    """
    path, folder = free_folder(root, trial.number), trial_folder(trial.number)
    files = _files_of_answer(twin, plan, root)
    for name, text in files.items():
        write_atomically(path / name, text)
    for step, value in sorted(twin.intermediate_values.items()):
        trial.report(value, step)
    trial.set_user_attr("answered_from", twin.number)
    attributes = twin.user_attrs
    return TrialResult(
        pruned=twin.state == TrialState.PRUNED,
        scores=dict(scores_of(twin)),
        field_px=attributes["field_px"],
        samples=0,
        seconds=0.0,
        latency_ms=attributes.get("latency_ms"),
        device=attributes.get("device", ""),
        folder=folder,
        files={name: Path(folder) / name for name in files},
    )


def _files_of_answer(twin: FrozenTrial, plan: DilationPlan, root: Path) -> dict[str, str]:
    """What lies in the folder of a trial that is answered: name to text."""
    files = {
        "plan.json": plan.to_json(),
        "log.txt": f"answered from trial {twin.number}, which trained this plan with this seed\n",
    }
    counts = root / twin.user_attrs.get("folder", "") / _COUNTS_FILE
    if "folder" in twin.user_attrs and counts.is_file():
        files[_COUNTS_FILE] = counts.read_text()
    return files
