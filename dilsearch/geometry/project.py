"""Projection: from the float rates of a search to the integer rates of a network.

Rates are rounded as their granularity asks, then checked against the bound site by site along
the network, since the bound at a site follows from the integer rates in front of it.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

from dilsearch.errors import PlanError
from dilsearch.geometry.graph import FieldGraph, on_every_axis
from dilsearch.geometry.nodes import Rates, Spans, Window
from dilsearch.geometry.spans import Span
from dilsearch.plan import DilationPlan

Policy: TypeAlias = Literal["enforce", "report", "ignore"]
"""What to do about rates beyond their bound: lower them, list them, or leave them be."""

Limits: TypeAlias = Mapping[str, tuple[int, int]]
"""Lower and upper limit of the rates by site; sites not named have 1 and no upper limit."""


@dataclass(frozen=True, slots=True)
class Change:
    """One rate moved by one rule.

    Args:
        site: The site.
        branch: Index of the rate within the site.
        before: The rate before the rule.
        after: The rate after it.
        rule: What moved it, such as "ceil of the larger" or "bound 3 (field 15 px, stride 4 px)".
    """

    site: str
    branch: int
    before: float
    after: int
    rule: str


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


def project(
    plan: DilationPlan,
    graph: FieldGraph,
    policy: Policy = "enforce",
    *,
    limits: Limits | None = None,
) -> Projection:
    """Make a plan integer and, under ``enforce``, free of gaps.

    One rate is rounded up, which keeps its field. Of two, the smaller is rounded down and the
    larger up, each where it stands; of equals the first counts as the smaller. Of more, the
    others go to the nearest integer, halves up. Projecting a projected plan changes nothing.

    Args:
        plan: The rates to project, within their limits.
        graph: The network's field graph; windows outside the plan keep their rates.
        policy: What to do about rates beyond the bound.
        limits: Limits of the rates by site.

    Raises:
        PlanError: If the plan does not fit the graph or its limits, or if under ``enforce`` a
            bound lies below a lower limit; names the site.

    Source: RegSeg (Gao 2022), Sec. 3.4 (rounding) and Eq. 3 (bound).
    """
    if policy not in get_args(Policy):
        raise PlanError(f"gap policy '{policy}' is unknown; use enforce, report or ignore")
    graph.check(plan)
    chosen: dict[str, tuple[int, ...]] = {}
    changes: list[Change] = []
    violations: list[str] = []

    def choose(window: Window, spans: Spans) -> Rates:
        site, tight = window.name, window.tightest(spans)
        lower = _check_limits(site, plan[site], limits)
        rates, rules = _round(plan[site])
        changes.extend(_changes(site, plan[site], rates, rules))
        if policy == "report":
            violations.extend(_violations(site, rates, tight))
        if policy == "enforce":
            bound = _attainable_bound(site, tight, lower)
            lowered = tuple(min(rate, bound) for rate in rates)
            changes.extend(_changes(site, rates, lowered, (_describe(tight),) * len(rates)))
            rates = lowered
        chosen[site] = rates
        return on_every_axis(rates, window)

    graph.fold(plan, choose)
    return Projection(plan.replace(chosen), tuple(changes), tuple(violations))


def enforce_bounds(
    plan: DilationPlan, graph: FieldGraph, limits: Limits | None = None
) -> DilationPlan:
    """Clamp float rates to their limits and bounds, so that projection need lower none.

    The bound at a site follows from what projection would make of the rates in front, which are
    clamped already. The rates stay floats.

    Raises:
        PlanError: If the plan does not fit the graph, or a bound lies below a lower limit; names
            the site.
    """
    graph.check(plan)
    clamped: dict[str, tuple[float, ...]] = {}

    def choose(window: Window, spans: Spans) -> Rates:
        lower, upper = _limits_of(window.name, limits)
        bound = _attainable_bound(window.name, window.tightest(spans), lower)
        highest = min(upper, bound)
        rates = tuple(min(max(rate, lower), highest) for rate in plan[window.name])
        clamped[window.name] = rates
        return on_every_axis(_round(rates)[0], window)

    graph.fold(plan, choose)
    return plan.replace(clamped)


def _round(rates: tuple[float, ...]) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """Rounded rates, and the rule for each."""
    if len(rates) == 1:
        return (math.ceil(rates[0]),), ("ceil",)
    branches = range(len(rates))
    rounded = [math.floor(rate + 0.5) for rate in rates]
    rules = ["nearest"] * len(rates)
    smallest = min(branches, key=lambda branch: (rates[branch], branch))
    largest = max(branches, key=lambda branch: (rates[branch], branch))
    rounded[smallest], rules[smallest] = math.floor(rates[smallest]), "floor of the smaller"
    rounded[largest], rules[largest] = math.ceil(rates[largest]), "ceil of the larger"
    return tuple(rounded), tuple(rules)


def _changes(
    site: str, before: tuple[float, ...], after: tuple[int, ...], rules: tuple[str, ...]
) -> list[Change]:
    return [
        Change(site, branch, float(old), new, rule)
        for branch, (old, new, rule) in enumerate(zip(before, after, rules, strict=True))
        if old != new
    ]


def _violations(site: str, rates: tuple[int, ...], tight: Span) -> list[str]:
    return [
        f"site '{site}': rate {rate} exceeds {_describe(tight)}. "
        "Lower it, or set gap.policy = 'enforce'."
        for rate in dict.fromkeys(rates)
        if rate > tight.bound
    ]


def _attainable_bound(site: str, tight: Span, lower: int) -> int:
    """The bound, which must leave room above the lower limit."""
    bound = tight.bound
    if bound < lower:
        raise PlanError(
            f"site '{site}': its lower limit {lower} exceeds {_describe(tight)}. "
            "Lower the limit, raise the rates in front of it, or set gap.policy = 'report'."
        )
    return bound


def _check_limits(site: str, rates: tuple[float, ...], limits: Limits | None) -> int:
    """The lower limit, once every rate is found within both."""
    lower, upper = _limits_of(site, limits)
    for rate in rates:
        if not lower <= rate <= upper:
            raise PlanError(
                f"site '{site}': rate {rate} is outside its limits {lower} to {upper}; "
                "correct the plan, or widen the limits"
            )
    return lower


def _limits_of(site: str, limits: Limits | None) -> tuple[int, float]:
    return limits.get(site, (1, math.inf)) if limits else (1, math.inf)


def _describe(tight: Span) -> str:
    field = tight.field
    return f"bound {tight.bound} (field {field.size_px} px, stride {field.stride_px} px)"
