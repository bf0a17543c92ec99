"""The relaxed convolution: an exact pair with the plain one, whatever padding and stride."""

import copy
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from dilsearch.errors import PlanError, SurgeryError
from dilsearch.layers import BranchConv2d, RelaxedConv2d
from dilsearch.sites import PerBranch, PerSite


@st.composite
def convolutions(draw: st.DrawFn) -> nn.Conv2d:
    groups = draw(st.sampled_from([1, 2, 4]))
    torch.manual_seed(draw(st.integers(0, 99)))
    return nn.Conv2d(
        4,
        8,
        draw(st.sampled_from([(3, 3), (5, 3), (1, 3)])),
        stride=draw(st.integers(1, 2)),
        padding=draw(st.integers(0, 3)),
        dilation=draw(st.integers(1, 3)),
        groups=groups,
        bias=draw(st.booleans()),
    )


@settings(max_examples=40)
@given(convolutions())
def test_relaxing_and_going_back_changes_no_bit(conv: nn.Conv2d) -> None:
    x = torch.rand(2, 4, 15, 17)
    layer = RelaxedConv2d(copy.deepcopy(conv), PerSite(1, 8))
    back = layer.to_conv(layer.rate.reshape(1).tolist())
    assert torch.equal(back(x), conv(x))
    assert isinstance(back, nn.Conv2d)
    assert back.weight is layer.weight


@settings(max_examples=40)
@given(convolutions(), st.integers(1, 4))
def test_the_layer_and_its_plain_form_agree_at_every_whole_rate(conv: nn.Conv2d, rate: int) -> None:
    x = torch.rand(2, 4, 15, 17)
    layer = RelaxedConv2d(conv, PerSite(1, 8, initial=float(rate)))
    plain = layer.to_conv([rate])
    torch.testing.assert_close(layer(x), plain(x), rtol=1e-5, atol=1e-5)
    assert plain(x).shape == conv(x).shape  # the grid is the replaced one's


def test_a_rate_that_needs_less_than_the_old_padding_crops() -> None:
    conv = nn.Conv2d(2, 2, 3, padding=0, dilation=3)
    plain = RelaxedConv2d(conv, PerSite(1, 4)).to_conv([1])
    assert isinstance(plain, nn.Sequential)
    assert isinstance(plain[0], nn.ZeroPad2d)
    assert plain(torch.rand(1, 2, 9, 9)).shape == (1, 2, 3, 3)


def test_branches_go_back_to_branches_and_equal_ones_to_one_convolution() -> None:
    x = torch.rand(1, 8, 12, 12)
    branched = BranchConv2d(8, 8, 3, rates=(1, 3), padding=1, groups=4, bias=False)
    layer = RelaxedConv2d(branched, PerBranch(1, 8))
    assert layer.rate.tolist() == [1.0, 3.0]
    back = layer.to_conv([1, 3])
    assert isinstance(back, BranchConv2d)
    assert torch.equal(back(x), branched(x))
    assert isinstance(layer.to_conv([2, 2]), nn.Conv2d)
    torch.testing.assert_close(layer(x), branched(x), rtol=1e-5, atol=1e-5)


def test_casting_a_model_keeps_its_rates_exact() -> None:
    layer = RelaxedConv2d(nn.Conv2d(2, 2, 3, padding=1), PerSite(1, 20, initial=10.3))
    before = layer.rate.item()
    layer.to(torch.bfloat16)
    assert layer.weight.dtype == torch.bfloat16
    assert layer.rate.dtype == torch.float32
    assert layer.rate.item() == before
    # negative control: the cast that is avoided would have moved the rate
    assert torch.tensor(before).bfloat16().item() != before


def test_the_slope_on_a_limit_lets_the_rate_go_back() -> None:
    torch.manual_seed(0)
    conv = nn.Conv2d(1, 1, 3, padding=1, bias=False)
    x = torch.rand(1, 1, 12, 12)
    layer = RelaxedConv2d(conv, PerSite(1, 4, initial=4.0))
    layer(x).square().sum().backward()
    inside = RelaxedConv2d(copy.deepcopy(conv), PerSite(1, 4, initial=3.999))
    inside(x).square().sum().backward()
    beyond = RelaxedConv2d(copy.deepcopy(conv), PerSite(1, 9, initial=4.0))
    beyond(x).square().sum().backward()
    assert layer.rate.grad is not None
    assert inside.rate.grad is not None
    assert beyond.rate.grad is not None
    assert abs(layer.rate.grad - inside.rate.grad) < 0.05 * abs(inside.rate.grad)
    assert abs(beyond.rate.grad - inside.rate.grad) > 0.05 * abs(inside.rate.grad)


@pytest.mark.parametrize(
    ("conv", "granularity", "text"),
    [
        (nn.Conv2d(2, 2, 2), PerSite(1, 4), "its kernel is 2 x 2, and only odd kernels"),
        (
            nn.Conv2d(2, 2, 3, padding_mode="reflect", padding=1),
            PerSite(1, 4),
            "its padding mode is 'reflect', and only 'zeros'",
        ),
        (nn.Conv2d(6, 6, 3, groups=3), PerBranch(1, 4), "its 3 groups do not divide into 2"),
        (nn.Conv2d(2, 2, 3, dilation=6), PerSite(1, 4), "its dilation 6 is outside the limits 1"),
        (nn.Conv2d(2, 2, 3, dilation=(1, 2)), PerSite(1, 4), "differs between height and width"),
        (
            BranchConv2d(8, 8, 3, rates=(1, 2), groups=4),
            PerBranch(1, 4, branches=4),
            "it has 2 branches with different rates, and 4 are asked for",
        ),
    ],
)
def test_what_cannot_be_relaxed_is_one_sentence(conv: Any, granularity: Any, text: str) -> None:
    with pytest.raises(SurgeryError, match=text):
        RelaxedConv2d(conv, granularity)


@pytest.mark.parametrize(
    ("rates", "text"),
    [([1.5], "rate 1.5 is not a whole number"), ([1, 2], "2 rates given where the layer has 1")],
)
def test_only_whole_rates_go_back(rates: list[float], text: str) -> None:
    layer = RelaxedConv2d(nn.Conv2d(2, 2, 3), PerSite(1, 4))
    with pytest.raises(PlanError, match=text):
        layer.to_conv(rates)
