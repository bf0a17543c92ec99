"""The columns of a trajectory that hold rates: how they are named, and read again.

``SITE[BRANCH]`` is one rate, ``SITE[BRANCH.AXIS]`` one of a site whose axes have their own. Of a
site with more than eight rates there are three figures in their place, ``SITE[min]``,
``SITE[mean]`` and ``SITE[max]``, so that a history stays small however many channels a site has.
"""

import re
from collections.abc import Iterable
from typing import Final

from dilsearch.plan import DilationPlan, SiteRates

MOST_LISTED: Final = 8
"""Rates of a site that have a column each; of more there is a summary."""
_EXTREMES = ("min", "max")
_COLUMN = re.compile(r".*\[(\d+(\.\d+)?|min|mean|max)\]")


def rate_values(plan: DilationPlan) -> dict[str, float]:
    """Rates of a plan by column."""
    return {
        f"{site}[{label}]": value
        for site, rates in plan.sites.items()
        for label, value in labelled(rates).items()
    }


def labelled(rates: SiteRates) -> dict[str, float]:
    """Rates of one site, or their summary, by what stands between the brackets."""
    values = rates.rates
    if len(values) > MOST_LISTED:
        mean = sum(values) / len(values)
        return {"min": min(values), "mean": mean, "max": max(values)}
    if rates.axes == 1:
        return {str(branch): value for branch, value in enumerate(values)}
    return {
        f"{branch}.{axis}": value
        for branch, row in enumerate(rates.rows)
        for axis, value in enumerate(row)
    }


def rate_columns(columns: Iterable[str]) -> list[str]:
    """Those of the columns that hold rates."""
    return [column for column in columns if _COLUMN.fullmatch(column)]


def site_of(column: str) -> str:
    """The site whose rate a column holds."""
    return column.rpartition("[")[0]


def label_of(column: str) -> str:
    """What stands between the brackets of a column."""
    return column.rpartition("[")[2].removesuffix("]")


def is_extreme(column: str) -> bool:
    """Whether a column holds the smallest or the largest of a site's many rates.

    Where rates are counted, such a site counts once, by its mean.
    """
    return label_of(column) in _EXTREMES
