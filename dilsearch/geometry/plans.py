"""What a plan says about a network: the sites it may name, their form, and their rates."""

import math
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace

from dilsearch.errors import PlanError
from dilsearch.geometry.nodes import Node, Part, Rates, Window
from dilsearch.geometry.table import nearest
from dilsearch.plan import DilationPlan, SiteRates


def check_plan(
    plan: DilationPlan, windows: Mapping[str, Window], site_names: Collection[str], axes: int
) -> None:
    """Refuse a plan that names what is no site, or has rates for other branches or axes.

    Args:
        plan: The plan.
        windows: Those of the network that have a field, by name.
        site_names: All its sites, those without a field among them.
        axes: Its number of spatial axes.

    Raises:
        PlanError: Names every such site.
    """
    uses = Counter(window.module or name for name, window in windows.items())
    faults = []
    for site, rates in plan.sites.items():
        window = windows.get(site)
        if window is None or not window.site:
            faults.append(_why_no_site(site, site_names))
        elif (runs := uses[window.module or site]) > 1:
            faults.append(
                f"site '{site}' runs {runs} times in one forward pass, so that it has as "
                "many fields and bounds; give each use a module of its own"
            )
        else:
            faults.extend(_unlike_forms(site, rates, window, axes))
    if faults:
        raise PlanError.from_faults("the plan does not fit the network", faults)


def whole_rates(site: SiteRates, axes: int) -> Rates:
    """A site's rates per axis, fractions rounded up."""
    return spread(site, [math.ceil(rate) for rate in site.rates], axes)


def spread(site: SiteRates, rates: Sequence[int], axes: int) -> Rates:
    """Whole rates of a site's form, per axis: by branch, or of channels every row once.

    Args:
        site: The form.
        rates: As many as the site has, in the same order.
        axes: Spatial axes of the network.
    """
    if site.kind == "channel" and site.axes == 1:
        rates = sorted(set(rates))
    rows = zip(*[iter(rates)] * site.axes, strict=True)
    spread_rows = tuple(rows if site.axes == axes else (row * axes for row in rows))
    return tuple(dict.fromkeys(spread_rows)) if site.kind == "channel" else spread_rows


def plan_of(windows: Iterable[Window]) -> DilationPlan:
    """The windows' own rates as a plan: one for all axes where they agree in every branch."""
    return DilationPlan(
        {
            window.name: SiteRates(
                "branch" if len(window.rates) > 1 else "site",
                tuple(rate for branch in window.rates for rate in branch[: _axes_apart(window)]),
                axes=_axes_apart(window),
                causal=window.causal,
            )
            for window in windows
        }
    )


def united_parts(nodes: Sequence[Node], plan: DilationPlan) -> frozenset[str]:
    """Names of the parts that are no single branch any more at rates of the plan's form.

    A branch is one of a plan's rates only where the plan has as many branches: of channels, or of
    other branches, it may have them all.
    """
    branches = {node.name: len(node.rates) for node in nodes if isinstance(node, Window)}
    return frozenset(
        node.name
        for node in nodes
        if isinstance(node, Part)
        and node.branch is not None
        and (site := plan.sites.get(node.window)) is not None
        and (site.kind == "channel" or site.count != branches[node.window])
    )


def in_form(nodes: Sequence[Node], causal: Collection[str], united: Collection[str]) -> list[Node]:
    """The nodes, with some windows causal and some parts reading at all rates of their window.

    Raises:
        GeometryError: If a window cannot be causal; names the site.
    """
    changed: list[Node] = []
    for node in nodes:
        if isinstance(node, Window) and (node.module or node.name) in causal:
            node = node.turned_causal()
        elif isinstance(node, Part) and node.name in united:
            node = replace(node, branch=None)
        changed.append(node)
    return changed


def _axes_apart(window: Window) -> int:
    alike = all(len(set(branch)) == 1 for branch in window.rates)
    return 1 if alike else len(window.taps)


def _unlike_forms(site: str, rates: SiteRates, window: Window, axes: int) -> list[str]:
    faults = []
    if rates.axes not in (1, axes):
        faults.append(
            f"site '{site}': the plan has a rate for each of {rates.axes} axes where the network "
            f"has {axes}; give one rate for all axes" + (f", or {axes}" if axes > 1 else "")
        )
    branches, rows = len(window.rates), rates.count
    split = len(set(window.rates)) > 1 and rates.kind != "channel"
    if split and rows not in (1, branches):
        faults.append(
            f"site '{site}': the plan has {rows} rates where the network has "
            f"{branches} branches; give {branches} rates, or one for all"
        )
    return faults


def _why_no_site(name: str, site_names: Collection[str]) -> str:
    if name in site_names:
        return (
            f"site '{name}' sees only what is pooled globally, so its rate moves no field; "
            "take it out of the plan"
        )
    return f"the plan names '{name}', which is no site{nearest(name, site_names)}"
