"""The study command: what is chosen, what is run, and what is written about it."""

import json
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pandas as pd
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from dilsearch.progress import Reporter
from dilsearch.runs import write_atomically
from dilsearch.study import STUDIES, Study, StudyError
from dilsearch.study.choose import find_study, narrow, parse_seeds, without_data


@dataclass(frozen=True, kw_only=True)
class StudyOptions:
    """What ``study`` is asked for."""

    name: str
    out: Path | None
    parts: Sequence[str]
    variants: Sequence[str]
    seeds: str | None
    workers: int
    data: Path | None
    device: str
    dry_run: bool
    tables_only: bool
    quiet: bool
    as_json: bool

    @property
    def folder(self) -> Path:
        """Where tables, figures and runs are written."""
        return self.out or Path("studies") / self.name

    @property
    def runs(self) -> Path:
        """Where the run folders lie."""
        return self.folder / "runs"

    def words(self) -> list[str]:
        """The command line that goes on with the study."""
        words = ["dilsearch", "study", self.name]
        words += ["--out", str(self.out)] if self.out else []
        for option, names in (("--part", self.parts), ("--variant", self.variants)):
            for name in names:
                words += [option, name]
        words += ["--seeds", self.seeds] if self.seeds is not None else []
        words += ["--workers", str(self.workers)] if self.workers != 1 else []
        words += ["--data", str(self.data)] if self.data else []
        return words + (["--device", self.device] if self.device != "auto" else [])


def list_studies(*, as_json: bool) -> None:
    """The studies, with their parts and how many runs each is."""
    if as_json:
        listed = [
            {
                "name": study.name,
                "title": study.title,
                "parts": [
                    {
                        "name": part.name,
                        "title": part.title,
                        "variants": [variant.name for variant in part.variants],
                        "seeds": list(part.seeds),
                        "needs_data": part.needs_data,
                    }
                    for part in study.parts
                ],
            }
            for study in STUDIES.values()
        ]
        print(json.dumps(listed, indent=2))
        return
    console = Console(highlight=False)
    for study in STUDIES.values():
        table = Table(box=SIMPLE_HEAD, title=f"{study.name}: {study.title}", title_justify="left")
        for column in ("part", "variants", "runs", "what it is"):
            table.add_column(column, justify="right" if column == "runs" else "left")
        for part in study.parts:
            note = " (needs --data)" if part.needs_data else ""
            names = ", ".join(variant.name for variant in part.variants)
            cells = (part.name, names, str(len(list(part.cases()))), part.title + note)
            table.add_row(*map(Text, cells))
        console.print(table)


def run_study(options: StudyOptions) -> None:
    """Run what is not finished, then write table and figures, then say what failed.

    The files cover everything that is finished in the folder, whatever is run this time; with
    ``tables_only`` they cover what is asked for.

    Raises:
        StudyError: If something is asked for that there is not.
        RunError: If a run failed.
        Interrupted: If the user stopped it.
    """
    study = find_study(options.name)
    seeds = None if options.seeds is None else parse_seeds(options.seeds)
    chosen = narrow(study, options.parts, options.variants, seeds)
    reporter = Reporter(quiet=options.quiet)
    if options.tables_only:
        _tabulate(chosen, options, reporter, all_seeds=seeds is None)
        return
    chosen = _runnable(chosen, options, reporter)
    if options.dry_run:
        _show_commands(chosen, options)
        return
    from dilsearch.study.runner import run_cases

    outcome = run_cases(
        list(chosen.cases()),
        options.runs,
        data=options.data,
        device=options.device,
        workers=options.workers,
        reporter=reporter,
    )
    _tabulate(study, options, reporter, all_seeds=True)
    outcome.require_success(shlex.join(options.words()))


def _runnable(study: Study, options: StudyOptions, reporter: Reporter) -> Study:
    """The study without parts whose data was not given, unless they were asked for by name."""
    if options.data is not None:
        return study
    kept, left_out = without_data(study)
    for part in left_out:
        if part.name in options.parts:
            raise StudyError(
                f"part '{part.name}' needs the folder of its data; give it with --data"
            )
        reporter.say(f"{part.name}: left out, since it needs --data")
    return kept


def _show_commands(study: Study, options: StudyOptions) -> None:
    commands = [case.words(options.runs, options.data, options.device) for case in study.cases()]
    if options.as_json:
        print(json.dumps(commands, indent=2))
        return
    for words in commands:
        print(shlex.join(words))


def _tabulate(study: Study, options: StudyOptions, reporter: Reporter, *, all_seeds: bool) -> None:
    """Write and show what is finished."""
    from dilsearch.report.figures import as_png
    from dilsearch.study import figures, tables

    covered = tables.with_seeds_found(options.runs, study) if all_seeds else study
    results = tables.results_table(options.runs, covered)
    summary = tables.summary_table(results)
    if len(results):
        text = tables.to_markdown(summary, covered, options.runs, options.device)
        csv = results.to_csv(index=False, lineterminator="\n")
        write_atomically(options.folder / "results.csv", csv)
        write_atomically(options.folder / "table.md", text)
        for name, draw in (("fields", figures.fields_figure), ("scores", figures.scores_figure)):
            path, figure = options.folder / f"{name}.png", draw(results, covered)
            if figure is None:
                path.unlink(missing_ok=True)  # a figure of other results would be taken for theirs
            else:
                write_atomically(path, as_png(figure))
    if options.as_json:
        document = {
            "study": study.name,
            "out": str(options.folder),
            "results": _records(results),
            "summary": _records(summary),
        }
        print(json.dumps(document, indent=2))
    elif not len(results):
        reporter.say(f"no run is finished in {options.runs}")
    elif not options.quiet:
        _show_summary(covered, summary, options.folder)


def _show_summary(study: Study, summary: pd.DataFrame, folder: Path) -> None:
    from dilsearch.study.tables import short_table

    console = Console(highlight=False)
    table = Table(
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        title=f"{study.name} (field in px; medians over seeds)",
    )
    frame = short_table(summary)
    for name in frame.columns:
        side: Literal["left", "right"] = "left" if name in ("part", "variant") else "right"
        table.add_column(name, justify=side, no_wrap=True)
    for row in frame.itertuples(index=False):
        table.add_row(*(Text(str(cell)) for cell in row))
    console.print(table)
    console.print(f"table and figures: {folder}", markup=False, soft_wrap=True)


def _records(frame: pd.DataFrame) -> Any:
    """Rows as JSON has them: what is absent is null."""
    return json.loads(frame.to_json(orient="records", double_precision=15))
