"""How rates are read, and how channels are sorted into parts that move together."""

import math

import pytest
import torch

from dilsearch.ops.rates import Part, Rates, deal, read_rates
from dilsearch.ops.taps import Axis

WIDE = Axis(20, 3, 1, (1, 1), 1, 1)
LONG = Axis(20, 5, 1, (2, 2), 1, 2)


def rates(*rows: tuple[float, ...], per_channel: bool = False, at_limit: bool = False) -> Rates:
    return Rates(rows, tuple(tuple(at_limit for _ in row) for row in rows), per_channel)


def listed(selection: slice | torch.Tensor) -> list[int]:
    if isinstance(selection, slice):
        return list(range(selection.start, selection.stop))
    return selection.tolist()


def dealt(some: Rates, *axes: Axis, groups: int, in_channels: int) -> list[Part]:
    return list(deal(some, axes, groups=groups, in_channels=in_channels))


# ------------------------------------------------------------------------------------ reading


def test_one_column_is_the_rate_of_every_axis():
    found = read_rates(torch.tensor([[1.5], [2.0]]), None, axes=3, groups=2)
    assert found.values == ((1.5,) * 3, (2.0,) * 3)
    assert found.at_limit == ((False,) * 3,) * 2
    both = read_rates(torch.tensor([[1.5, 2.0]]), None, axes=2, groups=2)
    assert both.values == ((1.5, 2.0),)


def test_a_rate_at_or_above_its_limit_is_at_its_limit():
    table = torch.tensor([[1.5, 2.0], [2.5, 1.0]])
    one = read_rates(table, torch.tensor(2.0), axes=2, groups=2)
    assert one.at_limit == ((False, True), (True, False))
    each = read_rates(table, torch.tensor([[1.5, 3], [math.inf, 1]]), axes=2, groups=2)
    assert each.at_limit == ((True, False), (False, True))
    column = read_rates(table[:, :1], torch.tensor([[1.5], [3.0]]), axes=2, groups=2)
    assert column.at_limit == ((True, True), (False, False))


@pytest.mark.parametrize(
    ("rows", "groups", "per_channel"), [(1, 1, False), (2, 4, False), (4, 2, True), (6, 4, True)]
)
def test_rows_that_do_not_divide_the_groups_are_channels(rows, groups, per_channel):
    assert read_rates(torch.ones(rows, 1), None, axes=2, groups=groups).per_channel is per_channel


@pytest.mark.parametrize(
    ("value", "plain"),
    [(1.0, True), (7.0, True), (1.5, False), (0.0, False), (-1.0, False), (math.inf, False),
     (math.nan, False)],
)  # fmt: skip
def test_plain_rates_are_whole_numbers_of_at_least_one(value, plain):
    assert rates((1.0, value)).are_plain is plain


# -------------------------------------------------------------------------------------- parts


def test_one_rate_makes_one_part_of_all():
    (part,) = dealt(rates((1.5,)), WIDE, groups=3, in_channels=6)
    assert (listed(part.groups), listed(part.channels)) == ([0, 1, 2], [0, 1])
    assert part.taps == (WIDE.taps_at(1.5, leftward=False),)
    assert (part.row, part.rows.tolist(), part.per_channel) == (0, [0, 0, 0], False)


def test_branches_that_read_the_same_pixels_are_one_part():
    first, second = dealt(rates((1.25,), (3.0,), (1.75,)), WIDE, groups=6, in_channels=12)
    assert isinstance(first.groups, torch.Tensor)  # no run of groups
    assert listed(first.groups) == [0, 1, 4, 5]
    assert first.rows.tolist() == [0, 0, 2, 2]
    assert first.row is None
    assert isinstance(first.taps[0][0].fraction, torch.Tensor)
    assert first.taps[0][0].fraction.tolist() == [0.25, 0.25, 0.75, 0.75]
    assert first.taps[0][0].fraction is first.taps[0][2].fraction  # they blend alike
    assert first.taps[0][1].fraction == 0  # the anchor blends nothing
    assert (listed(second.groups), second.row) == ([2, 3], 1)


def test_neighbours_that_read_the_same_pixels_are_a_run():
    first, second = dealt(rates((3.0,), (1.25,), (1.75,)), WIDE, groups=3, in_channels=3)
    assert (first.groups, second.groups) == (slice(0, 1), slice(1, 3))


def test_equal_rates_blend_by_one_number():
    (part,) = dealt(rates((1.25,), (1.25,)), WIDE, groups=2, in_channels=2)
    assert [tap.fraction for tap in part.taps[0]] == [0.25, 0.0, 0.25]
    assert part.row is None  # but each has a gradient of its own


def test_every_tap_has_to_read_the_same_pixels():
    # 1.25 and 1.75 floor alike, but their second taps at 2.5 and 3.5 do not
    assert len(dealt(rates((1.25,), (1.75,)), LONG, groups=2, in_channels=2)) == 2
    (part,) = dealt(rates((1.25,), (1.375,)), LONG, groups=2, in_channels=2)
    fractions = [tap.fraction for tap in part.taps[0]]
    assert fractions[0].tolist() == fractions[4].tolist() == [0.5, 0.75]
    assert fractions[1].tolist() == fractions[3].tolist() == [0.25, 0.375]


def test_every_axis_has_to_read_the_same_pixels():
    some = rates((1.25, 2.5), (1.75, 2.5), (1.25, 3.5))
    first, second = dealt(some, WIDE, WIDE, groups=3, in_channels=3)
    assert (listed(first.groups), listed(second.groups)) == ([0, 1], [2])
    assert isinstance(first.taps[0][0].fraction, torch.Tensor)
    assert first.taps[1][0].fraction == 0.5


def test_a_rate_at_its_limit_reads_the_pixels_before_it():
    some = Rates(((2.0,), (2.0,), (1.5,)), ((True,), (False,), (False,)), False)
    first, second = dealt(some, WIDE, groups=3, in_channels=3)
    assert listed(first.groups) == [0, 2]
    assert first.taps[0][2].fraction.tolist() == [1.0, 0.0, 0.5][::2]
    assert listed(second.groups) == [1]
    assert second.taps == (WIDE.taps_at(2.0, leftward=False),)


def test_channels_stay_within_their_group():
    values = [(1.25,), (3.0,), (1.75,), (1.25,), (1.5,), (1.25,)]
    parts = dealt(rates(*values, per_channel=True), WIDE, groups=2, in_channels=6)
    assert [(listed(p.groups), listed(p.channels), p.rows.tolist()) for p in parts] == [
        ([0], [0, 2], [0, 2]),
        ([0], [1], [1]),
        ([1], [0, 1, 2], [3, 4, 5]),
    ]
    assert isinstance(parts[0].channels, torch.Tensor)
    assert isinstance(parts[2].channels, slice)
    assert [part.row for part in parts] == [None, 1, None]
    assert all(part.per_channel for part in parts)


@pytest.mark.parametrize("per_channel", [False, True])
def test_rates_that_are_no_numbers_have_no_taps(per_channel):
    values = [(1.25,), (math.nan,), (1.75,), (math.inf,)]
    groups = 1 if per_channel else 4
    good, bad = dealt(rates(*values, per_channel=per_channel), WIDE, groups=groups, in_channels=4)
    assert good.taps is not None
    assert bad.taps is None
    chosen = bad.channels if per_channel else bad.groups
    assert listed(chosen) == bad.rows.tolist() == [1, 3]


@pytest.mark.parametrize("per_channel", [False, True])
def test_every_channel_is_in_exactly_one_part(per_channel):
    generator = torch.Generator().manual_seed(0)
    values = (torch.rand(12, 2, generator=generator) * 1.2).tolist()
    some = rates(*map(tuple, values), per_channel=per_channel)
    groups, width = (4, 3) if per_channel else (12, 2)
    parts = dealt(some, WIDE, LONG, groups=groups, in_channels=groups * width)
    assert 1 < len(parts) < 12
    found = [(g, c) for part in parts for g in listed(part.groups) for c in listed(part.channels)]
    assert sorted(found) == [(g, c) for g in range(groups) for c in range(width)]
    assert sorted(row for part in parts for row in part.rows.tolist()) == list(range(12))
