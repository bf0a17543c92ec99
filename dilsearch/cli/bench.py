"""The bench command: what is chosen, what is measured, and what is written about it."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pandas as pd
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from dilsearch.bench import CONTESTANTS, BenchError, Case, all_cases, choose_cases
from dilsearch.bench.cases import choose_contestants
from dilsearch.progress import Reporter
from dilsearch.runs import write_atomically

PRECISIONS = ("float32", "bfloat16")
_QUICK_ROUNDS, _QUICK_WARMUP = 2, 0


@dataclass(frozen=True, kw_only=True)
class BenchOptions:
    """What ``bench`` is asked for."""

    cases: Sequence[str]
    rounds: int | None
    without: Sequence[str]
    device: str
    precision: str
    threads: int | None
    quick: bool
    out: Path
    quiet: bool
    as_json: bool


def list_cases(*, as_json: bool) -> None:
    """What can be measured, and who takes part."""
    from dilsearch.bench.tables import describe_case

    cases = [{"name": case.name, "title": describe_case(case)} for case in all_cases()]
    contestants = [
        {"name": name, "title": what, "installed": name != "dcls" or find_spec("DCLS") is not None}
        for name, what in CONTESTANTS.items()
    ]
    if as_json:
        print(json.dumps({"cases": cases, "contestants": contestants}, indent=2))
        return
    console = Console(highlight=False)
    for heading, entries in (("case", cases), ("contestant", contestants)):
        table = Table(box=SIMPLE_HEAD)
        table.add_column(heading, no_wrap=True)
        table.add_column("what it is")
        for entry in entries:
            note = "" if entry.get("installed", True) else " (not installed)"
            table.add_row(Text(str(entry["name"])), Text(f"{entry['title']}{note}"))
        console.print(table)


def run_bench(options: BenchOptions) -> None:
    """Measure what is asked for, write it down, and show it.

    Raises:
        BenchError: If something is asked for that there is not.
        RunError: If there is no such device, or the disk refuses.
    """
    cases = choose_cases(options.cases, quick=options.quick)
    contestants = choose_contestants(options.without)
    if options.precision not in PRECISIONS:
        raise BenchError(
            f"precision '{options.precision}' is unknown; use one of {', '.join(PRECISIONS)}"
        )
    import torch

    from dilsearch.bench import machine, suite, tables
    from dilsearch.training.devices import open_fabric

    device = open_fabric(options.device).device
    settings = suite.Settings(
        device=device,
        contestants=contestants,
        rounds=options.rounds or (_QUICK_ROUNDS if options.quick else suite.ROUNDS),
        warmup=_QUICK_WARMUP if options.quick else suite.WARMUP,
        precision="bfloat16" if options.precision == "bfloat16" else "float32",
    )
    reporter = Reporter(quiet=options.quiet)
    threads = torch.get_num_threads()
    torch.set_num_threads(options.threads or threads)
    try:
        described = machine.describe_machine(settings, quick=options.quick)
        outcome = suite.run_cases(
            cases, settings, lambda case: reporter.say(f"{case.name}: {tables.describe_case(case)}")
        )
    finally:
        torch.set_num_threads(threads)
    results = tables.results_table(outcome.measurements)
    text = tables.to_markdown(results, cases, outcome, described)
    _write(options.out, results, cases, text, described)
    left_out = tables.left_out_sentences(outcome)
    if options.as_json:
        document = {
            "out": str(options.out),
            "machine": described,
            "results": _records(results),
            "left_out": left_out,
        }
        print(json.dumps(document, indent=2))
    elif not options.quiet:
        _show(tables.text_table(results, quartiles=False), left_out, options.out)


def _write(
    folder: Path, results: pd.DataFrame, cases: Sequence[Case], text: str, machine: dict[str, Any]
) -> None:
    from dilsearch.bench import figures
    from dilsearch.report.figures import as_png

    write_atomically(folder / "results.csv", results.to_csv(index=False, lineterminator="\n"))
    write_atomically(folder / "table.md", text)
    write_atomically(folder / "machine.json", json.dumps(machine, indent=2) + "\n")
    drawn = {
        "ratios": figures.ratios_figure(results),
        "growth": figures.growth_figure(results, cases),
    }
    for name, figure in drawn.items():
        path = folder / f"{name}.png"
        if figure is None:
            path.unlink(missing_ok=True)  # a figure of other results would be taken for theirs
        else:
            write_atomically(path, as_png(figure))


def _show(frame: pd.DataFrame, left_out: Sequence[str], folder: Path) -> None:
    console = Console(highlight=False)
    table = Table(
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        title="medians (times native)",
    )
    for name in frame.columns:
        words = name in ("case", "quantity")
        if words:
            table.add_column(name, overflow="fold")
        else:
            table.add_column(name, justify="right", no_wrap=True)
    for row in frame.itertuples(index=False):
        table.add_row(*(Text(str(cell)) for cell in row))
    console.print(table)
    for sentence in left_out:
        console.print(f"left out: {sentence}", markup=False, soft_wrap=True)
    console.print(f"table and figures: {folder}", markup=False, soft_wrap=True)


def _records(frame: pd.DataFrame) -> Any:
    """Rows as JSON has them: what is absent is null."""
    return json.loads(frame.to_json(orient="records", double_precision=15))
