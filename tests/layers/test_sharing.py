"""Weights are handed from module to module as they are, whatever computes them."""

import copy
import warnings
from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize
from torch.nn.utils.parametrizations import orthogonal, spectral_norm, weight_norm

from dilsearch.layers import BranchConv2d, MixedRateConv, RelaxedConv2d
from dilsearch.layers.sharing import device_of, first_tensor, has_bias, share
from dilsearch.sites import PerBranch, PerChannel, PerSite

Wrap = Callable[[nn.Module], nn.Module]


def weight_and_bias(conv: nn.Module) -> nn.Module:
    return weight_norm(weight_norm(conv), "bias", dim=None)


@pytest.mark.parametrize("wrap", [weight_norm, spectral_norm, orthogonal, weight_and_bias])
@pytest.mark.parametrize("is_training", [True, False])
def test_what_computes_a_weight_goes_along_and_back(wrap: Wrap, is_training: bool) -> None:
    torch.manual_seed(0)
    conv = wrap(nn.Conv2d(4, 8, 3, padding=1)).train(is_training)
    twin, x = copy.deepcopy(conv), torch.rand(2, 4, 7, 7)
    layer = RelaxedConv2d(conv, PerSite(1, 4))
    back = layer.to_conv([1])
    assert layer.parametrizations["weight"] is conv.parametrizations["weight"]
    assert list(back.state_dict()) == list(twin.state_dict())
    for _ in range(3):  # the buffers of spectral_norm move at every pass of training
        assert torch.equal(back(x), twin(x))
    for name, value in twin.state_dict().items():
        assert torch.equal(back.state_dict()[name], value)
    torch.testing.assert_close(layer(x), twin(x), rtol=1e-5, atol=1e-5)


def test_taking_over_computes_nothing() -> None:
    # the control: reading the weight in training moves the buffers of spectral_norm
    torch.manual_seed(0)
    conv = spectral_norm(nn.Conv2d(4, 8, 3))
    before = copy.deepcopy(conv.state_dict())
    layer = RelaxedConv2d(conv, PerSite(1, 4))
    layer.to_conv([2])
    assert all(torch.equal(value, before[key]) for key, value in conv.state_dict().items())
    assert layer.weight is not None
    key = "parametrizations.weight.0._u"
    assert not torch.equal(conv.state_dict()[key], before[key])


def test_branches_and_channels_take_parametrised_weights_too() -> None:
    torch.manual_seed(0)
    x = torch.rand(2, 4, 9, 9)
    for granularity, rates, kind in (
        (PerBranch(1, 4), [1, 3], BranchConv2d),
        (PerChannel(1, 4), [1, 3, 3, 2], MixedRateConv),
    ):
        conv = weight_norm(nn.Conv2d(4, 8, 3, padding=1, groups=2))
        layer = RelaxedConv2d(conv, granularity)
        with torch.no_grad():
            layer.rate.copy_(torch.tensor(rates))
        plain = layer.to_conv(rates)
        assert isinstance(plain, kind)
        torch.testing.assert_close(plain(x), layer(x), rtol=1e-5, atol=1e-5)
        plain(x).sum().backward()
        assert conv.parametrizations.weight.original0.grad is not None


def test_a_checkpoint_of_the_old_weight_norm_loads_as_before() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch wants the new one
        old = nn.utils.weight_norm(nn.Conv2d(4, 8, 3))
    conv = weight_norm(nn.Conv2d(4, 8, 3))
    back = RelaxedConv2d(conv, PerSite(1, 4)).to_conv([1])
    assert set(old.state_dict()) != set(back.state_dict())
    back.load_state_dict(old.state_dict())
    torch.testing.assert_close(back.weight, old.weight)


def test_a_parametrised_layer_casts_copies_and_keeps_its_rates() -> None:
    layer = RelaxedConv2d(weight_norm(nn.Conv2d(2, 2, 3)), PerSite(1, 20, initial=10.3))
    before = layer.rate.item()
    twin = copy.deepcopy(layer).to(torch.bfloat16)
    assert twin.weight.dtype == torch.bfloat16
    assert twin.rate.dtype == torch.float32
    assert twin.rate.item() == before
    x = torch.rand(1, 2, 30, 30)
    assert torch.equal(copy.deepcopy(layer)(x), layer(x))


def test_what_is_asked_without_computing() -> None:
    conv = spectral_norm(nn.Conv2d(2, 2, 3, bias=False, device="meta"))
    assert device_of(conv) == torch.device("meta")
    assert not has_bias(conv)
    assert first_tensor(conv, "weight") is conv.parametrizations.weight.original
    assert has_bias(nn.Conv2d(2, 2, 3))


def test_plain_weights_are_the_same_parameters() -> None:
    conv, target = nn.Conv2d(2, 2, 3), nn.Conv2d(2, 2, 3, device="meta")
    share(target, conv)
    assert target.weight is conv.weight
    assert target.bias is conv.bias
    assert not parametrize.is_parametrized(target)
