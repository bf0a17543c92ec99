"""Reading and bounding the rates of a relaxed model."""

import math
from collections.abc import Iterator
from typing import Literal

import torch
from torch import nn

from dilsearch.errors import SurgeryError
from dilsearch.geometry import FieldGraph, enforce_bounds
from dilsearch.geometry.project import Limits
from dilsearch.layers import RelaxedConv2d
from dilsearch.plan import DilationPlan, SiteRates
from dilsearch.sites import Granularity
from dilsearch.surgery.companion import companion_of, unwrapped


def relaxed_sites(model: nn.Module) -> dict[str, RelaxedConv2d]:
    """Relaxed convolutions by site name, upstream first where the graph is known.

    Raises:
        SurgeryError: If the model has none.
    """
    found = {
        name: module
        for name, module in unwrapped(model).named_modules()
        if isinstance(module, RelaxedConv2d)
    }
    if not found:
        raise SurgeryError(
            f"{type(unwrapped(model)).__name__} has no relaxed site; call relax on it first"
        )
    companion = companion_of(model)
    order = companion.sites if companion is not None else found
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
        SurgeryError: If the model has no relaxed site, or a rate is not a finite number.
    """
    sites = relaxed_sites(model)
    return _plan(sites, _values(sites))


def rate_parameters(model: nn.Module) -> list[nn.Parameter]:
    """The rates of a relaxed model as Parameters, for an optimiser of their own."""
    return [layer.rate for layer in _layers(model)]  # type: ignore[misc]


def weight_parameters(model: nn.Module) -> list[nn.Parameter]:
    """Every Parameter of a relaxed model that is not a rate."""
    rates = {id(rate) for rate in rate_parameters(model)}
    return [parameter for parameter in model.parameters() if id(parameter) not in rates]


@torch.no_grad()
def clamp_rates(model: nn.Module, *, gap: Literal["enforce", "ignore"] = "ignore") -> DilationPlan:
    """Bring every rate back within what is allowed; call it after each optimiser step.

    The sites' own limits always hold. Under ``gap="enforce"`` so does the gap bound, the largest
    whole rate that skips no input pixel, at the field that the sites upstream have now.

    Returns:
        The plan after clamping.

    Raises:
        SurgeryError: If a rate is not a finite number, ``gap`` is neither word, or the gap bound is
            asked for where ``relax`` was given no example to trace.
    """
    if gap not in ("enforce", "ignore"):
        raise SurgeryError(f"clamp_rates: gap = {gap!r} is unknown; use 'enforce' or 'ignore'")
    sites = relaxed_sites(model)
    before = _values(sites)
    limits = rate_limits(model)
    # a step may have gone below 0, which no plan can hold: limits first
    after = _plan(
        sites,
        {
            name: tuple(min(max(rate, limits[name][0]), limits[name][1]) for rate in rates)
            for name, rates in before.items()
        },
    )
    bounds = {name: upper for name, (_, upper) in limits.items()}
    if gap == "enforce":
        graph = field_graph(model)
        if graph is None:
            raise SurgeryError(
                "the gap bound needs the model's field graph; give relax an example input, or do "
                'without the bound (gap = "ignore")'
            )
        after = enforce_bounds(after, graph, limits)
        for row in graph.propagate(after).rows:
            if row.name in bounds:
                bounds[row.name] = min(row.bound, bounds[row.name])
    for name, layer in sites.items():
        if after[name] != before[name]:
            layer.rate.copy_(torch.tensor(after[name]).reshape(layer.rate.shape))
        layer.bound.fill_(bounds[name])
    return after


def _layers(model: nn.Module) -> Iterator[RelaxedConv2d]:
    yield from relaxed_sites(model).values()


def _plan(sites: dict[str, RelaxedConv2d], rates: dict[str, tuple[float, ...]]) -> DilationPlan:
    return DilationPlan(
        {name: SiteRates(layer.granularity.kind, rates[name]) for name, layer in sites.items()}
    )


def _values(sites: dict[str, RelaxedConv2d]) -> dict[str, tuple[float, ...]]:
    """All rates by site, fetched from the device at once."""
    fetched = iter(
        torch.cat([layer.rate.detach().reshape(-1) for layer in sites.values()]).tolist()
    )
    return {
        name: tuple(_finite(next(fetched), name) for _ in range(len(layer.initial_rates)))
        for name, layer in sites.items()
    }


def _finite(rate: float, site: str) -> float:
    if not math.isfinite(rate):
        raise SurgeryError(
            f"site '{site}': the rate became {rate}; training diverged. "
            "Lower the learning rates and start again."
        )
    return rate
