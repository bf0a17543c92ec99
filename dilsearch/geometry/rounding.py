"""The integer rates that a site's float rates become: each kind and each axis by its own rule."""

import math
from collections.abc import Sequence

from dilsearch.plan import SiteRates
from dilsearch.sites import Kind


def rounded(site: SiteRates) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """Rounded rates of a site, and the rule for each.

    One rate for the whole site is rounded up, which keeps its field. Of branches, the smallest is
    rounded down and the largest up, each where it stands; of equals the first counts as smaller;
    the others go to the nearest integer, halves up. So do the rates of channels. Where axes have
    their own rates, each axis is rounded by itself.

    Source: RegSeg (Gao 2022), Sec. 3.4 (two branches).
    """
    axes = site.axes
    rates, rules = [0] * len(site.rates), [""] * len(site.rates)
    for axis in range(axes):
        rates[axis::axes], rules[axis::axes] = _along_one_axis(site.kind, site.rates[axis::axes])
    return tuple(rates), tuple(rules)


def _along_one_axis(kind: Kind, rates: Sequence[float]) -> tuple[list[int], list[str]]:
    if kind == "site" or (kind == "branch" and len(rates) == 1):
        return [math.ceil(rates[0])], ["ceil"]
    whole = [math.floor(rate + 0.5) for rate in rates]
    rules = ["nearest"] * len(rates)
    if kind == "branch":
        branches = range(len(rates))
        smallest = min(branches, key=lambda branch: (rates[branch], branch))
        largest = max(branches, key=lambda branch: (rates[branch], branch))
        whole[smallest], rules[smallest] = math.floor(rates[smallest]), "floor of the smaller"
        whole[largest], rules[largest] = math.ceil(rates[largest]), "ceil of the larger"
    return whole, rules
