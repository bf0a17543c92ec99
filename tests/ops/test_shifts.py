"""One axis of shifts: its transpose is its adjoint, and its slope is the one of its sums."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dilsearch.ops.shifts import Shifts, groups_first
from dilsearch.ops.taps import Axis


def along(axis: Axis, dim: int, *rates: float) -> Shifts:
    taps = tuple(axis.taps_at(rate, leftward=False) for rate in rates)
    return Shifts(dim, taps, axis.size_in, axis.size_out, axis.stride)


def random(*shape: int) -> torch.Tensor:
    return torch.randn(shape, dtype=torch.float64)


axes = st.builds(
    Axis,
    size_in=st.integers(5, 9),
    taps=st.sampled_from([1, 3, 5]),
    stride=st.integers(1, 3),
    padding=st.integers(0, 4),
    dilation=st.just(1),
)


@settings(deadline=None, max_examples=40)
@given(axes, st.sampled_from([-2, -1]), st.lists(st.floats(0.1, 9), min_size=2, max_size=2))
def test_gathering_is_the_adjoint_of_spreading_backwards(axis, dim, rates):
    torch.manual_seed(0)
    shifts = along(axis, dim, *rates)
    sizes = {-2: (axis.size_in, 3), -1: (3, axis.size_in)}[dim]
    out_sizes = {-2: (axis.size_out, 3), -1: (3, axis.size_out)}[dim]
    copies, maps = random(2, axis.taps, 1, 2, *sizes), random(2, 1, 2, *out_sizes)
    sums, _ = shifts.gather(copies, with_slope=False)
    back = shifts.transposed.spread(maps, axis.taps)
    forwards = (groups_first(sums, 2) * maps).sum()
    torch.testing.assert_close(forwards, (copies * back).sum())
    # the control: pixels one place off are no adjoint
    assert axis.taps == 1 or not torch.allclose(forwards, (copies.roll(1, dim) * back).sum())


def test_the_slope_of_the_sums_is_their_difference_quotient():
    torch.manual_seed(0)
    axis = Axis(size_in=9, taps=5, stride=1, padding=2, dilation=1)
    copies = random(1, 5, 2, 1, 4, 9)
    low, slope = along(axis, -1, 1.6).gather(copies, with_slope=True)
    high, _ = along(axis, -1, 1.6 + 1e-6).gather(copies, with_slope=False)
    torch.testing.assert_close((high - low) / 1e-6, slope, rtol=1e-6, atol=1e-6)


def test_with_and_without_slope_the_sums_are_the_same():
    torch.manual_seed(0)
    axis = Axis(size_in=9, taps=3, stride=2, padding=1, dilation=1)
    copies = random(2, 3, 1, 2, 9, 4)
    shifts = along(axis, -2, 1.3, 2.6)
    with_slope, without = (shifts.gather(copies, with_slope=flag)[0] for flag in (True, False))
    torch.testing.assert_close(with_slope, without)


def test_a_branch_without_taps_is_nan_and_leaves_the_others_alone():
    axis = Axis(size_in=6, taps=3, stride=1, padding=1, dilation=1)
    shifts = Shifts(-1, (axis.taps_at(1.5, leftward=False), None), 6, 6)
    assert shifts.spread(torch.ones(2, 1, 1, 2, 6), 3).isnan().flatten(1).all(1).tolist() == [
        False,
        True,
    ]
    for images in shifts.gather(torch.ones(2, 3, 1, 1, 2, 6), with_slope=True):
        assert images[:, 0].isfinite().all()
        assert images[:, 1].isnan().all()
