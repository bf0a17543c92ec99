"""Lists of rates that are tried before any are proposed, fitted to the sites that are searched."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dilsearch.baselines.shares import shares_of
from dilsearch.errors import SweepError
from dilsearch.geometry import FieldGraph, Limits, choose_rates
from dilsearch.geometry.bounds import limits_of
from dilsearch.plan import DilationPlan, SiteRates, shown_rates


@dataclass(frozen=True, slots=True)
class FirstPlan:
    """A list of rates as the parameters of a trial.

    Args:
        name: What the list is called.
        plan: Its rates, where needed within limits, in order and lowered to the bound.
        shares: The parameters that stand for them.
        remarks: Which rates had to be changed.
    """

    name: str
    plan: DilationPlan
    shares: Mapping[str, float]
    remarks: tuple[str, ...]


def fit_first(
    name: str,
    given: DilationPlan,
    form: DilationPlan,
    graph: FieldGraph,
    *,
    limits: Limits,
    enforce: bool,
) -> FirstPlan:
    """Bring a list of rates within limits and bounds, which published ones may exceed.

    The bound at a site is that behind the rates already lowered. Branches are put in order, which
    changes nothing but which channels see how far.

    Args:
        name: What the list is called.
        given: Its rates.
        form: A plan of the sites that are searched.
        graph: The network's field graph.
        limits: Limits of the rates by site.
        enforce: Whether rates are held to the bound.

    Raises:
        SweepError: If the list has other sites, branches or axes, or a rate that is not whole.
    """
    _check_fit(name, given, form)

    def choose(site: str, highest: tuple[int, ...]) -> Sequence[int]:
        entry, (lower, _) = given.sites[site], limits_of(site, limits)
        columns = [
            [int(min(max(row[axis], lower), most)) for row in entry.rows]
            for axis, most in enumerate(highest)
        ]
        if entry.kind == "branch":
            columns = [sorted(column) for column in columns]
        return [rate for row in zip(*columns, strict=True) for rate in row]

    plan = choose_rates(form, graph, choose, limits=limits, enforce=enforce)
    remarks = [
        _remark(name, site, given.sites[site], entry)
        for site, entry in plan.sites.items()
        if entry.rates != given[site]
    ]
    try:
        shares = shares_of(plan, graph, limits=limits, enforce=enforce)
    except SweepError as error:
        raise SweepError(f"first list '{name}': {error}") from None
    return FirstPlan(name, plan, shares, tuple(remarks))


def _check_fit(name: str, given: DilationPlan, form: DilationPlan) -> None:
    said = f"first list '{name}'"
    if len(given) != len(form):
        raise SweepError(
            f"{said} has {len(given)} sites, and {len(form)} are searched; give an entry for each, "
            "or leave the list out"
        )
    faults = []
    for site, entry in form.sites.items():
        own = given.sites.get(site)
        if own is None:
            faults.append(f"it has no rates for site '{site}'; it has {', '.join(given)}")
        elif _form_of(own) != _form_of(entry):
            faults.append(
                f"it has {_form_of(own)} for site '{site}', which has {_form_of(entry)}; "
                "give a rate for each"
            )
        elif not all(rate.is_integer() for rate in own.rates):
            faults.append(f"rates {shown_rates(own)} of site '{site}' are not whole; round them")
    if faults:
        raise SweepError.from_faults(f"{said} does not fit", faults)


def _form_of(entry: SiteRates) -> str:
    parts = {"site": "rate", "branch": "branches", "channel": "channels"}[entry.kind]
    if entry.count == 1:
        parts = {"branches": "branch", "channels": "channel"}.get(parts, parts)
    each = "" if entry.axes == 1 else f" with a rate for each of {entry.axes} axes"
    return f"{entry.count} {parts}{each}"


def _remark(name: str, site: str, given: SiteRates, fitted: SiteRates) -> str:
    before, after = sum(given.rates), sum(fitted.rates)
    done = "lowered" if after < before else "raised" if after > before else "put in order"
    return f"{name}: site '{site}' {shown_rates(given)} {done} to {shown_rates(fitted)}"
