"""Which tensor of a forward pass is looked at, and where."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from difflib import get_close_matches
from typing import Any

import torch
from torch import Tensor, nn

from dilsearch.errors import TraceError

_SHOWN = 8  # names in a message


def named_tensors(value: Any, name: str = "") -> Iterator[tuple[str, Tensor]]:
    """The tensors in what a network returns, in order, by keys, fields and indices joined by dots.

    A tensor that stands alone is called 'output'.
    """
    if isinstance(value, Tensor):
        yield name or "output", value
        return
    for key, part in _parts(value):
        yield from named_tensors(part, f"{name}.{key}" if name else str(key))


def _parts(value: Any) -> Iterator[tuple[Any, Any]]:
    if isinstance(value, Mapping):
        yield from value.items()
    elif is_dataclass(value) and not isinstance(value, type):
        yield from ((field.name, getattr(value, field.name)) for field in fields(value))
    elif isinstance(value, tuple) and hasattr(value, "_fields"):
        yield from zip(value._fields, value, strict=True)
    elif isinstance(value, list | tuple):
        yield from enumerate(value)


def run_and_pick(model: nn.Module, inputs: Sequence[Tensor], output: str | None) -> Tensor:
    """Run the network, and take the output of this name or what the module at this path returned.

    Args:
        model: The network.
        inputs: What its forward takes.
        output: Name of an output or of a group of them, else path of a module; None for the first
            tensor returned.

    Raises:
        TraceError: If the network does not run, or has no such output.
    """
    caught: list[Any] = []
    modules = dict(model.named_modules(remove_duplicate=False))
    watched = modules.get(output) if output else None
    hook = None
    if watched is not None:
        hook = watched.register_forward_hook(lambda *call: caught.append(call[-1]))
    try:
        returned = dict(named_tensors(model(*inputs)))
    except TraceError:
        raise
    except Exception as fault:
        shapes = " and ".join(str(tuple(tensor.shape)) for tensor in inputs)
        cause = (str(fault).splitlines() or [""])[0] or type(fault).__name__
        raise TraceError(
            f"{type(model).__name__} does not run on an input of shape {shapes}: {cause}; "
            "give an example that it takes"
        ) from fault
    finally:
        if hook is not None:
            hook.remove()
    chosen = [
        x for name, x in returned.items() if not output or f"{name}.".startswith(f"{output}.")
    ]
    if not chosen and caught:
        chosen = [x for _, x in named_tensors(caught[-1])]
    if not chosen:
        raise TraceError(
            _unknown(model, output, list(returned), list(modules), watched is not None)
        )
    return chosen[0]


def _unknown(
    model: nn.Module, output: str | None, returned: list[str], modules: list[str], is_module: bool
) -> str:
    kind = type(model).__name__
    if output is None:
        return f"{kind} returns no tensor; name the module whose output is meant"
    if is_module:
        return f"module '{output}' of {kind} returned no tensor in this pass; name another"
    close = get_close_matches(output, [*returned, *modules], 1, cutoff=0)
    shown = ", ".join(f"'{name}'" for name in returned[:_SHOWN]) or "none"
    more = ", ..." if len(returned) > _SHOWN else ""
    return (
        f"{kind} has no output or module '{output}'; the nearest is '{close[0]}', and its outputs "
        f"are {shown}{more}"
    )


def position_in(x: Tensor, position: Sequence[int] | None) -> tuple[int, ...]:
    """The position along the spatial axes of a map, by default its centre.

    Args:
        x: A map (batch, channels, *pixels).
        position: One index for each spatial axis, or None.

    Raises:
        TraceError: If there is no such place.
    """
    size = tuple(x.shape[2:])
    if not size or 0 in size:
        raise TraceError(
            f"the output has shape {tuple(x.shape)} and no pixel to look from; name an output or "
            "a module whose output is a map"
        )
    if position is None:
        return tuple(length // 2 for length in size)
    fits = len(position) == len(size)
    if not fits or not all(0 <= p < n for p, n in zip(position, size, strict=True)):
        ranges = " x ".join(f"0 to {length - 1}" for length in size)
        raise TraceError(
            f"position {tuple(position)} is not in the output, whose size is {size}; "
            f"give one index for each axis, {ranges}"
        )
    return tuple(position)


def pixel_at(x: Tensor, place: Sequence[int]) -> Tensor:
    """All channels of a map at one place: (batch, channels)."""
    for index in place:
        x = x.select(2, index)
    return x


def gradients(pixel: Tensor, inputs: Sequence[Tensor]) -> list[Tensor | None]:
    """The gradient of each input, None where there is none.

    Args:
        pixel: What is summed and followed back.
        inputs: Tensors that require gradients.

    Raises:
        TraceError: If the network cannot be followed back.
    """
    if not pixel.requires_grad:
        return [None] * len(inputs)
    try:
        return list(torch.autograd.grad(pixel.sum(), inputs, allow_unused=True))
    except RuntimeError as fault:
        cause = (str(fault).splitlines() or [""])[0].rstrip(".")
        raise TraceError(
            f"no gradient comes back from the output: {cause}; "
            "switch the checkpointing of activations off, or name an earlier output"
        ) from fault
