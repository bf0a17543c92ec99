"""Clamping: limits always, the gap bound with the graph."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from dilsearch.errors import SurgeryError
from dilsearch.geometry import project
from dilsearch.sites import PerBranch, PerSite
from dilsearch.surgery import clamp_rates, field_graph, rate_parameters, read_plan, relax
from dilsearch.surgery.rates import weight_parameters

EXAMPLE = torch.empty(1, 4, 32, 32, device="meta")


def set_rates(model: nn.Module, *values: float | list[float]) -> None:
    with torch.no_grad():
        for rate, value in zip(rate_parameters(model), values, strict=True):
            rate.copy_(torch.tensor(value))


def test_limits_hold_without_a_graph(model: nn.Module) -> None:
    relaxed = relax(model, {"3": PerBranch(2, 8, initial=2.0), "5": PerSite(1, 4)})
    set_rates(relaxed, [0.3, 9.0], 3.5)
    assert clamp_rates(relaxed) == read_plan(relaxed)
    assert read_plan(relaxed)["3"] == (2.0, 8.0)
    assert read_plan(relaxed)["5"] == (3.5,)


def test_the_gap_bound_follows_the_rates_upstream(model: nn.Module) -> None:
    # conv of stride 2: field 3, stride 2, so the bound is 1; then 7 / 2 gives 3
    relaxed = relax(model, {"3": PerBranch(1, 8), "5": PerSite(1, 8)}, example=EXAMPLE)
    set_rates(relaxed, [5.0, 1.2], 7.0)
    assert dict(clamp_rates(relaxed, gap="enforce")) == {"3": (1.0, 1.0), "5": (3.0,)}
    assert relaxed[3].bound.tolist() == [1.0, 1.0]
    assert relaxed[5].bound.item() == 3.0


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(0, 30), min_size=3, max_size=3))
def test_projection_lowers_nothing_after_clamping(values: list[float]) -> None:
    model = nn.Sequential(
        nn.Conv2d(4, 8, 5, padding=2), nn.Conv2d(8, 8, 3, groups=2), nn.Conv2d(8, 4, 3)
    )
    relaxed = relax(model, {"1": PerBranch(1, 20), "2": PerSite(1, 20)}, example=EXAMPLE)
    set_rates(relaxed, values[:2], values[2])
    plan = clamp_rates(relaxed, gap="enforce")
    graph = field_graph(relaxed)
    assert graph is not None
    assert not [c for c in project(plan, graph).changes if c.rule.startswith("bound")]


def test_enforcing_without_a_graph_is_an_error(model: nn.Module) -> None:
    with pytest.raises(SurgeryError, match="needs the model's field graph; give relax an example"):
        clamp_rates(relax(model, {"3": PerSite(1, 8)}), gap="enforce")


def test_a_rate_that_diverged_is_named(model: nn.Module) -> None:
    relaxed = relax(model, {"3": PerSite(1, 8)})
    set_rates(relaxed, float("nan"))
    with pytest.raises(SurgeryError, match="site '3': the rate became nan; training diverged"):
        clamp_rates(relaxed)


def test_weights_and_rates_share_no_parameter(model: nn.Module) -> None:
    relaxed = relax(model, {"[35]": PerSite(1, 8)})
    rates, weights = rate_parameters(relaxed), weight_parameters(relaxed)
    assert len(rates) == 2
    assert {id(p) for p in rates} | {id(p) for p in weights} == {
        id(p) for p in relaxed.parameters()
    }
    assert not {id(p) for p in rates} & {id(p) for p in weights}
