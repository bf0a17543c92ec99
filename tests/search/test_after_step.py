"""Rates held after every step, whatever the optimiser and whoever calls it."""

import copy
from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from dilsearch.errors import PlanError, SearchError, SurgeryError
from dilsearch.search import build_rate_optimizer
from dilsearch.search.after_step import clamp_after_step
from dilsearch.search.parameter_groups import param_groups
from dilsearch.sites import PerBranch, PerChannel, PerSite
from dilsearch.surgery import (
    clamp_rates,
    field_graph,
    freeze_rates,
    rate_parameters,
    read_plan,
    relax,
    weight_parameters,
)

LIMITS = {"0": (2, 6), "1": (1, 9), "2": (1, 30)}


@cache
def _network() -> nn.Module:
    torch.manual_seed(0)
    layers = nn.Sequential(
        nn.Conv2d(2, 2, 3, padding=1),
        nn.Conv2d(2, 2, 3, padding=1, groups=2),
        nn.Conv2d(2, 2, 3, padding=1, stride=2),
    )
    sites = {
        "0": PerSite(*LIMITS["0"], 2.0),
        "1": PerBranch(*LIMITS["1"], 2, 1.0, separate_axes=True),
        "2": PerChannel(*LIMITS["2"], 1.0),
    }
    return relax(layers, sites, example=torch.empty(1, 2, 32, 32, device="meta"))


def network() -> nn.Module:
    return copy.deepcopy(_network())


def step_at_random(model: nn.Module, optimizer: torch.optim.Optimizer, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    for rate in rate_parameters(model):
        rate.grad = torch.randn(rate.shape, generator=generator)
    optimizer.step()


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 10**6), st.sampled_from([0.1, 1.0, 10.0]))
def test_limits_are_kept_whatever_the_steps(seed: int, rate_lr: float) -> None:
    model = network()
    optimizer = torch.optim.SGD(param_groups(model, lr=0.1, rate_lr=rate_lr), momentum=0.9)
    clamp_after_step(optimizer, model)
    for step in range(8):
        step_at_random(model, optimizer, seed + step)
        for (lower, upper), rate in zip(LIMITS.values(), rate_parameters(model), strict=True):
            assert lower <= rate.min()
            assert rate.max() <= upper


def test_once_the_handle_is_removed_they_leave_their_limits() -> None:
    model = network()
    optimizer = torch.optim.SGD(param_groups(model, lr=0.1, rate_lr=10.0))
    handle = clamp_after_step(optimizer, model)
    step_at_random(model, optimizer, 0)
    assert all(rate.min() >= 1 for rate in rate_parameters(model))
    handle.remove()
    step_at_random(model, optimizer, 0)
    assert any(rate.min() < 1 for rate in rate_parameters(model))


@settings(deadline=None, max_examples=10)
@given(st.integers(0, 10**6), st.booleans())
def test_bounds_are_kept_whatever_the_steps(seed: int, is_tight: bool) -> None:
    model = tight() if is_tight else chain()
    graph = field_graph(model)
    assert graph is not None
    optimizer = torch.optim.SGD(param_groups(model, lr=0.1, rate_lr=3.0))
    clamp_after_step(optimizer, model, gap="enforce")
    for step in range(6):
        step_at_random(model, optimizer, seed + step)
        assert graph.propagate(read_plan(model)).bound_ok


def chain() -> nn.Module:
    return copy.deepcopy(_chain((1, 9)))


def tight() -> nn.Module:
    """Its second site has no room above its lower limit unless the first is well above its own."""
    return copy.deepcopy(_chain((12, 20)))


@cache
def _chain(limits: tuple[int, int]) -> nn.Module:
    layers = [nn.Conv2d(1, 2, 7, padding=3), *(nn.Conv2d(2, 2, 3, padding=1) for _ in range(2))]
    sites = {"1": PerSite(1, 8, 2.2), "2": PerSite(*limits, float(limits[0]))}
    example = torch.empty(1, 1, 16, 40, device="meta")
    return relax(nn.Sequential(*layers), sites, example=example)


def test_a_step_that_no_bound_can_hold_is_not_taken() -> None:
    # above rate 2, which counts as 3, the first site hands on 7 + 2 * 3 px, room for rate 12
    model = tight()
    optimizer = torch.optim.SGD(param_groups(model, lr=0.1, rate_lr=0.5))
    clamp_after_step(optimizer, model, gap="enforce")
    first, second = rate_parameters(model)
    first.grad, second.grad = torch.tensor(-0.2), torch.tensor(-1.0)
    optimizer.step()  # upwards: there is room
    assert read_plan(model) == read_plan(model).replace({"1": (first.item(),), "2": (12.5,)})
    assert first.item() == pytest.approx(2.3)
    first.grad, second.grad = torch.tensor(1.0), torch.tensor(-1.0)
    optimizer.step()
    assert (first.item(), second.item()) == (pytest.approx(2.3), 12.5)
    with torch.no_grad():  # the control: what the step led to cannot be held
        first -= 0.5
    with pytest.raises(PlanError, match="site '2': its lower limit 12 exceeds bound"):
        clamp_rates(model, gap="enforce")


def test_what_cannot_be_held_is_told_at_once() -> None:
    model = tight()
    with torch.no_grad():
        rate_parameters(model)[0].fill_(1.5)
    optimizer = torch.optim.SGD(param_groups(model, lr=0.1, rate_lr=0.5))
    with pytest.raises(PlanError, match="site '2': its lower limit 12 exceeds bound"):
        clamp_after_step(optimizer, model, gap="enforce")


class TestWhoeverSteps:
    """Every way to take a step ends in the hook."""

    def trained(self, step: Callable[[nn.Module, torch.optim.Optimizer, Tensor], Any]) -> Tensor:
        model = network()
        optimizer = torch.optim.Adam(param_groups(model, lr=0.1, rate_lr=50.0))
        clamp_after_step(optimizer, model)
        freeze_rates_but_first(model)
        step(model, optimizer, model(torch.rand(1, 2, 8, 8)).mean() - 100 * model[0].rate)  # type: ignore[index, operator, union-attr]
        return rate_parameters(model)[0]

    def test_a_closure(self) -> None:
        def step(model: nn.Module, optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
            def closure() -> float:
                loss.backward()  # type: ignore[no-untyped-call]
                return loss.item()

            optimizer.step(closure)

        assert self.trained(step) == 6.0

    def test_a_gradient_scaler(self) -> None:
        def step(model: nn.Module, optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
            scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update()

        assert self.trained(step) == 6.0

    def test_a_scaler_that_skips_the_step_moves_nothing(self) -> None:
        def step(model: nn.Module, optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
            scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
            scaler.scale(loss * float("inf")).backward()
            scaler.step(optimizer)
            scaler.update()

        assert self.trained(step) == 2.0

    def test_fabric(self) -> None:
        from lightning_fabric import Fabric

        model = network()
        optimizer = build_rate_optimizer(model, learning_rate=50.0, steps=10)
        fabric = Fabric(accelerator="cpu", devices=1)
        wrapped, stepped = fabric.setup(model, optimizer)
        clamp_after_step(optimizer, wrapped)
        fabric.backward(wrapped(torch.rand(1, 2, 8, 8)).mean() - 100 * model[0].rate)  # type: ignore[index, operator, union-attr]
        stepped.step()
        assert rate_parameters(model)[0] == 6.0


def freeze_rates_but_first(model: nn.Module) -> None:
    freeze_rates(model)
    rate_parameters(model)[0].requires_grad_(True)


def test_only_the_optimiser_of_the_rates_may_be_hooked() -> None:
    model = network()
    weights = torch.optim.SGD(weight_parameters(model), lr=0.1)
    text = "the SGD given holds none of the model's rates, so that its steps do not move them; give"
    with pytest.raises(SearchError, match=text):
        clamp_after_step(weights, model)
    with pytest.raises(SearchError, match="holds none"):  # relax copies: the other model's
        clamp_after_step(torch.optim.SGD(network().parameters(), lr=0.1), model)
    clamp_after_step(build_rate_optimizer(model, steps=10), model)  # negative control


def test_a_bound_without_a_graph_is_told_before_training() -> None:
    model = relax(nn.Sequential(nn.Conv2d(1, 1, 3)), {"0": PerSite(1, 4)})
    optimizer = torch.optim.SGD(param_groups(model, lr=0.1, rate_lr=0.5))
    with pytest.raises(SurgeryError, match="the gap bound needs the model's field graph"):
        clamp_after_step(optimizer, model, gap="enforce")
    clamp_after_step(optimizer, model)


def test_a_rate_that_diverged_ends_the_training() -> None:
    model = network()
    optimizer = torch.optim.SGD(param_groups(model, lr=0.1, rate_lr=0.5))
    clamp_after_step(optimizer, model)
    rate_parameters(model)[0].grad = torch.tensor(float("nan"))
    with pytest.raises(SurgeryError, match="site '0': the rate became nan; training diverged"):
        optimizer.step()
