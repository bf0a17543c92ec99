"""What the run folders of a study hold, as one row for each run and one for each variant."""

import math
import re
import shlex
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pandas as pd

from dilsearch.runs import RunFolder
from dilsearch.study.cases import Case, Part, Study, Variant, command_words
from dilsearch.study.folders import is_finished

FOUND_RATIO: Final = 0.9
"""A search has found its field if it reaches this share of what the task needs."""
WIDE_RATIO: Final = 2.0
"""Above this the field is wider than anything the task asks for."""
SUCCESS: Final = 0.95
"""A network has solved its task if its metric reaches this."""

TRAININGS: Final = ("search", "retrain", "control")
NETWORKS: Final = {"searched": "fractional", "retrained": "retrain", "control": "control"}
"""The networks of a run, by the names of their columns, and their sections in ``summary.json``."""

RESULT_TYPES: Final[Mapping[str, str]] = {
    "part": "object",
    "variant": "object",
    "seed": "Int64",
    "needed_px": "Int64",
    "field_px": "Int64",
    "field_ratio": "float64",
    "bound_ok": "boolean",
    "holes": "Int64",
    "metric": "object",
    "searched": "float64",
    "retrained": "float64",
    "control": "float64",
    "search_steps": "Int64",
    "search_seconds": "float64",
    "retrain_seconds": "float64",
    "control_seconds": "float64",
    "device": "object",
}
"""Columns of ``results_table``; whole numbers stay whole where some are absent."""

_METRICS: Final = {"far_accuracy": "far accuracy", "mean_iou": "mean IoU"}
_DATA_PLACE: Final = Path("path/to/data")
_STATISTICS: Final = ("median", "min", "max", "mean", "std")


def results_table(root: Path, study: Study) -> pd.DataFrame:
    """One row for each case that has finished.

    Args:
        root: Where the run folders of the study lie.
        study: What is tabulated, in its order.

    Raises:
        RunError: If a file of a finished run is damaged.
    """
    rows = [_result(root, case) for case in study.cases() if is_finished(case, root)]
    return pd.DataFrame(rows, columns=list(RESULT_TYPES)).astype(dict(RESULT_TYPES))


def with_seeds_found(root: Path, study: Study) -> Study:
    """The study with every seed that has a run folder, beside its own."""
    return replace(study, parts=tuple(_with_seeds_found(root, part) for part in study.parts))


def result_in_words(root: Path, case: Case) -> str:
    """Field and metric of a finished run: ``512 px of 511, far accuracy 0.97``."""
    row = _result(root, case)
    field = "no field" if row["field_px"] is None else f"{row['field_px']} px"
    needed = "" if row["needed_px"] is None else f" of {row['needed_px']}"
    metric = row["searched"] if math.isnan(row["retrained"]) else row["retrained"]
    name = metric_name(row["metric"])
    return f"{field}{needed}" + ("" if math.isnan(metric) else f", {name} {metric:.2f}")


def metric_name(metric: str) -> str:
    """A metric in words."""
    return _METRICS.get(metric, metric.replace("_", " "))


def summary_table(results: pd.DataFrame) -> pd.DataFrame:
    """One row for each variant of each part, in the order of the results.

    ``found`` counts the seeds whose field is wide enough, and is absent where nothing says how
    wide that is; successes are absent where the network was not trained. Of the spread of one
    seed nothing is known, so its standard deviation is absent too.

    Args:
        results: ``results_table``.
    """
    groups = results.groupby(["part", "variant"], sort=False)
    rows = [_summary(str(part), str(variant), group) for (part, variant), group in groups]
    columns = list(_summary("", "", results.iloc[:0]))
    summary = pd.DataFrame(rows, columns=columns)
    counts = ("seeds", "needed_px", "found", "retrained_successes", "control_successes")
    return summary.astype(dict.fromkeys(counts, "Int64"))


def to_markdown(summary: pd.DataFrame, study: Study, root: Path, device: str = "auto") -> str:
    """The summary as Markdown: a section for each part, with the commands that make its runs.

    Args:
        summary: ``summary_table``.
        study: Titles, meanings and commands.
        root: Where the run folders lie, as the commands name it.
        device: The user's word for a device, as the commands name it.
    """
    sections = [f"# {study.title}\n"]
    for part in study.parts:
        rows = summary[summary["part"] == part.name]
        if len(rows):
            sections.append(_section(part, rows, root, device))
    if len(sections) == 1:
        sections.append("No run is finished yet.\n")
    return "\n".join(sections)


def _display(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of one part as texts for people; columns that nothing is known of are left out."""
    shown = {
        "variant": rows["variant"].astype(str),
        "seeds": rows["seeds"].astype(str),
        "field found": _counted(rows, "found"),
        "field, px": _spread(rows, "field", ".0f"),
        "needed, px": _whole(rows["needed_px"]),
    }
    for network in NETWORKS:
        shown[network] = _spread(rows, network, ".3f")
        if (rows["metric"] == "mean_iou").all():
            shown[f"{network}, mean ± s.d."] = _mean(rows, network)
        elif f"{network}_successes" in rows:
            shown[f"{network} ≥ {SUCCESS:g}"] = _counted(rows, f"{network}_successes")
    for stage in TRAININGS:
        seconds = rows[f"{stage}_seconds_median"]
        shown[f"{stage}, s"] = seconds.map(lambda value: _number(value, ".0f"))
    table = pd.DataFrame(shown)
    return table[[name for name in table.columns if (table[name] != "").any()]]


def short_table(summary: pd.DataFrame) -> pd.DataFrame:
    """The summary for a terminal: medians alone."""
    shown = {
        "part": summary["part"].astype(str),
        "variant": summary["variant"].astype(str),
        "found": _counted(summary, "found"),
        "field": summary["field_median"].map(lambda value: _number(value, ".0f")),
        "needed": _whole(summary["needed_px"]),
    }
    for network in NETWORKS:
        shown[network] = summary[f"{network}_median"].map(lambda value: _number(value, ".3f"))
    return pd.DataFrame(shown)


def _result(root: Path, case: Case) -> dict[str, Any]:
    folder = RunFolder.open(root / case.folder)
    summary = folder.read_json("summary.json")
    plan, search = _section_of(summary, "plan"), _section_of(summary, "search")
    scores = {name: _section_of(_section_of(summary, key), "val") for name, key in NETWORKS.items()}
    far = any("far_accuracy" in values for values in scores.values())
    metric = "far_accuracy" if far else "mean_iou"
    needed, field = plan.get("needed_px"), plan.get("field_px")
    return {
        "part": case.part.name,
        "variant": case.variant.name,
        "seed": case.seed,
        "needed_px": needed,
        "field_px": field,
        "field_ratio": field / needed if needed and field is not None else math.nan,
        "bound_ok": plan.get("bound_ok"),
        "holes": plan.get("holes"),
        "metric": metric,
        **{name: _float(values.get(metric)) for name, values in scores.items()},
        "search_steps": search.get("steps"),
        "search_seconds": _float(search.get("seconds")),
        "retrain_seconds": _float(_section_of(summary, "retrain").get("seconds")),
        "control_seconds": _float(_section_of(summary, "control").get("seconds")),
        "device": folder.record.get("device"),
    }


def _section_of(summary: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    section = summary.get(name)
    return section if isinstance(section, dict) else {}


def _float(value: Any) -> float:
    return math.nan if value is None else float(value)


def _with_seeds_found(root: Path, part: Part) -> Part:
    names = "|".join(re.escape(variant.name) for variant in part.variants)
    pattern = re.compile(rf"(?:{names})-seed(\d+)", re.ASCII)
    folder = root / part.name
    entries = sorted(folder.iterdir()) if folder.is_dir() else []
    found = {int(match[1]) for entry in entries if (match := pattern.fullmatch(entry.name))}
    return replace(part, seeds=(*part.seeds, *sorted(found - set(part.seeds))))


def _summary(part: str, variant: str, group: pd.DataFrame) -> dict[str, Any]:
    needed, ratio = group["needed_px"].dropna(), group["field_ratio"].dropna()
    row: dict[str, Any] = {
        "part": part,
        "variant": variant,
        "metric": group["metric"].iloc[0] if len(group) else "",
        "seeds": len(group),
        "needed_px": needed.iloc[0] if len(needed) else pd.NA,
        "found": int((ratio >= FOUND_RATIO).sum()) if len(ratio) else pd.NA,
    }
    row |= _statistics("field", group["field_px"])
    for network in NETWORKS:
        row |= _statistics(network, group[network])
    for network in ("retrained", "control"):
        known = group[network].dropna()
        row[f"{network}_successes"] = int((known >= SUCCESS).sum()) if len(known) else pd.NA
    for stage in TRAININGS:
        row[f"{stage}_seconds_median"] = group[f"{stage}_seconds"].astype("float64").median()
    return row


def _statistics(name: str, values: "pd.Series[Any]") -> dict[str, float]:
    """Median, extremes, mean and sample standard deviation of what is known."""
    known = values.dropna().astype("float64")
    found = {
        "median": known.median(),
        "min": known.min(),
        "max": known.max(),
        "mean": known.mean(),
        "std": known.std(ddof=1),
    }
    return {f"{name}_{statistic}": float(found[statistic]) for statistic in _STATISTICS}


def _section(part: Part, rows: pd.DataFrame, root: Path, device: str) -> str:
    metric = metric_name(str(rows["metric"].iloc[0]))
    meanings = "\n".join(f"- `{variant.name}`: {variant.meaning}" for variant in part.variants)
    commands = "\n".join(_command(part, variant, root, device) for variant in part.variants)
    return (
        f"## {part.title}\n\n{_table(_display(rows))}\n"
        f"Networks are scored by {metric}; ranges are median (least to greatest).\n\n"
        f"{meanings}\n\n"
        f"Each run is made by one command, where N stands for its seed:\n\n"
        f"```sh\n{commands}\n```\n"
    )


def _command(part: Part, variant: Variant, root: Path, device: str) -> str:
    data = _DATA_PLACE if part.needs_data else None
    return shlex.join(command_words(part, variant, "N", root, data, device))


def _table(frame: pd.DataFrame) -> str:
    """A table as GitHub renders it; all but the first column are set right."""
    lines = [[_escaped(str(name)) for name in frame.columns]]
    lines.append(["---", *["---:"] * (len(frame.columns) - 1)])
    lines += [[_escaped(str(value)) for value in row] for row in frame.itertuples(index=False)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _escaped(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _whole(values: "pd.Series[Any]") -> "pd.Series[str]":
    texts = ["" if pd.isna(value) else str(value) for value in values]
    return pd.Series(texts, index=values.index, dtype="object")


def _counted(rows: pd.DataFrame, column: str) -> "pd.Series[str]":
    texts = [
        "" if pd.isna(count) else f"{count} of {seeds}"
        for count, seeds in zip(rows[column], rows["seeds"], strict=True)
    ]
    return pd.Series(texts, index=rows.index, dtype="object")


def _spread(rows: pd.DataFrame, name: str, form: str) -> "pd.Series[str]":
    columns = zip(rows[f"{name}_median"], rows[f"{name}_min"], rows[f"{name}_max"], strict=True)
    texts = [
        "" if math.isnan(median) else f"{median:{form}} ({least:{form}} to {greatest:{form}})"
        for median, least, greatest in columns
    ]
    return pd.Series(texts, index=rows.index, dtype="object")


def _mean(rows: pd.DataFrame, name: str) -> "pd.Series[str]":
    columns = zip(rows[f"{name}_mean"], rows[f"{name}_std"], strict=True)
    texts = ["" if math.isnan(std) else f"{mean:.3f} ± {std:.3f}" for mean, std in columns]
    return pd.Series(texts, index=rows.index, dtype="object")


def _number(value: float, form: str) -> str:
    return "" if math.isnan(value) else f"{value:{form}}"
