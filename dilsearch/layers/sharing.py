"""One module takes over the weight and bias of another: the Parameters, or what computes them."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from torch.nn.utils import parametrize
from torch.nn.utils.parametrizations import weight_norm

NAMES = ("weight", "bias")
_SAID = frozenset(
    {
        *("in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation", "groups"),
        *("padding_mode", "transposed", "output_padding", "training"),
        *("grid", "rates", "granularity", "initial_rates", "is_read"),
    }
)
"""Plain attributes of the convolutions of torch.nn and of this package, which each has its own."""
_OLD_NAMES_HOOK = f"{weight_norm.__qualname__}.<locals>._weight_norm_compat_hook"


def share(target: nn.Module, source: nn.Module) -> None:
    """Give a module the weight and bias of another, with all that belongs to them.

    A parametrisation (``torch.nn.utils.parametrizations.weight_norm`` and the like) is handed on
    whole, as the module it is: nothing is computed, inverted or drawn anew, so that it gives the
    same weights bit for bit, and buffers that move in training are the same ones. The keys of the
    ``state_dict`` are the source's.

    Args:
        target: A module whose own weight and bias, if it has any, are given up.
        source: A convolution with a weight and, or not, a bias.
    """
    for name in NAMES:
        if parametrize.is_parametrized(source, name):
            # Any parametrisation makes the class and the property; then the source's takes over.
            target.register_parameter(name, nn.Parameter(torch.empty(0, device="meta")))
            parametrize.register_parametrization(target, name, nn.Identity(), unsafe=True)
            _parametrizations(target)[name] = _parametrizations(source)[name]
            _parametrizations(target).training = _parametrizations(source).training
        else:
            target.register_parameter(name, getattr(source, name))
    for hook in old_names_hooks(source):
        target._register_load_state_dict_pre_hook(hook)  # type: ignore[no-untyped-call]


def carry(target: nn.Module, source: nn.Module) -> None:
    """Give a module the plain attributes that a user has kept on another: a scale, a tag.

    Args:
        target: A convolution of ``torch.nn`` or of this package.
        source: Another.
    """
    for name, value in own_attributes(source).items():
        setattr(target, name, value)


def own_attributes(source: nn.Module) -> dict[str, Any]:
    """Public plain attributes of a convolution beside those that every convolution has."""
    return {
        name: value
        for name, value in vars(source).items()
        if not name.startswith("_") and name not in _SAID
    }


def has_bias(source: nn.Module) -> bool:
    """Whether a bias is added, without computing it."""
    return parametrize.is_parametrized(source, "bias") or source.bias is not None


def device_of(source: nn.Module) -> torch.device:
    """Where the weight lies, without computing it."""
    return first_tensor(source, "weight").device


def first_tensor(source: nn.Module, name: str) -> torch.Tensor:
    """The tensor, or the first of those that it is computed from."""
    if parametrize.is_parametrized(source, name):
        held = _parametrizations(source)[name]
        return next(iter([*held.parameters(recurse=False), *held.buffers(recurse=False)]))
    tensor = getattr(source, name)
    assert isinstance(tensor, torch.Tensor)
    return tensor


def old_names_hooks(source: nn.Module) -> Iterator[Any]:
    """The hooks with which ``weight_norm`` loads checkpoints of its predecessor."""
    for wrapped in source._load_state_dict_pre_hooks.values():
        hook = getattr(wrapped, "hook", wrapped)
        if getattr(hook, "__qualname__", "") == _OLD_NAMES_HOOK:
            yield hook


def _parametrizations(module: nn.Module) -> nn.ModuleDict:
    held = module.parametrizations
    assert isinstance(held, nn.ModuleDict)
    return held
