"""The search itself, on a task so small that growing a rate is the only way to learn it."""

from collections.abc import Iterable

import pytest
import torch
from torch import nn

from dilsearch.search import build_rate_optimizer, search, search_columns
from dilsearch.sites import PerSite
from dilsearch.surgery import rate_parameters, read_plan, relax
from dilsearch.surgery.rates import weight_parameters
from dilsearch.training import History, PolySchedule, build_loss, open_fabric

STEPS = 150


def shifted_copies(start: int) -> Iterable[tuple[torch.Tensor, torch.Tensor]]:
    """A pixel's class is the brightness 3 px to its left: rate 1 never sees it, rate 3 does."""
    for step in range(start, STEPS):
        generator = torch.Generator().manual_seed(step)
        coarse = torch.rand(4, 1, 16, 10, generator=generator)
        image = nn.functional.interpolate(coarse, (16, 40), mode="bilinear", align_corners=False)
        yield image, (image[:, 0].roll(3, 2) > 0.5).long()


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 2, (1, 3), padding=(0, 1)))


def run(model: nn.Module, rate_learning_rate: float) -> History:
    return search(
        model,
        shifted_copies,
        fabric=open_fabric("cpu"),
        weight_optimizer=torch.optim.SGD(weight_parameters(model), lr=1.0, momentum=0.9),
        rate_optimizer=build_rate_optimizer(model, name="adam", learning_rate=rate_learning_rate),
        loss=build_loss("cross_entropy"),
        schedule=PolySchedule(STEPS, warmup_steps=5),
        gap="ignore",
    )


def test_gradient_descent_finds_the_rate_the_task_needs() -> None:
    model = relax(network(), {"0": PerSite(1, 6)})
    history = run(model, 0.1)
    (rate,) = read_plan(model)["0"]
    assert rate == pytest.approx(3, abs=0.5)
    assert history[-1]["0[0]"] == rate
    # negative control: rates that cannot move leave the task unlearned
    still = relax(network(), {"0": PerSite(1, 6)})
    frozen = run(still, 1e-12)
    assert history[-1]["loss"] < frozen[-1]["loss"] - 0.05


def test_columns_name_every_rate_and_the_field() -> None:
    example = torch.empty(1, 1, 16, 16, device="meta")
    model = relax(network(), {"0": PerSite(1, 6, initial=2.5)}, example=example)
    assert search_columns(model) == {"field_px": 7, "0[0]": 2.5}
    assert "field_px" not in search_columns(relax(network(), {"0": PerSite(1, 6)}))


@pytest.mark.parametrize("name", ["adam", "sgd"])
def test_rates_have_an_optimiser_of_their_own_without_decay(name: str) -> None:
    model = relax(network(), {"0": PerSite(1, 6)})
    optimizer = build_rate_optimizer(model, name=name, learning_rate=0.5)  # type: ignore[arg-type]
    (group,) = optimizer.param_groups
    assert group["weight_decay"] == 0
    assert [id(p) for p in group["params"]] == [id(p) for p in rate_parameters(model)]
