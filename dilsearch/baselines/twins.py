"""Trials with one plan and one seed: trained once, and answered from that trial ever after."""

from pathlib import Path

import optuna
from optuna.trial import FrozenTrial, TrialState

from dilsearch.baselines.artifacts import attached
from dilsearch.baselines.record import trial_folder
from dilsearch.baselines.table import scores_of
from dilsearch.baselines.trial import TrialResult
from dilsearch.plan import DilationPlan
from dilsearch.runs import write_atomically

_FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)


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

    The result costs nothing: no samples and no seconds. The trial's folder holds its plan and says
    where the rest is, which may be on another host.

    Args:
        trial: The trial that is answered.
        twin: What ``finished_twin`` found for it.
        plan: The plan of both.
        root: Root folder of the sweep.
    """
    folder = trial_folder(trial.number)
    for name, text in (
        ("plan.json", plan.to_json()),
        ("log.txt", f"answered from trial {twin.number}, which trained this plan with this seed\n"),
    ):
        write_atomically(root / folder / name, text)
    for step, value in sorted(twin.intermediate_values.items()):
        trial.report(value, step)
    trial.set_user_attr("answered_from", twin.number)
    attributes = twin.user_attrs
    shown = attached(trial.storage, twin)
    there = Path(attributes.get("folder", ""))
    return TrialResult(
        pruned=twin.state == TrialState.PRUNED,
        scores=dict(scores_of(twin)),
        field_px=attributes["field_px"],
        samples=0,
        seconds=0.0,
        latency_ms=attributes.get("latency_ms"),
        device=attributes.get("device", ""),
        folder=folder,
        files={name: there / name for name in shown},
    )
