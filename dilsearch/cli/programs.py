"""Programs of ``torch.export.save``, read without running what a stranger put into them.

torch's own reader unpickles freely and loads compiled libraries. Here pickled parts may hold
tensors only, and an archive with objects or compiled code is refused before it is opened. A file
of unknown origin remains a risk: torch evaluates the shape expressions of a program.
"""

import logging
import os
import pickle
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from dilsearch.errors import TraceError

PROGRAM_SUFFIX = ".pt2"
_TENSORS_ONLY = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"
_TENSORS_ONLY_NOT = "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"
_OBJECTS = ("data/constants/custom_obj_", "data/constants/opaque_obj_")
_COMPILED = "data/aotinductor/"
_WRITE_IT = "write one with torch.export.save(torch.export.export(model, inputs), 'model.pt2')"

_OBJECTS_INSIDE = (
    "{} holds objects or compiled code beside its tensors, which could run anything and are never "
    "loaded here; save the program of a plain model"
)


def load_program(path: Path) -> ExportedProgram:
    """Read a program; tensors are all that is unpickled.

    Raises:
        TraceError: If the file is no program, is damaged, or holds more than tensors and a graph.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except OSError as error:
        raise TraceError(f"cannot read {path}: {error.strerror or error}; name a file") from None
    except zipfile.BadZipFile:
        raise TraceError(
            f"{path} is not a program of torch.export: it is no archive, or only a part of one; "
            f"{_WRITE_IT}"
        ) from None
    # every name in the archive begins with the name of the archive
    inside = [name.partition("/")[2] for name in names]
    if not any(_is_graph(name) for name in (*names, *inside)):
        raise TraceError(
            f"{path} is not a program of torch.export: it is an archive without a graph, such as "
            f"weights alone; {_WRITE_IT}"
        )
    if any(name.startswith((*_OBJECTS, _COMPILED)) for name in inside):
        raise TraceError(_OBJECTS_INSIDE.format(path))
    try:
        with _only_tensors_unpickled(), _silent():
            return torch.export.load(path)
    except pickle.UnpicklingError:
        raise TraceError(_OBJECTS_INSIDE.format(path)) from None
    except Exception as error:  # whatever its reader stumbles over, the file is at fault
        first_line = (str(error).strip().splitlines() or [repr(error)])[0].rstrip(".")
        raise TraceError(
            f"{path} cannot be read as a program of torch.export ({first_line}); write it again "
            f"with torch {torch.__version__}"
        ) from None


def program_module(program: ExportedProgram) -> nn.Module:
    """A program as a module whose modes can be set, though they change nothing in it."""
    module: nn.Module = program.module()
    for name in ("train", "eval"):  # torch lets them raise, on the instance
        module.__dict__.pop(name, None)
    return module


def program_inputs(program: ExportedProgram) -> tuple[Tensor, ...]:
    """Zeros in the shapes that a program takes, on the CPU."""
    names = set(program.graph_signature.user_inputs)
    values = [node.meta["val"] for node in program.graph.nodes if node.name in names]
    return tuple(
        torch.zeros(tuple(int(size) for size in value.shape), dtype=value.dtype)
        for value in values
        if isinstance(value, Tensor)
    )


def _is_graph(name: str) -> bool:
    older = name == "serialized_exported_program.json"
    return older or (name.startswith("models/") and name.endswith(".json"))


@contextmanager
def _only_tensors_unpickled() -> Iterator[None]:
    """Overrule torch's reader, which asks for everything to be unpickled."""
    before = {name: os.environ.pop(name, None) for name in (_TENSORS_ONLY, _TENSORS_ONLY_NOT)}
    os.environ[_TENSORS_ONLY] = "1"
    try:
        yield
    finally:
        del os.environ[_TENSORS_ONLY]
        os.environ.update({name: value for name, value in before.items() if value is not None})


@contextmanager
def _silent() -> Iterator[None]:
    """Keep torch from logging the traceback of an error that is told in a sentence."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(before)
