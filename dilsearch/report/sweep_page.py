"""The page of a sweep: everything it found, in one file that needs nothing else.

It is made from the files of the sweep's root folder alone, and looks like the page of a run.
"""

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import pandas as pd

from dilsearch.baselines.record import column_in_words
from dilsearch.report import figures
from dilsearch.report.html import REPORT_NAME, duration_text, provenance
from dilsearch.report.pages import Card, data_uri, page_template
from dilsearch.report.sizes import count_text
from dilsearch.report.sweep_marks import counted
from dilsearch.report.sweep_pictures import draw_sweep_figures, pictures
from dilsearch.report.sweep_tables import (
    SweepData,
    read_sweep,
    targets_table,
    trials_shown,
)
from dilsearch.report.sweep_verdict import missing_text, score_text, sweep_verdict
from dilsearch.report.tables import field_text, plan_table
from dilsearch.runs import write_atomically

_OWN_STORAGE: Final = "sqlite:///study.db"
_NONE: Final = "\N{EN DASH}"


def write_sweep_report(path: Path) -> Path:
    """Write the figures and ``report.html`` of a sweep, and return the page's path.

    Only the files of the folder are read. What an unfinished sweep lacks is told on the page.

    Args:
        path: The sweep's root folder.

    Raises:
        RunError: If the folder is no sweep, or one of its files is damaged.
    """
    data = read_sweep(path)
    drawn = draw_sweep_figures(data)
    vector = {name: figures.as_svg(figure) for name, figure in drawn.items()}
    folder = data.run.folder
    for name, figure in drawn.items():
        write_atomically(folder.path(f"figures/{name}.png"), figures.as_png(figure))
        write_atomically(folder.path(f"figures/{name}.svg"), vector[name])
    images = {name: data_uri(svg, "svg+xml") for name, svg in vector.items()}
    folder.write_text(REPORT_NAME, render_sweep(data, images))
    return folder.path(REPORT_NAME)


def render_sweep(data: SweepData, images: Mapping[str, str]) -> str:
    """The page as text.

    Args:
        data: The sweep.
        images: Figure name to its ``data:`` address.
    """
    record = data.run.folder.record
    return page_template("sweep.html.j2").render(
        title=str(record.get("space") or data.run.folder.path().name),
        subtitle=_subtitle(data),
        swept=_swept(data),
        verdict=sweep_verdict(data),
        missing=missing_text(data),
        cards=_cards(data),
        pictures=pictures(data, images),
        score=column_in_words(data.score),
        others=[column_in_words(name) for name in data.objectives[1:]],
        targets=_target_rows(data) if data.is_grid else [],
        trials=[] if data.is_grid else _trial_rows(data),
        plan=_plan_rows(data),
        dashboard=_dashboard(data),
        dashboard_note=_dashboard_note(data),
        provenance=provenance(data.run),
    )


def _subtitle(data: SweepData) -> str:
    record = data.run.folder.record
    profile = f"profile {record['profile']}" if record.get("profile") else None
    return " · ".join(str(part) for part in (profile, record.get("device")) if part)


def _swept(data: SweepData) -> str:
    """What was swept, in a sentence."""
    steps = data.result("retrain_steps")
    trained = "" if steps is None else f", each trained for {int(steps):,} steps"
    if not data.is_grid:
        names = " and ".join(column_in_words(name) for name in data.objectives)
        return f"Plans proposed by TPE for {names}{trained.replace('for', 'for at most')}."
    targets, seeds = data.result("targets_px") or (), data.result("seeds") or ()
    if not targets:
        return f"Schedules of rates for a grid of fields{trained}."
    named = ", ".join(str(seed) for seed in seeds)
    return (
        f"Schedules of rates for {counted(len(targets), 'field')} of {min(targets):,} to "
        f"{max(targets):,} px, with {'seed' if len(seeds) == 1 else 'seeds'} {named}{trained}."
    )


def _cards(data: SweepData) -> list[Card]:
    best, cards = data.result("best"), list[Card]()
    if best is not None and not data.trained.empty:
        value = data.trained.set_index("number").loc[best["trial"], "score"]
        note = f"{column_in_words(data.score)} of trial {best['trial']}"
        if data.is_grid:
            table = targets_table(data).set_index("target_px")
            target = int(data.trials.set_index("number").loc[best["trial"], "target_px"])
            value = table.loc[target, "mean"]
            note = f"{column_in_words(data.score)}, mean of {counted(int(best['seeds']), 'seed')}"
            if best.get("std") is not None:
                note += f"; s.d. {best['std']:.3f}"
        cards.append(Card("Best score", f"{value:.3f}", note))
        needed = data.result("needed_px")
        good = None if needed is None else int(best["field_px"]) >= int(needed)
        note = "" if needed is None else f"{int(needed):,} px needed"
        cards.append(Card("Field of the best", f"{int(best['field_px']):,} px", note, good))
    if len(data.trials):
        samples, seconds = data.charged["samples"].sum(), data.charged["seconds"].sum()
        pruned = int((data.trials["state"] == "pruned").sum())
        note = f"{int(samples):,}; complete and pruned trials"
        cards.append(Card("Training samples", count_text(int(samples)), note))
        cards.append(Card("Time of these trials", duration_text(float(seconds)), "added up"))
        of = data.result("total")
        finished = f"{data.finished:,}" if of is None else f"{data.finished:,} of {int(of):,}"
        cards.append(Card("Trials finished", finished, f"{pruned:,} of them pruned"))
    return cards


def _target_rows(data: SweepData) -> list[dict[str, Any]]:
    best = data.result("best", "trial")
    chosen = None
    if best is not None:
        chosen = data.trials.set_index("number")["target_px"].get(best)
    alone = "same schedule as another target" if data.is_finished else "not trained yet"
    return [
        {
            "target": f"{int(row['target_px']):,}",
            "field": _whole(row["field_px"]),
            "schedule": _text(row["schedule"]),
            "score": _NONE if pd.isna(row["mean"]) else score_text(row["mean"], row["std"]),
            "seeds": _whole(row["seeds"]),
            "samples": _whole(row["samples"]),
            "notes": _text(row["notes"]) if pd.notna(row["samples"]) else alone,
            "best": chosen is not None and row["target_px"] == chosen,
        }
        for row in targets_table(data).to_dict("records")
    ]


def _trial_rows(data: SweepData) -> list[dict[str, Any]]:
    best, front = data.result("best", "trial"), set(data.result("pareto") or ())
    return [
        {
            "number": int(row["number"]),
            "state": _state(row),
            "field": _whole(row["field_px"]),
            "schedule": _text(row["schedule"]),
            "values": [_figure(row.get(name)) for name in data.objectives],
            "samples": _whole(row["samples"]),
            "pruned_at": "" if pd.isna(row["pruned_at"]) else f"step {int(row['pruned_at']):,}",
            "notes": _text(row["reason"]),
            "best": row["number"] == best,
            "front": row["number"] in front,
        }
        for row in trials_shown(data).to_dict("records")
    ]


def _state(row: Mapping[Any, Any]) -> str:
    if pd.notna(row["answered_from"]):
        return f"{row['state']}, from trial {int(row['answered_from'])}"
    if pd.notna(row["retry_of"]):
        return f"{row['state']}, again for {int(row['retry_of'])}"
    return str(row["state"])


def _plan_rows(data: SweepData) -> list[dict[str, Any]]:
    """The best plan through the network, one row per site; empty before there is one."""
    if data.run.plan is None or data.run.field is None:
        return []
    table = plan_table(data.run).reset_index()
    table = table.astype(object).where(table.notna(), None)
    rows = [{str(column): cell for column, cell in row.items()} for row in table.to_dict("records")]
    for row in rows:
        row["field_in_px"], row["field_out_px"] = (
            None if row[name] is None else field_text(row[name])
            for name in ("field_in_px", "field_out_px")
        )
    return rows


def _dashboard(data: SweepData) -> str:
    """The command that opens the study, with paths relative to the sweep's folder."""
    storage = str(data.study.get("storage") or _OWN_STORAGE).removeprefix("journal:")
    return f"optuna-dashboard {shlex.quote(storage)} --artifact-dir artifacts"


def _dashboard_note(data: SweepData) -> str:
    """The name of the study, and what to know of a storage outside the folder."""
    name = data.study.get("study")
    notes = [] if name is None else [f"The study is called {name}."]
    if data.study.get("storage") is not None:
        notes.append(
            "Its address is shown without a password, and a relative path in it starts where the "
            "sweep was begun."
        )
    return " ".join(notes)


def _whole(value: Any) -> str:
    return _NONE if pd.isna(value) else f"{int(value):,}"


def _figure(value: Any) -> str:
    return _NONE if value is None or pd.isna(value) else f"{float(value):.3f}"


def _text(value: Any) -> str:
    return "" if value is None or pd.isna(value) else str(value)
