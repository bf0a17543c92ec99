"""The files of a run folder as pandas frames: the one place where the report reads.

A run may have finished only some of its stages, so every part is optional: what is not there is
None or empty, and whoever shows it says so.
"""

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dilsearch.errors import RunError
from dilsearch.plan import DilationPlan
from dilsearch.report.rates import (
    changes_text,
    listed_rates,
    rate_text,
    rates_text,
    steps_at_rate_one,
)
from dilsearch.runs import SPACE_FILE, RunFolder
from dilsearch.scores import class_iou, confusion_of

NETWORKS = {"fractional": "Searched", "retrain": "Retrained", "control": "Control"}
"""The networks a run compares, with their titles: as searched, rounded and retrained, rate 1."""

METRICS = ("mean_iou", "pixel_accuracy", "class_accuracy", "freq_weighted_iou", "far_accuracy")
"""Metric names in the order they are shown; any other metric of a run follows them."""

IGNORE_INDEX = 255
"""Class index of a pixel that is never scored."""

FIELD_COLUMNS = ("field_in_px", "stride_in_px", "bound", "bound_ok", "field_out_px")
"""What ``field.csv`` says of each site."""

_COLUMNS = {
    "trajectory.csv": ("step", "loss", "field_px"),
    "retrain.csv": ("step", "loss"),
    "control.csv": ("step", "loss"),
    "projection.csv": ("site", "branch", "before", "after", "rule"),
    "field.csv": ("site", *FIELD_COLUMNS),
    "counts.csv": ("stage", "region", "truth", "predicted", "count"),
}


@dataclass(frozen=True, slots=True)
class ClassEntry:
    """A class of the data: its name, and its colour as ``#rrggbb`` where the run names one."""

    name: str
    color: str | None = None


@dataclass(frozen=True, slots=True)
class Predictions:
    """A few validation images with what each network made of them.

    Args:
        images: RGB, uint8, (samples, height, width, 3).
        truth: Class indices, (samples, height, width); 255 is never scored.
        networks: Network name to its class indices, shaped like ``truth``.
    """

    images: NDArray[np.uint8]
    truth: NDArray[np.int64]
    networks: Mapping[str, NDArray[np.int64]]


@dataclass(frozen=True, slots=True)
class RunData:
    """Everything a report needs of one run; a part whose stage has not finished is None or empty.

    Args:
        folder: The run folder.
        summary: Its results (``summary.json``).
        space: The resolved search space (``space.toml``), as read.
        trajectory: One row per search step: loss, field and every rate.
        losses: ``search``, ``retrain`` and ``control`` to their loss by step.
        plan_float: The searched rates.
        plan: The integer rates.
        projection: Every change between the two plans, in the order it was made.
        field: The field through every site of the integer network.
        counts: Confusion counts by network and region.
        predictions: Images with ground truth and predictions.
    """

    folder: RunFolder
    summary: Mapping[str, Any]
    space: Mapping[str, Any]
    trajectory: pd.DataFrame | None
    losses: Mapping[str, pd.DataFrame]
    plan_float: DilationPlan | None
    plan: DilationPlan | None
    projection: pd.DataFrame | None
    field: pd.DataFrame | None
    counts: pd.DataFrame | None
    predictions: Predictions | None

    def result(self, *keys: str) -> Any:
        """The value of ``summary.json`` under these nested keys, or None where there is none."""
        return _nested(self.summary, keys)

    def setting(self, *keys: str) -> Any:
        """The value of ``space.toml`` under these nested keys, or None where there is none."""
        return _nested(self.space, keys)


def read_run(run_dir: Path) -> RunData:
    """Read what a run folder holds.

    Raises:
        RunError: If the folder is no run, or one of its files is damaged.
    """
    folder = RunFolder.open(run_dir)
    trajectory = _read_log(folder, "trajectory.csv")
    curves = {
        "search": trajectory,
        "retrain": _read_log(folder, "retrain.csv"),
        "control": _read_log(folder, "control.csv"),
    }
    return RunData(
        folder=folder,
        summary=folder.read_json("summary.json") if folder.has("summary.json") else {},
        space=_read_space(folder),
        trajectory=trajectory,
        losses={
            stage: curve[["step", "loss"]].dropna()
            for stage, curve in curves.items()
            if curve is not None
        },
        plan_float=_read_plan(folder, "plan.float.json"),
        plan=_read_plan(folder, "plan.json"),
        projection=_read_table(folder, "projection.csv"),
        field=_read_table(folder, "field.csv"),
        counts=_read_table(folder, "counts.csv"),
        predictions=_read_predictions(folder.path("arrays/predictions.npz")),
    )


def field_over_time(trajectory: pd.DataFrame) -> pd.DataFrame:
    """The field by step, in input pixels: step, height_px, width_px."""
    sides = [field_sides(value) for value in trajectory["field_px"]]
    return pd.DataFrame(
        {
            "step": trajectory["step"],
            "height_px": [height for height, _ in sides],
            "width_px": [width for _, width in sides],
        }
    )


def field_sides(value: object) -> tuple[int, int]:
    """Height and width of a field given as a number, ``"47"``, ``"47x31"`` or a pair.

    Raises:
        RunError: If the value is no field.
    """
    parts = value if isinstance(value, list | tuple) else str(value).split("x")
    try:
        sides = [int(float(part)) for part in parts]
    except (TypeError, ValueError):
        sides = []
    if len(sides) not in (1, 2):
        raise RunError(
            f"field {value!r} is no size in pixels, such as 47 or 47x31. Run the stage again."
        )
    return sides[0], sides[-1]


def field_text(value: object) -> str:
    """A field in short: ``47`` for a square, ``47x31`` (height x width) otherwise."""
    height, width = field_sides(value)
    return str(height) if height == width else f"{height}x{width}"


def plan_table(data: RunData) -> pd.DataFrame:
    """The plan with its bounds, one row per site, indexed by site; empty before the search ends.

    Columns: ``searched`` and ``rates`` (texts), ``field_in_px``, ``stride_in_px``, ``bound``,
    ``bound_ok``, ``field_out_px`` (from the integer network) and ``changes`` (a tuple of texts).
    Columns of a stage that has not finished are left out. A site outside the plan is listed
    only where its bound is broken.
    """
    plans = [plan for plan in (data.plan_float, data.plan) if plan is not None]
    sites = list(dict.fromkeys(site for plan in plans for site in plan))
    broken = [site for site in broken_sites(data) if site not in sites]
    table = pd.DataFrame(index=pd.Index(sites + broken, name="site"))
    for column, plan in (("searched", data.plan_float), ("rates", data.plan)):
        if plan is not None:
            table[column] = [rates_text(plan.sites.get(site)) for site in table.index]
    if data.field is not None:
        table = table.join(data.field.set_index("site")[list(FIELD_COLUMNS)])
    if data.projection is not None:
        table["changes"] = [changes_text(data.projection, site) for site in table.index]
    return table


def broken_sites(data: RunData) -> list[str]:
    """The sites of the integer network whose largest rate is above their bound."""
    if data.field is None:
        return []
    return [str(site) for site in data.field.loc[~data.field["bound_ok"].astype(bool), "site"]]


def metrics_table(data: RunData) -> pd.DataFrame:
    """Validation metrics, each 0 to 1: one row per metric, one column per evaluated network."""
    scores = {name: data.result(name, "val") for name in NETWORKS}
    present = {name: values for name, values in scores.items() if isinstance(values, Mapping)}
    found = list(dict.fromkeys(metric for values in present.values() for metric in values))
    order = [m for m in METRICS if m in found] + [m for m in found if m not in METRICS]
    columns = {
        name: pd.to_numeric(pd.Series([values.get(m) for m in order], dtype=object))
        for name, values in present.items()
    }
    return pd.DataFrame(columns).set_axis(pd.Index(order, name="metric"), axis=0)


def class_iou_table(data: RunData) -> pd.DataFrame:
    """IoU by class: one row per class with its ``share`` of the true pixels, then the networks.

    A class that is neither true nor predicted anywhere has no IoU (NaN). Empty without counts.
    """
    if data.counts is None:
        return pd.DataFrame()
    scored = set(data.counts.loc[data.counts["region"] == "all", "stage"])
    matrices = {name: confusion_of(data.counts, name) for name in NETWORKS if name in scored}
    if not matrices:
        return pd.DataFrame()
    size = max(len(matrix) for matrix in matrices.values())
    names = [entry.name for entry in class_entries(data, at_least=size)]
    table = pd.DataFrame(index=range(len(names)))
    true_pixels = pd.Series(list(matrices.values())[-1].sum(axis=1))
    table["share"] = (true_pixels / max(true_pixels.sum(), 1)).reindex(table.index, fill_value=0)
    for name, matrix in matrices.items():
        table[name] = pd.Series(class_iou(matrix), dtype=float)
    table.index = pd.Index(names)
    return table.rename_axis("class")


def class_entries(data: RunData, *, at_least: int = 0) -> list[ClassEntry]:
    """The classes in index order, made up to ``at_least`` with nameless ones ("class 3")."""
    listed = data.result("classes") or data.setting("data", "class_names") or ()
    entries = [_class_entry(entry, index) for index, entry in enumerate(listed)]
    return entries + [ClassEntry(f"class {index}") for index in range(len(entries), at_least)]


def needed_px(data: RunData) -> int | None:
    """The field the task asks for, in pixels: 2N - 1 for N image pixels unless the space says."""
    for value in (
        data.result("plan", "needed_px"),
        data.result("search", "needed_px"),
        data.setting("field", "needed_px"),
    ):
        if value is not None:
            return int(value)
    return None


def rate_one_field_px(data: RunData) -> str | None:
    """The field with every rate 1, if the run measured it: in its control or while searching."""
    measured = data.result("control", "field_px")
    if measured is not None and data.setting("control", "rate") in (None, 1):
        return field_text(measured)
    if data.trajectory is not None:
        at_one = steps_at_rate_one(data.trajectory)
        if at_one.any():
            return field_text(data.trajectory.loc[at_one, "field_px"].iloc[0])
    return None


def control_text(data: RunData) -> str:
    """What the control has: "every rate 1", "rates 1 | 1, 3 | 3, 9" by site, or a name."""
    rate = data.setting("control", "rate")
    if rate == "present":
        return "the dilations it came with"
    if isinstance(rate, str):
        return f"the {rate.partition(':')[2]} rates"
    if rate is None or not isinstance(rate, list):
        return f"every rate {rate_text(1 if rate is None else rate)}"
    sites = [entry if isinstance(entry, list) else [entry] for entry in rate]
    return f"rates {' | '.join(listed_rates([rate] for rate in rates) for rates in sites)}"


def scored_px_text(data: RunData) -> str | None:
    """Height and width that images and labels were scored at, if the space says."""
    size = data.setting("data", "size_px")
    if size is None:
        return None
    height, width = (size, size) if isinstance(size, int) else size
    return f"{height} x {width}"


def missing_parts(data: RunData) -> list[str]:
    """What a complete run has and this one has not, in the order of the stages, in plain words."""
    control_wanted = data.setting("control", "enabled") is not False
    trained = {name: name in data.losses for name in ("retrain", "control")}
    scored = {name: data.result(name, "val") is not None for name in NETWORKS}
    parts = {
        "the search": data.plan_float is not None,
        "the integer plan": data.plan is not None and data.field is not None,
        "retraining": trained["retrain"] or scored["retrain"],
        "training the control": trained["control"] or scored["control"] or not control_wanted,
        "evaluating the searched network": scored["fractional"],
        "evaluating the retrained network": scored["retrain"] or not trained["retrain"],
        "evaluating the control": scored["control"] or not trained["control"],
    }
    return [part for part, there in parts.items() if not there]


def _nested(table: Mapping[str, Any], keys: Iterable[str]) -> Any:
    value: Any = table
    for key in keys:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def _class_entry(entry: object, index: int) -> ClassEntry:
    if isinstance(entry, Mapping):
        color = entry.get("color")
        return ClassEntry(str(entry.get("name", f"class {index}")), color and str(color))
    return ClassEntry(str(entry))


def _read_space(folder: RunFolder) -> dict[str, Any]:
    if not folder.has(SPACE_FILE):
        return {}
    try:
        return tomllib.loads(folder.read_text(SPACE_FILE))
    except tomllib.TOMLDecodeError as error:
        raise RunError(
            f"{folder.path(SPACE_FILE)} is not readable TOML ({error}). Restore the file."
        ) from None


def _read_plan(folder: RunFolder, name: str) -> DilationPlan | None:
    return DilationPlan.load(folder.path(name)) if folder.has(name) else None


def _read_table(folder: RunFolder, name: str) -> pd.DataFrame | None:
    """A table of the run, or None where there is none; its columns are checked."""
    if not folder.has(name):
        return None
    frame = folder.read_csv(name)
    absent = [column for column in _COLUMNS[name] if column not in frame.columns]
    if absent:
        raise RunError(
            f"{folder.path(name)} has no column '{absent[0]}'. Run the stage that writes it again."
        )
    return frame


def _read_log(folder: RunFolder, name: str) -> pd.DataFrame | None:
    """A table that grows step by step, or None before its first row."""
    frame = _read_table(folder, name)
    return None if frame is None or frame.empty else frame


def _read_predictions(path: Path) -> Predictions | None:
    if not path.is_file():
        return None
    try:
        with np.load(path, allow_pickle=False) as arrays:
            labels = {name: arrays[name].astype(np.int64) for name in NETWORKS if name in arrays}
            return Predictions(arrays["images"], arrays["truth"].astype(np.int64), labels)
    except (KeyError, ValueError, OSError, EOFError, BadZipFile) as error:
        raise RunError(f"{path} holds no readable arrays ({error}); evaluate again.") from None
