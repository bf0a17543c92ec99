"""One axis of shifts: gathering and scattering are adjoints, and slopes those of the sums."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from dilsearch.ops.shifts import Gather, Spread, runs, scatter
from dilsearch.ops.taps import Axis, Tap, margins

ROOM = 1  # more zeros than needed do no harm


def random(seed: int, *shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def between_zeros(maps: Tensor, dim: int, room: tuple[int, int]) -> Tensor:
    shape = list(maps.shape)
    shape[dim] += sum(room)
    wide = maps.new_zeros(shape)
    wide.narrow(dim, room[0], maps.shape[dim]).copy_(maps)
    return wide


def spread_along(axis: Axis, taps: list[Tap], maps: Tensor, dim: int) -> Tensor:
    before, after = margins(taps, size=axis.size_in, targets=axis.size_out, stride=axis.stride)
    wide = between_zeros(maps, dim, (before + ROOM, after + ROOM))
    shape = [*maps.shape[:2], len(taps), *maps.shape[2:]]
    shape[dim] = axis.size_out
    copies = torch.full(shape, torch.nan, dtype=maps.dtype)
    write = Spread(wide, taps, copies, dim=dim, stride=axis.stride, start=before + ROOM)
    write()
    return copies


def scatter_along(axis: Axis, taps: list[Tap], copies: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    shape = [*copies.shape[:2], *copies.shape[3:]]
    shape[dim] = axis.size_in
    sums, slopes = copies.new_zeros(shape), copies.new_zeros(shape)
    half = axis.size_out // 2  # in two runs of targets
    for first, count in ((0, half), (half, axis.size_out - half)):
        part = copies.narrow(dim, first, count)
        scatter(part, taps, sums, slopes, dim=dim, stride=axis.stride, first=first)
    return sums, slopes


def gather_along(
    taps: list[Tap], copies: Tensor, targets: int, dim: int, *, with_slope: bool
) -> tuple[Tensor, Tensor | None]:
    before, after = margins(taps, size=copies.shape[dim], targets=targets)
    wide = between_zeros(copies, dim, (before + ROOM, after + ROOM))
    shape = [*copies.shape[:2], *copies.shape[3:]]
    shape[dim] = targets
    sums, slopes, *spare = (torch.full(shape, torch.nan, dtype=copies.dtype) for _ in range(4))
    write = Gather(wide, taps, spare.__getitem__, targets=targets, dim=dim, start=before + ROOM)
    write(sums, slopes if with_slope else None)
    return sums, slopes if with_slope else None


axes = st.builds(
    lambda size, taps, stride, padding, causal: Axis(
        size, taps, stride, padding, 1, taps - 1 if causal else (taps - 1) // 2
    ),
    st.integers(5, 9),
    st.integers(1, 5),
    st.integers(1, 3),
    st.tuples(st.integers(0, 4), st.integers(0, 4)),
    st.booleans(),
)
rates = st.one_of(st.floats(-3, 12), st.integers(0, 4).map(float))


def sizes(axis: Axis, dim: int) -> tuple[list[int], list[int]]:
    """Of inputs and outputs."""
    inputs, outputs = [3, 2], [3, 2]
    inputs[dim], outputs[dim] = axis.size_in, axis.size_out
    return inputs, outputs


def given_taps(axis: Axis, rate: float, kind: str) -> list[Tap]:
    """The taps; with fractions of its own for each of 2 groups or 3 channels, if asked for."""
    taps = list(axis.taps_at(rate, leftward=False))
    shape = {"groups": (2, 1, 1, 1), "channels": (1, 3, 1, 1)}.get(kind)
    if shape is None:
        return taps
    own = {reach: random(reach, *shape).abs() for reach in range(6)}
    return [tap if not tap.reach else replace(tap, fraction=own[tap.reach]) for tap in taps]


kinds = st.sampled_from(["one", "groups", "channels"])


@settings(deadline=None, max_examples=40)
@given(axes, st.sampled_from([-2, -1]), rates, kinds)
def test_scattering_is_the_adjoint_of_spreading(axis, dim, rate, kind):
    taps = given_taps(axis, rate, kind)
    inputs, outputs = sizes(axis, dim)
    maps, signals = random(1, 2, 2, 3, *inputs), random(2, 2, 2, len(taps), 3, *outputs)
    copies = spread_along(axis, taps, maps, dim)
    sums, _ = scatter_along(axis, taps, signals, dim)
    torch.testing.assert_close((copies * signals).sum(), (maps * sums).sum())


@settings(deadline=None, max_examples=40)
@given(axes.filter(lambda axis: axis.stride == 1), st.sampled_from([-2, -1]), rates, kinds)
def test_gathering_back_is_the_adjoint_of_spreading(axis, dim, rate, kind):
    taps = given_taps(axis, rate, kind)
    inputs, outputs = sizes(axis, dim)
    maps, signals = random(1, 2, 2, 3, *inputs), random(2, 2, 2, len(taps), 3, *outputs)
    copies = spread_along(axis, taps, maps, dim)
    back = [tap.mirrored for tap in taps]
    sums, _ = gather_along(back, signals, axis.size_in, dim, with_slope=False)
    torch.testing.assert_close((copies * signals).sum(), (maps * sums).sum())


def test_the_control_pixels_one_place_off_are_no_adjoint():
    axis = Axis(9, 3, 1, (1, 1), 1, 1)
    taps = given_taps(axis, 1.6, "one")
    maps, signals = random(1, 2, 2, 3, 9, 2), random(2, 2, 2, 3, 3, 9, 2)
    copies = spread_along(axis, taps, maps, -2)
    off = [replace(tap, inner=tap.inner + 1, outer=tap.outer + 1) for tap in taps]
    sums, _ = scatter_along(axis, off, signals, -2)
    assert not torch.allclose((copies * signals).sum(), (maps * sums).sum())


@settings(deadline=None, max_examples=40)
@given(axes.filter(lambda axis: axis.stride == 1), st.floats(0.05, 6), st.sampled_from([-2, -1]))
def test_gather_and_scatter_are_the_same_sums_and_slopes(axis, rate, dim):
    taps = given_taps(axis, rate, "one")
    _, outputs = sizes(axis, dim)
    signals = random(2, 2, 2, len(taps), 3, *outputs)
    scattered = scatter_along(axis, taps, signals, dim)
    back = [tap.mirrored for tap in taps]
    gathered = gather_along(back, signals, axis.size_in, dim, with_slope=True)
    for a, b in zip(scattered, gathered, strict=True):
        torch.testing.assert_close(a, b)
    alone, _ = gather_along(back, signals, axis.size_in, dim, with_slope=False)
    torch.testing.assert_close(alone, gathered[0])


@pytest.mark.parametrize("rate", [1.0, 1.6, 2.3])
@pytest.mark.parametrize("taps", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("stride", [1, 2])
def test_slopes_are_the_difference_quotients_of_the_sums(taps, rate, stride):
    axis = Axis(9, taps, stride, (taps // 2, taps // 2), 1, (taps - 1) // 2)
    signals = random(1, 1, 2, taps, 1, 3, axis.size_out)
    low, slope = scatter_along(axis, given_taps(axis, rate, "one"), signals, -1)
    # sums are linear in the rate up to the next corner, so that the step may be large
    high, _ = scatter_along(axis, given_taps(axis, rate + 0.05, "one"), signals, -1)
    torch.testing.assert_close((high - low) / 0.05, slope)
    assert taps == 1 or slope.abs().max() > 0.1
    if stride == 1:
        back = [tap.mirrored for tap in given_taps(axis, rate, "one")]
        _, gathered = gather_along(back, signals, axis.size_in, -1, with_slope=True)
        torch.testing.assert_close(gathered, slope)


def test_spreading_is_indexing_and_blending():
    axis = Axis(6, 3, 2, (1, 1), 1, 1)
    maps = torch.tensor([1.0, 2, 4, 8, 16, 32]).view(1, 1, 1, 1, 6)
    copies = spread_along(axis, given_taps(axis, 1.25, "one"), maps, -1)
    assert copies[0, 0, :, 0, 0].tolist() == [
        [0, 0.75 * 2 + 0.25 * 1, 0.75 * 8 + 0.25 * 4],
        [1, 4, 16],
        [0.75 * 2 + 0.25 * 4, 0.75 * 8 + 0.25 * 16, 0.75 * 32],
    ]


def test_the_same_shift_may_be_called_again_for_other_maps():
    taps = given_taps(Axis(6, 3, 1, (1, 1), 1, 1), 1.25, "one")
    wide, copies = torch.zeros(1, 1, 1, 12), torch.empty(1, 1, 3, 1, 6)
    again = Spread(wide, taps, copies, dim=-1, stride=1, start=3)
    sums, slopes, *spare = (torch.empty(1, 1, 1, 6) for _ in range(4))
    room = torch.zeros(1, 1, 3, 1, 12)
    sum_up = Gather(room, taps, spare.__getitem__, targets=6, dim=-1, start=3)
    for factor in (1.0, -2.0):
        wide[..., 3:9] = factor
        again()
        assert copies[0, 0, :, 0, 3].tolist() == [factor] * 3
        room[..., 3:9] = factor
        sum_up(sums, slopes)
        assert sums[0, 0, 0, 3].item() == 3 * factor
        assert slopes[0, 0, 0, 3].item() == 0


@pytest.mark.parametrize(
    ("taps", "rate", "expected"),
    [
        (3, 2.5, [(0, 3)]),
        (3, 2.0, [(0, 3)]),
        (5, 1.75, [(0, 1), (1, 4), (4, 5)]),
        (5, 1.0, [(0, 2), (2, 4), (4, 5)]),
        (4, 1.25, [(0, 3), (3, 4)]),
        (3, -1.5, [(0, 1), (1, 2), (2, 3)]),
        (1, 4.5, [(0, 1)]),
    ],
)
def test_runs_hold_taps_that_blend_alike_at_even_rising_distances(taps, rate, expected):
    axis = Axis(9, taps, 1, (taps // 2, taps // 2), 1, (taps - 1) // 2)
    found = runs(axis.taps_at(rate, leftward=False))
    assert [(run.start, run.stop) for run in found] == expected


def test_runs_tell_fractions_of_each_channel_apart_by_identity():
    one, other = torch.full((2,), 0.5), torch.full((2,), 0.5)
    taps = [Tap(0, -1, one, 1), Tap(2, 2, 0.0, 0), Tap(4, 5, one, 1)]
    assert runs(taps) == [slice(0, 3)]
    taps[2] = replace(taps[2], fraction=other)
    assert runs(taps) == [slice(0, 2), slice(2, 3)]
    taps[2] = replace(taps[2], fraction=0.5)
    assert runs(taps) == [slice(0, 2), slice(2, 3)]
