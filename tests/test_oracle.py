"""The slow reference against figures worked out by hand, and against torch where torch can say."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from dilsearch.oracle import (
    fractional_conv1d_oracle,
    fractional_conv2d_oracle,
    fractional_conv3d_oracle,
    sample_linear,
)

IMAGE = torch.tensor([[(7 * m + 3 * n) % 11 for n in range(9)] for m in range(9)]).double()
WEIGHT = torch.arange(1.0, 10.0, dtype=torch.float64).reshape(1, 1, 3, 3)


def value_and_slope(rate: float, upper: float | None = None) -> tuple[float, float]:
    rates = torch.tensor(rate, dtype=torch.float64, requires_grad=True)
    y = fractional_conv2d_oracle(IMAGE[None, None], WEIGHT, None, rates, padding=1, upper=upper)
    (slope,) = torch.autograd.grad(y[0, 0, 4, 4], rates)
    return y[0, 0, 4, 4].item(), slope.item()


def place(near: int, far: int, share: float) -> tuple[Tensor, Tensor, Tensor]:
    """Two pixels of the only output of the only channel."""
    return torch.tensor([[near]]), torch.tensor([[far]]), torch.tensor([[share]])


def test_sampling_blends_the_four_corners():
    image = torch.tensor([[0.0, 1.0], [10.0, 20.0]])[None, None]
    middle = place(0, 1, 0.25)
    assert sample_linear(image, [middle, middle]).item() == pytest.approx(
        0.75 * 0.25 * 1 + 0.25 * 0.75 * 10 + 0.25 * 0.25 * 20
    )


def test_each_corner_outside_the_image_is_zero_by_itself():
    image = torch.tensor([[8.0]])[None, None]
    rows = place(0, 1, 0.25)
    assert sample_linear(image, [rows, rows]).item() == 8 * 0.75 * 0.75


@pytest.mark.parametrize(
    ("mode", "index", "expected"),
    [
        ("zeros", -1, 0),
        ("zeros", 4, 0),
        ("replicate", -3, 1),
        ("replicate", 9, 8),
        ("reflect", -2, 4),
        ("reflect", 5, 2),
        ("circular", -1, 8),
        ("circular", 5, 2),
    ],
)
def test_each_mode_says_what_a_pixel_outside_is(mode, index, expected):
    sequence = torch.tensor([[[1.0, 2, 4, 8]]])
    assert sample_linear(sequence, [place(index, 1, 0.0)], padding_mode=mode).item() == expected
    assert sample_linear(sequence, [place(1, 2, 0.0)], padding_mode=mode).item() == 2


def test_each_channel_is_sampled_at_its_own_place():
    sequence = torch.tensor([[[1.0, 2, 4, 8], [10, 20, 40, 80]]])
    near, share = torch.tensor([[0, 1], [2, 3]]), torch.tensor([[0.0], [0.5]])
    found = sample_linear(sequence, [(near, near + 1, share)])
    assert found.tolist() == [[[1, 2], [60, 40]]]


@pytest.mark.parametrize(
    ("rate", "expected"), [(1.5, (245.0, 45.0)), (2.25, (236.8125, -26.5)), (2.5, (237.75, 34.0))]
)
def test_value_and_slope_between_integers(rate, expected):
    # Learning Dilation Factors' definition with each tap's own fractions, worked out exactly
    assert value_and_slope(rate) == expected


@pytest.mark.parametrize(
    ("rate", "value", "right", "left"),
    [(1, 206.0, 111.0, -98.0), (2, 251.0, -87.0, -21.0), (3, 285.0, -87.0, 155.0)],
)
def test_slopes_at_integers(rate, value, right, left):
    assert value_and_slope(rate) == (value, right)
    assert value_and_slope(rate, upper=rate) == (value, left)
    assert value_and_slope(rate, upper=rate + 0.5) == (value, right)


@pytest.mark.parametrize("rate", [1, 2, 3, 12])
@pytest.mark.parametrize("kernel", [(3, 3), (5, 1), (1, 1)])
def test_at_integers_it_is_the_dilated_convolution(rate, kernel):
    torch.manual_seed(rate)
    x, weight = torch.randn(2, 4, 7, 8).double(), torch.randn(6, 2, *kernel).double()
    bias = torch.randn(6).double()
    plain = F.conv2d(
        x, weight, bias, padding=[rate * (k // 2) for k in kernel], dilation=rate, groups=2
    )
    rates = torch.tensor(float(rate)).double()
    padding = (kernel[0] // 2, kernel[1] // 2)
    ours = fractional_conv2d_oracle(x, weight, bias, rates, padding=padding, groups=2)
    torch.testing.assert_close(ours, plain)
    if kernel != (1, 1) and rate < 7:
        other = fractional_conv2d_oracle(x, weight, bias, rates - 0.5, padding=padding, groups=2)
        assert not torch.allclose(other, plain)


def test_autograd_through_it_is_right():
    torch.manual_seed(0)
    x, weight = torch.randn(1, 4, 4, 3).double(), torch.randn(2, 2, 3, 3).double()
    bias, rates = torch.randn(2).double(), torch.tensor([1.3, 2.6]).double()

    def run(*tensors: Tensor) -> Tensor:
        return fractional_conv2d_oracle(*tensors, padding=(1, 2), stride=(1, 2), groups=2)

    inputs = [tensor.requires_grad_() for tensor in (x, weight, bias, rates)]
    assert torch.autograd.gradcheck(run, inputs, fast_mode=True)


def test_each_branch_follows_its_own_rate_and_limit():
    torch.manual_seed(0)
    x, weight = torch.randn(1, 4, 6, 6).double(), torch.randn(4, 1, 3, 3).double()
    rates = torch.tensor([2.0, 3.0]).double().requires_grad_()
    both = fractional_conv2d_oracle(x, weight, None, rates, padding=1, groups=4, upper=[2, 9])
    for branch, part in enumerate(both.chunk(2, dim=1)):
        alone = fractional_conv2d_oracle(
            x.chunk(2, 1)[branch],
            weight.chunk(2)[branch],
            None,
            rates[branch],
            padding=1,
            groups=2,
            upper=[2, 9][branch],
        )
        assert torch.equal(part, alone)
        (whole,) = torch.autograd.grad(part.sum(), rates, retain_graph=True)
        (own,) = torch.autograd.grad(alone.sum(), rates)
        assert torch.equal(whole, own)


@pytest.mark.parametrize("rate", [float("nan"), float("inf")])
def test_a_rate_that_is_no_number_gives_none(rate):
    y = fractional_conv2d_oracle(IMAGE[None, None], WEIGHT, None, torch.tensor(rate), padding=1)
    assert y.isnan().all()


# ------------------------------------------------------------------------ other forms than images


def test_a_sequence_by_hand():
    x = torch.tensor([[[0.0, 10, 20, 40, 80]]]).double()
    weight = torch.tensor([[[1.0, 10, 100]]]).double()
    rate = torch.tensor(1.25).double()
    y = fractional_conv1d_oracle(x, weight, None, rate, padding=1)
    assert y[0, 0, 2].item() == 0.75 * 10 + 200 + 100 * (0.75 * 40 + 0.25 * 80)
    y = fractional_conv1d_oracle(x, weight, None, rate, padding=2, causal=True)
    assert y[0, 0, 4].item() == 100 * 80 + 10 * (0.75 * 40 + 0.25 * 20) + (0.5 * 20 + 0.5 * 10)


def test_a_volume_by_hand():
    grid = torch.arange(7.0).double()
    x = torch.einsum("l,m,n->lmn", grid, grid, grid)[None, None]
    weight = torch.zeros(1, 1, 3, 3, 3).double()
    weight[..., 0, 1, 2] = 1
    rate = torch.tensor([[1.5, 9.0, 0.25]]).double()
    y = fractional_conv3d_oracle(x, weight, None, rate, padding=1)
    assert y[0, 0, 3, 3, 3].item() == 1.5 * 3 * 3.25


@pytest.mark.parametrize("rate", [1, 2, 3])
@pytest.mark.parametrize("mode", ["reflect", "replicate", "circular"])
def test_at_integers_each_mode_is_the_padded_convolution(mode, rate):
    draw = torch.Generator().manual_seed(rate)
    x = torch.randn(2, 4, 5, 6, generator=draw, dtype=torch.float64)
    weight = torch.randn(6, 2, 3, 4, generator=draw, dtype=torch.float64)
    rates = torch.tensor(float(rate), dtype=torch.float64)
    found = [
        fractional_conv2d_oracle(x, weight, None, rates, padding="same", groups=2, padding_mode=m)
        for m in (mode, "zeros")
    ]
    edges = [rate * edge for edge in (1, 2, 1, 1)]
    if max(edges[:2]) < 6:
        plain = F.conv2d(F.pad(x, edges, mode=mode), weight, dilation=rate, groups=2)
        torch.testing.assert_close(found[0], plain)
        assert not torch.allclose(found[1], plain)


def test_channels_and_axes_have_rates_of_their_own():
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(1, 2, 9, 8, generator=draw, dtype=torch.float64)
    weight = torch.randn(3, 2, 3, 3, generator=draw, dtype=torch.float64)
    rates = torch.tensor([[1.0, 2.0], [3.0, 1.0]], dtype=torch.float64)
    ours = fractional_conv2d_oracle(x, weight, None, rates, padding=1)
    plain = sum(
        F.conv2d(x[:, c : c + 1], weight[:, c : c + 1], padding=r, dilation=r)
        for c, r in enumerate([(1, 2), (3, 1)])
    )
    torch.testing.assert_close(ours, plain)
    other = fractional_conv2d_oracle(x, weight, None, rates.flip(0), padding=1)
    assert not torch.allclose(other, plain)


@pytest.mark.parametrize(("mode", "end"), [("reflect", 4.0), ("circular", 5.0)])
def test_where_the_reach_of_a_mode_ends_the_slope_looks_back(mode, end):
    x = torch.tensor([[[3.0, 1, 4, 1, 5]]], dtype=torch.float64)
    weight = torch.tensor([[[1.0, 10, 100]]], dtype=torch.float64)

    def slope(rate: float, upper: float | None = None) -> Tensor:
        rates = torch.tensor(rate, dtype=torch.float64, requires_grad=True)
        y = fractional_conv1d_oracle(
            x, weight, None, rates, padding=1, padding_mode=mode, upper=upper
        )
        return torch.autograd.grad(y[0, 0, 0] + 2 * y[0, 0, 4], rates)[0]

    assert torch.equal(slope(end), slope(end, upper=end))
    torch.testing.assert_close(slope(end), slope(end - 0.5))
    assert not torch.isclose(slope(end - 1), slope(end - 1, upper=end - 1))  # the control
