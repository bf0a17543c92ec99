"""The order of shifts and mix, and the weight as a matrix and back."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dilsearch.ops.route import Route
from dilsearch.ops.taps import Axis


def axis(taps: int, stride: int = 1, padding: int = 0) -> Axis:
    return Axis(9, taps, stride, (padding, padding), 1, (taps - 1) // 2)


@pytest.mark.parametrize(
    ("taps", "strides", "per_channel", "expected"),
    [
        ((3, 3), (1, 1), False, ((0,), 1, ())),
        ((3, 3), (2, 1), False, ((0,), 1, ())),
        ((3, 3), (1, 2), False, ((0, 1), None, ())),
        ((3, 3), (1, 1), True, ((0, 1), None, ())),
        ((1, 3), (1, 1), False, ((1,), None, (0,))),
        ((3, 1), (1, 1), False, ((0,), None, (1,))),
        ((1, 1), (1, 1), False, ((), None, (0, 1))),
        ((1, 1), (2, 1), False, ((0,), None, (1,))),
        ((3,), (1,), False, ((0,), None, ())),
        ((3, 3, 3), (1, 1, 1), False, ((0, 1), 2, ())),
        ((3, 1, 3), (1, 1, 1), False, ((0,), 2, (1,))),
        ((3, 3, 1), (1, 1, 1), False, ((0, 1), None, (2,))),
        ((1, 3, 3), (1, 1, 1), False, ((1,), 2, (0,))),
    ],
)
def test_the_last_axis_is_shifted_after_the_mix_where_that_is_the_same(
    taps, strides, per_channel, expected
):
    route = Route.of(list(map(axis, taps, strides)), per_channel=per_channel)
    assert (route.before, route.after, route.still) == expected


def test_a_padded_axis_of_one_tap_moves():
    assert Route.of([axis(1, padding=1), axis(3)], per_channel=False).before == (0,)


kernels = st.lists(st.integers(1, 3), min_size=1, max_size=3)


@settings(deadline=None)
@given(kernels, st.integers(1, 3), st.integers(1, 2), st.integers(1, 3), st.booleans())
def test_matrix_and_weight_are_an_exact_pair(taps, groups, out, width, per_channel):
    route = Route.of(list(map(axis, taps)), per_channel=per_channel)
    weight = torch.arange(float(groups * out * width * torch.tensor(taps).prod()))
    weight = weight.view(groups * out, width, *taps)
    matrix = route.as_matrix(weight, groups)
    assert torch.equal(route.as_weight(matrix, weight), weight)
    after = 1 if route.after is None else taps[route.after]
    assert matrix.shape == (groups, after * out, weight[0, 0].numel() // after, width)
    # the control: the order of taps counts
    if route.before and taps[route.before[0]] > 1:
        assert not torch.equal(route.as_weight(matrix.flip(2), weight), weight)


def test_taps_after_the_mix_stand_from_last_to_first():
    route = Route.of([axis(2), axis(3)], per_channel=False)
    weight = torch.arange(6.0).view(1, 1, 2, 3)  # one channel: rows are taps
    assert route.as_matrix(weight, 1)[0, :, :, 0].tolist() == [[2, 5], [1, 4], [0, 3]]


def test_taps_of_an_axis_shifted_later_stand_first():
    route = Route.of([axis(2), axis(3)], per_channel=True)
    weight = torch.arange(6.0).view(1, 1, 2, 3)
    assert route.as_matrix(weight, 1)[0, 0, :, 0].tolist() == [0, 3, 1, 4, 2, 5]


def test_the_weight_comes_back_in_the_type_and_shape_asked_for():
    route = Route.of([axis(3), axis(3)], per_channel=False)
    like = torch.zeros(4, 2, 3, 3, dtype=torch.bfloat16).to(memory_format=torch.channels_last)
    weight = route.as_weight(torch.randn(2, 6, 3, 2), like)
    assert (weight.dtype, weight.shape) == (like.dtype, like.shape)
    assert weight.is_contiguous()
