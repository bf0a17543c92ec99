"""The relaxed convolution: an exact pair with the plain one, whatever padding and stride."""

import copy
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from dilsearch.errors import PlanError, SurgeryError
from dilsearch.layers import (
    BranchConv2d,
    MixedRateConv,
    RelaxedConv,
    RelaxedConv1d,
    RelaxedConv2d,
    RelaxedConv3d,
)
from dilsearch.sites import Granularity, PerBranch, PerChannel, PerSite

# torch's own hint about uneven padding; the layers under test pad explicitly
pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")

LAYERS: dict[int, type[RelaxedConv]] = {1: RelaxedConv1d, 2: RelaxedConv2d, 3: RelaxedConv3d}
KINDS: dict[int, type[nn.Conv1d | nn.Conv2d | nn.Conv3d]] = {
    1: nn.Conv1d,
    2: nn.Conv2d,
    3: nn.Conv3d,
}
SIZES = (15, 17, 12)


two_axes, every_axes = st.just(2), st.sampled_from([1, 2, 2, 3])


@st.composite
def convolutions(
    draw: st.DrawFn, axes: st.SearchStrategy[int] = two_axes
) -> nn.Conv1d | nn.Conv2d | nn.Conv3d:
    """A convolution of 4 input channels, of any form."""
    count = draw(axes)
    torch.manual_seed(draw(st.integers(0, 99)))
    mode = draw(st.sampled_from(["zeros", "zeros", "reflect", "replicate", "circular"]))
    stride = draw(st.integers(1, 2))
    padding: Any = draw(st.integers(0, 3))
    if stride == 1 and draw(st.booleans()):
        padding = draw(st.sampled_from(["same", "valid"]))
    return KINDS[count](
        4,
        8,
        draw(st.tuples(*[st.sampled_from([3, 3, 1, 2, 4])] * count)),
        stride=stride,
        padding=padding,
        dilation=draw(st.integers(1, 3)),
        groups=draw(st.sampled_from([1, 2, 4])),
        bias=draw(st.booleans()),
        padding_mode=mode,
    )


def relaxed(conv: nn.Module, granularity: Granularity) -> RelaxedConv:
    return LAYERS[conv.weight.dim() - 2](conv, granularity)


def image_for(layer: RelaxedConv) -> Tensor:
    return torch.rand(2, layer.in_channels, *SIZES[: layer.axes])


@settings(max_examples=60, deadline=None)
@given(convolutions(every_axes), st.booleans())
def test_relaxing_and_going_back_changes_no_bit(conv: nn.Module, separate_axes: bool) -> None:
    layer = relaxed(copy.deepcopy(conv), PerSite(1, 8, separate_axes=separate_axes))
    x = image_for(layer)
    back = layer.to_conv(layer.initial_rates)
    assert torch.equal(back(x), conv(x))
    assert type(back) is type(conv)
    assert back.weight is layer.weight


@settings(max_examples=60, deadline=None)
@given(convolutions(every_axes), st.data())
def test_the_layer_and_its_plain_form_agree_at_whole_rates(conv: nn.Module, data: Any) -> None:
    branches = st.sampled_from([b for b in (1, 2, 4) if conv.groups % b == 0])
    granularity = data.draw(
        st.one_of(
            st.builds(PerSite, st.just(1), st.just(8), separate_axes=st.booleans()),
            st.builds(PerBranch, st.just(1), st.just(8), branches, separate_axes=st.booleans()),
            st.builds(PerChannel, st.just(1), st.just(8), separate_axes=st.booleans()),
        )
    )
    layer = relaxed(conv, granularity)
    drawn = torch.tensor(
        data.draw(
            st.lists(st.integers(1, 3), min_size=layer.rate.numel(), max_size=layer.rate.numel())
        )
    )
    rates = drawn.reshape(layer.rate.shape if layer.rate.dim() else (1,))
    plain = layer.to_conv(rates.tolist())
    with torch.no_grad():
        layer.rate.copy_(rates.reshape(layer.rate.shape))
    x = image_for(layer)
    torch.testing.assert_close(layer(x), plain(x), rtol=1e-5, atol=1e-5)
    assert plain(x).shape == conv(x).shape  # the grid is the replaced one's
    assert plain.weight is layer.weight


@pytest.mark.parametrize("rates", [[1, 2, 1, 3], [2, 2, 2, 1]])
@pytest.mark.parametrize("groups", [1, 2, 4])
def test_channels_with_rates_of_their_own_become_a_sum_over_rates(
    rates: list[int], groups: int
) -> None:
    torch.manual_seed(0)
    layer = RelaxedConv2d(nn.Conv2d(4, 8, 3, padding=1, groups=groups), PerChannel(1, 4))
    plain = layer.to_conv(rates)
    assert isinstance(plain, MixedRateConv)
    assert plain.by_channel is (groups != 4)
    with torch.no_grad():
        layer.rate.copy_(torch.tensor(rates))
    x = torch.rand(2, 4, 9, 9)
    torch.testing.assert_close(layer(x), plain(x), rtol=1e-5, atol=1e-5)
    swapped = layer.to_conv(rates[::-1])
    assert not torch.allclose(swapped(x), plain(x), rtol=1e-3)  # control: the order matters
    exported = torch.export.export(plain, (x,))
    assert torch.equal(exported.module()(x), plain(x))
    assert "rates by" in repr(plain)


@pytest.mark.parametrize("conv", [nn.Conv1d(2, 2, 3, padding=4, dilation=2), nn.Conv1d(2, 2, 2)])
def test_a_causal_site_never_sees_the_future(conv: nn.Conv1d) -> None:
    # Padded at both ends and cropped behind, as in temporal networks; and padded not at all.
    layer = RelaxedConv1d(copy.deepcopy(conv), PerSite(1, 8, causal=True))
    x = torch.rand(1, 2, 20)
    torch.testing.assert_close(layer(x), conv(x))
    lag = layer.grid.padding[0][0] - (layer.kernel_size[0] - 1) * layer.dilation[0]
    with torch.no_grad():
        layer.rate.fill_(4.6)
    late = x.clone()
    late[..., 12:] += 1
    changed = (layer(late) != layer(x)).any(1).flatten().nonzero().flatten()
    assert changed.min() == 12 + lag
    for rate in (1, 3, 5):
        with torch.no_grad():
            layer.rate.fill_(rate)
        torch.testing.assert_close(layer.to_conv([rate])(x), layer(x))
    centred = RelaxedConv1d(copy.deepcopy(conv), PerSite(1, 8, initial=4.6))
    if conv.kernel_size == (3,):  # the control: the middle tap stays there, and one looks ahead
        seen = (centred(late) != centred(x)).any(1).flatten().nonzero().flatten()
        assert seen.min() < 12 + lag


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
        (nn.ConvTranspose2d(2, 2, 3), PerSite(1, 4), "it is a ConvTranspose2d, and only Conv2d"),
        (nn.Conv1d(2, 2, 3), PerSite(1, 4), "it is a Conv1d, and only Conv2d or BranchConv2d"),
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
    [
        ([1.5], "rate 1.5 is not a whole number"),
        ([1, 2], "2 rates given where the layer has 1"),
        ([0], "rate 0 is not a whole number of at least 1"),
    ],
)
def test_only_whole_rates_go_back(rates: list[float], text: str) -> None:
    layer = RelaxedConv2d(nn.Conv2d(2, 2, 3), PerSite(1, 4))
    with pytest.raises(PlanError, match=text):
        layer.to_conv(rates)


def test_copies_states_and_rates_of_every_shape_survive() -> None:
    conv = nn.Conv2d(4, 4, 3, padding=1, groups=2)
    shapes = {
        PerSite(1, 4): (),
        PerBranch(1, 4): (2,),
        PerChannel(1, 4): (4,),
        PerSite(1, 4, separate_axes=True): (1, 2),
        PerBranch(1, 4, separate_axes=True): (2, 2),
        PerChannel(1, 4, separate_axes=True): (4, 2),
    }
    for granularity, shape in shapes.items():
        layer = RelaxedConv2d(copy.deepcopy(conv), granularity)
        assert layer.rate.shape == layer.bound.shape == shape
        with torch.no_grad():
            layer.rate.add_(torch.rand(shape))
        twin = copy.deepcopy(layer)
        other = RelaxedConv2d(copy.deepcopy(conv), granularity)
        other.load_state_dict(layer.state_dict())
        x = torch.rand(1, 4, 7, 7)
        assert torch.equal(twin(x), layer(x))
        assert torch.equal(other(x), layer(x))
        layer(x).sum().backward()
        assert layer.rate.grad is not None
        assert layer.rate.grad.shape == shape


@pytest.mark.parametrize("mode", ["zeros", "reflect", "replicate", "circular"])
def test_one_end_may_be_cropped_where_the_other_is_padded(mode: str) -> None:
    torch.manual_seed(0)
    conv = nn.Conv2d(4, 4, 2, padding=1, dilation=3, padding_mode=mode)
    x = torch.rand(1, 4, 9, 9)
    for granularity, rates in ((PerSite(1, 8), [1]), (PerChannel(1, 8), [1, 2, 2, 1])):
        layer = RelaxedConv2d(copy.deepcopy(conv), granularity)
        assert layer.grid.padding_at((1, 1)) == ((1, -1), (1, -1))
        with torch.no_grad():
            layer.rate.copy_(torch.tensor(rates).reshape(layer.rate.shape))
        plain = layer.to_conv(rates)
        torch.testing.assert_close(layer(x), plain(x), rtol=1e-5, atol=1e-5)
    past = nn.Conv1d(2, 2, 3, padding=1, dilation=2, padding_mode=mode)
    layer = RelaxedConv1d(past, PerSite(1, 8, causal=True))
    for rate in (1, 3):
        with torch.no_grad():
            layer.rate.fill_(rate)
        x = torch.rand(1, 2, 12)
        torch.testing.assert_close(layer(x), layer.to_conv([rate])(x), rtol=1e-5, atol=1e-5)


def spoiled(size: int = 64) -> None:
    """Leave memory behind that is not zeros, as a process has it."""
    junk = [torch.full((), 1e9 + index) for index in range(size)]
    del junk


@pytest.mark.parametrize("granularity", [PerSite(1, 8, initial=3), PerChannel(1, 8, initial=3)])
def test_the_bound_is_the_limit_wherever_rates_come_from_a_checkpoint(
    granularity: Granularity,
) -> None:
    checkpoint = RelaxedConv2d(nn.Conv2d(2, 2, 3), granularity).state_dict()
    bare = RelaxedConv2d(nn.Conv2d(2, 2, 3, device="meta"), granularity)
    spoiled()
    emptied = copy.deepcopy(bare).to_empty(device="cpu")
    upper = torch.full_like(emptied.rate.detach(), 8)
    assert torch.equal(emptied.bound, upper)
    stale = RelaxedConv2d(nn.Conv2d(2, 2, 3), granularity)
    for layer, assign in ((stale, False), (copy.deepcopy(stale), True), (bare, True)):
        if not layer.bound.is_meta:
            layer.bound.fill_(2)
        layer.load_state_dict(checkpoint, assign=assign)
        assert torch.equal(layer.bound, upper)
        assert torch.equal(layer.rate, checkpoint["rate"])
        assert layer(torch.rand(1, 2, 9, 9)).shape == (1, 2, 7, 7)
    stale.bound.fill_(2)
    assert torch.equal(copy.deepcopy(stale).double().bound, stale.bound)  # a cast keeps it


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_rates_are_float32_whatever_a_checkpoint_assigns(dtype: torch.dtype) -> None:
    layer = RelaxedConv2d(nn.Conv2d(2, 2, 3), PerSite(1, 20, initial=10.5))
    other = {name: tensor.to(dtype) for name, tensor in layer.state_dict().items()}
    layer.load_state_dict(other, assign=True)
    assert layer.weight.dtype == dtype
    assert layer.rate.dtype == layer.bound.dtype == torch.float32
    assert layer.rate.item() == 10.5
    assert isinstance(layer.rate, nn.Parameter)
    assert layer.rate.requires_grad
