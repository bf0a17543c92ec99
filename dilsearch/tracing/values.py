"""What the tracer knows of a tensor: which dimensions lie in space, and what each channel sees.

Layouts change (channels last, flattened maps, channel shuffles), so that every dimension carries
labels. Where each channel stands in the field graph is an array with the tensor's own shape, but
1 along dimensions of space: what torch does to the channels, numpy does to it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

NOWHERE = -1
"""The place of a constant, which sees nothing of the input."""

Places: TypeAlias = NDArray[np.int64]
Uniting: TypeAlias = Callable[[Sequence[int]], int]
"""From several places to the one where they meet."""


class Atom(NamedTuple):
    """A factor of one dimension: a spatial axis (its index), or channels and the like (None)."""

    axis: int | None
    size: int


Dims: TypeAlias = tuple[tuple[Atom, ...], ...]
"""The atoms of each dimension, outermost first; none for a dimension of size 1."""


@dataclass(frozen=True, eq=False)
class Value:
    """A tensor of the traced program.

    Args:
        shape: Its shape.
        dims: What each dimension is made of.
        places: Node of the field graph for each element, 1 long where all are alike and along
            dimensions of space.
    """

    shape: tuple[int, ...]
    dims: Dims
    places: Places

    @classmethod
    def image(cls, shape: Sequence[int], place: int) -> Value:
        """An input: batch, channels, then one dimension for each spatial axis."""
        axes = len(shape) - 2
        labels = [None, None, *range(axes)]
        dims = tuple(_atoms(axis, size) for axis, size in zip(labels, shape, strict=True))
        return cls.at(place, shape, dims)

    @classmethod
    def at(cls, place: int, shape: Sequence[int], dims: Dims | None = None) -> Value:
        """A tensor that stands at one place; without ``dims``, none of it lies in space."""
        dims = dims or tuple(_atoms(None, size) for size in shape)
        return cls(tuple(shape), dims, np.full((1,) * len(shape), place))

    @property
    def all_places(self) -> tuple[int, ...]:
        """The places that occur, constants left out."""
        return tuple(int(place) for place in np.unique(self.places) if place != NOWHERE)

    def axis_of(self, dim: int) -> int | None:
        """The spatial axis that a dimension is, if it is one and nothing else."""
        atoms = self.dims[dim]
        return atoms[0].axis if len(atoms) == 1 else None

    def spatial(self, dim: int) -> bool:
        """Whether any of a dimension lies in space."""
        return any(atom.axis is not None for atom in self.dims[dim])

    def moved(self, place: int) -> Value:
        """The same tensor, all of it at one place."""
        return Value(self.shape, self.dims, np.full((1,) * len(self.shape), place))

    def replaced(self, behind: Mapping[int, int]) -> Value:
        """The same tensor, with other places in place of these."""
        exchanged = {NOWHERE: NOWHERE, **behind}
        places = np.vectorize(exchanged.__getitem__, otypes=[np.int64])(self.places)
        return Value(self.shape, self.dims, places)

    def written(self, source: Value, dim: int, index: slice) -> Value:
        """With another tensor over a regular part of a dimension that does not lie in space."""
        sizes = zip(self.places.shape, source.places.shape, strict=True)
        wide = [max(pair) for pair in sizes]
        wide[dim] = self.shape[dim]
        places = np.broadcast_to(self.places, wide).copy()
        places[(slice(None),) * dim + (index,)] = source.places
        dims = max((self, source), key=_labels).dims
        return _lean(Value(self.shape, (*dims[:dim], self.dims[dim], *dims[dim + 1 :]), places))

    def permuted(self, order: Sequence[int]) -> Value:
        """Its dimensions in another order."""
        return Value(
            tuple(self.shape[dim] for dim in order),
            tuple(self.dims[dim] for dim in order),
            self.places.transpose(order),
        )

    def reshaped(self, shape: Sequence[int], unite: Uniting) -> Value | None:
        """Its elements in another shape; None if that cuts through an axis of space."""
        deal = dealt([atom for atoms in self.dims for atom in atoms], shape)
        if deal is None:
            return None
        dims = deal.dims
        if self.places.size == 1:
            return Value(tuple(shape), dims, self.places.reshape((1,) * len(shape)))
        mixed = any(_mixed(atoms) for atoms in (*self.dims, *dims))
        if mixed:  # channels and space in one dimension: told apart no more
            return Value.at(unite(self.all_places), shape, dims)
        plain = [1 if self.spatial(dim) else size for dim, size in enumerate(self.shape)]
        target = [
            1 if any(atom.axis is not None for atom in atoms) else size
            for atoms, size in zip(dims, shape, strict=True)
        ]
        places = np.broadcast_to(self.places, plain).reshape(target)
        return _lean(Value(tuple(shape), dims, places))

    def sliced(self, dim: int, start: int, stop: int, step: int = 1) -> Value:
        """A regular part along a dimension that does not lie in space."""
        places = self.places
        if places.shape[dim] > 1:
            index = [slice(None)] * places.ndim
            index[dim] = slice(start, stop, step)
            places = places[tuple(index)]
        size = len(range(start, stop, step))
        return _lean(self._resized(dim, _atoms(None, size), size, places))

    def resized(self, dim: int, size: int) -> Value:
        """With another size along a dimension, whose elements all stand at one place."""
        axis = self.axis_of(dim)
        return self._resized(dim, _atoms(axis, size), size, self.places)

    def labelled(self, dim: int, axis: int) -> Value:
        """With a dimension that runs along an axis of space."""
        return self._resized(dim, _atoms(axis, self.shape[dim]), self.shape[dim], self.places)

    def without(self, dim: int) -> Value:
        """Without a dimension, along which all its elements stand at one place."""
        keep = [other for other in range(len(self.shape)) if other != dim]
        return Value(
            tuple(self.shape[other] for other in keep),
            tuple(self.dims[other] for other in keep),
            self.places.reshape([self.places.shape[other] for other in keep]),
        )

    def with_new(self, dim: int) -> Value:
        """With a new dimension of size 1."""
        return Value(
            (*self.shape[:dim], 1, *self.shape[dim:]),
            (*self.dims[:dim], (), *self.dims[dim:]),
            np.expand_dims(self.places, dim),
        )

    def united(self, dims: Sequence[int], unite: Uniting) -> Value:
        """All elements along some dimensions at the place where they meet."""
        places = self.places
        for dim in dims:
            if places.shape[dim] > 1:
                places = np.apply_along_axis(lambda line: [unite(line.tolist())], dim, places)
        return Value(self.shape, self.dims, places)

    def expanded(self, shape: Sequence[int]) -> Value:
        """Broadcast to a shape; new dimensions in front do not lie in space."""
        lead = len(shape) - len(self.shape)
        sizes = (*(1,) * lead, *self.shape)
        dims = tuple(
            atoms if size == old else _atoms(None, size)
            for atoms, old, size in zip((*((),) * lead, *self.dims), sizes, shape, strict=True)
        )
        return Value(tuple(shape), dims, self.places.reshape((1,) * lead + self.places.shape))

    def _resized(self, dim: int, atoms: tuple[Atom, ...], size: int, places: Places) -> Value:
        shape = (*self.shape[:dim], size, *self.shape[dim + 1 :])
        return Value(shape, (*self.dims[:dim], atoms, *self.dims[dim + 1 :]), places)


def met(values: Sequence[Value], shape: Sequence[int], unite: Uniting) -> Value | None:
    """Tensors combined element by element; None if they lie in space in different ways."""
    full = [value.expanded(shape) if value.shape != tuple(shape) else value for value in values]
    dims: list[tuple[Atom, ...]] = []
    for dim, size in enumerate(shape):
        labels = {value.dims[dim] for value in values_of_size(values, full, dim, size)}
        spatial = {atoms for atoms in labels if any(atom.axis is not None for atom in atoms)}
        if len(spatial) > 1:
            return None
        dims.append(next(iter(spatial), _atoms(None, size)))
    if all(value.places.size == 1 for value in full):
        place = unite([int(value.places.flat[0]) for value in full])
        return Value.at(place, shape, tuple(dims))
    stacked = np.stack(np.broadcast_arrays(*(value.places for value in full)))
    rows, inverse = np.unique(stacked.reshape(len(full), -1), axis=1, return_inverse=True)
    united = np.array([unite(row.tolist()) for row in rows.T])
    return _lean(Value(tuple(shape), tuple(dims), united[inverse].reshape(stacked.shape[1:])))


def values_of_size(
    values: Sequence[Value], full: Sequence[Value], dim: int, size: int
) -> list[Value]:
    """Those whose own size along a dimension of the result is the result's."""
    rank = len(full[0].shape)
    return [
        wide
        for value, wide in zip(values, full, strict=True)
        if (own := dim - (rank - len(value.shape))) >= 0 and value.shape[own] == size
    ]


def concatenated(values: Sequence[Value], dim: int) -> Value | None:
    """Tensors one behind the other along a dimension that does not lie in space."""
    if any(value.spatial(dim) for value in values):
        return None
    shape = list(values[0].shape)
    shape[dim] = sum(value.shape[dim] for value in values)
    dims = list(max(values, key=_labels).dims)
    dims[dim] = _atoms(None, shape[dim])
    wide = [max(sizes) for sizes in zip(*(value.places.shape for value in values), strict=True)]
    parts = []
    for value in values:
        target = list(wide)
        target[dim] = value.shape[dim]
        parts.append(np.broadcast_to(value.places, target))
    return _lean(Value(tuple(shape), tuple(dims), np.concatenate(parts, axis=dim)))


def laid_out_alike(values: Sequence[Value], dim: int) -> bool:
    """Whether tensors lie in space in the same way, along all dimensions but one."""
    labels: list[set[tuple[Atom, ...]]] = [set() for _ in values[0].shape]
    for value in values:
        for other, atoms in enumerate(value.dims):
            if other != dim and value.spatial(other):
                labels[other].add(atoms)
    return all(len(found) <= 1 for found in labels)


def _atoms(axis: int | None, size: int) -> tuple[Atom, ...]:
    return () if size == 1 else (Atom(axis, size),)


def _labels(value: Value) -> int:
    return sum(atom.axis is not None for atoms in value.dims for atom in atoms)


def _mixed(atoms: tuple[Atom, ...]) -> bool:
    return len({atom.axis is None for atom in atoms}) > 1


def _lean(value: Value) -> Value:
    """With places 1 long where all elements stand at one."""
    first = value.places.flat[0] if value.places.size else NOWHERE
    if value.places.size > 1 and (value.places == first).all():
        return value.moved(int(first))
    return value


class Deal(NamedTuple):
    """Atoms dealt to dimensions of other sizes: the dimensions, and the axes of space cut for it.

    A cut names the index of an atom and the size of its outer part; the inner part no longer runs
    along the axis.
    """

    dims: Dims
    cuts: list[tuple[int, int]]


def dealt(atoms: Sequence[Atom], shape: Sequence[int], *, cutting: bool = False) -> Deal | None:
    """The same atoms in the same order, in dimensions of other sizes; None if they do not fit."""
    rest = list(reversed(list(enumerate(atoms))))
    dims: list[tuple[Atom, ...]] = []
    cuts: list[tuple[int, int]] = []
    for size in shape:
        taken: list[Atom] = []
        while math.prod(atom.size for atom in taken) < size:
            if not rest:
                return None
            wanted = size // math.prod(atom.size for atom in taken)
            index, atom = rest.pop()
            if wanted % atom.size == 0:
                taken.append(atom)
            elif atom.size % wanted == 0 and (atom.axis is None or cutting):
                if atom.axis is not None:
                    cuts.append((index, wanted))
                taken.append(Atom(atom.axis, wanted))
                rest.append((index, Atom(None, atom.size // wanted)))
            else:
                return None
        dims.append(_merged(taken))
    return Deal(tuple(dims), cuts)


def _merged(atoms: Sequence[Atom]) -> tuple[Atom, ...]:
    """Neighbouring atoms that do not lie in space, as one."""
    merged: list[Atom] = []
    for atom in atoms:
        if merged and atom.axis is None and merged[-1].axis is None:
            merged[-1] = Atom(None, merged[-1].size * atom.size)
        else:
            merged.append(atom)
    return tuple(merged)
