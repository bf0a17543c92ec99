"""Rates in words and frames, few and many."""

import pandas as pd
import pytest

from dilsearch.plan import SiteRates
from dilsearch.report.rates import (
    changes_text,
    listed_rates,
    rates_over_time,
    rates_text,
    steps_at_rate_one,
)
from dilsearch.runs.rate_columns import MOST_LISTED


@pytest.mark.parametrize(
    ("site", "text"),
    [
        (SiteRates("site", (3,)), "3"),
        (SiteRates("branch", (1, 2.456)), "1, 2.46"),
        (SiteRates("site", (1.5, 3), axes=2), "1.50x3"),
        (SiteRates("branch", (1, 2, 3, 4), axes=2), "1x2, 3x4"),
        (SiteRates("channel", (1,) * 4 + (3,) * 4), "1, 1, 1, 1, 3, 3, 3, 3"),
        (SiteRates("channel", (1,) * 4 + (3,) * 5), "9 rates: 1 to 3, mean 2.11"),
        (SiteRates("channel", (2,) * 512), "512 rates: all 2"),
        (SiteRates("channel", (1, 2) * 8, axes=2), "8 rates: 1 to 2, mean 1.50"),
        (None, ""),
    ],
)
def test_rates_of_a_site_in_short(site: SiteRates | None, text: str) -> None:
    assert rates_text(site) == text


def test_a_list_keeps_every_rate() -> None:
    assert listed_rates([[1], [2], [3]] * 4) == ", ".join("123" * 4)


def test_columns_of_every_kind_are_read() -> None:
    columns = ["a[0]", "a[b].c[1]", "x[0.1]", "y[min]", "y[mean]", "y[max]"]
    trajectory = pd.DataFrame({"step": [0], "loss": [1.0], "odd[sum]": [1.0]})
    trajectory = trajectory.assign(**dict.fromkeys(columns, 1.0))
    found = rates_over_time(trajectory)
    assert list(zip(found["site"], found["line"], strict=True)) == [
        ("a", "0"),
        ("a[b].c", "1"),
        ("x", "0.1"),
        ("y", "min"),
        ("y", "mean"),
        ("y", "max"),
    ]
    assert steps_at_rate_one(trajectory).all()
    assert not steps_at_rate_one(trajectory.assign(**{"y[max]": [2.0]})).any()
    assert not steps_at_rate_one(pd.DataFrame({"step": [0]})).any()


def test_many_changes_are_told_by_their_rule() -> None:
    def changes(count: int) -> pd.DataFrame:
        rows = [("a", n, 1.4, 1, "nearest") for n in range(count)]
        columns = ["site", "branch", "before", "after", "rule"]
        return pd.DataFrame(
            [*rows, ("a", 99, 9.0, 4, "bound 4"), ("b", 0, 1.5, 2, "ceil")], columns=columns
        )

    assert changes_text(changes(MOST_LISTED), "a") == (
        "8 rates, mean 1.40 → 1.00: nearest",
        "9 → 4: bound 4",
    )
    assert changes_text(changes(2), "a") == ("1.40 → 1: nearest",) * 2 + ("9 → 4: bound 4",)
    assert changes_text(changes(30), "b") == ("1.50 → 2: ceil",)
    assert changes_text(None, "a") == ()
