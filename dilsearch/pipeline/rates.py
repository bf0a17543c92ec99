"""What a space says about rates, at the sites of its network: limits, starts and the control's."""

import math
from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Final

import torch
from torch import nn

from dilsearch.errors import SpaceError
from dilsearch.geometry import FieldRow
from dilsearch.models.rates import published_rates
from dilsearch.plan import DilationPlan, SiteRates
from dilsearch.sites import Granularity
from dilsearch.space import Schedule, SearchSpace, SitesSection
from dilsearch.surgery import read_plan
from dilsearch.surgery.rates import relaxed_sites
from dilsearch.tracing import trace_graph

_DONE_BY_RELAX: Final = ("present", "uniform")


def site_limits(
    space: SearchSpace, network: nn.Module, example: torch.Tensor
) -> dict[str, Granularity]:
    """What may vary, by glob; by site where upper limits follow from the needed field."""
    chosen: dict[str, Granularity] = {}
    graph = None
    for section in space.sites:
        if section.upper is not None:
            chosen |= {glob: section.to_granularity(section.upper) for glob in section.select}
            continue
        graph = graph or trace_graph(network, example)
        for glob in section.select:
            sites = [row for row in graph.propagate().rows if fnmatchcase(row.name, glob)]
            sites = [row for row in sites if max(row.taps) > 1]
            for row in sites:
                chosen[row.name] = section.to_granularity(_spanning_rate(row, space.needed_px))
            if not sites:
                # relax says what is wrong with the glob
                largest = max(section.lower, math.ceil(_number(section.initial)))
                chosen[glob] = section.to_granularity(largest)
    return chosen


@torch.no_grad()
def start_rates(space: SearchSpace, relaxed: nn.Module) -> None:
    """Set the starting rates that ``relax`` has no word for: the largest allowed, and schedules.

    The entries of a schedule count the sites of their own section.

    Raises:
        SpaceError: If a schedule does not fit the sites or their limits, or two sections select
            one site.
        ModelError: If no published rates have the name.
    """
    sections = {name: _section_of(space, name) for name in relaxed_sites(relaxed)}
    plan = read_plan(relaxed)
    for name, layer in relaxed_sites(relaxed).items():
        initial, limits = sections[name].initial, layer.granularity
        if initial == "bound":
            layer.rate.fill_(float(limits.upper))
        elif not isinstance(initial, float) and initial not in _DONE_BY_RELAX:
            own = {s: plan.sites[s] for s, section in sections.items() if section is sections[name]}
            rates = _scheduled(initial, own, "initial")[name]
            if not limits.lower <= min(rates) <= max(rates) <= limits.upper:
                raise SpaceError(
                    f"initial has rates {', '.join(f'{rate:g}' for rate in rates)} for site "
                    f"'{name}', outside its limits {limits.lower} to {limits.upper}; "
                    "change either"
                )
            layer.rate.copy_(torch.tensor(rates).reshape(layer.rate.shape))


def present_plan(relaxed: nn.Module) -> DilationPlan:
    """The dilations that the convolutions had before they were relaxed, as a plan."""
    present = {
        name: tuple(torch.tensor(layer.initial_rates).reshape(-1).tolist())
        for name, layer in relaxed_sites(relaxed).items()
    }
    return read_plan(relaxed).replace(present)


def control_rates(
    space: SearchSpace, plan: DilationPlan, present: DilationPlan | None = None
) -> DilationPlan:
    """The control's rates at the sites of a plan.

    Args:
        space: What it says of the control.
        plan: The sites, and what their rates stand for.
        present: The dilations that the network has without a search; ``plan`` if None.

    Raises:
        SpaceError: If a schedule has another number of sites or branches.
        ModelError: If no published rates have the name.
    """
    rate = space.control.rate
    if rate == "present":
        return plan if present is None else present
    schedule = (rate,) * len(plan) if isinstance(rate, int) else rate
    return plan.replace(_scheduled(schedule, plan.sites, "rate"))


def first_plans(space: SearchSpace, form: DilationPlan) -> dict[str, DilationPlan]:
    """The rates that a sweep tries before it proposes any, by what they are called.

    Args:
        space: What it says of sweeps.
        form: The sites, and what their rates stand for.

    Raises:
        SpaceError: If a schedule has another number of sites or branches.
        ModelError: If no published rates have the name.
    """
    return {
        schedule if isinstance(schedule, str) else f"list {number}": form.replace(
            _scheduled(schedule, form.sites, "sweep.first")
        )
        for number, schedule in enumerate(space.sweep.first, start=1)
    }


def _scheduled(
    schedule: Schedule, sites: Mapping[str, SiteRates], key: str
) -> dict[str, tuple[float, ...]]:
    """Rates by site, from a schedule with an entry for each.

    A single rate holds for all branches or channels of its site, and every rate for all axes.

    Args:
        schedule: The entries, or the name of published ones.
        sites: The sites that they are for.
        key: What the user wrote it under.
    """
    named = isinstance(schedule, str)
    entries = published_rates(schedule.partition(":")[2]) if isinstance(schedule, str) else schedule
    said = f"{key} = {schedule} has" if named else f"{key} lists"
    if len(entries) != len(sites):
        raise SpaceError(
            f"{said} {len(entries)} sites, and {len(sites)} are searched; give an entry for each"
        )
    chosen: dict[str, tuple[float, ...]] = {}
    for (name, site), entry in zip(sites.items(), entries, strict=True):
        rates, count = (entry,) if isinstance(entry, int) else entry, len(site.rows)
        rates = rates * count if len(rates) == 1 else rates
        if len(rates) != count:
            parts = "channels" if site.kind == "channel" else "branches"
            raise SpaceError(
                f"{said} {len(rates)} {parts} for site '{name}', which has {count}; "
                "give a rate for each"
            )
        chosen[name] = tuple(float(rate) for rate in rates for _ in range(site.axes))
    return chosen


def _number(initial: object) -> float:
    return initial if isinstance(initial, float) else 1.0


def _spanning_rate(row: FieldRow, needed_px: int) -> int:
    """The smallest rate at which the outer taps of one site alone span the needed field."""
    return max(
        math.ceil(needed_px / ((taps - 1) * field.stride_px))
        for taps, field in zip(row.taps, row.field_in, strict=True)
        if taps > 1
    )


def _section_of(space: SearchSpace, site: str) -> SitesSection:
    """The one section that selects a site.

    Raises:
        SpaceError: If there are several, which ``relax`` cannot tell where their globs are equal
            or their limits left open.
    """
    found = [
        (section, glob)
        for section in space.sites
        for glob in section.select
        if fnmatchcase(site, glob)
    ]
    section, glob = found[0]
    for other, its_glob in found:
        if other is not section:
            raise SpaceError(
                f"site '{site}' is selected by '{glob}' and by '{its_glob}' of another section; "
                "let one select it"
            )
    return section
