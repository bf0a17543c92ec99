"""Clamping: limits always, the gap bound with the graph; freezing, and what a plan says."""

from functools import cache

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from dilsearch.errors import PlanError, SurgeryError
from dilsearch.geometry import project
from dilsearch.layers import RelaxedConv2d
from dilsearch.search import SearchWarning, search_rates
from dilsearch.sites import PerBranch, PerChannel, PerSite
from dilsearch.surgery import (
    clamp_rates,
    field_graph,
    freeze_rates,
    rate_limits,
    rate_parameters,
    read_plan,
    relax,
    relaxed_sites,
    unfreeze_rates,
    weight_parameters,
)

EXAMPLE = torch.empty(1, 4, 32, 32, device="meta")


def set_rates(model: nn.Module, *values: float | list[float] | list[list[float]]) -> None:
    with torch.no_grad():
        for rate, value in zip(rate_parameters(model), values, strict=True):
            rate.copy_(torch.tensor(value))


def test_limits_hold_without_a_graph(model: nn.Module) -> None:
    relaxed = relax(model, {"3": PerBranch(2, 8, initial=2.0), "5": PerSite(1, 4)})
    set_rates(relaxed, [0.3, 9.0], 3.5)
    assert clamp_rates(relaxed) == read_plan(relaxed)
    assert read_plan(relaxed)["3"] == (2.0, 8.0)
    assert read_plan(relaxed)["5"] == (3.5,)
    assert rate_limits(relaxed) == {"3": (2, 8), "5": (1, 4)}


def test_the_gap_bound_follows_the_rates_upstream(model: nn.Module) -> None:
    # conv of stride 2: field 3, stride 2, so the bound is 1; then 7 / 2 gives 3
    relaxed = relax(model, {"3": PerBranch(1, 8), "5": PerSite(1, 8)}, example=EXAMPLE)
    set_rates(relaxed, [5.0, 1.2], 7.0)
    assert dict(clamp_rates(relaxed, gap="enforce")) == {"3": (1.0, 1.0), "5": (3.0,)}
    assert relaxed[3].bound.tolist() == [1.0, 1.0]
    assert relaxed[5].bound.item() == 3.0
    clamp_rates(relaxed, gap="ignore")  # without it the limits alone
    assert relaxed[5].bound.item() == 8.0


def test_axes_have_bounds_of_their_own_where_they_have_rates() -> None:
    # in front of the second: field 1 + 2 * 3 = 7 px high and 1 + 2 * 2 = 5 px wide, stride 2 and 1
    model = nn.Sequential(
        nn.Conv2d(4, 4, 3, stride=(2, 1), padding=(3, 2), dilation=(3, 2)),
        nn.Conv2d(4, 4, 3, padding=1),
        nn.Conv2d(4, 4, (1, 3), padding=(0, 1)),
    )
    sites = {"1": PerChannel(1, 4, separate_axes=True), "2": PerSite(1, 9, separate_axes=True)}
    relaxed = relax(model, sites, example=EXAMPLE)
    set_rates(relaxed, [[9.0, 9.0]] * 4, [[8.5, 30.0]])
    plan = clamp_rates(relaxed, gap="enforce")
    assert plan["1"] == (3.0, 4.0) * 4  # 7 // 2, and 5 above the limit 4
    assert relaxed[1].bound.tolist() == [[3.0, 4.0]] * 4
    # a field of (7 + 2 * 3 * 2, 5 + 2 * 4) = (19, 13) allows 9 and 13; where there is one tap, all
    assert relaxed[2].bound.tolist() == [[9.0, 9.0]]
    together = relax(model, {"1": PerSite(1, 9)}, example=EXAMPLE)
    set_rates(together, 8.0)
    assert clamp_rates(together, gap="enforce")["1"] == (3.0,)  # the tightest
    assert together[1].bound.item() == 3.0


@cache
def traced(separate_axes: bool) -> nn.Module:
    model = nn.Sequential(
        nn.Conv2d(4, 8, 5, padding=2), nn.Conv2d(8, 8, 3, groups=2), nn.Conv2d(8, 4, 3)
    )
    sites = {
        "1": PerBranch(1, 20, separate_axes=separate_axes),
        "2": PerSite(1, 20, separate_axes=separate_axes),
    }
    return relax(model, sites, example=EXAMPLE)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(0, 30), min_size=7, max_size=7), st.booleans())
def test_projection_lowers_nothing_after_clamping(values: list[float], separate: bool) -> None:
    relaxed = traced(separate)
    with torch.no_grad():
        for rate in rate_parameters(relaxed):
            rate.copy_(torch.tensor(values[: rate.numel()]).reshape(rate.shape))
    plan = clamp_rates(relaxed, gap="enforce")
    assert read_plan(relaxed) == plan
    for layer in relaxed_sites(relaxed).values():
        assert bool((layer.rate <= layer.bound).all())
    graph = field_graph(relaxed)
    assert graph is not None
    assert not [c for c in project(plan, graph).changes if c.rule.startswith("bound")]


def test_many_rates_are_clamped_as_one(model: nn.Module) -> None:
    # rates by channel are moved by tensor operations: the oracle goes through them one by one
    wide = nn.Sequential(nn.Conv2d(256, 2, 3))
    relaxed = relax(wide, {"0": PerChannel(2, 6, initial=2)})
    torch.manual_seed(0)
    values = (10 * torch.rand(256)).tolist()
    set_rates(relaxed, values)
    held = torch.tensor(values)
    expected = tuple(min(max(value, 2.0), 6.0) for value in held.tolist())
    assert clamp_rates(relaxed)["0"] == expected
    assert tuple(relaxed[0].rate.tolist()) == expected


def test_what_needs_no_clamping_is_not_written(model: nn.Module) -> None:
    relaxed = relax(model, {"3": PerSite(1, 8), "5": PerSite(1, 8)})
    version = relaxed[3].rate._version
    clamp_rates(relaxed)
    assert relaxed[3].rate._version == version
    set_rates(relaxed, 9.0, 1.0)
    clamp_rates(relaxed)
    assert relaxed[3].rate._version > version + 1


def test_enforcing_without_a_graph_is_an_error(model: nn.Module) -> None:
    with pytest.raises(SurgeryError, match="needs the model's field graph; give relax an example"):
        clamp_rates(relax(model, {"3": PerSite(1, 8)}), gap="enforce")
    with pytest.raises(SurgeryError, match="gap = 'report' is unknown; use 'enforce' or 'ignore'"):
        clamp_rates(relax(model, {"3": PerSite(1, 8)}), gap="report")  # type: ignore[arg-type]


def test_a_bound_below_the_limit_is_an_error_that_changes_nothing(model: nn.Module) -> None:
    relaxed = relax(model, {"3": PerSite(2, 8, initial=9 / 2)}, example=EXAMPLE)
    set_rates(relaxed, 9.0)
    with pytest.raises(PlanError, match="site '3': its lower limit 2 exceeds bound 1"):
        clamp_rates(relaxed, gap="enforce")
    assert read_plan(relaxed)["3"] == (9.0,)


@pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
def test_a_rate_that_diverged_is_named_and_nothing_is_changed(model: nn.Module, value: str) -> None:
    relaxed = relax(model, {"3": PerSite(1, 8), "5": PerBranch(1, 8, branches=1)})
    set_rates(relaxed, 20.0, [float(value)])
    text = f"site '5': the rate became {value}; training diverged"
    with pytest.raises(SurgeryError, match=text):
        clamp_rates(relaxed)
    with pytest.raises(SurgeryError, match=text):
        read_plan(relaxed)
    assert relaxed[3].rate.item() == 20.0


def test_weights_and_rates_share_no_parameter(model: nn.Module) -> None:
    relaxed = relax(model, {"[35]": PerSite(1, 8)})
    rates, weights = rate_parameters(relaxed), weight_parameters(relaxed)
    assert len(rates) == 2
    assert {id(p) for p in rates} | {id(p) for p in weights} == {
        id(p) for p in relaxed.parameters()
    }
    assert not {id(p) for p in rates} & {id(p) for p in weights}


def test_frozen_rates_stay_while_weights_train(model: nn.Module) -> None:
    relaxed = relax(model, {"[35]": PerSite(1, 8, initial=2.5)})
    adam = torch.optim.Adam(relaxed.parameters(), lr=0.1)
    x = torch.rand(2, 4, 16, 16)

    def step() -> None:
        adam.zero_grad()
        relaxed(x).square().sum().backward()
        adam.step()
        clamp_rates(relaxed)

    step()
    moved = read_plan(relaxed)
    assert moved["3"] != (2.5,)  # the control: they do move
    freeze_rates(relaxed)
    weight = relaxed[3].weight.detach().clone()
    step()
    assert read_plan(relaxed) == moved
    assert not torch.equal(relaxed[3].weight, weight)
    assert all(rate.grad is None for rate in rate_parameters(relaxed))
    assert all(parameter.requires_grad for parameter in weight_parameters(relaxed))
    set_rates(relaxed, 30.0, 30.0)
    assert clamp_rates(relaxed)["5"] == (8.0,)  # frozen, and held to their limits all the same
    unfreeze_rates(relaxed)
    step()
    assert read_plan(relaxed)["5"] != (8.0,)
    with pytest.raises(SurgeryError, match="has no relaxed site"):
        freeze_rates(model)


def test_a_search_with_frozen_rates_trains_the_weights_alone() -> None:
    torch.manual_seed(0)
    relaxed = relax(nn.Conv2d(2, 2, 3, padding=1), {"": PerSite(1, 4, initial=2.5)})
    freeze_rates(relaxed)
    weight = relaxed.weight.detach().clone()
    batches = [(torch.rand(1, 2, 8, 8), torch.randint(2, (1, 8, 8))) for _ in range(3)]
    with pytest.warns(SearchWarning, match="no rate moved"):
        plan = search_rates(relaxed, batches, budget=3, gap="ignore")
    assert dict(plan) == {"": (2.5,)}
    assert not torch.equal(relaxed.weight, weight)


def test_sites_put_in_by_hand_are_found_beside_the_others(model: nn.Module) -> None:
    relaxed = relax(model, {"5": PerSite(1, 8)})
    relaxed[3] = RelaxedConv2d(relaxed[3], PerSite(1, 4))
    assert list(relaxed_sites(relaxed)) == ["5", "3"]
    assert list(read_plan(nn.ModuleDict({"body": relaxed}))) == ["body.3", "body.5"]
