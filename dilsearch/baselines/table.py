"""What is recorded of trials, and what a table of them says: the best, and the Pareto front."""

import json
import platform
import statistics
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import optuna
import pandas as pd
from optuna.exceptions import ExperimentalWarning
from optuna.trial import FrozenTrial, TrialState

from dilsearch.baselines.objectives import Objectives
from dilsearch.baselines.record import TRIAL_TYPES, rates_in_words
from dilsearch.baselines.slots import FAILURE, INTERRUPTED, SURPLUS
from dilsearch.baselines.trial import TrialRequest, TrialResult
from dilsearch.plan import DilationPlan

PLAN_ATTRIBUTE: Final = "plan"
"""User attribute that holds a trial's plan as JSON; too long for a column of the table."""

STATES: Final = {
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
    TrialState.RUNNING: "running",
    TrialState.WAITING: "waiting",
}


@dataclass(frozen=True, slots=True)
class Best:
    """The best plan of a sweep.

    Args:
        trial: Number of the trial that trained it, of several the one with the highest score.
        slot: That trial's slot.
        score: The first objective, the mean over seeds.
        mean_iou: Validation mean IoU, the mean over seeds; None where it is not known.
        std: Sample standard deviation of ``score`` over seeds; None of one seed.
        seeds: How many seeds there are.
        field_px: The larger side of the field behind the last site.
        target_px: The field aimed at, where one was.
        plan_hash: Of the plan.
    """

    trial: int
    slot: str
    score: float
    mean_iou: float | None
    std: float | None
    seeds: int
    field_px: int
    target_px: int | None
    plan_hash: str


def record_sweep(
    study: optuna.Study, description: Mapping[str, Any], objectives: Objectives
) -> None:
    """Say in the study what it is, so that a dashboard does, and name the axes of its plots.

    Args:
        study: The study.
        description: What the protocol says of itself; each entry becomes a user attribute, and
            what has grown since, as more seeds, takes the place of what it was.
        objectives: What trials are judged by.
    """
    known = study.user_attrs
    for name, value in description.items():
        if known.get(name) != value:
            study.set_user_attr(name, value)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)  # of set_metric_names
        if study.metric_names is None:
            study.set_metric_names(list(objectives.columns))


def record_plan(trial: optuna.Trial, plan: DilationPlan) -> None:
    """Write down a trial's plan, for people and as JSON."""
    _record(
        trial,
        {
            "rates": rates_in_words(plan),
            "plan_hash": plan.hash,
            PLAN_ATTRIBUTE: json.dumps(json.loads(plan.to_json())),
        },
    )


def record_request(trial: optuna.Trial, request: TrialRequest) -> None:
    """Write down what a trial is to train, before it does."""
    suggestion = request.suggestion
    record_plan(trial, suggestion.plan)
    _record(
        trial,
        {
            "slot": request.slot,
            "seed": suggestion.seed,
            "target_px": suggestion.target_px,
            "reason": "; ".join(suggestion.remarks) or None,
            "host": platform.node() or None,
        },
    )


def record_result(trial: optuna.Trial, result: TrialResult) -> None:
    """Write down what came of a trial; scores without a value are left out."""
    _record(
        trial,
        {
            "field_px": result.field_px,
            "latency_ms": result.latency_ms,
            "samples": result.samples,
            "seconds": round(result.seconds, 3),
            "device": result.device or None,
            "folder": result.folder or None,
            **{
                name: None if score is None else float(score)
                for name, score in result.scores.items()
            },
        },
    )


def plan_of_trial(trial: FrozenTrial) -> DilationPlan | None:
    """The plan that a trial was to train; None if it never had one."""
    text = trial.user_attrs.get(PLAN_ATTRIBUTE)
    return None if text is None else DilationPlan.from_json(text, source=f"trial {trial.number}")


def scores_of(trial: FrozenTrial) -> dict[str, float]:
    """The scores that were recorded of a trial, by name."""
    return {
        name: value
        for name, value in trial.user_attrs.items()
        if isinstance(value, float) and (name == "mean_iou" or name not in TRIAL_TYPES)
    }


def trials_table(study: optuna.Study) -> pd.DataFrame:
    """A row for each trial in the order of their numbers, whatever became of it.

    Those that two workers made for one slot, of which all but one are taken back before they run,
    are left out.

    Returns:
        The columns of ``TRIAL_TYPES``, then the other scores by name.
    """
    trials = [
        trial
        for trial in study.get_trials(deepcopy=False)
        if trial.user_attrs.get(FAILURE) != SURPLUS
    ]
    rows = [_row(trial) for trial in trials]
    extra = sorted({name for trial in trials for name in scores_of(trial)} - set(TRIAL_TYPES))
    table = pd.DataFrame(rows, columns=[*TRIAL_TYPES, *extra])
    return table.astype({**TRIAL_TYPES, **dict.fromkeys(extra, "float64")})


def best_of(table: pd.DataFrame, protocol_name: str, objectives: Objectives) -> Best | None:
    """The best plan among complete trials; None if there is none yet.

    Of a grid it is the target with the highest mean of the first objective over its seeds, of
    proposed plans the trial with the highest; on a tie the smaller field, then the lower number.
    A target that failed with a seed which every other has tried too comes into question only where
    all have: a mean over fewer seeds, the easy ones perhaps, is not comparable.
    """
    rows = _comparable(table, protocol_name, (objectives.primary,))
    groups = rows.groupby(_key_of(protocol_name))
    candidates = [_best_of_rows(group, objectives.primary) for _, group in groups]
    return min(candidates, key=lambda best: (-best.score, best.field_px, best.trial), default=None)


def pareto(table: pd.DataFrame, protocol_name: str, objectives: Objectives) -> list[int]:
    """Numbers of the complete trials whose plans no other plan dominates.

    One dominates another that is at least as good in every objective and better in one. Of a
    grid, targets are compared by their means over seeds, as ``best_of`` does, and all trials of a
    target are on the front or none is. Of trials with one plan and seed only the one that was
    trained counts.
    """
    columns = list(objectives.columns)
    rows = _comparable(table, protocol_name, columns)
    signs = [1.0 if direction == "maximize" else -1.0 for direction in objectives.directions]
    means = rows.groupby(_key_of(protocol_name))[columns].transform("mean")
    points = means.to_numpy(dtype=float) * signs
    return [
        int(number)
        for number, point in zip(rows["number"], points, strict=True)
        if not ((points >= point).all(axis=1) & (points > point).any(axis=1)).any()
    ]


def _record(trial: optuna.Trial, values: dict[str, Any]) -> None:
    for name, value in values.items():
        if value is not None:
            trial.set_user_attr(name, value)


def _row(trial: FrozenTrial) -> dict[str, Any]:
    known = {name: trial.user_attrs.get(name) for name in TRIAL_TYPES}
    return {
        **known,
        **scores_of(trial),
        "number": trial.number,
        "state": _state_of(trial),
    }


def _state_of(trial: FrozenTrial) -> str:
    """A trial that the user stopped has not failed: nothing speaks against its plan."""
    if trial.state == TrialState.FAIL and trial.user_attrs.get(FAILURE) == INTERRUPTED:
        return INTERRUPTED
    return STATES[trial.state]


def _trained(table: pd.DataFrame, *columns: str) -> pd.DataFrame:
    """Complete trials that were trained themselves and have a value in these columns."""
    if not set(columns) <= set(table.columns):
        return table.iloc[:0]
    complete = table[(table["state"] == "complete") & table["answered_from"].isna()]
    return complete.dropna(subset=list(columns))


def _key_of(protocol_name: str) -> str:
    """Column by which trials are of one candidate: a grid has several seeds for each target."""
    return "target_px" if protocol_name == "grid" else "number"


def _comparable(table: pd.DataFrame, protocol_name: str, columns: Sequence[str]) -> pd.DataFrame:
    """What ``_trained`` gives, without targets of a grid that failed where every other had a try.

    If all of them did, they are all that there is to compare.
    """
    rows = _trained(table, *columns)
    if protocol_name != "grid" or rows.empty:
        return rows
    seeds = _seeds_tried_everywhere(table, set(rows["target_px"]))
    succeeded = rows.groupby("target_px")["seed"].agg(lambda own: seeds <= set(own))
    sound = rows[rows["target_px"].map(succeeded).astype(bool)]
    return rows if sound.empty else sound


def _seeds_tried_everywhere(table: pd.DataFrame, targets_px: set[int]) -> set[int]:
    """The seeds with which a trial of every one of these targets has ended, however it did."""
    ended = table[table["state"].isin(["complete", "pruned", "failed"])].dropna(subset=["seed"])
    by_seed = ended.groupby("seed")["target_px"]
    return {int(str(seed)) for seed, tried in by_seed if targets_px <= set(tried.dropna())}


def _best_of_rows(rows: pd.DataFrame, score: str) -> Best:
    rows = rows.sort_values([score, "number"], ascending=[False, True])
    first, values = rows.iloc[0], [float(value) for value in rows[score]]
    known = [float(value) for value in rows["mean_iou"].dropna()]
    return Best(
        trial=int(first["number"]),
        slot=str(first["slot"]),
        score=statistics.fmean(values),
        mean_iou=statistics.fmean(known) if known else None,
        std=statistics.stdev(values) if len(values) > 1 else None,
        seeds=len(values),
        field_px=int(first["field_px"]),
        target_px=None if pd.isna(first["target_px"]) else int(first["target_px"]),
        plan_hash=str(first["plan_hash"]),
    )
