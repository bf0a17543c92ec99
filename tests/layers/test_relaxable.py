"""What a convolution's rates are now, in the form that is asked for."""

import pytest
import torch
from torch import nn

from dilsearch.errors import SurgeryError
from dilsearch.layers import BranchConv2d, MixedRateConv, RelaxedConv2d, rates_of, relaxed_form
from dilsearch.layers.grid import ConvGrid
from dilsearch.layers.relaxable import Convolution, present_rates, rate_rows
from dilsearch.sites import Granularity, PerBranch, PerChannel, PerSite

FACTORED = nn.Conv2d(4, 4, (1, 3), dilation=(1, 4), padding=(0, 4), groups=2)
"""Half of a 3x3 convolution: there is nothing to move along the height."""


@pytest.mark.parametrize(
    ("conv", "granularity", "rates"),
    [
        (nn.Conv1d(2, 2, 3, dilation=5), PerSite(1, 8), (5,)),
        (nn.Conv2d(2, 2, 3, dilation=(2, 3)), PerSite(1, 8, separate_axes=True), ((2, 3),)),
        (nn.Conv3d(2, 2, 3, dilation=2), PerChannel(1, 8), (2, 2)),
        (FACTORED, PerSite(1, 8), (4,)),
        (FACTORED, PerBranch(1, 8), (4, 4)),
        (FACTORED, PerSite(1, 8, separate_axes=True), ((1, 4),)),
        (FACTORED, PerSite(2, 8, separate_axes=True), ((2, 4),)),  # within the limits
        (BranchConv2d(4, 4, 3, rates=(1, 6), groups=2), PerBranch(1, 8), (1, 6)),
        (BranchConv2d(4, 4, 3, rates=(6, 6), groups=2), PerSite(1, 8), (6,)),
    ],
)
def test_present_rates(conv: Convolution, granularity: Granularity, rates: object) -> None:
    assert present_rates(conv, granularity) == rates
    assert rate_rows(conv, granularity) == len(rates)  # type: ignore[arg-type]
    assert relaxed_form(conv, granularity).initial_rates == rates


def test_an_axis_of_one_tap_keeps_its_dilation() -> None:
    torch.manual_seed(0)
    x = torch.rand(1, 4, 9, 9)
    back = RelaxedConv2d(FACTORED, PerSite(1, 8)).to_conv([4])
    assert isinstance(back, nn.Conv2d)
    assert (back.dilation, back.padding) == ((1, 4), (0, 4))
    assert torch.equal(back(x), FACTORED(x))
    branches = RelaxedConv2d(FACTORED, PerBranch(1, 8)).to_conv([4, 2])
    assert isinstance(branches, BranchConv2d)
    assert branches.rates == (4, 2)


def test_rates_of_what_a_search_ends_in() -> None:
    plain = nn.Conv2d(4, 4, 3, padding=1)
    assert rates_of(plain) == ((1, 1),)
    mixed = MixedRateConv(ConvGrid.of(plain), [(1, 1), (2, 3), (2, 3), (1, 1)], plain)
    assert rates_of(mixed) == ((1, 1), (2, 3), (2, 3), (1, 1))
    again = relaxed_form(mixed, PerChannel(1, 4, separate_axes=True))
    assert again.rate.tolist() == [[1, 1], [2, 3], [2, 3], [1, 1]]
    x = torch.rand(1, 4, 9, 9)
    torch.testing.assert_close(again(x), mixed(x), rtol=1e-5, atol=1e-5)
    assert torch.equal(again.to_conv(again.initial_rates)(x), mixed(x))


def test_dilations_that_differ_between_axes_do_not_matter_where_a_start_is_given() -> None:
    torch.manual_seed(0)
    conv, x = nn.Conv2d(2, 2, 3, padding=(1, 2), dilation=(1, 2)), torch.rand(1, 2, 9, 9)
    with pytest.raises(SurgeryError, match="give it one dilation or an initial rate, or ask for"):
        relaxed_form(conv, PerSite(1, 8))
    for granularity in (PerSite(1, 8, initial=3), PerChannel(1, 8, initial=3)):
        layer = relaxed_form(conv, granularity)
        plain = layer.to_conv([3] * layer.rate.numel())
        assert plain(x).shape == conv(x).shape
        torch.testing.assert_close(layer(x), plain(x), rtol=1e-5, atol=1e-5)
