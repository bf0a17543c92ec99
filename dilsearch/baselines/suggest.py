"""A plan proposed by an Optuna trial, in a sweep or in an objective of one's own."""

import optuna

from dilsearch.baselines.constraints import set_constraints
from dilsearch.baselines.shares import rates_from_shares, share_names
from dilsearch.baselines.table import record_plan
from dilsearch.errors import SweepError
from dilsearch.geometry import FieldGraph, Limits
from dilsearch.plan import DilationPlan


def suggest_plan(
    trial: optuna.Trial,
    form: DilationPlan,
    graph: FieldGraph | None,
    *,
    limits: Limits | None = None,
    enforce: bool = True,
) -> DilationPlan:
    """Ask an Optuna trial for an integer plan, which keeps limits, order and bound whatever it is.

    The trial's parameters are the shares of ``share_names``, floats from 0 to 1; how far the plan
    stays within order and bound is recorded as its constraints, and the plan itself as the user
    attributes ``rates``, in words, and ``plan``, as JSON. In an objective of one's own::

        plan = dilsearch.suggest_plan(
            trial,
            dilsearch.read_plan(relaxed),
            dilsearch.field_graph(relaxed),
            limits=dilsearch.rate_limits(relaxed),
        )
        network = dilsearch.apply_plan(relaxed, plan)

    Args:
        trial: The trial that is asked.
        form: A plan of the sites; its rates do not matter.
        graph: The network's field graph, as ``field_graph`` gives it.
        limits: Limits of the rates by site.
        enforce: Whether rates are held to the bound.

    Raises:
        SweepError: If there is no field graph.
        PlanError: As ``choose_rates``.
    """
    if graph is None:
        raise SweepError(
            "a plan cannot be proposed without a field graph, from which its bounds follow; give "
            "relax an example, or the graph of trace_graph"
        )
    shares = {name: trial.suggest_float(name, 0.0, 1.0) for name in share_names(form)}
    plan = rates_from_shares(shares, form, graph, limits=limits, enforce=enforce)
    set_constraints(trial, plan, graph, enforce=enforce)
    record_plan(trial, plan)
    return plan
