"""How the rates of a plan are named in a trajectory."""

from hypothesis import given
from hypothesis import strategies as st

from dilsearch.plan import DilationPlan, SiteRates
from dilsearch.runs.rate_columns import is_extreme, rate_columns, rate_values, site_of

some_rates = st.lists(st.floats(1, 100), min_size=1, max_size=30)


def test_each_of_a_few_rates_has_a_column() -> None:
    plan = DilationPlan(
        {
            "a": SiteRates("site", (2.5,)),
            "b.c": SiteRates("branch", (1.0, 3.0)),
            "d": SiteRates("site", (1.0, 2.0, 3.0), axes=3),
            "e": SiteRates("branch", (1.0, 2.0, 3.0, 4.0), axes=2),
            "f": SiteRates("channel", tuple(range(1, 9))),
        }
    )
    assert rate_values(plan) == {
        "a[0]": 2.5,
        "b.c[0]": 1.0,
        "b.c[1]": 3.0,
        **{f"d[0.{axis}]": axis + 1.0 for axis in range(3)},
        "e[0.0]": 1.0,
        "e[0.1]": 2.0,
        "e[1.0]": 3.0,
        "e[1.1]": 4.0,
        **{f"f[{channel}]": channel + 1.0 for channel in range(8)},
    }


def test_many_are_summarised() -> None:
    plan = DilationPlan({"a": SiteRates("channel", (*range(1, 9), 27.0))})
    assert rate_values(plan) == {"a[min]": 1.0, "a[mean]": 7.0, "a[max]": 27.0}
    plan = DilationPlan({"a": SiteRates("channel", tuple(range(1, 11)), axes=2)})
    assert rate_values(plan) == {"a[min]": 1.0, "a[mean]": 5.5, "a[max]": 10.0}


@given(st.dictionaries(st.from_regex(r"[a-z0-9_]+(\.[a-z0-9_]+)?", fullmatch=True), some_rates))
def test_a_column_leads_back_to_its_site(sites: dict[str, list[float]]) -> None:
    plan = DilationPlan({site: SiteRates("channel", tuple(rates)) for site, rates in sites.items()})
    columns = rate_values(plan)
    row = {"step": 1, "field_px": 3, **columns}
    assert rate_columns(row) == list(columns)  # and no others
    assert {site_of(column) for column in columns} == set(sites)
    for site, rates in sites.items():
        own = [column for column in columns if site_of(column) == site]
        assert len(own) == (len(rates) if len(rates) <= 8 else 3)
        counted = [column for column in own if not is_extreme(column)]
        assert len(counted) == (len(rates) if len(rates) <= 8 else 1)
