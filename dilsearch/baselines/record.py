"""What a study records of every trial: names of Optuna's user attributes, columns of trials.csv.

The names are one and the same, so that a table made from a study and a dashboard say the same.
"""

from collections.abc import Mapping
from typing import Final

from dilsearch.plan import DilationPlan, shown_rates

TRIALS_FILE: Final = "trials.csv"

CHARGED: Final = ("complete", "pruned")
"""States of the trials that are paid for; what others had seen when they ended is not recorded."""

_IN_WORDS: Final = {
    "mean_iou": "mean IoU",
    "freq_weighted_iou": "frequency-weighted IoU",
    "latency_ms": "latency (ms)",
}


def column_in_words(column: str) -> str:
    """A column of figures as people call it: ``mean IoU``, ``far accuracy``, ``latency (ms)``."""
    return _IN_WORDS.get(column, column.replace("_", " "))


def trial_folder(number: int) -> str:
    """Where a trial lies, relative to the run folder of its sweep."""
    return f"trials/{number:04d}"


def rates_in_words(plan: DilationPlan) -> str:
    """The rates of every site, as a person reads them."""
    return ", ".join(f"{site} {shown_rates(rates)}" for site, rates in plan.sites.items())


TRIAL_TYPES: Final[Mapping[str, str]] = {
    "number": "Int64",
    "state": "object",  # complete, pruned, failed, interrupted, running or waiting
    "slot": "object",
    "seed": "Int64",
    "target_px": "Int64",
    "field_px": "Int64",
    "rates": "object",  # in words, as a person reads them
    "plan_hash": "object",
    "mean_iou": "float64",
    "latency_ms": "float64",
    "samples": "Int64",  # 0 for a trial that was answered from another
    "seconds": "float64",
    "retry_of": "Int64",  # number of the failed trial that it stands in for
    "answered_from": "Int64",  # number of the finished trial with the same plan and seed
    "reason": "object",  # why it failed, or what to know of its plan
    "device": "object",
    "host": "object",
    "folder": "object",
}
"""Columns of ``trials.csv`` that are always there; the other scores follow by their names."""
