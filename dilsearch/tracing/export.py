"""Export a model without memory or noise, and say in one sentence why it cannot be."""

import io
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr
from functools import wraps
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from dilsearch.errors import TraceError


def export(
    shadow: nn.Module, inputs: tuple[Tensor, ...], name: str
) -> torch.export.ExportedProgram:
    """The program of a model on the meta device.

    A forward that makes tensors of its own without naming a device mixes CPU and meta. Its model is
    taken as if it lay on the CPU, which allocates no more. One that returns an object whose class
    torch does not know returns the object's fields instead, by name.

    Args:
        shadow: The model, on the meta device.
        inputs: Its inputs, on the meta device.
        name: What the model is called in a message.

    Raises:
        TraceError: If it cannot be exported.
    """
    try:
        return _exported(shadow, inputs)
    except Exception as error:  # whatever the model's own forward raises ends up here
        if "not a known type" in str(error):
            _return_fields(shadow)
            try:
                return _exported(shadow, inputs)
            except Exception as second:
                error = second
        raise TraceError(_why_not(name, inputs, error)) from error


def name_once(program: torch.export.ExportedProgram, model: nn.Module) -> None:
    """Let every operation name its modules by the first path that leads to them.

    A shared module is exported under the path by which it was called, and would be another site
    under each.

    Args:
        program: What was exported; its operations are renamed in place.
        model: The module that was exported.
    """
    paths: dict[int, str] = {}
    names = {
        path: paths.setdefault(id(module), path)
        for path, module in model.named_modules(remove_duplicate=False)
    }
    for node in program.graph.nodes:
        stack = node.meta.get("nn_module_stack")
        if stack:
            node.meta["nn_module_stack"] = {
                key: (names.get(path, path), kind) for key, (path, kind) in stack.items()
            }


def _exported(shadow: nn.Module, inputs: tuple[Tensor, ...]) -> torch.export.ExportedProgram:
    try:
        with _silence():
            return torch.export.export(shadow, inputs)
    except Exception as error:
        if "device" in str(error) and "meta" in str(error):
            return _export_as_if_on_the_cpu(shadow, inputs)
        raise


def _return_fields(shadow: nn.Module) -> None:
    """Let a model return a dictionary of their fields for objects of classes of its own."""
    forward = shadow.forward

    @wraps(forward)
    def with_fields(*args: Any, **kwargs: Any) -> Any:
        return _fields_of(forward(*args, **kwargs))

    shadow.forward = with_fields


def _fields_of(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _fields_of(held) for key, held in value.items()}
    if isinstance(value, tuple | list):
        return [_fields_of(held) for held in value]
    if isinstance(value, Tensor) or not hasattr(value, "__dict__"):
        return value
    return {name: _fields_of(held) for name, held in vars(value).items()}


def _export_as_if_on_the_cpu(
    shadow: nn.Module, inputs: tuple[Tensor, ...]
) -> torch.export.ExportedProgram:
    with FakeTensorMode():
        for module in shadow.modules():
            for name, parameter in module._parameters.items():
                if parameter is not None:
                    module._parameters[name] = nn.Parameter(_fake(parameter), False)
            for name, buffer in module._buffers.items():
                if buffer is not None:
                    module._buffers[name] = _fake(buffer)
        with _silence():
            return torch.export.export(shadow, tuple(_fake(tensor) for tensor in inputs))


def _fake(tensor: Tensor) -> Tensor:
    """A tensor that says it lies on the CPU, made while a ``FakeTensorMode`` is on."""
    return torch.empty(tensor.shape, dtype=tensor.dtype, device="cpu")


def _why_not(name: str, inputs: Sequence[Tensor], error: Exception) -> str:
    shapes = ", ".join(str(tuple(tensor.shape)) for tensor in inputs)
    said = str(error).strip()
    first_line = said.splitlines()[0] if said else repr(error)
    if "data-dependent" in said.lower() or "GuardOnDataDependent" in type(error).__name__:
        cause = "its forward goes by the values of a tensor, which are not known beforehand."
        remedy = "Export a part without that choice, or measure the field numerically."
    else:
        cause = first_line if first_line.endswith((".", "!", "?")) else f"{first_line}."
        remedy = "Give an example input that its forward accepts."
    return f"{name} cannot be exported with input of shape {shapes}: {cause} {remedy}"


@contextmanager
def _silence() -> Iterator[None]:
    """Keep torch from logging at length what becomes one sentence."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with redirect_stderr(io.StringIO()):
            yield
    finally:
        logging.disable(before)
