"""A copy of a model that costs no memory and holds plain layers only, to be exported."""

import copy

import torch
from torch import Tensor, nn

from dilsearch.layers import BranchConv2d, RelaxedConv

Convolution = nn.Conv2d | BranchConv2d


def shadow_of(model: nn.Module) -> nn.Module:
    """A copy on the meta device, in evaluation mode, relaxed sites back as plain convolutions.

    Relaxed sites stand with the dilations they were relaxed from: the graph holds what the
    network is, and a plan says what its rates become.
    """
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
            id(module): module.to_conv(module.initial_rates)
            for module in shadow.modules()
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


def spatial_convolutions(model: nn.Module) -> dict[str, Convolution]:
    """Convolutions with two or more taps, by module path: what may become a site."""
    return {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, nn.Conv2d | BranchConv2d) and max(module.kernel_size) > 1
    }
