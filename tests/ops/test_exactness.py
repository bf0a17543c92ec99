"""Values and slopes against figures by hand and finite differences: nothing of our own beside."""

import functools
import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from dilsearch.ops import fractional_conv1d, fractional_conv2d, fractional_conv3d

OURS = {1: fractional_conv1d, 2: fractional_conv2d, 3: fractional_conv3d}
IMAGE = torch.tensor([[(7 * m + 3 * n) % 11 for n in range(9)] for m in range(9)]).double()
WEIGHT = torch.arange(1.0, 10.0, dtype=torch.float64).reshape(1, 1, 3, 3)
SLOPED = torch.tensor([[m * m + 3.0 * n for n in range(21)] for m in range(21)]).double()


def seeded(seed: int, *shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


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
    weight = torch.zeros(1, 1, 3, 3, dtype=torch.float64)
    weight[0, 0, tap[0] + 1, tap[1] + 1] = 1
    value, slope = centre(SLOPED, weight, rate)
    assert value == pytest.approx(expected[0], abs=1e-9)
    assert slope == pytest.approx(expected[1], abs=1e-9)


def test_the_literal_equation_4_would_fail_these_checks():
    # It takes the fraction's slope as 1 for every tap and both axes from one fraction.
    near, t = 10 - 3, 0.7  # rate 2.3, tap (-1, -1): rows and columns 7 and 8, fraction 0.7
    corner = SLOPED[near : near + 2, near : near + 2]
    literal = (1 - t) * (corner[1, 0] - corner[0, 0]) + t * (corner[1, 1] - corner[0, 1])
    literal = literal + (1 - t) * (corner[0, 1] - corner[0, 0]) + t * (corner[1, 1] - corner[1, 0])
    weight = torch.zeros(1, 1, 3, 3, dtype=torch.float64)
    weight[0, 0, 0, 0] = 1
    assert literal.item() == pytest.approx(18)
    assert centre(SLOPED, weight, 2.3)[1] == pytest.approx(-18)


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


def test_a_sequence_by_hand():
    # x = 0 10 20 40 80; three taps of weight 1, 10, 100 around the middle at rate 1.25
    x = torch.tensor([[[0.0, 10, 20, 40, 80]]], dtype=torch.float64)
    weight = torch.tensor([[[1.0, 10, 100]]], dtype=torch.float64)
    rate = torch.tensor(1.25, dtype=torch.float64, requires_grad=True)
    y = fractional_conv1d(x, weight, None, rate, padding=1)
    assert y[0, 0, 2].item() == 7.5 + 200 + 5000
    assert torch.autograd.grad(y[0, 0, 2], rate)[0] == -10 + 100 * 40
    # causal: the last tap stays, the others reach 1.25 and 2.5 back
    y = fractional_conv1d(x, weight, None, rate, padding=2, causal=True)[..., :5]
    assert y[0, 0, 4].item() == 100 * 80 + 10 * (0.75 * 40 + 0.25 * 20) + (0.5 * 20 + 0.5 * 10)
    assert torch.autograd.grad(y[0, 0, 4], rate)[0] == 10 * -20 + 2 * -10


def test_a_causal_sequence_sees_nothing_of_the_future():
    weight, rate = seeded(1, 2, 2, 4), torch.tensor([1.3, 2.0], dtype=torch.float64)
    x, changed = seeded(2, 1, 2, 12), seeded(2, 1, 2, 12)
    changed[..., 7:] = seeded(3, 1, 2, 5)
    for causal in (True, False):
        before, after = (
            fractional_conv1d(values, weight, None, rate, padding=3, causal=causal)[..., :7]
            for values in (x, changed)
        )
        assert torch.equal(before, after) is causal


def test_a_volume_by_hand():
    # x[l, m, n] = l * m * n is trilinear, so that sampling it is exact anywhere inside
    grid = torch.arange(7.0, dtype=torch.float64)
    x = torch.einsum("l,m,n->lmn", grid, grid, grid)[None, None]
    weight = torch.zeros(1, 1, 3, 3, 3, dtype=torch.float64)
    weight[..., 0, 1, 2] = 1
    rate = torch.tensor([[1.5, 9.0, 0.25]], dtype=torch.float64, requires_grad=True)
    y = fractional_conv3d(x, weight, None, rate, padding=1)[0, 0, 3, 3, 3]
    assert y.item() == 1.5 * 3 * 3.25
    assert torch.autograd.grad(y, rate)[0].tolist() == [[-3 * 3.25, 0, 1.5 * 3]]


def test_five_taps_are_no_blend_of_the_neighbouring_integers():
    x, rates = seeded(0, 1, 1, 15, 15), [torch.tensor(r).double() for r in (1, 1.5, 2)]
    for taps, is_blend in ((3, True), (5, False)):
        weight = seeded(1, 1, 1, 1, taps)
        low, half, high = (
            fractional_conv2d(x, weight, None, rate, padding=(0, taps // 2)) for rate in rates
        )
        assert torch.allclose(half, (low + high) / 2) is is_blend


# -------------------------------------------------------------------------------- gradcheck


@pytest.mark.parametrize(
    ("kernel", "rates", "settings_"),
    [
        ((3, 3), 1.37, {}),
        ((3, 3), [2.3, 0.8], {}),
        ((1, 5), 0.8, {}),
        ((5, 3), [0.6, 1.3], {}),
        ((2, 4), [0.6, 1.3], {"padding": "same", "stride": 1}),
        ((3, 3), [0.6, 1.3, 2.4, 0.3], {}),
        ((3, 3), [[0.6, 1.3]], {"stride": 1}),
        ((3, 3), [[0.6, 1.3], [2.3, 0.8], [0.4, 0.6], [1.3, 1.3]], {}),
        ((3, 3), [-0.6, 0.3], {}),
        ((3, 3), [0.6, 1.3], {"padding": 1, "padding_mode": "reflect"}),
        ((3, 3), [0.6, 1.3], {"padding_mode": "replicate"}),
        ((3, 3), [0.6, 1.3, 1.8, 1.4], {"padding": 1, "padding_mode": "replicate"}),
        ((3, 3), [[0.6, 1.3]], {"padding": 1, "stride": 1, "padding_mode": "circular"}),
        ((3,), 1.37, {"padding": 2, "stride": 1}),
        ((4,), [0.6, 1.3], {"padding": 2, "causal": True}),
        ((3,), [0.6, 1.3, 2.4, 0.3], {"padding": 1, "padding_mode": "replicate"}),
        ((3,), [0.6, 1.3], {"padding": 1, "padding_mode": "reflect"}),
        ((3,), [0.6, 1.3], {"padding": 2, "padding_mode": "circular", "causal": True}),
        ((2, 3, 1), [0.6, 1.3], {"padding": 1, "stride": 1}),
        ((1, 3, 3), [0.6, 1.3, 1.4, 0.3], {"padding": 1, "stride": (1, 2, 1)}),
        ((3, 1, 3), [[0.6, 1.3, 1.4]], {"padding": 1, "stride": 1, "padding_mode": "circular"}),
    ],
    ids=str,
)
def test_gradients_pass_gradcheck_between_integers(kernel, rates, settings_):
    count = len(kernel)
    sizes = (4, 3, 3)[:count]
    inputs = [
        seeded(0, 1, 4, *sizes),
        seeded(1, 4, 2, *kernel),
        seeded(2, 4),
        torch.tensor(rates, dtype=torch.float64),
    ]
    plain = {"stride": (1, 2, 1)[:count], "padding": (2, 3, 1)[:count], "groups": 2}
    run = functools.partial(OURS[count], **plain | settings_)
    inputs = [tensor.requires_grad_() for tensor in inputs]
    assert torch.autograd.gradcheck(
        run, inputs, fast_mode=kernel != (3, 3) or isinstance(rates, list)
    )


def test_the_control_gradcheck_fails_at_an_integer():
    inputs = [seeded(0, 1, 1, 4, 3), seeded(1, 1, 1, 3, 3), None, torch.tensor(1.0).double()]
    run = functools.partial(fractional_conv2d, padding=1)
    inputs = [tensor if tensor is None else tensor.requires_grad_() for tensor in inputs]
    assert not torch.autograd.gradcheck(run, inputs, raise_exception=False)


# --------------------------------------------------------------------------- one-sided slopes


def one_sided(function: Any, at: float, step: float) -> float:
    """The exact derivative of a polynomial of up to the third degree, on the side of the step.

    Between its corners the output is such a polynomial in the rate, one degree for each axis.
    """
    values = [function(at + n * step).item() for n in range(4)]
    return (-11 * values[0] + 18 * values[1] - 9 * values[2] + 2 * values[3]) / (6 * step)


@settings(deadline=None, max_examples=25)
@given(
    st.integers(1, 3),
    st.lists(st.integers(0, 4), min_size=2, max_size=2),
    st.sampled_from([1, 2, 3, 4, 5]),
    st.sampled_from([0, 1, 2]),
    st.sampled_from(["zeros", "replicate"]),
    st.booleans(),
    st.booleans(),
)
def test_at_integers_the_slope_is_one_sided(
    count, rates, taps, padding, mode, per_channel, at_upper
):
    if at_upper or mode == "replicate":
        rates = [min(max(1, rate), 2) for rate in rates]
    kernel = (taps, 3, 2)[:count]
    groups = 1 if per_channel else 2
    x, bias = seeded(1, 1, 2, *(6, 5, 4)[:count]), seeded(2, 2)
    weight = seeded(3, 2, 2 // groups, *kernel)
    rate = torch.tensor(rates, dtype=torch.float64, requires_grad=True)
    run = functools.partial(
        OURS[count], x, weight, bias, padding=(taps // 2, 1, 1)[:count], groups=groups,
        stride=(1 + padding, 1, 1)[:count], padding_mode=mode,
    )  # fmt: skip
    upper = rate.detach().clone() if at_upper else None
    y = run(rate, upper=upper)
    cotangent = seeded(4, *y.shape)
    (slopes,) = torch.autograd.grad(y, rate, cotangent)
    for row in range(2):

        def moved(value: float, row: int = row) -> Tensor:
            values = rate.detach().clone()
            values[row] = value
            return (run(values) * cotangent).sum()

        expected = one_sided(moved, rates[row], -0.04 if at_upper else 0.04)
        assert slopes[row].item() == pytest.approx(expected, rel=1e-8, abs=1e-8)


def test_the_control_the_two_sides_differ():
    x, weight = seeded(1, 1, 2, 6, 5), seeded(3, 2, 2, 3, 3)

    def run(value: float) -> Tensor:
        return fractional_conv2d(
            x, weight, None, torch.tensor(value, dtype=torch.float64), padding=1
        ).sum()

    assert one_sided(run, 2.0, 0.04) != pytest.approx(one_sided(run, 2.0, -0.04), rel=0.1)


def slope_of(count: int, rate: float, mode: str, *, upper: float | None = None) -> Tensor:
    """Slope of a 3-tap convolution of 5 pixels on each axis, padded by 1."""
    x, weight = seeded(1, 1, 1, *[5] * count), seeded(2, 1, 1, *[3] * count)
    rates = torch.tensor(rate, dtype=torch.float64, requires_grad=True)
    y = OURS[count](x, weight, None, rates, padding=1, padding_mode=mode, upper=upper)
    return torch.autograd.grad(y, rates, seeded(3, *y.shape))[0]


@pytest.mark.parametrize(("mode", "end"), [("reflect", 4.0), ("circular", 5.0)])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_where_the_reach_of_a_mode_ends_the_slope_looks_back(count, mode, end):
    x, weight = seeded(1, 1, 1, *[5] * count), seeded(2, 1, 1, *[3] * count)

    def run(value: float) -> Tensor:
        y = OURS[count](
            x, weight, None, torch.tensor(value, dtype=torch.float64), padding=1, padding_mode=mode
        )
        return (y * seeded(3, *y.shape)).sum()

    assert slope_of(count, end, mode).item() == pytest.approx(one_sided(run, end, -0.04), rel=1e-8)
    assert torch.equal(slope_of(count, end, mode), slope_of(count, end, mode, upper=end))
    # the control: one pixel before the end it looks ahead, unless a limit says otherwise
    before = slope_of(count, end - 1, mode)
    assert before.item() == pytest.approx(one_sided(run, end - 1, 0.04), rel=1e-8)
    assert before.item() != pytest.approx(slope_of(count, end - 1, mode, upper=end - 1).item())
    # a mode without an end looks ahead everywhere
    free, held = (slope_of(count, end - 1, "replicate", upper=u) for u in (None, end - 1))
    assert free.item() != pytest.approx(held.item())


# ------------------------------------------------------------------------------ limits, rows


@pytest.mark.parametrize("upper", [2.0, [2.0, 5.0], torch.tensor([2.0, 5.0]), torch.tensor(2)])
def test_upper_limits_may_be_given_in_any_form(upper):
    x, weight = seeded(0, 1, 2, 6, 7), seeded(1, 2, 1, 3, 3)
    rates = torch.tensor([2.0, 2.0]).double().requires_grad_()

    def slopes(limit: object) -> Tensor:
        y = fractional_conv2d(x, weight, None, rates, padding=1, groups=2, upper=limit)
        return torch.autograd.grad(y, rates, seeded(2, *y.shape))[0]

    right, left, given_ = slopes(None), slopes([2.0, 2.0]), slopes(upper)
    assert (right != left).all()
    both = torch.as_tensor(upper).dim() == 0
    expected = left if both else torch.stack((left[0], right[1]))
    torch.testing.assert_close(given_, expected)


def test_each_axis_and_channel_has_its_own_limit():
    x, weight = seeded(0, 1, 4, 6, 7), seeded(1, 2, 2, 3, 3)
    rates = torch.full((4, 2), 2.0).double().requires_grad_()
    limits = torch.tensor([[2.0, 9], [9, 2], [9, 9], [2, 1]])

    def slopes(limit: object) -> Tensor:
        y = fractional_conv2d(x, weight, None, rates, padding=1, groups=2, upper=limit)
        return torch.autograd.grad(y, rates, seeded(2, *y.shape))[0]

    right, left = slopes(None), slopes(2.0)
    assert not torch.isclose(right, left).any()
    torch.testing.assert_close(slopes(limits), torch.where(limits <= 2, left, right))


def test_each_branch_is_a_convolution_of_its_own():
    x, weight = seeded(0, 2, 8, 6, 7), seeded(1, 12, 2, 3, 3)
    rates = torch.tensor([1.5, 2.25], dtype=torch.float64, requires_grad=True)
    both = fractional_conv2d(x, weight, None, rates, padding=1, groups=4)
    for branch, part in enumerate(both.chunk(2, dim=1)):
        alone = fractional_conv2d(
            x.chunk(2, 1)[branch], weight.chunk(2)[branch], None, rates[branch], padding=1, groups=2
        )
        torch.testing.assert_close(part, alone)
    (slopes,) = torch.autograd.grad(both[:, :6].sum(), rates)
    assert slopes[0] != 0
    assert slopes[1] == 0


def test_channels_are_summed_each_at_its_own_rate():
    x, weight = seeded(0, 1, 3, 6, 7), seeded(1, 2, 3, 3, 3)
    rates = torch.tensor([1.5, 0.25, 3.0], dtype=torch.float64)
    together = fractional_conv2d(x, weight, None, rates, padding=1)
    alone = [
        fractional_conv2d(x[:, c : c + 1], weight[:, c : c + 1], None, rates[c], padding=1)
        for c in range(3)
    ]
    torch.testing.assert_close(together, sum(alone))
    one = fractional_conv2d(x, weight, None, rates[0], padding=1)
    torch.testing.assert_close(
        one, fractional_conv2d(x, weight, None, rates[:1].repeat(3), padding=1)
    )
    assert not torch.allclose(one, together)


def test_one_rate_in_a_list_is_one_rate():
    x, weight = seeded(0, 1, 4, 6, 7), seeded(1, 2, 4, 3, 3)
    ways = (1.5, [1.5], [[1.5, 1.5]])
    first, *others = (
        fractional_conv2d(x, weight, None, torch.tensor(rate), padding=1) for rate in ways
    )
    assert all(torch.equal(first, other) for other in others)


def test_a_rate_that_stays_put_is_finite_everywhere():
    assert math.isfinite(slope_of(2, 0.0, "zeros").item())
