"""What every operation may ask of the pass over a program: places, sizes, modules."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import fx

from dilsearch.tracing.builder import GraphBuilder
from dilsearch.tracing.calls import Call
from dilsearch.tracing.shadow import Convolution
from dilsearch.tracing.values import NOWHERE, Atom, Dims, Uniting, Value

if TYPE_CHECKING:
    from dilsearch.tracing.branches import Progress


@dataclass
class Walk:
    """One pass over an exported program.

    Args:
        program: The program.
        convolutions: The model's convolutions by module path, where there is a model.
        axes: Number of spatial axes.
        builder: The graph so far.
        values: What is known of every tensor so far.
        progress: How far convolutions of several branches have been followed, by module path.
    """

    program: torch.export.ExportedProgram
    convolutions: Mapping[str, Convolution]
    axes: int
    builder: GraphBuilder = field(default_factory=GraphBuilder)
    values: dict[fx.Node, Value | list[Value]] = field(default_factory=dict)
    progress: dict[str, "Progress"] = field(default_factory=dict)

    def uniting(self, call: Call) -> Uniting:
        """How places meet at an operation."""
        return lambda places: self.builder.unite(places, call.label)

    def only_context_at(self, place: int) -> bool:
        """Whether a place sees only what is pooled globally."""
        return self.builder.only_context([place])

    def only_context(self, x: Value) -> bool:
        """Whether all of a tensor sees only what is pooled globally."""
        return self.builder.only_context(x.all_places)

    def axes_behind(self, x: Value, count: int) -> list[int] | None:
        """The spatial axes that the last dimensions are; None if they are anything else."""
        if len(x.shape) < count:
            return None
        labels = [x.axis_of(dim) for dim in range(len(x.shape) - count, len(x.shape))]
        if count == self.axes:  # an axis of size 1 has no label left
            fitting = all(
                label in (None, axis) and (label is not None or x.shape[axis - count] == 1)
                for axis, label in enumerate(labels)
            )
            if fitting:
                return list(range(count))
        if self.only_context(x):
            return list(range(min(count, self.axes)))
        known = [label for label in labels if label is not None]
        return known if len(known) == count == len(set(known)) else None

    def spread(self, order: Sequence[int], values: Sequence[int], default: int) -> tuple[int, ...]:
        """Values of some axes for all of them."""
        full = [default] * self.axes
        for axis, value in zip(order, values, strict=True):
            full[axis] = value
        return tuple(full)

    def map_size(
        self, call: Call, source: int, order: Sequence[int], dims: Sequence[int] | None = None
    ) -> tuple[int, ...]:
        """Positions per axis of the map that an operation gives."""
        node = self.builder.nodes[source]
        size = list(self.builder.sizes.get(node.name, (1,) * self.axes))
        behind = dims if dims is not None else range(-len(order), 0)
        for axis, dim in zip(order, behind, strict=True):
            size[axis] = call.shape[dim]
        return tuple(size)

    def alike(self, call: Call, x: Value) -> Value:
        """The same places in the operation's shape, which has the same dimensions."""
        return Value(call.shape, _relabelled(x.dims, call.shape), x.places)

    def mapped(self, call: Call, x: Value, order: Sequence[int], places: Sequence[int]) -> Value:
        """A map of channels and space, with the place of each channel, or one for all."""
        count, rank = len(order), len(call.shape)
        labels = [None] * (rank - count) + list(order)
        own = x.dims[: max(rank - count - 1, 0)]
        dims: Dims = tuple(
            () if size == 1 else (Atom(label, size),)
            for label, size in zip(labels, call.shape, strict=True)
        )
        dims = (*own, *dims[len(own) :]) if len(x.shape) == rank else dims
        if len(set(places)) == 1:
            return Value.at(places[0], call.shape, dims)
        shape = [1] * rank
        shape[rank - count - 1] = len(places)
        return Value(call.shape, dims, np.array(places).reshape(shape))

    def each_place(
        self,
        call: Call,
        x: Value,
        order: Sequence[int],
        behind: Callable[[int], int],
        dims: Sequence[int] | None = None,
    ) -> Value:
        """The tensor with every place exchanged for the one behind it."""
        places = x.replaced({place: behind(place) for place in x.all_places}).places
        if self.only_context(x):  # a kernel over pooled channels does not lie in space
            return Value(call.shape, Value.at(NOWHERE, call.shape).dims, places)
        labels: list[tuple[Atom, ...]] = list(_relabelled(x.dims, call.shape))
        for axis, dim in zip(order, dims or range(-len(order), 0), strict=True):
            size = call.shape[dim]
            labels[dim] = () if size == 1 else (Atom(axis, size),)
        return Value(call.shape, tuple(labels), places)

    def context(self, call: Call, cause: str = "") -> Value:
        """A tensor that sees all of its operands, wherever it is; named in the report."""
        places = [place for x in call.operands for place in x.all_places]
        if self.builder.only_context(places):
            place = self.builder.unite(places, call.label)
        else:
            place = self.builder.context(call.label, places, cause or call.cause)
        return Value.at(place, call.shape)

    def unfollowed(self, call: Call) -> Value:
        """A tensor that cannot be followed: its operands united, and named in the report."""
        operands = call.operands
        places = [place for x in operands for place in x.all_places]
        if self.builder.only_context(places):
            return Value.at(self.builder.unite(places, call.label), call.shape)
        size = self._size_behind(call)
        place = self.builder.unfollowed_at(places, call.label, call.text, size)
        return self._at(call, place)

    def _size_behind(self, call: Call) -> tuple[int, ...] | None:
        """Positions of the map that an operation gives, if it is a map like its first operand."""
        x, shape = call.first, call.shape
        order = self.axes_behind(x, self.axes)
        if order is None or len(shape) != len(x.shape) or len(shape) != self.axes + 2:
            return None
        return tuple(shape[-self.axes :])

    def unfollowed_part(self, call: Call, shape: Sequence[int]) -> Value:
        """One of several parts along an axis of space, as ``unfollowed``."""
        x = call.first
        if self.only_context(x):
            return Value.at(self.builder.unite(x.all_places, call.label), shape)
        place = self.builder.unfollowed_at(x.all_places, call.label, call.text)
        dims = _relabelled(x.dims, shape) if len(shape) == len(x.shape) else None
        return Value.at(place, shape, dims)

    def approximate(self, call: Call, value: Value, why: str) -> Value:
        """The tensor that an operation gives, noted to count more than it sees."""
        for place in value.all_places:
            self.builder.remarks[self.builder.nodes[place].name] = f"{call.text}: {why}"
        return value

    def module_of(self, call: Call) -> str:
        """The path of the convolution module that an operation is; empty for a function."""
        for path in reversed(call.paths):
            if path in self.convolutions:
                return path
        weight = call.argument(1, "weight")
        names = self.program.graph_signature.inputs_to_parameters
        name = names.get(weight.name, "") if isinstance(weight, fx.Node) else ""
        path, _, last = name.rpartition(".")
        return path if last == "weight" and path in call.paths else ""

    def kind_of(self, call: Call, module: str) -> str:
        """Name of the class of a convolution, or of the function."""
        if module in self.convolutions:
            return type(self.convolutions[module]).__name__
        stack = call.node.meta.get("nn_module_stack") or {}
        for path, kind in stack.values():
            if path == module and module:
                return str(getattr(kind, "__name__", kind)).rpartition(".")[2]
        return call.name

    def parameters_of(self, call: Call) -> int:
        """Weights and biases that a convolution reads."""
        tensors = [call.tensor(1, "weight"), call.tensor(2, "bias")]
        return sum(tensor.numel() for tensor in tensors if tensor is not None)

    def _at(self, call: Call, place: int) -> Value:
        """At one place, in the layout of the operand that it looks like."""
        shape = call.shape
        for x in call.operands:
            if x.shape == shape:
                return x.moved(place)
        for x in call.operands:
            if len(x.shape) == len(shape):
                return Value.at(place, shape, _relabelled(x.dims, shape))
        return Value.at(place, shape)


def _relabelled(dims: Dims, shape: Sequence[int]) -> Dims:
    """The same labels for other sizes; a dimension of several atoms becomes one without a label."""
    return tuple(
        atoms
        if atoms and _size(atoms) == size
        else ()
        if size == 1
        else (Atom(atoms[0].axis if len(atoms) == 1 else None, size),)
        for atoms, size in zip(dims, shape, strict=True)
    )


def _size(atoms: Sequence[Atom]) -> int:
    size = 1
    for atom in atoms:
        size *= atom.size
    return size
