"""Positive linear stand-ins for what happens on the grid: convolution, pooling, interpolation."""

import math
import re
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from dilsearch.analysis.neutral_axes import carries, mark_axes, settled, spatial_axes, trailing_axes
from dilsearch.errors import TraceError

Args = tuple[Any, ...]
Kwargs = dict[str, Any]
Function = Callable[..., Any]

_CONV = ("input", "weight", "bias", "stride", "padding", "dilation", "groups")
_TRANSPOSED = (
    "input",
    "weight",
    "bias",
    "stride",
    "padding",
    "output_padding",
    "groups",
    "dilation",
)
_MAX_POOL = ("input", "kernel_size", "stride", "padding", "dilation", "ceil_mode", "return_indices")
_AVERAGE_POOL = (
    "input",
    "kernel_size",
    "stride",
    "padding",
    "ceil_mode",
    "count_include_pad",
    "divisor_override",
)
_INTERPOLATE = (
    "input",
    "size",
    "scale_factor",
    "mode",
    "align_corners",
    "recompute_scale_factor",
    "antialias",
)
_CONVOLUTIONS: dict[int, Function] = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
_AVERAGES: dict[int, Function] = {
    1: F.adaptive_avg_pool1d,
    2: F.adaptive_avg_pool2d,
    3: F.adaptive_avg_pool3d,
}
_BELOW = 1e-9  # smaller interpolation weights are rounding


def cut(func: Function, args: Args, kwargs: Kwargs) -> Any:
    """The values as they are, without a gradient: global context."""
    return func(*_detached(args), **_detached(kwargs))


def evenly(weight: Tensor) -> Tensor:
    """A weight with the same positive number wherever it is not zero.

    The weights of the copy are drawn at random, so that zeros come from a mask in the forward pass.
    """
    return (weight.detach() != 0).double() / max(1, weight[0].numel())


def convolution(func: Function, name: str, args: Args, kwargs: Kwargs) -> Tensor:
    """The same convolution with equal positive weights and no bias."""
    settings = dict(zip(_TRANSPOSED if "transpose" in name else _CONV, args, strict=False)) | kwargs
    x, weight = settings.pop("input").double(), evenly(settings.pop("weight"))
    settings["bias"] = None
    if not carries(x):
        raise TraceError(
            f"what the input's pixels do in '{name}' cannot be measured, because they set its "
            "weights and not its map; measure a part of the network without it"
        )
    return settled(trailing_axes(func(x, weight, **settings), _axes(name)))


def max_pool(func: Function, name: str, args: Args, kwargs: Kwargs) -> Tensor:
    """The mean of the same pixels, on the same output grid."""
    settings = dict(zip(_MAX_POOL, args, strict=False)) | kwargs
    if settings.get("return_indices") or name.endswith("_indices"):
        raise _no_indices(name)
    x, axes = settings["input"].double(), _axes(name)
    kernel = _per_axis(settings["kernel_size"], axes)
    given = settings.get("stride")
    stride = kernel if given is None or given == [] else _per_axis(given, axes)
    padding = _per_axis(settings.get("padding", 0), axes)
    dilation = _per_axis(settings.get("dilation", 1), axes)
    lengths = tuple(x.shape[-axes:])
    sizes = func(x.detach(), **{k: v for k, v in settings.items() if k != "input"}).shape[-axes:]
    if _is_global(kernel, lengths, sizes):
        return cut(func, args, kwargs)  # type: ignore[no-any-return]
    ends = [
        (size - 1) * s + d * (k - 1) + 1 - length - p
        for size, s, d, k, length, p in zip(
            sizes, stride, dilation, kernel, lengths, padding, strict=True
        )
    ]
    amounts = [pixels for pair in zip(padding[::-1], ends[::-1], strict=True) for pixels in pair]
    alone = F.pad(x.reshape(-1, 1, *lengths), amounts)
    ones = x.new_full((1, 1, *kernel), 1 / math.prod(kernel))
    pooled = _CONVOLUTIONS[axes](alone, ones, stride=stride, dilation=dilation)
    return settled(trailing_axes(pooled.reshape(*x.shape[:-axes], *sizes), axes))


def average_pool(func: Function, name: str, args: Args, kwargs: Kwargs) -> Tensor:
    """As it is, unless one window holds the whole map."""
    settings = dict(zip(_AVERAGE_POOL, args, strict=False)) | kwargs
    pooled: Tensor = func(*args, **kwargs)
    axes = _axes(name)
    kernel = _per_axis(settings["kernel_size"], axes)
    if _is_global(kernel, settings["input"].shape[-axes:], pooled.shape[-axes:]):
        return pooled.detach()
    return settled(trailing_axes(pooled, axes))


def adaptive_pool(func: Function, name: str, args: Args, kwargs: Kwargs) -> Tensor:
    """The mean, unless one pixel is left of the whole map."""
    settings = dict(zip(("input", "output_size", "return_indices"), args, strict=False)) | kwargs
    if settings.get("return_indices") or name.endswith("_indices"):
        raise _no_indices(name)
    x, axes = settings["input"], _axes(name)
    pooled: Tensor = _AVERAGES[axes](x, settings["output_size"])
    alone = all(size == 1 for size in x.shape[-axes:])
    if not alone and all(size == 1 for size in pooled.shape[-axes:]):
        return cut(func, args, kwargs)  # type: ignore[no-any-return]
    return settled(trailing_axes(pooled, axes))


def interpolation(func: Function, name: str, args: Args, kwargs: Kwargs) -> Tensor:
    """The same weights axis by axis, without their signs and without rounding."""
    settings = dict(zip(_INTERPOLATE, args, strict=False)) | kwargs
    x = settings.pop("input")
    axes = x.ndim - 2
    if settings.get("antialias"):
        raise TraceError(
            f"what the input's pixels do in '{name}' cannot be measured, because it smooths "
            "against aliasing; measure a part of the network without it"
        )
    if settings.get("mode", "nearest") == "area":
        return settled(trailing_axes(func(x, **settings), axes))
    for axis in range(axes):
        weights = _interpolation_weights(x.shape[2 + axis], axis, axes, settings)
        x = (x.movedim(2 + axis, -1) @ weights).movedim(-1, 2 + axis)
    return settled(trailing_axes(x, axes))


def blocks_of(func: Function, name: str, args: Args, kwargs: Kwargs) -> Tensor:
    """Blocks of a map as columns, or back: as it is, the pixels of a block like channels."""
    x = args[0] if args else kwargs["input"]
    result: Tensor = func(*args, **kwargs)
    if getattr(func, "__module__", None) != "torch.nn.functional":  # Tensor.unfold: one axis
        return mark_axes(result, spatial_axes(x))
    return trailing_axes(result, 1 if name == "unfold" else 2)


def _interpolation_weights(length: int, axis: int, axes: int, settings: Kwargs) -> Tensor:
    """One row for each pixel of one axis, one column for each pixel that it becomes."""
    own = dict(settings)
    mode = own.get("mode", "nearest")
    is_flat = mode in ("bilinear", "bicubic")  # some have no 1-D form
    own["mode"] = "linear" if mode == "trilinear" else mode
    for key, alone in (("size", 1), ("scale_factor", 1.0)):
        if own.get(key) is not None:
            value = _per_axis(own[key], axes)[axis]
            own[key] = (value, alone) if is_flat else (value,)
    columns = torch.eye(length, dtype=torch.float64).unsqueeze(1)
    weights: Tensor = F.interpolate(columns.unsqueeze(-1) if is_flat else columns, **own)
    weights = weights.reshape(length, -1).abs()
    return weights.masked_fill(weights < _BELOW, 0)


def _no_indices(name: str) -> TraceError:
    return TraceError(
        f"what the input's pixels do in '{name}' cannot be measured, because its indices are "
        "asked for and no mean has any; measure a part of the network without it"
    )


def _is_global(kernel: Sequence[int], lengths: Sequence[int], sizes: Sequence[int]) -> bool:
    return all(
        size == 1 and k >= length for k, length, size in zip(kernel, lengths, sizes, strict=True)
    )


def _axes(name: str) -> int:
    found = re.search(r"(\d)d", name)
    assert found is not None
    return int(found[1])


def _per_axis(value: Any, axes: int) -> tuple[Any, ...]:
    values = tuple(value) if isinstance(value, Sequence) else (value,)
    return values * axes if len(values) == 1 else values


def _detached(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.detach()
    if isinstance(value, dict):
        return {key: _detached(part) for key, part in value.items()}
    if isinstance(value, list | tuple) and not isinstance(value, torch.Size):
        return type(value)(_detached(part) for part in value)
    return value
