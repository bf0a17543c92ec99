"""The compare command: runs and sweeps in, tables, figures and plain sentences out."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pandas as pd
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from dilsearch.comparison.costs import UNITS, costs_table, curves
from dilsearch.comparison.markdown import differences_in_words, equal_cost_in_words, to_markdown
from dilsearch.comparison.methods import DEFAULT_SCORE, Methods, read_methods
from dilsearch.comparison.tables import Comparison, differences_table, short_table
from dilsearch.errors import ComparisonError
from dilsearch.progress import Reporter
from dilsearch.runs import RUN_FILE, write_atomically

_FIELD = "field"
_TITLE = "means over seeds ± s.d.; field in px; samples per seed"


@dataclass(frozen=True, kw_only=True)
class CompareOptions:
    """What ``compare`` is asked for."""

    runs: Sequence[str]
    score: str = DEFAULT_SCORE
    threshold: float | None = None
    out: Path = Path("comparison")
    quiet: bool = False
    as_json: bool = False


def run_comparison(options: CompareOptions) -> None:
    """Read, check, compare, and only then write; show the result.

    Raises:
        ComparisonError: If the runs cannot be compared as asked, or the folder holds a run.
        RunError: If a folder holds no run, or a damaged one, or nothing can be written.
    """
    if (options.out / RUN_FILE).exists():
        raise ComparisonError(f"--out {options.out} is the folder of a run; write to another")
    reporter = Reporter(quiet=options.quiet)
    methods = read_methods(options.runs, options.score)
    for remark in methods.remarks:
        reporter.say(remark)
    comparison = Comparison.of(methods, options.threshold)
    _write(comparison, options.out)
    if options.as_json:
        print(json.dumps(_document(comparison, options.out), indent=2))
    elif not options.quiet:
        _show(comparison, options.out)


def _write(comparison: Comparison, folder: Path) -> None:
    plans = comparison.methods.plans
    tables = {
        "comparison": comparison.summary,
        "differences": differences_table(comparison.pairs),
        "seeds": comparison.seeds,
        "plans": plans,
        "costs": costs_table(plans),
    }
    figures = _write_figures(comparison, folder)
    for name, table in tables.items():
        write_atomically(folder / f"{name}.csv", table.to_csv(index=False, lineterminator="\n"))
    write_atomically(folder / "comparison.md", to_markdown(comparison, figures))


def _write_figures(comparison: Comparison, folder: Path) -> list[tuple[str, str]]:
    """Draw the figures; the file and title of each."""
    from dilsearch.report.figures import as_png, as_svg
    from dilsearch.report.sweep_figures import cost_figure, field_figure

    methods, score = comparison.methods, comparison.score_in_words
    drawn = {
        _FIELD: field_figure(
            _points(methods),
            score_name=methods.score,
            needed_px=methods.needed_px,
            rate_one_px=methods.rate_one_px,
        )
    }
    titles = {_FIELD: f"{score} against field"}
    for unit in UNITS:
        name = f"cost-{unit}"
        titles[name] = f"best {score} so far against {unit}"
        drawn[name] = cost_figure(
            curves(methods.plans, unit),
            score_name=methods.score,
            threshold=comparison.threshold,
            unit=unit,
        )
    for name, figure in drawn.items():
        write_atomically(folder / f"{name}.png", as_png(figure))
        write_atomically(folder / f"{name}.svg", as_svg(figure))
    return [(f"{name}.png", titles[name]) for name in drawn]


def _points(methods: Methods) -> pd.DataFrame:
    """The plans that have a place in the figure of fields, each once."""
    plans = methods.plans
    known = plans["score"].notna() & plans["field_px"].notna() & plans["answered_from"].isna()
    return plans[known].reset_index(drop=True)


def _document(comparison: Comparison, folder: Path) -> dict[str, Any]:
    return {
        "out": str(folder),
        "score": comparison.methods.score,
        "threshold": comparison.threshold,
        "needed_px": comparison.methods.needed_px,
        "methods": _records(comparison.summary),
        "differences": _records(differences_table(comparison.pairs)),
        "seeds": _records(comparison.seeds),
        "remarks": list(comparison.methods.remarks),
    }


def _show(comparison: Comparison, folder: Path) -> None:
    console = Console(highlight=False)
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), title=_TITLE)
    frame = short_table(comparison)
    for name in frame.columns:
        side: Literal["left", "right"] = "left" if name == "method" else "right"
        table.add_column(str(name), justify=side, no_wrap=True)
    for row in frame.itertuples(index=False):
        table.add_row(*(Text(str(cell)) for cell in row))
    console.print(table)
    for sentence in (*differences_in_words(comparison), *equal_cost_in_words(comparison)):
        console.print(sentence, markup=False)
    page = folder / "comparison.md"
    console.print(f"tables, figures and how it was counted: {page}", markup=False, soft_wrap=True)


def _records(frame: pd.DataFrame) -> Any:
    """Rows as JSON has them: what is absent is null."""
    return json.loads(frame.to_json(orient="records", double_precision=15))
