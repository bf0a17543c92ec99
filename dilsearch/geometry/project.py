"""Projection: from the float rates of a search to the integer rates of a network.

Rates are rounded as their granularity asks, then checked against the bound site by site along
the network, since the bound at a site follows from the integer rates in front of it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

from dilsearch.errors import PlanError
from dilsearch.geometry.bounds import Bound, attainable, bounds_of, check_limits, limits_of
from dilsearch.geometry.bounds import Limits as Limits
from dilsearch.geometry.graph import FieldGraph
from dilsearch.geometry.nodes import Rates, Spans, Window
from dilsearch.geometry.plans import spread
from dilsearch.geometry.rounding import rounded
from dilsearch.plan import DilationPlan, SiteRates

Policy: TypeAlias = Literal["enforce", "report", "ignore"]
"""What to do about rates beyond their bound: lower them, list them, or leave them be."""


@dataclass(frozen=True, slots=True)
class Change:
    """One rate moved by one rule.

    Args:
        site: The site.
        branch: Index of the branch or channel within the site.
        before: The rate before the rule.
        after: The rate after it.
        rule: What moved it, such as "ceil of the larger" or "bound 3 (field 15 px, stride 4 px)".
        axis: Index of the axis, where the axes of the site have their own rates.
    """

    site: str
    branch: int
    before: float
    after: int
    rule: str
    axis: int | None = None


@dataclass(frozen=True, slots=True)
class Projection:
    """An integer plan, and how it came about.

    Args:
        plan: The integer plan, of the same sites and kinds.
        changes: Every rate that moved: the roundings and boundings of one site after another.
        violations: Under ``report``, one sentence for each rate beyond its bound.
    """

    plan: DilationPlan
    changes: tuple[Change, ...]
    violations: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Held:
    """Float rates that are held to limits and bounds, and how far they may go now.

    Args:
        plan: The rates.
        highest: The largest rate allowed at each site: one number, or one per axis where the axes
            of the site have their own rates.
    """

    plan: DilationPlan
    highest: Mapping[str, tuple[float, ...]]


def project(
    plan: DilationPlan,
    graph: FieldGraph | None,
    policy: Policy = "enforce",
    *,
    limits: Limits | None = None,
) -> Projection:
    """Make a plan integer and, under ``enforce``, free of gaps.

    Rates are rounded as ``rounded`` tells. A rate for all axes keeps the tightest bound of the
    axes that the site spans; where axes have their own rates, each keeps the bound of its axis.
    Projecting a projected plan changes nothing.

    Args:
        plan: The rates to project, within their limits.
        graph: The network's field graph; windows outside the plan keep their rates. None, as a
            model relaxed without an example has, is refused.
        policy: What to do about rates beyond the bound.
        limits: Limits of the rates by site.

    Raises:
        PlanError: If the plan does not fit the graph or its limits, which names every such site,
            or if under ``enforce`` a bound lies below a lower limit, which names the first.

    Source: RegSeg (Gao 2022), Sec. 3.4 (rounding) and Eq. 3 (bound).
    """
    if policy not in get_args(Policy):
        raise PlanError(f"gap policy '{policy}' is unknown; use enforce, report or ignore")
    if graph is None:
        raise PlanError(
            "the bounds of a plan follow from a field graph, and there is none; give relax an "
            "example input, or project with trace_graph(model, example)"
        )
    graph = graph.in_form_of(plan)
    check_limits(plan, limits)
    chosen: dict[str, tuple[int, ...]] = {}
    changes: list[Change] = []
    violations: list[str] = []

    def choose(window: Window, spans: Spans) -> Rates:
        site = window.name
        entry, bounds = plan.sites[site], bounds_of(window, spans, plan.sites[site].axes)
        rates, rules = rounded(entry)
        changes.extend(_changes(site, entry, entry.rates, rates, rules))
        if policy == "report":
            violations.extend(_violations(site, rates, bounds))
        if policy == "enforce":
            lower, _ = limits_of(site, limits)
            highest = [attainable(site, bound, lower) for bound in bounds]
            lowered = tuple(map(int, _by_axis(rates, [(0, bound) for bound in highest])))
            rules = tuple(str(bound) for bound in bounds) * entry.count
            changes.extend(_changes(site, entry, rates, lowered, rules))
            rates = lowered
        chosen[site] = rates
        return spread(entry, rates, graph.axes)

    graph.fold(plan, choose, until_last=True)
    return Projection(plan.replace(chosen), tuple(changes), tuple(violations))


def enforce_bounds(
    plan: DilationPlan, graph: FieldGraph, limits: Limits | None = None
) -> DilationPlan:
    """Clamp float rates to their limits and bounds: the plan of ``hold_to_bounds``.

    Raises:
        PlanError: As ``hold_to_bounds``.
    """
    return hold_to_bounds(plan, graph, limits).plan


def hold_to_bounds(plan: DilationPlan, graph: FieldGraph, limits: Limits | None = None) -> Held:
    """Clamp float rates to their limits and bounds, so that projection need lower none.

    The bound at a site follows from what projection would make of the rates in front, which are
    clamped already. The rates stay floats.

    Raises:
        PlanError: If the plan does not fit the graph, or a bound lies below a lower limit; names
            the site.
    """
    graph = graph.in_form_of(plan)
    held: dict[str, tuple[float, ...]] = {}
    highest: dict[str, tuple[float, ...]] = {}

    def choose(window: Window, spans: Spans) -> Rates:
        site = window.name
        entry = plan.sites[site]
        lower, upper = limits_of(site, limits)
        bounds = bounds_of(window, spans, entry.axes)
        highest[site] = tuple(min(upper, attainable(site, bound, lower)) for bound in bounds)
        rates = _by_axis(entry.rates, [(lower, most) for most in highest[site]])
        if rates != entry.rates:
            held[site], entry = rates, entry.replace(rates)
        return spread(entry, rounded(entry)[0], graph.axes)

    graph.fold(plan, choose, until_last=True)
    return Held(plan.replace(held) if held else plan, highest)


def _by_axis(rates: tuple[float, ...], limits: Sequence[tuple[float, float]]) -> tuple[float, ...]:
    """Rates within the limits of their axes, where one pair may stand for all."""
    axes = len(limits)
    if all(
        lower <= min(rates[axis::axes]) and max(rates[axis::axes]) <= upper
        for axis, (lower, upper) in enumerate(limits)
    ):
        return rates
    return tuple(
        min(max(rate, lower), upper)
        for rate, (lower, upper) in zip(rates, [*limits] * (len(rates) // axes), strict=True)
    )


def _changes(
    site: str,
    entry: SiteRates,
    before: Sequence[float],
    after: Sequence[int],
    rules: Sequence[str],
) -> list[Change]:
    axes = entry.axes
    return [
        Change(site, i // axes, float(old), new, rule, i % axes if axes > 1 else None)
        for i, (old, new, rule) in enumerate(zip(before, after, rules, strict=True))
        if old != new
    ]


def _violations(site: str, rates: tuple[int, ...], bounds: Sequence[Bound]) -> list[str]:
    return [
        f"site '{site}': rate {rate} exceeds {bound}. Lower it, or set gap.policy = 'enforce'."
        for axis, bound in enumerate(bounds)
        for rate in dict.fromkeys(rates[axis :: len(bounds)])
        if rate > bound.rate
    ]
