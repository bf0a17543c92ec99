"""Export a model without memory or noise, and say in one sentence why it cannot be."""

import io
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from dilsearch.errors import TraceError


def export(
    shadow: nn.Module, inputs: tuple[Tensor, ...], name: str
) -> torch.export.ExportedProgram:
    """The program of a model on the meta device.

    A forward that makes tensors of its own without naming a device mixes CPU and meta. Its model is
    taken as if it lay on the CPU, which allocates no more.

    Args:
        shadow: The model, on the meta device.
        inputs: Its inputs, on the meta device.
        name: What the model is called in a message.

    Raises:
        TraceError: If it cannot be exported.
    """
    try:
        with _silence():
            return torch.export.export(shadow, inputs)
    except Exception as error:  # whatever the model's own forward raises ends up here
        if "device" in str(error) and "meta" in str(error):
            try:
                return _export_as_if_on_the_cpu(shadow, inputs)
            except Exception as second:
                error = second
        raise TraceError(_why_not(name, inputs, error)) from error


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
