"""Seeds of trials, and what ends them early."""

from collections import Counter

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.distributions import FloatDistribution
from optuna.trial import TrialState, create_trial

from dilsearch.baselines.samplers import (
    STARTUP_TRIALS,
    make_pruner,
    make_tpe_sampler,
    trial_seed,
)
from dilsearch.errors import SweepError

SHARE = {"a": FloatDistribution(0.0, 1.0), "b": FloatDistribution(0.0, 1.0)}
GOLDEN = [2290873236, 3274706223, 3438902872]
"""Written down, so that a sweep goes on as it began whatever the version."""


class TestSeeds:
    def test_the_same_everywhere(self):
        assert [trial_seed(0, 0), trial_seed(0, 1), trial_seed(1, 0)] == GOLDEN

    def test_workers_and_sweeps_differ(self):
        seeds = {trial_seed(seed, number) for seed in range(40) for number in range(40)}
        assert len(seeds) == 1600
        assert len({seed + number for seed in range(40) for number in range(40)}) < 100
        assert 0 <= min(seeds) <= max(seeds) < 2**32

    def test_a_trial_is_proposed_alike_by_any_worker(self):
        study = optuna.create_study(direction="maximize")
        for index in range(STARTUP_TRIALS + 2):
            share = index / 12
            study.add_trial(
                create_trial(
                    value=-abs(share - 0.3),
                    params={"a": share, "b": 1 - share},
                    distributions=SHARE,
                )
            )

        def proposed(number: int) -> dict[str, float]:
            study.sampler = make_tpe_sampler(trial_seed(3, number))
            asked = study.ask(SHARE)
            study.tell(asked, state=TrialState.FAIL)
            return asked.params

        assert proposed(12) == proposed(12)
        assert proposed(12) != proposed(13)


def pruned_at(study: optuna.Study, scores: list[tuple[int, float]]) -> int | None:
    trial = study.ask()
    for step, score in scores:
        trial.report(score, step)
        if trial.should_prune():
            study.tell(trial, state=TrialState.PRUNED)
            return step
    study.tell(trial, scores[-1][1])
    return None


def look_steps(looks: int, train_steps: int) -> list[int]:
    return [train_steps * look // looks for look in range(1, looks + 1)]


class TestMedian:
    @given(looks=st.integers(1, 12), each=st.integers(1, 50), rest=st.integers(0, 11))
    @settings(max_examples=12, deadline=None)
    def test_nothing_is_pruned_in_the_first_third(self, looks: int, each: int, rest: int):
        train_steps = looks * each + rest
        pruner = make_pruner("median", looks=looks, train_steps=train_steps)
        study = optuna.create_study(direction="maximize", pruner=pruner)
        steps = look_steps(looks, train_steps)
        for _ in range(5):
            assert pruned_at(study, [(step, 0.9) for step in steps]) is None
        pruned = pruned_at(study, [(step, 0.1) for step in steps])
        early = [step for step in steps[:-1] if 3 * step >= train_steps]
        assert pruned == next(iter(early), None)  # at the end there is nothing left to save

    def test_not_before_five_have_run_to_their_end(self):
        pruner = make_pruner("median", looks=4, train_steps=40)
        study = optuna.create_study(direction="maximize", pruner=pruner)
        outcomes = []
        for score in (0.9, 0.8, 0.3, 0.2, 0.1, 0.05):
            scores = [(step, score) for step in look_steps(4, 40)]
            outcomes.append(pruned_at(study, scores))
        assert outcomes == [None] * 5 + [20]


class TestHyperband:
    def test_most_of_the_hopeless_are_ended_and_the_best_go_on(self):
        pruner = make_pruner("hyperband", looks=9, train_steps=900)
        study = optuna.create_study(direction="maximize", pruner=pruner, study_name="sweep")
        steps = look_steps(9, 900)
        ends: Counter[int | None] = Counter()
        for number in range(30):
            final = 0.9 if number == 0 else 0.5 - number / 100
            ends[pruned_at(study, [(step, final * step / 900) for step in steps])] += 1
        assert set(ends) == {None, 100, 300}  # of the rungs, looks 1, 3 and 9, all but the end
        assert ends[100] > 10

    def test_all_brackets_fit_the_looks(self):
        pruner = make_pruner("hyperband", looks=2, train_steps=7)
        study = optuna.create_study(direction="maximize", pruner=pruner)
        assert pruned_at(study, [(3, 0.1), (7, 0.2)]) is None


def test_none_prunes_nothing():
    pruner = make_pruner("none", looks=0, train_steps=10)
    study = optuna.create_study(direction="maximize", pruner=pruner)
    for score in (0.9,) * 9 + (0.0,):
        assert pruned_at(study, [(5, score), (10, score)]) is None


def test_refused():
    with pytest.raises(SweepError, match="pruner 'mean' is unknown; use median, hyperband, none"):
        make_pruner("mean", looks=8, train_steps=80)
    with pytest.raises(SweepError, match=r"'median' needs looks at a trial .* there are 0 in 80"):
        make_pruner("median", looks=0, train_steps=80)
    with pytest.raises(SweepError, match=r"set sweep\.looks between 1 and the steps"):
        make_pruner("hyperband", looks=8, train_steps=7)
