"""Why a file does not fit a model, in plan, weights or settings: a sentence for each difference."""

from collections.abc import Collection, Mapping
from itertools import count

import torch

from dilsearch.geometry.table import nearest
from dilsearch.plan import DilationPlan, SiteRates, shown_rates
from dilsearch.surgery.settings import GROUPS, KIND, Setting, Settings

Shapes = Mapping[str, tuple[int, ...]]
_MOST_SHOWN = 12
_FEW = 8
_REBUILD = "build the model as it was saved"


def plan_differences(
    model: DilationPlan,
    file: DilationPlan,
    *,
    learned_in_model: Collection[str],
    learned_in_file: Collection[str],
    limits: Mapping[str, tuple[int, int]],
) -> list[str]:
    """Sites, forms and rates in which a file's plan differs from a model's.

    Args:
        model: The rates that the model has.
        file: The rates in the file.
        learned_in_model: Sites that are relaxed in the model; their rates come from the file.
        learned_in_file: Sites that were relaxed when the file was written.
        limits: Of the rates at each relaxed site of the model.
    """
    found = [f"site '{site}' is not in the file" for site in model if site not in file]
    found += [
        f"site '{site}' is not in the model{nearest(site, list(model))}"
        for site in file
        if site not in model
    ]
    for site in (site for site in file if site in model):
        ours, theirs = model.sites[site], file.sites[site]
        if form_of(ours) != form_of(theirs):
            found.append(
                f"site '{site}' has {form_of(theirs)} in the file, {form_of(ours)} in the model"
            )
        elif site in learned_in_file and site not in learned_in_model:
            found.append(
                f"site '{site}' has rates to learn in the file, and plain layers in the model; "
                "load it into a relaxed model, or discretise before saving"
            )
        elif site in learned_in_model and site not in learned_in_file:
            found.append(
                f"site '{site}' has plain layers in the file, and rates to learn in the model; "
                "load it into apply_plan(the plain model, saved_plan(path))"
            )
        elif site in learned_in_model:
            found += outside_limits(site, theirs, limits[site], "in the file")
        elif ours.rates != theirs.rates:
            found.append(_other_rates(site, ours, theirs))
    return found


def form_of(rates: SiteRates) -> str:
    """What a site's rates stand for, in words; equal if and only if rates can be exchanged."""
    number = len(rates.rows)
    # of a single branch or channel, the kind says nothing
    parts = [f"{number} rates of kind '{rates.kind}'" if number > 1 else "1 rate"]
    if rates.axes > 1:
        parts.append(f"for each of {rates.axes} axes")
    if rates.causal:
        parts.append("with the last tap in place")
    return " ".join(parts)


def outside_limits(site: str, rates: SiteRates, limits: tuple[int, int], where: str) -> list[str]:
    """A sentence if a rate is beyond what the model allows there."""
    lower, upper = limits
    if all(lower <= rate <= upper for rate in rates.rates):
        return []
    return [
        f"site '{site}' has rates {shown_rates(rates)} {where}, outside its limits {lower} to "
        f"{upper} in the model; relax the model with wider limits"
    ]


def weight_differences(model: Shapes, file: Shapes) -> list[str]:
    """Names and shapes in which a file's tensors differ from a model's; many are cut short."""
    found = [f"the file has no '{name}'" for name in model if name not in file]
    found += [f"the model has no '{name}'" for name in file if name not in model]
    found += [
        f"'{name}' has shape {file[name]} in the file, {model[name]} in the model"
        for name in model
        if name in file and file[name] != model[name]
    ]
    return _cut_short(found)


def kind_differences(
    model: Mapping[str, torch.dtype], file: Mapping[str, torch.dtype]
) -> list[str]:
    """Whole numbers where real ones belong, and the like; a precision is no difference."""
    return _cut_short(
        [
            f"'{name}' is {_word(file[name])} in the file, {_word(model[name])} in the model, and "
            f"values would be lost; {_REBUILD}"
            for name in model
            if name in file
            and (file[name].is_floating_point, file[name].is_complex)
            != (model[name].is_floating_point, model[name].is_complex)
        ]
    )


def _word(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def settings_differences(model: Settings, file: Settings) -> list[str]:
    """Convolutions and poolings in which a file's model differs from this; many are cut short.

    A convolution that only one of them has is left to its weight to tell.
    """
    found = [
        f"{lacking} has no '{path}', a {one[KIND]} in {having}; {_REBUILD}"
        for lacking, without, having, settings in (
            ("the file", file, "the model", model),
            ("the model", model, "the file", file),
        )
        for path, one in settings.items()
        if path not in without and GROUPS not in one
    ]
    for path in (path for path in model if path in file):
        ours, theirs = model[path], file[path]
        names = [name for name in theirs if name in ours and theirs[name] != ours[name]]
        if ours[KIND] != theirs[KIND]:
            names = [KIND]  # the others mean something else
        if names:
            there, here = (
                ", ".join(f"{name} {_shown(one[name])}" for name in names) for one in (theirs, ours)
            )
            found.append(f"'{path}' has {there} in the file, {here} in the model; {_REBUILD}")
    return _cut_short(found)


def _cut_short(found: list[str]) -> list[str]:
    if len(found) > _MOST_SHOWN:
        return [*found[:_MOST_SHOWN], f"and {len(found) - _MOST_SHOWN} more of this sort"]
    return found


def _shown(value: Setting) -> str:
    if isinstance(value, list):
        return f"({', '.join(map(_shown, value))})"
    return repr(value) if isinstance(value, str) else str(value)


def _other_rates(site: str, ours: SiteRates, theirs: SiteRates) -> str:
    """Of few rates all are shown; of many, whose range may be equal, the first that differs."""
    fix = "discretise the model with the file's plan, or give it to apply_plan"
    if len(ours.rows) <= _FEW:
        return (
            f"site '{site}' has rates {shown_rates(theirs)} in the file, {shown_rates(ours)} in "
            f"the model; {fix}"
        )
    pairs = zip(count(), theirs.rows, ours.rows, strict=False)
    differing = [(row, _row(there), _row(here)) for row, there, here in pairs if there != here]
    row, there, here = differing[0]
    return (
        f"site '{site}' differs in {len(differing)} of its {len(ours.rows)} rates, first in "
        f"{ours.kind} {row}: {there} in the file, {here} in the model; {fix}"
    )


def _row(row: tuple[float, ...]) -> str:
    return "x".join(f"{rate:g}" for rate in row)
