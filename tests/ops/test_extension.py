"""Padding modes: which pixels are copied, how far a tap may reach, and the gradient back."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from dilsearch.errors import OpError
from dilsearch.ops.extension import Extension
from dilsearch.ops.rates import Rates
from dilsearch.ops.taps import Axis

SAME = Axis(5, 3, 1, (1, 1), 1, 1)


def rates(*rows: tuple[float, ...], at_limit: bool = False) -> Rates:
    return Rates(rows, tuple(tuple(at_limit for _ in row) for row in rows), per_channel=False)


def sources(axis: Axis, rate: float, mode: str, *, at_limit: bool = False) -> list[int]:
    (source,) = Extension.needed([axis], rates((rate,), at_limit=at_limit), mode).sources
    return source.tolist()


def test_zeros_need_no_pixels():
    found = Extension.needed([SAME], rates((9.5,)), "zeros")
    assert (found.axes, found.sources) == ((SAME,), (None,))
    x = torch.ones(1, 1, 5)
    assert found.apply(x) is x
    assert found.back(x) is x


@pytest.mark.parametrize(
    ("mode", "rate", "expected"),
    [
        # the taps reach ceil(rate) beyond either end; a whole rate needs the pixel after, too
        ("replicate", 1.5, [0, 0, 0, 1, 2, 3, 4, 4, 4]),
        ("replicate", 2.0, [0, 0, 0, 0, 1, 2, 3, 4, 4, 4, 4]),
        ("reflect", 1.5, [2, 1, 0, 1, 2, 3, 4, 3, 2]),
        ("circular", 1.5, [3, 4, 0, 1, 2, 3, 4, 0, 1]),
        ("reflect", 4.0, [4, 3, 2, 1, 0, 1, 2, 3, 4, 3, 2, 1, 0]),
        ("circular", 5.0, [*range(5)] * 3),
    ],
)
def test_each_pixel_of_the_longer_image_is_a_copy_of_one(mode, rate, expected):
    assert sources(SAME, rate, mode) == expected


def test_a_rate_at_its_limit_needs_no_pixel_after():
    assert sources(SAME, 2.0, "replicate", at_limit=True) == [0, 0, 0, 1, 2, 3, 4, 4, 4]


def test_an_image_that_is_long_enough_is_left_alone():
    valid = Axis(9, 3, 1, (0, 0), 2, 1)
    assert Extension.needed([valid], rates((1.5,)), "reflect").sources == (None,)


def test_every_end_is_as_long_as_its_own_taps_need():
    causal = Axis(5, 3, 1, (2, 0), 1, 2)
    assert sources(causal, 1.5, "replicate") == [0, 0, 0, 0, 0, 1, 2, 3, 4]
    even = Axis(5, 4, 1, (1, 2), 1, 1)
    assert sources(even, 1.5, "circular") == [3, 4, 0, 1, 2, 3, 4, 0, 1, 2, 3]


def test_the_furthest_of_several_rates_counts():
    (source,) = Extension.needed([SAME], rates((0.5,), (2.5,), (1.5,)), "reflect").sources
    assert source.tolist() == sources(SAME, 2.5, "reflect")


@pytest.mark.parametrize(("mode", "end"), [("reflect", 4.0), ("circular", 5.0)])
def test_a_rate_where_the_reach_ends_counts_as_at_its_limit(mode, end):
    some = rates((end,), (end - 1,), (end - 0.5,))
    found = Extension.needed([SAME], some, mode)
    assert found.rates.at_limit == ((True,), (False,), (False,))
    assert found.rates.values == some.values
    assert Extension.needed([SAME], some, "replicate").rates.at_limit == some.at_limit


@pytest.mark.parametrize(
    ("mode", "axes", "row", "text"),
    [
        (
            "reflect",
            [SAME],
            (4.25,),
            "fractional_conv1d: padding_mode 'reflect' adds at most 4 pixels at each end of a "
            "length of 5, but at rate 4.25 a tap reaches 5 beyond it. Lower the upper limit of the "
            "rate, use larger sequences, or pad with zeros.",
        ),
        (
            "circular",
            [Axis(9, 3, 1, (1, 1), 1, 1), Axis(5, 5, 1, (2, 2), 1, 2)],
            (3.0, 2.75),
            "fractional_conv2d: padding_mode 'circular' adds at most 5 pixels at each end of a "
            "width of 5, but at rate 2.75 a tap reaches 6 beyond it. Lower the upper limit of the "
            "rate, use larger images, or pad with zeros.",
        ),
        (
            "reflect",
            [SAME, SAME, SAME],
            (1.0, 1.0, 1000.0),
            "fractional_conv3d: padding_mode 'reflect' adds at most 4 pixels at each end of a "
            "width of 5, but at rate 1000 a tap reaches 1000 beyond it. Lower the upper limit of "
            "the rate, use larger volumes, or pad with zeros.",
        ),
    ],
)
def test_a_tap_that_reaches_too_far_is_refused(mode, axes, row, text):
    with pytest.raises(OpError) as caught:
        Extension.needed(axes, rates(row), mode)
    assert str(caught.value) == text
    Extension.needed(axes, rates(row), "replicate")  # the control


@pytest.mark.parametrize("rate", [math.nan, math.inf, -math.inf])
def test_rates_that_are_no_numbers_need_nothing(rate):
    both = Extension.needed([SAME], rates((rate,), (1.5,)), "reflect")
    assert both.sources[0].tolist() == sources(SAME, 1.5, "reflect")


@pytest.mark.parametrize("rate", [-0.5, -1.0, -2.5])
def test_a_negative_rate_reaches_to_the_other_side(rate):
    causal = Axis(5, 3, 1, (2, 0), 1, 2)
    found = sources(causal, rate, "replicate")
    assert found.count(4) - 1 >= math.ceil(-2 * rate)


@pytest.mark.parametrize("mode", ["reflect", "replicate", "circular"])
@settings(deadline=None, max_examples=20)
@given(st.integers(1, 3), st.floats(0.1, 3.9))
def test_the_longer_image_is_the_one_torch_pads(mode, count, rate):
    found = Extension.needed([SAME] * count, rates((rate,) * count), mode)
    x = torch.rand(2, 3, *[5] * count, generator=torch.Generator().manual_seed(0)).double()
    far = len(found.sources[0]) - 5
    assert far % 2 == 0
    longer = found.apply(x)
    assert torch.equal(longer, F.pad(x, (far // 2,) * 2 * count, mode=mode))
    assert longer.shape[2:] == tuple(axis.size_in for axis in found.axes)
    # and the gradient is that of copying
    grad = torch.rand(longer.shape, generator=torch.Generator().manual_seed(1)).double()
    back = found.back(grad)
    torch.testing.assert_close((longer * grad).sum(), (x * back).sum())
    assert back.shape == x.shape
    assert not torch.allclose((longer * grad).sum(), (x * back.roll(1, -1)).sum())
