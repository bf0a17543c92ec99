"""The optimisers of the weights."""

from typing import Literal

import pytest
import torch
from torch import nn

from dilsearch.training import weight_optimizer


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_normalisation_layers_are_not_decayed(name: Literal["sgd", "adamw"]) -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 2, 1))
    optimizer = weight_optimizer(
        model, model.parameters(), name=name, learning_rate=0.1, weight_decay=0.5
    )
    decay = {
        id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]
    }
    names = {name: decay[id(p)] for name, p in model.named_parameters()}
    assert {name for name, value in names.items() if value == 0.0} == {"1.weight", "1.bias"}


def test_a_step_of_the_named_optimizer_is_its_textbook_step() -> None:
    weight = nn.Linear(1, 1, bias=False).weight

    def after_two_steps(name: Literal["sgd", "adamw"]) -> float:
        weight.data.fill_(2.0)
        holder = nn.Module()
        holder.weight = weight
        optimizer = weight_optimizer(
            holder, [weight], name=name, learning_rate=0.1, momentum=0.5, weight_decay=0.25
        )
        for _ in range(2):
            weight.grad = torch.full_like(weight, 3.0)
            optimizer.step()
        return weight.item()

    # SGD: slopes 3 + 0.25 * 2 = 3.5, then 3 + 0.25 * 1.65 and half of the first once more.
    assert after_two_steps("sgd") == pytest.approx(1.65 - 0.1 * (0.5 * 3.5 + 3 + 0.25 * 1.65))
    # AdamW: both steps of full length, each after a decay of 0.1 * 0.25.
    assert after_two_steps("adamw") == pytest.approx((2 * 0.975 - 0.1) * 0.975 - 0.1)
