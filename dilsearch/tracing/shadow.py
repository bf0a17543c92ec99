"""A copy of a model that costs no memory and holds plain layers only, to be exported."""

import copy
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from dilsearch.errors import TraceError
from dilsearch.layers import BranchConv2d, MixedRateConv, RelaxedConv
from dilsearch.tracing.wrappers import is_compiled, unwrapped, without_compilation

Convolution: TypeAlias = (
    nn.Conv1d
    | nn.Conv2d
    | nn.Conv3d
    | nn.ConvTranspose1d
    | nn.ConvTranspose2d
    | nn.ConvTranspose3d
    | BranchConv2d
    | MixedRateConv
)


def shadow_of(model: nn.Module, *, present_rates: bool = False) -> nn.Module:
    """A copy on the meta device, in evaluation mode, relaxed sites back as plain convolutions.

    Wrappers are left out, and compiled parts stand as they were before, under their plain paths.
    Relaxed sites stand with the dilations they were relaxed from: the graph holds what the
    network is, and a plan says what its rates become. With ``present_rates`` they stand with
    their rates now, rounded up, which is as far as bilinear sampling touches.
    """
    model = unwrapped(model)
    now = {
        name: rates_now(module)
        for name, module in model.named_modules()
        if present_rates and isinstance(module, RelaxedConv)
    }
    tensors: dict[int, Tensor] = {}
    for module in model.modules():
        for name, parameter in module._parameters.items():
            if parameter is not None:
                meta = nn.Parameter(
                    torch.empty_like(parameter, device="meta"), parameter.requires_grad
                )
                tensors[id(module._parameters[name])] = meta
        for buffer in module._buffers.values():
            if buffer is not None:
                tensors[id(buffer)] = torch.empty_like(buffer, device="meta")
    # deepcopy consults its memo first, so that no weight is ever copied
    try:
        shadow: nn.Module = copy.deepcopy(model, dict(tensors))
    except RuntimeError as error:  # such as weights that a hook computes before each pass
        raise TraceError(
            f"{type(model).__name__} cannot be copied: {str(error).strip().splitlines()[0]}; "
            "give a network that copy.deepcopy takes"
        ) from error
    shadow = replace_modules(
        shadow,
        {
            id(module): module.to_conv(now.get(name) or module.initial_rates)
            for name, module in shadow.named_modules()
            if isinstance(module, RelaxedConv)
        },
    )
    shadow = without_compilation(shadow)
    shadow.eval()
    return shadow


def rates_now(site: RelaxedConv) -> Any:
    """A site's rates within their limits, rounded up: the furthest pixels it reads.

    On the meta device, where rates have no values, those it was relaxed from.
    """
    if site.rate.is_meta:
        return site.initial_rates
    within = torch.minimum(site.rate.detach(), site.bound).clamp(min=1).ceil().int()
    return within.reshape(len(site.initial_rates), *within.shape[1:]).tolist()


def replace_modules(model: nn.Module, replacements: dict[int, nn.Module]) -> nn.Module:
    """The model with modules exchanged by identity, at every path that leads to them.

    What ``torch.compile`` put around an exchanged module is put around its replacement.

    Returns the model itself, changed, or the replacement if the model is itself exchanged.
    """
    if id(model) in replacements:
        return replacements[id(model)]
    recompiled = {
        id(module): _recompiled(module, replacements[id(inner)])
        for module in model.modules()
        if is_compiled(module) and id(inner := module._modules["_orig_mod"]) in replacements
    }
    everything = replacements | recompiled
    for module in list(model.modules()):
        for name, child in list(module._modules.items()):
            if child is not None and id(child) in everything:
                module._modules[name] = everything[id(child)]
    return model


def _recompiled(wrapper: nn.Module, inner: nn.Module) -> nn.Module:
    """The same compilation, which holds the forward of its module, of another module."""
    again: nn.Module = type(wrapper)(inner, wrapper.dynamo_ctx)
    return again


def convolutions_of(model: nn.Module) -> dict[str, Convolution]:
    """Convolutions by module path."""
    return {
        name: module for name, module in model.named_modules() if isinstance(module, Convolution)
    }
