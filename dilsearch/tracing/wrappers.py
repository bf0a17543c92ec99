"""What training puts around a model and its parts, and the names that they have without it."""

from torch import nn

_COMPILED = "OptimizedModule"
_AVERAGED = "AveragedModel"
_WHOLE = {
    _COMPILED: "_orig_mod",
    "DistributedDataParallel": "module",
    "DataParallel": "module",
    "FullyShardedDataParallel": "_fsdp_wrapped_module",
    "CheckpointWrapper": "_checkpoint_wrapped_module",
    "_FabricModule": "_forward_module",
    _AVERAGED: "module",
}
"""Wrappers by the name of their class, so that none has to be imported, with the child in each."""
_COMPONENTS = frozenset({"_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"})


def unwrapped(model: nn.Module) -> nn.Module:
    """The user's module inside the wrappers that training puts around it, however many.

    Those of ``DistributedDataParallel``, ``DataParallel``, ``FullyShardedDataParallel``,
    ``torch.compile``, activation checkpointing, Fabric and ``torch.optim.swa_utils.AveragedModel``
    are known.
    """
    name = _WHOLE.get(type(model).__name__)
    inner = model._modules.get(name) if name is not None else None
    return model if inner is None else unwrapped(inner)


def plain_path(path: str) -> str:
    """A module's path without the parts that wrappers add, whole model and submodules alike.

    ``body._orig_mod.0.conv`` is ``body.0.conv``. A part called ``module`` is kept: it may be the
    user's own, and around a whole model ``unwrapped`` takes it off.
    """
    return ".".join(part for part in path.split(".") if part not in _COMPONENTS)


def is_compiled(module: nn.Module) -> bool:
    """Whether a module is what ``torch.compile`` put around another."""
    return type(module).__name__ == _COMPILED


def without_compilation(model: nn.Module) -> nn.Module:
    """The model with every compiled part, and the whole, as it was before; changed in place."""
    for module in list(model.modules()):
        for name, child in list(module._modules.items()):
            while child is not None and is_compiled(child):
                child = module._modules[name] = child._modules["_orig_mod"]
    return unwrapped(model)


def is_distributed(module: nn.Module) -> bool:
    """Whether a module is what spreads another over devices, and keeps a list of its Parameters."""
    return type(module).__name__ in _WHOLE.keys() - {_COMPILED, "CheckpointWrapper", _AVERAGED}
