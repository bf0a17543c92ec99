"""Weights and plan in one file, so that weights are never loaded into other rates.

A dilation is not in a ``state_dict``: loaded strictly into a network with other rates, all keys
match and the accuracy is silently wrong. The file therefore names the rates its weights were
trained with, and loading compares them.
"""

import json
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from dilsearch.errors import PlanError, SurgeryError
from dilsearch.layers import RelaxedConv
from dilsearch.plan import DilationPlan
from dilsearch.runs import write_atomically
from dilsearch.surgery.differences import plan_differences, weight_differences
from dilsearch.surgery.present import has_sites, known_sites, modules_by_site, present_plan
from dilsearch.tracing.wrappers import plain_path, unwrapped

FILE_VERSION = 2
"""Of the files written. Version 1 did not name its version and is read as well."""
_PLAN_KEY = "dilsearch.plan"
_VERSION_KEY = "file_version"


def save(model: nn.Module, path: Path | str) -> None:
    """Write weights and plan of a relaxed or discretised model to one safetensors file.

    Names are those of the model without ``torch.compile`` and ``DistributedDataParallel``, whole
    or in parts. The file is written beside its place and then moved there, and depends on the
    model alone.

    Args:
        model: What ``relax``, ``discretize`` or ``apply_plan`` returned, trained or not.
        path: The file; its folder is made if need be.

    Raises:
        SurgeryError: If the model's sites are unknown, its weights have no values, or it keeps
            more than tensors.
        RunError: If the disk refuses.
    """
    plan = present_plan(model)
    state = unwrapped(model).state_dict()
    faults = [
        f"'{name}' in its state_dict is a {type(value).__name__}, and only tensors can be stored; "
        "keep it elsewhere"
        for name, value in state.items()
        if not isinstance(value, Tensor)
    ]
    if any(isinstance(value, Tensor) and value.is_meta for value in state.values()):
        faults.append("it is on the meta device, which holds no values; give it weights first")
    if faults:
        raise SurgeryError.from_faults("cannot save the model", faults)
    tensors = {plain_path(name): tensor for name, tensor in state.items()}
    write_tensors(Path(path), tensors, {_PLAN_KEY: _described(plan)})


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
    """Load what ``save`` wrote into a model with the same sites and, where discretised, rates.

    Relaxed sites take their rates from the file. Nothing is loaded if anything differs. A model
    that was never relaxed gets its rates first::

        model = apply_plan(build(), saved_plan(path))
        load(model, path)

    Args:
        model: The model, changed in place; wrappers around it or its parts make no difference.
        path: The file.

    Returns:
        The model that was given.

    Raises:
        PlanError: With every difference, if the model's sites or rates are not the file's, or the
            file was written by a newer dilsearch.
        SurgeryError: If the file cannot be read, its weights are not the model's, or the model's
            sites are unknown.
    """
    plan = saved_plan(path)
    if not has_sites(model):
        raise SurgeryError(
            f"{type(unwrapped(model)).__name__} was neither relaxed nor discretised, so that its "
            "rates cannot be compared with the file's; "
            "call apply_plan(model, saved_plan(path)) first, and load into what it returns"
        )
    target, state = unwrapped(model), _tensors(path)
    expected = {plain_path(name): (name, value) for name, value in target.state_dict().items()}
    differences = _plan_differences(model, plan, state)
    # what else a site with other rates is called is told by its own sentence
    told = {_rate_name(site) for site in {*plan, *known_sites(model)}} if differences else set()
    faults = weight_differences(
        {name: tuple(value.shape) for name, (_, value) in expected.items() if name not in told},
        {name: tuple(value.shape) for name, value in state.items() if name not in told},
    )
    if differences:
        raise PlanError.from_faults(f"{path} does not fit the model", [*differences, *faults])
    if faults:
        raise SurgeryError.from_faults(f"{path} holds the weights of another network", faults)
    if any(value.is_meta for _, value in expected.values()):
        raise SurgeryError(
            "the model is on the meta device, which holds no values; "
            "call model.to_empty(device='cpu') before loading"
        )
    target.load_state_dict({expected[name][0]: value for name, value in state.items()})
    return model


def saved_plan(path: Path | str) -> DilationPlan:
    """The plan that a weights file was trained with.

    Args:
        path: What ``save`` wrote.

    Raises:
        SurgeryError: If the file cannot be read or holds no plan.
        PlanError: If its plan is damaged, or was written by a newer dilsearch.
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
    text = metadata[_PLAN_KEY]
    _check_version(text, path)
    return DilationPlan.from_json(text, source=str(path))


def _described(plan: DilationPlan) -> str:
    """The plan's JSON with the version of the file.

    One text: a header of several entries is written in an order that varies.
    """
    return json.dumps({_VERSION_KEY: FILE_VERSION, **json.loads(plan.to_json())}, indent=2) + "\n"


def _check_version(text: str, path: Path | str) -> None:
    try:
        document = json.loads(text)
    except json.JSONDecodeError:
        return  # for the plan's reader to say
    version = document.get(_VERSION_KEY, 1) if isinstance(document, dict) else 1
    if version not in range(1, FILE_VERSION + 1):
        raise PlanError(
            f"{path} is a weights file of version {version}, and this dilsearch reads versions 1 "
            f"to {FILE_VERSION}. Upgrade dilsearch to read it."
        )


def _tensors(path: Path | str) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise SurgeryError(f"cannot read weights {path}: {error}") from None


def _plan_differences(
    model: nn.Module, plan: DilationPlan, state: Mapping[str, Tensor]
) -> list[str]:
    modules, sites = modules_by_site(model), known_sites(model)
    learned = [site for site in sites if isinstance(modules.get(site), RelaxedConv)]
    return plan_differences(
        present_plan(model, read_learned=False),
        plan,
        learned_in_model=learned,
        learned_in_file=[site for site in plan if _rate_name(site) in state],
        limits={site: (sites[site].lower, sites[site].upper) for site in learned},
    )


def _rate_name(site: str) -> str:
    """Of the Parameter that holds a relaxed site's rates."""
    return f"{site}.rate" if site else "rate"
