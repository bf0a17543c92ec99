"""The optimiser of the weights: no decay on normalisation layers."""

from collections.abc import Iterable
from typing import Any, Literal

import torch
from torch import nn
from torch.nn.modules.batchnorm import _NormBase


def weight_optimizer(
    model: nn.Module,
    weights: Iterable[nn.Parameter],
    *,
    name: Literal["sgd", "adamw"] = "sgd",
    learning_rate: float,
    momentum: float = 0.9,
    weight_decay: float = 1e-4,
) -> torch.optim.Optimizer:
    """SGD with momentum, or AdamW, over the given Parameters of a model.

    Normalisation layers are not decayed; biases elsewhere are. Source: RegSeg (Gao 2022), Sec. 4.2,
    which trains by SGD.

    Args:
        model: The model that the Parameters are of.
        weights: The Parameters to train; those that need no gradient are left out.
        name: ``"sgd"`` or ``"adamw"``.
        learning_rate: At the height of its schedule.
        momentum: Of SGD; AdamW keeps its own 0.9 and 0.999.
        weight_decay: Added to the gradient by SGD, taken from the weight by AdamW.
    """
    groups = weight_groups(model, weights, weight_decay)
    if name == "adamw":
        return torch.optim.AdamW(groups, lr=learning_rate)
    return torch.optim.SGD(groups, lr=learning_rate, momentum=momentum)


def weight_groups(
    model: nn.Module, weights: Iterable[nn.Parameter], weight_decay: float | None
) -> list[dict[str, Any]]:
    """Parameter groups of the weights that need a gradient: those that decay, then norms.

    A group without Parameters is left out.

    Args:
        model: The model that the Parameters are of.
        weights: The Parameters to train.
        weight_decay: Of all but normalisation layers; None leaves it to the optimiser.
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
    decay = {} if weight_decay is None else {"weight_decay": weight_decay}
    groups = [
        {"name": "weights", "params": decayed, **decay},
        {"name": "norms", "params": plain, "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]
