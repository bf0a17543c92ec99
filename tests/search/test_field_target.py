"""The pull towards a needed field: its value, and its gradient beside that of the loss."""

import copy
import re
from functools import cache

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from search_task import relaxed
from torch import Tensor, nn

from dilsearch.errors import SearchError
from dilsearch.search import FieldTarget
from dilsearch.sites import PerBranch, PerChannel, PerSite
from dilsearch.surgery import rate_parameters, relax

STRIDE = 2


def two_sites() -> nn.Module:
    return copy.deepcopy(_two_sites())


@cache
def _two_sites() -> nn.Module:
    torch.manual_seed(0)
    layers = nn.Sequential(
        nn.Conv2d(2, 2, 3, stride=STRIDE, padding=1, groups=2), nn.Conv2d(2, 2, 5, padding=2)
    )
    return relax(
        layers,
        {"0": PerBranch(1, 20, 2, 1.0), "1": PerSite(1, 20, 1.0)},
        example=torch.empty(1, 2, 32, 32, device="meta"),
    )


def set_rates(model: nn.Module, *rates: float | list[float]) -> None:
    with torch.no_grad():
        for parameter, rate in zip(rate_parameters(model), rates, strict=True):
            parameter.copy_(torch.tensor(rate))


def by_hand(target: FieldTarget, first: Tensor, second: Tensor) -> Tensor:
    """1 px, two taps' distance at the mean first rate, four of stride 2 at the second."""
    field_px = 1 + 2 * first.mean() + 4 * STRIDE * second
    return target.weight * torch.relu(1 - field_px / target.needed_px)


rates = st.tuples(st.integers(1, 9), st.integers(1, 7)).map(lambda n: n[0] + n[1] / 8)


@settings(deadline=None, max_examples=30)
@given(
    st.lists(rates, min_size=3, max_size=3),
    st.integers(1, 300),
    st.floats(0.01, 100),
    st.floats(-5, 5),
)
def test_it_is_the_hinge_and_its_gradient_that_of_autograd(
    values: list[float], needed_px: int, weight: float, before: float
) -> None:
    one, other, second = values
    model, target = two_sites(), FieldTarget(needed_px, weight)
    set_rates(model, [one, other], second)
    parameters = rate_parameters(model)
    for parameter in parameters:
        parameter.grad = torch.full_like(parameter, before)
    target.add_gradient(model)
    ours = [parameter.detach().clone().requires_grad_() for parameter in parameters]
    value = by_hand(target, ours[0], ours[1])
    value.backward()
    assert target(model).item() == pytest.approx(value.item(), rel=1e-5, abs=1e-6 * weight)
    target(model).backward()  # as a term of a loss of one's own
    for parameter, own in zip(parameters, ours, strict=True):
        assert parameter.grad is not None
        assert own.grad is not None
        torch.testing.assert_close(parameter.grad, before + 2 * own.grad, rtol=1e-5, atol=1e-6)
        parameter.grad -= own.grad
        assert own.grad is not None
        torch.testing.assert_close(parameter.grad, before + own.grad, rtol=1e-5, atol=1e-6)


def test_the_field_wanting_pulls_rates_up() -> None:  # the control: the gradient is not always 0
    model, target = two_sites(), FieldTarget(100, weight=10.0)
    set_rates(model, [2.5, 1.5], 3.5)  # means 2 and 3.5: 1 + 4 + 28
    for parameter in rate_parameters(model):
        parameter.grad = torch.zeros_like(parameter)
    target.add_gradient(model)
    first, second = (parameter.grad for parameter in rate_parameters(model))
    assert target(model).item() == pytest.approx(10 * (1 - 33 / 100))
    torch.testing.assert_close(first, torch.tensor([-0.1, -0.1]))
    torch.testing.assert_close(second, torch.tensor(-0.8))


def test_all_branches_are_pulled_alike() -> None:
    gradients = []
    for rates_ in ([2.5, 1.5], [1.0, 3.0], [2.0, 2.0]):
        model = two_sites()
        set_rates(model, rates_, 3.5)
        for parameter in rate_parameters(model):
            parameter.grad = torch.zeros_like(parameter)
        FieldTarget(100).add_gradient(model)
        (gradient, _) = (parameter.grad for parameter in rate_parameters(model))
        assert gradient is not None
        assert gradient[0] == gradient[1] < 0
        gradients.append(gradient)
    assert torch.equal(gradients[0], gradients[1])  # only their mean counts
    assert torch.equal(gradients[0], gradients[2])
    # negative control: beyond the target there is no pull
    set_rates(model, [2.0, 2.0], 20.0)
    before = gradient.clone()
    FieldTarget(100).add_gradient(model)
    assert torch.equal(gradient, before)


@pytest.mark.parametrize("needed_px", [33, 32, 1])
def test_from_the_target_on_it_is_nothing(needed_px: int) -> None:
    model = two_sites()
    set_rates(model, [2.5, 1.5], 3.5)
    for parameter in rate_parameters(model):
        parameter.grad = torch.full_like(parameter, 0.25)
    FieldTarget(needed_px).add_gradient(model)
    assert FieldTarget(needed_px)(model) == 0
    assert all(bool((parameter.grad == 0.25).all()) for parameter in rate_parameters(model))
    assert FieldTarget(34)(model) > 0  # negative control: a pixel more is something


def test_rates_that_the_loss_left_out_stay_out() -> None:
    model = two_sites()
    assert all(parameter.grad is None for parameter in rate_parameters(model))
    FieldTarget(1000).add_gradient(model)
    assert all(parameter.grad is None for parameter in rate_parameters(model))


@pytest.mark.parametrize(
    ("needed_px", "weight", "text"),
    [
        (0, 1.0, "FieldTarget: needed_px = 0; give a number above 0"),
        (-3, 1.0, "FieldTarget: needed_px = -3; give a number above 0"),
        (9, 0.0, "FieldTarget: weight = 0.0; give a number above 0"),
        (9, float("nan"), "FieldTarget: weight = nan; give a number above 0"),
        (9, float("inf"), "FieldTarget: weight = inf; give a number above 0"),
    ],
)
def test_what_is_no_target_is_told(needed_px: int, weight: float, text: str) -> None:
    with pytest.raises(SearchError, match=re.escape(text)):
        FieldTarget(needed_px, weight)


def test_it_needs_the_graph() -> None:
    text = "a field target needs the model's field graph; give relax an example input, or search"
    with pytest.raises(SearchError, match=text):
        FieldTarget(9).check(relaxed(6))
    FieldTarget(9).check(relaxed(6, traced=True))  # negative control


def test_without_a_field_graph_it_is_an_error_in_ones_own_loop_too() -> None:
    model = relaxed(6)
    for use in (FieldTarget(9).add_gradient, FieldTarget(9)):
        with pytest.raises(SearchError, match="a field target needs the model's field graph; give"):
            use(model)


def test_it_is_one_number_on_the_device_of_the_rates() -> None:
    value = FieldTarget(100)(two_sites())
    assert (value.shape, value.dtype, value.device.type) == ((), torch.float32, "cpu")
    with torch.no_grad():
        assert not FieldTarget(100)(two_sites()).requires_grad
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(FieldTarget(100)(two_sites()), value)


def test_satisfied_its_gradient_is_zero_and_not_missing() -> None:
    model = two_sites()
    set_rates(model, [2.5, 1.5], 3.5)
    value = FieldTarget(33)(model)
    assert value.item() == 0
    value.backward()
    assert all(not rate.grad.any() for rate in rate_parameters(model))  # type: ignore[union-attr]
    FieldTarget(34)(model).backward()  # negative control
    assert all(rate.grad.all() for rate in rate_parameters(model))  # type: ignore[union-attr]


def test_frozen_rates_are_left_alone() -> None:
    model = two_sites()
    first, second = rate_parameters(model)
    first.requires_grad_(False)
    FieldTarget(1000)(model).backward()
    assert first.grad is None
    assert second.grad is not None
    second.requires_grad_(False)
    assert not FieldTarget(1000)(model).requires_grad
    assert FieldTarget(1000)(model) > 0


def test_no_hook_of_a_rate_runs_for_the_gradient_that_is_added() -> None:
    model, calls = two_sites(), []
    for rate in rate_parameters(model):
        rate.grad = torch.zeros_like(rate)
        rate.register_hook(calls.append)
        rate.register_post_accumulate_grad_hook(calls.append)
    FieldTarget(1000).add_gradient(model)
    assert calls == []
    FieldTarget(1000)(model).backward()  # the control
    assert len(calls) == 4


def test_channels_share_the_pull_and_axes_have_their_own() -> None:
    layers = nn.Sequential(nn.Conv2d(2, 10, 3, padding=1), nn.Conv2d(10, 1, (3, 5), padding=(1, 2)))
    sites = {"0": PerSite(1, 20, 2.0, separate_axes=True), "1": PerChannel(1, 20, 3.0)}
    model = relax(layers, sites, example=torch.empty(1, 2, 32, 32, device="meta"))
    first, second = rate_parameters(model)
    with torch.no_grad():
        second[::2] += 1  # mean 3.5: a field 1 + 2 * 2 + 4 * 3.5 = 19 px wide, 12 px high
    value = FieldTarget(100, weight=1.0)(model)
    assert value.item() == pytest.approx(1 - 19 / 100)
    value.backward()
    torch.testing.assert_close(first.grad, torch.tensor([[0.0, -0.02]]))
    torch.testing.assert_close(second.grad, torch.full((10,), -0.04 / 10))
