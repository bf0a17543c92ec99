"""The copy that is exported: no memory, no training, plain layers."""

import warnings
from copy import deepcopy

import pytest
import torch
from torch import nn

from dilsearch.analysis import analyze
from dilsearch.errors import TraceError
from dilsearch.layers import BranchConv2d, MixedRateConv, RelaxedConv2d
from dilsearch.sites import PerBranch
from dilsearch.tracing.shadow import convolutions_of, replace_modules, shadow_of


def relaxed(*rates: float) -> RelaxedConv2d:
    layer = RelaxedConv2d(nn.Conv2d(4, 4, 3, padding=2, dilation=2, groups=4), PerBranch(1, 8))
    with torch.no_grad():
        layer.rate.copy_(torch.tensor(rates))
    return layer


def test_nothing_is_copied_and_nothing_is_changed() -> None:
    model = nn.Sequential(nn.Conv2d(2, 2, 3), nn.BatchNorm2d(2), nn.Dropout())
    before = deepcopy(model.state_dict())
    shadow = shadow_of(model)
    tensors = [*shadow.parameters(), *shadow.buffers()]
    assert len(tensors) == 7
    assert all(tensor.is_meta for tensor in tensors)
    assert model.training
    assert not any(module.training for module in shadow.modules())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_shared_weights_stay_shared() -> None:
    conv, other = nn.Conv2d(2, 2, 3), nn.Conv2d(2, 2, 3)
    other.weight = conv.weight
    conv.weight.requires_grad_(False)
    shadow = shadow_of(nn.Sequential(conv, other, conv))
    assert shadow[0] is shadow[2]
    assert shadow[0].weight is shadow[1].weight
    assert not shadow[0].weight.requires_grad


def test_relaxed_sites_stand_with_the_rates_they_came_from() -> None:
    shadow = shadow_of(nn.Sequential(relaxed(3.7, 5.2)))
    assert isinstance(shadow[0], nn.Conv2d)
    assert shadow[0].dilation == (2, 2)


@pytest.mark.parametrize(("rates", "present"), [((3.7, 5.2), (4, 6)), ((2.0, 1.0), (2, 1))])
def test_present_rates_are_rounded_up(rates: tuple[float, ...], present: tuple[int, ...]) -> None:
    model = nn.Sequential(relaxed(*rates))
    conv = shadow_of(model, present_rates=True)[0]
    assert isinstance(conv, BranchConv2d)
    assert conv.rates == present
    assert isinstance(model[0], RelaxedConv2d)


def test_equal_present_rates_are_one_plain_convolution() -> None:
    conv = shadow_of(relaxed(2.5, 2.6), present_rates=True)
    assert isinstance(conv, nn.Conv2d | nn.Sequential)
    assert [c.dilation for c in convolutions_of(conv).values()] == [(3, 3)]


def test_a_relaxed_site_without_values_stands_with_its_first_rates() -> None:
    model = nn.Sequential(relaxed(3.7, 5.2)).to("meta")
    assert shadow_of(model, present_rates=True)[0].dilation == (2, 2)
    assert analyze(model, torch.empty(1, 4, 17, 17, device="meta")).field_px == (5, 5)


def test_modules_are_exchanged_at_every_path() -> None:
    conv, other = nn.Conv2d(2, 2, 3), nn.Identity()
    model = nn.ModuleDict({"a": conv, "b": nn.Sequential(conv, nn.ReLU())})
    assert replace_modules(model, {id(conv): other}) is model
    assert model["a"] is other
    assert model["b"][0] is other
    assert replace_modules(conv, {id(conv): other}) is other


def test_convolutions_are_found_by_path() -> None:
    model = nn.ModuleDict(
        {
            "a": nn.Conv1d(1, 1, 1),
            "b": nn.Sequential(nn.Linear(1, 1), nn.ConvTranspose3d(1, 1, 1)),
            "c": BranchConv2d(2, 2, 3, rates=(1, 2), groups=2),
        }
    )
    assert list(convolutions_of(model)) == ["a", "b.1", "c"]
    assert MixedRateConv not in map(type, convolutions_of(model).values())


def test_a_model_that_cannot_be_copied_is_refused() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch wants it to be the parametrization
        model = nn.utils.weight_norm(nn.Conv2d(2, 2, 3))
    with pytest.raises(TraceError, match=r"^Conv2d cannot be copied: .* give a network that copy"):
        shadow_of(model)
