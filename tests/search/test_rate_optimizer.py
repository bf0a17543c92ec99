"""The optimiser of the rates, and the learning rate that follows from limits and steps."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from search_task import relaxed
from torch import nn

from dilsearch.search import build_rate_optimizer, default_rate_learning_rate
from dilsearch.sites import PerBranch, PerSite
from dilsearch.surgery import rate_parameters, relax

lowers = st.integers(1, 20)
ranges = st.integers(1, 200)
long = st.integers(1000, 10**6)


def two_sites() -> nn.Module:
    layers = nn.Sequential(
        nn.Conv2d(2, 2, 3, padding=1, groups=2), nn.Conv2d(2, 2, 3, padding=1, groups=2)
    )
    return relax(layers, {"0": PerSite(1, 5, 1.0), "1": PerBranch(1, 41, 2, 1.0)})


@given(lowers, ranges, long)
def test_it_scales_with_the_range_over_the_steps(lower: int, span: int, steps: int) -> None:
    rate = default_rate_learning_rate(lower, lower + span, steps)
    assert default_rate_learning_rate(lower, lower + 2 * span, steps) == pytest.approx(2 * rate)
    assert default_rate_learning_rate(lower, lower + span, 2 * steps) == pytest.approx(rate / 2)
    assert default_rate_learning_rate(lower + 7, lower + 7 + span, steps) == pytest.approx(rate)
    # the whole range can be crossed several times over, and not in one step
    assert span < rate * steps
    assert rate < span
    # negative control: in proportion to the upper limit alone it would not be the same
    assert (lower + 7 + span) / steps != pytest.approx((lower + span) / steps, rel=1e-6)


@given(lowers, ranges, st.integers(1, 50))
def test_a_very_short_search_moves_by_a_share_of_the_range(
    lower: int, span: int, steps: int
) -> None:
    rate = default_rate_learning_rate(lower, lower + span, steps)
    assert rate <= 0.1 * span * (1 + 1e-12)
    assert rate == pytest.approx(default_rate_learning_rate(lower, lower + span, 1))


def test_the_cap_ends(  # the negative control of the one above
) -> None:
    assert default_rate_learning_rate(1, 11, 10**4) < default_rate_learning_rate(1, 11, 1)


@pytest.mark.parametrize("name", ["adam", "sgd"])
def test_each_site_has_a_group_with_its_own_learning_rate(name: str) -> None:
    model = two_sites()
    optimizer = build_rate_optimizer(model, name=name, steps=1000)  # type: ignore[arg-type]
    held = [[id(p) for p in group["params"]] for group in optimizer.param_groups]
    assert held == [[id(rate)] for rate in rate_parameters(model)]
    rates = [group["lr"] for group in optimizer.param_groups]
    assert rates == [default_rate_learning_rate(1, upper, 1000) for upper in (5, 41)]
    # negative control: one that is given holds for all
    given_ = build_rate_optimizer(model, name=name, learning_rate=0.5, steps=1000)  # type: ignore[arg-type]
    assert [group["lr"] for group in given_.param_groups] == [0.5, 0.5]


@pytest.mark.parametrize("name", ["adam", "sgd"])
def test_rates_do_not_decay(name: str) -> None:
    def after_a_step(weight_decay: float | None) -> float:
        model = relaxed(16, initial=8.0)
        optimizer = build_rate_optimizer(model, name=name, learning_rate=0.5, steps=10)  # type: ignore[arg-type]
        assert [group["weight_decay"] for group in optimizer.param_groups] == [0]
        if weight_decay is not None:
            optimizer.param_groups[0]["weight_decay"] = weight_decay
        (rate,) = rate_parameters(model)
        rate.grad = torch.zeros_like(rate)
        optimizer.step()
        return rate.item()

    assert after_a_step(None) == 8.0
    assert after_a_step(0.1) < 8.0  # negative control


def test_sgd_has_momentum_and_adam_is_adam() -> None:
    model = two_sites()
    sgd = build_rate_optimizer(model, name="sgd", steps=10)
    assert isinstance(sgd, torch.optim.SGD)
    assert {group["momentum"] for group in sgd.param_groups} == {0.9}
    assert isinstance(build_rate_optimizer(model, steps=10), torch.optim.Adam)


def test_weights_are_not_among_them() -> None:
    model = two_sites()
    optimizer = build_rate_optimizer(model, steps=10)
    held = {id(p) for group in optimizer.param_groups for p in group["params"]}
    others = [p for name, p in model.named_parameters() if not name.endswith("rate")]
    assert others
    assert not held & {id(p) for p in others}
