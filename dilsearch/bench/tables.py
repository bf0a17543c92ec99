"""Measurements as frames: one row for each contestant and quantity, and texts for people."""

import math
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

import pandas as pd

from dilsearch.bench.cases import CONTESTANTS, REFERENCE, Case, GrowthCase, LayerCase, NetworkCase
from dilsearch.bench.outcome import NOT_INSTALLED, Measurement, Outcome

QUANTITIES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "forward_ms": "forward, ms",
        "forward_backward_ms": "forward and backward, ms",
        "forward_backward_mib": "memory of that, MiB",
        "training_step_ms": "training step, ms",
        "training_step_mib": "memory of that, MiB",
        "inference_ms": "inference, ms",
        "inference_gmac": "inference, GMAC",
    }
)
"""What is measured, in words; the ending of a key is its unit."""

RESULT_TYPES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "case": "object",
        "at": "float64",
        "quantity": "object",
        "contestant": "object",
        "median": "float64",
        "lower_quartile": "float64",
        "upper_quartile": "float64",
        "ratio": "float64",
        "ratio_lower_quartile": "float64",
        "ratio_upper_quartile": "float64",
        "rounds": "int64",
    }
)
"""Columns of ``results_table``."""

_EXPLANATION: Final = f"""\
Medians over the rounds; in brackets the median of the ratios to `{REFERENCE}` within a round, and
their quartiles. Where every channel has a rate of its own, `{REFERENCE}` takes the whole part of
their mean for all of them. `forward` records what the backward pass needs. Memory is the most that
one run holds at a time beyond weights, inputs and the state of optimisers; on the CPU it is what
torch's own allocator hands out, so that a library's own scratch memory is not seen. GMAC are 10^9
multiplications with an addition each, half of what torch counts as floating-point operations.
Inference is that of the network with whole rates. All but `{REFERENCE}` work out a gradient for the
rates, too; in a training step of RegSeg `ours` also holds them to the gap bound, the others to
their limits. `deformable` has no bfloat16 and computes in float32.
"""


def results_table(measurements: Iterable[Measurement]) -> pd.DataFrame:
    """One row for each measurement, with medians, quartiles and ratios to the plain convolution.

    Ratios are those within a round, of two runs that stood side by side; they are absent where the
    plain convolution was not measured or took nothing.

    Args:
        measurements: What came out of ``run_cases``.
    """
    listed = list(measurements)
    reference = {_place(m): m.values for m in listed if m.contestant == REFERENCE}
    rows = [_row(m, reference.get(_place(m), ())) for m in listed]
    return pd.DataFrame(rows, columns=list(RESULT_TYPES)).astype(dict(RESULT_TYPES))


def text_table(results: pd.DataFrame, *, quartiles: bool = True) -> pd.DataFrame:
    """The results as texts: a row for each case and quantity, a column for each contestant.

    Args:
        results: ``results_table``.
        quartiles: Whether those of the ratios are told too.
    """
    present = [name for name in CONTESTANTS if (results["contestant"] == name).any()]
    rows = []
    keys = ["case", "at", "quantity"]
    for _, group in results.groupby(keys, sort=False, dropna=False):
        case, at, quantity = (group[key].iloc[0] for key in keys)
        cells = {str(row.contestant): row for row in group.itertuples(index=False)}
        texts = {
            name: _cell(cells[name], quartiles=quartiles) if name in cells else ""
            for name in present
        }
        point = "" if math.isnan(at) else f" {at:g}"
        rows.append({"case": f"{case}{point}", "quantity": QUANTITIES[str(quantity)], **texts})
    return pd.DataFrame(rows, columns=["case", "quantity", *present])


def to_markdown(
    results: pd.DataFrame, cases: Sequence[Case], outcome: Outcome, machine: Mapping[str, Any]
) -> str:
    """The results as Markdown: machine, explanation, a section for each kind of case.

    Args:
        results: ``results_table``.
        cases: The cases measured, for their titles.
        outcome: Who was left out.
        machine: ``describe_machine``.
    """
    kinds = {"Layers": LayerCase, "Networks": NetworkCase, "Growth": GrowthCase}
    parts = ["# What fractional convolution costs\n", f"{_machine_sentence(machine)}\n"]
    parts.append(_EXPLANATION)
    parts.append("".join(f"- `{name}`: {what}\n" for name, what in CONTESTANTS.items()))
    for title, kind in kinds.items():
        chosen = [case for case in cases if isinstance(case, kind)]
        rows = results[results["case"].isin([case.name for case in chosen])]
        if len(rows):
            listed = "".join(f"- `{case.name}`: {describe_case(case)}\n" for case in chosen)
            parts.append(f"## {title}\n\n{_markdown(text_table(rows))}\n{listed}")
    if outcome.left_out:
        sentences = "".join(f"- {sentence}\n" for sentence in left_out_sentences(outcome))
        parts.append(f"## Left out\n\n{sentences}")
    return "\n".join(parts)


def describe_case(case: Case) -> str:
    """What a case is, with its sizes."""
    if isinstance(case, GrowthCase):
        return f"{case.title}: {case.axis} {', '.join(f'{value:g}' for value in case.points)}"
    size = " x ".join(map(str, case.shape))
    if isinstance(case, NetworkCase):
        return f"{case.title}, {size}"
    least, most = min(case.rates), max(case.rates)
    few = ", ".join(f"{rate:g}" for rate in case.rates)
    rates = f"{least:.1f} to {most:.1f}" if case.per_channel else few
    return f"{case.title}, {size} to {case.out_channels} channels, at {rates}"


def left_out_sentences(outcome: Outcome) -> list[str]:
    """Who did not take part, where and why."""
    return [
        f"{contestant}: {reason}" + ("" if reason == NOT_INSTALLED else f" ({', '.join(cases)})")
        for (contestant, reason), cases in outcome.left_out.items()
    ]


def _place(measurement: Measurement) -> tuple[str, float | None, str]:
    return (measurement.case, measurement.at, measurement.quantity)


def _row(measurement: Measurement, reference: Sequence[float]) -> dict[str, Any]:
    values = pd.Series(measurement.values, dtype="float64")
    pairs = zip(measurement.values, reference, strict=True) if reference else ()
    ratios = pd.Series([value / plain for value, plain in pairs if plain > 0], dtype="float64")
    return {
        "case": measurement.case,
        "at": measurement.at,
        "quantity": measurement.quantity,
        "contestant": measurement.contestant,
        "median": values.median(),
        "lower_quartile": values.quantile(0.25),
        "upper_quartile": values.quantile(0.75),
        "ratio": ratios.median(),
        "ratio_lower_quartile": ratios.quantile(0.25),
        "ratio_upper_quartile": ratios.quantile(0.75),
        "rounds": len(values),
    }


def _cell(row: Any, *, quartiles: bool) -> str:
    """``12.3 (1.20 x, 1.15 to 1.24)``; a single value has no quartiles."""
    median = f"{row.median:.3g}" if row.median < 100 else f"{row.median:.0f}"
    if row.contestant == REFERENCE or math.isnan(row.ratio):
        return median
    spread = f", {row.ratio_lower_quartile:.2f} to {row.ratio_upper_quartile:.2f}"
    return f"{median} ({row.ratio:.2f} x{spread if quartiles and row.rounds > 1 else ''})"


def _machine_sentence(machine: Mapping[str, Any]) -> str:
    versions = machine["versions"]
    where = machine["gpu"] or f"{machine['cpu']} with threads: {machine['threads']}"
    note = " Quick sizes: the figures mean nothing." if machine["quick"] else ""
    return (
        f"Measured on {where}, in {machine['precision']}, with torch {versions['torch']}, "
        f"{machine['rounds']} rounds.{note}"
    )


def _markdown(frame: pd.DataFrame) -> str:
    """A table as GitHub renders it; figures are set right."""
    lines = [list(map(str, frame.columns)), ["---", "---", *["---:"] * (len(frame.columns) - 2)]]
    lines += [list(map(str, row)) for row in frame.itertuples(index=False)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
