"""Whether a difference between two methods is more than chance.

Permutation tests, since they assume nothing of how scores are spread. Where seeds match, chance
would have put either sign before each paired difference: all signs are tried. Where they do not,
it would have shared the scores out in any other way: all ways are tried. The p value is the share
of these worlds in which the difference is at least as large, whichever way it points.
Source: Fisher, The Design of Experiments (1935), section 21.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Final, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

LEVEL: Final = 0.05
"""A difference counts as more than chance if p is at most this."""
FEWEST_PAIRS: Final = 6
"""With fewer pairs no p value can be at most 0.05: five give 2 / 2 ** 5 at the least."""

Verdict: TypeAlias = Literal["better", "worse", "within noise", "too few seeds"]

_MOST_PAIRS: Final = 16
_MOST_WORLDS: Final = 2**_MOST_PAIRS
_DRAWS: Final = 20_000
_TOLERANCE: Final = 1e-12
"""Scores are shares, so that this is rounding and no difference."""


@dataclass(frozen=True, slots=True)
class Difference:
    """How one method differs from another.

    Args:
        mean: Mean score of the first, less that of the second.
        error: Standard error of it; NaN where one seed says nothing of the spread.
        seeds: Scores of the first and of the second that were used.
        paired: Whether they belong together seed by seed.
        p: Share of chance worlds with a difference at least as large.
        smallest_p: The smallest p that so many scores can give.
    """

    mean: float
    error: float
    seeds: tuple[int, int]
    paired: bool
    p: float
    smallest_p: float

    @property
    def verdict(self) -> Verdict:
        """What can be said of the first method beside the second."""
        if self.smallest_p > LEVEL:
            return "too few seeds"
        if self.p > LEVEL:
            return "within noise"
        return "better" if self.mean > 0 else "worse"

    @property
    def largest(self) -> float:
        """The largest difference, either way, within one standard error of the mean."""
        return abs(self.mean) + self.error


def difference(first: Mapping[int, float], second: Mapping[int, float]) -> Difference:
    """Compare the scores of two methods, by seed.

    They are paired if six seeds match, or all of the fewer; else the scores that have no partner
    say more than the pairs would.

    Args:
        first: Seed to score; at least one.
        second: Likewise.
    """
    shared = [seed for seed in first if seed in second]
    if len(shared) >= min(FEWEST_PAIRS, len(first), len(second)):
        return _paired([first[seed] - second[seed] for seed in shared])
    return _unpaired(list(first.values()), list(second.values()))


def sign_flip_p(differences: Sequence[float], *, seed: int = 0) -> float:
    """Two-sided p of paired differences under changes of sign.

    Args:
        differences: One for each pair.
        seed: Of the draws that stand for all signs where there are more than 16 pairs.
    """
    values = np.asarray(differences, dtype=np.float64)
    count = len(values)
    if count <= _MOST_PAIRS:
        patterns = (np.arange(2**count)[:, None] >> np.arange(count)) & 1
        return _share((2 * patterns - 1) @ values, float(values.sum()))
    drawn = np.random.default_rng(seed).choice((-1.0, 1.0), size=(_DRAWS, count))
    return _drawn_share(drawn @ values, float(values.sum()))


def label_permutation_p(first: Sequence[float], second: Sequence[float], *, seed: int = 0) -> float:
    """Two-sided p of the difference of two means under exchanges of scores.

    Args:
        first: Scores of one method.
        second: Scores of the other.
        seed: Of the draws that stand for all exchanges where there are more than 65,536.
    """
    pooled = np.asarray([*first, *second], dtype=np.float64)
    centred = pooled - pooled.mean()
    # The mean of one side decides that of the other, so that one sum stands for the difference.
    observed = float(centred[: len(first)].sum())
    if math.comb(len(pooled), len(first)) <= _MOST_WORLDS:
        chosen = np.array(list(combinations(range(len(pooled)), len(first))))
        return _share(centred[chosen].sum(axis=1), observed)
    generator = np.random.default_rng(seed)
    shuffled = generator.permuted(np.tile(centred, (_DRAWS, 1)), axis=1)
    return _drawn_share(shuffled[:, : len(first)].sum(axis=1), observed)


def _paired(differences: Sequence[float]) -> Difference:
    values, count = np.asarray(differences, dtype=np.float64), len(differences)
    error = float(values.std(ddof=1)) / math.sqrt(count) if count > 1 else math.nan
    return Difference(
        mean=float(values.mean()),
        error=error,
        seeds=(count, count),
        paired=True,
        p=sign_flip_p(differences),
        smallest_p=2.0 / 2**count,
    )


def _unpaired(first: Sequence[float], second: Sequence[float]) -> Difference:
    one, two = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    error = math.nan
    if min(len(one), len(two)) > 1:
        error = math.sqrt(one.var(ddof=1) / len(one) + two.var(ddof=1) / len(two))
    sides = 2 if len(one) == len(two) else 1  # equal halves may change places
    return Difference(
        mean=float(one.mean() - two.mean()),
        error=error,
        seeds=(len(one), len(two)),
        paired=False,
        p=label_permutation_p(first, second),
        smallest_p=sides / math.comb(len(one) + len(two), len(one)),
    )


def _share(worlds: NDArray[np.float64], observed: float) -> float:
    return float(np.mean(_as_large(worlds, observed)))


def _drawn_share(worlds: NDArray[np.float64], observed: float) -> float:
    """The world that was observed counts among those drawn, so that p is never 0."""
    return float((np.sum(_as_large(worlds, observed)) + 1) / (len(worlds) + 1))


def _as_large(worlds: NDArray[np.float64], observed: float) -> NDArray[np.bool_]:
    """Which sums are at least as large; one that was added up in another order is as large."""
    large: NDArray[np.bool_] = np.abs(worlds) >= abs(observed) - _TOLERANCE
    return large
