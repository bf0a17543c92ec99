"""Plans that an Optuna study of one's own proposes for a relaxed model."""

import optuna
import pytest
import torch
from sweep_parts import FORM, LIMITS, graph
from torch import nn

import dilsearch
from dilsearch import PerBranch, PerSite
from dilsearch.baselines.protocols import TpeProtocol
from dilsearch.baselines.shares import share_names
from dilsearch.errors import SweepError

optuna.logging.set_verbosity(optuna.logging.WARNING)


@pytest.fixture(scope="module")
def relaxed() -> nn.Module:
    network = nn.Sequential(
        nn.Conv2d(1, 4, 15, stride=4, padding=7),  # behind it the bound is 3
        nn.Conv2d(4, 4, 3, padding=1, groups=2),
        nn.Conv2d(4, 2, 3, padding=1),
    )
    sites = {"1": PerBranch(1, 9), "2": PerSite(1, 9)}
    return dilsearch.relax(network, sites, example=torch.zeros(1, 1, 64, 64))


def field_px(plan: dilsearch.DilationPlan, relaxed: nn.Module) -> int:
    graph = dilsearch.field_graph(relaxed)
    assert graph is not None
    size = graph.propagate(plan).field_px
    assert isinstance(size, int)
    return size


def test_a_study_over_the_plans_of_a_relaxed_model(relaxed: nn.Module) -> None:
    """The field of 63 px is found without training; a discretised model has the best plan."""
    plans: list[dilsearch.DilationPlan] = []

    def distance_px(trial: optuna.Trial) -> float:
        plan = dilsearch.suggest_plan(
            trial,
            dilsearch.read_plan(relaxed),
            dilsearch.field_graph(relaxed),
            limits=dilsearch.rate_limits(relaxed),
        )
        plans.append(plan)
        return abs(field_px(plan, relaxed) - 63)

    sampler = optuna.samplers.TPESampler(seed=0, n_startup_trials=5)
    study = optuna.create_study(sampler=sampler)
    study.optimize(distance_px, n_trials=15)
    graph = dilsearch.field_graph(relaxed)
    assert graph is not None
    for plan, trial in zip(plans, study.trials, strict=True):
        assert plan.is_integer
        assert graph.propagate(plan).bound_ok
        assert trial.params.keys() == {"1[0]", "1[1]", "2[0]"}
        assert trial.constraints.keys() == {"order", "bound"}
        assert dilsearch.DilationPlan.from_json(trial.user_attrs["plan"]) == plan
        assert trial.user_attrs["rates"].startswith("1 (")
        assert max(trial.constraints.values()) <= 0
    assert study.best_value <= 8
    best = plans[study.best_trial.number]
    made = dilsearch.discretize(relaxed, best)
    assert made(torch.zeros(1, 1, 64, 64)).shape == (1, 2, 16, 16)


def test_without_the_bound(relaxed: nn.Module) -> None:
    study = optuna.create_study()
    form, limits = dilsearch.read_plan(relaxed), dilsearch.rate_limits(relaxed)
    plans = []
    for enforce in (True, False):
        study.enqueue_trial({"1[0]": 1.0, "1[1]": 1.0, "2[0]": 1.0})
        graph, trial = dilsearch.field_graph(relaxed), study.ask()
        plans.append(dilsearch.suggest_plan(trial, form, graph, limits=limits, enforce=enforce))
    held, free = plans
    assert held["1"] == (3, 3)
    assert free["1"] == (9, 9)
    assert [trial.constraints.keys() for trial in study.trials] == [{"order", "bound"}, {"order"}]


def test_without_a_graph_it_says_what_is_missing(relaxed: nn.Module) -> None:
    trial = optuna.create_study().ask()
    with pytest.raises(SweepError, match=r"without a field graph, .* give relax an example"):
        dilsearch.suggest_plan(trial, dilsearch.read_plan(relaxed), None)


def test_a_manual_schedule_for_the_same_model(relaxed: nn.Module) -> None:
    graph = dilsearch.field_graph(relaxed)
    assert graph is not None
    limits = dilsearch.rate_limits(relaxed)
    schedule = dilsearch.manual_schedule(55, dilsearch.read_plan(relaxed), graph, limits=limits)
    assert schedule.field_px == field_px(schedule.plan, relaxed)
    assert abs(schedule.field_px - 55) <= 4


def test_a_sweep_proposes_in_the_same_way() -> None:
    study, shares = optuna.create_study(), dict.fromkeys(share_names(FORM), 0.6)
    for _ in range(2):
        study.enqueue_trial(shares)
    protocol = TpeProtocol(FORM, graph(), LIMITS, True, 0, {})
    swept = protocol.suggest(study.ask()).plan
    assert swept == dilsearch.suggest_plan(study.ask(), FORM, graph(), limits=LIMITS)
    first, second = study.trials
    assert first.params == second.params
    assert first.constraints == second.constraints
