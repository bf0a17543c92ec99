"""What commands print: tables for people, JSON for programs. Nothing here imports torch."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from dilsearch.progress import Reporter
from dilsearch.report.tables import NETWORKS, RunData, metrics_table, plan_table, read_run
from dilsearch.report.verdict import verdict
from dilsearch.space import SearchSpace, list_spaces


def show_result(folder: Path, page: Path | None, reporter: Reporter, *, as_json: bool) -> None:
    """The result of a run: its summary as JSON, or plan, metrics and verdict as tables."""
    data = read_run(folder)
    if as_json:
        print(json.dumps(data.summary, indent=2))
        return
    if reporter.console.quiet:
        return
    console = Console(highlight=False)
    if data.plan is not None:
        console.print(_plan_table(data))
    if len(metrics := metrics_table(data)):
        console.print(_metrics_table(metrics))
    console.print(verdict(data), markup=False)
    for finding in data.result("search", "findings") or ():
        console.print(f"About the search: {finding}.", markup=False)
    console.print(f"run folder: {folder}", markup=False, soft_wrap=True)
    if page is not None:
        console.print(f"report: {page}", markup=False, soft_wrap=True)


def show_spaces(*, as_json: bool) -> None:
    """The shipped spaces, a line each."""
    entries = list_spaces()
    if as_json:
        listed = [
            {
                "name": entry.name,
                "title": entry.title,
                "profiles": list(entry.profiles),
                "default_profile": entry.default_profile,
            }
            for entry in entries
        ]
        print(json.dumps(listed, indent=2))
        return
    table = Table(box=SIMPLE_HEAD)
    table.add_column("space", no_wrap=True)
    table.add_column("profiles (default first)", no_wrap=True)
    table.add_column("what it is")
    for entry in entries:
        others = [name for name in entry.profiles if name != entry.default_profile]
        profiles = ", ".join([*([entry.default_profile] if entry.default_profile else []), *others])
        table.add_row(Text(entry.name, style="bold"), Text(profiles), Text(entry.title))
    Console(highlight=False).print(table)


def show_space(name: str, profile: str | None, overrides: list[str], *, as_json: bool) -> None:
    """Every key of a resolved space, with its value and meaning."""
    space = SearchSpace.load(name, profile, overrides)
    settings = list(space.describe())
    if as_json:
        print(json.dumps(space.model_dump(mode="json", exclude_none=True), indent=2))
        return
    table = Table(box=SIMPLE_HEAD, title=f"{space.title} (profile {space.profile})")
    table.add_column("key", no_wrap=True)
    table.add_column("value", overflow="fold")
    table.add_column("meaning", overflow="fold")
    for setting in settings:
        table.add_row(
            Text(setting.key, style="bold"), Text(_plain(setting.value)), Text(setting.description)
        )
    Console(highlight=False).print(table)


def _plan_table(data: RunData) -> Table:
    table = Table(box=SIMPLE_HEAD, title="plan (fields before and behind each site)")
    frame = plan_table(data)
    shown = {
        "searched": "searched",
        "rates": "rates",
        "field_in_px": "in px",
        "bound": "bound",
        "bound_ok": "kept",
        "field_out_px": "out px",
    }
    columns = {name: title for name, title in shown.items() if name in frame}
    table.add_column("site", no_wrap=True)
    for name, title in columns.items():
        wraps = name in ("searched", "rates")  # a site may have many
        table.add_column(title, justify="right", no_wrap=not wraps)
    for site, row in frame.iterrows():
        cells = [Text(_plain(row[name])) for name in columns]
        kept = bool(row.get("bound_ok", True))
        table.add_row(Text(str(site)), *cells, style=None if kept else "red")
    return table


def _metrics_table(metrics: Any) -> Table:
    table = Table(box=SIMPLE_HEAD, title="validation")
    table.add_column("metric")
    for network in metrics.columns:
        table.add_column(NETWORKS.get(network, network).lower(), justify="right")
    for name, values in metrics.iterrows():
        table.add_row(str(name).replace("_", " "), *(f"{value:.3f}" for value in values))
    return table


def _plain(value: Any) -> str:
    if value is None:
        return "(open)"
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{key} = {_plain(item)}" for key, item in value.items())
    if isinstance(value, tuple | list):
        return ", ".join(_plain(item) for item in value)
    return str(value)
