"""What a method has found for what it has cost: one curve for each seed, and all seeds in one."""

from typing import Any

import numpy as np
import pandas as pd

from dilsearch.baselines.record import CHARGED


def best_so_far(trials: pd.DataFrame, *, method: str, cost: str, score: str) -> pd.DataFrame:
    """The best score of a sweep after each of its trials, against all that was paid until then.

    Pruned trials are paid for and find nothing; what a failed one had seen is not charged.

    Args:
        trials: Rows in the order of the trials: ``seed``, ``state``, and the two columns named.
        method: Name of the method, for the column of that name.
        cost: The column of what each trial cost, such as ``samples``.
        score: The column of the score, more being better.

    Returns:
        Columns ``method``, ``seed``, ``cost``, ``best``; no row before a seed's first score.
    """
    rows = trials.sort_values("number")
    charged = rows[cost].astype(float).where(rows["state"].isin(CHARGED)).fillna(0.0)
    paid = charged.groupby(rows["seed"]).cumsum()
    found = rows[score].astype(float).where(rows["state"] == "complete")
    best = found.groupby(rows["seed"]).transform(lambda values: values.cummax().ffill())
    curve = pd.DataFrame({"method": method, "seed": rows["seed"], "cost": paid, "best": best})
    return curve.dropna().reset_index(drop=True)


def over_seeds(curve: pd.DataFrame) -> pd.DataFrame:
    """One method's curves as a mean with the lowest and the highest seed.

    Between two costs a seed has what it had before, and after its last cost it keeps that. The
    mean begins where every seed has a score: one over fewer would jump when another joins.

    Args:
        curve: Columns ``seed``, ``cost`` and ``best``.

    Returns:
        Columns ``cost``, ``mean``, ``low`` and ``high``, one row for each cost of any seed.
    """
    costs = np.unique(curve["cost"].astype(float))
    seeds: dict[Any, pd.Series[float]] = {
        seed: rows.groupby("cost")["best"].max().cummax().reindex(costs).ffill()
        for seed, rows in curve.groupby("seed")
    }
    every = pd.DataFrame(seeds, index=costs).dropna()
    return pd.DataFrame(
        {
            "cost": every.index.to_numpy(dtype=float),
            "mean": every.mean(axis=1).to_numpy(),
            "low": every.min(axis=1).to_numpy(),
            "high": every.max(axis=1).to_numpy(),
        }
    )
