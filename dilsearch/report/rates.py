"""Rates as frames and texts: few of them one by one, many by their range and mean."""

from collections.abc import Iterable, Sequence

import pandas as pd

from dilsearch.plan import SiteRates
from dilsearch.runs.rate_columns import MOST_LISTED, label_of, rate_columns, site_of


def rates_over_time(trajectory: pd.DataFrame) -> pd.DataFrame:
    """The searched rates in long form: step, site, line, rate; sites in the file's order.

    A line is a branch (``"0"``), one axis of it (``"0.1"``), or one of ``"min"``, ``"mean"`` and
    ``"max"`` at sites with many rates.
    """
    parts = []
    for column in rate_columns(trajectory.columns):
        part = pd.DataFrame({"step": trajectory["step"], "rate": trajectory[column]})
        parts.append(part.assign(site=site_of(column), line=label_of(column)))
    columns = ["step", "site", "line", "rate"]
    return pd.concat(parts, ignore_index=True)[columns] if parts else pd.DataFrame(columns=columns)


def steps_at_rate_one(trajectory: pd.DataFrame) -> "pd.Series[bool]":
    """At which steps every rate was 1; at none where there are no rates."""
    columns = rate_columns(trajectory.columns)
    return (trajectory[columns] == 1).all(axis=1) & bool(columns)


def rate_text(rate: float) -> str:
    """A rate in short: two decimals where it is fractional, none where it is whole."""
    return f"{rate:.0f}" if float(rate).is_integer() else f"{rate:.2f}"


def rates_text(site: SiteRates | None) -> str:
    """The rates of one site: ``1, 3``, ``1x2, 3x3`` by axis, or ``64 rates: 1 to 9, mean 3.20``."""
    if site is None:
        return ""
    if len(site.rates) > MOST_LISTED:
        least, most = rate_text(min(site.rates)), rate_text(max(site.rates))
        count = len(site.rows)
        if least == most:
            return f"{count} rates: all {least}"
        return f"{count} rates: {least} to {most}, mean {_mean(site.rates):.2f}"
    return listed_rates(site.rows)


def listed_rates(rows: Iterable[Iterable[float]]) -> str:
    """Every rate of every branch or channel, those of its axes joined by ``x``."""
    return ", ".join("x".join(rate_text(rate) for rate in row) for row in rows)


def changes_text(projection: pd.DataFrame | None, site: str) -> tuple[str, ...]:
    """What the projection did to a site's rates and why, one sentence part for each change.

    Many changes by one rule are told together.
    """
    if projection is None:
        return ()
    rows = projection[projection["site"] == site]
    groups = [(str(rule), alike) for rule, alike in rows.groupby("rule", sort=False)]
    if len(rows) <= MOST_LISTED:  # in the order in which they were made
        groups = [(str(row["rule"]), rows.loc[[index]]) for index, row in rows.iterrows()]
    return tuple(f"{_change_text(alike)}: {rule}" for rule, alike in groups)


def _change_text(alike: pd.DataFrame) -> str:
    """One change, or how many there are and what they come to."""
    before, after = list(alike["before"]), list(alike["after"])
    if len(alike) == 1:
        return f"{rate_text(before[0])} → {rate_text(after[0])}"
    return f"{len(alike)} rates, mean {_mean(before):.2f} → {_mean(after):.2f}"


def _mean(values: Sequence[float]) -> float:
    return float(sum(values) / len(values))
