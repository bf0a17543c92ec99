"""The plain module of given rates: torch's own wherever it has a word for it."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from dilsearch.layers import BranchConv2d, MixedRateConv, plain_form
from dilsearch.layers.grid import ConvGrid
from dilsearch.sites import Kind

pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")


@pytest.mark.parametrize(
    ("conv", "rates", "kind", "expected"),
    [
        (nn.Conv2d(4, 4, 3, padding=1), [(3, 3)], "site", nn.Conv2d),
        (nn.Conv2d(4, 4, 3, padding=1), [(3, 2)], "site", nn.Conv2d),
        (nn.Conv1d(4, 4, 3, padding="same"), [(5,)], "site", nn.Conv1d),
        (nn.Conv2d(4, 4, (2, 4), padding="same"), [(1, 1)], "site", nn.Conv2d),
        (nn.Conv2d(4, 4, (2, 4), padding="same"), [(2, 2)], "site", MixedRateConv),
        (nn.Conv2d(4, 4, 3, dilation=3), [(1, 1)], "site", MixedRateConv),
        (nn.Conv2d(4, 4, 3, groups=2), [(1, 1), (2, 2)], "branch", BranchConv2d),
        (nn.Conv2d(4, 4, 3, groups=2), [(2, 2), (2, 2)], "branch", nn.Conv2d),
        (nn.Conv2d(4, 4, 3, groups=2), [(1, 2), (2, 2)], "branch", MixedRateConv),
        (nn.Conv2d(4, 4, (1, 3), groups=2), [(1, 1), (1, 2)], "branch", BranchConv2d),
        (nn.Conv3d(4, 4, 3, groups=2), [(1, 1, 1), (2, 2, 2)], "branch", MixedRateConv),
        (nn.Conv2d(4, 4, 3, groups=4), [(1, 1)] * 3 + [(2, 2)], "channel", MixedRateConv),
        (nn.Conv2d(2, 2, 3), [(4, 4), (4, 4)], "channel", nn.Conv2d),
    ],
)
def test_torch_speaks_where_it_can(
    conv: nn.Module, rates: list[tuple[int, ...]], kind: Kind, expected: type
) -> None:
    plain = plain_form(conv.eval(), rates, kind=kind)
    assert type(plain) is expected
    assert plain.weight is conv.weight
    assert list(plain.state_dict()) == list(conv.state_dict())  # the same checkpoints load
    assert not plain.training


def by_hand(conv: Any, x: Tensor, rates: tuple[int, ...], causal: bool) -> Tensor:
    """Every tap a shifted picture of its own, times its weights: the oracle."""
    grid = ConvGrid.of(conv)
    taps = conv.kernel_size
    anchors = [k - 1 if causal else (k - 1) // 2 for k in taps]
    reach = 40
    picture = F.pad(x, (reach,) * (2 * len(taps)))
    sizes = conv(x).shape[2:]
    total = torch.zeros(conv(x).shape, dtype=x.dtype)
    for index in torch.cartesian_prod(*[torch.arange(k) for k in taps]).reshape(-1, len(taps)):
        shifted = picture
        for axis, tap in enumerate(index.tolist()):
            anchor = anchors[axis]
            first = anchor * grid.dilation[axis] - grid.padding[axis][0]
            first += reach + (tap - anchor) * rates[axis]
            places = first + torch.arange(sizes[axis]) * grid.stride[axis]
            shifted = shifted.index_select(axis + 2, places)
        kernel = conv.weight[(..., *index.tolist())]
        total += torch.einsum("oi,bi...->bo...", kernel, shifted)
    return total + conv.bias.reshape(-1, *[1] * len(taps))


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_rates_move_every_tap_around_its_anchor_and_the_grid_stays(data: st.DataObject) -> None:
    axes = data.draw(st.sampled_from([1, 2]))
    causal = axes == 1 and data.draw(st.booleans())
    taps = data.draw(st.tuples(*[st.integers(1, 4)] * axes))
    stride = data.draw(st.integers(1, 2))
    words = ["same", "valid"] if stride == 1 else ["valid"]
    conv = (nn.Conv1d, nn.Conv2d)[axes - 1](
        2,
        3,
        taps,  # type: ignore[arg-type]
        stride=stride,
        padding=data.draw(st.one_of(st.integers(0, 3), st.sampled_from(words))),
        dilation=data.draw(st.integers(1, 3)),
        dtype=torch.float64,
    )
    rates = data.draw(st.tuples(*[st.integers(1, 4)] * axes))
    x = torch.rand(2, 2, *(15, 14)[:axes], dtype=torch.float64)
    plain = plain_form(conv, [rates], kind="site", causal=causal)
    expected = by_hand(conv, x, rates, causal)
    torch.testing.assert_close(plain(x), expected)
    again = plain_form(plain, [ConvGrid.of(conv).dilation], kind="site", causal=causal)
    torch.testing.assert_close(again(x), conv(x))  # and from there to any other rates


def test_the_oracle_tells_rates_and_anchors_apart() -> None:
    torch.manual_seed(0)
    conv, x = nn.Conv1d(2, 3, 3, padding=4, dilation=2), torch.rand(1, 2, 20)
    right = plain_form(conv, [(3,)], kind="site")(x)
    assert not torch.allclose(by_hand(conv, x, (2,), False), right, atol=1e-3)
    assert not torch.allclose(by_hand(conv, x, (3,), True), right, atol=1e-3)


def test_a_single_rate_that_crops_says_so() -> None:
    plain = plain_form(nn.Conv2d(2, 2, 3, dilation=3), [(1, 1)], kind="site")
    assert plain(torch.rand(1, 2, 9, 9)).shape == (1, 2, 3, 3)
    assert "rate=(1, 1), padding=((-2, -2), (-2, -2))" in repr(plain)
    assert not any(True for _ in plain.buffers())
