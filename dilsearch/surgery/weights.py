"""Weights and plan in one file, so that weights are never loaded into other rates.

A dilation is not in a ``state_dict``: loaded strictly into a network with other rates, all keys
match and the accuracy is silently wrong. The file therefore names the rates its weights were
trained with, and loading compares them.
"""

from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from dilsearch.errors import PlanError, SurgeryError
from dilsearch.layers import BranchConv2d, RelaxedConv
from dilsearch.plan import DilationPlan, SiteRates
from dilsearch.runs import write_atomically
from dilsearch.sites import Granularity, PerBranch
from dilsearch.surgery.companion import companion_of, unwrapped
from dilsearch.surgery.rates import read_plan

_PLAN_KEY = "dilsearch.plan"


def save(model: nn.Module, path: Path | str) -> None:
    """Write weights and plan of a relaxed or discretised model to one safetensors file.

    The file is written beside its place and then moved there, and depends on the model alone.

    Raises:
        SurgeryError: If the model was neither relaxed nor discretised.
        RunError: If the disk refuses.
    """
    plan = present_plan(model)
    tensors = unwrapped(model).state_dict()
    write_tensors(Path(path), tensors, {_PLAN_KEY: plan.to_json()})


def write_tensors(path: Path, tensors: Mapping[str, Tensor], header: Mapping[str, str]) -> None:
    """Write a safetensors file whole or not at all; tied tensors are written once each.

    Raises:
        RunError: If the disk refuses.
    """
    copies = {name: t.detach().cpu().contiguous().clone() for name, t in tensors.items()}

    def write(temporary: Path) -> None:
        try:
            save_file(copies, temporary, dict(header))
        except SafetensorError as error:  # how safetensors reports a full disk, too
            raise OSError(str(error)) from error

    write_atomically(path, write)


def load(model: nn.Module, path: Path | str) -> nn.Module:
    """Load what ``save`` wrote into a model with the same sites and, if discretised, rates.

    A relaxed model takes its rates from the file. Nothing is loaded if anything differs.

    Returns:
        The model that was given.

    Raises:
        PlanError: With every difference, if the model's sites or rates are not the file's.
        SurgeryError: If the file cannot be read, or its weights are not the model's.
    """
    plan = saved_plan(path)
    target = unwrapped(model)
    differences = _differences(present_plan(model), plan, compare_rates=not _is_relaxed(target))
    if differences:
        raise PlanError.from_faults(f"{path} does not fit the model", differences)
    state = load_file(path)
    expected = target.state_dict()
    faults = [f"it has no '{name}'" for name in expected if name not in state]
    faults += [f"the model has no '{name}'" for name in state if name not in expected]
    faults += [
        f"'{name}' has shape {tuple(state[name].shape)}, the model's {tuple(expected[name].shape)}"
        for name in expected
        if name in state and state[name].shape != expected[name].shape
    ]
    if faults:
        raise SurgeryError.from_faults(f"{path} holds the weights of another network", faults)
    target.load_state_dict(state)
    return model


def saved_plan(path: Path | str) -> DilationPlan:
    """The plan that a weights file was trained with.

    Raises:
        SurgeryError: If the file cannot be read or holds no plan.
    """
    try:
        with safe_open(str(path), framework="pt") as file:
            metadata = file.metadata() or {}
    except (OSError, SafetensorError) as error:
        raise SurgeryError(f"cannot read weights {path}: {error}") from None
    if _PLAN_KEY not in metadata:
        raise SurgeryError(
            f"{path} holds weights but no plan, so that their rates are unknown; "
            "use a file written by dilsearch"
        )
    return DilationPlan.from_json(metadata[_PLAN_KEY], source=str(path))


def present_plan(model: nn.Module) -> DilationPlan:
    """The rates a relaxed or discretised model has now, read off its modules.

    Raises:
        SurgeryError: If the model was neither relaxed nor discretised.
    """
    target = unwrapped(model)
    if _is_relaxed(target):
        return read_plan(model)
    companion = companion_of(model)
    if companion is None:
        raise SurgeryError(
            f"{type(target).__name__} was neither relaxed nor discretised, so that its sites are "
            "unknown; relax it first"
        )
    return DilationPlan(
        {
            name: SiteRates(
                granularity.kind, _integer_rates(target.get_submodule(name), _branches(granularity))
            )
            for name, granularity in companion.sites.items()
        }
    )


def _branches(granularity: Granularity) -> int:
    return granularity.branches if isinstance(granularity, PerBranch) else 1


def _is_relaxed(model: nn.Module) -> bool:
    return any(isinstance(module, RelaxedConv) for module in model.modules())


def _integer_rates(module: nn.Module, branches: int) -> tuple[float, ...]:
    if isinstance(module, nn.Sequential):  # cropping, then the convolution
        module = module[-1]
    if isinstance(module, BranchConv2d):
        return tuple(float(rate) for rate in module.rates)
    assert isinstance(module, nn.Conv2d)
    return (float(module.dilation[0]),) * branches


def _differences(model: DilationPlan, file: DilationPlan, *, compare_rates: bool) -> list[str]:
    faults = [f"site '{site}' is not in the file" for site in model if site not in file]
    faults += [f"site '{site}' is not in the model" for site in file if site not in model]
    for site in file:
        if site not in model:
            continue
        if (model.kind(site), len(model[site])) != (file.kind(site), len(file[site])):
            faults.append(
                f"site '{site}' has {len(file[site])} rates of kind '{file.kind(site)}' in the "
                f"file, {len(model[site])} of kind '{model.kind(site)}' in the model"
            )
        elif compare_rates and model[site] != file[site]:
            faults.append(
                f"site '{site}' has rates {_shown(file[site])} in the file, "
                f"{_shown(model[site])} in the model; discretise the model with the file's plan"
            )
    return faults


def _shown(rates: tuple[float, ...]) -> str:
    return "(" + ", ".join(f"{rate:g}" for rate in rates) + ")"
