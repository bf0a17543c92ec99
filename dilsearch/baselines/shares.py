"""Integer plans described by shares from 0 to 1, any of which a sampler may propose.

A share of 0 is the lowest rate, 1 the highest that limits, order and bound allow at its place, and
rates in between follow on the log scale. So every choice of shares is a plan without a fault, and
what is allowed at a site need not be known before the rates in front of it.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

from dilsearch.errors import SweepError
from dilsearch.geometry import FieldGraph, Limits, choose_rates
from dilsearch.geometry.bounds import limits_of
from dilsearch.plan import DilationPlan, SiteRates, shown_rates


def share_names(form: DilationPlan) -> tuple[str, ...]:
    """Names of the shares of a plan: ``SITE[BRANCH]``, or ``SITE[BRANCH.AXIS]``.

    Channels have two shares together, ``SITE[min]`` and ``SITE[max]``; between these rates they are
    spread evenly on the log scale, the first channel at the smallest.
    """
    return tuple(
        name
        for site, entry in form.sites.items()
        for across in zip(*(_names(site, entry, axis) for axis in range(entry.axes)), strict=True)
        for name in across
    )


def rates_from_shares(
    shares: Mapping[str, float],
    form: DilationPlan,
    graph: FieldGraph,
    *,
    limits: Limits | None = None,
    enforce: bool = True,
) -> DilationPlan:
    """The integer plan that shares stand for: within limits, in order and, if enforced, bounded.

    The last branch of a site comes first, between the lower limit and the highest rate allowed;
    each other lies between the lower limit and the one behind it.

    Args:
        shares: A number from 0 to 1 for each of ``share_names``.
        form: A plan of the sites; its rates do not matter.
        graph: The network's field graph.
        limits: Limits of the rates by site.
        enforce: Whether rates are held to the bound.

    Raises:
        SweepError: If a share is missing, unknown or outside 0 to 1; names all of them.
        PlanError: As ``choose_rates``.
    """
    _check(shares, share_names(form))

    def choose(site: str, highest: tuple[int, ...]) -> Sequence[int]:
        entry, (lower, _) = form.sites[site], limits_of(site, limits)
        along = []
        for axis, most in enumerate(highest):
            knots: list[int] = []
            for name in reversed(_names(site, entry, axis)):
                most = _rate(shares[name], lower, most)
                knots.insert(0, most)
            along.append(_spread(entry, knots))
        return [rate for row in zip(*along, strict=True) for rate in row]

    return choose_rates(form, graph, choose, limits=limits, enforce=enforce)


def shares_of(
    plan: DilationPlan,
    graph: FieldGraph,
    *,
    limits: Limits | None = None,
    enforce: bool = True,
) -> dict[str, float]:
    """The shares that an integer plan comes from: ``rates_from_shares`` gives it back exactly.

    Args:
        plan: Rates within limits, of ascending branches, and within the bound if that is enforced.
        graph: The network's field graph.
        limits: Limits of the rates by site.
        enforce: Whether rates are held to the bound.

    Raises:
        SweepError: If the rates of a site are not whole or do not ascend, or its channels are not
            spread evenly on the log scale, so that no shares stand for them; names every such site.
        PlanError: As ``choose_rates``, whose rates they are now.
    """
    faults = [fault for site, entry in plan.sites.items() for fault in _unsayable(site, entry)]
    if faults:
        raise SweepError.from_faults("the plan has no shares", faults)
    whole_rates = {site: tuple(map(int, rates)) for site, rates in plan.items()}
    shares: dict[str, float] = {}

    def choose(site: str, highest: tuple[int, ...]) -> Sequence[int]:
        entry, (lower, _) = plan.sites[site], limits_of(site, limits)
        for axis, most in enumerate(highest):
            knots = zip(_names(site, entry, axis), _knots(entry, axis), strict=True)
            for name, rate in reversed(tuple(knots)):
                shares[name] = _share(rate, lower, most)
                most = rate
        return whole_rates[site]

    choose_rates(plan, graph, choose, limits=limits, enforce=enforce)
    return {name: shares[name] for name in share_names(plan)}


def _names(site: str, entry: SiteRates, axis: int) -> list[str]:
    """Names of the shares along one axis, that of the smallest rate first."""
    labels = ("min", "max") if entry.kind == "channel" else range(entry.count)
    along = f".{axis}" if entry.axes > 1 else ""
    return [f"{site}[{label}{along}]" for label in labels]


def _knots(entry: SiteRates, axis: int) -> list[int]:
    """The rates along one axis that have a share: those of branches, or the outer two channels."""
    rates = [int(rate) for rate in entry.rates[axis :: entry.axes]]
    return [rates[0], rates[-1]] if entry.kind == "channel" else rates


def _spread(entry: SiteRates, knots: Sequence[int]) -> list[int]:
    """The rates along one axis that the rates with a share stand for."""
    if entry.kind != "channel":
        return list(knots)
    smallest, largest = knots
    if entry.count == 1:
        return [largest]
    last = entry.count - 1
    return [_rate(channel / last, smallest, largest) for channel in range(entry.count)]


def _rate(share: float, lowest: int, highest: int) -> int:
    """The whole rate nearest to a share of the way from lowest to highest, on the log scale."""
    rate = math.floor(lowest * math.pow(highest / lowest, share) + 0.5)
    return min(max(rate, lowest), highest)


def _share(rate: int, lowest: int, highest: int) -> float:
    """The share at which ``_rate`` is this rate; 0 where there is no choice."""
    if highest <= lowest:
        return 0.0
    return min(max(math.log(rate / lowest) / math.log(highest / lowest), 0.0), 1.0)


def _check(shares: Mapping[str, float], names: Sequence[str]) -> None:
    faults = [f"'{name}' is missing" for name in names if name not in shares]
    faults += [f"'{name}' is the share of no rate" for name in shares if name not in names]
    faults += [
        f"'{name}' = {share} is not a number from 0 to 1"
        for name, share in shares.items()
        if not 0 <= share <= 1
    ]
    if faults:
        raise SweepError.from_faults("the shares do not fit the plan", faults)


def _unsayable(site: str, entry: SiteRates) -> Iterator[str]:
    """Why no shares stand for the rates of a site, if none do."""
    if not entry.is_integer:
        yield f"site '{site}': rates {shown_rates(entry)} are not whole; project the plan first"
        return
    for axis in range(entry.axes):
        rates = [int(rate) for rate in entry.rates[axis :: entry.axes]]
        if any(behind < rate for rate, behind in pairwise(rates)):
            yield (
                f"site '{site}': rates {shown_rates(entry)} do not ascend; give the smallest first"
            )
        elif _spread(entry, _knots(entry, axis)) != rates:
            yield (
                f"site '{site}': channels with the rates {shown_rates(entry)} are not spread "
                "evenly on the log scale; give all of them one rate"
            )
