"""What cannot be relaxed is named with the reason and the remedy."""

import copy
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize, prune
from torch.nn.utils.parametrizations import weight_norm

from dilsearch.errors import SurgeryError
from dilsearch.layers import MixedRateConv, RelaxedConv2d
from dilsearch.sites import Granularity, PerBranch, PerChannel, PerSite
from dilsearch.surgery import discretize, read_plan, relax
from dilsearch.surgery.site_faults import is_quantised, site_faults

LIMITS = PerSite(1, 8)


class Renamed(nn.Conv2d):
    """A subclass that computes what its parent does."""

    def extra_repr(self) -> str:
        return "renamed"


class OwnForward(Renamed):
    def forward(self, x: Tensor) -> Tensor:
        return 2 * super().forward(x)


class OwnConvolution(nn.Conv1d):
    def _conv_forward(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return super()._conv_forward(x, weight - weight.mean(), bias)


def with_own(**tensors: Any) -> nn.Module:
    conv = Renamed(2, 2, 3)
    for name, value in tensors.items():
        if isinstance(value, Tensor) and not isinstance(value, nn.Parameter):
            conv.register_buffer(name, value)
        else:
            setattr(conv, name, value)
    return conv


def with_own_forward() -> nn.Module:
    conv = nn.Conv2d(2, 2, 3)
    conv.forward = torch.relu  # type: ignore[method-assign]
    return conv


def old_norm(name: str) -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch wants the new ones
        conv: nn.Module = getattr(nn.utils, name)(nn.Conv2d(2, 2, 3))
    return conv


def pruned() -> nn.Module:
    return prune.l1_unstructured(nn.Conv2d(2, 2, 3), "weight", amount=0.5)


def quantised(kind: str = "Conv2d") -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch wants another library for it
        import torch.ao.nn.quantized as quantized

        conv: nn.Module = getattr(quantized, kind)(2, 2, 3)
    return conv


def parametrised_elsewhere() -> nn.Module:
    conv = with_own(scale=torch.ones(1))
    parametrize.register_parametrization(conv, "scale", nn.Softplus())
    return conv


def on_two_devices() -> nn.Module:
    conv = nn.Conv2d(2, 2, 3)
    conv.bias = nn.Parameter(torch.empty(2, device="meta"))
    return conv


@pytest.mark.filterwarnings("ignore:Lazy modules are a new feature")
@pytest.mark.parametrize(
    ("build", "text"),
    [
        (lambda: nn.ConvTranspose2d(2, 2, 3), "is a ConvTranspose2d, and a transposed convolution "
         "writes at a distance instead of reading; leave it out of the selection"),
        (lambda: nn.ConvTranspose1d(2, 2, 3), "is a ConvTranspose1d, and a transposed"),
        (quantised, "is a quantised Conv2d, whose weights cannot be trained; relax the model "
         "before it is quantised"),
        (lambda: nn.LazyConv2d(2, 3), "is a LazyConv2d, whose weights have no shape yet; run the "
         "model on an input once, then relax it"),
        (lambda: OwnForward(2, 2, 3), "is a OwnForward with a forward of its own, which would be "
         "lost; leave it out of the selection, or put a plain convolution in its place"),
        (lambda: OwnConvolution(2, 2, 3), "is a OwnConvolution with a _conv_forward of its own"),
        (with_own_forward, "is a Conv2d with a forward of its own"),
        (lambda: weight_norm(OwnForward(2, 2, 3)), "is a OwnForward with a forward of its own"),
        (lambda: with_own(gain=nn.Parameter(torch.ones(1))), "has a Parameter 'gain' of its own, "
         "which would be lost; leave it out of the selection, or keep it in the module around it"),
        (lambda: with_own(mask=torch.ones(1)), "has a buffer 'mask' of its own"),
        (lambda: with_own(norm=nn.BatchNorm2d(2)), "has a module 'norm' of its own"),
        (parametrised_elsewhere, "has a parametrisation 'scale' of its own"),
        (lambda: old_norm("weight_norm"), "has the hooks of the old torch.nn.utils.weight_norm, "
         "which would be lost; use torch.nn.utils.parametrizations.weight_norm in its place"),
        (lambda: old_norm("spectral_norm"), "has the hooks of the old "
         "torch.nn.utils.spectral_norm, which would be lost"),
        (pruned, "is pruned by torch.nn.utils.prune, whose mask would be lost; make it lasting "
         "with torch.nn.utils.prune.remove first"),
        (lambda: nn.Conv2d(2, 2, 3, dtype=torch.complex64), "has weights of complex64, and between "
         "pixels only real numbers can be blended"),
        (on_two_devices, "has its weight on cpu and its bias on meta; move it to one of them"),
        (lambda: RelaxedConv2d(nn.Conv2d(2, 2, 3), LIMITS), "is relaxed already; discretise it"),
    ],
)  # fmt: skip
def test_modules_that_cannot_be_relaxed(build: Callable[[], nn.Module], text: str) -> None:
    (fault,) = site_faults("body.conv", build(), LIMITS)
    assert fault.startswith(f"site 'body.conv' {text}")
    with pytest.raises(SurgeryError, match="site '1' "):
        relax(nn.Sequential(nn.ReLU(), build()), {"*": LIMITS})


@pytest.mark.parametrize(
    "register",
    [
        "register_forward_hook",
        "register_forward_pre_hook",
        "register_full_backward_hook",
        "register_full_backward_pre_hook",
        "register_state_dict_post_hook",
        "register_load_state_dict_post_hook",
    ],
)
def test_hooks_of_any_kind(register: str) -> None:
    conv = nn.Conv2d(2, 2, 3)
    getattr(conv, register)(lambda *_: None)
    (fault,) = site_faults("conv", conv, LIMITS)
    assert fault == (
        "site 'conv' has hooks, which would be lost; remove them and add them afterwards"
    )
    assert not site_faults("conv", weight_norm(nn.Conv2d(2, 2, 3)), LIMITS)  # its own goes along


@pytest.mark.parametrize(
    ("conv", "granularity", "text"),
    [
        (nn.Conv2d(6, 6, 3, groups=3), PerBranch(1, 4), "its 3 groups do not divide into 2"),
        (nn.Conv2d(2, 2, 3, dilation=6), PerSite(1, 4), "its dilation 6 is outside the limits 1"),
        (nn.Conv2d(2, 2, 3, dilation=(1, 2)), PerSite(1, 4), "differs between height and width"),
        (nn.Conv2d(2, 2, 3), PerSite(1, 4, causal=True), "causal = True is for one axis, time, and "
         "it has 2; leave causal out"),
        (nn.Conv3d(2, 2, 3), PerChannel(1, 4, causal=True), "for one axis, time, and it has 3"),
    ],
)  # fmt: skip
def test_rates_that_a_convolution_cannot_have(
    conv: nn.Module, granularity: Granularity, text: str
) -> None:
    (fault,) = site_faults("conv", conv, granularity)
    assert fault.startswith("site 'conv': ")
    assert text in fault


def test_an_initial_rate_does_without_the_present_one() -> None:
    conv = nn.Conv2d(2, 2, 3, dilation=6)
    assert not site_faults("conv", conv, PerSite(1, 4, initial=2.5))
    assert not site_faults("conv", conv, PerSite(1, 4, initial="uniform"))


def test_a_subclass_that_computes_the_same_is_relaxed() -> None:
    torch.manual_seed(0)
    model, x = nn.Sequential(Renamed(4, 4, 3)), torch.rand(1, 4, 9, 9)
    relaxed = relax(model, {"*": LIMITS})
    back = discretize(relaxed, read_plan(relaxed))
    assert type(back[0]) is nn.Conv2d
    assert torch.equal(back(x), model(x))


def test_a_convolution_of_ours_with_unlike_channels_is_relaxed_again() -> None:
    torch.manual_seed(0)
    x = torch.rand(1, 4, 12, 12)
    relaxed = relax(nn.Conv2d(4, 4, 3, padding=1), {"": PerChannel(1, 8)})
    plain = discretize(relaxed, read_plan(relaxed).replace({"": (1, 3, 3, 2)}))
    assert isinstance(plain, MixedRateConv)
    again = relax(plain, {"": PerChannel(1, 8)})
    assert read_plan(again)[""] == (1, 3, 3, 2)
    assert torch.equal(discretize(again, read_plan(again))(x), plain(x))
    for granularity, text in (
        (LIMITS, "it has 4 channels with different rates, and 1 are asked for; ask for rates by"),
        (PerChannel(2, 8), "its dilation 1 is outside the limits 2 to 8"),
    ):
        (fault,) = site_faults("conv", plain, granularity)
        assert text in fault


def test_a_causal_one_stays_causal() -> None:
    relaxed = relax(nn.Conv1d(2, 2, 3, padding=2), {"": PerSite(1, 8, causal=True)})
    plain = discretize(relaxed, read_plan(relaxed).replace({"": (3,)}))
    assert isinstance(plain, MixedRateConv)
    (fault,) = site_faults("conv", plain, LIMITS)
    assert fault == (
        "site 'conv': its last tap stays in place while rates change; ask for causal = True"
    )
    again = relax(plain, {"": PerSite(1, 8, causal=True)})
    x = torch.rand(1, 2, 20)
    assert torch.equal(discretize(again, read_plan(again))(x), plain(x))


def test_quantised_poolings_are_no_convolutions() -> None:
    assert is_quantised(quantised("Conv1d"))
    assert not is_quantised(nn.Conv2d(2, 2, 3))


def test_faults_of_all_sites_come_together_and_nothing_changes() -> None:
    model = nn.Sequential(
        nn.Conv2d(4, 8, 3),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, groups=4, dilation=9),
        nn.ConvTranspose2d(8, 4, 3),
    )
    model[0].register_forward_hook(lambda *_: None)
    before = copy.deepcopy(model)
    with pytest.raises(SurgeryError) as raised:
        relax(
            model,
            {
                "2": PerBranch(1, 8, branches=3),
                "[03]": PerSite(2, 8),
                "nowhere.*": PerSite(1, 8),
                "1": PerSite(1, 8),
                "0": PerSite(1, 8),
            },
            inplace=True,
        )
    text = str(raised.value)
    assert "cannot relax the model, 8 faults:" in text
    for sentence in (
        "site '2': its 4 groups do not divide into 3 branches",
        "site '2': its dilation 9 is outside the limits 1 to 8",
        "site '0' is selected by '[03]' and by '0'",
        "site '0': its dilation 1 is outside the limits 2 to 8",
        "site '0' has hooks",
        "site '3' is a ConvTranspose2d",
        "'nowhere.*' matches no module",
        "'1' selects no convolution",
    ):
        assert sentence in text
    assert [type(m) for m in model.modules()] == [type(m) for m in before.modules()]
