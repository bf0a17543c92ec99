"""Follow a model's exported program and write down what moves its field of view.

``torch.export`` runs the model once on the meta device, without memory or arithmetic. Each
operation of the program either leaves the field alone (the result stands where its input stands),
or becomes a node of the field graph. Dimensions carry labels and channels have places of their
own (``values``), so that layouts may change and channels part and meet again on the way.
"""

import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.utils import _pytree as pytree

from dilsearch.errors import TraceError
from dilsearch.geometry import FieldGraph, Source
from dilsearch.tracing.branches import branched_site
from dilsearch.tracing.builder import Layer
from dilsearch.tracing.calls import Call
from dilsearch.tracing.costs import macs_of
from dilsearch.tracing.export import export, name_once
from dilsearch.tracing.operations import handler_of
from dilsearch.tracing.shadow import Convolution, convolutions_of, shadow_of
from dilsearch.tracing.values import Value
from dilsearch.tracing.walk import Walk

Example = Tensor | Sequence[Tensor]


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """What following a model's program gives.

    Args:
        graph: The field graph; its outputs are those that have a place in the graph.
        output_names: A name for each output: ``output``, or keys, fields and indices joined by
            dots, such as ``out`` or ``features.0``.
        layers: Every use of a convolution, by node.
        modules: Module path to the node behind the module's last operation.
        remarks: Nodes whose field is an upper bound, and why.
        inputs: Shape of every input.
        input_px: Spatial size of the first image among them.
        parameters: Of the whole model.
        macs: Multiply-accumulates of one forward pass, half of what torch counts as FLOPs.
    """

    graph: FieldGraph
    output_names: tuple[str, ...]
    layers: Mapping[str, Layer]
    modules: Mapping[str, str]
    remarks: Mapping[str, str]
    inputs: tuple[tuple[int, ...], ...]
    input_px: tuple[int, ...]
    parameters: int
    macs: int


def trace_graph(model: nn.Module, example: Example) -> FieldGraph:
    """The field graph of a model: which windows its outputs see the input through.

    Nothing is computed and the model is not changed. Operations that cannot be followed are named
    with their module path in ``FieldGraph.unfollowed``; the field behind them is a lower bound.
    Relaxed sites stand with the rates that they were relaxed from.

    Args:
        model: Any module that ``torch.export`` can export; relaxed sites are allowed.
        example: Its input or inputs: batch, channels, and one to three spatial axes. Only the
            shape counts, and the meta device will do.

    Raises:
        TraceError: If the model cannot be exported, or its input has no spatial axes.
    """
    return trace_model(model, example).graph


def trace_model(model: nn.Module, example: Example, *, present_rates: bool = False) -> Trace:
    """The field graph of a model, and what else its program tells.

    Args:
        model: As for ``trace_graph``.
        example: As for ``trace_graph``.
        present_rates: Take relaxed sites at the rates that they have now, rounded up, instead of
            those that they were relaxed from.

    Raises:
        TraceError: As ``trace_graph``.
    """
    inputs = (example,) if isinstance(example, Tensor) else tuple(example)
    if not all(isinstance(given, Tensor) for given in inputs):
        raise TraceError(
            f"the example {example!r} is not made of tensors; give one, of which only the shape "
            "counts, such as torch.empty(1, 3, 512, 512, device='meta')"
        )
    shadow = shadow_of(model, present_rates=present_rates)
    meta_inputs = tuple(torch.empty_like(tensor, device="meta") for tensor in inputs)
    _check_inputs(type(model).__name__, [tuple(tensor.shape) for tensor in inputs])
    program = export(shadow, meta_inputs, type(model).__name__)
    name_once(program, shadow)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    if _writes_to_views(program):
        program = program.run_decompositions({})  # what is written becomes a value of its own
    return _trace(program, convolutions_of(shadow), parameters)


def trace_program(program: torch.export.ExportedProgram) -> Trace:
    """The field graph of a program that was exported already; sites are named as its modules were.

    Raises:
        TraceError: If its input has no spatial axes.
    """
    parameters = sum(parameter.numel() for parameter in program.parameters())
    if _writes_to_views(program):
        program = program.run_decompositions({})
    return _trace(program, {}, parameters)


def _writes_to_views(program: torch.export.ExportedProgram) -> bool:
    """Whether a tensor is changed that is part of another, as by ``x[:, :2] += y``."""

    def is_view(node: object) -> bool:
        return isinstance(node, fx.Node) and getattr(node.target, "is_view", False)

    return any(
        is_view(written) or any(is_view(user) for user in written.users)
        for node in program.graph.nodes
        if (schema := getattr(node.target, "_schema", None)) is not None and schema.is_mutable
        for written in node.args[:1]
        if isinstance(written, fx.Node)
    )


def _trace(
    program: torch.export.ExportedProgram,
    convolutions: Mapping[str, Convolution],
    parameters: int,
) -> Trace:
    placeholders = {node.name: node for node in program.graph.nodes if node.op == "placeholder"}
    images = [
        node
        for name in program.graph_signature.user_inputs
        if isinstance(node := placeholders.get(str(name)), fx.Node)
        and isinstance(node.meta.get("val"), Tensor)
    ]
    shapes = [tuple(int(size) for size in node.meta["val"].shape) for node in images]
    _check_inputs("the program", shapes)
    axes = max(len(shape) for shape in shapes) - 2
    walk = Walk(program, convolutions, axes)
    for node, shape in zip(images, shapes, strict=True):
        if len(shape) == axes + 2:  # a vector, such as a time step, has no place in the image
            place = walk.builder.add(Source(walk.builder.name(node.name)), shape[2:])
            walk.values[node] = Value.image(shape, place)
    modules: dict[str, str] = {}
    macs = 0
    for node in program.graph.nodes:
        if node.op == "call_function":
            macs += macs_of(Call(node, walk.values))
            _follow(walk, node, modules)
    names, places = _outputs(program, walk)
    return Trace(
        graph=walk.builder.graph(places),
        output_names=names,
        layers=walk.builder.layers,
        modules=modules,
        remarks=walk.builder.remarks,
        inputs=tuple(shapes),
        input_px=next(shape[2:] for shape in shapes if len(shape) == axes + 2),
        parameters=parameters,
        macs=macs,
    )


def _follow(walk: Walk, node: fx.Node, modules: dict[str, str]) -> None:
    """Find out what one operation does, and remember it as the last of its modules so far."""
    if not any(source in walk.values for source in node.all_input_nodes):
        return
    if node.target is operator.getitem:
        parts, index = walk.values[node.all_input_nodes[0]], node.args[1]
        assert isinstance(index, int)
        walk.values[node] = parts[index] if isinstance(parts, list) else parts
    elif isinstance(node.meta.get("val"), Tensor | list | tuple):
        call = Call(node, walk.values)
        value = branched_site(walk, call) or handler_of(call)(walk, call)
        if isinstance(value, Value) and not isinstance(call.result, Tensor):
            value = [value] * len(call.result)  # such as a pooling that gives its indices too
        walk.values[node] = value
    else:
        return  # a size or a number
    value = walk.values[node]
    if isinstance(value, Value):
        if not value.all_places:
            return  # a constant has no place
        place = walk.builder.unite(value.all_places, f"{node.name}.channels")
        for path in Call(node, walk.values).paths:
            modules[path] = walk.builder.nodes[place].name


def _outputs(
    program: torch.export.ExportedProgram, walk: Walk
) -> tuple[tuple[str, ...], list[int]]:
    """Names and places of the outputs that follow from the input."""
    (output,) = [node for node in program.graph.nodes if node.op == "output"]
    returned: list[Any] = list(output.args[0])
    given = len(program.graph_signature.user_outputs)
    returned = returned[len(returned) - given :]  # buffers that the model writes come first
    tree = pytree.tree_unflatten(returned, program.call_spec.out_spec)
    names: list[str] = []
    places: list[int] = []
    for path, node in pytree.tree_flatten_with_path(tree)[0]:
        value = walk.values.get(node) if isinstance(node, fx.Node) else None
        if isinstance(value, Value) and value.all_places:
            names.append(_output_name(path))
            places.append(walk.builder.unite(value.all_places, f"{node.name}.channels"))
    return tuple(names), places


def _output_name(path: Sequence[Any]) -> str:
    """``out``, ``features.0``; ``output`` for what stands alone."""
    names = []
    for key in path:
        match key:
            case pytree.MappingKey(key=inner):
                names.append(str(inner))
            case pytree.SequenceKey(idx=index):
                names.append(str(index))
            case pytree.GetAttrKey(name=inner):
                names.append(str(inner))
    return ".".join(names) or "output"


def _check_inputs(what: str, shapes: Sequence[tuple[int, ...]]) -> None:
    if not any(3 <= len(shape) <= 5 for shape in shapes):
        listed = ", ".join(map(str, shapes)) or "nothing"
        raise TraceError(
            f"{what} is given an input of shape {listed}, which has no spatial axes; give (batch, "
            "channels, ...) with one to three sizes behind, such as (1, 3, 512, 1024)"
        )
