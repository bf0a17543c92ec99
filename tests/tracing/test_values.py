"""Layouts and places against brute force: every element of a small tensor carries what it is.

Of each element of the real tensor a number tells its channel and its position. Whatever is done to
it by torch, the value must say the same of every element: the place of its channel, and along
which dimension it lies in space.
"""

from collections.abc import Sequence
from math import prod

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from dilsearch.tracing.values import (
    NOWHERE,
    Atom,
    Value,
    concatenated,
    laid_out_alike,
    met,
)

SHAPE = (1, 4, 2, 3)


class Meeting:
    """Places as sets of channels."""

    def __init__(self, channels: int) -> None:
        self.members = [frozenset([channel]) for channel in range(channels)]

    def __call__(self, places: Sequence[int]) -> int:
        distinct = {place for place in places if place != NOWHERE}
        if len(distinct) <= 1:
            return next(iter(distinct), NOWHERE)
        union = frozenset().union(*(self.members[place] for place in distinct))
        if union not in self.members:
            self.members.append(union)
        return self.members.index(union)


def image() -> tuple[Value, Tensor, Tensor]:
    """A value with a place for each channel; for each element the channel and the position."""
    value = Value.image(SHAPE, 0)
    value = Value(value.shape, value.dims, np.arange(4).reshape(1, 4, 1, 1))
    channel = torch.arange(4).reshape(1, 4, 1, 1).expand(SHAPE)
    return value, channel, torch.arange(6).reshape(1, 1, 2, 3).expand(SHAPE)


def agree(value: Value, channel: Tensor, position: Tensor, meeting: Meeting) -> bool:
    """Whether each element's channel is where the value says, and whether channels are apart."""
    assert value.shape == tuple(channel.shape)
    assert all(prod(a.size for a in d) == n for d, n in zip(value.dims, value.shape, strict=True))
    for dim in range(channel.ndim):
        moves = bool((position != position.narrow(dim, 0, 1)).any())
        assert value.spatial(dim) or not moves
    places = np.broadcast_to(value.places, value.shape).reshape(-1).tolist()
    seen = channel.reshape(-1).tolist()
    assert all(c in meeting.members[p] for c, p in zip(seen, places, strict=True))
    return all(meeting.members[p] == {c} for c, p in zip(seen, places, strict=True))


@st.composite
def shapes(draw: st.DrawFn, size: int) -> tuple[int, ...]:
    shape = []
    while size > 1 and len(shape) < 4:
        factor = draw(st.sampled_from([n for n in range(1, size + 1) if size % n == 0]))
        shape.append(factor)
        size //= factor
    return (*shape, size)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_chains_of_layouts(data: st.DataObject) -> None:
    value, channel, position = image()
    meeting = Meeting(4)
    apart = True
    for _ in range(data.draw(st.integers(1, 6))):
        rank = channel.ndim
        dim = data.draw(st.integers(0, rank - 1))
        step = data.draw(st.sampled_from("permute reshape slice cat expand sum".split()))
        if step == "permute":
            order = data.draw(st.permutations(range(rank)))
            value = value.permuted(order)
            channel, position = channel.permute(order), position.permute(order)
        elif step == "reshape":
            shape = data.draw(shapes(channel.numel()))
            reshaped = value.reshaped(shape, meeting)
            if reshaped is None:
                # only an axis of space can be in the way
                assert any(value.spatial(d) for d in range(rank))
                continue
            value = reshaped
            channel, position = channel.reshape(shape), position.reshape(shape)
        elif step == "slice":
            if value.spatial(dim):
                continue
            start = data.draw(st.integers(0, value.shape[dim] - 1))
            stop = data.draw(st.integers(start + 1, value.shape[dim]))
            stride = data.draw(st.integers(1, 2))
            value = value.sliced(dim, start, stop, stride)
            index = (slice(None),) * dim + (slice(start, stop, stride),)
            channel, position = channel[index], position[index]
        elif step == "cat":
            joined = concatenated([value, value], dim)
            assert (joined is None) == value.spatial(dim)
            if joined is None or channel.numel() > 200:
                continue
            value = joined
            channel, position = torch.cat([channel] * 2, dim), torch.cat([position] * 2, dim)
        elif step == "expand":
            sizes = [3 if n == 1 and d == dim else n for d, n in enumerate(channel.shape)]
            if channel.numel() > 200:
                continue
            value = value.expanded(sizes)
            channel, position = channel.expand(sizes), position.expand(sizes)
        elif not value.spatial(dim):
            # a sum holds all that it is made of: at least what is followed here, its first
            value = value.united([dim], meeting).resized(dim, 1)
            channel, position = channel.narrow(dim, 0, 1), position.narrow(dim, 0, 1)
            apart = False
        mixed = any(len({a.axis is None for a in atoms}) > 1 for atoms in value.dims)
        apart = apart and not mixed
        assert agree(value, channel, position, meeting) or not apart


def labelled(*axes: int | None, shape: tuple[int, ...]) -> Value:
    dims = tuple(() if n == 1 else (Atom(axis, n),) for axis, n in zip(axes, shape, strict=True))
    return Value.at(0, shape, dims)


def test_space_and_channels_in_one_dimension_meet() -> None:
    value, _, _ = image()
    meeting = Meeting(4)
    flat = value.reshaped((24,), meeting)
    assert flat is not None
    assert meeting.members[int(flat.places.flat[0])] == {0, 1, 2, 3}
    assert [atom.size for atom in flat.dims[0]] == [4, 2, 3]
    back = flat.reshaped(SHAPE, meeting)
    assert back is not None
    assert back.dims == value.dims


def test_an_axis_of_space_is_never_cut() -> None:
    value = labelled(None, None, 0, 1, shape=(1, 4, 2, 3))
    assert value.reshaped((1, 4, 3, 2), Meeting(1)) is None
    assert value.reshaped((2, 2, 2, 3), Meeting(1)) is not None
    flat = value.reshaped((4, 6), Meeting(1))
    assert flat is not None
    assert flat.axis_of(1) is None
    assert flat.spatial(1)


def test_channels_are_cut_and_merged() -> None:
    value, _, _ = image()
    cut = value.reshaped((1, 2, 2, 2, 3), Meeting(4))
    assert cut is not None
    shuffled = cut.permuted((0, 2, 1, 3, 4)).reshaped(SHAPE, Meeting(4))
    assert shuffled is not None
    assert shuffled.places.flatten().tolist() == [0, 2, 1, 3]
    assert shuffled.dims == value.dims


def test_tensors_that_lie_in_space_differently_do_not_meet() -> None:
    upright = labelled(None, None, 0, 1, shape=(1, 2, 3, 3))
    lying = upright.permuted((0, 1, 3, 2))
    assert met([upright, lying], (1, 2, 3, 3), Meeting(1)) is None
    assert not laid_out_alike([upright, lying], 1)
    assert laid_out_alike([upright, upright], 1)


def test_what_meets_is_broadcast() -> None:
    value, _, _ = image()
    meeting = Meeting(4)
    gate = value.sliced(1, 2, 3)
    result = met([value, gate], SHAPE, meeting)
    assert result is not None
    found = [meeting.members[place] for place in result.places.flatten()]
    assert found == [{0, 2}, {1, 2}, {2}, {3, 2}]
    scale = Value.at(NOWHERE, (4, 1, 1))
    same = met([scale, value], SHAPE, meeting)
    assert same is not None
    assert same.dims == value.dims
    assert same.places.flatten().tolist() == [0, 1, 2, 3]


def test_constants_stand_nowhere() -> None:
    constant = Value.at(NOWHERE, (1, 2, 2, 3))
    assert constant.all_places == ()
    value, _, _ = image()
    joined = concatenated([constant, value], 1)
    assert joined is not None
    assert joined.places.flatten().tolist() == [NOWHERE, NOWHERE, 0, 1, 2, 3]
    assert joined.axis_of(2) == 0
    assert joined.all_places == (0, 1, 2, 3)


def test_writing_takes_the_place_of_what_was_there() -> None:
    value, _, _ = image()
    part = labelled(None, None, 0, 1, shape=(1, 2, 2, 3)).moved(7)
    written = value.written(part, 1, slice(0, 4, 2))
    assert written.places.flatten().tolist() == [7, 1, 7, 3]
    over = Value.at(NOWHERE, SHAPE).written(part, 1, slice(1, 3))
    assert over.places.flatten().tolist() == [NOWHERE, 7, 7, NOWHERE]
    assert over.axis_of(3) == 1


def test_places_that_are_alike_are_kept_once() -> None:
    value, _, _ = image()
    assert value.sliced(1, 3, 4).places.size == 1
    assert value.united([1], Meeting(4)).places.size == 1
    assert value.replaced({0: 5, 1: 5, 2: 5, 3: 5}).all_places == (5,)
