"""Every argument that cannot be is refused in a sentence that says what, why and what to do."""

from typing import Any

import numpy as np
import pytest
import torch

from dilsearch.errors import DilsearchError, OpError
from dilsearch.ops import fractional_conv1d, fractional_conv2d, fractional_conv3d
from dilsearch.ops.arguments import (
    FORMS,
    check_padding_mode,
    check_rate,
    check_tensors,
    read_axes,
    read_upper,
)

FUNCTIONS = {1: fractional_conv1d, 2: fractional_conv2d, 3: fractional_conv3d}
SIZES = (5, 6, 7)


def call(count: int = 2, **changed: Any) -> torch.Tensor:
    """The function of so many axes on fitting arguments, some of them changed."""
    arguments: dict[str, Any] = {
        "x": torch.zeros(2, 4, *SIZES[:count]),
        "weight": torch.zeros(4, 2, *[3] * count),
        "bias": torch.zeros(4),
        "rate": torch.tensor([1.5, 2.5]),
        "padding": 1,
        "groups": 2,
    } | changed
    tensors = [arguments.pop(name) for name in ("x", "weight", "bias", "rate")]
    return FUNCTIONS[count](*tensors, **arguments)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_the_control_fitting_arguments_pass(count):
    assert call(count).shape == (2, 4, *SIZES[:count])


BRANCHES = (
    "rates ask for {0} equal branches of channels, which groups = 2 cannot be divided into, and "
    "are not one for each of the 4 input channels. Give one rate, a number of rates that divides "
    "groups, or one for each input channel."
)
EACH = "one whole number, or one for each axis, of at least"


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        (
            {"groups": 3},
            "groups = 3 does not divide the 4 output channels. Give a number of groups that does.",
        ),
        (
            {"groups": 0},
            "groups = 0 does not divide the 4 output channels. Give a number of groups that does.",
        ),
        (
            {"x": torch.zeros(2, 6, 5, 6)},
            "x has 6 channels, but weight (4, 2, 3, 3) with groups = 2 takes 4. Change either.",
        ),
        (
            {"x": torch.zeros(2, 4, 5, 6).double()},
            "weight is float32 but x is float64. Convert one of them, or run under autocast.",
        ),
        (
            {"bias": torch.zeros(4).double()},
            "bias is float64 but x is float32. Convert one of them, or run under autocast.",
        ),
        ({"rate": torch.ones(3)}, f"3 {BRANCHES.format(3)}"),
        ({"rate": torch.ones(0)}, f"0 {BRANCHES.format(0)}"),
        ({"rate": torch.ones(8, 2)}, f"8 {BRANCHES.format(8)}"),
        (
            {"rate": torch.ones(2, 3)},
            "rate has shape (2, 3), but the columns of a table of rates are the 2 spatial axes. "
            "Give (2, 2).",
        ),
        (
            {"rate": torch.ones(2, 1)},
            "rate has shape (2, 1), but the columns of a table of rates are the 2 spatial axes. "
            "Give (2, 2).",
        ),
        (
            {"rate": torch.ones(2), "upper": [1, 2, 3]},
            "upper has shape (3,) for rates of shape (2,). Give one number, or one for each rate.",
        ),
        (
            {"upper": torch.ones(1)},
            "upper has shape (1,) for rates of shape (2,). Give one number, or one for each rate.",
        ),
        (
            {"rate": torch.ones(2, 2), "upper": [1.0, 2.0]},
            "upper has shape (2,) for rates of shape (2, 2). Give one number, or one for each "
            "rate.",
        ),
        (
            {"upper": "much"},
            "upper is 'much', but limits are numbers. Give one number, or one for each rate.",
        ),
        (
            {"upper": [1.0, [2.0]]},
            "upper is [1.0, [2.0]], but limits are numbers. Give one number, or one for each rate.",
        ),
        (
            {"padding_mode": "mirror"},
            "padding_mode is 'mirror', but a convolution's are 'zeros', 'reflect', 'replicate', "
            "'circular'. Give one of these.",
        ),
        (
            {"padding": "full"},
            "padding is 'full', but the words it may be are 'same' and 'valid'. Give one of them "
            "or numbers of pixels.",
        ),
        (
            {"padding": "same", "stride": 2},
            "padding 'same' has no meaning with stride (2, 2). Give the padding in pixels.",
        ),
        (
            {"padding": -1},
            f"padding is -1, but it must be {EACH} 0. Correct it.",
        ),
        (
            {"stride": (1, 0)},
            f"stride is (1, 0), but it must be {EACH} 1. Correct it.",
        ),
        ({"stride": (1, 2, 3)}, f"stride is (1, 2, 3), but it must be {EACH} 1. Correct it."),
        ({"dilation": 1.5}, f"dilation is 1.5, but it must be {EACH} 1. Correct it."),
        (
            {"x": torch.zeros(2, 4, 2, 6), "padding": 0},
            "no output fits: a 3 x 3 kernel of dilation (1, 1) is larger than the 2 x 6 image "
            "padded by 0. Raise padding.",
        ),
    ],
    ids=lambda value: None if isinstance(value, str) else ", ".join(value),
)
def test_arguments_that_cannot_be_are_refused(changed, sentence):
    with pytest.raises(OpError) as caught:
        call(**changed)
    assert str(caught.value) == f"fractional_conv2d: {sentence}"


@pytest.mark.parametrize(
    ("count", "changed", "sentence"),
    [
        (1, {"stride": (1, 2)}, "stride is (1, 2), but it must be one whole number of at least 1."),
        (
            1,
            {"x": torch.zeros(2, 4, 2), "padding": 0, "dilation": 3},
            "no output fits: a 3 kernel of dilation (3,) is larger than the 2 sequence padded by "
            "0. Raise padding.",
        ),
        (3, {"stride": (1, 2)}, f"stride is (1, 2), but it must be {EACH} 1. Correct it."),
        (
            3,
            {"x": torch.zeros(2, 4, 4, 4, 1), "padding": (1, 1, 0)},
            "no output fits: a 3 x 3 x 3 kernel of dilation (1, 1, 1) is larger than the 4 x 4 x 1 "
            "volume padded by (1, 1, 0). Raise padding.",
        ),
        (
            3,
            {"rate": torch.ones(2, 2)},
            "rate has shape (2, 2), but the columns of a table of rates are the 3 spatial axes. "
            "Give (2, 3).",
        ),
    ],
)
def test_sequences_and_volumes_are_called_by_their_names(count, changed, sentence):
    with pytest.raises(OpError) as caught:
        call(count, **changed)
    assert str(caught.value).startswith(f"fractional_conv{count}d: {sentence}")


RATE = (
    ", but it must be a floating-point tensor of shape () for one rate, (branches,) or "
    "(in_channels,) for several, or with one more dimension, the axes. Convert it."
)


@pytest.mark.parametrize(
    ("rate", "what"),
    [
        (torch.ones(1, 2, 2), "a float32 tensor of shape (1, 2, 2)"),
        (torch.ones((), dtype=torch.int64), "a int64 tensor of shape ()"),
        (1.5, "1.5"),
        ([1.5, 2.5], "[1.5, 2.5]"),
    ],
)
def test_rates_that_are_none_are_refused(rate, what):
    # asked directly, because the shape checks of the test run come before the function's own
    with pytest.raises(OpError) as caught:
        check_rate(FORMS[2], rate, 2, 4, torch.device("cpu"))
    assert str(caught.value) == f"fractional_conv2d: rate is {what}{RATE}"


@pytest.mark.parametrize(
    ("shape", "groups", "channels"),
    [
        ((), 1, 1),
        ((1,), 3, 6),
        ((3,), 3, 6),
        ((3,), 6, 6),
        ((6,), 3, 6),
        ((1, 2), 3, 6),
        ((6, 2), 3, 6),
        ((3, 2), 3, 6),
    ],
)
def test_the_control_rates_for_site_branches_channels_and_axes_pass(shape, groups, channels):
    check_rate(FORMS[2], torch.ones(shape), groups, channels, torch.device("cpu"))


DIMENSIONS = {
    1: "a batch of sequences has 3 (batch, channels, length) and one sequence 2. Reshape it.",
    2: "a batch of images has 4 (batch, channels, height, width) and one image 3. Reshape it.",
    3: "a batch of volumes has 5 (batch, channels, depth, height, width) and one volume 4. "
    "Reshape it.",
}


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("excess", [0, 3])
def test_images_of_another_number_of_axes_are_refused(count, excess):
    x, weight = torch.zeros([4] * (count + excess)), torch.zeros(4, 4, *[3] * count)
    with pytest.raises(OpError) as caught:
        check_tensors(FORMS[count], x, weight, None, 1)
    assert str(caught.value) == (
        f"fractional_conv{count}d: x has {x.dim()} dimensions, but {DIMENSIONS[count]}"
    )
    for fitting in (torch.zeros([4] * (count + 1)), torch.zeros([4] * (count + 2))):
        check_tensors(FORMS[count], fitting, weight, None, 1)


@pytest.mark.parametrize(
    ("x", "weight", "bias", "sentence"),
    [
        (
            (2, 4, 5, 6),
            (4, 4, 3),
            None,
            "weight has 3 dimensions, but a 2-D convolution's has 4 (out_channels, in_channels / "
            "groups, height, width). Reshape it.",
        ),
        (
            (2, 4, 5, 6),
            (6, 4, 3, 3),
            (4,),
            "bias has shape (4,), but weight has 6 output channels. Give one bias for each.",
        ),
        (
            (2, 4, 5, 6),
            (6, 4, 3, 3),
            (6, 1),
            "bias has shape (6, 1), but weight has 6 output channels. Give one bias for each.",
        ),
    ],
)
def test_tensors_that_do_not_fit_together_are_refused(x, weight, bias, sentence):
    bias = None if bias is None else torch.zeros(bias)
    with pytest.raises(OpError) as caught:
        check_tensors(FORMS[2], torch.zeros(x), torch.zeros(weight), bias, 1)
    assert str(caught.value) == f"fractional_conv2d: {sentence}"


def test_whole_numbers_cannot_be_blended():
    whole, real = torch.ones(1, 1, 3, 3, dtype=torch.int64), torch.ones(1, 1, 3, 3)
    for x, weight, name in ((whole, real, "x"), (real, whole, "weight")):
        with pytest.raises(OpError) as caught:
            check_tensors(FORMS[2], x, weight, None, 1)
        assert str(caught.value) == (
            f"fractional_conv2d: {name} is int64, but blending pixels needs real numbers. "
            "Convert it to a floating-point type."
        )


def test_limits_come_in_the_type_of_the_rates_and_without_a_graph():
    rate = torch.ones(2, dtype=torch.float64)
    assert read_upper(FORMS[2], None, rate) is None
    for upper in (3, [3, 3], torch.tensor([3, 3]), torch.tensor(3.0, requires_grad=True)):
        limits = read_upper(FORMS[2], upper, rate)
        assert limits.dtype == torch.float64
        assert not limits.requires_grad
        assert (limits == 3).all()


@pytest.mark.parametrize("mode", ["zeros", "reflect", "replicate", "circular"])
def test_the_control_the_modes_of_a_convolution_pass(mode):
    check_padding_mode(FORMS[2], mode)


def test_axes_tell_the_grid_of_the_convolution_replaced():
    axes = read_axes(
        FORMS[2],
        torch.zeros(1, 1, 9, 8),
        torch.zeros(1, 1, 4, 3),
        stride=1,
        padding="same",
        dilation=(1, 2),
        causal=False,
    )
    assert [axis.padding for axis in axes] == [(1, 2), (2, 2)]  # the odd one behind, as torch does
    assert [axis.middle for axis in axes] == [1, 1]
    assert [axis.size_out for axis in axes] == [9, 8]
    (causal,) = read_axes(
        FORMS[1],
        torch.zeros(1, 1, 9),
        torch.zeros(1, 1, 4),
        stride=2,
        padding=3,
        dilation=1,
        causal=True,
    )
    assert (causal.middle, causal.reaches, causal.size_out) == (3, (3, 0), 6)


def test_the_error_is_one_of_the_users_mistakes():
    assert issubclass(OpError, DilsearchError)


def test_tensors_on_different_devices_are_refused():
    x, weight, rate = torch.ones(1, 2, 5, 5), torch.ones(2, 2, 3, 3), torch.tensor(1.5)
    text = r"fractional_conv2d: weight is on meta but x is on cpu\. Move one of them\."
    with pytest.raises(OpError, match=text):
        fractional_conv2d(x, weight.to("meta"), None, rate)
    with pytest.raises(OpError, match="rate is on meta but x is on cpu"):
        fractional_conv2d(x, weight, None, rate.to("meta"))


@pytest.mark.parametrize("settings", [{"stride": True}, {"groups": 2.0}, {"groups": True}])
def test_numbers_that_only_look_whole_are_refused(settings):
    with pytest.raises(OpError, match=r"Correct it|does not divide"):
        fractional_conv2d(
            torch.ones(1, 2, 5, 5), torch.ones(2, 2, 3, 3), None, torch.tensor(1.5), **settings
        )


def test_whole_numbers_of_other_libraries_are_taken():
    x, weight, rate = torch.ones(1, 2, 5, 5), torch.ones(2, 2, 3, 3), torch.tensor(1.5)
    ours = fractional_conv2d(x, weight, None, rate, padding=np.int64(1))
    assert torch.equal(ours, fractional_conv2d(x, weight, None, rate, padding=1))
