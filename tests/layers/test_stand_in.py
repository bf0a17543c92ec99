"""What is exchanged for a convolution says of itself what the convolution said."""

from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from dilsearch.errors import SurgeryError
from dilsearch.layers import BranchConv2d, MixedRateConv, RelaxedConv2d, plain_form, relaxed_form
from dilsearch.layers.grid import ConvGrid
from dilsearch.layers.sharing import own_attributes
from dilsearch.sites import PerBranch, PerSite

SAID = (
    "in_channels",
    "out_channels",
    "kernel_size",
    "stride",
    "padding",
    "dilation",
    "groups",
    "padding_mode",
    "transposed",
    "output_padding",
    "training",
)


@pytest.mark.parametrize(
    "conv",
    [
        nn.Conv1d(4, 4, 3, padding=4, dilation=2),
        nn.Conv1d(4, 4, 4, padding="same"),
        nn.Conv2d(4, 4, (3, 5), stride=2, padding=(1, 2), groups=2, padding_mode="reflect"),
        nn.Conv2d(4, 4, 3, padding=3, dilation=(3, 3)).eval(),
        nn.Conv3d(4, 4, 3, padding=1),
    ],
)
def test_sizes_are_those_of_the_convolution_replaced(conv: Any) -> None:
    relaxed = relaxed_form(conv, PerSite(1, 8, initial=5))
    mixed = MixedRateConv(ConvGrid.of(conv), [(4,) * len(conv.kernel_size)], conv)
    for stand_in in (relaxed, mixed):
        assert {name: getattr(stand_in, name) for name in SAID} == {
            name: getattr(conv, name) for name in SAID
        }


def test_branches_say_it_too() -> None:
    conv = nn.Conv2d(4, 4, 3, padding=2, dilation=2, groups=2)
    branches = plain_form(conv, [(1, 1), (3, 3)], kind="branch")
    assert isinstance(branches, BranchConv2d)
    assert all(getattr(branches, name) == getattr(conv, name) for name in SAID)


def test_a_parent_that_pads_by_the_dilation_pads_as_before() -> None:
    torch.manual_seed(0)
    conv, x = nn.Conv1d(2, 2, 3, dilation=2), torch.rand(1, 2, 20)

    def padded_ahead(layer: Any) -> torch.Tensor:
        out: torch.Tensor = layer(F.pad(x, (2 * layer.dilation[0], 0)))
        return out

    relaxed = relaxed_form(conv, PerSite(1, 8, initial=3, causal=True))
    mixed = plain_form(conv, [(3,)], kind="site", causal=True, is_read=True)
    assert isinstance(mixed, MixedRateConv)
    torch.testing.assert_close(padded_ahead(mixed), padded_ahead(relaxed))
    assert padded_ahead(mixed).shape == padded_ahead(conv).shape == x.shape
    # control: torch's own convolution says its own rate, and is padded twice
    plain = plain_form(nn.Conv1d(2, 2, 3, dilation=2, padding=4), [(3,)], kind="site", causal=True)
    assert padded_ahead(plain).shape != x.shape


def test_rates_that_are_read_are_told_apart_from_the_same_ones() -> None:
    conv = nn.Conv2d(2, 2, 3, padding=2, dilation=2)
    assert type(plain_form(conv, [(2, 2)], kind="site", is_read=True)) is nn.Conv2d
    assert type(plain_form(conv, [(3, 3)], kind="site", is_read=True)) is MixedRateConv
    assert type(plain_form(conv, [(3, 3)], kind="site")) is nn.Conv2d
    layer = RelaxedConv2d(conv, PerSite(1, 8), is_read=True)
    assert type(layer.to_conv([3])) is MixedRateConv
    assert type(relaxed_form(conv, PerSite(1, 8), is_read=True).to_conv([2])) is nn.Conv2d


def test_what_a_user_keeps_on_a_convolution_goes_along() -> None:
    conv: Any = nn.Conv2d(4, 4, 3, padding=1, groups=2)
    conv.scale, conv.tags, conv._own = 2.0, ["first"], 1
    relaxed = RelaxedConv2d(conv, PerBranch(1, 8))
    for layer in (relaxed, *(relaxed.to_conv(rates) for rates in ([3, 3], [3, 5]))):
        assert own_attributes(layer) == {"scale": 2.0, "tags": ["first"]}
        assert not hasattr(layer, "_own")
    mixed = MixedRateConv(ConvGrid.of(conv), [(1, 2)], conv)
    assert own_attributes(plain_form(mixed, [(1, 1)], kind="site")) == own_attributes(conv)


def test_what_layers_have_by_themselves_is_no_users() -> None:
    conv = nn.Conv2d(4, 4, 3, padding=1, groups=2)
    layer = RelaxedConv2d(conv, PerBranch(1, 8))
    mixed = MixedRateConv(ConvGrid.of(conv), [(1, 2)], conv)
    for one in (conv, layer, layer.to_conv([1, 2]), mixed):
        assert not own_attributes(one)


@pytest.mark.parametrize("name", ["rate", "bound", "grid", "rates", "by_channel"])
def test_names_that_the_layers_use_are_refused(name: str) -> None:
    conv = nn.Conv2d(4, 4, 3)
    setattr(conv, name, 1)
    with pytest.raises(SurgeryError, match=f"it has a plain attribute '{name}', a name that"):
        RelaxedConv2d(conv, PerSite(1, 8))
