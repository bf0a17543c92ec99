"""The widest field that limits and bounds allow: what no search can exceed."""

from typing import Literal

from torch import nn

from dilsearch.errors import PlanError
from dilsearch.geometry import enforce_bounds
from dilsearch.search.settling import REMEDY
from dilsearch.surgery import field_graph, read_plan
from dilsearch.surgery.rates import rate_limits


def widest_field_px(model: nn.Module, gap: Literal["enforce", "ignore"]) -> int | None:
    """The larger side of the field behind the last site with every rate as large as it may be.

    Args:
        model: A relaxed model.
        gap: Whether rates are held to the gap bound beside their upper limits.

    Returns:
        The field in pixels; None without a field graph, or where no rates fit under the bounds.
    """
    graph = field_graph(model)
    if graph is None:
        return None
    limits = rate_limits(model)
    plan = read_plan(model)
    widest = plan.replace(
        {site: (float(limits[site][1]),) * len(rates) for site, rates in plan.items()}
    )
    if gap == "enforce":
        try:
            widest = enforce_bounds(widest, graph, limits)
        except PlanError:
            return None
    table = graph.propagate(widest)
    assert table.last_site is not None  # a plan has at least one site
    return max(field.size_px for field in table.at(table.last_site))


def out_of_reach(
    model: nn.Module, *, gap: Literal["enforce", "report", "ignore"], needed_px: int | None
) -> str | None:
    """What to say before a search that cannot find the needed field; None if it may."""
    if needed_px is None:
        return None
    widest_px = widest_field_px(model, "enforce" if gap == "enforce" else "ignore")
    if widest_px is None or widest_px >= needed_px:
        return None
    return (
        f"{needed_px} px are needed, and limits and bounds allow {widest_px} px at most; {REMEDY}"
    )
