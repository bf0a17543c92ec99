"""How large the rates of a site may be: the limits that are given, and the bound that follows."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

from dilsearch.errors import PlanError
from dilsearch.geometry.nodes import Spans, Window
from dilsearch.geometry.spans import Span
from dilsearch.plan import DilationPlan

Limits: TypeAlias = Mapping[str, tuple[int, int]]
"""Lower and upper limit of the rates by site; sites not named have 1 and no upper limit."""


@dataclass(frozen=True, slots=True)
class Bound:
    """The bound of the rates along one axis, or along all; none where the site spans none.

    Args:
        span: What is seen in front of the site, which the bound follows from.
        axis: Name of the axis, where each has its own bound.
    """

    span: Span | None
    axis: str = ""

    @property
    def rate(self) -> float:
        """The largest rate that leaves no gap; infinite where there is no bound."""
        return math.inf if self.span is None else self.span.bound

    def __str__(self) -> str:
        if self.span is None:
            return "no bound"
        field, along = self.span.field, f" along {self.axis}" if self.axis else ""
        return f"bound {self.rate}{along} (field {field.size_px} px, stride {field.stride_px} px)"


def bounds_of(window: Window, spans: Spans, axes: int) -> list[Bound]:
    """One bound for the rates of all axes, or one for each.

    Args:
        window: The site.
        spans: What is seen in front of it, per axis.
        axes: How many axes have rates of their own; 1 if one rate stands for all.
    """
    if axes == 1:
        return [Bound(window.tightest(spans))]
    names = ("height", "width") if axes == 2 else tuple(f"axis {axis}" for axis in range(axes))
    return [
        Bound(spans[axis] if axis in window.spanned else None, name)
        for axis, name in enumerate(names)
    ]


def attainable(site: str, bound: Bound, lower: int) -> float:
    """The bound, which must leave room above the lower limit.

    Raises:
        PlanError: If it lies below; names the site.
    """
    if bound.rate < lower:
        raise PlanError(
            f"site '{site}': its lower limit {lower} exceeds {bound}. "
            "Lower the limit, raise the rates in front of it, or set gap.policy = 'report'."
        )
    return bound.rate


def limits_of(site: str, limits: Limits | None) -> tuple[int, float]:
    """Lower and upper limit of a site; infinite where there is no upper one."""
    return limits.get(site, (1, math.inf)) if limits else (1, math.inf)


def check_limits(plan: DilationPlan, limits: Limits | None) -> None:
    """Refuse rates outside the limits of their sites.

    Raises:
        PlanError: Names every such site.
    """
    faults = []
    for site, rates in plan.items():
        lower, upper = limits_of(site, limits)
        outside = [rate for rate in rates if not lower <= rate <= upper]
        if outside:
            more = f", like {len(outside) - 1} more" if len(outside) > 1 else ""
            faults.append(
                f"site '{site}': rate {outside[0]} is outside its limits {lower} to {upper}{more}; "
                "correct the plan, or widen the limits"
            )
    if faults:
        raise PlanError.from_faults("the plan does not keep its limits", faults)
