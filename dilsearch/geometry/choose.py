"""Integer rates chosen site by site, each within what the rates in front of it allow."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from dilsearch.errors import PlanError
from dilsearch.geometry.bounds import Bound, Limits, attainable, bounds_of, limits_of
from dilsearch.geometry.graph import FieldGraph
from dilsearch.geometry.nodes import Fields, Rates, Spans, Window
from dilsearch.geometry.plans import spread
from dilsearch.geometry.table import fields_of
from dilsearch.plan import DilationPlan

ChooseRates: TypeAlias = Callable[[str, tuple[int, ...]], Sequence[int]]
"""Given a site and the highest rate allowed there, its rates."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """Rates that were chosen, and what they see.

    Args:
        plan: The rates.
        fields: The fields behind the last site of the plan, per axis; none if it has no site.
    """

    plan: DilationPlan
    fields: Fields


def choose_rates(
    form: DilationPlan,
    graph: FieldGraph,
    choose: ChooseRates,
    *,
    limits: Limits | None = None,
    enforce: bool = True,
) -> DilationPlan:
    """A plan whose rates are chosen in topological order, so that none can leave a gap.

    The bound at a site follows from the rates in front of it, so what is allowed is known only
    once these are chosen.

    Args:
        form: A plan of the sites; its rates do not matter.
        graph: The network's field graph; windows outside the plan keep their rates.
        choose: Called for one site after another, with the highest rate allowed there: one number,
            or one per axis where the axes of the site have rates of their own. Returns the site's
            rates in the order of the plan; in which order they ascend is its own affair.
        limits: Limits of the rates by site.
        enforce: Whether the bound counts beside the upper limit.

    Raises:
        PlanError: If the form does not fit the graph, a bound lies below a lower limit, a site has
            neither an upper limit nor a bound, or a rate chosen is not allowed; names the site.
    """
    return choose_with_fields(form, graph, choose, limits=limits, enforce=enforce).plan


def choose_with_fields(
    form: DilationPlan,
    graph: FieldGraph,
    choose: ChooseRates,
    *,
    limits: Limits | None = None,
    enforce: bool = True,
) -> Chosen:
    """``choose_rates`` with the fields that its one pass over the graph finds.

    Raises:
        PlanError: As ``choose_rates``.
    """
    graph = graph.in_form_of(form)
    chosen: dict[str, tuple[int, ...]] = {}

    def at_site(window: Window, spans: Spans) -> Rates:
        site = window.name
        entry = form.sites[site]
        bounds = bounds_of(window, spans, entry.axes)
        lower, _ = limits_of(site, limits)
        highest = tuple(_highest(site, bound, limits, enforce) for bound in bounds)
        rates = tuple(choose(site, highest))
        _check(site, rates, lower, highest, len(entry.rates))
        chosen[site] = rates
        return spread(entry, rates, graph.axes)

    spans = graph.fold(form, at_site, until_last=True)
    last = next(reversed(chosen), None)
    return Chosen(form.replace(chosen), () if last is None else fields_of(spans[last]))


def _highest(site: str, bound: Bound, limits: Limits | None, enforce: bool) -> int:
    lower, upper = limits_of(site, limits)
    highest = min(upper, attainable(site, bound, lower)) if enforce else upper
    if math.isinf(highest):
        raise PlanError(
            f"site '{site}' has neither an upper limit nor a bound, so its rate could be anything; "
            "give it an upper limit"
        )
    return int(highest)


def _check(
    site: str, rates: tuple[int, ...], lower: int, highest: tuple[int, ...], count: int
) -> None:
    if len(rates) != count:
        raise PlanError(
            f"site '{site}': {len(rates)} rates are chosen where it has {count}; choose one for "
            "each"
        )
    axes = len(highest)
    for index, rate in enumerate(rates):
        most = highest[index % axes]
        if rate != int(rate) or not lower <= rate <= most:
            raise PlanError(
                f"site '{site}': rate {rate:g} is not a whole number from {lower} to {most}, which "
                "limits and bound allow there; choose one that is"
            )
