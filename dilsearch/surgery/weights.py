"""Weights and plan in one file, so that weights are never loaded into other rates.

A dilation is not in a ``state_dict``: loaded strictly into a network with other rates, all keys
match and the accuracy is silently wrong. The file therefore names the rates its weights were
trained with, and the settings of all convolutions and poolings beside, and loading compares them.
"""

import json
import math
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from dilsearch.errors import PlanError, SurgeryError
from dilsearch.layers import RelaxedConv
from dilsearch.plan import DilationPlan
from dilsearch.runs import write_atomically
from dilsearch.surgery.differences import (
    kind_differences,
    plan_differences,
    settings_differences,
    weight_differences,
)
from dilsearch.surgery.present import (
    has_sites,
    is_relaxed,
    known_sites,
    modules_by_site,
    present_plan,
)
from dilsearch.surgery.rates import relaxed_sites
from dilsearch.surgery.settings import KIND, Settings, settings_of
from dilsearch.tracing.wrappers import plain_path, unwrapped

FILE_VERSION = 3
"""Of the files written. Older ones are read: version 2 has no settings, and 1 names no version."""
_PLAN_KEY = "dilsearch.plan"
_VERSION_KEY = "file_version"
_SETTINGS_KEY = "settings"


def save(model: nn.Module, path: Path | str) -> None:
    """Write weights and plan of a relaxed or discretised model to one safetensors file.

    Names are those of the model without ``torch.compile`` and ``DistributedDataParallel``, whole
    or in parts, and of an ``AveragedModel`` the averages are written. The settings of convolutions
    and poolings go into the file, as no ``state_dict`` has them. The file is written beside its
    place and then moved there, and depends on the model alone.

    Args:
        model: What ``relax``, ``discretize`` or ``apply_plan`` returned, trained or not.
        path: The file; its folder is made if need be.

    Raises:
        SurgeryError: If the model's sites are unknown, a rate lies outside its limits or is not a
            number, the weights have no values, or the model keeps more than tensors.
        RunError: If the disk refuses.
    """
    state = unwrapped(model).state_dict()
    faults = [*_limit_faults(model), *_state_faults(state)]
    if faults:
        raise SurgeryError.from_faults("cannot save the model", faults)
    header = {_PLAN_KEY: _described(present_plan(model), settings_of(model))}
    tensors = {plain_path(name): tensor for name, tensor in state.items()}
    write_tensors(Path(path), tensors, header)


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

    Relaxed sites take their rates from the file. Compared are sites, rates, the names and shapes
    of weights, and what no ``state_dict`` has: stride, padding, dilation, groups and padding mode
    of every convolution, and the settings of every pooling, which files of versions 1 and 2 do not
    tell. Nothing is loaded if anything differs. A precision is no difference: values are brought
    to the dtype that the model has, as ``load_state_dict`` does, be they rounded or not. A model
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
        SurgeryError: If the file cannot be read, its weights or settings are not the model's, or
            the model's sites are unknown.
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
    # what else differs at a site that is none, or has other rates, follows from that
    told: set[str] = {*plan, *known_sites(model)} if differences else set()
    faults = [
        *_weight_faults({name: value for name, (_, value) in expected.items()}, state, told),
        *_setting_faults(model, path, told),
    ]
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
    text = _description(path)
    _check_version(text, path)
    return DilationPlan.from_json(text, source=str(path))


def _limit_faults(model: nn.Module) -> Iterator[str]:
    """Rates that an optimiser step took where ``load`` would refuse them."""
    for site, layer in (relaxed_sites(model) if is_relaxed(model) else {}).items():
        if layer.rate.is_meta:
            continue
        lower, upper = layer.granularity.lower, layer.granularity.upper
        rates = layer.rate.detach().reshape(-1).tolist()
        beyond = [rate for rate in rates if math.isfinite(rate) and not lower <= rate <= upper]
        if beyond:
            others = f" and {len(beyond) - 1} more" if len(beyond) > 1 else ""
            yield (
                f"site '{site}' has rate {beyond[0]:g}{others} outside its limits {lower} to "
                f"{upper}; call clamp_rates first"
            )


def _state_faults(state: Mapping[str, object]) -> Iterator[str]:
    """What of a ``state_dict`` cannot be written."""
    for name, value in state.items():
        if not isinstance(value, Tensor):
            yield (
                f"'{name}' in its state_dict is a {type(value).__name__}, and only tensors can be "
                "stored; keep it elsewhere"
            )
    if any(isinstance(value, Tensor) and value.is_meta for value in state.values()):
        yield "it is on the meta device, which holds no values; give it weights first"


def _described(plan: DilationPlan, settings: Settings) -> str:
    """The plan's JSON with the version of the file and the settings of the model.

    One text: a header of several entries is written in an order that varies.
    """
    document = json.loads(plan.to_json())
    return json.dumps({_VERSION_KEY: FILE_VERSION, **document, _SETTINGS_KEY: settings})


def _description(path: Path | str) -> str:
    """What ``_described`` gave when the file was written."""
    try:
        with safe_open(str(path), framework="pt") as file:
            metadata = file.metadata() or {}
    except (OSError, SafetensorError) as error:
        raise SurgeryError(
            f"cannot read weights {path}: {error}; give a safetensors file that save wrote"
        ) from None
    if _PLAN_KEY not in metadata:
        raise SurgeryError(
            f"{path} holds weights but no plan, so that their rates are unknown; "
            "use a file written by dilsearch"
        )
    text = metadata[_PLAN_KEY]
    assert isinstance(text, str)
    return text


def _saved_settings(path: Path | str) -> Settings | None:
    """The settings in a file whose plan was read; None if it is of a version without."""
    settings = json.loads(_description(path)).get(_SETTINGS_KEY)
    if settings is None:
        return None
    if not isinstance(settings, dict) or not all(
        isinstance(one, dict) and KIND in one for one in settings.values()
    ):
        raise SurgeryError(f"{path} holds damaged settings of convolutions; save the model again")
    return settings


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
        raise SurgeryError(
            f"cannot read weights {path}: {error}; give a safetensors file that save wrote"
        ) from None


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


def _weight_faults(
    model: Mapping[str, Tensor], file: Mapping[str, Tensor], told: Collection[str]
) -> list[str]:
    """Differences in names, shapes and kinds, but for the rates of sites that were told."""
    rates = {_rate_name(site) for site in told}
    ours, theirs = (
        {name: tensor for name, tensor in tensors.items() if name not in rates}
        for tensors in (model, file)
    )
    shapes = ({n: tuple(t.shape) for n, t in tensors.items()} for tensors in (ours, theirs))
    dtypes = ({n: t.dtype for n, t in tensors.items()} for tensors in (ours, theirs))
    return [*weight_differences(*shapes), *kind_differences(*dtypes)]


def _setting_faults(model: nn.Module, path: Path | str, told: Collection[str]) -> list[str]:
    """Differences in the settings of convolutions and poolings, but for sites that were told."""
    saved = _saved_settings(path)
    if saved is None:
        return []
    ours, theirs = (
        {name: one for name, one in settings.items() if name not in told}
        for settings in (settings_of(model), saved)
    )
    return settings_differences(ours, theirs)


def _rate_name(site: str) -> str:
    """Of the Parameter that holds a relaxed site's rates."""
    return f"{site}.rate" if site else "rate"
