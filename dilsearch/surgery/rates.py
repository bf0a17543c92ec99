"""Reading, bounding and freezing the rates of a relaxed model."""

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor, nn

from dilsearch.errors import SurgeryError
from dilsearch.geometry import FieldGraph, Held, hold_to_bounds
from dilsearch.geometry.project import Limits
from dilsearch.layers import RelaxedConv
from dilsearch.plan import DilationPlan, SiteRates
from dilsearch.sites import Granularity
from dilsearch.surgery.companion import companion_of
from dilsearch.tracing.wrappers import plain_path, unwrapped


def relaxed_sites(model: nn.Module) -> dict[str, RelaxedConv]:
    """Relaxed convolutions by site name, upstream first where the graph is known.

    Names are module paths without the parts that DistributedDataParallel, ``torch.compile`` and
    other wrappers add.

    Raises:
        SurgeryError: If the model has none.
    """
    inner = unwrapped(model)
    found = {
        plain_path(name): module
        for name, module in inner.named_modules()
        if isinstance(module, RelaxedConv)
    }
    if not found:
        raise SurgeryError(f"{type(inner).__name__} has no relaxed site; call relax on it first")
    companion = companion_of(model)
    order = dict.fromkeys((*(companion.sites if companion is not None else ()), *found))
    return {name: found[name] for name in order if name in found}


def site_granularities(model: nn.Module) -> dict[str, Granularity]:
    """What may vary at each relaxed site, upstream first where the graph is known."""
    return {name: layer.granularity for name, layer in relaxed_sites(model).items()}


def rate_limits(model: nn.Module) -> Limits:
    """Lower and upper limit of the rates at each relaxed site, in the same order."""
    return {site: (g.lower, g.upper) for site, g in site_granularities(model).items()}


def field_graph(model: nn.Module) -> FieldGraph | None:
    """The field graph that ``relax(..., example=...)`` keeps beside the model, or None."""
    companion = companion_of(model)
    return companion.graph if companion is not None else None


def read_plan(model: nn.Module) -> DilationPlan:
    """The present rates of a relaxed model, one entry for each site.

    Raises:
        SurgeryError: If the model has no relaxed site, or a rate is not a finite number or, on the
            meta device, none at all.
    """
    sites = relaxed_sites(model)
    return _plan(sites, _fetched(sites))


def rate_parameters(model: nn.Module) -> list[nn.Parameter]:
    """The rates of a relaxed model as Parameters, for an optimiser of their own."""
    return [layer.rate for layer in relaxed_sites(model).values()]  # type: ignore[misc]


def weight_parameters(model: nn.Module) -> list[nn.Parameter]:
    """Every Parameter of a relaxed model that is not a rate."""
    rates = {id(rate) for rate in rate_parameters(model)}
    return [parameter for parameter in model.parameters() if id(parameter) not in rates]


def freeze_rates(model: nn.Module) -> None:
    """Stop the rates of a model from being trained, as while its weights warm up.

    The weights go on, faster: rates that are whole and need no slope run as plain convolutions.
    Optimisers pass frozen rates over, as long as no gradient of before is left on them, which
    is therefore cleared. Not for a model inside ``DistributedDataParallel``, which does not follow
    a change of ``requires_grad``: there, set the rates' ``grad`` to None before each step instead.

    Raises:
        SurgeryError: If the model has no relaxed site.
    """
    for rate in rate_parameters(model):
        rate.requires_grad_(False)
        rate.grad = None


def unfreeze_rates(model: nn.Module) -> None:
    """Let the rates of a model be trained again.

    Raises:
        SurgeryError: If the model has no relaxed site.
    """
    for rate in rate_parameters(model):
        rate.requires_grad_(True)


@torch.no_grad()
def clamp_rates(model: nn.Module, *, gap: Literal["enforce", "ignore"] = "ignore") -> DilationPlan:
    """Bring every rate back within what is allowed; call it after each optimiser step.

    The sites' own limits always hold. Under ``gap="enforce"`` so does the gap bound, the largest
    whole rate that skips no input pixel, at the field that the sites upstream have now: on each
    axis its own where axes have rates of their own, otherwise the tightest.

    Returns:
        The plan after clamping.

    Raises:
        SurgeryError: If a rate is not a finite number, ``gap`` is neither word, or the gap bound is
            asked for where ``relax`` was given no example to trace.
        PlanError: If a site's gap bound lies below its lower limit; nothing is changed then.
    """
    if gap not in ("enforce", "ignore"):
        raise SurgeryError(f"clamp_rates: gap = {gap!r} is unknown; use 'enforce' or 'ignore'")
    sites = relaxed_sites(model)
    before = _fetched(sites)
    # a step may have gone below 0, which no plan can hold: limits first
    after = {
        name: rates.clamp(sites[name].granularity.lower, sites[name].granularity.upper)
        for name, rates in before.items()
    }
    held = Held(_plan(sites, after), {})
    if gap == "enforce":
        held = hold_to_bounds(held.plan, _graph_of(model), rate_limits(model))
        after = {name: torch.tensor(rates) for name, rates in held.plan.items()}
    for name, layer in sites.items():
        if not torch.equal(after[name], before[name]):
            layer.rate.copy_(after[name].reshape(layer.rate.shape))
        highest = held.highest.get(name, (layer.granularity.upper,))
        layer.bound.copy_(torch.tensor(highest[0] if len(highest) == 1 else highest))
    return held.plan


def rates_as_read(layer: RelaxedConv, rates: tuple[float, ...]) -> SiteRates:
    """Rates of a site in plan order, with what they stand for there."""
    kind, separate = layer.granularity.kind, layer.granularity.separate_axes
    return SiteRates(kind, rates, layer.axes if separate else 1, layer.granularity.causal)


def _graph_of(model: nn.Module) -> FieldGraph:
    graph = field_graph(model)
    if graph is None:
        raise SurgeryError(
            "the gap bound needs the model's field graph; give relax an example input, or do "
            'without the bound (gap = "ignore")'
        )
    return graph


def _plan(sites: Mapping[str, RelaxedConv], rates: Mapping[str, Tensor]) -> DilationPlan:
    return DilationPlan(
        {name: rates_as_read(layer, tuple(rates[name].tolist())) for name, layer in sites.items()}
    )


def _fetched(sites: Mapping[str, RelaxedConv]) -> dict[str, Tensor]:
    """All rates by site, flat and on the CPU, fetched from each device at once.

    Raises:
        SurgeryError: If one is not a finite number; names the site.
    """
    by_device: dict[torch.device, dict[str, Tensor]] = {}
    for name, layer in sites.items():
        by_device.setdefault(layer.rate.device, {})[name] = layer.rate.detach().reshape(-1)
    if torch.device("meta") in by_device:
        raise SurgeryError(
            "the model is on the meta device, where rates have no values; move it with "
            "to_empty(device=...) and load a checkpoint"
        )
    found: dict[str, Tensor] = {}
    for some in by_device.values():
        fetched = torch.cat([*some.values()]).cpu()
        counts = [rates.numel() for rates in some.values()]
        parts = dict(zip(some, torch.split(fetched, counts), strict=True))
        if not bool(fetched.isfinite().all()):
            _name_the_diverged(parts)
        found |= parts
    return {name: found[name] for name in sites}


def _name_the_diverged(rates: Mapping[str, Tensor]) -> None:
    for site, values in rates.items():
        for rate in values[~values.isfinite()].tolist():
            raise SurgeryError(
                f"site '{site}': the rate became {rate}; training diverged. "
                "Lower the learning rates and start again."
            )
