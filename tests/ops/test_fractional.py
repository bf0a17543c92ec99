"""Fractional convolution against plain, deformable and slow convolutions, and figures by hand."""

import copy
import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from dilsearch.ops import fractional_conv2d
from dilsearch.oracle import fractional_conv2d_oracle

IMAGE = torch.tensor([[(7 * m + 3 * n) % 11 for n in range(9)] for m in range(9)]).double()
WEIGHT = torch.arange(1.0, 10.0, dtype=torch.float64).reshape(1, 1, 3, 3)


# ---------------------------------------------------------------------------- figures by hand


def centre(
    image: Tensor, weight: Tensor, rate: float, upper: float | None = None
) -> tuple[float, float]:
    """Value at the image's centre and its slope in the rate."""
    rates = torch.tensor(rate, dtype=torch.float64, requires_grad=True)
    y = fractional_conv2d(image[None, None], weight, None, rates, padding=1, upper=upper)
    value = y[0, 0, image.shape[0] // 2, image.shape[1] // 2]
    (slope,) = torch.autograd.grad(value, rates)
    return value.item(), slope.item()


@pytest.mark.parametrize(
    ("tap", "rate", "expected"),
    [
        ((1, -1), 2.5, (179.0, 22.0)),
        ((-1, 1), 2.5, (94.0, -12.0)),
        ((1, 1), 2.3, (188.4, 28.0)),
        ((-1, -1), 2.3, (82.6, -18.0)),
        ((0, 1), 2.3, (136.9, 3.0)),
    ],
)
def test_one_tap_of_a_known_image(tap, rate, expected):
    # x[m, n] = m^2 + 3n around (10, 10), bilinear by hand. Learning Dilation Factors' Eq. 4, read
    # literally, lacks the tap's index and so has the sign of negative taps wrong (+18 for -18).
    image = torch.tensor([[m * m + 3.0 * n for n in range(21)] for m in range(21)]).double()
    weight = torch.zeros(1, 1, 3, 3, dtype=torch.float64)
    weight[0, 0, tap[0] + 1, tap[1] + 1] = 1
    value, slope = centre(image, weight, rate)
    assert value == pytest.approx(expected[0], abs=1e-9)
    assert slope == pytest.approx(expected[1], abs=1e-9)


@pytest.mark.parametrize(
    ("rate", "expected"), [(1.5, (245.0, 45.0)), (2.25, (236.8125, -26.5)), (2.5, (237.75, 34.0))]
)
def test_value_and_slope_between_integers(rate, expected):
    assert centre(IMAGE, WEIGHT, rate) == expected


AT_INTEGERS = [
    # rate, value, slope towards larger rates, slope towards smaller ones, deform_conv2d's
    (1.0, 206.0, 111.0, -98.0, 1.0),
    (2.0, 251.0, -87.0, -21.0, -76.0),
    (3.0, 285.0, -87.0, 155.0, 78.0),
]


@pytest.mark.parametrize(("rate", "value", "right", "left", "_"), AT_INTEGERS)
def test_slopes_at_integers(rate, value, right, left, _):
    assert centre(IMAGE, WEIGHT, rate) == (value, right)
    assert centre(IMAGE, WEIGHT, rate, upper=rate) == (value, left)
    assert centre(IMAGE, WEIGHT, rate, upper=rate - 0.5) == (value, left)
    assert centre(IMAGE, WEIGHT, rate, upper=rate + 0.5) == (value, right)


@pytest.mark.parametrize(("rate", "value", "right", "left", "deform"), AT_INTEGERS)
def test_the_control_deformable_convolution_has_neither_slope(
    deformable, rate, value, right, left, deform
):
    rates = torch.tensor(rate, dtype=torch.float64, requires_grad=True)
    y = deformable(IMAGE[None, None], WEIGHT, None, rates, padding=1)[0, 0, 4, 4]
    (slope,) = torch.autograd.grad(y, rates)
    assert y.item() == pytest.approx(value)
    assert slope.item() == pytest.approx(deform)
    assert deform not in (right, left)


# --------------------------------------------------------------- drawn shapes, against others


@st.composite
def calls(draw: st.DrawFn, rates: st.SearchStrategy[float]) -> tuple[list[Tensor], dict[str, Any]]:
    """Tensors (x, weight, bias, rate) in float64 that want gradients, and settings."""
    branches = draw(st.sampled_from([0, 1, 2, 3]))  # 0: one rate for the whole site
    groups = max(branches, 1) * draw(st.integers(1, 2))
    kernel = draw(st.tuples(*[st.sampled_from([1, 3, 3, 5])] * 2))
    dilation = draw(st.tuples(*[st.integers(1, 2)] * 2))
    padding = draw(st.tuples(*[st.integers(0, 4)] * 2))
    sizes = [
        draw(st.integers(max(1, d * (k - 1) + 1 - 2 * p), 9))
        for k, d, p in zip(kernel, dilation, padding, strict=True)
    ]
    generator = torch.Generator().manual_seed(draw(st.integers(0, 9999)))

    def random(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_()

    per_group, out_per_group = draw(st.integers(1, 2)), draw(st.integers(1, 2))
    values = draw(st.lists(rates, min_size=max(branches, 1), max_size=max(branches, 1)))
    rate = torch.tensor(values if branches else values[0], dtype=torch.float64)
    tensors = [
        random(draw(st.integers(1, 2)), groups * per_group, *sizes),
        random(groups * out_per_group, per_group, *kernel),
        random(groups * out_per_group),
        rate.requires_grad_(),
    ]
    stride = draw(st.tuples(*[st.integers(1, 3)] * 2))
    return tensors, {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}


integers = st.integers(1, 5).map(float)
between = st.tuples(st.integers(0, 5), st.floats(0.05, 0.95)).map(sum)
# 2 * rate must be no integer either: there the outer taps of a 5-tap kernel have their corner
smooth = between.filter(lambda rate: abs(2 * rate - round(2 * rate)) > 0.02)
anything = st.one_of(integers, between, st.floats(0, 60), st.floats(-3, 0))


def assert_same_gradients(ours: Tensor, theirs: Tensor, tensors: list[Tensor]) -> None:
    cotangent = torch.randn_like(ours)
    mine = torch.autograd.grad(ours, tensors, cotangent)
    others = torch.autograd.grad(theirs, tensors, cotangent)
    for name, a, b in zip(("x", "weight", "bias", "rate"), mine, others, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-7, atol=1e-7, msg=lambda m, n=name: f"{n}: {m}")


@settings(deadline=None, max_examples=60)
@given(calls(anything), st.sampled_from([None, 2, 2.5, 4.0]))
def test_it_agrees_with_the_slow_reference_everywhere(call, upper):
    tensors, settings_ = call
    ours = fractional_conv2d(*tensors, **settings_, upper=upper)
    slow = fractional_conv2d_oracle(*tensors, **settings_, upper=upper)
    torch.testing.assert_close(ours, slow)
    assert_same_gradients(ours, slow, tensors)
    with torch.no_grad():
        torch.testing.assert_close(fractional_conv2d(*tensors, **settings_, upper=upper), slow)


@settings(deadline=None, max_examples=30)
@given(calls(smooth))
def test_it_agrees_with_deformable_convolution_between_integers(deformable, call):
    tensors, settings_ = call
    ours = fractional_conv2d(*tensors, **settings_)
    theirs = deformable(*tensors, **settings_)
    torch.testing.assert_close(ours, theirs)
    assert_same_gradients(ours, theirs, tensors)


def plain(tensors: list[Tensor], settings_: dict[str, Any]) -> Tensor:
    """Branch by branch F.conv2d at integer rates, the image padded by plenty and then cropped."""
    x, weight, bias, rate = tensors
    rates = [int(value) for value in rate.reshape(-1)]
    count, taps = len(rates), weight.shape[2:]
    groups = settings_["groups"] // count
    grid = F.conv2d(x, weight, None, **settings_).shape
    outputs = []
    for part, kernels, biases, r in zip(
        x.chunk(count, 1), weight.chunk(count), bias.chunk(count), rates, strict=True
    ):
        pads = [
            p + (k // 2) * (r - d)
            for p, k, d in zip(settings_["padding"], taps, settings_["dilation"], strict=True)
        ]
        padded = F.pad(part, (pads[1], pads[1], pads[0], pads[0]))
        outputs.append(F.conv2d(padded, kernels, biases, settings_["stride"], 0, r, groups))
    result = torch.cat(outputs, 1)
    assert result.shape == grid
    return result


@settings(deadline=None, max_examples=40)
@given(calls(integers))
def test_at_integer_rates_it_is_the_dilated_convolution(call):
    tensors, settings_ = call
    single = [tensor.detach().float() for tensor in tensors]
    expected = plain(single, settings_)
    scale = expected.abs().max().clamp(min=1)
    moving = [*single[:3], single[3].clone().requires_grad_()]
    for arguments in (single, moving):  # by the plain convolution, and by the fractional path
        ours = fractional_conv2d(*arguments, **settings_)
        assert ours.shape == expected.shape
        assert (ours - expected).abs().max() <= 1e-5 * scale


@pytest.mark.parametrize("rates", [2.0, [2.0, 2.0], [1.0, 3.0]])
def test_integer_rates_that_need_no_slope_are_left_to_the_plain_convolution(rates):
    torch.manual_seed(0)
    x, weight = torch.randn(2, 8, 9, 9), torch.randn(8, 4, 3, 3)
    rate = torch.tensor(rates, requires_grad=True)
    settings_ = {"stride": (1, 1), "padding": (1, 1), "dilation": (1, 1), "groups": 2}
    expected = plain([x, weight, torch.zeros(8), rate.detach()], settings_)
    with torch.no_grad():
        assert torch.equal(fractional_conv2d(x, weight, None, rate, **settings_), expected)
    moving = fractional_conv2d(x, weight, None, rate, **settings_)
    assert not torch.equal(moving, expected)  # the fractional path rounds in another order
    torch.testing.assert_close(moving, expected)


def test_the_control_a_rate_a_little_off_is_not_the_dilated_convolution():
    torch.manual_seed(0)
    tensors = [torch.randn(1, 2, 7, 7), torch.randn(2, 2, 3, 3), torch.zeros(2)]
    settings_ = {"stride": (1, 1), "padding": (1, 1), "dilation": (1, 1), "groups": 1}
    expected = plain([*tensors, torch.tensor(2.0)], settings_)
    ours = fractional_conv2d(*tensors, torch.tensor(2.001), **settings_)
    assert (ours - expected).abs().max() > 1e-5 * expected.abs().max()


@settings(deadline=None, max_examples=25)
@given(calls(integers), st.booleans())
def test_at_integers_the_slope_is_one_sided(call, at_upper):
    tensors, settings_ = call
    x, weight, bias, rate = tensors
    step = -1e-6 if at_upper else 1e-6
    upper = rate.detach() if at_upper else None
    cotangent = torch.randn_like(F.conv2d(x, weight, None, **settings_))

    def loss(value: Tensor) -> Tensor:
        y = fractional_conv2d(x, weight, bias, value, **settings_, upper=upper)
        return (y * cotangent).sum()

    (slope,) = torch.autograd.grad(loss(rate), rate)
    for branch in range(rate.numel()):
        moved = rate.detach().clone()
        moved.view(-1)[branch] += step
        quotient = (loss(moved) - loss(rate)) / step
        torch.testing.assert_close(slope.reshape(-1)[branch], quotient, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("kernel", "rates"), [((3, 3), 1.37), ((3, 3), [2.3, 0.8]), ((1, 5), 0.8), ((5, 3), [0.6, 1.3])]
)
def test_gradients_pass_gradcheck_between_integers(kernel, rates):
    torch.manual_seed(0)
    x, weight = torch.randn(1, 4, 4, 3).double(), torch.randn(4, 2, *kernel).double()
    bias, rate = torch.randn(4).double(), torch.tensor(rates).double()

    def run(*tensors: Tensor) -> Tensor:
        return fractional_conv2d(*tensors, stride=(1, 2), padding=(2, 3), groups=2)

    inputs = [tensor.requires_grad_() for tensor in (x, weight, bias, rate)]
    assert torch.autograd.gradcheck(run, inputs)


def test_the_literal_equation_4_would_fail_these_checks():
    # Learning Dilation Factors' Eq. 4 takes the fraction's slope as 1 for every tap and both axes
    # from one fraction. Forgetting the tap's index gives another number already for one tap.
    image = torch.tensor([[m * m + 3.0 * n for n in range(21)] for m in range(21)]).double()
    near, t = 10 - 3, 0.7  # rate 2.3, tap (-1, -1): rows and columns 7 and 8, fraction 0.7
    corner = image[near : near + 2, near : near + 2]
    literal = (1 - t) * (corner[1, 0] - corner[0, 0]) + t * (corner[1, 1] - corner[0, 1])
    literal = literal + (1 - t) * (corner[0, 1] - corner[0, 0]) + t * (corner[1, 1] - corner[1, 0])
    weight = torch.zeros(1, 1, 3, 3, dtype=torch.float64)
    weight[0, 0, 0, 0] = 1
    assert literal.item() == pytest.approx(18)
    assert centre(image, weight, 2.3)[1] == pytest.approx(-18)


def test_five_taps_are_no_blend_of_the_neighbouring_integers():
    torch.manual_seed(0)
    x, rates = torch.randn(1, 1, 15, 15).double(), [torch.tensor(r).double() for r in (1, 1.5, 2)]
    for taps, is_blend in ((3, True), (5, False)):
        weight = torch.randn(1, 1, 1, taps).double()
        low, half, high = (
            fractional_conv2d(x, weight, None, rate, padding=(0, taps // 2)) for rate in rates
        )
        assert torch.allclose(half, (low + high) / 2) is is_blend


# ------------------------------------------------------------------------- granularity, limits


def test_each_branch_is_a_convolution_of_its_own():
    torch.manual_seed(0)
    x, weight = torch.randn(2, 8, 6, 7), torch.randn(12, 2, 3, 3)
    rates = torch.tensor([1.5, 2.25], requires_grad=True)
    both = fractional_conv2d(x, weight, None, rates, padding=1, groups=4)
    for branch, part in enumerate(both.chunk(2, dim=1)):
        alone = fractional_conv2d(
            x.chunk(2, 1)[branch], weight.chunk(2)[branch], None, rates[branch], padding=1, groups=2
        )
        torch.testing.assert_close(part, alone)
    (slopes,) = torch.autograd.grad(both[:, :6].sum(), rates)
    assert slopes[0] != 0
    assert slopes[1] == 0


def test_one_rate_in_a_list_is_one_rate():
    torch.manual_seed(0)
    x, weight = torch.randn(1, 4, 6, 7), torch.randn(2, 4, 3, 3)
    site, branch = (
        fractional_conv2d(x, weight, None, torch.tensor(rate), padding=1) for rate in (1.5, [1.5])
    )
    assert torch.equal(site, branch)


@pytest.mark.parametrize("upper", [2.0, [2.0, 5.0], torch.tensor([2.0, 5.0]), torch.tensor(2)])
def test_upper_limits_may_be_given_in_any_form(upper):
    torch.manual_seed(0)
    x, weight = torch.randn(1, 2, 6, 7).double(), torch.randn(2, 1, 3, 3).double()
    rates = torch.tensor([2.0, 2.0]).double().requires_grad_()

    def slopes(limit: object) -> Tensor:
        y = fractional_conv2d(x, weight, None, rates, padding=1, groups=2, upper=limit)
        return torch.autograd.grad(y.sum(), rates)[0]

    right, left, given_ = slopes(None), slopes([2.0, 2.0]), slopes(upper)
    assert (right != left).all()
    second_is_limited = torch.as_tensor(upper).dim() == 0
    expected = left if second_is_limited else torch.stack((left[0], right[1]))
    assert torch.equal(given_, expected)


def test_depthwise_with_as_many_branches_as_channels():
    torch.manual_seed(0)
    tensors = [torch.randn(2, 4, 6, 6).double(), torch.randn(4, 1, 3, 3).double(), None]
    rates = torch.tensor([1.0, 1.3, 2.6, 4.0]).double()
    ours = fractional_conv2d(*tensors, rates, padding=1, groups=4)
    slow = fractional_conv2d_oracle(*tensors, rates, padding=1, groups=4)
    torch.testing.assert_close(ours, slow)


# ------------------------------------------------------------------------------- awkward inputs


@pytest.mark.parametrize("rates", [math.nan, math.inf, [1.5, math.nan], [2.0, math.nan]])
def test_rates_that_are_no_numbers_make_their_outputs_and_gradients_nan(rates):
    rate = torch.tensor(rates, requires_grad=True)
    bad = ~rate.detach().isfinite().reshape(-1)
    x, weight = torch.randn(1, 4, 5, 5, requires_grad=True), torch.randn(4, 2, 3, 3)
    weight.requires_grad_()
    y = fractional_conv2d(x, weight, None, rate, padding=1, groups=2, upper=9.0)
    gradients = torch.autograd.grad(y.sum(), (x, weight, rate))
    branches = len(bad)
    for whole, dim in ((y, 1), (gradients[0], 1), (gradients[1], 0)):
        parts = torch.stack(whole.chunk(branches, dim))
        assert torch.equal(parts.isnan().flatten(1).all(1), bad)
        assert torch.equal(parts.isnan().flatten(1).any(1), bad)
    assert torch.equal(gradients[2].isnan().reshape(-1), bad)
    with torch.no_grad():
        y = fractional_conv2d(x, weight, None, rate, padding=1, groups=2)
    assert torch.equal(torch.stack(y.chunk(branches, 1)).isnan().flatten(1).any(1), bad)


@pytest.mark.parametrize("rate", [7.0, 7.5, 1000.0, 1e6 + 0.25, 3e38])
@pytest.mark.parametrize("needs_slope", [True, False])
def test_rates_beyond_the_image_leave_the_middle_tap(rate, needs_slope):
    torch.manual_seed(0)
    x, weight = torch.randn(2, 4, 6, 7), torch.randn(2, 4, 3, 3)
    rates = torch.tensor(rate, requires_grad=needs_slope)
    y = fractional_conv2d(x, weight, None, rates, padding=1)
    torch.testing.assert_close(y, F.conv2d(x, weight[:, :, 1:2, 1:2]))
    if needs_slope:
        assert torch.autograd.grad(y.sum(), rates)[0] == 0


@pytest.mark.parametrize("rate", [2.0, 2.5])
def test_an_empty_batch_passes_through(rate):
    x = torch.randn(0, 4, 6, 7, requires_grad=True)
    weight, bias = torch.randn(2, 4, 3, 3, requires_grad=True), torch.randn(2, requires_grad=True)
    rates = torch.tensor(rate, requires_grad=True)
    y = fractional_conv2d(x, weight, bias, rates, padding=1, stride=2)
    assert y.shape == (0, 2, 3, 4)
    gradients = torch.autograd.grad(y.sum(), (x, weight, bias, rates))
    assert [g.shape for g in gradients] == [x.shape, weight.shape, bias.shape, ()]
    assert all((gradient == 0).all() for gradient in gradients)


def test_a_one_pixel_image_sees_its_pixel():
    x, weight = torch.full((1, 1, 1, 1), 3.0), torch.full((1, 1, 3, 3), 2.0)
    for rate, expected in ((2.5, 6.0), (0.5, 6.0 * (1 + 2 * 0.5 + 2 * 0.5 + 4 * 0.25))):
        y = fractional_conv2d(x, weight, None, torch.tensor(rate), padding=1)
        assert y.item() == pytest.approx(expected)


def test_one_image_without_a_batch():
    torch.manual_seed(0)
    x, weight, rate = torch.randn(4, 6, 7), torch.randn(2, 4, 3, 3), torch.tensor(1.5)
    one = fractional_conv2d(x, weight, None, rate, padding=1)
    assert torch.equal(one, fractional_conv2d(x[None], weight, None, rate, padding=1)[0])


def test_memory_layout_does_not_matter():
    torch.manual_seed(0)
    x, weight = torch.randn(2, 4, 6, 7).double(), torch.randn(4, 2, 3, 3).double()
    rate = torch.tensor([1.5, 2.5]).double().requires_grad_()

    def run(x: Tensor, weight: Tensor, cotangent: Tensor) -> list[Tensor]:
        leaves = [x.detach().requires_grad_(), weight.detach().requires_grad_(), rate]
        y = fractional_conv2d(leaves[0], leaves[1], None, rate, padding=1, groups=2)
        return [y, *torch.autograd.grad(y, leaves, cotangent)]

    expected = run(x, weight, torch.ones(2, 4, 6, 7).double())
    transposed = x.transpose(2, 3).contiguous().transpose(2, 3)
    sliced = torch.stack((x, x), dim=-1).flatten(3)[..., ::2]
    expanded = torch.ones(1, 1, 1, 1).double().expand(2, 4, 6, 7)
    for other in (x.to(memory_format=torch.channels_last), transposed, sliced):
        for a, b in zip(
            run(other, weight.transpose(0, 1).contiguous().transpose(0, 1), expanded),
            expected,
            strict=True,
        ):
            torch.testing.assert_close(a, b)


def test_the_words_same_and_valid():
    torch.manual_seed(0)
    x, weight, rate = torch.randn(1, 1, 8, 9), torch.randn(1, 1, 3, 5), torch.tensor(1.5)
    for word, pixels in (("same", (2, 4)), ("valid", 0)):
        by_word, by_number = (
            fractional_conv2d(x, weight, None, rate, padding=p, dilation=2) for p in (word, pixels)
        )
        assert torch.equal(by_word, by_number)
        assert by_word.shape == F.conv2d(x, weight, padding=word, dilation=2).shape


# ----------------------------------------------------------------------------- number formats


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_accurate_to_its_own_rounding(dtype):
    torch.manual_seed(0)
    x, weight = torch.randn(2, 16, 12, 12).to(dtype), torch.randn(16, 8, 3, 3).to(dtype)
    bias, rate = torch.randn(16).to(dtype), torch.tensor([2.3, 4.6])
    tensors = [tensor.requires_grad_() for tensor in (x, weight, bias, rate)]
    exact = [tensor.detach().double().requires_grad_() for tensor in tensors]
    ours = fractional_conv2d(*tensors, padding=1, groups=2)
    slow = fractional_conv2d_oracle(*exact, padding=1, groups=2)
    assert ours.dtype == dtype
    cotangent = torch.randn_like(ours)
    results = [ours, *torch.autograd.grad(ours, tensors, cotangent)]
    expected = [slow, *torch.autograd.grad(slow, exact, cotangent.double())]
    rounding = torch.finfo(dtype).eps
    for a, b in zip(results, expected, strict=True):
        error = (a.double() - b).square().mean().sqrt() / b.square().mean().sqrt()
        assert error < 2 * rounding
    assert [result.dtype for result in results[1:]] == [dtype] * 3 + [torch.float32]


@pytest.mark.parametrize("rate", [2.0, 2.5])
def test_under_autocast_it_acts_as_a_convolution_does(rate):
    torch.manual_seed(0)
    x, weight = torch.randn(1, 4, 6, 6), torch.randn(4, 4, 3, 3, requires_grad=True)
    bias, rates = torch.randn(4, requires_grad=True), torch.tensor(rate, requires_grad=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = fractional_conv2d(x, weight, bias, rates, padding=1)
        assert y.dtype == F.conv2d(x, weight, bias, padding=1).dtype == torch.bfloat16
        gradients = torch.autograd.grad(y.float().sum(), (weight, bias, rates))
    assert [gradient.dtype for gradient in gradients] == [torch.float32] * 3
    exact = fractional_conv2d(x, weight, bias, rates, padding=1)
    torch.testing.assert_close(y.float(), exact, rtol=0.03, atol=0.06)
    with torch.autocast(
        "cpu", dtype=torch.bfloat16
    ):  # doubles are left alone, as conv2d leaves them
        double = fractional_conv2d(x.double(), weight.double(), None, rates, padding=1)
    assert double.dtype == torch.float64


def test_a_rate_in_another_format_than_the_weights():
    x, weight = torch.randn(1, 2, 6, 6), torch.randn(2, 1, 3, 3)
    rates = torch.tensor([1.5, 2.5]).double().requires_grad_()
    y = fractional_conv2d(x, weight, None, rates, padding=1, groups=2)
    assert y.dtype == torch.float32
    assert torch.autograd.grad(y.sum(), rates)[0].dtype == torch.float64


# ------------------------------------------------------------------------- as a part of autograd


@pytest.mark.parametrize("wanted", ["x", "weight", "bias", "rate"])
def test_gradients_come_one_at_a_time_as_they_come_together(wanted):
    torch.manual_seed(0)
    values = {
        "x": torch.randn(1, 4, 6, 7).double(),
        "weight": torch.randn(4, 2, 3, 3).double(),
        "bias": torch.randn(4).double(),
        "rate": torch.tensor([1.5, 2.5]).double(),
    }

    def gradient(names: list[str]) -> Tensor:
        leaves = {n: v.clone().requires_grad_(n in names) for n, v in values.items()}
        y = fractional_conv2d(*leaves.values(), padding=1, groups=2)
        return torch.autograd.grad(y.square().sum(), leaves[wanted])[0]

    torch.testing.assert_close(gradient([wanted]), gradient(list(values)))


def test_differentiating_twice_is_refused_rather_than_wrong():
    x = torch.randn(1, 1, 5, 5, requires_grad=True)
    rate = torch.tensor(1.5, requires_grad=True)
    y = fractional_conv2d(x, torch.randn(1, 1, 3, 3), None, rate, padding=1)
    (slope,) = torch.autograd.grad(y.square().sum(), rate, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        slope.backward()


def test_it_leaves_its_inputs_alone_and_repeats_itself():
    torch.manual_seed(0)
    tensors = [torch.randn(1, 4, 6, 7), torch.randn(4, 2, 3, 3), torch.randn(4)]
    rate = torch.tensor([1.5, 2.5], requires_grad=True)
    before = copy.deepcopy(tensors)
    y = fractional_conv2d(*tensors, rate, padding=1, groups=2)
    once, twice = (torch.autograd.grad(y.sum(), rate, retain_graph=True)[0] for _ in range(2))
    assert torch.equal(once, twice)
    assert all(torch.equal(a, b) for a, b in zip(tensors, before, strict=True))


def test_only_input_weight_and_one_map_are_kept_for_the_gradients():
    x, weight = torch.randn(2, 8, 9, 9, requires_grad=True), torch.randn(8, 4, 3, 3)
    for rate, maps in (
        (torch.tensor(1.5), 1),
        (torch.tensor(1.5, requires_grad=True), 2),
    ):
        kept: list[Tensor] = []

        def keep(tensor: Tensor, kept: list[Tensor] = kept) -> Tensor:
            kept.append(tensor)
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            fractional_conv2d(x, weight, None, rate, padding=1, groups=2)
        assert sum(t.numel() for t in kept) == maps * x.numel() + weight.numel()


@pytest.mark.gpu
def test_on_a_gpu_it_agrees_with_itself_on_the_cpu():
    torch.manual_seed(0)
    tensors = [torch.randn(2, 8, 12, 13), torch.randn(8, 4, 3, 3), torch.randn(8)]
    tensors = [t.double().requires_grad_() for t in [*tensors, torch.tensor([1.5, 4.25])]]
    on_gpu = [t.detach().cuda().requires_grad_() for t in tensors]
    results = []
    for arguments in (tensors, on_gpu):
        y = fractional_conv2d(*arguments, padding=1, groups=2, upper=torch.tensor([8.0, 4.25]))
        gradients = torch.autograd.grad(y.square().sum(), arguments)
        results.append([value.cpu() for value in (y, *gradients)])
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b)
