"""relax and discretize undo each other bit for bit, for every model, type and granularity."""

import copy
from typing import Any

import pytest
import torch
from surgery_zoo import EVEN_SAME, ZOO, Animal, snapshot, ties
from torch import nn

from dilsearch.sites import Granularity, PerBranch, PerChannel, PerSite
from dilsearch.surgery import discretize, rate_parameters, read_plan, relax
from dilsearch.surgery.rates import relaxed_sites

pytestmark = pytest.mark.filterwarnings(EVEN_SAME)
TYPES = [torch.float32, torch.float64, torch.bfloat16]


def granularities(animal: Animal) -> list[Granularity]:
    settings: dict[str, Any] = {"causal": animal.causal}
    return [
        PerSite(1, 8, **settings),
        PerSite(1, 8, separate_axes=True, **settings),
        PerBranch(1, 8, branches=animal.branches, **settings),
        PerChannel(1, 8, **settings),
        PerChannel(1, 8, separate_axes=True, **settings),
    ]


@pytest.mark.parametrize("dtype", TYPES, ids=lambda dtype: str(dtype).removeprefix("torch."))
@pytest.mark.parametrize("name", ZOO)
def test_there_and_back_changes_no_bit(name: str, dtype: torch.dtype) -> None:
    animal = ZOO[name]
    model, x = animal.built(dtype), animal.image(dtype)
    expected, state = model(x), copy.deepcopy(model.state_dict())
    for granularity in granularities(animal):
        relaxed = relax(model, {animal.selector: granularity})
        assert relaxed_sites(relaxed)
        back = discretize(relaxed, read_plan(relaxed))
        assert torch.equal(back(x), expected), granularity
        assert snapshot(back) == snapshot(model)
        assert ties(back) == ties(model)
        assert list(back.state_dict()) == list(state)
        for model_or_back in (model, back):  # nor has the model that was given
            values = model_or_back.state_dict()
            assert all(torch.equal(values[key], value) for key, value in state.items())


@pytest.mark.parametrize("name", ZOO)
def test_the_relaxed_model_computes_the_same(name: str) -> None:
    animal = ZOO[name]
    model, x = animal.built(torch.float64), animal.image(torch.float64)
    expected = model(x)
    for granularity in granularities(animal)[::2]:
        relaxed = relax(model, {animal.selector: granularity})
        torch.testing.assert_close(relaxed(x), expected, rtol=1e-12, atol=1e-12)
        assert snapshot(relaxed) == snapshot(model)
        with torch.no_grad():  # the control: other rates would be seen
            for rate in rate_parameters(relaxed):
                rate.add_(0.5)
        assert (relaxed(x) - expected).abs().max() > 1e-4


@pytest.mark.parametrize("name", ["chain", "weight-normed", "even kernel"])
def test_a_rate_that_moved_is_told_apart(name: str) -> None:
    # the control of the comparison above: with other rates it fails
    animal = ZOO[name]
    model, x = animal.built(), animal.image()
    relaxed = relax(model, {animal.selector: PerSite(1, 8)})
    plan = read_plan(relaxed)
    moved = plan.replace({site: tuple(rate + 1 for rate in plan[site]) for site in plan})
    assert not torch.allclose(discretize(relaxed, moved)(x), model(x), rtol=1e-3)


def test_in_training_mode_too() -> None:
    torch.manual_seed(0)
    model = ZOO["chain"].built().train()
    model[1].eval()  # one module of its own mode
    before, x = copy.deepcopy(model), ZOO["chain"].image()
    relaxed = relax(model, {"[35]": PerSite(1, 8)})
    back = discretize(relaxed, read_plan(relaxed))
    assert snapshot(back) == snapshot(before)
    model[1].train()
    back[1].train()
    for _ in range(2):
        assert torch.equal(back(x), model(x))
    assert torch.equal(back[1].running_mean, model[1].running_mean)
    assert not torch.equal(back[1].running_mean, before[1].running_mean)


@pytest.mark.parametrize("name", ZOO)
def test_shapes_stay_while_rates_move(name: str) -> None:
    animal = ZOO[name]
    model = animal.built()
    generator = torch.Generator().manual_seed(3)
    for kind in (PerSite, PerChannel):
        granularity = kind(1, 4, initial="uniform", causal=animal.causal)
        relaxed = relax(model, {animal.selector: granularity}, generator=generator)
        rates = {site: tuple(map(round, rates)) for site, rates in read_plan(relaxed).items()}
        plain = discretize(relaxed, read_plan(relaxed).replace(rates))
        for more_px in (0, 1, 3):
            x = animal.image(more_px=more_px)
            assert relaxed(x).shape == plain(x).shape == model(x).shape


def test_inplace_shares_the_parameters_both_ways() -> None:
    model = ZOO["chain"].built()
    weight = model[3].weight
    relaxed = relax(model, {"3": PerSite(1, 8)}, inplace=True)
    assert relaxed is model
    assert model[3].weight is weight
    assert relax(model, {"5": PerSite(1, 8)})[3].weight is not weight
    back = discretize(relaxed, read_plan(relaxed), inplace=True)
    assert back is model
    assert type(model[3]) is nn.Conv2d
    assert model[3].weight is weight
