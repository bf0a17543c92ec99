"""Positive linear stand-ins for what mixes maps or channels: products, norms, reductions."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from dilsearch.analysis.neutral_axes import (
    carries,
    keep_axes,
    mark_axes,
    settled,
    spatial_axes,
    tensors_in,
)
from dilsearch.analysis.neutral_maps import Args, Function, Kwargs, cut, evenly
from dilsearch.errors import TraceError

# Where 'dim' and 'keepdim' stand among the arguments, if not second and third.
_PLACES = {"norm": (2, 3), "vector_norm": (2, 3), "std": (1, 3), "var": (1, 3)}


def unite(args: Args, kwargs: Kwargs) -> Tensor:
    """The sum of what depends on the input, in the shape that all would have together."""
    given = list(tensors_in((args, kwargs)))
    shape = torch.broadcast_shapes(*(tensor.shape for tensor in given))  # type: ignore[no-untyped-call]
    maps = [tensor for tensor in given if carries(tensor)]
    total = maps[0].new_zeros(shape, dtype=torch.double)
    for each in maps:
        total = total + each
    return settled(mark_axes(total, _joined_axes(maps, len(shape))))


def unite_in_place(args: Args, kwargs: Kwargs) -> Tensor:
    """The first tensor, with what else depends on the input added to it."""
    target: Tensor = args[0]
    maps = [tensor for tensor in tensors_in((args, kwargs)) if carries(tensor)]
    axes = _joined_axes(maps, target.ndim)
    for other in maps:
        if other is not target:
            target.add_(other)
    return mark_axes(target, axes)


def _joined_axes(maps: Sequence[Tensor], count: int) -> frozenset[int]:
    """Spatial axes of maps that are broadcast to so many axes together."""
    return frozenset(axis + count - x.ndim for x in maps for axis in spatial_axes(x))


def gated_halves(func: Function, name: str, args: Args, kwargs: Kwargs) -> Tensor:
    """Both halves, as one gates the other."""
    x: Tensor = args[0] if args else kwargs["input"]
    dim: int = kwargs["dim"] if "dim" in kwargs else [*args, -1][1]
    first, second = x.chunk(2, dim)
    result: Tensor = keep_axes(x, first + second)
    return result


def linear(func: Function, name: str, args: Args, kwargs: Kwargs) -> Tensor:
    """Equal positive weights; global context over a flattened map, of which no axis is left."""
    settings = dict(zip(("input", "weight", "bias"), args, strict=False)) | kwargs
    x, weight = settings["input"], settings["weight"]
    image = spatial_axes(x)
    if x.ndim - 1 in image and len(image) == 1:
        values: Tensor = cut(func, (x, weight.double()), {})
        return values
    result: Tensor = x.double() @ evenly(weight).t()
    return settled(mark_axes(result, image - {x.ndim - 1}))


def concatenation(func: Function, name: str, args: Args, kwargs: Kwargs) -> Tensor:
    """As it is, one map behind the other's channels; along an axis of the image, global context."""
    tensors = args[0] if args else kwargs["tensors"]
    source = next(tensor for tensor in tensors if carries(tensor))
    dim = kwargs.get("dim", kwargs.get("axis", args[1] if len(args) > 1 else 0)) % source.ndim
    if dim in spatial_axes(source):
        return cut(func, args, kwargs)  # type: ignore[no-any-return]
    result: Tensor = keep_axes(source, func(*args, **kwargs))
    return result


def softmax(func: Function, name: str, args: Args, kwargs: Kwargs) -> Tensor:
    """The mean over channels; along an axis of the image each pixel itself, beside context."""
    x = args[0] if args else kwargs["input"]
    place = {"gumbel_softmax": 4}.get(name, 1)
    dim = kwargs.get("dim", args[place] if len(args) > place else None)
    dim = (0 if x.ndim in (0, 1, 3) else 1) if dim is None else dim % x.ndim  # as torch does it
    return _mixed(x, () if dim in spatial_axes(x) else (dim,))


def layer_norm(func: Function, name: str, args: Args, kwargs: Kwargs) -> Tensor:
    """The mean over the channels it is taken of; statistics over the image are left out."""
    x = args[0] if args else kwargs["input"]
    shape = kwargs["normalized_shape"] if "normalized_shape" in kwargs else args[1]
    taken = range(x.ndim - len(shape), x.ndim)
    return _mixed(x, tuple(axis for axis in taken if axis not in spatial_axes(x)))


def channel_mix(func: Function, name: str, args: Args, kwargs: Kwargs) -> Tensor:
    """The mean over channels at every pixel; statistics over the image are left out."""
    x = args[0] if args else kwargs["input"]
    place = 2 if name == "normalize" else len(args)
    dim = kwargs.get("dim", args[place] if len(args) > place else 1)
    dims = _dims(dim, x.ndim)
    return _mixed(x, tuple(axis for axis in dims if axis not in spatial_axes(x)))


def reduction(func: Function, name: str, args: Args, kwargs: Kwargs) -> Any:
    """The mean over the same axes; global context if no axis of the image is left."""
    x = args[0] if args else kwargs["input"]
    place, keep_place = _PLACES.get(name, (1, 2))
    dim = kwargs.get("dim", kwargs.get("axis", args[place] if len(args) > place else None))
    keep = bool(kwargs.get("keepdim", args[keep_place] if len(args) > keep_place else False))
    dims = _dims(None if isinstance(dim, bool | torch.dtype) else dim, x.ndim)
    image = spatial_axes(x)
    if image and image <= set(dims):
        return cut(func, args, kwargs)
    result = settled(x.mean(dims, keepdim=keep)) if dims else x
    left = [axis for axis in range(x.ndim) if keep or axis not in dims]
    mark_axes(result, frozenset(left.index(axis) for axis in image if axis not in dims))
    if name in ("max", "min", "median") and dim is not None:
        kind: Callable[..., Any] = getattr(torch.return_types, name)
        return kind((result, torch.zeros_like(result, dtype=torch.long)))
    return result


def product(func: Function, name: str, args: Args, kwargs: Kwargs) -> Tensor:
    """A sum over channels; global context if it runs, or spreads, over the image."""
    left, right = [*args, *kwargs.values()][:2]
    if name == "__rmatmul__":
        left, right = right, left
    if right.ndim == 1 and carries(left) and left.ndim - 1 not in spatial_axes(left):
        return reduction(torch.mean, "mean", (left, -1), {})  # type: ignore[no-any-return]
    if left.ndim < 2 or right.ndim < 2:
        return cut(func, args, kwargs)  # type: ignore[no-any-return]
    sums = (carries(left) and left.ndim - 1 in spatial_axes(left)) or (
        carries(right) and right.ndim - 2 in spatial_axes(right)
    )
    spreads = (
        carries(left)
        and carries(right)
        and (left.ndim - 2 in spatial_axes(left) and right.ndim - 1 in spatial_axes(right))
    )
    if sums or spreads:
        return cut(func, args, kwargs)  # type: ignore[no-any-return]
    if carries(left) and carries(right):
        return unite((left.mean(-1, keepdim=True), right.mean(-2, keepdim=True)), {})
    if carries(left):
        result = keep_axes(left, left.double() @ _pattern(right))
    else:
        result = keep_axes(right, _pattern(left) @ right.double())
    return settled(result)


def einsum(func: Function, name: str, args: Args, kwargs: Kwargs) -> Any:
    """A sum over channels of one map; global context if it runs over the image, or of two maps."""
    equation, *operands = args
    if len(operands) == 1 and isinstance(operands[0], list | tuple):
        operands = list(operands[0])
    if not isinstance(equation, str) or "->" not in equation or "." in equation:
        raise TraceError(
            "what the input's pixels do in 'einsum' cannot be measured, because its equation has "
            "no '->' or leaves axes unnamed; write it out, as in 'bchw,dc->bdhw'"
        )
    inputs, output = equation.replace(" ", "").split("->")
    letters = inputs.split(",")
    chosen = [place for place, operand in enumerate(operands) if carries(operand)]
    image = {letters[place][axis] for place in chosen for axis in spatial_axes(operands[place])}
    if len(chosen) > 1 or not image <= set(output):
        return cut(func, args, kwargs)
    positive = [operand.double() if carries(operand) else _pattern(operand) for operand in operands]
    result = func(equation, *positive)
    return settled(mark_axes(result, frozenset(output.index(letter) for letter in image)))


def attention(func: Function, name: str, args: Args, kwargs: Kwargs) -> Any:
    """Global context."""
    return cut(func, args, kwargs)


def _mixed(x: Tensor, dims: tuple[int, ...]) -> Tensor:
    if not dims:
        return mark_axes(x.clone(), spatial_axes(x))
    return settled(mark_axes(x.mean(dims, keepdim=True).expand_as(x).clone(), spatial_axes(x)))


def _pattern(constant: Tensor) -> Tensor:
    return (constant.detach() != 0).double()


def _dims(dim: Any, count: int) -> tuple[int, ...]:
    """Axes as numbers from 0; all of them if none is given."""
    if dim is None or dim == ():
        return tuple(range(count))
    return tuple(d % count for d in ((dim,) if isinstance(dim, int) else dim))
