"""Every argument that cannot be is refused in a sentence that says what, why and what to do."""

import re
from typing import Any

import pytest
import torch

from dilsearch.errors import DilsearchError, OpError
from dilsearch.ops import fractional_conv2d
from dilsearch.ops.arguments import check_rate, check_tensors


def call(**changed: Any) -> torch.Tensor:
    """fractional_conv2d on fitting arguments, some of them changed."""
    arguments: dict[str, Any] = {
        "x": torch.zeros(2, 4, 5, 6),
        "weight": torch.zeros(4, 2, 3, 3),
        "bias": torch.zeros(4),
        "rate": torch.tensor([1.5, 2.5]),
        "padding": 1,
        "groups": 2,
    } | changed
    tensors = [arguments.pop(name) for name in ("x", "weight", "bias", "rate")]
    return fractional_conv2d(*tensors, **arguments)


def test_the_control_fitting_arguments_pass():
    assert call().shape == (2, 4, 5, 6)


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        (
            {"weight": torch.zeros(4, 2, 2, 3)},
            "the kernel is 2 x 3, but only odd sizes have a middle tap that stays in place.",
        ),
        ({"groups": 3}, "groups = 3 does not divide the 4 output channels."),
        ({"groups": 0}, "groups = 0 does not divide the 4 output channels."),
        (
            {"x": torch.zeros(2, 6, 5, 6)},
            "x has 6 channels, but weight (4, 2, 3, 3) with groups = 2 takes 4.",
        ),
        ({"x": torch.zeros(2, 4, 5, 6).double()}, "weight is float32 but x is float64."),
        ({"bias": torch.zeros(4).double()}, "bias is float64 but x is float32."),
        (
            {"rate": torch.ones(3)},
            "3 rates ask for 3 equal branches of channels, which groups = 2 cannot be divided",
        ),
        ({"rate": torch.ones(0)}, "0 rates ask for 0 equal branches"),
        ({"rate": torch.ones(2), "upper": [1, 2, 3]}, "upper has 3 values for 2 rates."),
        ({"upper": torch.ones(1)}, "upper has 1 values for 2 rates."),
        ({"padding_mode": "reflect"}, "padding_mode is 'reflect', but only 'zeros' is understood."),
        ({"padding": "full"}, "padding is 'full', but the words it may be are 'same' and 'valid'."),
        (
            {"padding": "same", "stride": 2},
            "padding 'same' has no meaning with stride (2, 2).",
        ),
        ({"padding": -1}, "padding is -1, but it must be one whole number of at least 0"),
        ({"stride": (1, 0)}, "stride is (1, 0), but it must be one whole number of at least 1"),
        ({"stride": (1, 2, 3)}, "stride is (1, 2, 3), but it must be one whole number"),
        ({"dilation": 1.5}, "dilation is 1.5, but it must be one whole number of at least 1"),
        (
            {"x": torch.zeros(2, 4, 2, 6), "padding": 0},
            "no output fits: a 3 x 3 kernel of dilation (1, 1) is larger than the 2 x 6 image",
        ),
    ],
)
def test_arguments_that_cannot_be_are_refused(changed, sentence):
    with pytest.raises(OpError, match="^fractional_conv2d: " + re.escape(sentence)):
        call(**changed)


@pytest.mark.parametrize(
    ("rate", "sentence"),
    [
        (torch.ones(1, 2), "rate is a float32 tensor of shape (1, 2), but it must be"),
        (torch.ones((), dtype=torch.int64), "rate is a int64 tensor of shape (), but it must be"),
        (1.5, "rate is 1.5, but it must be a floating-point tensor of shape () for one rate"),
    ],
)
def test_rates_that_are_none_are_refused(rate, sentence):
    # asked directly, because the shape checks of the test run come before fractional_conv2d's own
    with pytest.raises(OpError, match=re.escape(sentence)):
        check_rate(rate, None, 2)


@pytest.mark.parametrize(
    ("x", "weight", "bias", "sentence"),
    [
        ((4, 5), (4, 4, 3, 3), None, "x has 2 dimensions, but a batch of images has 4"),
        ((1, 1, 4, 5, 6), (4, 4, 3, 3), None, "x has 5 dimensions, but a batch of images has 4"),
        ((2, 4, 5, 6), (4, 4, 3), None, "weight has 3 dimensions, but a 2-D convolution's has 4"),
        ((2, 4, 5, 6), (6, 4, 3, 3), 4, "bias has shape (4,), but weight has 6 output channels."),
    ],
)
def test_tensors_that_do_not_fit_together_are_refused(x, weight, bias, sentence):
    bias = None if bias is None else torch.zeros(bias)
    with pytest.raises(OpError, match=re.escape(sentence)):
        check_tensors(torch.zeros(x), torch.zeros(weight), bias, 1)


def test_whole_numbers_cannot_be_blended():
    with pytest.raises(OpError, match="x is int64, but blending pixels needs real numbers"):
        check_tensors(torch.ones(1, 1, 3, 3, dtype=torch.int64), torch.ones(1, 1, 3, 3), None, 1)


def test_the_error_is_one_of_the_users_mistakes():
    assert issubclass(OpError, DilsearchError)
