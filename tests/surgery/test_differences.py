"""What differs is told, all of it, and nothing where plans or weights are the same."""

from hypothesis import given
from hypothesis import strategies as st

from dilsearch.plan import DilationPlan, SiteRates
from dilsearch.surgery.differences import form_of, plan_differences, weight_differences


@st.composite
def site_rates(draw: st.DrawFn) -> SiteRates:
    kind = draw(st.sampled_from(("site", "branch", "channel")))
    axes = draw(st.integers(1, 2))
    rows = 1 if kind == "site" else draw(st.integers(1, 10))
    rates = st.lists(st.integers(1, 3), min_size=rows * axes, max_size=rows * axes)
    return SiteRates(kind, tuple(draw(rates)), axes, draw(st.booleans()))


plans = st.dictionaries(st.sampled_from("abc"), site_rates()).map(DilationPlan)


def differences(model: DilationPlan, file: DilationPlan) -> list[str]:
    return plan_differences(model, file, learned_in_model=(), learned_in_file=(), limits={})


def compared(plan: DilationPlan) -> dict[str, tuple[object, ...]]:
    """A plan without the kind of a single row, which says nothing."""
    return {
        site: (len(rates.rows) > 1 and rates.kind, rates.rows, rates.causal)
        for site, rates in plan.sites.items()
    }


@given(plans, plans)
def test_plans_have_differences_where_they_differ_and_one_for_each_site(
    model: DilationPlan, file: DilationPlan
) -> None:
    ours, theirs = compared(model), compared(file)
    sites = {site for site in {*ours, *theirs} if ours.get(site) != theirs.get(site)}
    found = differences(model, file)
    assert len(found) == len(sites)
    assert all(any(f"site '{site}'" in sentence for sentence in found) for site in sites)


@given(site_rates(), site_rates())
def test_forms_are_worded_alike_only_if_they_are(one: SiteRates, other: SiteRates) -> None:
    same = [
        (len(rates.rows), len(rates.rows) > 1 and rates.kind, rates.axes, rates.causal)
        for rates in (one, other)
    ]
    assert (form_of(one) == form_of(other)) == (same[0] == same[1])


shapes = st.dictionaries(st.sampled_from("abc"), st.tuples(st.integers(1, 2)))


@given(shapes, shapes)
def test_weights_have_a_difference_for_each_name_that_is_not_alike(
    model: dict[str, tuple[int, ...]], file: dict[str, tuple[int, ...]]
) -> None:
    names = {name for name in {*model, *file} if model.get(name) != file.get(name)}
    assert len(weight_differences(model, file)) == len(names)


def test_many_differences_are_cut_short() -> None:
    found = weight_differences({f"layer{index}": (1,) for index in range(40)}, {})
    assert len(found) == 13
    assert found[-1] == "and 28 more of this sort"
