"""What the search is made of, with rates of every form: channels, axes, one to three dimensions."""

import copy
from collections.abc import Iterable
from functools import cache

import pytest
import torch
from search_task import Batch, run
from torch import Tensor, nn

from dilsearch.search import FieldTarget, SearchResult, Smoothing, search_columns
from dilsearch.search.reach import widest_field_px
from dilsearch.search.smoothing import SmoothedRates
from dilsearch.sites import Granularity, PerBranch, PerChannel, PerSite
from dilsearch.surgery import (
    clamp_rates,
    freeze_rates,
    rate_limits,
    rate_parameters,
    read_plan,
    relax,
    unfreeze_rates,
)

STEPS = 5
FORMS: dict[str, tuple[int, Granularity]] = {
    "causal sequence": (1, PerSite(1, 20, 2.0, causal=True)),
    "channels of a sequence": (1, PerChannel(1, 20, 2.0)),
    "few channels": (2, PerChannel(1, 20, 2.0)),
    "axes of a site": (2, PerSite(1, 20, 2.0, separate_axes=True)),
    "axes of channels": (2, PerChannel(1, 20, 2.0, separate_axes=True)),
    "volume": (3, PerBranch(1, 20, 2, 2.0)),
    "axes of a volume": (3, PerBranch(1, 20, 2, 2.0, separate_axes=True)),
}
form = pytest.mark.parametrize("form", FORMS)


@cache
def _network(form: str) -> nn.Module:
    axes, granularity = FORMS[form]
    conv = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}[axes]
    torch.manual_seed(0)
    layers = nn.Sequential(
        conv(1, 6, 5, padding=2),
        conv(6, 6, 3, padding=1, groups=2),
        nn.ReLU(),
        conv(6, 2, 3, padding=1),
    )
    other = PerChannel(1, 20, 3.0) if form == "few channels" else PerSite(1, 20, 3.0)
    example = torch.empty(1, 1, *(12,) * axes, device="meta")
    return relax(layers, {"1": granularity, "3": other}, example=example)


def network(form: str) -> nn.Module:
    return copy.deepcopy(_network(form))


def searched(model: nn.Module, form: str, **more: object) -> SearchResult:
    axes, _ = FORMS[form]

    def batches(start: int) -> Iterable[Batch]:
        for step in range(start, STEPS):
            image = torch.rand(2, 1, *(12,) * axes, generator=torch.Generator().manual_seed(step))
            yield image, (image[:, 0].roll(2, 1) > 0.5).long()

    def loss(logits: Tensor, labels: Tensor) -> Tensor:
        return nn.functional.cross_entropy(logits, labels)

    settings = {"gap": "enforce", "needed_px": 999, "field_target": 2.0, "loss": loss, **more}
    return run(model, batches, STEPS, rate_learning_rate=0.5, **settings)  # type: ignore[arg-type]


@form
def test_a_search_moves_every_rate_within_its_limits(form: str) -> None:
    model = network(form)
    before = clamp_rates(model, gap="enforce")
    result = searched(model, form)
    assert result.plan == read_plan(model)
    assert {site: rates.axes for site, rates in result.plan.sites.items()} == {
        site: rates.axes for site, rates in before.sites.items()
    }
    for site, rates in result.plan.items():
        lower, upper = rate_limits(model)[site]
        assert all(lower <= rate <= upper for rate in rates)
        moved = [now != then for now, then in zip(rates, before[site], strict=True)]
        assert all(moved)
    assert result.history[-1].items() >= search_columns(model).items()
    assert clamp_rates(model, gap="enforce") == result.plan  # nothing is left to hold back


@form
def test_frozen_rates_stay_and_the_weights_train(form: str) -> None:
    model = network(form)
    clamp_rates(model, gap="enforce")
    before, weight = read_plan(model), model[1].weight.detach().clone()  # type: ignore[index, union-attr]
    freeze_rates(model)
    searched(model, form)
    assert read_plan(model) == before
    assert not torch.equal(model[1].weight, weight)  # type: ignore[index, union-attr, arg-type]
    unfreeze_rates(model)  # the control
    searched(model, form)
    assert read_plan(model) != before


@form
def test_draws_keep_limits_and_are_put_back(form: str) -> None:
    model = network(form)
    before = read_plan(model)
    rates = SmoothedRates(model, Smoothing(2.0), steps=10, seed=0, gap="ignore")
    rates.draw(0)
    values = [value for rate in rate_parameters(model) for value in rate.reshape(-1).tolist()]
    assert len(set(values)) > len(values) / 2  # each is drawn by itself, some lie on a limit
    assert all(1 <= value <= 20 for value in values)
    rates.restore()
    assert read_plan(model) == before


@form
def test_the_widest_field_is_that_of_the_upper_limits(form: str) -> None:
    model = network(form)
    assert widest_field_px(model, "ignore") == 5 + 2 * 20 + 2 * 20
    assert FieldTarget(5 + 2 * 20 + 2 * 20 + 1)(model) > 0
    with torch.no_grad():
        for rate in rate_parameters(model):
            rate.fill_(20)
    assert FieldTarget(5 + 2 * 20 + 2 * 20)(model) == 0


def test_only_a_few_rates_have_columns_of_their_own() -> None:
    columns = search_columns(network("axes of channels"))
    assert list(columns) == ["field_px", "1[min]", "1[mean]", "1[max]", "3[0]"]
    columns = search_columns(network("axes of a volume"))
    rows = [f"1[{branch}.{axis}]" for branch in range(2) for axis in range(3)]
    assert list(columns) == ["field_px", *rows, "3[0]"]
