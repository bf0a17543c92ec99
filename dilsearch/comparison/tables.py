"""The tables of a comparison: methods, differences between them, and texts for a terminal."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Final

import pandas as pd

from dilsearch.baselines.record import column_in_words
from dilsearch.comparison.costs import UNITS, with_first_reached
from dilsearch.comparison.methods import Methods
from dilsearch.comparison.noise import Difference, difference
from dilsearch.comparison.outcomes import outcomes, scores_by_seed
from dilsearch.comparison.sources import SEARCH

DIFFERENCE_TYPES: Final[Mapping[str, str]] = {
    "first": "object",
    "second": "object",
    "paired": "boolean",
    "seeds_first": "Int64",
    "seeds_second": "Int64",
    "mean": "float64",
    "error": "float64",
    "p": "float64",
    "smallest_p": "float64",
    "verdict": "object",
}
"""Columns of ``differences.csv``."""

_COUNTS: Final = ("trials", "pruned", "answered", "failed")


@dataclass(frozen=True, slots=True)
class Pair:
    """Two names and how their scores differ."""

    first: str
    second: str
    difference: Difference


@dataclass(frozen=True, slots=True)
class Comparison:
    """Everything that is shown of a comparison.

    Args:
        methods: What was read.
        threshold: The score whose cost is asked for, if any.
        seeds: One row for each name and seed, see ``OUTCOME_TYPES``.
        summary: One row for each name, see ``summary_table``.
        pairs: The differences.
    """

    methods: Methods
    threshold: float | None
    seeds: pd.DataFrame
    summary: pd.DataFrame
    pairs: tuple[Pair, ...]

    @classmethod
    def of(cls, methods: Methods, threshold: float | None = None) -> "Comparison":
        """Compare what was read."""
        seeds = with_first_reached(outcomes(methods.plans), methods.plans, threshold)
        return cls(methods, threshold, seeds, summary_table(seeds), tuple(pairs(seeds)))

    @property
    def score_in_words(self) -> str:
        """Name of the score, as a sentence has it."""
        return column_in_words(self.methods.score)


def summary_table(seeds: pd.DataFrame) -> pd.DataFrame:
    """One row for each name: its scores over seeds, its fields, its trials and what they cost.

    Of the spread of one seed nothing is known, so its standard deviation is absent. Cost and
    trials of a grid stand in both of its rows, for both views took all of them.

    Args:
        seeds: One row for each name and seed.
    """
    rows = [_summary(str(name), group) for name, group in seeds.groupby("name", sort=False)]
    summary = pd.DataFrame(rows)
    whole = [name for name in ("seeds", *_COUNTS, "reached") if name in summary]
    return summary.astype(dict.fromkeys(whole, "Int64"))


def pairs(seeds: pd.DataFrame) -> Iterator[Pair]:
    """What is held against what: every search against all others, or all others if there is none.

    Two views of one grid are not compared.

    Args:
        seeds: One row for each name and seed.
    """
    names = seeds.drop_duplicates("name")
    entries = list(zip(names["name"], names["method"], names["kind"], strict=True))
    searched = any(kind == SEARCH for _, _, kind in entries)
    for one, two in combinations(entries, 2):
        if one[1] == two[1] or (searched and SEARCH not in (one[2], two[2])):
            continue
        first, second = (two, one) if two[2] == SEARCH != one[2] else (one, two)
        scores = (scores_by_seed(seeds, first[0]), scores_by_seed(seeds, second[0]))
        yield Pair(first[0], second[0], difference(*scores))


def differences_table(pairs: tuple[Pair, ...]) -> pd.DataFrame:
    """The differences as a table, see ``DIFFERENCE_TYPES``."""
    rows = [
        {
            "first": pair.first,
            "second": pair.second,
            "paired": found.paired,
            "seeds_first": found.seeds[0],
            "seeds_second": found.seeds[1],
            "mean": found.mean,
            "error": found.error,
            "p": found.p,
            "smallest_p": found.smallest_p,
            "verdict": found.verdict,
        }
        for pair in pairs
        for found in (pair.difference,)
    ]
    return pd.DataFrame(rows, columns=list(DIFFERENCE_TYPES)).astype(dict(DIFFERENCE_TYPES))


def decimals(spread: float) -> int:
    """Decimals at which a spread is more than zeros: three, or as many as its first digit takes."""
    if math.isnan(spread) or spread <= 0:
        return 3
    return min(max(3, -math.floor(math.log10(spread))), 6)


def shown_table(comparison: Comparison) -> pd.DataFrame:
    """The summary as texts for people."""
    rows, score = comparison.summary, comparison.score_in_words
    shown = {
        "method": list(rows["name"]),
        "seeds": [str(count) for count in rows["seeds"]],
        score: [
            f"{mean:.{decimals(std)}f}" + ("" if math.isnan(std) else f" ± {std:.{decimals(std)}f}")
            for mean, std in zip(rows["score_mean"], rows["score_std"], strict=True)
        ],
        "field, px": [_spread(row, "field", ".0f") for row in rows.to_dict("records")],
        "trials": [_trials(row) for row in rows.to_dict("records")],
        "samples per seed": [grouped(value) for value in rows["samples_mean"]],
        "seconds per seed": [seconds_in_words(value) for value in rows["seconds_mean"]],
    }
    if comparison.threshold is not None:
        shown[f"samples to {comparison.threshold:g}"] = [
            _spread(row, "samples_reached", ",.0f") for row in rows.to_dict("records")
        ]
        shown["reached by"] = [
            "" if pd.isna(reached) else f"{reached} of {seeds}"
            for reached, seeds in zip(rows["reached"], rows["seeds"], strict=True)
        ]
    return pd.DataFrame(shown)


def short_table(comparison: Comparison) -> pd.DataFrame:
    """The summary for a terminal: medians alone, and what is paid in samples alone."""
    shown = shown_table(comparison)
    rows = comparison.summary
    short = shown[["method", "seeds", comparison.score_in_words]].copy()
    short["field"] = [grouped(value) for value in rows["field_median"]]
    short["samples"] = shown["samples per seed"]
    if comparison.threshold is not None:
        medians = rows["samples_reached_median"]
        short[f"to {comparison.threshold:g}"] = [
            "" if math.isnan(value) else grouped(value) for value in medians
        ]
        short["reached by"] = shown["reached by"]
    return short


def grouped(value: float) -> str:
    """A large number as people read it: ``12,600``."""
    return f"{value:,.0f}"


def seconds_in_words(value: float) -> str:
    """Seconds; a decimal only where there are few."""
    return grouped(value) if value >= 10 else f"{value:.1f}"


def _summary(name: str, group: pd.DataFrame) -> dict[str, Any]:
    scores, fields = group["score"], group["field_px"].astype("float64")
    row: dict[str, Any] = {
        "name": name,
        "method": group["method"].iloc[0],
        "kind": group["kind"].iloc[0],
        "seeds": len(group),
        "score_mean": scores.mean(),
        "score_std": scores.std(ddof=1),
        "score_min": scores.min(),
        "score_max": scores.max(),
        **_range("field", fields),
        **{count: group[count].sum() for count in _COUNTS},
    }
    for unit in UNITS:
        row[f"{unit}_mean"] = group[unit].astype("float64").mean()
    if "samples_reached" in group:
        whole = row["name"] == row["method"]
        row["reached"] = int(group["samples_reached"].notna().sum()) if whole else pd.NA
        for unit in UNITS:
            row |= _range(f"{unit}_reached", group[f"{unit}_reached"])
    return row


def _range(name: str, values: "pd.Series[Any]") -> dict[str, float]:
    return {
        f"{name}_median": float(values.median()),
        f"{name}_min": float(values.min()),
        f"{name}_max": float(values.max()),
    }


def _spread(row: Mapping[Any, Any], name: str, form: str) -> str:
    """Median and range; the value alone where all are equal, nothing where none is known."""
    median, least, greatest = (row[f"{name}_{which}"] for which in ("median", "min", "max"))
    if math.isnan(median):
        return ""
    spread = "" if least == greatest else f" ({least:{form}} to {greatest:{form}})"
    return f"{median:{form}}{spread}"


def _trials(row: Mapping[Any, Any]) -> str:
    """``60 (12 pruned, 1 failed)``: of all seeds together."""
    notes = [f"{row[what]} {what}" for what in _COUNTS[1:] if row[what]]
    return str(row["trials"]) + (f" ({', '.join(notes)})" if notes else "")
