"""What a convolution or pooling becomes on a denser map, so that it reads what it read before.

Let the map before a module be ``f`` times denser: position ``f * q`` holds what position ``q``
held. A module of dilation ``d`` and padding ``p`` then reads the same values with dilation
``f * d`` and zero padding ``f * p``, whatever its stride. A stride that is taken away makes the map
behind it that much denser, and changes nothing in what the module reads.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import nn

Convolution: TypeAlias = nn.Conv1d | nn.Conv2d | nn.Conv3d
MaxPool: TypeAlias = nn.MaxPool1d | nn.MaxPool2d | nn.MaxPool3d
AvgPool: TypeAlias = nn.AvgPool1d | nn.AvgPool2d | nn.AvgPool3d

_KINDS: dict[int, tuple[Any, ...]] = {
    1: (nn.Conv1d, nn.MaxPool1d, nn.AvgPool1d),
    2: (nn.Conv2d, nn.MaxPool2d, nn.AvgPool2d),
    3: (nn.Conv3d, nn.MaxPool3d, nn.AvgPool3d),
}
_BLANKS: dict[int, Any] = {1: nn.ConstantPad1d, 2: nn.ConstantPad2d, 3: nn.ConstantPad3d}
_REPEATS: dict[int, Any] = {1: nn.ReplicationPad1d, 2: nn.ReplicationPad2d, 3: nn.ReplicationPad3d}
_ALIGNED_MODES = ("zeros", "circular")  # reflect and replicate read positions in between


@dataclass(frozen=True)
class Denser:
    """What one module has to become.

    Args:
        factor: How many times denser the map before it is, per axis.
        stride: Its new stride, per axis.
    """

    factor: tuple[int, ...]
    stride: tuple[int, ...]


def axes_of(module: nn.Module) -> int | None:
    """Spatial axes of a plain convolution or pooling of torch.nn; None for anything else.

    A subclass counts where it leaves the forward as it is.
    """
    for axes, kinds in _KINDS.items():
        for kind in kinds:
            if isinstance(module, kind):
                names = ("forward", "_conv_forward")
                same = all(getattr(type(module), n, 0) is getattr(kind, n, 0) for n in names)
                return axes if same else None
    return None


def denser_faults(module: nn.Module, to: Denser) -> Iterator[str]:
    """Why a plain convolution or pooling cannot follow exactly, if it cannot."""
    taps = _per_axis(module, "kernel_size")
    moved = any(f > 1 and k > 1 for f, k in zip(to.factor, taps, strict=True))
    if isinstance(module, Convolution):
        yield from _convolution_faults(module, to, moved)
        return
    if isinstance(module, AvgPool) and moved:
        yield (
            "averages neighbours, and torch.nn has no dilated average pooling; put a strided "
            "convolution in its place, or choose a larger output stride"
        )
    if isinstance(module, MaxPool) and module.return_indices:
        yield "returns indices, which would count positions of another map; do without them"
    if module.ceil_mode and _rounds_up(module, to):
        yield "rounds the size of its map up (ceil_mode), which needs its stride; round it down"


def make_denser(module: nn.Module, to: Denser) -> nn.Module:
    """Change a plain convolution or pooling in place; it keeps its tensors, mode and hooks.

    Returns:
        The module, or a pooling behind a padding where its own cannot be as large. What is added
        stands behind the last position that the strided pooling had.
    """
    if isinstance(module, Convolution):
        _widen_convolution(module, to)
        return module
    missing, padding = _missing(module, to), _per_axis(module, "padding")
    taps = _per_axis(module, "kernel_size")
    if isinstance(module, MaxPool):
        padding = _times(to.factor, padding)
        _set(module, dilation=_times(to.factor, _per_axis(module, "dilation")))
    _set(module, stride=to.stride)
    if not any(missing) and all(2 * p <= k for p, k in zip(padding, taps, strict=True)):
        _set(module, padding=padding)
        return module
    pad: nn.Module
    if isinstance(module, MaxPool):
        _set(module, padding=(0,) * len(taps))  # beyond half a kernel torch refuses it
        pad = _BLANKS[len(taps)](_both_sides(padding, missing), -torch.inf)
    else:
        pad = _REPEATS[len(taps)](_both_sides((0,) * len(taps), missing))
    return nn.Sequential(pad, module).train(module.training)


def _convolution_faults(conv: Convolution, to: Denser, moved: bool) -> Iterator[str]:
    if moved and conv.padding_mode not in _ALIGNED_MODES and any(_padding(conv)):
        yield (
            f"has padding mode '{conv.padding_mode}', which repeats other positions on a denser "
            "map; use 'zeros' or 'circular', or choose a larger output stride"
        )
    if any(_missing(conv, to)) and not (conv.padding_mode == "zeros" and _is_same(conv, to)):
        yield (
            f"has a {' x '.join(map(str, conv.kernel_size))} kernel that no padding of a "
            "convolution keeps in its place on a denser map of the full size; choose a larger "
            "output stride"
        )
    if moved and conv.padding == "same" and any(reach % 2 for reach in _reach(conv)):
        yield "has an uneven padding 'same'; give the padding as numbers"


def _widen_convolution(conv: Convolution, to: Denser) -> None:
    padding: str | tuple[int, ...]
    if any(_missing(conv, to)):
        padding = "same"  # which pads more behind than in front, as is needed
    elif isinstance(conv.padding, str):
        padding = conv.padding
    else:
        padding = _times(to.factor, conv.padding)
    widened = _times(to.factor, conv.dilation)
    dilation = tuple(
        wide if taps > 1 else rate
        for wide, rate, taps in zip(widened, conv.dilation, conv.kernel_size, strict=True)
    )
    _set(conv, padding=padding, dilation=dilation, stride=to.stride)
    before = _padding(conv)
    uneven = [reach % 2 if conv.padding == "same" else 0 for reach in _reach(conv)]
    # what torch pads by where the mode is not zeros
    _set(conv, _reversed_padding_repeated_twice=[*_both_sides(before, uneven)])


def _missing(module: nn.Module, to: Denser) -> tuple[int, ...]:
    """By how many positions each axis of the denser map would come out too small."""
    before = _per_axis(module, "stride")
    steps = zip(to.factor, to.stride, before, _reach(module), _padding(module), strict=True)
    return tuple(
        f * ((reach - 2 * p) % stride) if new != stride and module.padding != "same" else 0
        for f, new, stride, reach, p in steps
    )


def _is_same(conv: Convolution, to: Denser) -> bool:
    """Whether 'same' pads as before in front, and behind by as much as would be missing."""
    steps = zip(to.factor, to.stride, _reach(conv), _padding(conv), _missing(conv, to), strict=True)
    return all(
        stride == 1 and f * reach // 2 == f * p and f * reach == 2 * f * p + missing
        for f, stride, reach, p, missing in steps
    )


def _rounds_up(pool: nn.Module, to: Denser) -> bool:
    """Whether rounding up gives the strided pooling a position more, where sizes are divisible."""
    strides = zip(to.stride, _per_axis(pool, "stride"), strict=True)
    reads = zip(strides, _padding(pool), _reach(pool), strict=True)
    return any(new != old and (2 * p - reach - 1) % old for (new, old), p, reach in reads)


def _reach(module: nn.Module) -> tuple[int, ...]:
    """Positions from the first tap to the last."""
    taps = _per_axis(module, "kernel_size")
    rates = (1,) * len(taps) if isinstance(module, AvgPool) else _per_axis(module, "dilation")
    return tuple(rate * (count - 1) for rate, count in zip(rates, taps, strict=True))


def _padding(module: nn.Module) -> tuple[int, ...]:
    """Padding in front, per axis."""
    if isinstance(module.padding, str):
        same = module.padding == "same"
        return tuple(reach // 2 if same else 0 for reach in _reach(module))
    return _per_axis(module, "padding")


def _both_sides(padding: Sequence[int], missing: Sequence[int]) -> tuple[int, ...]:
    """Amounts as ``F.pad`` takes them, last axis first: around, and what is missing behind."""
    amounts = [(p, p + more) for p, more in zip(padding, missing, strict=True)]
    return tuple(amount for pair in reversed(amounts) for amount in pair)


def _times(factors: Sequence[int], values: Sequence[int]) -> tuple[int, ...]:
    return tuple(factor * value for factor, value in zip(factors, values, strict=True))


def _set(module: nn.Module, **settings: object) -> None:
    for name, value in settings.items():
        setattr(module, name, value)


def _per_axis(module: nn.Module, name: str) -> tuple[int, ...]:
    """A setting of a module, per axis."""
    axes = axes_of(module)
    assert axes is not None
    value: Any = getattr(module, name)
    if isinstance(value, int):
        return (value,) * axes
    values = tuple(int(one) for one in value)
    return values * axes if len(values) == 1 else values
