"""Reshapes that cut an axis of space into blocks, or lay blocks along it, as einops writes them.

An axis cut into blocks is a coarser map, and the positions of a block are told apart as channels
are: each reads every r-th position from its own on. Laid out along the axis again, each fills the
positions it came from.
"""

from collections.abc import Callable, Sequence
from fractions import Fraction

import numpy as np

from dilsearch.geometry import Reads, Resample, Window
from dilsearch.tracing.calls import Call
from dilsearch.tracing.values import NOWHERE, Atom, Dims, Value, dealt
from dilsearch.tracing.walk import Walk

_MOST = 64
"""Positions of a block that are told apart; a block of more is rather a part of the image."""


def reshaped(walk: Walk, call: Call, x: Value, shape: Sequence[int]) -> Value | None:
    """A tensor in another shape; None if an axis of space is cut in another way.

    Args:
        walk: The pass.
        call: The operation, for names.
        x: The tensor.
        shape: Its new shape, of as many elements.
    """
    unite = walk.uniting(call)
    atoms = [atom for dims in x.dims for atom in dims]
    found = dealt(atoms, shape, cutting=True)
    if found is None or any(atoms[index].size // coarse > _MOST for index, coarse in found.cuts):
        return None
    if not found.cuts and not any(_blocks_along(dims) for dims in found.dims):
        return x.reshaped(shape, unite)
    y = x.reshaped([atom.size for atom in atoms], unite)
    assert y is not None  # every dimension is taken apart
    for index, coarse in reversed(found.cuts):
        y = _cut(walk, call, y, index, coarse)
    inner, laid = _taken_apart(found.dims, shape)
    y = y.reshaped(inner, unite)
    if y is None or any(y.places.shape[dim + 1] > _MOST for dim in laid):
        return None
    for dim in reversed(laid):
        y = _laid_out(walk, call, y, dim)
    return y


def _blocks_along(atoms: Sequence[Atom]) -> bool:
    """Whether a dimension is an axis of space with something dealt out along it."""
    return len(atoms) == 2 and atoms[0].axis is not None and atoms[1].axis is None


def _taken_apart(dims: Dims, shape: Sequence[int]) -> tuple[list[int], list[int]]:
    """The shape with such dimensions as two, and where these are."""
    inner: list[int] = []
    laid: list[int] = []
    for atoms, size in zip(dims, shape, strict=True):
        if _blocks_along(atoms):
            laid.append(len(inner))
            inner += [atom.size for atom in atoms]
        else:
            inner.append(size)
    return inner, laid


def _cut(walk: Walk, call: Call, x: Value, dim: int, coarse: int) -> Value:
    """An axis as blocks: a coarser axis, and behind it a dimension for the place in a block."""
    axis, length = x.dims[dim][0]
    assert axis is not None
    step = length // coarse

    def behind(offset: int) -> Callable[[int], int]:
        def one(place: int) -> int:
            node = Window(
                name=walk.builder.name(call.label),
                source=walk.builder.nodes[place].name,
                taps=(1,) * walk.axes,
                stride=walk.spread([axis], [step], 1),
                anchor=walk.spread([axis], [offset], 0),
                rates=((1,) * walk.axes,),
                site=False,
            )
            return walk.builder.add(node, _size(walk, place, axis, coarse))

        return one

    parts = [_each(walk, x, behind(offset)).places for offset in range(step)]
    shape = (*x.shape[:dim], coarse, step, *x.shape[dim + 1 :])
    inserted: Dims = (_labels(axis, coarse), _labels(None, step))
    dims = (*x.dims[:dim], *inserted, *x.dims[dim + 1 :])
    return Value(shape, dims, np.stack(parts, axis=dim + 1))


def _laid_out(walk: Walk, call: Call, x: Value, dim: int) -> Value:
    """An axis and the dimension behind it as one finer axis."""
    axis, length = x.dims[dim][0]
    assert axis is not None
    step = x.shape[dim + 1]
    alike = x.places.shape[dim + 1] == 1

    def behind(offset: int) -> Callable[[int], int]:
        own = tuple((0,) if phase == offset else () for phase in range(step))
        table = Reads.nearest(Fraction(1, step)) if alike else Reads(own, 1)

        def one(place: int) -> int:
            reads = [Reads.window(1)] * walk.axes
            reads[axis] = table
            source = walk.builder.nodes[place].name
            node = Resample(walk.builder.name(call.label), source, tuple(reads))
            return walk.builder.add(node, _size(walk, place, axis, length * step))

        return one

    parts = []
    for offset in range(x.places.shape[dim + 1]):
        index = (slice(None),) * (dim + 1) + (slice(offset, offset + 1),)
        part = Value(x.shape, x.dims, x.places[index])
        parts.append(_each(walk, part, behind(offset)).places)
    whole = Value(x.shape, x.dims, np.concatenate(parts, axis=dim + 1))
    united = whole.united([dim + 1], walk.uniting(call)).places
    shape = (*x.shape[:dim], length * step, *x.shape[dim + 2 :])
    dims = (*x.dims[:dim], _labels(axis, length * step), *x.dims[dim + 2 :])
    return Value(shape, dims, united.squeeze(dim + 1))


def _each(walk: Walk, x: Value, behind: Callable[[int], int]) -> Value:
    """The tensor with every place that has a field exchanged for the one behind it."""
    return x.replaced(
        {
            place: place if walk.only_context_at(place) else behind(place)
            for place in x.all_places
            if place != NOWHERE
        }
    )


def _size(walk: Walk, place: int, axis: int, length: int) -> tuple[int, ...]:
    size = list(walk.builder.sizes[walk.builder.nodes[place].name])
    size[axis] = length
    return tuple(size)


def _labels(axis: int | None, size: int) -> tuple[Atom, ...]:
    return () if size == 1 else (Atom(axis, size),)
