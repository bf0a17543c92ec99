"""What relax keeps, where rates start, and what else must be so that it may exchange a module."""

import copy
from collections.abc import Callable

import pytest
import torch
from surgery_zoo import ZOO, snapshot, ties
from torch import nn

from dilsearch.errors import SurgeryError, TraceError
from dilsearch.layers import RelaxedConv1d, RelaxedConv2d, RelaxedConv3d
from dilsearch.plan import DilationPlan, SiteRates
from dilsearch.sites import Kernel, PerBranch, PerChannel, PerSite
from dilsearch.surgery import discretize, field_graph, rate_parameters, read_plan, relax

EXAMPLE = torch.empty(1, 4, 32, 32, device="meta")
pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")


def drawn(model: nn.Module) -> nn.Module:
    """The same network with other weights."""
    other = copy.deepcopy(model)
    for parameter in other.parameters():
        nn.init.normal_(parameter)
    return other


@pytest.mark.parametrize("name", ZOO)
def test_checkpoints_pass_in_every_direction(name: str) -> None:
    animal = ZOO[name]
    model = animal.built()
    relaxed = relax(model, {animal.selector: PerSite(1, 8, initial=2.5, causal=animal.causal)})
    sites = read_plan(relaxed)
    other = drawn(model)
    with pytest.warns(UserWarning, match=r"the checkpoint has no '.*rate': it is of a network"):
        relaxed.load_state_dict(other.state_dict())
    assert read_plan(relaxed) == sites  # the rates stay
    plain = discretize(relaxed, sites.replace(dict.fromkeys(sites, (3.0,))))
    for target in (plain, model):
        found = target.load_state_dict(relaxed.state_dict(), strict=False)
        assert not found.missing_keys
        # a shared module has its keys at every path
        assert all(key.rpartition(".")[2] == "rate" for key in found.unexpected_keys)
    plain.load_state_dict(other.state_dict())
    for key, value in other.state_dict().items():
        assert torch.equal(plain.state_dict()[key], value)
        assert torch.equal(model.state_dict()[key], value)


def test_a_state_dict_goes_round_with_its_rates(model: nn.Module) -> None:
    sites = {"3": PerBranch(1, 8), "5": PerChannel(1, 8, separate_axes=True)}
    one, other = relax(model, sites), relax(model, sites)
    with torch.no_grad():
        for rate in rate_parameters(one):
            rate.add_(torch.rand(rate.shape))
    assert read_plan(other) != read_plan(one)
    other.load_state_dict(one.state_dict())
    assert read_plan(other) == read_plan(one)


def test_state_dict_holds_the_rates_and_nothing_of_the_graph(model: nn.Module) -> None:
    relaxed = relax(model, {"3": PerBranch(1, 8)}, example=EXAMPLE)
    assert set(relaxed.state_dict()) == {*model.state_dict(), "3.rate"}
    twin = copy.deepcopy(relaxed)
    assert field_graph(relaxed) is not None
    assert field_graph(twin) is field_graph(relaxed)
    assert twin[3].rate is not relaxed[3].rate
    assert read_plan(twin) == read_plan(relaxed)


def test_shared_modules_and_parameters_stay_shared(shared: nn.Module) -> None:
    relaxed = relax(shared, {"first": PerSite(1, 8)})
    assert relaxed.again is relaxed.first
    assert isinstance(relaxed.first, RelaxedConv2d)
    assert len(rate_parameters(relaxed)) == 1
    tied = relax(ZOO["tied weights"].built(), {"*": PerSite(1, 8)})
    assert tied.one.weight is tied.other.weight
    assert tied.one.rate is not tied.other.rate
    assert ties(nn.Sequential(nn.ReLU(), nn.ReLU())) == set()  # the control of `ties`


def test_a_shared_module_is_one_site_of_the_graph(shared: nn.Module) -> None:
    relaxed = relax(shared, {"*": PerSite(1, 8)}, example=EXAMPLE)
    assert list(read_plan(relaxed)) == ["first", "head"]


def test_the_meta_device_and_memory_formats_are_kept() -> None:
    model = ZOO["channels last"].built()
    assert snapshot(relax(model, {"3": PerSite(1, 8)})) == snapshot(model)
    assert model[3].weight.is_contiguous(memory_format=torch.channels_last)
    meta = ZOO["chain"].built().to("meta")
    relaxed = relax(meta, {"3": PerSite(1, 8, initial="uniform")}, example=EXAMPLE)
    assert snapshot(relaxed) == snapshot(meta)
    assert relaxed[3].rate.is_meta
    plan = DilationPlan({"3": SiteRates("site", (2,))})
    assert discretize(relaxed, plan)[3].weight.is_meta
    with pytest.raises(SurgeryError, match="on the meta device, where rates have no values"):
        read_plan(relaxed)


def test_snapshots_tell_models_apart() -> None:
    # the control of every comparison of snapshots
    model = ZOO["chain"].built()
    changes: list[Callable[[nn.Module], object]] = [
        lambda m: m.double(),
        lambda m: m[1].train(),
        lambda m: m[3].requires_grad_(False),
        lambda m: m.to(memory_format=torch.channels_last),
        lambda m: m.to("meta"),
        lambda m: m.append(nn.ReLU()),
    ]
    for change in changes:
        other = copy.deepcopy(model)
        change(other)
        assert snapshot(other) != snapshot(model)


def test_branches_of_a_plain_convolution_start_from_its_dilation(model: nn.Module) -> None:
    relaxed = relax(model, {"3": PerBranch(1, 8, branches=4)})
    assert read_plan(relaxed) == DilationPlan({"3": SiteRates("branch", (1.0,) * 4)})


def test_a_plan_says_what_the_rates_of_each_form_stand_for() -> None:
    model = nn.Sequential(nn.Conv2d(4, 4, 3, dilation=(1, 2)), nn.Conv1d(2, 2, 3))
    relaxed = relax(model, {"0": PerChannel(1, 4, separate_axes=True), "1": PerSite(1, 4, 2.5)})
    causal = relax(model, {"1": PerChannel(1, 4, separate_axes=True, causal=True)})
    assert read_plan(relaxed).sites == {
        "0": SiteRates("channel", (1, 2) * 4, axes=2),
        "1": SiteRates("site", (2.5,)),
    }
    assert read_plan(causal).sites == {"1": SiteRates("channel", (1, 1), causal=True)}


def test_uniform_rates_are_drawn_site_after_site(model: nn.Module) -> None:
    sites = {"5": PerChannel(1, 9, initial="uniform"), "3": PerSite(2, 5, initial="uniform")}
    torch.manual_seed(0)
    first = read_plan(relax(model, sites, generator=torch.Generator().manual_seed(7)))
    state = torch.get_rng_state()
    again = read_plan(relax(model, sites, generator=torch.Generator().manual_seed(7)))
    assert first == again
    assert torch.equal(torch.get_rng_state(), state)  # a generator leaves the global one alone
    generator = torch.Generator().manual_seed(7)
    expected = [2 + 3 * torch.rand(1, generator=generator)]  # in the order of the sites
    expected.append(1 + 8 * torch.rand(8, generator=generator))
    for rates, wanted in zip(first.values(), expected, strict=True):
        torch.testing.assert_close(torch.tensor(rates), wanted)
    torch.manual_seed(3)
    one = read_plan(relax(model, sites))
    torch.manual_seed(3)
    assert read_plan(relax(model, sites)) == one
    assert read_plan(relax(model, sites)) != one


def test_layers_of_one_two_and_three_axes() -> None:
    model = nn.ModuleList([nn.Conv1d(2, 2, 3), nn.Conv2d(2, 2, 3), nn.Conv3d(2, 2, 3)])
    relaxed = relax(model, {Kernel(3): PerSite(1, 4)})
    kinds = [type(module) for module in relaxed]  # type: ignore[arg-type]
    assert kinds == [RelaxedConv1d, RelaxedConv2d, RelaxedConv3d]


def test_sites_are_in_the_order_of_the_field(model: nn.Module) -> None:
    relaxed = relax(model, {"5": PerSite(1, 8), "3": PerSite(1, 8)}, example=EXAMPLE)
    assert list(read_plan(relaxed)) == ["3", "5"]


def test_relaxing_in_two_steps_is_relaxing_at_once(model: nn.Module) -> None:
    once = relax(model, {"3": PerSite(1, 8), "5": PerSite(1, 6)}, example=EXAMPLE)
    twice = relax(relax(model, {"5": PerSite(1, 6)}), {"3": PerSite(1, 8)}, example=EXAMPLE)
    assert read_plan(twice) == read_plan(once)
    assert list(read_plan(twice)) == ["3", "5"]
    assert len(rate_parameters(twice)) == 2


def test_an_empty_selection_and_a_second_relaxation_are_refused(model: nn.Module) -> None:
    with pytest.raises(SurgeryError, match="no site is selected"):
        relax(model, {})
    with pytest.raises(SurgeryError, match="site '3' is relaxed already; discretise it first"):
        relax(relax(model, {"3": PerSite(1, 8)}), {"3": PerSite(1, 8)})
    with pytest.raises(SurgeryError, match="has no relaxed site; call relax on it first"):
        read_plan(model)


def test_a_model_that_cannot_be_copied_is_refused_and_can_be_changed_in_place() -> None:
    model = nn.Sequential(nn.Conv2d(4, 4, 3), nn.Conv2d(4, 4, 3))
    model.kept = model[0].weight * 2
    with pytest.raises(SurgeryError, match=r"Sequential cannot be copied: .*inplace = True"):
        relax(model, {"1": PerSite(1, 4)})
    assert relax(model, {"1": PerSite(1, 4)}, inplace=True) is model


def test_a_selector_alone_does_not_say_what_may_vary(model: nn.Module) -> None:
    text = r"sites is '3', which does not say what may vary; give a mapping, such as \{'layer4"
    with pytest.raises(SurgeryError, match=text):
        relax(model, "3")  # type: ignore[arg-type]


def test_a_shape_is_no_example(model: nn.Module) -> None:
    with pytest.raises(TraceError, match=r"example \(1, 4, 16, 16\) is not made of tensors; give"):
        relax(model, {"3": PerSite(1, 8)}, example=(1, 4, 16, 16))  # type: ignore[arg-type]


def test_branches_of_a_convolution_without_groups_are_told_what_to_be(model: nn.Module) -> None:
    with pytest.raises(SurgeryError, match="it is not grouped, and branches are groups; ask for"):
        relax(model, {"5": PerBranch(1, 8, branches=2)})
