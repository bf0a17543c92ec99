import itertools
import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dilsearch.comparison.noise import (
    FEWEST_PAIRS,
    LEVEL,
    difference,
    label_permutation_p,
    sign_flip_p,
)

shares = st.integers(-8, 8).map(lambda eighths: eighths / 8)  # exact in binary: no rounding
few = st.lists(shares, min_size=1, max_size=5)


def by_hand_paired(differences: Sequence[float]) -> float:
    worlds = [
        abs(sum(sign * value for sign, value in zip(signs, differences, strict=True)))
        for signs in itertools.product((-1, 1), repeat=len(differences))
    ]
    return sum(world >= abs(sum(differences)) for world in worlds) / len(worlds)


def by_hand_unpaired(first: Sequence[float], second: Sequence[float]) -> float:
    pooled, count = [*first, *second], len(first)
    observed = abs(sum(first) / count - sum(second) / len(second))
    large = total = 0
    for order in itertools.permutations(range(len(pooled))):
        one = [pooled[index] for index in order[:count]]
        two = [pooled[index] for index in order[count:]]
        large += abs(sum(one) / count - sum(two) / len(two)) >= observed - 1e-12
        total += 1
    return large / total


def by_seed(values: Sequence[float], start: int = 0) -> dict[int, float]:
    return dict(enumerate(values, start=start))


@settings(max_examples=15, deadline=None)
@given(st.lists(shares, min_size=1, max_size=7))
def test_signs_agree_with_all_worlds_by_hand(differences: list[float]) -> None:
    assert sign_flip_p(differences) == by_hand_paired(differences)


@settings(max_examples=15, deadline=None)
@given(few.filter(lambda values: len(values) <= 3), few.filter(lambda values: len(values) <= 3))
def test_labels_agree_with_all_orders_by_hand(first: list[float], second: list[float]) -> None:
    expected = by_hand_unpaired(first, second)
    assert label_permutation_p(first, second) == pytest.approx(expected, abs=1e-12)


@settings(max_examples=15, deadline=None)
@given(st.lists(shares, min_size=1, max_size=9))
def test_exchanging_the_methods_turns_the_verdict_round(values: list[float]) -> None:
    zeros = by_seed([0.0] * len(values))
    one, two = difference(by_seed(values), zeros), difference(zeros, by_seed(values))
    assert (one.p, one.mean) == (two.p, -two.mean)
    turned = {"better": "worse", "worse": "better"}
    assert two.verdict == turned.get(one.verdict, one.verdict)


def test_known_values() -> None:
    assert sign_flip_p([0.1] * 6) == 2 / 64
    assert sign_flip_p([0.0, 0.0]) == 1.0
    assert label_permutation_p([1, 2, 3, 4], [5, 6, 7, 8]) == 2 / 70
    # Sums in another order round otherwise, and still count as large: 0.1 + 0.2 > 0.3.
    assert sign_flip_p([0.1, 0.2, -0.3]) == 1.0


def test_draws_stand_for_all_signs_where_there_are_too_many() -> None:
    generator = np.random.default_rng(5)
    values = generator.normal(0.2, 0.5, size=17)
    signs = (np.arange(2**17)[:, None] >> np.arange(17) & 1) * 2 - 1
    exact = float(np.mean(np.abs(signs @ values) >= abs(values.sum()) - 1e-12))
    assert sign_flip_p(list(values)) == pytest.approx(exact, abs=0.01)
    assert sign_flip_p(list(values)) == sign_flip_p(list(values))
    assert sign_flip_p([1.0] * 30) == pytest.approx(1 / 20_001)  # never 0


def test_draws_stand_for_all_labels_where_there_are_too_many() -> None:
    first, second = list(np.linspace(0, 1, 10)), list(np.linspace(0.3, 1.3, 10))
    # 184,756 ways; a normal approximation serves as the oracle of a value that is not extreme.
    pooled = np.array([*first, *second])
    deviation = pooled.std(ddof=1) * math.sqrt(0.2)
    normal = math.erfc(0.3 / deviation / math.sqrt(2))
    assert label_permutation_p(first, second) == pytest.approx(normal, abs=0.02)
    assert label_permutation_p([0.0] * 20, [1.0] * 20) == pytest.approx(1 / 20_001)


@pytest.mark.parametrize("seeds", [6, 10])
def test_of_methods_that_do_not_differ_one_in_twenty_looks_as_if(seeds: int) -> None:
    generator = np.random.default_rng(1)
    found = [
        difference(by_seed(list(one)), by_seed(list(two))).verdict
        for one, two in generator.normal(0.8, 0.05, size=(600, 2, seeds))
    ]
    share = 1 - found.count("within noise") / len(found)
    assert 0.015 <= share <= 0.07  # p has steps of 1 / 32 with six pairs, so less than 0.05


def test_unpaired_too_one_in_twenty_looks_as_if() -> None:
    generator = np.random.default_rng(2)
    draws = generator.normal(0.8, 0.05, size=(600, 2, 5))
    found = [
        difference(by_seed(list(one)), by_seed(list(two), start=100)).verdict for one, two in draws
    ]
    share = 1 - found.count("within noise") / len(found)
    assert 0.02 <= share <= 0.07


def test_a_real_difference_is_found() -> None:
    generator = np.random.default_rng(3)
    common = generator.normal(0.8, 0.1, size=10)  # what a seed does to both
    better = common + generator.normal(0.03, 0.01, size=10)
    paired = difference(by_seed(list(better)), by_seed(list(common)))
    assert (paired.verdict, paired.paired, paired.seeds) == ("better", True, (10, 10))
    assert paired.mean == pytest.approx(float(np.mean(better - common)))
    assert paired.error == pytest.approx(float(np.std(better - common, ddof=1)) / math.sqrt(10))
    # The control: the same scores without their partners say nothing.
    unpaired = difference(by_seed(list(better)), by_seed(list(common), start=50))
    assert (unpaired.verdict, unpaired.paired) == ("within noise", False)
    variances = np.var(better, ddof=1) / 10 + np.var(common, ddof=1) / 10
    assert unpaired.error == pytest.approx(math.sqrt(variances))


@pytest.mark.parametrize("pairs", range(1, 9))
def test_fewer_than_six_pairs_cannot_tell(pairs: int) -> None:
    found = difference(by_seed([1.0] * pairs), by_seed([0.0] * pairs))
    assert found.verdict == ("better" if pairs >= FEWEST_PAIRS else "too few seeds")
    assert found.p == found.smallest_p == 2 / 2**pairs
    assert (found.smallest_p > LEVEL) == (pairs < FEWEST_PAIRS)


@settings(max_examples=15, deadline=None)
@given(few, few)
def test_no_p_is_below_the_smallest(first: list[float], second: list[float]) -> None:
    found = difference(by_seed(first), by_seed(second, start=100))
    assert not found.paired
    assert found.smallest_p - 1e-12 <= found.p <= 1


def test_seeds_are_paired_if_enough_of_them_match() -> None:
    ten = by_seed([0.5] * 10)
    assert difference(ten, {7: 0.1}).seeds == (1, 1)
    assert difference(ten, {7: 0.1}).paired
    assert not difference(ten, {7: 0.1, 99: 0.2}).paired
    six_match = difference(ten, by_seed([0.1] * 10, start=4))
    assert (six_match.paired, six_match.seeds) == (True, (6, 6))
    five_match = difference(ten, by_seed([0.1] * 10, start=5))
    assert (five_match.paired, five_match.seeds) == (False, (10, 10))


def test_what_is_not_excluded() -> None:
    found = difference(by_seed([0.52, 0.48]), by_seed([0.5, 0.5]))
    assert found.mean == pytest.approx(0)
    assert found.error == pytest.approx(0.02)
    assert found.largest == pytest.approx(0.02)
    alone = difference({0: 0.5}, {0: 0.4})
    assert math.isnan(alone.error)
    assert math.isnan(alone.largest)  # of one seed nothing is known
