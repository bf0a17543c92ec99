"""What run folders hold as one table: a row for every plan that was trained or answered."""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import pandas as pd

from dilsearch.baselines.objectives import column_of
from dilsearch.baselines.record import TRIAL_TYPES, TRIALS_FILE, column_in_words, rates_in_words
from dilsearch.comparison.alike import require_alike
from dilsearch.comparison.sources import CONTROL, Source, find_sources
from dilsearch.errors import ComparisonError
from dilsearch.plan import DilationPlan
from dilsearch.space.locate import did_you_mean

COMPLETE: Final = "complete"
PRUNED: Final = "pruned"
FAILED: Final = "failed"
DEFAULT_SCORE: Final = "mean_iou"

PLAN_TYPES: Final[Mapping[str, str]] = {
    "method": "object",
    "kind": "object",  # search, control, grid or tpe
    "seed": "Int64",
    "number": "Int64",  # of the trial, where there are several
    "state": "object",  # complete, pruned or failed
    "pruned": "boolean",
    "target_px": "Int64",
    "field_px": "Int64",
    "score": "float64",  # of a pruned trial what its last look saw
    "samples": "Int64",
    "seconds": "float64",
    "answered_from": "Int64",  # number of the trial that was trained in its place
    "rates": "object",
    "folder": "object",
}
"""Columns of the table; the other scores follow by their names."""

Row = dict[str, Any]

_WHOLE: Final = ("target_px", "field_px", "samples", "answered_from")
_PROPOSED: Final = "tpe"
_RATE_ONE: Final = "rate 1"


@dataclass(frozen=True, slots=True)
class Methods:
    """Everything that is compared.

    Args:
        plans: One row for every plan that was trained, and for every trial that was answered
            from another with the same plan and seed; see ``PLAN_TYPES``.
        score: Name of the score in the column ``score``.
        needed_px: The field that the task asks for.
        sources: The folders it was read from.
        remarks: What a reader should know, such as folders that were left out.
    """

    plans: pd.DataFrame
    score: str
    needed_px: int
    sources: tuple[Source, ...]
    remarks: tuple[str, ...]

    @property
    def rate_one_px(self) -> int | None:
        """The field with every rate 1, which a control with these rates has; None without one."""
        plans = self.plans
        fields = plans.loc[(plans["kind"] == CONTROL) & (plans["rates"] == _RATE_ONE), "field_px"]
        return int(fields.iloc[0]) if fields.nunique() == 1 else None


def read_methods(given: Sequence[str], score: str = DEFAULT_SCORE) -> Methods:
    """Read runs and sweeps, and check that they can be compared.

    A run gives a row for its searched plan, charged for search and retraining, and one for its
    control, charged for its own training. A sweep gives a row for every trial.

    Args:
        given: Folders, globs, or either behind ``LABEL=``.
        score: The score to compare by.

    Raises:
        ComparisonError: If nothing is finished, the runs do not belong together, or there is no
            such score.
        RunError: If a folder holds no run, or a damaged one.
    """
    found = find_sources(given)
    require_alike(found.finished)
    rows = [row for source in found.finished for row in _rows(source)]
    controls, remarks = _named_controls([row for row in rows if row["kind"] == CONTROL])
    rows = [row for row in rows if row["kind"] != CONTROL] + controls
    _require_one_kind(rows)
    _require_score(rows, score)
    plans = pd.DataFrame(
        [{**row, **row["scores"], "score": row["scores"].get(score)} for row in rows]
    )
    names = list(dict.fromkeys(name for row in rows for name in row["scores"]))
    types = {**PLAN_TYPES, **dict.fromkeys(names, "float64")}
    return Methods(
        plans=plans.reindex(columns=list(types)).astype(types),
        score=score,
        needed_px=found.finished[0].space.needed_px,
        sources=found.finished,
        remarks=(*found.left_out, *remarks, *_steered_otherwise(found.finished, score)),
    )


def _steered_otherwise(sources: Sequence[Source], score: str) -> Iterator[str]:
    """Name the sweeps whose proposals followed another score than they are compared by."""
    steered = {
        source.method: str(column_of(source.swept("objectives")[0]))
        for source in sources
        if source.kind == _PROPOSED
    }
    for method, column in steered.items():
        if column != score:
            yield (
                f"the trials of {method} were proposed and pruned by their "
                f"{column_in_words(column)}, which is not the score compared here"
            )


def _rows(source: Source) -> Iterator[Row]:
    if source.is_sweep:
        yield from _trials(source)
        return
    if source.has_search:
        yield _searched(source)
    if source.has_control:
        yield _control(source)


def _searched(source: Source) -> Row:
    folder = source.folder
    plan = DilationPlan.from_json(
        folder.read_text("plan.json"), source=str(folder.path("plan.json"))
    )
    return {
        "method": source.method,
        "kind": source.kind,
        "seed": folder.seed,
        "state": COMPLETE,
        "pruned": False,
        "field_px": source.summary("plan", "field_px"),
        "samples": _samples(source, "trajectory.csv") + _samples(source, "retrain.csv"),
        "seconds": round(sum(map(folder.seconds, ("search", "convert", "retrain"))), 3),
        "rates": rates_in_words(plan),
        "folder": source.path,
        "scores": source.summary("retrain", "val"),
    }


def _control(source: Source) -> Row:
    return {
        # Where the control is all there is of a run, the name given is the control's.
        "method": source.label if source.label and not source.has_search else CONTROL,
        "owner": source.method,
        "kind": CONTROL,
        "seed": source.folder.seed,
        "state": COMPLETE,
        "pruned": False,
        "field_px": source.summary("control", "field_px"),
        "samples": _samples(source, "control.csv"),
        "seconds": source.folder.seconds("control"),
        "rates": _fixed_rates(source.space.control.rate),
        "folder": source.path,
        "scores": source.summary("control", "val"),
    }


def _trials(source: Source) -> Iterator[Row]:
    table = source.table(TRIALS_FILE, (*TRIAL_TYPES,))
    names = [DEFAULT_SCORE, *(name for name in table.columns if name not in TRIAL_TYPES)]
    for trial in table[table["state"].isin([COMPLETE, PRUNED, FAILED])].to_dict("records"):
        known = {str(key): None if pd.isna(value) else value for key, value in trial.items()}
        seed = known.get("seed")
        yield {
            "method": source.method,
            "kind": source.kind,
            "seed": source.folder.seed if seed is None else int(seed),
            "number": int(trial["number"]),
            "state": known["state"],
            "pruned": known["state"] == PRUNED,
            **{key: _whole(known.get(key)) for key in _WHOLE},
            "seconds": known.get("seconds"),
            "rates": known.get("rates"),
            "folder": source.path,
            "scores": {name: known.get(name) for name in names},
        }


def _named_controls(rows: list[Row]) -> tuple[list[Row], list[str]]:
    """Controls with names that tell them apart, each network once; and what was left out.

    A control is what its rates and seed make it, whatever search it accompanies: the same one
    beside two searches is one baseline. Controls of different rates are named by them, and those
    that should be the same and are not, as on different devices, by their searches.
    """
    plain = [row for row in rows if row["method"] == CONTROL]
    if len({row["rates"] for row in plain}) > 1:
        for row in plain:
            row["method"] = f"{CONTROL}, {row['rates']}"
    for name in dict.fromkeys(row["method"] for row in plain):
        same = [row for row in plain if row["method"] == name]
        scores = {(row["seed"], json.dumps(row["scores"], sort_keys=True)) for row in same}
        if len(scores) > len({row["seed"] for row in same}):
            for row in same:
                row["method"] = f"{row['owner']} {name}"
    kept: dict[tuple[str, int], Row] = {}
    remarks = []
    for row in rows:
        first = kept.setdefault((row["method"], row["seed"]), row)
        if first is not row:
            if first["scores"] != row["scores"]:
                raise ComparisonError(
                    f"'{row['method']}' has two runs of seed {row['seed']}, {first['folder']} and "
                    f"{row['folder']}; leave one out, or name them apart, LABEL=FOLDER"
                )
            remarks.append(
                f"the control of {row['folder']} is that of {first['folder']} and counts once"
            )
    return list(kept.values()), remarks


def _require_one_kind(rows: Sequence[Row]) -> None:
    kinds: dict[str, str] = {}
    for row in rows:
        if kinds.setdefault(row["method"], row["kind"]) != row["kind"]:
            raise ComparisonError(
                f"'{row['method']}' would stand for a {kinds[row['method']]} and for a "
                f"{row['kind']} ({row['folder']}); choose another LABEL"
            )


def _require_score(rows: Sequence[Row], score: str) -> None:
    scored = [row for row in rows if row["state"] == COMPLETE]
    if not scored:
        raise ComparisonError(
            "no trial of the sweeps has finished, so there is no score to compare; "
            "see the reasons in their trials.csv"
        )
    known: dict[str, set[str]] = {}
    for row in scored:
        names = {name for name, value in row["scores"].items() if value is not None}
        known.setdefault(row["folder"], set()).update(names)
    shared = sorted(set.intersection(*known.values()))
    if score not in shared:
        lacking = [folder for folder, names in known.items() if score not in names]
        hint = did_you_mean(score, shared)
        raise ComparisonError(
            f"--score {score}: there is no such score in {lacking[0]}{hint}; "
            f"all runs have {', '.join(shared) or 'none in common'}"
        )


def _samples(source: Source, name: str) -> int:
    """Training samples seen by the last step."""
    return int(source.table(name, ("samples",), filled=True)["samples"].iloc[-1])


def _fixed_rates(rate: Any) -> str:
    """The control's rates in words: one where all are equal."""
    if isinstance(rate, int):
        return f"rate {rate}"
    if isinstance(rate, str):
        return "present rates" if rate == "present" else rate
    each = {one for entry in rate for one in ((entry,) if isinstance(entry, int) else entry)}
    return f"rate {each.pop()}" if len(each) == 1 else f"rates {json.dumps(rate)}"


def _whole(value: Any) -> int | None:
    return None if value is None or math.isnan(float(value)) else int(float(value))
