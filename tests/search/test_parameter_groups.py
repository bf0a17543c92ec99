"""Weights and rates for one optimiser: each once, what decays, what moves how fast."""

import copy
from functools import cache
from typing import Any

import pytest
import torch
from torch import nn

from dilsearch.errors import SearchError, SurgeryError
from dilsearch.search import default_rate_learning_rate
from dilsearch.search.parameter_groups import param_groups
from dilsearch.sites import PerBranch, PerSite
from dilsearch.surgery import freeze_rates, rate_parameters, relax, unfreeze_rates

OPTIMISERS = [torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW]


@cache
def _network() -> nn.Module:
    torch.manual_seed(0)
    shared = nn.Conv2d(4, 4, 1)
    layers = nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1),
        nn.BatchNorm2d(4),
        shared,
        nn.Conv2d(4, 4, 3, padding=1, groups=2),
        nn.GroupNorm(2, 4),
        shared,
        nn.Conv2d(4, 4, 1).requires_grad_(False),
    )
    return relax(layers, {"0": PerSite(1, 5, 2.0), "3": PerBranch(1, 9, 2, 3.0)})


def network() -> nn.Module:
    return copy.deepcopy(_network())


def by_name(groups: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {group["name"]: group for group in groups}


def ids(parameters: Any) -> list[int]:
    return [id(parameter) for parameter in parameters]


@pytest.mark.parametrize("optimiser", OPTIMISERS)
def test_every_parameter_that_trains_is_in_one_group(optimiser: Any) -> None:
    model = network()
    groups = optimiser(param_groups(model, lr=0.1, rate_lr=0.5)).param_groups
    held = [id(parameter) for group in groups for parameter in group["params"]]
    frozen = ids(model[6].parameters())  # type: ignore[index]
    assert len(held) == len(set(held))
    assert {*held} == {*ids(model.parameters())} - {*frozen}
    named = by_name(groups)
    assert list(named) == ["weights", "norms", "rates of 0", "rates of 3"]
    assert ids(named["norms"]["params"]) == ids([*model[1].parameters(), *model[4].parameters()])  # type: ignore[index]
    assert ids(named["rates of 3"]["params"]) == [id(model[3].rate)]  # type: ignore[index, union-attr]


@pytest.mark.parametrize("optimiser", OPTIMISERS)
@pytest.mark.parametrize("weight_decay", [None, 0.0, 0.25])
def test_only_weights_decay(optimiser: Any, weight_decay: float | None) -> None:
    model = network()
    groups = param_groups(model, lr=0.1, rate_lr=0.5, weight_decay=weight_decay)
    named = by_name(optimiser(groups, weight_decay=0.125).param_groups)
    assert named["weights"]["weight_decay"] == (0.125 if weight_decay is None else weight_decay)
    others = [named[name] for name in named if name != "weights"]
    assert [group["weight_decay"] for group in others] == [0.0, 0.0, 0.0]


def test_learning_rates_are_those_given_or_follow_from_limits_and_length() -> None:
    def rates(**given: Any) -> dict[str, float]:
        groups = param_groups(network(), lr=0.1, **given)
        return {group["name"]: group["lr"] for group in groups}

    weights = {"weights": 0.1, "norms": 0.1}
    assert rates(rate_lr=0.5) == {**weights, "rates of 0": 0.5, "rates of 3": 0.5}
    by_site = rates(rate_lr={"3": 0.25, "0": 2.0})
    assert by_site == {**weights, "rates of 0": 2.0, "rates of 3": 0.25}
    follow = {
        "rates of 0": default_rate_learning_rate(1, 5, 1000),
        "rates of 3": default_rate_learning_rate(1, 9, 1000),
    }
    assert rates(steps=1000) == {**weights, **follow}
    assert rates(steps=2000) != rates(steps=1000)  # the control


@pytest.mark.parametrize("optimiser", OPTIMISERS)
def test_rates_frozen_for_a_warm_up_move_once_they_are_unfrozen(optimiser: Any) -> None:
    model = network()
    freeze_rates(model)
    training = optimiser(param_groups(model, lr=0.1, rate_lr=0.5))

    def after_a_step() -> list[float]:
        training.zero_grad()
        model(torch.rand(2, 2, 8, 8)).square().mean().backward()
        training.step()
        return [value for rate in rate_parameters(model) for value in rate.reshape(-1).tolist()]

    assert after_a_step() == after_a_step() == [2.0, 3.0, 3.0]
    unfreeze_rates(model)
    moved = after_a_step()
    assert all(now != before for now, before in zip(moved, (2.0, 3.0, 3.0), strict=True))


def test_a_rate_that_two_sites_share_is_there_once() -> None:
    model = network()
    model[3].rate = nn.Parameter(torch.tensor(2.0))  # type: ignore[index, union-attr]
    model[0].rate = model[3].rate  # type: ignore[index, union-attr]
    groups = param_groups(model, lr=0.1, rate_lr=0.5)
    assert [group["name"] for group in groups] == ["weights", "norms", "rates of 0"]


def test_a_module_that_holds_the_relaxed_model_will_do() -> None:
    held = nn.ModuleDict({"net": network(), "head": nn.Linear(2, 2)})
    named = by_name(param_groups(held, lr=0.1, rate_lr={"net.0": 0.5, "net.3": 0.5}))
    assert list(named) == ["weights", "norms", "rates of net.0", "rates of net.3"]
    assert id(held["head"].weight) in ids(named["weights"]["params"])


def test_a_model_without_sites_is_told() -> None:
    with pytest.raises(SurgeryError, match="Conv2d has no relaxed site; call relax on it first"):
        param_groups(nn.Conv2d(1, 1, 3), lr=0.1, rate_lr=0.5)


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"lr": -0.1}, "lr = -0.1 is no learning rate; give a number above 0"),
        ({"lr": "0.1"}, "lr = '0.1' is no learning rate; give a number above 0"),
        ({"rate_lr": 0.0}, "rate_lr = 0.0 is no learning rate; give a number above 0, or keep the"),
        ({"rate_lr": float("nan")}, "rate_lr = nan is no learning rate"),
        ({"weight_decay": -1.0}, "weight_decay = -1.0 is no weight decay; give 0, a number above"),
        ({"rate_lr": None}, "and steps = None; give one of the two, steps as a whole number"),
        ({"rate_lr": None, "steps": 0}, "and steps = 0; give one of the two"),
        ({"rate_lr": {"0": 1.0}}, "rate_lr has nothing for 3; give every site a learning rate"),
        (
            {"rate_lr": {"0": 1.0, "3": 1.0, "33": 1.0}},
            "rate_lr names '33', which is no site; the nearest name is '3'",
        ),
        ({"rate_lr": {"0": 1.0, "3": -1.0}}, "rate_lr['3'] = -1.0 is no learning rate"),
    ],
)
def test_what_cannot_be_is_told(given: dict[str, Any], text: str) -> None:
    with pytest.raises(SearchError) as told:
        param_groups(network(), **{"lr": 0.1, "rate_lr": 0.5, **given})
    assert str(told.value).startswith("cannot group the parameters: ")
    assert text in str(told.value)


def test_all_faults_are_told_at_once() -> None:
    with pytest.raises(SearchError, match="cannot group the parameters, 3 faults:"):
        param_groups(network(), lr=0.0, rate_lr={"0": 0.0, "3": 1.0}, weight_decay=float("inf"))
