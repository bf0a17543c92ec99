"""What training puts around a model, recognised by name and taken off."""

import pytest
from torch import nn
from torch.optim.swa_utils import AveragedModel

from dilsearch.tracing.wrappers import is_compiled, is_distributed, plain_path, unwrapped

CHILDREN = {
    "OptimizedModule": "_orig_mod",
    "DistributedDataParallel": "module",
    "DataParallel": "module",
    "FullyShardedDataParallel": "_fsdp_wrapped_module",
    "CheckpointWrapper": "_checkpoint_wrapped_module",
    "_FabricModule": "_forward_module",
    "AveragedModel": "module",
}


def wrapped(kind: str, module: nn.Module) -> nn.Module:
    """A stand-in with the class name and the child of a wrapper."""
    wrapper: nn.Module = type(kind, (nn.Module,), {})()
    wrapper.add_module(CHILDREN[kind], module)
    return wrapper


@pytest.mark.parametrize("kind", CHILDREN)
def test_each_wrapper_is_taken_off(kind: str) -> None:
    inner = nn.Sequential(nn.ReLU())
    assert unwrapped(wrapped(kind, inner)) is inner
    assert is_compiled(wrapped(kind, inner)) is (kind == "OptimizedModule")
    distributed = {"OptimizedModule", "CheckpointWrapper", "AveragedModel"}.isdisjoint({kind})
    assert is_distributed(wrapped(kind, inner)) is distributed


def test_wrappers_within_wrappers() -> None:
    inner = nn.ReLU()
    model = wrapped("_FabricModule", wrapped("OptimizedModule", inner))
    model.add_module("_original_module", inner)  # as Fabric does
    assert unwrapped(wrapped("DistributedDataParallel", model)) is inner


def test_the_average_that_torch_keeps_is_taken_off_and_its_counter_with_it() -> None:
    averaged = AveragedModel(nn.Sequential(nn.Conv2d(1, 1, 3)))
    assert unwrapped(averaged) is averaged.module
    assert "n_averaged" in averaged.state_dict()  # control
    assert set(unwrapped(averaged).state_dict()) == {"0.weight", "0.bias"}


def test_a_network_with_a_child_of_that_name_is_no_wrapper() -> None:
    model = nn.ModuleDict({"module": nn.ReLU()})
    assert unwrapped(model) is model
    assert not is_compiled(model)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("", ""),
        ("_orig_mod", ""),
        ("_orig_mod.body.0", "body.0"),
        ("body._orig_mod.0._checkpoint_wrapped_module.conv", "body.0.conv"),
        ("_fsdp_wrapped_module.body._fsdp_wrapped_module.conv", "body.conv"),
        ("module.conv", "module.conv"),
        ("body._orig_model.conv", "body._orig_model.conv"),
    ],
)
def test_paths_without_wrappers(path: str, expected: str) -> None:
    assert plain_path(path) == expected
