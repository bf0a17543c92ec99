"""What a plan must keep, measured on the plan itself and recorded as constraints of its trial."""

from itertools import pairwise

import optuna

from dilsearch.geometry import FieldGraph
from dilsearch.plan import DilationPlan


def set_constraints(
    trial: optuna.Trial, plan: DilationPlan, graph: FieldGraph, *, enforce: bool
) -> None:
    """Record by how much a plan breaks order and, if enforced, bound: 0 or less where it keeps it.

    Both are measured on the plan itself, whatever made it.
    """
    trial.set_constraint("order", order_excess(plan))
    if enforce:
        trial.set_constraint("bound", bound_excess(plan, graph))


def order_excess(plan: DilationPlan) -> float:
    """By how much a branch's rate falls below that of the branch before it, at the worst place.

    Negative where every branch is larger than the one before; 0 where no site has several.
    """
    falls = [
        before - after
        for entry in plan.sites.values()
        for axis in range(entry.axes)
        for before, after in pairwise(entry.rates[axis :: entry.axes])
    ]
    return float(max(falls, default=0.0))


def bound_excess(plan: DilationPlan, graph: FieldGraph) -> float:
    """By how much a rate exceeds the bound of its axis, at the worst place; negative if none does.

    0 where no site spans an axis.
    """
    excesses = [
        rate - bound
        for row in graph.propagate(plan).rows
        if row.name in plan
        for branch in row.rates
        for rate, bound, taps in zip(branch, row.bounds, row.taps, strict=True)
        if taps > 1
    ]
    return float(max(excesses, default=0.0))
