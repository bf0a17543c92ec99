"""Give a model the rates of a plan: at deployment, or to go on from rates found elsewhere."""

import math
from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import nn

from dilsearch.errors import PlanError
from dilsearch.geometry.table import nearest
from dilsearch.layers import RelaxedConv, relaxed_form
from dilsearch.layers.relaxable import Convolution
from dilsearch.layers.whole import whole_rate_faults
from dilsearch.plan import DilationPlan, SiteRates
from dilsearch.sites import Granularity, PerBranch, PerChannel, PerSite
from dilsearch.surgery.companion import Companion, attach, companion_of
from dilsearch.surgery.differences import outside_limits
from dilsearch.surgery.form_faults import form_faults
from dilsearch.surgery.present import (
    has_sites,
    is_relaxed,
    known_sites,
    modules_by_site,
    present_plan,
)
from dilsearch.surgery.readers import read_sites
from dilsearch.surgery.relax import copied
from dilsearch.surgery.selection import Named, named_modules
from dilsearch.surgery.site_faults import site_faults
from dilsearch.surgery.surroundings import surrounding_faults
from dilsearch.tracing.shadow import replace_modules
from dilsearch.tracing.wrappers import unwrapped


def apply_plan(model: nn.Module, plan: DilationPlan, *, inplace: bool = False) -> nn.Module:
    """The model with the rates of a plan, and with the weights it has.

    With ``saved_plan`` it builds what a weights file was saved from, so that the file loads::

        model = apply_plan(build(), saved_plan("weights.safetensors"))
        load(model, "weights.safetensors")

    A model that was never relaxed, or was discretised since, gets plain layers with these rates;
    its output shapes stay, and the layers are of the kinds that ``discretize`` makes. A relaxed
    model gets them as the values of its rates, whole or not, and keeps its limits. The field graph,
    if the model has one, travels along. A model that training has wrapped comes back unwrapped.

    Args:
        model: Any model with the plan's sites.
        plan: Rates for sites of the model; for all of them, if it was relaxed.
        inplace: Change the model that was given, sharing its Parameters, instead of a copy.

    Returns:
        The model with the plan's rates; another module even if ``inplace``, where the whole model
        is one convolution.

    Raises:
        PlanError: With every fault, by site, if the plan does not fit the model.
        SurgeryError: If the model cannot be copied.
    """
    given, model = model, unwrapped(model)
    granularities = _granularities(model, plan)
    faults = _faults(model, plan, granularities)
    if inplace and given is not model and not is_relaxed(model):
        faults.append(
            f"layers inside a {type(given).__name__} cannot be exchanged in place, as it would go "
            "on with those that it has; give the module inside, and wrap the result"
        )
    if faults:
        raise PlanError.from_faults("the plan does not fit the model", faults)
    before = companion_of(model)
    target = model if inplace else copied(model)
    modules = modules_by_site(target)
    read = read_sites(target, [one for one in named_modules(target) if one.name in plan])
    replacements: dict[int, nn.Module] = {}
    for site, rates in plan.sites.items():
        module = modules[site]
        if isinstance(module, RelaxedConv):
            _set_rates(module, rates)
        else:
            is_read = site in read
            replacements[id(module)] = _plain_layer(module, rates, granularities[site], is_read)
    target = replace_modules(target, replacements)
    attach(target, Companion(granularities, before.graph if before is not None else None))
    return target


def _granularities(model: nn.Module, plan: DilationPlan) -> dict[str, Granularity]:
    """What may vary at each site: as it was relaxed, else what the plan tells."""
    if has_sites(model):
        return known_sites(model)
    return {site: _told_by(rates) for site, rates in plan.sites.items()}


def _told_by(rates: SiteRates) -> Granularity:
    """The form of a site's rates, with the largest of them as its limit."""
    upper = max(1, math.ceil(max(rates.rates)))
    separate, causal, rows = rates.axes > 1, rates.causal, len(rates.rows)
    if rates.kind == "branch":
        return PerBranch(1, upper, branches=rows, separate_axes=separate, causal=causal)
    kind = PerSite if rates.kind == "site" else PerChannel
    return kind(1, upper, separate_axes=separate, causal=causal)


def _faults(
    model: nn.Module, plan: DilationPlan, granularities: Mapping[str, Granularity]
) -> list[str]:
    """Every way in which the plan does not fit."""
    named = {one.name: one for one in named_modules(model)}
    if has_sites(model):
        present = present_plan(model, read_learned=False)
        known = list(present)
        faults = form_faults(plan, present)
    else:
        known = [name for name, one in named.items() if one.is_candidate]
        faults = [] if plan else ["it has no sites; give rates for at least one"]
    faults += [_no_site(site, named.get(site), known) for site in plan if site not in known]
    found = {site: rates for site, rates in plan.sites.items() if site in known}
    exchanged = []
    for site, rates in found.items():
        module = named[site].module
        if isinstance(module, RelaxedConv):
            limits = (module.granularity.lower, module.granularity.upper)
            faults += outside_limits(site, rates, limits, "in the plan")
        else:
            exchanged.append(named[site])
            faults += _layer_faults(site, module, rates, granularities[site])
    return [*faults, *surrounding_faults(model, exchanged)]


def _no_site(site: str, found: Named | None, known: list[str]) -> str:
    if found is None:
        return f"the model has no site '{site}'{nearest(site, known)}"
    kind = type(found.module).__name__
    return f"'{site}' is a {kind} and no site of the model{nearest(site, known)}"


def _layer_faults(
    site: str, module: nn.Module, rates: SiteRates, granularity: Granularity
) -> list[str]:
    """Why a plain layer cannot have these rates."""
    faults = site_faults(site, module, _starting_low(granularity))
    if isinstance(module, Convolution):
        rows, channels, axes = len(rates.rows), module.in_channels, len(module.kernel_size)
        if rates.kind == "channel" and rows != channels:
            faults.append(
                f"site '{site}': the plan gives rates for {rows} channels, and its input has "
                f"{channels}; give one for each"
            )
        if rates.axes not in (1, axes):
            faults.append(
                f"site '{site}': the plan gives rates for each of {rates.axes} axes, and it has "
                f"{axes}; give one for each"
            )
    return faults + [f"site '{site}': {fault}" for fault in whole_rate_faults(rates.rates)]


def _starting_low(granularity: Granularity) -> Granularity:
    """The same but for the start, so that the dilation that is there need not be within limits."""
    return replace(granularity, initial=granularity.lower)


def _plain_layer(
    module: nn.Module, rates: SiteRates, granularity: Granularity, is_read: bool
) -> nn.Module:
    assert isinstance(module, Convolution)
    layer = relaxed_form(module, _starting_low(granularity), is_read=is_read)
    return layer.to_conv(rates.rows if granularity.separate_axes else rates.rates)


@torch.no_grad()
def _set_rates(layer: RelaxedConv, rates: SiteRates) -> None:
    layer.rate.copy_(torch.tensor(rates.rates).reshape(layer.rate.shape))
    # a bound that followed from other rates upstream no longer holds; clamping finds it again
    layer.reset_bound()
