"""The optimiser of the weights: SGD with momentum, no decay on normalisation layers."""

from collections.abc import Iterable

import torch
from torch import nn
from torch.nn.modules.batchnorm import _NormBase


def weight_optimizer(
    model: nn.Module,
    weights: Iterable[nn.Parameter],
    *,
    learning_rate: float,
    momentum: float,
    weight_decay: float,
) -> torch.optim.Optimizer:
    """SGD over the given Parameters of a model.

    Normalisation layers are not decayed; biases elsewhere are. Source: RegSeg (Gao 2022), Sec. 4.2.
    """
    norms = {
        id(parameter)
        for module in model.modules()
        if isinstance(module, _NormBase | nn.GroupNorm | nn.LayerNorm)
        for parameter in module.parameters(recurse=False)
    }
    listed = [parameter for parameter in weights if parameter.requires_grad]
    decayed = [parameter for parameter in listed if id(parameter) not in norms]
    plain = [parameter for parameter in listed if id(parameter) in norms]
    groups = [
        {"params": decayed, "weight_decay": weight_decay},
        {"params": plain, "weight_decay": 0.0},
    ]
    return torch.optim.SGD(
        [group for group in groups if group["params"]], lr=learning_rate, momentum=momentum
    )
