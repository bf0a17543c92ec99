"""A copy of a model that costs no memory and holds plain layers only, to be exported."""

import copy
from typing import TypeAlias

import torch
from torch import Tensor, nn

from dilsearch.layers import BranchConv2d, MixedRateConv, RelaxedConv

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

    Relaxed sites stand with the dilations they were relaxed from: the graph holds what the
    network is, and a plan says what its rates become. With ``present_rates`` they stand with
    their rates now, rounded up, which is as far as bilinear sampling touches.
    """
    now = {
        name: module.rate.detach()
        .ceil()
        .int()
        .reshape(len(module.initial_rates), *module.rate.shape[1:])
        .tolist()
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
    shadow: nn.Module = copy.deepcopy(model, dict(tensors))
    shadow = replace_modules(
        shadow,
        {
            id(module): module.to_conv(now.get(name) or module.initial_rates)
            for name, module in shadow.named_modules()
            if isinstance(module, RelaxedConv)
        },
    )
    return shadow.eval()


def replace_modules(model: nn.Module, replacements: dict[int, nn.Module]) -> nn.Module:
    """The model with modules exchanged by identity, at every path that leads to them.

    Returns the model itself, changed, or the replacement if the model is itself exchanged.
    """
    if id(model) in replacements:
        return replacements[id(model)]
    for module in list(model.modules()):
        for name, child in list(module._modules.items()):
            if child is not None and id(child) in replacements:
                module._modules[name] = replacements[id(child)]
    return model


def convolutions_of(model: nn.Module) -> dict[str, Convolution]:
    """Convolutions by module path."""
    return {
        name: module for name, module in model.named_modules() if isinstance(module, Convolution)
    }
