"""Rates, images, layouts and number formats that nobody plans for."""

import copy
import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from dilsearch import oracle
from dilsearch.errors import OpError
from dilsearch.ops import fractional_conv1d, fractional_conv2d, fractional_conv3d

OURS = {1: fractional_conv1d, 2: fractional_conv2d, 3: fractional_conv3d}
PLAIN = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
SLOW = {
    1: oracle.fractional_conv1d_oracle,
    2: oracle.fractional_conv2d_oracle,
    3: oracle.fractional_conv3d_oracle,
}


def seeded(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def leaves(*tensors: Tensor) -> list[Tensor]:
    return [tensor.detach().clone().requires_grad_() for tensor in tensors]


# -------------------------------------------------------------------------------------- rates


@pytest.mark.parametrize("rate", [7.0, 7.5, 1000.0, 1e6 + 0.25, 3e38])
@pytest.mark.parametrize("needs_slope", [True, False])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_rates_beyond_the_image_leave_the_middle_tap(count, rate, needs_slope):
    x, weight = seeded(0, 2, 4, *(6, 7, 5)[:count]), seeded(1, 2, 4, *[3] * count)
    middle = weight[(slice(None), slice(None), *[slice(1, 2)] * count)]
    for rates in (rate, [rate] * 4):
        moving = torch.tensor(rates, requires_grad=needs_slope)
        y = OURS[count](x, weight, None, moving, padding=1)
        torch.testing.assert_close(y, PLAIN[count](x, middle))
        if needs_slope:
            assert (torch.autograd.grad(y.sum(), moving)[0] == 0).all()
    # the control: one pixel less than the image, and a corner still sees it
    near = OURS[count](x, weight, None, torch.tensor(4.0), padding=1)
    assert not torch.allclose(near, PLAIN[count](x, middle))


@pytest.mark.parametrize("rate", [12.5, 1e6, 3e38])
@pytest.mark.parametrize("count", [1, 2])
def test_rates_beyond_a_replicated_image_see_its_edge(count, rate):
    x, weight = seeded(0, 1, 2, *(6, 7)[:count]).double(), seeded(1, 1, 2, *[3] * count).double()
    rates = torch.tensor(rate, dtype=torch.float64, requires_grad=True)
    y = OURS[count](x, weight, None, rates, padding=1, padding_mode="replicate")
    edges = F.pad(x, (20,) * 2 * count, mode="replicate")
    torch.testing.assert_close(y, PLAIN[count](edges, weight, dilation=20))
    assert torch.autograd.grad(y.sum(), rates)[0].abs() < 1e-9


@pytest.mark.parametrize("rate", [0.0, 0.3, -0.4, -1.0, -2.25, -1e6])
@pytest.mark.parametrize("mode", ["zeros", "reflect", "replicate", "circular"])
def test_small_and_negative_rates_follow_the_definition(mode, rate):
    if rate == -1e6 and mode in ("reflect", "circular"):
        return
    x, weight = seeded(0, 1, 2, 6, 7).double(), seeded(1, 2, 2, 3, 2).double()
    tensors = leaves(x, weight, torch.tensor([rate, 0.3], dtype=torch.float64))
    results = []
    for function in (fractional_conv2d, oracle.fractional_conv2d_oracle):
        y = function(*tensors[:2], None, tensors[2], padding=1, padding_mode=mode)
        results.append([y, *torch.autograd.grad(y, tensors, seeded(2, *y.shape).double())])
    for ours, slow in zip(*results, strict=True):
        torch.testing.assert_close(ours, slow)


def test_a_negative_rate_turns_the_kernel_round():
    x, weight = seeded(0, 1, 2, 9), seeded(1, 2, 2, 3)
    forth = fractional_conv1d(x, weight.flip(-1), None, torch.tensor(1.7), padding=1)
    back = fractional_conv1d(x, weight, None, torch.tensor(-1.7), padding=1)
    torch.testing.assert_close(forth, back)


def results_at(rate: Tensor, **settings: Any) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Output and gradients of x, weight and rate: 2 groups of 2 channels and 2 outputs."""
    tensors = leaves(seeded(0, 1, 4, 5, 5), seeded(1, 4, 2, 3, 3), rate)
    plain = {"padding": 1, "groups": 2}
    y = fractional_conv2d(*tensors[:2], None, tensors[2], **plain | settings)
    return y, *torch.autograd.grad(y.sum(), tensors)


def nans(values: Tensor, dims: tuple[int, ...]) -> Tensor:
    """Where everything is NaN; where anything is must be the same."""
    kept = [dim for dim in range(values.dim()) if dim in dims]
    flat = values.movedim(kept, list(range(len(kept)))).flatten(len(kept)).isnan()
    assert torch.equal(flat.all(-1), flat.any(-1))
    return flat.all(-1)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize(
    "settings", [{}, {"upper": 9.0}, {"padding_mode": "reflect"}, {"padding_mode": "replicate"}]
)
def test_a_rate_of_the_site_that_is_no_number_makes_everything_nan(bad, settings):
    for result in results_at(torch.tensor(bad), **settings):
        assert result.isnan().all()
    for result in results_at(torch.tensor(1.5), **settings):  # the control
        assert result.isfinite().all()


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("other", [1.5, 2.0])
def test_a_rate_of_a_branch_that_is_no_number_makes_that_branch_nan(bad, other):
    y, grad_x, grad_weight, grad_rate = results_at(torch.tensor([other, bad]), upper=9.0)
    assert nans(y, (1,)).tolist() == [False, False, True, True]
    assert nans(grad_x, (1,)).tolist() == [False, False, True, True]
    assert nans(grad_weight, (0,)).tolist() == [False, False, True, True]
    assert grad_rate.isnan().tolist() == [False, True]
    with torch.no_grad():
        weight = seeded(1, 4, 2, 3, 3)
        y = fractional_conv2d(
            seeded(0, 1, 4, 5, 5), weight, None, torch.tensor([2.0, bad]), padding=1, groups=2
        )
    assert nans(y, (1,)).tolist() == [False, False, True, True]


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("mode", ["zeros", "reflect"])
def test_a_rate_of_a_channel_that_is_no_number_makes_nan_what_it_feeds(bad, mode):
    rates = torch.tensor([1.5, 2.0, bad, 0.5])
    y, grad_x, grad_weight, grad_rate = results_at(rates, padding_mode=mode)
    assert nans(y, (1,)).tolist() == [False, False, True, True]  # both outputs of its group
    assert nans(grad_x, (1,)).tolist() == [False, False, True, False]
    assert nans(grad_weight, (0, 1)).tolist() == [[False, False]] * 2 + [[True, False]] * 2
    assert grad_rate.isnan().tolist() == [False, False, True, False]
    # the other channels' gradients are those of a rate that is a number
    good = results_at(torch.tensor([1.5, 2.0, 3.0, 0.5]), padding_mode=mode)
    torch.testing.assert_close(grad_x[:, [0, 1, 3]], good[1][:, [0, 1, 3]])


def test_a_rate_of_one_axis_that_is_no_number_makes_its_row_nan():
    rates = torch.tensor([[1.5, 2.0], [math.nan, 1.0]])
    y, grad_x, _, grad_rate = results_at(rates)
    assert nans(y, (1,)).tolist() == nans(grad_x, (1,)).tolist() == [False, False, True, True]
    assert nans(grad_rate, (0,)).tolist() == [False, True]


# ------------------------------------------------------------------------------------- images


@pytest.mark.parametrize("rate", [2.0, 2.5, [1.0, 2.5, 1.5, 4.0]])
@pytest.mark.parametrize("mode", ["zeros", "reflect", "replicate", "circular"])
def test_an_empty_batch_passes_through(mode, rate):
    tensors = leaves(seeded(0, 0, 4, 6, 7), seeded(1, 2, 4, 3, 3), seeded(2, 2), torch.tensor(rate))
    y = fractional_conv2d(*tensors, padding=1, stride=2, padding_mode=mode)
    assert y.shape == (0, 2, 3, 4)
    gradients = torch.autograd.grad(y.sum(), tensors)
    assert [g.shape for g in gradients] == [tensor.shape for tensor in tensors]
    assert all((gradient == 0).all() for gradient in gradients)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_one_pixel_image_sees_its_pixel(count):
    x, weight = torch.full((1, 1, *[1] * count), 3.0), torch.full((1, 1, *[3] * count), 2.0)
    for rate, expected in ((2.5, 6.0), (0.5, 6.0 * 2**count)):
        y = OURS[count](x, weight, None, torch.tensor(rate), padding=1)
        assert y.item() == pytest.approx(expected)
    y = OURS[count](x, weight, None, torch.tensor(2.5), padding=1, padding_mode="replicate")
    assert y.item() == pytest.approx(6.0 * 3**count)


def test_a_one_pixel_image_has_nothing_to_reflect():
    x, weight = torch.ones(1, 1, 1, 1), torch.ones(1, 1, 3, 3)
    with pytest.raises(OpError, match="adds at most 0 pixels at each end of a height of 1, but"):
        fractional_conv2d(x, weight, None, torch.tensor(0.5), padding=1, padding_mode="reflect")


@pytest.mark.parametrize("count", [1, 2, 3])
def test_one_image_without_a_batch(count):
    x, weight, rate = seeded(0, 4, *(6, 7, 5)[:count]), seeded(1, 2, 4, *[3] * count), 1.5
    for value in (rate, 2.0):
        one = OURS[count](x, weight, None, torch.tensor(value), padding=1)
        many = OURS[count](x[None], weight, None, torch.tensor(value), padding=1)
        assert torch.equal(one, many[0])


@pytest.mark.parametrize(
    ("x", "weight"),
    [
        ((2, 4, 5, 6), (4, 4, 0, 3)),
        ((2, 4, 0, 6), (4, 4, 3, 3)),
        ((2, 4, 5, 6), (0, 4, 3, 3)),
    ],
    ids=["no taps", "no pixels", "no outputs"],
)
@pytest.mark.parametrize("rate", [1.0, 1.5])
def test_what_convolutions_refuse_for_its_emptiness_is_refused(x, weight, rate):
    with pytest.raises(RuntimeError):
        F.conv2d(torch.zeros(x), torch.zeros(weight), padding=2)
    with pytest.raises((OpError, RuntimeError)):
        fractional_conv2d(torch.zeros(x), torch.zeros(weight), None, torch.tensor(rate), padding=2)


# ------------------------------------------------------------------------------------- memory


@pytest.mark.parametrize("rates", [[1.5, 2.5], [1.5, 2.5, 0.5, 1.5]])
@pytest.mark.parametrize("mode", ["zeros", "replicate"])
def test_memory_layout_does_not_matter(mode, rates):
    x, weight = seeded(0, 2, 4, 6, 7).double(), seeded(1, 4, 2, 3, 3).double()
    rate = torch.tensor(rates).double().requires_grad_()

    def run(x: Tensor, weight: Tensor, cotangent: Tensor) -> list[Tensor]:
        tensors = [x.detach().requires_grad_(), weight.detach().requires_grad_(), rate]
        y = fractional_conv2d(
            tensors[0], tensors[1], None, rate, padding=1, groups=2, padding_mode=mode
        )
        return [y, *torch.autograd.grad(y, tensors, cotangent)]

    expected = run(x, weight, torch.ones(2, 4, 6, 7).double())
    transposed = x.transpose(2, 3).contiguous().transpose(2, 3)
    sliced = torch.stack((x, x), dim=-1).flatten(3)[..., ::2]
    expanded = torch.ones(1, 1, 1, 1).double().expand(2, 4, 6, 7)
    last = torch.ones(2, 4, 6, 7).double().to(memory_format=torch.channels_last)
    for other in (x.to(memory_format=torch.channels_last), transposed, sliced):
        for kernels in (
            weight.transpose(0, 1).contiguous().transpose(0, 1),
            weight.to(memory_format=torch.channels_last),
        ):
            for cotangent in (expanded, last):
                for a, b in zip(run(other, kernels, cotangent), expected, strict=True):
                    torch.testing.assert_close(a, b)


def test_one_image_many_times_over_is_read_and_never_written():
    x = seeded(0, 1, 4, 6, 7).expand(3, 4, 6, 7)
    weight, rate = seeded(1, 2, 4, 3, 3), torch.tensor(1.5, requires_grad=True)
    y = fractional_conv2d(x, weight, None, rate, padding=1)
    torch.testing.assert_close(y, fractional_conv2d(x.contiguous(), weight, None, rate, padding=1))


@pytest.mark.parametrize("rates", [[1.5, 2.5], [1.5, 2.5, 0.5, 1.5]])
@pytest.mark.parametrize("mode", ["zeros", "circular"])
def test_it_leaves_its_inputs_alone_and_repeats_itself(mode, rates):
    tensors = leaves(
        seeded(0, 1, 4, 6, 7), seeded(1, 4, 2, 3, 3), seeded(2, 4), torch.tensor(rates)
    )
    before, cotangent = copy.deepcopy(tensors), torch.ones(1, 4, 6, 7)
    y = fractional_conv2d(*tensors, padding=1, groups=2, padding_mode=mode)
    once, twice = (torch.autograd.grad(y, tensors, cotangent, retain_graph=True) for _ in range(2))
    again = fractional_conv2d(*tensors, padding=1, groups=2, padding_mode=mode)
    assert torch.equal(y, again)
    assert all(torch.equal(a, b) for a, b in zip(once, twice, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(tensors, before, strict=True))
    assert (cotangent == 1).all()


def test_outputs_and_gradients_share_no_memory_with_the_next_call():
    tensors = leaves(seeded(0, 1, 4, 6, 7), seeded(1, 4, 2, 3, 3), torch.tensor([1.5, 2.5]))

    def run(factor: float) -> list[Tensor]:
        x = (tensors[0] * factor).detach().requires_grad_()
        y = fractional_conv2d(x, tensors[1], None, tensors[2], padding=1, groups=2)
        return [y, *torch.autograd.grad(y.square().sum(), [x, *tensors[1:]])]

    first = run(1.0)
    kept = [result.detach().clone() for result in first]
    run(-3.0)
    assert all(torch.equal(a, b) for a, b in zip(first, kept, strict=True))


# --------------------------------------------------------------------------------- number formats


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_half_precision_is_accurate_to_its_own_rounding(count, per_channel, dtype):
    rates = torch.tensor([2.3, 4.6])
    if per_channel:
        rates = torch.linspace(0.3, 4.6, 16)
    sizes, kernel = (12, 12, 4)[:count], (3, 3, 2)[:count]
    tensors = leaves(
        seeded(0, 2, 16, *sizes).to(dtype),
        seeded(1, 16, 8, *kernel).to(dtype),
        seeded(2, 16).to(dtype),
        rates,
    )
    exact = leaves(*(tensor.double() for tensor in tensors))
    ours = OURS[count](*tensors, padding=1, groups=2)
    slow = SLOW[count](*exact, padding=1, groups=2)
    assert ours.dtype == dtype
    cotangent = seeded(3, *ours.shape).to(dtype)
    results = [ours, *torch.autograd.grad(ours, tensors, cotangent)]
    expected = [slow, *torch.autograd.grad(slow, exact, cotangent.double())]
    rounding = torch.finfo(dtype).eps
    for a, b in zip(results, expected, strict=True):
        error = (a.double() - b).square().mean().sqrt() / b.square().mean().sqrt()
        assert error < 2 * rounding
    assert [result.dtype for result in results[1:]] == [dtype] * 3 + [torch.float32]


@pytest.mark.parametrize("format_", [torch.float64, torch.float16])
def test_a_rate_in_another_format_than_the_weights(format_):
    x, weight = seeded(0, 1, 2, 6, 6), seeded(1, 2, 1, 3, 3)
    rates = torch.tensor([1.5, 2.5], dtype=format_, requires_grad=True)
    y = fractional_conv2d(x, weight, None, rates, padding=1, groups=2, upper=[3.0, 2.5])
    assert y.dtype == torch.float32
    assert torch.autograd.grad(y.sum(), rates)[0].dtype == format_


# ------------------------------------------------------------------------- without gradients


@pytest.mark.parametrize("without", [torch.inference_mode, torch.no_grad])
@pytest.mark.parametrize("rates", [1.75, [1.75, 2.75, 0.75, 1.25]])
def test_training_follows_a_call_without_gradients(without, rates):
    # the memory that one call leaves to the next must be of use to either
    tensors = leaves(seeded(0, 2, 4, 11, 9), seeded(1, 4, 2, 3, 3), torch.tensor(rates))

    def train() -> list[Tensor]:
        y = fractional_conv2d(*tensors[:2], None, tensors[2], padding=1, groups=2)
        return [y, *torch.autograd.grad(y.square().sum(), tensors)]

    expected = [result.detach().clone() for result in train()]
    with without():
        for size in (9, 40):  # the second time in memory of its own, as it is larger
            larger = seeded(2, 3, 4, size, size)
            y = fractional_conv2d(larger, tensors[1], None, tensors[2], padding=1, groups=2)
            assert not y.requires_grad
        y = fractional_conv2d(tensors[0], tensors[1], None, tensors[2], padding=1, groups=2)
    torch.testing.assert_close(y.clone(), expected[0])
    for after, before in zip(train(), expected, strict=True):
        torch.testing.assert_close(after, before)
