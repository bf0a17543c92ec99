"""Draws around the present rates: how wide, from which randomness, within which limits."""

import json
import math
import re
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lightning_fabric import Fabric
from search_task import chain, relaxed
from torch import nn

from dilsearch.errors import PlanError, SearchError
from dilsearch.geometry import max_rate
from dilsearch.search import Smoothing
from dilsearch.search.smoothing import SmoothedRates
from dilsearch.sites import PerBranch, PerSite
from dilsearch.surgery import clamp_rates, field_graph, rate_parameters, read_plan, relax

STEPS = 100
Gap = Literal["enforce", "ignore"]


def rates_of(model: nn.Module) -> list[float]:
    return [rate for rates in read_plan(model).values() for rate in rates]


def set_rates(model: nn.Module, *rates: float) -> None:
    with torch.no_grad():
        for parameter, rate in zip(rate_parameters(model), rates, strict=True):
            parameter.fill_(rate)


def drawn(
    model: nn.Module,
    step: int,
    *,
    width: float | None = 1.0,
    seed: int = 0,
    gap: Gap = "ignore",
) -> list[float]:
    """The rates at a step, on an object of its own; the model is as before afterwards."""
    rates = SmoothedRates(model, Smoothing(width), steps=STEPS, seed=seed, gap=gap)
    rates.draw(step)
    values = rates_of(model)
    rates.restore()
    return values


class TestWidth:
    @given(st.floats(0.01, 5), st.floats(0.05, 1), st.integers(1, 10_000))
    def test_it_falls_evenly_to_nothing_at_the_share(
        self, width: float, share: float, steps: int
    ) -> None:
        smoothing = Smoothing(width, share=share)

        def at(step: float) -> float:
            return smoothing.width_at(step, steps, lower=1, upper=9)  # type: ignore[arg-type]

        end = share * steps
        assert at(0) == width
        assert at(end / 4) == pytest.approx(0.75 * width)
        assert at(end / 2) == pytest.approx(0.5 * width)
        assert at(end) == pytest.approx(0, abs=1e-9)
        assert at(steps) == pytest.approx(0, abs=1e-9)
        assert at(steps) >= 0
        # negative control: just before the share there is some width left
        assert at(0.99 * end) > 0

    @given(st.integers(1, 20), st.integers(0, 100))
    def test_left_open_it_is_a_third_of_the_way_between_the_limits(
        self, lower: int, more: int
    ) -> None:
        width = Smoothing().width_at(0, STEPS, lower=lower, upper=lower + more)
        assert width == math.log((lower + more) / lower) / 3
        assert lower * math.exp(3 * width) == pytest.approx(lower + more)
        # negative control: a width that is given does not look at the limits
        assert Smoothing(0.4).width_at(0, STEPS, lower=lower, upper=lower + more) == 0.4

    def test_its_end_is_the_share_unless_nothing_is_drawn(self) -> None:
        assert Smoothing(share=0.3).ends == 0.3
        assert Smoothing(0.5, share=0.3).ends == 0.3
        assert Smoothing(0, share=0.3).ends == 0

    @pytest.mark.parametrize(
        ("width", "share", "text"),
        [
            (-0.1, 0.5, "Smoothing: width = -0.1 is not a standard deviation; give 0 for none, or"),
            (math.inf, 0.5, "Smoothing: width = inf is not a standard deviation"),
            (math.nan, 0.5, "Smoothing: width = nan is not a standard deviation"),
            (
                None,
                0.0,
                "Smoothing: share = 0.0 is not a share of the search; "
                "give a number above 0 and at most 1",
            ),
            (None, 1.1, "Smoothing: share = 1.1 is not a share"),
            (None, math.nan, "Smoothing: share = nan is not a share"),
        ],
    )
    def test_what_it_cannot_be_is_told(self, width: float | None, share: float, text: str) -> None:
        with pytest.raises(SearchError, match=re.escape(text)):
            Smoothing(width, share=share)

    def test_what_it_can_be_is_taken(self) -> None:  # the negative control of the errors
        assert [Smoothing(width, share=1.0).width for width in (None, 0, 7.5)] == [None, 0, 7.5]


class TestDraws:
    def test_they_follow_from_seed_and_step_alone(self) -> None:
        model = chain(upper=8)
        set_rates(model, 3, 3, 3)
        first = drawn(model, 7, seed=2)
        drawn(model, 8, seed=2)
        torch.rand(5)  # whatever else is drawn in between
        assert drawn(model, 7, seed=2) == first
        assert drawn(chain(upper=8, seed=9), 7, seed=2) != first  # other centres, other rates
        again = chain(upper=8, seed=9)
        set_rates(again, 3, 3, 3)
        assert drawn(again, 7, seed=2) == first
        # negative controls: another seed and another step draw other rates
        assert drawn(model, 7, seed=3) != first
        assert drawn(model, 6, seed=2) != first

    def test_sites_and_branches_draw_apart(self) -> None:
        layers = nn.Sequential(
            nn.Conv2d(2, 2, 3, padding=1, groups=2), nn.Conv2d(2, 2, 3, padding=1, groups=2)
        )
        model = relax(layers, {"*": PerBranch(1, 100, 2, initial=10.0)})
        values = drawn(model, 0)
        assert len(set(values)) == len(values) == 4

    def test_global_generators_are_neither_used_nor_touched(self) -> None:
        model = relaxed(16, initial=4.0)
        torch.manual_seed(1)
        before = torch.get_rng_state()
        first = drawn(model, 3)
        assert torch.equal(torch.get_rng_state(), before)
        torch.manual_seed(2)
        assert drawn(model, 3) == first
        # negative control: the state compared does change when something is drawn
        torch.rand(1)
        assert not torch.equal(torch.get_rng_state(), before)

    @pytest.mark.parametrize(("step", "width"), [(0, 0.5), (35, 0.25)])
    def test_they_are_log_normal_with_the_width_of_the_step(self, step: int, width: float) -> None:
        # no clamp acts: the limits lie 10 widths and more away
        model = relaxed(100_000, initial=300.0)
        logs = torch.tensor(
            [math.log(drawn(model, step, width=0.5, seed=seed)[0] / 300) for seed in range(600)],
            dtype=torch.float64,
        )
        # four standard errors: width / sqrt(n) of the mean, width / sqrt(2n) of the deviation
        assert abs(float(logs.mean())) < 4 * width / math.sqrt(600)
        assert abs(float(logs.std()) - width) < 4 * width / math.sqrt(1200)
        z = logs / width
        within = [float((z.abs() < count).double().mean()) for count in (1, 2)]
        assert within == pytest.approx([0.6827, 0.9545], abs=0.08)
        # negative control: the same bounds tell a width that is a quarter larger
        assert abs(float((1.25 * logs).std()) - width) > 4 * width / math.sqrt(1200)

    @settings(deadline=None, max_examples=30)
    @given(st.integers(0, 10**6), st.floats(1, 9), st.floats(0.1, 4))
    def test_they_stay_within_the_limits(self, seed: int, centre: float, width: float) -> None:
        model = relaxed(9, initial=centre)
        (rate,) = drawn(model, 0, width=width, seed=seed)
        assert 1 <= rate <= 9

    def test_wide_draws_do_reach_the_limits(self) -> None:  # the control of the one above
        rates = {drawn(relaxed(9, initial=3.0), 0, width=3.0, seed=seed)[0] for seed in range(20)}
        assert {1.0, 9.0} < rates

    @pytest.mark.parametrize("seed", range(4))
    def test_a_huge_width_stays_within_the_limits_as_well(self, seed: int) -> None:
        model = relaxed(9, initial=3.0)
        assert drawn(model, 0, width=200.0, seed=seed)[0] in (1.0, 9.0)
        assert rates_of(model) == [3.0]
        # negative control: the factor itself is no number that a rate can be multiplied with
        assert torch.exp(torch.tensor(200.0)).isinf()

    def test_frozen_rates_are_not_drawn(self) -> None:
        model = chain(upper=16)
        set_rates(model, 2, 3, 4)
        rate_parameters(model)[1].requires_grad_(False)
        first, second, third = drawn(model, 0)
        assert second == 3
        assert (first, third) != (2, 4)
        rate_parameters(model)[1].requires_grad_(True)
        assert drawn(model, 0)[1] != 3  # negative control

    @settings(deadline=None, max_examples=15)
    @given(st.integers(0, 10**6))
    def test_they_are_held_to_the_bound_at_the_field_drawn_upstream(self, seed: int) -> None:
        model = chain(upper=16)
        set_rates(model, 1, 3, 9)
        graph = field_graph(model)
        assert graph is not None
        rates = SmoothedRates(model, Smoothing(1.0), steps=STEPS, seed=seed, gap="enforce")
        rates.draw(0)
        table = graph.propagate(read_plan(model))
        for row, (rate,) in zip(table.rows, read_plan(model).values(), strict=False):
            assert rate <= min(max_rate(field) for field in row.field_in)
        assert rates_of(model)[0] == 1  # its bound is 1

    def test_without_the_bound_draws_pass_it(self) -> None:  # the control of the one above
        model = chain(upper=16)
        set_rates(model, 1, 3, 9)
        assert any(drawn(model, 0, seed=seed)[0] > 1 for seed in range(5))

    def test_a_draw_that_no_bound_can_hold_is_not_taken(self) -> None:
        layers = nn.Sequential(*(nn.Conv2d(1, 1, taps, padding=taps // 2) for taps in (7, 3, 3)))
        # at rate 5 the first site hands on 7 + 2 * 5 px, room enough for rate 12; at 2 it does not
        limits = {"1": PerSite(1, 8, 5.0), "2": PerSite(12, 20, 12.5)}
        model = relax(layers, limits, example=torch.empty(1, 1, 32, 32, device="meta"))
        clamp_rates(model, gap="enforce")
        assert rates_of(model) == [5, 12.5]
        taken = {False: 0, True: 0}
        for seed in range(20):
            free, _ = drawn(model, 0, seed=seed)
            held = drawn(model, 0, seed=seed, gap="enforce")
            fits = 7 + 2 * free >= 12
            assert (held != [5, 12.5]) is fits
            taken[fits] += 1
            assert rates_of(model) == [5, 12.5]
        assert min(taken.values()) > 0  # negative control: both kinds did occur
        set_rates(model, 2, 12.5)
        with pytest.raises(PlanError, match="its lower limit 12 exceeds"):
            clamp_rates(model, gap="enforce")  # what is not taken is what this would refuse

    @pytest.mark.parametrize("step", [70, 71, 99])
    def test_from_the_share_on_nothing_is_drawn(self, step: int) -> None:
        model = relaxed(16, initial=4.25)
        assert drawn(model, step) == [4.25]
        assert drawn(model, 0, width=0) == [4.25]
        assert drawn(model, 60) != [4.25]  # negative control


class TestRestoring:
    def test_the_bits_come_back_and_the_gradient_stays_the_draws(self) -> None:
        model = relaxed(16, initial=3.1)
        image = torch.rand(2, 1, 8, 40, generator=torch.Generator().manual_seed(0))
        (rate,) = rate_parameters(model)
        bits = rate.detach().clone()

        def gradient_at(value: torch.Tensor) -> torch.Tensor:
            other = relaxed(16)
            (parameter,) = rate_parameters(other)
            with torch.no_grad():
                parameter.copy_(value)
            other(image).square().mean().backward()
            assert parameter.grad is not None
            return parameter.grad

        rates = SmoothedRates(model, Smoothing(1.0), steps=STEPS, seed=0, gap="ignore")
        rates.draw(0)
        at = rate.detach().clone()
        assert not torch.equal(at, bits)
        model(image).square().mean().backward()
        rates.restore()
        assert torch.equal(rate.detach(), bits)
        assert rate is rate_parameters(model)[0]  # the optimiser still holds it
        assert rate.grad is not None
        assert torch.equal(rate.grad, gradient_at(at))
        # negative control: at the present rate the gradient is another
        assert not torch.equal(rate.grad, gradient_at(bits))

    def test_dividing_the_factor_out_would_not_give_the_bits_back(self) -> None:
        # the control of the bits: float32 has 3.1 * f / f != 3.1 for some f
        factors = torch.rand(200, generator=torch.Generator().manual_seed(0)) * 3
        assert bool(((torch.tensor(3.1) * factors / factors) != torch.tensor(3.1)).any())


def _draw_on_rank(fabric: Any, folder: Path) -> None:
    model = chain(upper=16, seed=fabric.global_rank)
    set_rates(model, 2, 2, 2)
    wrapped = fabric.setup(model)
    torch.manual_seed(fabric.global_rank)
    same = drawn(wrapped, 4, seed=5)
    own = drawn(wrapped, 4, seed=5 + fabric.global_rank)
    text = json.dumps((fabric.world_size, same, own))
    (folder / f"rank{fabric.global_rank}").write_text(text)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_every_rank_draws_the_same(tmp_path: Path) -> None:
    fabric = Fabric(accelerator="cpu", devices=2, strategy="ddp_fork")
    fabric.launch(_draw_on_rank, tmp_path)
    first, second = ((tmp_path / f"rank{rank}").read_text() for rank in (0, 1))
    world, same, own = json.loads(first)
    other_world, other_same, other_own = json.loads(second)
    assert world == other_world == 2
    assert same == other_same
    assert own != other_own  # negative control: with the rank in the seed they would differ


def test_two_replicas_draw_the_same_whatever_they_did_before() -> None:
    replicas = [chain(upper=16, seed=rank) for rank in (0, 1)]
    values = []
    for rank, model in enumerate(replicas):
        set_rates(model, 2, 2, 2)
        torch.manual_seed(rank)
        values.append([drawn(model, step, seed=5) for step in range(3)])
    assert values[0] == values[1]
    # negative control: with the rank in the seed they would part
    assert drawn(replicas[0], 0, seed=5) != drawn(replicas[1], 0, seed=6)
