"""What differs is told, all of it, and nothing where plans or weights are the same."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from dilsearch.plan import DilationPlan, SiteRates
from dilsearch.surgery.differences import (
    form_of,
    kind_differences,
    plan_differences,
    settings_differences,
    weight_differences,
)


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


def test_kinds_of_numbers_are_told_and_precisions_are_not() -> None:
    model = {"a": torch.float32, "b": torch.bfloat16, "c": torch.int64, "d": torch.complex64}
    file = {"a": torch.int8, "b": torch.float64, "c": torch.int32, "d": torch.float32}
    assert kind_differences(model, model) == []
    assert kind_differences(model, {**file, "e": torch.int8}) == [
        f"'{name}' is {there} in the file, {here} in the model, and values would be lost; build "
        "the model as it was saved"
        for name, there, here in (("a", "int8", "float32"), ("d", "float32", "complex64"))
    ]


settings = st.dictionaries(
    st.sampled_from("abc"),
    st.fixed_dictionaries(
        {"kind": st.sampled_from(("site", "MaxPool2d")), "stride": st.integers(1, 2)},
        optional={"groups": st.integers(1, 2)},
    ),
)


@given(settings, settings)
def test_settings_have_a_difference_for_each_module_that_is_not_alike(
    model: dict[str, dict[str, object]], file: dict[str, dict[str, object]]
) -> None:
    def differs(path: str) -> bool:
        if path not in model or path not in file:  # a weight tells it where there are groups
            return "groups" not in {**model, **file}[path]
        both = model[path].keys() & file[path].keys()
        return any(model[path][name] != file[path][name] for name in both)

    paths = {path for path in {*model, *file} if differs(path)}
    found = settings_differences(model, file)
    assert len(found) == len(paths)
    assert all(any(f"'{path}'" in sentence for sentence in found) for path in paths)


def test_of_another_kind_nothing_else_is_told() -> None:
    here = {"a": {"kind": "Conv2d", "stride": [1, 2], "groups": 1}}
    there = {"a": {"kind": "site", "stride": 1, "groups": 2}}
    assert settings_differences(here, there) == [
        "'a' has kind 'site' in the file, kind 'Conv2d' in the model; build the model as it was "
        "saved"
    ]
    there = {"a": {"kind": "Conv2d", "stride": [[1, 2], [2, 2]], "groups": 1}}
    assert settings_differences(here, there) == [
        "'a' has stride ((1, 2), (2, 2)) in the file, stride (1, 2) in the model; build the model "
        "as it was saved"
    ]


def test_many_differences_are_cut_short() -> None:
    names = [f"layer{index}" for index in range(40)]
    for found in (
        weight_differences(dict.fromkeys(names, (1,)), {}),
        settings_differences({name: {"kind": "MaxPool2d"} for name in names}, {}),
    ):
        assert len(found) == 13
        assert found[-1] == "and 28 more of this sort"
