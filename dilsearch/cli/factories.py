"""Networks made by a user's own code: ``package.module:factory`` and what it is called with."""

import importlib
import inspect
import json
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from typing import Any

import torch
from torch import Tensor, nn

from dilsearch.data import seeded
from dilsearch.errors import TraceError
from dilsearch.geometry.table import nearest

_FEWEST, _MOST = 3, 5  # batch and channels, and one to three spatial axes
INPUT_EXAMPLE = "--input 1,3,512,1024 (batch, channels, height, width)"
FACTORY_EXAMPLE = "torchvision.models:resnet18"


def parse_inputs(shapes: Sequence[str]) -> tuple[Tensor, ...]:
    """What ``--input`` says, as tensors on the meta device.

    Raises:
        TraceError: With every shape that is none.
    """
    faults: list[str] = []
    sizes: list[tuple[int, ...]] = []
    for text in shapes:
        try:
            shape = tuple(int(size) for size in text.split(","))
        except ValueError:
            faults.append(f"--input {text}: sizes are whole numbers between commas")
            continue
        if not _FEWEST <= len(shape) <= _MOST:
            faults.append(
                f"--input {text}: it has {len(shape)} sizes, and {_FEWEST} to {_MOST} are needed: "
                "batch, channels, and one for each spatial axis"
            )
        elif min(shape) < 1:
            faults.append(f"--input {text}: size {min(shape)} is below 1")
        sizes.append(shape)
    if faults:
        raise TraceError(f"{'; '.join(faults)}. Write it as in {INPUT_EXAMPLE}.")
    return tuple(torch.empty(shape, device="meta") for shape in sizes)


def parse_kwargs(text: str | None) -> dict[str, Any]:
    """What ``--kwargs`` says.

    Raises:
        TraceError: If it is no JSON object.
    """
    if text is None:
        return {}
    example = """write it as in --kwargs '{"weights": null}'"""
    try:
        kwargs = json.loads(text)
    except json.JSONDecodeError as error:
        raise TraceError(f"--kwargs {text} is not JSON ({error}); {example}") from None
    if not isinstance(kwargs, dict):
        raise TraceError(f"--kwargs {text} is not a JSON object; {example}")
    return kwargs


def build_from_factory(
    target: str,
    kwargs: Mapping[str, Any],
    *,
    seed: int,
    need_weights: bool,
    offered: Mapping[str, Any] | None = None,
) -> nn.Module:
    """Import a factory and call it, in evaluation mode.

    The current folder can be imported from, as with ``python -m``. Without weights the network is
    made on the meta device, where nothing is allocated; a factory that fails there is called once
    more on the CPU. What it prints goes to standard error.

    Args:
        target: ``package.module:factory``; dots may follow the colon.
        kwargs: Its keyword arguments.
        seed: Seed of fresh weights.
        need_weights: Whether values of weights count.
        offered: Further arguments, for a factory whose signature names them and ``kwargs`` does
            not.

    Raises:
        TraceError: If there is no such factory, it cannot be called so, it fails, or it gives no
            network.
    """
    # a network that its module holds is made when that is imported, so the seed is set for it too
    with redirect_stdout(sys.stderr), _current_folder_importable(), seeded("weights", seed):
        made = _find(target)
        if not isinstance(made, nn.Module):
            kwargs = {**_wanted(made, offered or {}), **kwargs}
            made = _call(target, made, kwargs, seed=seed, need_weights=need_weights)
        elif kwargs:
            raise TraceError(
                f"{target} is a network already and takes no arguments; leave out --kwargs"
            )
    made.eval()  # whose result is not the module where somebody overrides it carelessly
    return made


def find_factory(target: str) -> Any:
    """What a user named, imported.

    Raises:
        TraceError: If there is no such thing.
    """
    with redirect_stdout(sys.stderr), _current_folder_importable():
        return _find(target)


def one_line(error: BaseException) -> str:
    """An error of somebody else's code, short enough for a sentence."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0].rstrip('.')}" if lines else type(error).__name__


def _find(target: str) -> Any:
    """The object that ``package.module:attribute`` names."""
    module_name, _, path = target.partition(":")
    if module_name.endswith(".py"):
        module = module_name.removesuffix(".py").replace("/", ".").lstrip(".")
        raise TraceError(f"{target} names a file; name its module, as in {module}:{path}")
    if not module_name or not path or "" in (*module_name.split("."), *path.split(".")):
        raise TraceError(
            f"{target} does not name a factory; write package.module:factory, as in "
            f"{FACTORY_EXAMPLE}"
        )
    found: Any = _import(target, module_name)
    place = f"module '{module_name}'"
    for name in path.split("."):
        if not hasattr(found, name):
            public = [known for known in dir(found) if not known.startswith("_")]
            raise TraceError(f"{target}: {place} has no '{name}'{nearest(name, public)}")
        found = getattr(found, name)
        place = f"'{name}'"
    return found


def _import(target: str, name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and f"{name}.".startswith(f"{error.name}."):
            raise TraceError(
                f"{target}: there is no module '{error.name}'; install it, or start dilsearch "
                "in the folder that holds it"
            ) from None
        raise TraceError(
            f"{target}: module '{name}' needs module '{error.name}', which is not installed; "
            "install it"
        ) from None
    except SystemExit:
        raise TraceError(
            f"{target}: importing module '{name}' ended the program; let it run what it runs only "
            "under if __name__ == '__main__'"
        ) from None
    except Exception as error:  # a user's module may raise anything
        raise TraceError(
            f"{target}: importing module '{name}' failed: {one_line(error)}; correct it there"
        ) from error


def _call(
    target: str,
    factory: object,
    kwargs: Mapping[str, Any],
    *,
    seed: int,
    need_weights: bool,
) -> nn.Module:
    if not callable(factory):
        raise TraceError(
            f"{target} is {_article(factory)}, which cannot be called; name a function or class "
            "that makes a network, or a network"
        )
    _check_arguments(target, factory, kwargs)
    model = None if need_weights else _on_meta(factory, kwargs, seed)
    if model is None:
        try:
            with seeded("weights", seed):
                model = factory(**kwargs)
        except (Exception, SystemExit) as error:  # a user's factory may raise anything
            raise TraceError(
                f"{target} failed: {one_line(error)}; give what it needs with --kwargs, or "
                "correct it"
            ) from error
    if not isinstance(model, nn.Module):
        raise TraceError(
            f"{target} returned {_article(model)}, which is no torch.nn.Module; name a factory "
            "that returns the network"
        )
    return model


def _on_meta(factory: Callable[..., Any], kwargs: Mapping[str, Any], seed: int) -> Any:
    """What a factory makes on the meta device, or None if it cannot work there."""
    with warnings.catch_warnings():
        # weights that are read from a file have nowhere to go, which is as it should be
        warnings.simplefilter("ignore")
        try:
            with seeded("weights", seed), torch.device("meta"):
                return factory(**kwargs)
        except (Exception, SystemExit):  # reads values, or is at fault: the CPU will tell which
            return None


def _check_arguments(target: str, factory: Callable[..., Any], kwargs: Mapping[str, Any]) -> None:
    """Refuse arguments that a signature has no place for, and name those that it misses."""
    try:
        parameters = inspect.signature(factory).parameters.values()
    except (TypeError, ValueError):  # it has no signature; calling it will tell
        return
    named = {p.name: p for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    takes_all = any(p.kind is p.VAR_KEYWORD for p in parameters)
    unknown = [name for name in kwargs if name not in named]
    if unknown and not takes_all:
        raise TraceError(f"--kwargs: {target} takes no '{unknown[0]}'{nearest(unknown[0], named)}")
    missing = [name for name, p in named.items() if p.default is p.empty and name not in kwargs]
    if missing:
        example = json.dumps(dict.fromkeys(missing, "VALUE"))
        raise TraceError(
            f"{target} needs {', '.join(repr(name) for name in missing)}; give it as in "
            f"--kwargs '{example}'"
        )


def _wanted(factory: object, offered: Mapping[str, Any]) -> dict[str, Any]:
    """What a factory has a word for."""
    try:
        named = inspect.signature(factory).parameters if callable(factory) else {}
    except (TypeError, ValueError):  # it has no signature
        return {}
    return {name: value for name, value in offered.items() if name in named}


@contextmanager
def _current_folder_importable() -> Iterator[None]:
    folder = os.getcwd()
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        if folder in sys.path:  # what was imported may have taken it away
            sys.path.remove(folder)


def _article(value: object) -> str:
    if value is None:
        return "None"
    name = type(value).__name__
    return f"{'an' if name[:1].lower() in 'aeiou' else 'a'} {name}"
