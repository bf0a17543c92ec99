"""What each method came to with each seed: the best of its trials, and the cost of all of them.

A grid with several seeds is looked at in two ways. A person with one seed would take the target
that was best with it; a person with all of them, as in Fig. 5 of RegSeg, the one target that is
best on average. The first is the best of more draws, so that it flatters the grid.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

import pandas as pd

from dilsearch.baselines.record import CHARGED
from dilsearch.comparison.methods import COMPLETE, FAILED

OUTCOME_TYPES: Final[Mapping[str, str]] = {
    "name": "object",  # the method, or the method at one target
    "method": "object",
    "kind": "object",
    "seed": "Int64",
    "score": "float64",
    "number": "Int64",
    "target_px": "Int64",
    "field_px": "Int64",
    "rates": "object",
    "trials": "Int64",
    "pruned": "Int64",
    "answered": "Int64",  # from another trial with the same plan and seed, at no cost
    "failed": "Int64",
    "samples": "Int64",
    "seconds": "float64",
}
"""Columns of ``seeds.csv``; cost and counts are those of all trials of the method and seed."""


def outcomes(plans: pd.DataFrame) -> pd.DataFrame:
    """One row for each method and seed, and one more for each seed of a grid at its best target.

    A seed without a trial that trained to its end has no row.

    Args:
        plans: The plans of ``read_methods``.
    """
    rows: list[dict[str, Any]] = []
    for method, group in plans.groupby("method", sort=False):
        rows += _best_of_each_seed(str(method), group)
        target = best_target(group)
        if target is not None:
            at_target = group[group["target_px"] == target]
            rows += _best_of_each_seed(f"{method} at {target} px", at_target, charged=group)
    return pd.DataFrame(rows, columns=list(OUTCOME_TYPES)).astype(dict(OUTCOME_TYPES))


def best_target(group: pd.DataFrame) -> int | None:
    """The target of a grid with the best mean score over its seeds.

    Only targets that were trained to the end with every seed can be it; the smaller of two equals.

    Args:
        group: The plans of one method.

    Returns:
        The target; None for what is no grid, and for a grid of one seed, whose best is its best.
    """
    complete = _scored(group)
    seeds = complete["seed"].nunique()
    if (group["kind"] != "grid").any() or seeds < 2:
        return None
    by_target = complete.groupby("target_px")
    everywhere = by_target["score"].mean()[by_target["seed"].nunique() == seeds]
    return int(everywhere.index[int(everywhere.to_numpy().argmax())]) if len(everywhere) else None


def scores_by_seed(outcomes: pd.DataFrame, name: str) -> dict[int, float]:
    """Seed to score of one name."""
    rows = outcomes[outcomes["name"] == name]
    return {
        int(seed): float(score) for seed, score in zip(rows["seed"], rows["score"], strict=True)
    }


def _best_of_each_seed(
    name: str, group: pd.DataFrame, *, charged: pd.DataFrame | None = None
) -> Iterator[dict[str, Any]]:
    everything = group if charged is None else charged
    complete = _scored(group)
    for seed, trials in complete.sort_values("number", kind="stable").groupby("seed"):
        best = trials.iloc[int(trials["score"].to_numpy().argmax())]  # the first of equals
        spent = everything[everything["seed"] == seed]
        charged = spent[spent["state"].isin(CHARGED)]
        yield {
            "name": name,
            "seed": seed,
            **{
                key: best[key]
                for key in (
                    "method", "kind", "score", "number", "target_px", "field_px", "rates",
                )
            },
            "trials": len(spent),
            "pruned": int(spent["pruned"].sum()),
            "answered": int(spent["answered_from"].notna().sum()),
            "failed": int((spent["state"] == FAILED).sum()),
            "samples": int(charged["samples"].fillna(0).sum()),
            "seconds": round(float(charged["seconds"].fillna(0.0).sum()), 3),
        }  # fmt: skip


def _scored(plans: pd.DataFrame) -> pd.DataFrame:
    """The plans that were trained to the end."""
    return plans[(plans["state"] == COMPLETE) & plans["score"].notna()]
