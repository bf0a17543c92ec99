"""A plan gives any model its rates, or every reason why it cannot."""

from copy import deepcopy

import pytest
import torch
from torch import Tensor, nn

from dilsearch.errors import PlanError
from dilsearch.layers import BranchConv2d, MixedRateConv
from dilsearch.plan import DilationPlan, SiteRates
from dilsearch.sites import Granularity, PerBranch, PerChannel, PerSite
from dilsearch.surgery import apply_plan, discretize, field_graph, read_plan, relax
from dilsearch.surgery.present import known_sites, present_plan

SITES: dict[str, Granularity] = {"3": PerBranch(1, 8), "5": PerSite(1, 8)}
X = torch.rand(2, 4, 24, 24, generator=torch.Generator().manual_seed(0))


def plan_of(**sites: SiteRates) -> DilationPlan:
    return DilationPlan({name.removeprefix("s"): rates for name, rates in sites.items()})


PLAN = plan_of(s3=SiteRates("branch", (1, 3)), s5=SiteRates("site", (2,)))


def discretised(model: nn.Module, plan: DilationPlan = PLAN) -> nn.Module:
    return discretize(relax(model, SITES), plan)


def test_a_plain_model_becomes_what_search_and_discretisation_make(model: nn.Module) -> None:
    applied, made = apply_plan(model, PLAN), discretised(model)
    assert present_plan(applied) == PLAN
    assert [type(module) for module in applied] == [type(module) for module in made]
    assert isinstance(applied[3], BranchConv2d)
    assert torch.equal(applied(X), made(X))
    assert not torch.equal(applied(X), model(X))  # control: rates matter
    assert applied(X).shape == model(X).shape


def test_the_model_that_was_given_stays_as_it_was(model: nn.Module) -> None:
    for given, plan in (
        (model, PLAN),
        (relax(model, SITES), PLAN),
        (discretised(model), plan_of(s3=SiteRates("branch", (2, 2)), s5=SiteRates("site", (4,)))),
    ):
        before, modules = given(X), [type(module) for module in given.modules()]
        applied = apply_plan(given, plan)
        assert torch.equal(given(X), before)
        assert [type(module) for module in given.modules()] == modules
        assert not {id(p) for p in given.parameters()} & {id(p) for p in applied.parameters()}


def test_in_place_shares_the_parameters(model: nn.Module) -> None:
    parameters = [id(parameter) for parameter in model.parameters()]
    assert apply_plan(model, PLAN, inplace=True) is model
    assert [id(parameter) for parameter in model.parameters()] == parameters
    assert present_plan(model) == PLAN


def test_a_relaxed_model_takes_rates_that_are_not_whole(model: nn.Module) -> None:
    relaxed = relax(model, SITES, example=X)
    plan = PLAN.replace({"3": (1.25, 3.5), "5": (2.75,)})
    applied = apply_plan(relaxed, plan)
    assert read_plan(applied) == plan
    assert known_sites(applied) == known_sites(relaxed)
    assert field_graph(applied) is field_graph(relaxed)
    assert read_plan(relaxed) != plan
    assert apply_plan(relaxed, plan, inplace=True) is relaxed
    assert read_plan(relaxed) == plan


def test_a_discretised_model_takes_other_whole_rates_and_keeps_the_rest(model: nn.Module) -> None:
    first = discretize(relax(model, SITES, example=X), PLAN)
    other = PLAN.replace({"3": (4, 4), "5": (9,)})  # limits are those of a search
    applied = apply_plan(first, other)
    assert present_plan(applied) == other
    assert type(applied[3]) is nn.Conv2d
    assert known_sites(applied) == known_sites(first)
    assert field_graph(applied) is field_graph(first) is not None
    back = apply_plan(applied, PLAN)
    assert torch.equal(back(X), first(X))
    assert not torch.equal(applied(X), first(X))


@pytest.mark.parametrize(
    ("conv", "granularity", "rates"),
    [
        (nn.Conv2d(4, 4, 3, padding=1), PerChannel(1, 8), (2, 1, 3, 2)),
        (nn.Conv2d(4, 4, 3, padding=1), PerSite(1, 8, separate_axes=True), (2, 5)),
        (
            nn.Conv2d(4, 4, 3, padding=1, groups=2),
            PerBranch(1, 8, separate_axes=True),
            (1, 2, 3, 1),
        ),
        (nn.Conv2d(4, 4, 3, padding=2, dilation=2), PerSite(1, 8), (1,)),
        (nn.Conv2d(4, 4, 3, dilation=2), PerSite(1, 8), (1,)),
        (nn.Conv2d(4, 4, 4), PerSite(1, 8), (3,)),
        (nn.Conv2d(4, 4, (1, 3), dilation=(7, 1)), PerSite(1, 4), (3,)),
    ],
)
def test_every_form_can_be_applied_to_plain_relaxed_and_discretised_models(
    conv: nn.Module, granularity: Granularity, rates: tuple[float, ...]
) -> None:
    model = nn.Sequential(deepcopy(conv))
    relaxed = relax(model, {"0": granularity})
    own = read_plan(relaxed)
    plan = own.replace({"0": rates})
    expected = discretize(relaxed, plan)
    for start in (model, discretize(relaxed, own), expected):
        applied = apply_plan(start, plan)
        assert present_plan(applied) == plan
        assert torch.equal(applied(X), expected(X))
    assert read_plan(apply_plan(relaxed, plan)) == plan
    back = apply_plan(expected, own)
    assert torch.equal(back(X), model(X))
    assert present_plan(back) == own


class Causal(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(1, 1, 3, dilation=2)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(nn.functional.pad(x, (4, 0)))  # type: ignore[no-any-return]


def test_a_causal_plan_never_sees_ahead() -> None:
    applied = apply_plan(Causal(), plan_of(conv=SiteRates("site", (5,), causal=True)))
    assert isinstance(applied.conv, MixedRateConv)
    x = torch.zeros(1, 1, 32)
    x[..., 20] = 1
    seen = (applied(x) - applied(torch.zeros_like(x))).flatten().nonzero().flatten().tolist()
    assert seen == [20, 25, 30]


def test_a_convolution_alone_is_a_model() -> None:
    conv = nn.Conv2d(4, 4, 3, padding=1)
    applied = apply_plan(conv, DilationPlan({"": SiteRates("site", (3,))}))
    assert applied.dilation == (3, 3)
    assert present_plan(applied)[""] == (3,)


def test_a_shared_convolution_stays_shared(shared: nn.Module) -> None:
    applied = apply_plan(shared, plan_of(first=SiteRates("site", (3,))))
    assert applied.first is applied.again
    assert applied.first.dilation == (3, 3)


def test_a_compiled_part_keeps_its_name_and_a_wrapped_model_comes_back_unwrapped(
    model: nn.Module,
) -> None:
    parts = deepcopy(model)
    parts[3] = torch.compile(parts[3])
    for wrapped in (parts, nn.DataParallel(model)):
        applied = apply_plan(wrapped, PLAN)
        assert present_plan(applied) == PLAN
        assert isinstance(applied, nn.Sequential)
    with pytest.raises(PlanError, match="layers inside a DataParallel cannot be exchanged in"):
        apply_plan(nn.DataParallel(model), PLAN, inplace=True)


def test_every_fault_of_a_plan_for_a_plain_model_is_told_at_once(model: nn.Module) -> None:
    plan = plan_of(
        s0=SiteRates("channel", (1, 2)),
        s1=SiteRates("site", (2,)),
        s3=SiteRates("branch", (1, 2, 3)),
        s5=SiteRates("site", (1.5, 2), axes=2),
        s55=SiteRates("site", (2,)),
    )
    before = deepcopy(model.state_dict())
    with pytest.raises(PlanError) as told:
        apply_plan(model, plan, inplace=True)
    for sentence in (
        "the plan does not fit the model, 5 faults",
        "site '0': the plan gives rates for 2 channels, and its input has 4; give one for each",
        "'1' is a BatchNorm2d and no site of the model",
        "site '3': its 4 groups do not divide into 3 branches",
        "site '5': rate 1.5 is not a whole number of at least 1; project the plan first",
        "the model has no site '55'; the nearest name is '5'",
    ):
        assert sentence in str(told.value)
    assert type(model[3]) is nn.Conv2d
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_every_fault_of_a_plan_for_a_relaxed_model_is_told_at_once(model: nn.Module) -> None:
    relaxed = relax(model, {**SITES, "0": PerSite(1, 8)})
    plan = plan_of(
        s3=SiteRates("channel", (1,) * 8), s5=SiteRates("site", (8.5,)), s4=SiteRates("site", (1,))
    )
    with pytest.raises(PlanError) as told:
        apply_plan(relaxed, plan, inplace=True)
    for sentence in (
        "4 faults",
        "site '0' has no rates in the plan; give it 1 rate",
        "site '3' has 8 rates of kind 'channel' in the plan, 2 rates of kind 'branch' in the model",
        "site '5' has rates (8.5) in the plan, outside its limits 1 to 8 in the model",
        "'4' is a ReLU and no site of the model",
    ):
        assert sentence in str(told.value)
    assert read_plan(relaxed)["5"] == (1,)


@pytest.mark.parametrize(
    ("rates", "told"),
    [
        (SiteRates("site", (2,), causal=True), "causal = True is for one axis"),
        (SiteRates("site", (2, 2, 2), axes=3), "gives rates for each of 3 axes, and it has 2"),
        (SiteRates("site", (0.5,)), "rate 0.5 is not a whole number of at least 1"),
    ],
)
def test_rates_that_a_plain_layer_cannot_have_are_refused(
    rates: SiteRates, told: str, model: nn.Module
) -> None:
    with pytest.raises(PlanError, match=told):
        apply_plan(model, plan_of(s5=rates))


def test_what_relaxation_refuses_is_refused(model: nn.Module) -> None:
    model[5].register_forward_hook(lambda *_: None)
    with pytest.raises(PlanError, match="site '5' has hooks, which would be lost"):
        apply_plan(model, plan_of(s5=SiteRates("site", (2,))))


def test_an_empty_plan_is_refused(model: nn.Module) -> None:
    with pytest.raises(PlanError, match="it has no sites; give rates for at least one"):
        apply_plan(model, DilationPlan({}))
