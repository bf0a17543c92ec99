"""What had been spent when a score was reached, and what was reached for what another had spent.

Every trial that was trained to its end or pruned is charged, in the order of their numbers, which
is the order in which one worker would have run them. Only one that was trained to its end scores.
"""

from typing import Final, Literal, TypeAlias

import pandas as pd

from dilsearch.report.best_so_far import best_so_far

Unit: TypeAlias = Literal["samples", "seconds"]
UNITS: Final[tuple[Unit, ...]] = ("samples", "seconds")
"""Samples first: they are the same on every machine."""


def curves(plans: pd.DataFrame, unit: Unit = "samples") -> pd.DataFrame:
    """Best score so far against all that had been spent, for each method and seed.

    A curve begins with the first trial that scores; what was spent before is in its cost.

    Args:
        plans: The plans of ``read_methods``.
        unit: What is spent.

    Returns:
        Columns ``method``, ``kind``, ``seed``, ``cost`` and ``best``, a row for each trial, in
        their order.
    """
    parts = [
        best_so_far(group, method=str(method), cost=unit, score="score")
        for method, group in plans.groupby("method", sort=False)
    ]
    by_seed = [part.sort_values("seed", kind="stable") for part in parts]
    joined = pd.concat(by_seed, ignore_index=True)
    kinds = plans.drop_duplicates("method").set_index("method")["kind"]  # a method is of one kind
    joined.insert(1, "kind", joined["method"].map(kinds))
    return joined


def first_reached(curves: pd.DataFrame, threshold: float) -> pd.DataFrame:
    """What each method and seed had spent when it first reached a score.

    Args:
        curves: The frame of ``curves``.
        threshold: The score.

    Returns:
        Columns ``method``, ``seed`` and ``cost``, a row for each curve; no cost where it never did.
    """
    rows = []
    for (method, seed), group in curves.groupby(["method", "seed"], sort=False):
        reached = group.loc[group["best"] >= threshold, "cost"]
        cost = float(reached.iloc[0]) if len(reached) else float("nan")
        rows.append({"method": method, "seed": seed, "cost": cost})
    columns = {"method": "object", "seed": "Int64", "cost": "float64"}
    return pd.DataFrame(rows, columns=list(columns)).astype(columns)


def best_within(curves: pd.DataFrame, budget: float) -> pd.DataFrame:
    """What each method and seed had reached when no more than a budget was spent.

    Args:
        curves: The frame of ``curves``.
        budget: In the unit of the curves.

    Returns:
        Columns ``method``, ``seed`` and ``best``, a row for each curve; no score where no trial
        had ended by then.
    """
    rows = [
        {"method": method, "seed": seed, "best": group.loc[group["cost"] <= budget, "best"].max()}
        for (method, seed), group in curves.groupby(["method", "seed"], sort=False)
    ]
    columns = {"method": "object", "seed": "Int64", "best": "float64"}
    return pd.DataFrame(rows, columns=list(columns)).astype(columns)


def costs_table(plans: pd.DataFrame) -> pd.DataFrame:
    """The curves in both units side by side, as ``costs.csv`` has them."""
    samples, seconds = (curves(plans, unit) for unit in UNITS)
    table = samples.rename(columns={"cost": "samples"}).astype({"samples": "Int64"})
    table.insert(4, "seconds", seconds["cost"])
    return table


def with_first_reached(
    seeds: pd.DataFrame, plans: pd.DataFrame, threshold: float | None
) -> pd.DataFrame:
    """The outcomes of every seed with what it had spent when it first reached a score.

    Args:
        seeds: The outcomes.
        plans: The plans of ``read_methods``.
        threshold: The score; None leaves the table as it is.

    Returns:
        The table with ``samples_reached`` and ``seconds_reached``, absent where it never did. They
        belong to a method with all its trials, so that another view of it has none.
    """
    if threshold is None:
        return seeds
    for unit in UNITS:
        reached = first_reached(curves(plans, unit), threshold)
        renamed = reached.rename(columns={"cost": f"{unit}_reached"})
        seeds = seeds.merge(renamed, on=["method", "seed"], how="left")
        seeds[f"{unit}_reached"] = seeds[f"{unit}_reached"].where(seeds["name"] == seeds["method"])
    return seeds
