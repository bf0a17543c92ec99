"""What a space says about rates, at the sites of its network: limits, starts and the control's."""

import math
from fnmatch import fnmatchcase

import torch
from torch import nn

from dilsearch.data import derived_seed
from dilsearch.errors import SpaceError
from dilsearch.geometry import FieldRow
from dilsearch.models.rates import published_rates
from dilsearch.plan import DilationPlan
from dilsearch.sites import Granularity
from dilsearch.space import Schedule, SearchSpace, SitesSection
from dilsearch.surgery import read_plan
from dilsearch.surgery.rates import relaxed_sites
from dilsearch.tracing import trace_graph


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
def start_rates(space: SearchSpace, relaxed: nn.Module, seed: int) -> None:
    """Set the starting rates that are no single number.

    They are drawn between the limits, the largest allowed, or those of a schedule, whose entries
    count the sites of their own section.

    Raises:
        SpaceError: If a schedule does not fit the sites or their limits, or two sections select
            one site.
        ModelError: If no published rates have the name.
    """
    generator = torch.Generator().manual_seed(derived_seed("initial rates", seed))
    sections = {name: _section_of(space, name) for name in relaxed_sites(relaxed)}
    plan = read_plan(relaxed)
    for name, layer in relaxed_sites(relaxed).items():
        initial, limits = sections[name].initial, layer.granularity
        if isinstance(initial, float):
            continue
        if initial == "uniform":
            drawn = torch.rand(layer.rate.shape, generator=generator)
            layer.rate.copy_(limits.lower + (limits.upper - limits.lower) * drawn)
        elif initial == "bound":
            layer.rate.fill_(float(limits.upper))
        else:
            own = [site for site, section in sections.items() if section is sections[name]]
            rates = _scheduled(initial, {site: len(plan[site]) for site in own}, "initial")[name]
            if not limits.lower <= min(rates) <= max(rates) <= limits.upper:
                raise SpaceError(
                    f"initial has rates {', '.join(f'{rate:g}' for rate in rates)} for site "
                    f"'{name}', outside its limits {limits.lower} to {limits.upper}; "
                    "change either"
                )
            layer.rate.copy_(torch.tensor(rates).reshape(layer.rate.shape))


def control_rates(space: SearchSpace, plan: DilationPlan) -> DilationPlan:
    """The control's rates at the sites of a plan.

    Raises:
        SpaceError: If a schedule has another number of sites or branches.
        ModelError: If no published rates have the name.
    """
    rate = space.control.rate
    branches = {site: len(rates) for site, rates in plan.items()}
    schedule = (rate,) * len(plan) if isinstance(rate, int) else rate
    return plan.replace(_scheduled(schedule, branches, "rate"))


def _scheduled(
    schedule: Schedule, branches: dict[str, int], key: str
) -> dict[str, tuple[float, ...]]:
    """Rates by site, from a schedule with an entry for each; a single rate holds for all branches.

    Args:
        schedule: The entries, or the name of published ones.
        branches: How many branches each site has.
        key: What the user wrote it under.
    """
    named = isinstance(schedule, str)
    entries = published_rates(schedule.partition(":")[2]) if isinstance(schedule, str) else schedule
    said = f"{key} = {schedule} has" if named else f"{key} lists"
    if len(entries) != len(branches):
        raise SpaceError(
            f"{said} {len(entries)} sites, and {len(branches)} are searched; give an entry for each"
        )
    chosen: dict[str, tuple[float, ...]] = {}
    for (site, count), entry in zip(branches.items(), entries, strict=True):
        rates = (entry,) if isinstance(entry, int) else entry
        rates = rates * count if len(rates) == 1 else rates
        if len(rates) != count:
            raise SpaceError(
                f"{said} {len(rates)} branches for site '{site}', which has {count}; "
                "give a rate for each"
            )
        chosen[site] = tuple(float(rate) for rate in rates)
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
