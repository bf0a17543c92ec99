"""The split convolution against plain convolutions of its parts, at zero tolerance."""

import copy
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from dilsearch.errors import SurgeryError
from dilsearch.layers.branch_conv import BranchConv2d


def branch_by_branch(conv: BranchConv2d, x: Tensor) -> Tensor:
    """The definition: one nn.Conv2d for each part, with weights sliced from the whole."""
    count = len(conv.rates)
    outputs = []
    for i, rate in enumerate(conv.rates):
        pad = [
            p + (k - 1) // 2 * (rate - d)
            for p, k, d in zip(conv.padding, conv.kernel_size, conv.dilation, strict=True)
        ]
        part = nn.Conv2d(
            conv.in_channels // count,
            conv.out_channels // count,
            conv.kernel_size,
            stride=conv.stride,
            padding=[max(amount, 0) for amount in pad],
            dilation=rate,
            groups=conv.groups // count,
            bias=conv.bias is not None,
        )
        width = conv.out_channels // count
        with torch.no_grad():
            part.weight.copy_(conv.weight[i * width : (i + 1) * width])
            if conv.bias is not None:
                part.bias.copy_(conv.bias[i * width : (i + 1) * width])
        width = conv.in_channels // count
        piece = x[:, i * width : (i + 1) * width]
        top, left = (max(-amount, 0) for amount in pad)
        piece = piece[:, :, top : x.shape[2] - top, left : x.shape[3] - left]
        outputs.append(part(piece))
    return torch.cat(outputs, dim=1)


@st.composite
def sizes_and_rates(draw: st.DrawFn) -> dict[str, Any]:
    """Arguments of a BranchConv2d."""
    branches = draw(st.sampled_from([1, 2, 4]))
    groups = branches * draw(st.integers(1, 2))
    odd = st.sampled_from([1, 3, 5])
    return {
        "in_channels": groups * draw(st.integers(1, 2)),
        "out_channels": groups * draw(st.integers(1, 2)),
        "kernel_size": (draw(odd), draw(odd)),
        "rates": draw(st.lists(st.integers(1, 4), min_size=branches, max_size=branches)),
        "stride": draw(st.sampled_from([1, 2, (1, 3)])),
        "padding": draw(st.sampled_from([0, 1, 2, (4, 0)])),
        "dilation": draw(st.sampled_from([1, 2, (3, 1)])),
        "groups": groups,
        "bias": draw(st.booleans()),
    }


@settings(deadline=None, max_examples=60)
@given(sizes_and_rates())
def test_equals_its_branches_convolved_apart(arguments: dict[str, Any]) -> None:
    conv = BranchConv2d(**arguments)
    x = torch.randn(2, conv.in_channels, 19, 17)
    if len(set(conv.rates)) > 1:
        assert torch.equal(conv(x), branch_by_branch(conv, x))
    else:  # one convolution then, which may add up in another order than its parts
        torch.testing.assert_close(conv(x), branch_by_branch(conv, x))


@settings(deadline=None, max_examples=40)
@given(sizes_and_rates())
def test_output_grid_is_that_of_the_convolution_it_stands_for(arguments: dict[str, Any]) -> None:
    conv = BranchConv2d(**arguments)
    plain = nn.Conv2d(**{name: value for name, value in arguments.items() if name != "rates"})
    x = torch.randn(1, conv.in_channels, 19, 17)
    assert conv(x).shape == plain(x).shape


def test_order_of_rates_matters() -> None:
    conv = BranchConv2d(4, 4, 3, rates=(1, 3), padding=1, groups=2)
    swapped = BranchConv2d(4, 4, 3, rates=(3, 1), padding=1, groups=2)
    swapped.load_state_dict(conv.state_dict())
    x = torch.randn(1, 4, 9, 9)
    assert not torch.allclose(conv(x), swapped(x))


def test_unbatched_input() -> None:
    conv = BranchConv2d(4, 4, 3, rates=(1, 3), padding=1, groups=2)
    x = torch.randn(4, 9, 9)
    assert torch.equal(conv(x), conv(x[None])[0])


class CountConvolutions(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += func is torch.ops.aten.convolution.default
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize(("rates", "convolutions"), [((3, 3), 1), ((1, 3), 2), ((2,), 1)])
def test_equal_rates_run_as_one_convolution(rates: tuple[int, ...], convolutions: int) -> None:
    conv = BranchConv2d(8, 8, 3, rates=rates, padding=1, groups=4)
    with CountConvolutions() as counter:
        conv(torch.randn(1, 8, 9, 9))
    assert counter.count == convolutions


def test_equal_rates_are_a_plain_convolution() -> None:
    conv = BranchConv2d(8, 8, 3, rates=(3, 3), padding=1, groups=4)
    plain = nn.Conv2d(8, 8, 3, padding=3, dilation=3, groups=4)
    plain.load_state_dict(conv.state_dict())
    x = torch.randn(1, 8, 9, 9)
    assert torch.equal(conv(x), plain(x))


@pytest.mark.parametrize("bias", [True, False])
def test_a_seed_gives_the_weights_of_a_plain_convolution(bias: bool) -> None:
    torch.manual_seed(5)
    plain = nn.Conv2d(8, 16, (3, 5), groups=4, bias=bias)
    after_plain = torch.rand(1)
    torch.manual_seed(5)
    conv = BranchConv2d(8, 16, (3, 5), rates=(1, 2), groups=4, bias=bias)
    after_conv = torch.rand(1)
    assert conv.state_dict().keys() == plain.state_dict().keys()
    for name, tensor in plain.state_dict().items():
        assert torch.equal(conv.state_dict()[name], tensor)
    assert torch.equal(after_conv, after_plain)


def test_gradients_reach_every_parameter_and_copies_are_independent() -> None:
    conv = BranchConv2d(4, 4, 3, rates=(1, 2), padding=1, groups=2, dtype=torch.float64)
    twin = copy.deepcopy(conv)
    x = torch.randn(1, 4, 5, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda *_: conv(x), (x, conv.weight, conv.bias))
    assert twin.weight is not conv.weight


def test_meta_device() -> None:
    conv = BranchConv2d(4, 8, 3, rates=(1, 2), padding=1, groups=2, device="meta")
    assert conv(torch.empty(1, 4, 5, 6, device="meta")).shape == (1, 8, 5, 6)


def test_repr_shows_the_rates() -> None:
    conv = BranchConv2d(8, 8, 3, rates=(1, 4), padding=1, groups=2, bias=False)
    assert repr(conv) == (
        "BranchConv2d(8, 8, kernel_size=(3, 3), rates=(1, 4), stride=(1, 1), padding=(1, 1), "
        "groups=2, bias=False)"
    )
    assert repr(BranchConv2d(2, 2, 1, rates=(2,), dilation=2)) == (
        "BranchConv2d(2, 2, kernel_size=(1, 1), rates=(2,), stride=(1, 1), dilation=(2, 2))"
    )


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"kernel_size": (3, 4)}, "its kernel is 3 x 4, and only odd kernels have a centre tap"),
        ({"rates": ()}, "it has no rates; give one for each branch"),
        ({"rates": (1, 1.5)}, "rate 1.5 of branch 1 is not a whole number of at least 1; give"),
        ({"rates": (0, 1)}, "rate 0 of branch 0 is not a whole number of at least 1"),
        ({"rates": (True, 1)}, "rate True of branch 0 is not a whole number"),
        ({"rates": (1, 2, 3)}, "3 rates ask for 3 branches, which do not divide its 4 groups"),
        ({"in_channels": 6}, "in_channels = 6 is not a positive multiple of groups = 4"),
        ({"out_channels": 0}, "out_channels = 0 is not a positive multiple of groups = 4"),
        ({"groups": 0}, "groups = 0 is below 1; give at least 1"),
        ({"stride": 0}, "stride = (0, 0) is below 1; give at least 1"),
        ({"padding": (1, -1)}, "padding = (1, -1) is below 0; give at least 0"),
        ({"dilation": 0}, "dilation = (0, 0) is below 1; give at least 1"),
    ],
)
def test_faults_are_named(changes: dict[str, object], text: str) -> None:
    sizes = {"in_channels": 8, "out_channels": 8, "kernel_size": 3, "rates": (1, 2), "groups": 4}
    with pytest.raises(SurgeryError) as caught:
        BranchConv2d(**{**sizes, **changes})
    assert str(caught.value).startswith(f"cannot build the convolution: {text}")


def test_all_faults_are_told_at_once() -> None:
    with pytest.raises(SurgeryError, match=r"(?s)2 faults:.*its kernel is 2 x 2.*rate 0 of"):
        BranchConv2d(8, 8, 2, rates=(0, 1), groups=4)
