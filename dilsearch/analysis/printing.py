"""An analysis on a terminal: a row per site and output, lists, totals and the verdict.

Nothing is cut off. Where the console is too narrow for a row, sizes break at their blanks and names
behind their dots, and a fix moves from its column to the line under the name.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from dilsearch.analysis.frames import is_lower_bound, is_upper_bound, path_field
from dilsearch.analysis.reports import Gaps, OutputReport, SiteReport, Sizes, Strides
from dilsearch.analysis.result import Analysis
from dilsearch.report.sizes import (
    axes_of,
    count_text,
    range_text,
    rates_text,
    reach,
    size_text,
    whole_text,
)

_NONE = "-"
_GLOBAL = "global"
_NARROWEST_NAME = 12
_BASIS_NOTES = {
    "position": "Behind upsampling, holes are those of the map's middle position.",
    "image": "Where grids do not fit into one another, holes are those that the map's middle "
    "position leaves inside the image.",
    "axes": "Holes with >= were counted axis by axis: a lower bound.",
}


@dataclass(frozen=True, slots=True)
class _Row:
    """A line of a table: its name, its figures, what is wrong with it, and how to mend that."""

    name: str
    cells: tuple[str, ...]
    bad: bool = False
    fix: str = ""


def print_analysis(analysis: Analysis, console: Console) -> None:
    """Print everything an analysis found; the last line is the verdict.

    Args:
        analysis: What to print.
        console: Where to; its width decides the layout, and colour only repeats what words say.
    """
    shapes = ", ".join(whole_text(shape, grouped=False) for shape in analysis.inputs)
    console.print(Text(f"{analysis.model} on {shapes}"), highlight=False)
    if analysis.sites:
        _print_table(console, "site", _SITE_TITLES, [_site_row(site) for site in analysis.sites])
    else:
        console.print("\nNo convolution has two taps or more.", highlight=False)
    outputs = [_output_row(analysis, output) for output in analysis.outputs]
    _print_table(console, "output", _OUTPUT_TITLES, outputs)
    console.print()
    for line in _notes(analysis):
        console.print(Text(line), highlight=False)
    # a line that something else reads stays one line
    console.print(Text(analysis.verdict), highlight=False, soft_wrap=not console.is_terminal)


_SITE_TITLES = (
    "kernel",
    "rate",
    "field in",
    "stride",
    "bound",
    "kept",
    "field out",
    "holes",
    "params",
    "MACs",
)
_OUTPUT_TITLES = (
    "size",
    "field",
    "stride",
    "needed",
    "covered",
    "holes",
    "largest path",
    "smallest path",
)


def _site_row(site: SiteReport) -> _Row:
    kept = {True: "yes", False: "no", None: _NONE}[site.bound_ok]
    cells = (
        _size(site.kernel),
        rates_text(site.rates),
        _size(site.field_in_px, _GLOBAL),
        _size(site.stride_in_px),
        _size(site.bound),
        kept,
        _size(site.field_out_px, _GLOBAL),
        _holes(site.gaps),
        count_text(site.parameters),
        count_text(site.macs),
    )
    return _Row(site.name, cells, site.bound_ok is False, site.fix)


def _output_row(analysis: Analysis, output: OutputReport) -> _Row:
    field = _GLOBAL if output.global_context else _NONE
    if output.field_px is not None:
        smallest = output.field_min_px or output.field_px
        field = range_text(smallest, output.field_px, grouped=False)
    cells = (
        _size(output.size),
        field,
        _size(output.stride_px),
        _size(output.needed_px),
        _covered(analysis, output),
        _holes(output.gaps),
        _size(path_field(output.largest_path)),
        _size(path_field(output.smallest_path)),
    )
    return _Row(output.name, cells)


def _covered(analysis: Analysis, output: OutputReport) -> str:
    """Whether the field covers the need: ``yes``, ``no``, or on which axes it does."""
    if output.field_px is None:
        return _NONE
    reached = reach(output.field_px, output.field_min_px, output.needed_px)
    if set(reached) == {"all"}:
        return "unknown" if is_upper_bound(analysis, output) else "yes"
    if "all" in reached:
        names = zip(axes_of(output.needed_px), reached, strict=True)
        return "in " + ", ".join(name for name, degree in names if degree == "all")
    if is_lower_bound(analysis, output):
        return "unknown"
    return "partly" if "some" in reached else "no"


def _size(values: Sizes | Strides | None, missing: str = _NONE) -> str:
    return missing if values is None else size_text([float(v) for v in values], grouped=False)


def _holes(gaps: Gaps | None) -> str:
    if gaps is None:
        return _NONE
    return str(gaps.holes) if gaps.exact else f">={gaps.holes}"


def _notes(analysis: Analysis) -> Iterator[str]:
    gaps = [site.gaps for site in analysis.sites] + [output.gaps for output in analysis.outputs]
    bases = {counted.basis for counted in gaps if counted is not None}
    yield from (note for basis, note in _BASIS_NOTES.items() if basis in bases)
    if analysis.global_context:
        yield "Global context, where a whole map or axis reaches every position:"
        for found in analysis.global_context:
            front = _size(found.field_px, "global as well")
            unit = "" if found.field_px is None else " px"
            yield f"  {found.node}: {found.cause} (field in front {front}{unit})"
    if analysis.unfollowed:
        yield "Not followed, so that fields behind are lower bounds:"
        yield from (f"  {node}: {what}" for node, what in analysis.unfollowed.items())
    if analysis.remarks:
        yield "May see less than is counted, so that fields behind are upper bounds:"
        yield from (f"  {node}: {what}" for node, what in analysis.remarks.items())
    yield (
        f"Whole model: {analysis.parameters:,} parameters, {analysis.macs:,} MACs "
        "(a MAC is one multiply-accumulate; a FLOP count is twice this)."
    )


def _print_table(console: Console, kind: str, titles: Sequence[str], rows: Sequence[_Row]) -> None:
    """Print a table with two blanks between columns, or one where it has to be squeezed."""
    columns = [[title, *(row.cells[i] for row in rows)] for i, title in enumerate(titles)]
    widths = [max(map(len, column)) for column in columns]
    name_width = max(len(kind), *(len(row.name) for row in rows))
    fix_width = max(len(row.fix) for row in rows)
    gaps = len(titles) + (1 if fix_width else 0)
    wide = name_width + sum(widths) + fix_width + 2 * gaps <= console.width
    if not wide:
        widths = _squeezed(columns, widths, console.width - len(titles) - name_width)
        room = console.width - len(titles) - sum(widths)
        name_width = min(name_width, max(room, _NARROWEST_NAME))
    blanks = 1 if wide else 0  # beside the one that the box draws
    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, blanks, 0, 0))
    table.add_column(kind, width=name_width if not wide else None, overflow="fold")
    for title, width in zip(titles, widths, strict=True):
        table.add_column(title, justify="right", width=width, overflow="fold")
    if wide and fix_width:
        table.add_column("fix", no_wrap=True)
    for row in rows:
        name = row.name if wide else _folded(row, name_width)
        cells = [name, *row.cells, *([row.fix] if wide and fix_width else [])]
        table.add_row(*map(Text, cells), style="red" if row.bad else None)
    table.width = max(console.width, name_width + sum(widths) + len(titles)) if not wide else None
    table.expand = False
    console.print()
    console.print(table, crop=False)


def _squeezed(columns: Sequence[Sequence[str]], natural: Sequence[int], room: int) -> list[int]:
    """Widths that leave names as much room as they want, but no word broken."""
    widths = list(natural)
    least = [max(map(_least_width, column)) for column in columns]
    while sum(widths) > room:
        over = [i for i, width in enumerate(widths) if width > least[i]]
        if not over:
            break
        widths[max(over, key=lambda i: widths[i])] -= 1
    return widths


def _least_width(cell: str) -> int:
    """Width at which no number is broken and no ``x`` stands on a line of its own."""
    longest = max(map(len, cell.split()))
    return longest + len(" x") if " x " in cell else longest


def _folded(row: _Row, width: int) -> str:
    """A name broken behind its dots, and in long parts anywhere, with its fix indented below."""
    lines = _filled(re.findall(r"[^.]*\.|[^.]+", row.name), width)
    if row.fix:
        words = [f"{word} " for word in row.fix.split()]
        lines += [f"  {line.rstrip()}" for line in _filled(words, width - 1)]
    return "\n".join(lines)


def _filled(parts: Sequence[str], width: int) -> list[str]:
    lines = [""]
    for part in parts:
        if lines[-1] and len(lines[-1]) + len(part) > width:
            lines.append("")
        lines[-1] += part
        while len(lines[-1]) > width:
            lines[-1:] = [lines[-1][:width], lines[-1][width:]]
    return lines
