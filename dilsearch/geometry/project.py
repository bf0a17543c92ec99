"""Projection: from the float rates of a search to the integer rates of a network.

Rates are rounded as their granularity asks, then checked against the bound site by site along
the network, since the bound at a site follows from the integer rates in front of it.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

from dilsearch.errors import PlanError
from dilsearch.geometry.graph import FieldGraph
from dilsearch.geometry.nodes import Rates, Spans, Window
from dilsearch.geometry.plans import spread
from dilsearch.geometry.rounding import rounded
from dilsearch.geometry.spans import Span
from dilsearch.plan import DilationPlan, SiteRates

Policy: TypeAlias = Literal["enforce", "report", "ignore"]
"""What to do about rates beyond their bound: lower them, list them, or leave them be."""

Limits: TypeAlias = Mapping[str, tuple[int, int]]
"""Lower and upper limit of the rates by site; sites not named have 1 and no upper limit."""


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
    _check_limits(plan, limits)
    chosen: dict[str, tuple[int, ...]] = {}
    changes: list[Change] = []
    violations: list[str] = []

    def choose(window: Window, spans: Spans) -> Rates:
        site = window.name
        entry, bounds = plan.sites[site], _bounds(window, spans, plan.sites[site].axes)
        rates, rules = rounded(entry)
        changes.extend(_changes(site, entry, entry.rates, rates, rules))
        if policy == "report":
            violations.extend(_violations(site, rates, bounds))
        if policy == "enforce":
            lower, _ = _limits_of(site, limits)
            highest = [_attainable(site, bound, lower) for bound in bounds]
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
        lower, upper = _limits_of(site, limits)
        bounds = _bounds(window, spans, entry.axes)
        highest[site] = tuple(min(upper, _attainable(site, bound, lower)) for bound in bounds)
        rates = _by_axis(entry.rates, [(lower, most) for most in highest[site]])
        if rates != entry.rates:
            held[site], entry = rates, entry.replace(rates)
        return spread(entry, rounded(entry)[0], graph.axes)

    graph.fold(plan, choose, until_last=True)
    return Held(plan.replace(held) if held else plan, highest)


@dataclass(frozen=True, slots=True)
class _Bound:
    """The bound of the rates along one axis, or along all; none where the site spans none."""

    span: Span | None
    axis: str = ""

    @property
    def rate(self) -> float:
        return math.inf if self.span is None else self.span.bound

    def __str__(self) -> str:
        if self.span is None:
            return "no bound"
        field, along = self.span.field, f" along {self.axis}" if self.axis else ""
        return f"bound {self.rate}{along} (field {field.size_px} px, stride {field.stride_px} px)"


def _bounds(window: Window, spans: Spans, axes: int) -> list[_Bound]:
    """One bound for the rates of all axes, or one for each."""
    if axes == 1:
        return [_Bound(window.tightest(spans))]
    names = ("height", "width") if axes == 2 else tuple(f"axis {axis}" for axis in range(axes))
    return [
        _Bound(spans[axis] if axis in window.spanned else None, name)
        for axis, name in enumerate(names)
    ]


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


def _violations(site: str, rates: tuple[int, ...], bounds: Sequence[_Bound]) -> list[str]:
    return [
        f"site '{site}': rate {rate} exceeds {bound}. Lower it, or set gap.policy = 'enforce'."
        for axis, bound in enumerate(bounds)
        for rate in dict.fromkeys(rates[axis :: len(bounds)])
        if rate > bound.rate
    ]


def _attainable(site: str, bound: _Bound, lower: int) -> float:
    """The bound, which must leave room above the lower limit."""
    if bound.rate < lower:
        raise PlanError(
            f"site '{site}': its lower limit {lower} exceeds {bound}. "
            "Lower the limit, raise the rates in front of it, or set gap.policy = 'report'."
        )
    return bound.rate


def _check_limits(plan: DilationPlan, limits: Limits | None) -> None:
    faults = []
    for site, rates in plan.items():
        lower, upper = _limits_of(site, limits)
        outside = [rate for rate in rates if not lower <= rate <= upper]
        if outside:
            more = f", like {len(outside) - 1} more" if len(outside) > 1 else ""
            faults.append(
                f"site '{site}': rate {outside[0]} is outside its limits {lower} to {upper}{more}; "
                "correct the plan, or widen the limits"
            )
    if faults:
        raise PlanError.from_faults("the plan does not keep its limits", faults)


def _limits_of(site: str, limits: Limits | None) -> tuple[int, float]:
    return limits.get(site, (1, math.inf)) if limits else (1, math.inf)
