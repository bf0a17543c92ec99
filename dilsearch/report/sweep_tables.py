"""The files of a sweep's root folder as frames: the one place where its page reads.

A sweep may be under way, so every part is optional, as in ``tables``.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pandas as pd

from dilsearch.baselines.objectives import column_of
from dilsearch.baselines.record import CHARGED, TRIAL_TYPES, TRIALS_FILE
from dilsearch.errors import RunError
from dilsearch.plan import DilationPlan
from dilsearch.report.rates import rates_text
from dilsearch.report.tables import RunData, read_run
from dilsearch.runs import RunFolder

STAGE: Final = "sweep"
_LOOK_COLUMNS: Final = ("step", "mean_iou")


@dataclass(frozen=True, slots=True)
class SweepData:
    """Everything the page needs of one sweep.

    Args:
        run: The root folder as a run: the best plan, its fields, and how it was made.
        trials: One row per trial, as ``trials.csv`` has it, with ``schedule``: its rates, short.
        looks: One row per look at a trial that trained: number, step, score, pruned.
        study: Name and address of the study (``study.json``).
    """

    run: RunData
    trials: pd.DataFrame
    looks: pd.DataFrame
    study: Mapping[str, Any]

    def result(self, *keys: str) -> Any:
        """A value of the summary's section ``sweep``, or None where there is none."""
        return self.run.result(STAGE, *keys)

    @property
    def is_grid(self) -> bool:
        """Whether targets were tried; plans were proposed otherwise."""
        if self.result("protocol") is not None:
            return bool(self.result("protocol") == "grid")
        return bool(self.trials["target_px"].notna().any())

    @property
    def objectives(self) -> list[str]:
        """Columns of the objectives, the first being that by which the best is chosen."""
        named = self.result("objectives") or ["miou"]
        return [column_of(str(name)) for name in named]

    @property
    def score(self) -> str:
        """Column of the first objective."""
        return self.objectives[0]

    @property
    def trained(self) -> pd.DataFrame:
        """Complete trials that were trained themselves and have a score, as column ``score``."""
        rows = self.trials
        rows = rows[(rows["state"] == "complete") & rows["answered_from"].isna()]
        return rows.assign(score=rows[self.score]).dropna(subset=["score"])

    @property
    def charged(self) -> pd.DataFrame:
        """Trials that have finished, complete or pruned, and are paid for."""
        return self.trials[self.trials["state"].isin(CHARGED)]

    @property
    def finished(self) -> int:
        """How many trials have finished: complete or pruned."""
        return len(self.charged)

    @property
    def is_finished(self) -> bool:
        """Whether no trial of the sweep is left to be run."""
        return self.run.folder.is_finished(STAGE)


def is_sweep(folder: RunFolder) -> bool:
    """Whether a run folder is the root folder of a sweep."""
    return STAGE in folder.stages or folder.has(TRIALS_FILE)


def read_sweep(path: Path) -> SweepData:
    """Read what the root folder of a sweep holds.

    Raises:
        RunError: If the folder is no sweep, or one of its files is damaged.
    """
    run = read_run(path)
    if not is_sweep(run.folder):
        raise RunError(
            f"{path} holds a run that is no sweep: it has no {TRIALS_FILE}. Give the folder of a "
            "sweep, such as runs/toy-grid."
        )
    trials = _read_trials(run.folder)
    score = column_of(str((run.result(STAGE, "objectives") or ["miou"])[0]))
    if score not in trials:
        trials[score] = float("nan")
    study = run.folder.read_json("study.json") if run.folder.has("study.json") else {}
    return SweepData(run, trials, _read_looks(run.folder, trials), study)


def targets_table(data: SweepData) -> pd.DataFrame:
    """What each target came to, one row per target in the order of their exact fields.

    Columns: ``target_px``, ``field_px``, ``schedule``, ``mean``, ``std`` (missing of one seed),
    ``seeds``, ``samples`` (all that was paid for the target) and ``notes``. A target without a
    trial of its own has no more than its name.
    """
    rows = data.trials[data.trials["target_px"].notna()]
    rows = rows.assign(samples=rows["samples"].where(rows["state"].isin(CHARGED)))
    tried, trained = rows.groupby("target_px"), data.trained.groupby("target_px")
    table = pd.DataFrame(
        {
            "field_px": tried["field_px"].first(),
            "schedule": tried["schedule"].first(),
            "mean": trained["score"].mean(),
            "std": trained["score"].std(),
            "seeds": trained["seed"].nunique(),
            "samples": tried["samples"].sum(),
            "notes": tried["reason"].agg(_notes),
        }
    )
    wanted = sorted({*map(int, data.result("targets_px") or ()), *map(int, table.index)})
    table = table.reindex(wanted).rename_axis("target_px").reset_index()
    return table.sort_values(["target_px"]).reset_index(drop=True)


def target_means(data: SweepData) -> pd.DataFrame:
    """The targets of a grid as one would have its trials: their objectives' means over seeds.

    Columns: ``number`` (the target, in px), ``state`` and the objectives.
    """
    means = data.trained.groupby("target_px")[data.objectives].mean()
    return means.rename_axis("number").reset_index().assign(state="complete")


def trials_shown(data: SweepData) -> pd.DataFrame:
    """Every trial in order, with ``pruned_at``: the step of a pruned trial's last look."""
    last = data.looks[data.looks["pruned"]].groupby("number")["step"].max()
    return data.trials.assign(pruned_at=data.trials["number"].map(last))


def _notes(reasons: "pd.Series[Any]") -> str:
    return "; ".join(dict.fromkeys(str(reason) for reason in reasons.dropna()))


def _read_trials(folder: RunFolder) -> pd.DataFrame:
    if not folder.has(TRIALS_FILE):
        empty = pd.DataFrame(columns=list(TRIAL_TYPES)).astype(dict(TRIAL_TYPES))
        return empty.assign(schedule="")
    table = folder.read_csv(TRIALS_FILE)
    absent = [column for column in TRIAL_TYPES if column not in table.columns]
    if absent:
        raise RunError(
            f"{folder.path(TRIALS_FILE)} has no column '{absent[0]}'. Run the sweep's command "
            "again, which writes the file anew."
        )
    try:
        numbers = [column for column, kind in TRIAL_TYPES.items() if kind != "object"]
        table[numbers] = table[numbers].apply(pd.to_numeric)
        table = table.astype(dict(TRIAL_TYPES))
    except (TypeError, ValueError) as error:
        raise RunError(
            f"{folder.path(TRIALS_FILE)} has a cell that is no number ({error}). Run the sweep's "
            "command again, which writes the file anew."
        ) from None
    schedules = [_schedule(folder, row) for row in table[["folder", "rates"]].to_dict("records")]
    return table.assign(schedule=schedules).sort_values("number").reset_index(drop=True)


def _schedule(folder: RunFolder, row: Mapping[Any, Any]) -> str:
    """The rates of a trial, site by site: from its plan where it is at hand, else as recorded."""
    plan = folder.path(f"{row['folder']}/plan.json")
    if pd.notna(row["folder"]) and plan.is_file():
        sites = (rates_text(rates) for rates in DilationPlan.load(plan).sites.values())
        # a line may break between sites, and not within one
        return " | ".join(text.replace(" ", "\N{NO-BREAK SPACE}") for text in sites)
    return "" if pd.isna(row["rates"]) else str(row["rates"])


def _read_looks(folder: RunFolder, trials: pd.DataFrame) -> pd.DataFrame:
    """The looks of trials that trained themselves and ended, whatever the way."""
    found = [pd.DataFrame({"number": [], "step": [], "score": [], "pruned": []})]
    ended = trials[trials["state"].isin(["complete", "pruned"]) & trials["folder"].notna()]
    for row in ended[ended["answered_from"].isna()].to_dict("records"):
        name = f"{row['folder']}/looks.csv"
        if not folder.has(name):
            continue
        looks = folder.read_csv(name)
        if not set(_LOOK_COLUMNS) <= set(looks.columns):
            raise RunError(f"{folder.path(name)} has no columns step and mean_iou. Remove it.")
        pruned = row["state"] == "pruned"
        found.append(
            pd.DataFrame(
                {
                    "number": row["number"],
                    "step": looks["step"],
                    "score": looks["mean_iou"],
                    "pruned": pruned,
                }
            )
        )
    filled = [frame for frame in found if len(frame)]
    if not filled:
        return found[0].astype({"number": int, "step": int, "score": float, "pruned": bool})
    return pd.concat(filled, ignore_index=True)
