"""The slow reference against figures worked out by hand, and against torch where torch can say."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from dilsearch.oracle import fractional_conv2d_oracle, sample_bilinear

IMAGE = torch.tensor([[(7 * m + 3 * n) % 11 for n in range(9)] for m in range(9)]).double()
WEIGHT = torch.arange(1.0, 10.0, dtype=torch.float64).reshape(1, 1, 3, 3)


def value_and_slope(rate: float, upper: float | None = None) -> tuple[float, float]:
    rates = torch.tensor(rate, dtype=torch.float64, requires_grad=True)
    y = fractional_conv2d_oracle(IMAGE[None, None], WEIGHT, None, rates, padding=1, upper=upper)
    (slope,) = torch.autograd.grad(y[0, 0, 4, 4], rates)
    return y[0, 0, 4, 4].item(), slope.item()


def test_sampling_blends_the_four_corners():
    image = torch.tensor([[0.0, 1.0], [10.0, 20.0]])[None, None]
    middle = (torch.tensor([0]), torch.tensor([1]), torch.tensor([0.25]))
    assert sample_bilinear(image, middle, middle).item() == pytest.approx(
        0.75 * 0.25 * 1 + 0.25 * 0.75 * 10 + 0.25 * 0.25 * 20
    )


def test_each_corner_outside_the_image_is_zero_by_itself():
    image = torch.tensor([[8.0]])[None, None]
    rows = (torch.tensor([0]), torch.tensor([1]), torch.tensor([0.25]))
    assert sample_bilinear(image, rows, rows).item() == 8 * 0.75 * 0.75


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
