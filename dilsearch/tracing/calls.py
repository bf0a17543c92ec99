"""One operation of an exported program, as the tracer asks about it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx

from dilsearch.tracing.values import Value


@dataclass(frozen=True)
class Call:
    """An operation with what is known of its operands.

    Args:
        node: The operation in the program.
        values: What is known of the tensors so far, or of the parts of a list of tensors.
    """

    node: fx.Node
    values: Mapping[fx.Node, Value | list[Value]]

    @property
    def name(self) -> str:
        """``aten.upsample_bilinear2d.vec`` is 'upsample_bilinear2d', ``aten.relu_`` is 'relu'."""
        name = str(getattr(self.node.target, "__name__", self.node.target)).split(".")[0]
        return name if name.startswith("__") else name.rstrip("_")

    @property
    def pointwise(self) -> bool:
        """Whether torch says that every element follows from the same element of its operands."""
        return torch.Tag.pointwise in getattr(self.node.target, "tags", ())

    @property
    def paths(self) -> list[str]:
        """Paths of the modules it was called through, outermost first; the model itself is ''."""
        stack = self.node.meta.get("nn_module_stack") or {}
        return [str(path) for path, _ in stack.values()]

    @property
    def where(self) -> str:
        """The module it was called in, for a message."""
        path = self.paths[-1] if self.paths else ""
        return f"module '{path}'" if path else "the model's own forward"

    @property
    def text(self) -> str:
        """Operation and module, for a message."""
        return f"{self.node.target} in {self.where}"

    @property
    def cause(self) -> str:
        """The same without the overload, for what is followed."""
        return f"{self.name} in {self.where}"

    @property
    def label(self) -> str:
        """A unique name for its node in the field graph."""
        path = self.paths[-1] if self.paths else ""
        return f"{path}.{self.node.name}" if path else self.node.name

    @property
    def result(self) -> Any:
        """The meta tensor, list of tensors or number that it gives."""
        return self.node.meta.get("val")

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the tensor that it gives, or of the first of several."""
        first = self.result[0] if isinstance(self.result, list | tuple) else self.result
        return tuple(int(size) for size in first.shape)

    @property
    def operands(self) -> list[Value]:
        """Its tensors that follow from the input, in order; of a list, all."""
        return list(self._known(self.node.all_input_nodes))

    @property
    def first(self) -> Value:
        """The tensor that it works on."""
        return self.operands[0]

    def value(self, position: int, name: str) -> Value | None:
        """What is known of a tensor argument; None if it does not follow from the input."""
        argument = self.argument(position, name)
        found = self.values.get(argument) if isinstance(argument, fx.Node) else None
        return found if isinstance(found, Value) else None

    def argument(self, position: int, name: str, default: Any = None) -> Any:
        """An argument by position or name."""
        if len(self.node.args) > position:
            return self.node.args[position]
        return self.node.kwargs.get(name, default)

    def option(self, name: str) -> Any:
        """An argument by its name, wherever the operation's overload has it; None without it."""
        schema = getattr(self.node.target, "_schema", None)
        names = [argument.name for argument in schema.arguments] if schema is not None else []
        return self.argument(names.index(name), name) if name in names else None

    def tensor(self, position: int, name: str) -> Tensor | None:
        """The meta tensor of an argument."""
        argument = self.argument(position, name)
        return argument.meta.get("val") if isinstance(argument, fx.Node) else None

    def _known(self, nodes: list[fx.Node]) -> Iterator[Value]:
        for node in nodes:
            found = self.values.get(node)
            if isinstance(found, Value):
                yield found
            elif found is not None:
                yield from found


def per_axis(value: Any, axes: int) -> tuple[int, ...]:
    """One whole number for each axis."""
    if isinstance(value, int):
        return (value,) * axes
    values = tuple(int(v) for v in value)
    return values * axes if len(values) == 1 else values
