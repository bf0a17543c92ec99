"""The page of a run: everything it found, in one file that needs nothing else.

Figures and pictures stand in the page as data, styles are in its head, and no script runs. Every
text that comes from the run is escaped by the template engine.
"""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from dilsearch.plan import DilationPlan, SiteRates
from dilsearch.report import figures, tables
from dilsearch.report.pages import Card, data_uri, page_template
from dilsearch.report.rate_figures import rates_figure, spread_figure
from dilsearch.report.rates import rates_over_time
from dilsearch.report.tables import Predictions, RunData
from dilsearch.report.verdict import verdict
from dilsearch.runs import write_atomically

REPORT_NAME = "report.html"

_SAMPLES = 4
_LONGEST_SIDE_PX = 480
_PLAN_COLUMNS = ("searched", "rates", *tables.FIELD_COLUMNS, "changes")
_METRIC_NAMES = {
    "mean_iou": "Mean IoU",
    "pixel_accuracy": "Pixel accuracy",
    "class_accuracy": "Class accuracy",
    "freq_weighted_iou": "Frequency-weighted IoU",
    "far_accuracy": "Far accuracy",
}


def write_report(run_dir: Path) -> Path:
    """Write the figures and ``report.html`` of a run, and return the page's path.

    Only the files of the folder are read. Stages that have not finished are named on the page.

    Raises:
        RunError: If the folder is no run, or one of its files is damaged.
    """
    data = tables.read_run(run_dir)
    drawn = draw_figures(data)
    vector = {name: figures.as_svg(figure) for name, figure in drawn.items()}
    for name, figure in drawn.items():
        write_atomically(data.folder.path(f"figures/{name}.png"), figures.as_png(figure))
        write_atomically(data.folder.path(f"figures/{name}.svg"), vector[name])
    if data.predictions is not None:
        classes = _shown_classes(data, data.predictions)
        shown = figures.predictions_figure(data.predictions, classes, most=_SAMPLES)
        path = data.folder.path("figures/predictions.png")
        write_atomically(path, figures.as_png(shown, dpi=120))
    page = render(data, {name: data_uri(svg, "svg+xml") for name, svg in vector.items()})
    data.folder.write_text(REPORT_NAME, page)
    return data.folder.path(REPORT_NAME)


def draw_figures(data: RunData) -> dict[str, Figure]:
    """The figures that the run has data for: ``rates``, ``field``, ``spread``, ``loss``."""
    drawn: dict[str, Figure] = {}
    if data.trajectory is not None:
        rates = rates_over_time(data.trajectory)
        if not rates.empty:
            drawn["rates"] = rates_figure(rates, _sites(data.plan))
        drawn["field"] = figures.field_figure(
            tables.field_over_time(data.trajectory),
            tables.needed_px(data),
            _smaller_side(tables.rate_one_field_px(data)),
            _smaller_side(data.result("plan", "field_px")),
        )
    spread = spread_figure(_sites(data.plan or data.plan_float))
    if spread is not None:
        drawn["spread"] = spread
    if data.losses:
        drawn["loss"] = figures.loss_figure(data.losses)
    return drawn


def render(data: RunData, images: Mapping[str, str]) -> str:
    """The page as text.

    Args:
        data: The run.
        images: Figure name to its ``data:`` address.
    """
    return page_template("report.html.j2").render(
        title=str(data.folder.record.get("space") or data.folder.path().name),
        subtitle=_subtitle(data),
        verdict=verdict(data),
        findings=data.result("search", "findings") or [],
        missing=tables.missing_parts(data),
        cards=key_figures(data),
        images=images,
        plan=_plan_rows(data),
        policy=data.setting("gap", "policy"),
        control=tables.control_text(data),
        scored_px=tables.scored_px_text(data),
        metrics=_metric_rows(data),
        networks=_network_titles(tables.metrics_table(data)),
        classes=_class_rows(data),
        class_networks=_network_titles(tables.class_iou_table(data)),
        samples=_samples(data),
        legend=_legend(data),
        provenance=provenance(data),
    )


def key_figures(data: RunData) -> list[Card]:
    """The figures at the top of the page, as far as the run has come."""
    return [
        card
        for card in (
            _field_card(data),
            _bounds_card(data),
            _holes_card(data),
            _metric_card(data, "mean_iou"),
            _metric_card(data, "far_accuracy"),
            _time_card(data),
        )
        if card is not None
    ]


def provenance(data: RunData) -> list[tuple[str, str]]:
    """How the run was made, as label and value, without what the run does not say."""
    run = data.folder.record
    rows = [
        ("Command", run.get("command")),
        ("Space", _joined([run.get("space"), _named("profile", run.get("profile"))])),
        ("Seed", run.get("seed")),
        ("Device", _joined([run.get("device"), _named("CPU cores:", run.get("cpu_count"))])),
        ("Platform", run.get("platform")),
        ("Versions", _joined([_named(*pair) for pair in (run.get("versions") or {}).items()])),
        ("Revision", run.get("revision")),
        *((f"Hash of {name}", value) for name, value in run["hashes"].items()),
        *_stage_rows(data),
    ]
    return [(label, str(value)) for label, value in rows if value not in (None, "")]


def duration_text(seconds: float) -> str:
    """A duration in short: ``0.4 s``, ``25 s``, ``3 min 5 s``, ``1 h 2 min``."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def _subtitle(data: RunData) -> str:
    run = data.folder.record
    parts = [_named("profile", run.get("profile")), _named("seed", run.get("seed"))]
    return _joined([*parts, run.get("device")])


def _field_card(data: RunData) -> Card | None:
    rounded = data.result("plan", "field_px")
    value = rounded if rounded is not None else data.result("search", "field_px")
    if value is None:
        return None
    needed, at_one = tables.needed_px(data), tables.rate_one_field_px(data)
    notes = [
        f"{needed} px needed" if needed is not None else None,
        f"{at_one} px with every rate 1" if at_one is not None else None,
    ]
    good = None if needed is None else min(tables.field_sides(value)) >= needed
    return Card("Field of view", f"{tables.field_text(value)} px", _joined(notes), good)


def _bounds_card(data: RunData) -> Card | None:
    if data.field is None:
        return None
    table = tables.plan_table(data)
    kept = int(table["bound_ok"].eq(True).sum())
    note = "sites: rate at most field / stride"
    return Card("Bounds kept", f"{kept} of {len(table)}", note, kept == len(table))


def _holes_card(data: RunData) -> Card | None:
    holes = data.result("plan", "holes")
    if holes is None:
        return None
    return Card("Holes", f"{int(holes):,}", "pixels unseen in the field", holes == 0)


def _metric_card(data: RunData, metric: str) -> Card | None:
    value, control = (data.result(name, "val", metric) for name in ("retrain", "control"))
    if value is None:
        return None
    against = None if control is None else f"control\N{NO-BREAK SPACE}{control:.3f}"
    return Card(_METRIC_NAMES[metric], f"{value:.3f}", _joined(["retrained", against]))


def _time_card(data: RunData) -> Card | None:
    seconds = data.result("search", "seconds")
    if seconds is None:
        return None
    steps = data.result("search", "steps")
    note = "" if steps is None else f"{int(steps):,} steps"
    return Card("Search time", duration_text(float(seconds)), note)


def _plan_rows(data: RunData) -> list[dict[str, Any]]:
    """One row per site for the template; a cell whose stage has not finished is absent (None)."""
    table = tables.plan_table(data)
    table = table.reindex(columns=list(_PLAN_COLUMNS)).astype(object).reset_index()
    rows = table.where(table.notna(), None).to_dict(orient="records")
    return [{str(column): cell for column, cell in row.items()} for row in rows]


def _network_titles(table: pd.DataFrame) -> list[str]:
    return [title for name, title in tables.NETWORKS.items() if name in table]


def _metric_rows(data: RunData) -> list[dict[str, Any]]:
    table = tables.metrics_table(data)
    rows = []
    for metric, values in table.iterrows():
        name = _METRIC_NAMES.get(str(metric), str(metric).replace("_", " ").capitalize())
        gain = None
        if {"retrain", "control"} <= set(table.columns):
            gain = _points_text(values["retrain"] - values["control"])
        rows.append({"name": name, "values": [_absent_if_nan(v) for v in values], "gain": gain})
    return rows


def _class_rows(data: RunData) -> list[dict[str, Any]]:
    table = tables.class_iou_table(data)
    colors = figures.class_colors(tables.class_entries(data, at_least=len(table)))
    return [
        {
            "name": str(name),
            "color": color,
            "share": float(values["share"]),
            "values": [_absent_if_nan(value) for value in values.drop("share")],
        }
        for (name, values), color in zip(table.iterrows(), colors, strict=False)
    ]


def _shown_classes(data: RunData, found: Predictions) -> list[tables.ClassEntry]:
    """The classes, made up to the largest index that the pictures show."""
    maps = [found.truth, *found.networks.values()]
    indices = [labels[labels != tables.IGNORE_INDEX].max(initial=-1) for labels in maps]
    return tables.class_entries(data, at_least=int(max(indices)) + 1)


def _samples(data: RunData) -> list[list[dict[str, Any]]]:
    """Each sample's pictures, ready for the page: title, address and size in pixels."""
    found = data.predictions
    if found is None:
        return []
    shown = figures.samples_shown(found, _shown_classes(data, found), most=_SAMPLES)
    return [
        [
            _picture(title, pixels, photo=number == 0)
            for number, (title, pixels) in enumerate(sample.items())
        ]
        for sample in shown
    ]


def _picture(title: str, pixels: NDArray[np.uint8], *, photo: bool) -> dict[str, Any]:
    """A picture of at most 480 px; a photo as PNG or JPEG, whichever is smaller, else as PNG."""
    image = Image.fromarray(pixels)
    resample = Image.Resampling.LANCZOS if photo else Image.Resampling.NEAREST
    image.thumbnail((_LONGEST_SIDE_PX, _LONGEST_SIDE_PX), resample)
    addresses = [data_uri(_encoded(image, "PNG", optimize=True), "png")]
    if photo:
        addresses.append(data_uri(_encoded(image, "JPEG", quality=85), "jpeg"))
    address = min(addresses, key=len)
    return {"title": title, "address": address, "width": image.width, "height": image.height}


def _encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format=kind, **options)
    return buffer.getvalue()


def _legend(data: RunData) -> list[tuple[str, str]]:
    found = data.predictions
    return [] if found is None else figures.legend_entries(found, _shown_classes(data, found))


def _stage_rows(data: RunData) -> list[tuple[str, str]]:
    return [
        (
            f"Stage {stage}",
            f"{data.folder.stages[stage]['status']} · {duration_text(data.folder.seconds(stage))}",
        )
        for stage in data.folder.stages
    ]


def _named(name: str, value: Any) -> str | None:
    return None if value is None else f"{name} {value}"


def _joined(parts: Sequence[Any]) -> str:
    return " · ".join(str(part) for part in parts if part not in (None, ""))


def _points_text(difference: float) -> str:
    """A difference of two scores in points of 0.01, with its sign; empty where there is none."""
    return "" if pd.isna(difference) else f"{100 * difference:+.1f}".replace("-", "\N{MINUS SIGN}")


def _absent_if_nan(value: Any) -> float | None:
    return None if pd.isna(value) else float(value)


def _sites(plan: DilationPlan | None) -> Mapping[str, SiteRates]:
    return {} if plan is None else plan.sites


def _smaller_side(field: object | None) -> int | None:
    return None if field is None else min(tables.field_sides(field))
