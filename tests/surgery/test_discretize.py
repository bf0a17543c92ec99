"""A plan that fits becomes plain layers; one that does not is refused whole."""

import copy
from typing import Any

import pytest
import torch
from surgery_zoo import EVEN_SAME, ZOO, snapshot
from torch import nn

from dilsearch.errors import PlanError, SurgeryError
from dilsearch.layers import BranchConv2d, MixedRateConv, RelaxedConv
from dilsearch.plan import DilationPlan, SiteRates
from dilsearch.sites import Granularity, PerBranch, PerChannel, PerSite
from dilsearch.surgery import apply_plan, discretize, field_graph, rate_parameters, read_plan, relax
from dilsearch.surgery.companion import companion_of
from dilsearch.surgery.discretize import plan_faults
from dilsearch.surgery.rates import relaxed_sites
from dilsearch.tracing import trace_graph

pytestmark = pytest.mark.filterwarnings(EVEN_SAME)


def whole(model: nn.Module) -> DilationPlan:
    """Whole rates of all sorts, from 1 to 4."""
    plan, draw = read_plan(model), torch.Generator().manual_seed(0)
    return plan.replace(
        {
            site: tuple(
                map(float, torch.randint(1, 5, (len(plan[site]),), generator=draw).tolist())
            )
            for site in plan
        }
    )


@pytest.mark.parametrize("name", ZOO)
def test_plain_layers_compute_what_the_relaxed_ones_do(name: str) -> None:
    animal = ZOO[name]
    model, x = animal.built(torch.float64), animal.image(torch.float64)
    settings: dict[str, Any] = {"causal": animal.causal}
    for granularity in (
        PerSite(1, 4, **settings),
        PerBranch(1, 4, branches=animal.branches, separate_axes=True, **settings),
        PerChannel(1, 4, **settings),
    ):
        relaxed = relax(model, {animal.selector: granularity})
        plan = whole(relaxed)
        with torch.no_grad():
            for rate, rates in zip(rate_parameters(relaxed), plan.values(), strict=True):
                rate.copy_(torch.tensor(rates).reshape(rate.shape))
        assert read_plan(relaxed) == plan
        plain = discretize(relaxed, plan)
        torch.testing.assert_close(plain(x), relaxed(x), rtol=1e-10, atol=1e-10)
        assert not any(isinstance(module, RelaxedConv) for module in plain.modules())
        assert snapshot(plain) == snapshot(model)
        assert list(plain.state_dict()) == list(model.state_dict())
        assert torch.equal(copy.deepcopy(plain)(x), plain(x))


@pytest.mark.parametrize(
    ("granularity", "rates", "kind"),
    [
        (PerSite(1, 8), (3,), nn.Conv2d),
        (PerSite(1, 8, separate_axes=True), (3, 5), nn.Conv2d),
        (PerBranch(1, 8), (3, 5), BranchConv2d),
        (PerBranch(1, 8, separate_axes=True), (3, 5, 1, 2), MixedRateConv),
        (PerChannel(1, 8), (1, 2, 3, 4) * 2, MixedRateConv),
        (PerChannel(1, 8), (4,) * 8, nn.Conv2d),
    ],
)
def test_what_a_site_becomes(
    model: nn.Module, granularity: Granularity, rates: tuple[float, ...], kind: type
) -> None:
    relaxed = relax(model, {"3": granularity})
    plain = discretize(relaxed, read_plan(relaxed).replace({"3": rates}))
    assert type(plain[3]) is kind
    assert [type(module) for module in plain][:3] == [type(module) for module in model][:3]


def test_sites_and_graph_travel_on(model: nn.Module) -> None:
    relaxed = relax(model, {"3": PerBranch(1, 8)}, example=torch.empty(1, 4, 32, 32))
    plain = discretize(relaxed, read_plan(relaxed))
    companion = companion_of(plain)
    assert companion is not None
    assert dict(companion.sites) == {"3": PerBranch(1, 8)}
    assert field_graph(plain) is field_graph(relaxed)
    assert isinstance(relaxed[3], RelaxedConv)  # which is left as it was


@pytest.mark.parametrize("name", ["same, even kernel", "valid", "padded ahead", "chain"])
def test_a_site_keeps_its_name_in_the_graph_of_the_plain_network(name: str) -> None:
    # whatever stands in its place: with a padding of its own it is not one module deeper
    animal = ZOO[name]
    relaxed = relax(animal.built(), {animal.selector: PerSite(1, 8, causal=animal.causal)})
    plan = read_plan(relaxed)
    moved = plan.replace({site: tuple(rate + 1 for rate in rates) for site, rates in plan.items()})
    graph = trace_graph(discretize(relaxed, moved), animal.image())
    assert set(plan) <= set(graph.site_names)
    assert {site: graph.plan()[site] for site in plan} == dict(moved)


def test_a_plan_that_does_not_fit_is_refused_whole(model: nn.Module) -> None:
    relaxed = relax(model, {"3": PerBranch(1, 8), "5": PerSite(1, 8)})
    plan = DilationPlan({"3": SiteRates("branch", (1.5, 2, 3)), "0": SiteRates("site", (1,))})
    with pytest.raises(PlanError) as raised:
        discretize(relaxed, plan)
    assert "site '0' of the plan is not a relaxed site of the model; the model's are '3', '5'" in (
        str(raised.value)
    )
    assert "site '3' has 3 rates of kind 'branch' in the plan, 2 rates of kind 'branch' in" in str(
        raised.value
    )
    assert "site '5' has no rates in the plan; give it 1 rate" in str(raised.value)
    with pytest.raises(PlanError, match=r"site '3': rate 1.5 is not a whole number"):
        discretize(relaxed, plan.per_branch({"3": (1.5, 2), "5": (1,)}))
    with pytest.raises(SurgeryError, match="has no relaxed site"):
        discretize(model, plan)


@pytest.mark.parametrize(
    ("granularity", "rates", "text"),
    [
        (PerBranch(1, 8, branches=4), SiteRates("channel", (1, 2, 3, 4)), "4 rates of kind "
         "'channel' in the plan, 4 rates of kind 'branch' in the model; give them so"),
        (PerBranch(1, 8, branches=2, separate_axes=True), SiteRates("branch", (1, 2)),
         "2 rates of kind 'branch' in the plan, 2 rates of kind 'branch' for each of 2 axes in the "
         "model; give them so"),
        (PerSite(1, 8), SiteRates("site", (2,), causal=True), "1 rate with the last tap in place "
         "in the plan, 1 rate in the model; give them so"),
    ],
)  # fmt: skip
def test_rates_of_another_form(granularity: Granularity, rates: SiteRates, text: str) -> None:
    relaxed = relax(nn.Conv2d(4, 4, 3, groups=4), {"": granularity})
    plan = DilationPlan({"": rates})
    assert plan_faults(relaxed_sites(relaxed), plan) == [f"site '' has {text}"]
    with pytest.raises(PlanError, match="the plan does not fit the model: "):
        discretize(relaxed, plan)
    assert not plan_faults(relaxed_sites(relaxed), read_plan(relaxed))


def test_fractions_are_for_relaxed_models_alone() -> None:
    relaxed = relax(nn.Conv2d(4, 4, 3), {"": PerSite(1, 8)})
    plan = DilationPlan({"": SiteRates("site", (2.5,))})
    (fault,) = plan_faults(relaxed_sites(relaxed), plan)
    assert fault == "site '': rate 2.5 is not a whole number of at least 1; project the plan first"
    assert read_plan(apply_plan(relaxed, plan)) == plan
