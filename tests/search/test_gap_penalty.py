"""The price on gaps: its value and gradient against a formula by hand, and finite differences."""

import copy
from functools import cache

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from search_task import relaxed
from torch import Tensor, nn

from dilsearch.errors import SearchError
from dilsearch.search.gap_penalty import GapPenalty
from dilsearch.sites import PerBranch, PerChannel, PerSite
from dilsearch.surgery import clamp_rates, rate_parameters, relax

STRIDE = 2


def chain() -> nn.Module:
    return copy.deepcopy(_chain())


@cache
def _chain() -> nn.Module:
    torch.manual_seed(0)
    layers = nn.Sequential(
        nn.Conv2d(2, 2, 3, stride=STRIDE, padding=1),
        nn.Conv2d(2, 2, 5, padding=2, groups=2),
        nn.Conv2d(2, 2, (1, 3), padding=(0, 1)),
    )
    sites = {"0": PerSite(1, 40, 1.0), "1": PerBranch(1, 40, 2, 1.0), "2": PerSite(1, 99, 1.0)}
    return relax(layers, sites, example=torch.empty(1, 2, 32, 32, device="meta"))


def set_rates(model: nn.Module, *rates: Tensor) -> None:
    with torch.no_grad():
        for parameter, rate in zip(rate_parameters(model), rates, strict=True):
            parameter.copy_(rate)


def by_hand(first: Tensor, second: Tensor, third: Tensor) -> Tensor:
    """The bounds of the chain are 1, (1 + 2a) / 2 and that with four taps' distance more."""
    before_second = 1 + 2 * first
    before_third = before_second + 4 * STRIDE * second.max()
    return (
        torch.relu(first - 1)
        + torch.relu(second * STRIDE / before_second - 1).mean()
        + torch.relu(third * STRIDE / before_third - 1)
    )


eighths = st.integers(8, 300).map(lambda n: n / 8)
rates = st.tuples(st.integers(8, 80).map(lambda n: n / 8), eighths, eighths, eighths)


@settings(deadline=None, max_examples=40)
@given(rates, st.floats(0.01, 100))
def test_it_is_the_mean_hinge_of_every_site_and_its_gradient_leads_upstream(
    values: tuple[float, float, float, float], weight: float
) -> None:
    a, b, c, d = values
    if b == c:
        c += 1 / 16  # at a tie the larger of two branches could be either
    model = chain()
    set_rates(model, torch.tensor(a), torch.tensor([b, c]), torch.tensor(d))
    value = GapPenalty(weight)(model)
    value.backward()
    ours = [rate.detach().double().requires_grad_() for rate in rate_parameters(model)]
    expected = weight * by_hand(*ours)
    expected.backward()
    assert value.item() == pytest.approx(expected.item(), rel=1e-5, abs=1e-6 * weight)
    for rate, own in zip(rate_parameters(model), ours, strict=True):
        assert rate.grad is not None
        assert own.grad is not None
        torch.testing.assert_close(rate.grad.double(), own.grad, rtol=1e-5, atol=1e-6 * weight)


@settings(deadline=None, max_examples=60)
@given(rates, st.lists(st.booleans(), min_size=3, max_size=3))
def test_it_is_zero_just_where_every_rate_keeps_its_bound(
    values: tuple[float, float, float, float], held: list[bool]
) -> None:
    # each site on its bound, if it is to be held: the last value that costs nothing
    first = 1.0 if held[0] else values[0]
    bound = (1 + 2 * first) / STRIDE
    second = [min(rate, bound) if held[1] else rate for rate in values[1:3]]
    bound_behind = (1 + 2 * first + 4 * STRIDE * max(second)) / STRIDE
    third = bound_behind if held[2] else values[3]
    model = chain()
    set_rates(model, torch.tensor(first), torch.tensor(second), torch.tensor(third))
    value = GapPenalty()(model)
    kept = first <= 1 and max(second) <= bound and third <= bound_behind
    assert (value.item() == 0) is kept
    value.backward()
    slopes = torch.cat([rate.grad.reshape(-1) for rate in rate_parameters(model)])  # type: ignore[union-attr]
    assert bool((slopes == 0).all()) is kept


def test_a_gap_draws_the_rate_down_and_those_in_front_up() -> None:
    model = chain()
    set_rates(model, torch.tensor(1.0), torch.tensor([1.0, 1.5]), torch.tensor(20.0))
    GapPenalty()(model).backward()
    first, second, third = (rate.grad for rate in rate_parameters(model))
    assert third is not None
    assert third > 0
    assert second is not None
    assert second[0] == 0  # not the larger of the two, which carries the field
    assert second[1] < 0
    assert first is not None
    assert first < 0


class Forked(nn.Module):
    """Two ways that meet, the second longer, and channels and axes with rates of their own."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 10, 3, stride=2, padding=1)
        self.short = nn.Conv2d(10, 10, 3, padding=1)
        self.long = nn.Conv2d(10, 10, (5, 3), padding=(2, 1))
        self.last = nn.Conv2d(10, 1, 3, padding=1, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.stem(x)
        return self.last(self.short(out) + self.long(out))  # type: ignore[no-any-return]


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_its_slopes_are_those_of_finite_differences(seed: int) -> None:
    torch.manual_seed(seed)
    sites = {
        "stem": PerSite(1, 9, 1.0, separate_axes=True),
        "short": PerBranch(1, 9, 1, 1.0),
        "long": PerChannel(1, 30, "uniform", separate_axes=True),
        "last": PerChannel(1, 90, "uniform"),
    }
    model = relax(Forked(), sites, example=torch.empty(1, 1, 64, 64, device="meta"))
    penalty, step = GapPenalty(3.0), 1 / 256
    with torch.no_grad():
        for rate in rate_parameters(model)[:2]:
            rate += 1.3 * torch.rand(rate.shape)
    value = penalty(model)
    value.backward()
    assert value > 0
    moved = 0
    for rate in rate_parameters(model):
        slopes = torch.zeros_like(rate)
        for index in range(rate.numel()):
            sides = []
            for way in (step, -step):
                with torch.no_grad():
                    rate.reshape(-1)[index] += way
                sides.append(penalty(model).item())
                with torch.no_grad():
                    rate.reshape(-1)[index] -= way
            slopes.reshape(-1)[index] = (sides[0] - sides[1]) / (2 * step)
        torch.testing.assert_close(rate.grad, slopes, rtol=2e-3, atol=1e-3)
        moved += int((slopes != 0).sum())
    assert moved > 10  # the control: there was something to compare


def test_without_gaps_a_training_pays_nothing_and_clamping_makes_it_so() -> None:
    model = chain()
    set_rates(model, torch.tensor(3.0), torch.tensor([9.0, 5.0]), torch.tensor(70.0))
    assert GapPenalty()(model) > 0
    clamp_rates(model, gap="enforce")
    assert GapPenalty()(model) == 0


def test_it_is_one_number_whatever_the_precision_around_it() -> None:
    model = chain()
    set_rates(model, torch.tensor(1.7), torch.tensor([9.3, 5.0]), torch.tensor(70.1))
    value = GapPenalty()(model)
    assert (value.shape, value.dtype) == ((), torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(GapPenalty()(model), value)
    for rate in rate_parameters(model):
        rate.requires_grad_(False)
    assert torch.equal(GapPenalty()(model), value)
    assert not GapPenalty()(model).requires_grad


@pytest.mark.parametrize("weight", [0.0, -1.0, float("nan"), float("inf")])
def test_what_is_no_weight_is_told(weight: float) -> None:
    with pytest.raises(SearchError, match=f"GapPenalty: weight = {weight}; give a number above 0"):
        GapPenalty(weight)


def test_it_needs_the_graph() -> None:
    text = "a gap penalty needs the model's field graph; give relax an example input, or train with"
    with pytest.raises(SearchError, match=text):
        GapPenalty()(relaxed(6))
    GapPenalty()(relaxed(6, traced=True))  # negative control
