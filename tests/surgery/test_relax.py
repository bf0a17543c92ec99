"""relax and discretize: an exact pair over awkward models, and every fault at once."""

import copy

import pytest
import torch
from torch import nn

from dilsearch.errors import PlanError, SurgeryError
from dilsearch.layers import RelaxedConv2d
from dilsearch.plan import DilationPlan, SiteRates
from dilsearch.sites import Granularity, PerBranch, PerChannel, PerSite
from dilsearch.surgery import discretize, field_graph, rate_parameters, read_plan, relax

EXAMPLE = torch.empty(1, 4, 32, 32, device="meta")


def signature(model: nn.Module) -> dict[str, tuple[object, ...]]:
    return {
        name: (p.dtype, p.device, p.requires_grad, p.is_contiguous())
        for name, p in model.named_parameters()
    }


def test_relax_and_back_is_exact_on_every_awkward_model(awkward: tuple[nn.Module, str]) -> None:
    model, glob = awkward
    before = copy.deepcopy(model.state_dict())
    x = torch.rand(2, 4, 16, 16, dtype=next(model.parameters()).dtype)
    relaxed = relax(model, {glob: PerSite(1, 8)})
    back = discretize(relaxed, read_plan(relaxed))
    expected = copy.deepcopy(model)(x)
    assert torch.equal(copy.deepcopy(back)(x), expected)
    assert relaxed(x).shape == expected.shape
    # the given model is untouched, and what is not a rate is as it was
    assert {k: v.tolist() for k, v in model.state_dict().items()} == {
        k: v.tolist() for k, v in before.items()
    }
    assert not any(isinstance(module, RelaxedConv2d) for module in model.modules())
    assert signature(back) == signature(model)
    assert back.training == model.training


def test_shared_modules_stay_shared(shared: nn.Module) -> None:
    relaxed = relax(shared, {"first": PerSite(1, 8)})
    assert relaxed.again is relaxed.first
    assert isinstance(relaxed.first, RelaxedConv2d)
    assert len(rate_parameters(relaxed)) == 1


def test_inplace_shares_the_parameters(model: nn.Module) -> None:
    weight = model[3].weight
    relaxed = relax(model, {"3": PerSite(1, 8)}, inplace=True)
    assert relaxed is model
    assert model[3].weight is weight
    assert relax(model, {"5": PerSite(1, 8)})[3].weight is not weight


def test_a_checkpoint_of_the_original_loads_into_the_relaxed(model: nn.Module) -> None:
    relaxed = relax(model, {"[35]": PerSite(1, 8, initial=2.5)})
    fresh = copy.deepcopy(model)
    for parameter in fresh.parameters():
        nn.init.normal_(parameter)
    with pytest.warns(UserWarning, match="the checkpoint has no '[35].rate'") as warned:
        relaxed.load_state_dict(fresh.state_dict())
    assert len(warned) == 2
    assert read_plan(relaxed)["3"] == (2.5,)
    assert torch.equal(relaxed[3].weight, fresh[3].weight)


def test_state_dict_holds_the_rates_and_nothing_of_the_graph(model: nn.Module) -> None:
    relaxed = relax(model, {"3": PerBranch(1, 8)}, example=EXAMPLE)
    assert set(relaxed.state_dict()) == {*model.state_dict(), "3.rate"}
    assert field_graph(relaxed) is not None
    assert field_graph(copy.deepcopy(relaxed)) is field_graph(relaxed)


def test_branches_of_a_plain_convolution_start_from_its_dilation(model: nn.Module) -> None:
    relaxed = relax(model, {"3": PerBranch(1, 8, branches=4)})
    assert read_plan(relaxed) == DilationPlan({"3": SiteRates("branch", (1.0,) * 4)})


def test_sites_are_in_the_order_of_the_field(model: nn.Module) -> None:
    relaxed = relax(model, {"5": PerSite(1, 8), "3": PerSite(1, 8)}, example=EXAMPLE)
    assert list(read_plan(relaxed)) == ["3", "5"]


def test_every_fault_is_reported_at_once_and_nothing_changes(model: nn.Module) -> None:
    model.append(nn.ConvTranspose2d(4, 4, 3))
    model[5].register_forward_hook(lambda *_: None)
    before = copy.deepcopy(model)
    with pytest.raises(SurgeryError) as raised:
        relax(
            model,
            {
                "3": PerBranch(1, 8, branches=3),
                "[35]": PerSite(2, 8),
                "6": PerSite(1, 8),
                "nowhere.*": PerSite(1, 8),
                "2": PerSite(1, 8),
            },
            inplace=True,
        )
    text = str(raised.value)
    for sentence in (
        "cannot relax the model, 7 faults:",
        "site '3': its 4 groups do not divide into 3 branches",
        "site '3' is selected by '3' and by '[35]'; let one glob select it",
        "site '5': its dilation 1 is outside the limits 2 to 8",
        "site '5' has hooks, which would be lost",
        "site '6' is a ConvTranspose2d, and only nn.Conv2d and BranchConv2d can be relaxed",
        "'nowhere.*' matches no module; the convolutions with two or more taps are '0', '3', '5'",
        "'2' selects no convolution with two or more taps (the first module it matches, '2', "
        "is a ReLU)",
    ):
        assert sentence in text
    assert [type(m) for m in model.modules()] == [type(m) for m in before.modules()]


@pytest.mark.parametrize("kind", ["Conv1d", "Conv3d", "ConvTranspose1d", "ConvTranspose3d"])
def test_convolutions_of_other_kinds_are_named_as_such(kind: str) -> None:
    model = nn.Sequential(getattr(nn, kind)(1, 2, 3))
    text = f"site '0' is a {kind}, and only nn.Conv2d and BranchConv2d can be relaxed"
    with pytest.raises(SurgeryError, match=text):
        relax(model, {"0": PerSite(1, 8)})


@pytest.mark.parametrize(
    ("conv", "granularity", "text"),
    [
        (nn.Conv2d(2, 2, 2), PerSite(1, 4), "its kernel is 2 x 2, and only odd kernels"),
        (
            nn.Conv2d(2, 2, 3, padding_mode="reflect", padding=1),
            PerSite(1, 4),
            "its padding mode is 'reflect', and only 'zeros'",
        ),
        (nn.Conv2d(2, 2, 3), PerChannel(1, 4), "a plan has one rate for the site or each branch"),
        (nn.Conv2d(2, 2, 3), PerSite(1, 4, separate_axes=True), "not for channels or axes; put"),
    ],
)
def test_what_a_plan_cannot_hold_is_refused(
    conv: nn.Conv2d, granularity: Granularity, text: str
) -> None:
    with pytest.raises(SurgeryError, match=f"site '0': .*{text}"):
        relax(nn.Sequential(conv), {"0": granularity})


def test_relaxing_in_two_steps_is_relaxing_at_once(model: nn.Module) -> None:
    once = relax(model, {"3": PerSite(1, 8), "5": PerSite(1, 6)}, example=EXAMPLE)
    twice = relax(relax(model, {"5": PerSite(1, 6)}), {"3": PerSite(1, 8)}, example=EXAMPLE)
    assert read_plan(twice) == read_plan(once)
    assert list(read_plan(twice)) == ["3", "5"]
    assert len(rate_parameters(twice)) == 2


@pytest.mark.parametrize(
    "register",
    ["register_forward_pre_hook", "register_full_backward_hook", "register_full_backward_pre_hook"],
)
def test_hooks_of_any_kind_are_refused(model: nn.Module, register: str) -> None:
    getattr(model[3], register)(lambda *_: None)
    with pytest.raises(SurgeryError, match="site '3' has hooks, which would be lost"):
        relax(model, {"3": PerSite(1, 8)})


class Own(nn.Conv2d):
    """A subclass whose forward relax cannot know."""


def test_a_subclass_is_refused_by_name() -> None:
    with pytest.raises(SurgeryError, match=r"site '0' is a Own, and only nn.Conv2d"):
        relax(nn.Sequential(Own(4, 4, 3)), {"0": PerSite(1, 8)})


def test_an_empty_selection_and_a_second_relaxation_are_refused(model: nn.Module) -> None:
    with pytest.raises(SurgeryError, match="no site is selected"):
        relax(model, {})
    with pytest.raises(SurgeryError, match="site '3' is relaxed already; discretise it first"):
        relax(relax(model, {"3": PerSite(1, 8)}), {"3": PerSite(1, 8)})
    with pytest.raises(SurgeryError, match="has no relaxed site; call relax on it first"):
        read_plan(model)


class Hidden(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.used = nn.Conv2d(4, 4, 3, padding=1)
        self.unused = nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.used(torch.roll(x, 1, 2))


def test_sites_whose_field_is_unknown_are_refused_with_an_example() -> None:
    model = Hidden()
    with pytest.raises(SurgeryError) as raised:
        relax(model, {"*used": PerSite(1, 8)}, example=EXAMPLE)
    assert "site 'unused' is not reached from the input" in str(raised.value)
    assert "aten.roll.default in the model's own forward lies before a selected site" in str(
        raised.value
    )
    relax(model, {"used": PerSite(1, 8)})  # without an example the bound is out of reach, no more


class Twice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(self.conv(x))


def test_a_convolution_that_runs_twice_has_no_bound_of_its_own() -> None:
    with pytest.raises(SurgeryError, match="site 'conv' runs 2 times in one forward pass"):
        relax(Twice(), {"conv": PerSite(1, 8)}, example=EXAMPLE)
    relax(Twice(), {"conv": PerSite(1, 8)})


def test_a_plan_that_does_not_fit_is_refused_whole(model: nn.Module) -> None:
    relaxed = relax(model, {"3": PerBranch(1, 8), "5": PerSite(1, 8)})
    plan = DilationPlan({"3": SiteRates("branch", (1.5, 2, 3)), "0": SiteRates("site", (1,))})
    with pytest.raises(PlanError) as raised:
        discretize(relaxed, plan)
    assert "site '0' of the plan is not a relaxed site of the model; the model's are '3', '5'" in (
        str(raised.value)
    )
    assert "site '3': the plan gives 3 rates where the model has 2" in str(raised.value)
    assert "site '5' has no rates in the plan; give it 1" in str(raised.value)
    with pytest.raises(PlanError, match=r"site '3': rate 1.5 is not a whole number"):
        discretize(relaxed, plan.per_branch({"3": (1.5, 2), "5": (1,)}))
