"""What came of a sweep, as ``sweep`` and ``report`` print it. Nothing here imports torch."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import pandas as pd
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from dilsearch.baselines.objectives import Objectives
from dilsearch.baselines.record import TRIAL_TYPES, TRIALS_FILE, column_in_words
from dilsearch.progress import Reporter
from dilsearch.runs import RunFolder

_BEST_SHOWN: Final = 5


def has_tables(path: Path) -> bool:
    """Whether a run folder is that of a sweep, and its trials have been told of there."""
    folder = RunFolder.open(path)
    return folder.has(TRIALS_FILE) and "sweep" in folder.read_json("summary.json")


def show_sweep(path: Path, page: Path | None, reporter: Reporter, *, as_json: bool) -> None:
    """What came of a sweep, read from its files."""
    folder = RunFolder.open(path)
    section = folder.read_json("summary.json")["sweep"]
    if as_json:
        print(json.dumps({"folder": str(path), **section}, indent=2))
        return
    if reporter.console.quiet:
        return
    trials = _with_whole_numbers(folder.read_csv(TRIALS_FILE))
    objectives = Objectives(tuple(section["objectives"]))
    console = Console(highlight=False)
    complete = trials[(trials["state"] == "complete") & trials["answered_from"].isna()]
    if len(complete):
        draw = _targets_table if section["protocol"] == "grid" else _best_table
        console.print(draw(complete, objectives))
    for line in _lines(section):
        console.print(line, markup=False, soft_wrap=True)
    console.print(f"run folder: {path}", markup=False, soft_wrap=True)
    if page is not None:
        console.print(f"report: {page}", markup=False, soft_wrap=True)


def _with_whole_numbers(trials: pd.DataFrame) -> pd.DataFrame:
    """Counts as what they are, also in columns where a trial that came to nothing has none."""
    counts = [column for column, kind in TRIAL_TYPES.items() if kind == "Int64"]
    return trials.assign(**trials[counts].apply(pd.to_numeric).astype("Int64"))


def _targets_table(complete: pd.DataFrame, objectives: Objectives) -> Table:
    """A row for each target of a grid: the objectives' mean and spread over seeds."""
    table = _table(("target px", "field px"), objectives, ("seeds", "samples"))
    for _, rows in complete.groupby("target_px"):
        figures = [_mean_and_spread(rows[column]) for column in objectives.columns]
        first = rows.iloc[0]
        counts = (str(len(rows)), f"{int(rows['samples'].sum()):,}")
        fields = (str(int(first["target_px"])), str(int(first["field_px"])))
        table.add_row(*map(Text, (*fields, in_short(first["rates"]), *figures, *counts)))
    return table


def _best_table(complete: pd.DataFrame, objectives: Objectives) -> Table:
    """The best few trials by the first objective."""
    table = _table(("trial", "field px"), objectives, ("samples",))
    best = complete.sort_values([objectives.primary, "number"], ascending=[False, True])
    if len(best) > _BEST_SHOWN:
        table.title = f"best {_BEST_SHOWN} of {len(best)} complete trials; all are in {TRIALS_FILE}"
    for row in best.head(_BEST_SHOWN).to_dict("records"):
        figures = [f"{row[column]:.3f}" for column in objectives.columns]
        cells = (str(row["number"]), str(row["field_px"]), in_short(row["rates"]), *figures)
        table.add_row(*map(Text, (*cells, f"{row['samples']:,}")))
    return table


def _table(before: Iterable[str], objectives: Objectives, after: Iterable[str]) -> Table:
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for name in before:
        table.add_column(name, justify="right")
    table.add_column("rates by site", overflow="fold")
    for name in (*map(column_in_words, objectives.columns), *after):
        table.add_column(name, justify="right", no_wrap=True)
    return table


def _lines(section: Mapping[str, Any]) -> Iterator[str]:
    counts = [f"{section['complete']} complete"]
    ends = ("pruned", "failed", "interrupted")
    counts += [f"{section[name]} {name}" for name in ends if section.get(name)]
    yield (
        f"{section['complete'] + section['pruned']} of {section['total']} trials finished "
        f"({', '.join(counts)}): {section['samples']:,} samples, {section['seconds']:,.0f} s"
    )
    best = section["best"]
    if best is None:
        yield "no trial is complete yet, so there is no plan"
        return
    spread = "" if best["std"] is None else f" +/- {best['std']:.3f} over {best['seeds']} seeds"
    primary = column_in_words(Objectives(tuple(section["objectives"])).primary)
    which = f"target {best['target_px']} px" if best["target_px"] else f"trial {best['trial']}"
    yield (
        f"best: {which}, {primary} {best['score']:.3f}{spread}, field {best['field_px']} px "
        f"({section['needed_px']} needed)"
    )
    if section["pareto"] is not None:
        # at least as good in all objectives and better in one: that is to dominate
        yield f"dominated by no other: trials {', '.join(map(str, section['pareto']))}"


def _mean_and_spread(values: pd.Series) -> str:
    spread = f" +/- {values.std():.3f}" if len(values) > 1 else ""
    return f"{values.mean():.3f}{spread}"


def in_short(rates: object) -> str:
    """Rates in words without the names of their sites; a list without its spaces."""
    sites = re.findall(r"\(([^)]*)\)", str(rates))
    return "  ".join(site if "mean" in site else site.replace(", ", ",") for site in sites)
