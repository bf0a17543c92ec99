"""What stages write about fields and rates: tables, and rates as ``summary.json`` has them."""

from typing import Any, Final

import pandas as pd

from dilsearch.geometry import FieldTable, Projection
from dilsearch.geometry.nodes import Rates
from dilsearch.plan import SiteRates

_MOST_SHOWN: Final = 8
"""More rates than these are told by those that there are."""


def field_frame(table: FieldTable) -> pd.DataFrame:
    """The field table as written to ``field.csv``: sizes in px, "47x31" where the axes differ."""
    return pd.DataFrame(
        [
            {
                "site": row.name,
                "taps": _axes(row.taps),
                "rates": _rates_in_short(row.rates),
                "field_in_px": _axes(tuple(field.size_px for field in row.field_in)),
                "stride_in_px": _axes(tuple(int(field.stride_px) for field in row.field_in)),
                "bound": row.bound,
                "bound_ok": row.bound_ok,
                "field_out_px": _axes(tuple(field.size_px for field in row.field_out)),
            }
            for row in table.rows
        ]
    )


def changes_frame(projection: Projection) -> pd.DataFrame:
    """Every rate that the projection moved, as written to ``projection.csv``."""
    columns = ["site", "branch", "axis", "before", "after", "rule"]
    rows = [(c.site, c.branch, c.axis, c.before, c.after, c.rule) for c in projection.changes]
    return pd.DataFrame(rows, columns=columns).astype({"axis": "Int64"})


def whole_rates(site: SiteRates) -> list[Any]:
    """As ``plan.json`` has them: a list for each branch or channel where axes have their own."""
    rows = [[int(rate) for rate in row] for row in site.rows]
    return rows if site.axes > 1 else [rate for (rate,) in rows]


def _rates_in_short(rates: Rates) -> str:
    """The rates of all branches, and those that there are where every channel has one."""
    shown = rates if len(rates) <= _MOST_SHOWN else sorted(set(rates))
    return " ".join(_axes(branch) for branch in shown)


def _axes(values: tuple[int, ...]) -> str:
    return str(values[0]) if len(set(values)) == 1 else "x".join(map(str, values))
