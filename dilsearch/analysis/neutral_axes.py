"""Which axes of a tensor run through the image, followed through permutations and reshapes."""

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

_MARK = "_dilsearch_spatial_axes"


def carries(tensor: Tensor) -> bool:
    """Whether a tensor depends on the input."""
    return bool(tensor.requires_grad)


def tensors_in(value: Any) -> Iterator[Tensor]:
    """The tensors in nested sequences and mappings, in order."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        for part in value.values():
            yield from tensors_in(part)
    elif isinstance(value, list | tuple):
        for part in value:
            yield from tensors_in(part)


def spatial_axes(x: Tensor) -> frozenset[int]:
    """Axes that run through the image; if nobody marked any, all after batch and channels."""
    return getattr(x, _MARK, frozenset(range(2, x.ndim)))


def channels_first(x: Tensor) -> Tensor:
    """A map with its spatial axes moved behind the others; as it is if none is known."""
    axes = sorted(spatial_axes(x))
    if not axes or x.ndim < 3 or x.ndim - len(axes) != 2 or 0 in axes:
        return x
    return x.movedim(axes, list(range(2, x.ndim)))


def mark_axes(x: Tensor, axes: frozenset[int]) -> Tensor:
    """The tensor, with its spatial axes noted."""
    setattr(x, _MARK, axes)
    return x


def trailing_axes(x: Tensor, count: int) -> Tensor:
    """The tensor, noted to be a map whose last axes are spatial."""
    return mark_axes(x, frozenset(range(x.ndim - count, x.ndim)))


def settled(x: Tensor) -> Tensor:
    """The tensor, its gradient reduced to zeros and ones: no depth makes it vanish or explode."""
    if x.requires_grad:
        x.register_hook(lambda grad: (grad != 0).to(grad.dtype))  # type: ignore[no-untyped-call]
    return x


def keep_axes(source: Tensor, result: Any) -> Any:
    """The result, its tensors marked as what it was made from."""
    for tensor in tensors_in(result):
        if tensor.ndim == source.ndim:
            mark_axes(tensor, spatial_axes(source))
    return result


def follow_axes(func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """The result of a function that moves pixels about, its tensors marked.

    The same is done to tensors that hold positions in the image: where these differ along an axis,
    it runs through the image.
    """
    if getattr(func, "__name__", "") in ("view", "view_as"):  # which depends on strides
        func = getattr(Tensor, func.__name__.replace("view", "reshape"))
    moved = func(*_with_positions(args), **_with_positions(kwargs))
    result = func(*args, **kwargs)
    for tensor, places in zip(tensors_in(result), tensors_in(moved), strict=True):
        mark_axes(tensor, _axes_that_vary(places))
    return result


def _axes_that_vary(positions: Tensor) -> frozenset[int]:
    return frozenset(
        axis
        for axis in range(positions.ndim)
        if bool((positions.narrow(axis, 0, min(1, positions.shape[axis])) != positions).any())
    )


def _with_positions(value: Any) -> Any:
    if isinstance(value, Tensor):
        if carries(value):
            return _positions(value)
        return torch.zeros_like(value) if value.is_floating_point() else value
    if isinstance(value, dict):
        return {key: _with_positions(part) for key, part in value.items()}
    if isinstance(value, list | tuple) and any(True for _ in tensors_in(value)):
        return type(value)(_with_positions(part) for part in value)
    return value


def _positions(x: Tensor) -> Tensor:
    """Tells every place in the image by a number of its own; other axes cost no memory."""
    marked = spatial_axes(x)
    lengths = [x.shape[axis] if axis in marked else 1 for axis in range(x.ndim)]
    return torch.arange(math.prod(lengths)).reshape(lengths).expand(x.shape)
