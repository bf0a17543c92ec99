"""The analyze command: what is analysed, how it is checked, and what is written about it."""

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from rich.console import Console
from torch import Tensor

from dilsearch.analysis import Analysis, analyze, check_support
from dilsearch.analysis.frames import as_json, sites_frame
from dilsearch.analysis.printing import print_analysis
from dilsearch.cli.measure import (
    effective_inputs,
    measure_effective,
    measure_outputs,
    show_measured,
)
from dilsearch.cli.targets import Target, open_target
from dilsearch.errors import GeometryError, RunError, TraceError
from dilsearch.runs import write_atomically

_FOUND = 1
"""Exit code for what is amiss in the network, and in no one's input."""


@dataclass(frozen=True, kw_only=True)
class AnalyzeOptions:
    """What ``analyze`` is asked for."""

    target: str
    inputs: Sequence[str] = ()
    kwargs: str | None = None
    outputs: Sequence[str] = ()
    model: str | None = None
    profile: str | None = None
    overrides: Sequence[str] = ()
    seed: int = 0
    csv: Path | None = None
    html: Path | None = None
    figures: Path | None = None
    check: bool = False
    numeric: bool = False
    effective: bool = False
    images: Sequence[Path] = ()
    strict: bool = False
    quiet: bool = False
    as_json: bool = False

    @property
    def files(self) -> Mapping[str, Path]:
        """What is to be written, by option."""
        asked = {"--csv": self.csv, "--html": self.html, "--figures": self.figures}
        return {option: path for option, path in asked.items() if path is not None}


@dataclass
class _Findings:
    """What is found beside the analysis."""

    notes: list[str] = field(default_factory=list)
    values: dict[str, Any] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    effective: tuple[NDArray[np.float64], NDArray[np.uint8] | None] | None = None


def run_analysis(options: AnalyzeOptions) -> int:
    """Analyse a target, write what is asked for, and show the result.

    Returns:
        The exit code: 1 if ``check`` or ``strict`` found something amiss, else 0.

    Raises:
        DilsearchError: If the target, an option or a file is at fault; nothing is written then.
    """
    _check_options(options)
    target = open_target(
        options.target,
        kwargs=options.kwargs,
        input_shapes=options.inputs,
        need_weights=options.effective,
        model=options.model,
        profile=options.profile,
        overrides=options.overrides,
        seed=options.seed,
    )
    _check_rates(options, target)
    if options.numeric:
        with redirect_stdout(sys.stderr):  # a network may print
            measured = measure_outputs(target, options.outputs or target.outputs)
        if not options.quiet or options.as_json:
            show_measured(target, measured, as_json=options.as_json)
        return 0
    # told before the work begins
    inputs = effective_inputs(target, options.images, options.seed) if options.effective else []
    with redirect_stdout(sys.stderr):
        analysis = _analyze(target, options.outputs)
        findings = _look_further(options, target, analysis, inputs)
    written = _write(options, target.label, analysis, findings)
    _show(options, target, analysis, findings, written)
    return _FOUND if findings.faults else 0


def _check_options(options: AnalyzeOptions) -> None:
    """Refuse what cannot be done before anything is."""
    needs_trace = [*options.files]
    needs_trace += [f"--{name}" for name in ("check", "effective", "strict") if vars(options)[name]]
    if options.numeric and needs_trace:
        raise TraceError(
            f"--numeric measures fields and their holes alone, without the trace that "
            f"{needs_trace[0]} goes by; leave one of them out"
        )
    if options.images and not options.effective:
        raise TraceError("--image is what --effective looks at; add --effective")
    for option, path in options.files.items():
        folder = option == "--figures"
        if path.exists() and path.is_dir() != folder:
            is_, wanted = ("a file", "a folder") if folder else ("a folder", "a file")
            raise RunError(f"{option} {path} is {is_}; name {wanted}")
        blocked = next((parent for parent in path.parents if parent.is_file()), None)
        if blocked is not None:
            raise RunError(f"{option} {path}: {blocked} is a file; name a path outside of it")
    if options.csv is not None and options.csv == options.html:
        raise RunError(f"--csv and --html both name {options.csv}; give each a file of its own")


def _check_rates(options: AnalyzeOptions, target: Target) -> None:
    """A factory's network computes with its own rates, whatever a plan says."""
    for name in ("check", "numeric", "effective"):
        if vars(options)[name] and target.plan is not None:
            raise TraceError(
                f"--{name} runs the network, and that of {target.label.partition(',')[0]} runs at "
                "its own rates, not those of the plan; build it with the plan's rates, or leave "
                f"--{name} out"
            )


def _analyze(target: Target, outputs: Sequence[str]) -> Analysis:
    try:
        return analyze(
            target.model,
            target.example,
            outputs=outputs or target.outputs,
            plan=target.plan,
            needed_px=target.needed_px,
        )
    except TraceError as error:
        if "measure the field numerically" in str(error) or "device" in str(error):
            raise TraceError(f"{error} To measure it without a trace, add --numeric.") from error
        raise


def _look_further(
    options: AnalyzeOptions, target: Target, analysis: Analysis, inputs: Sequence[Tensor]
) -> _Findings:
    """What is asked for beside the analysis: the cross-check, the effective field, strictness."""
    found = _Findings()
    if options.check:
        model, example = target.runnable()
        check = check_support(model, example, analysis)
        found.notes.append(check.text)
        found.values["check"] = {
            "agrees": check.agrees,
            "positions": check.positions,
            "text": check.text,
        }
        if not check.agrees:
            found.faults.append(f"--check: {check.text}")
    if options.effective:
        outputs = options.outputs or target.outputs
        effective = measure_effective(target, outputs, inputs, random=not options.images)
        found.effective = (effective.magnitude, effective.image)
        found.notes.append(effective.text)
        found.values["effective"] = effective.values
    if options.strict:
        found.faults += [f"--strict: {fault}" for fault in strict_faults(analysis)]
    return found


def strict_faults(analysis: Analysis) -> Iterator[str]:
    """What ``--strict`` objects to: bounds that are broken and pixels that are missed."""
    broken = [site.name for site in analysis.sites if site.bound_ok is False]
    if broken:
        verb = "site breaks its bound" if len(broken) == 1 else "sites break their bounds"
        yield f"{len(broken)} {verb}: {', '.join(broken)}"
    for output in analysis.outputs:
        if output.gaps is not None and output.gaps.holes:
            least = "" if output.gaps.exact else "at least "
            pixels = "pixel" if output.gaps.holes == 1 else "pixels"
            yield f"{output.name} misses {least}{output.gaps.holes} {pixels} in its field"


def _write(options: AnalyzeOptions, label: str, analysis: Analysis, found: _Findings) -> list[Path]:
    """Make everything, then write it; gives the paths."""
    files: dict[Path, str | bytes] = {}
    if options.csv is not None:
        files[options.csv] = sites_frame(analysis).to_csv(index=False, lineterminator="\n")
    figures = {}
    if options.figures is not None or options.html is not None:
        figures = _draw(analysis, found)
    if options.figures is not None:
        from dilsearch.report.figures import as_png, as_svg

        for name, figure in figures.items():
            files[options.figures / f"{name}.png"] = as_png(figure)
            files[options.figures / f"{name}.svg"] = as_svg(figure)
    try:
        for path, content in files.items():
            write_atomically(path, content)
        if options.html is not None:
            from dilsearch.report.analysis_page import write_page

            notes = [f"Analysed: {label}.", *found.notes]
            write_page(as_json(analysis), options.html, figures, notes)
            files[options.html] = ""
    except RunError as error:
        # elsewhere is another path here, and no --out
        raise RunError(str(error).replace(" with --out.", ".")) from error
    return list(files)


def _draw(analysis: Analysis, found: _Findings) -> dict[str, Figure]:
    """Every figure that the network has; what cannot be drawn is noted."""
    drawing: dict[str, Callable[[], Figure]] = {
        "coverage": analysis.plot_coverage,
        "growth": analysis.plot_growth,
        "bounds": analysis.plot_bounds,
    }
    if found.effective is not None:
        drawing["effective"] = partial(analysis.plot_effective, *found.effective)
    figures: dict[str, Figure] = {}
    for name, draw in drawing.items():
        try:
            figures[name] = draw()
        except GeometryError as error:  # as where all that is seen is pooled globally
            found.notes.append(f"There is no figure of {name}: {error}.")
    return figures


def _show(
    options: AnalyzeOptions,
    target: Target,
    analysis: Analysis,
    found: _Findings,
    written: Sequence[Path],
) -> None:
    if options.as_json:
        document = {"target": target.label, **as_json(analysis), **found.values}
        print(json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False))
    elif not options.quiet:
        console = Console(highlight=False)
        console.print(target.label, markup=False, soft_wrap=True)
        print_analysis(analysis, console)
        for note in found.notes:
            console.print(note, markup=False, soft_wrap=True)
        for path in written:
            console.print(f"written: {path}", markup=False, soft_wrap=True)
    for fault in found.faults:
        print(f"dilsearch: {fault}", file=sys.stderr)
