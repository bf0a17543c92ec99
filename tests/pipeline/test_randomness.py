"""Global generators that are lent for one block."""

import random

import numpy as np
import pytest
import torch

from dilsearch.pipeline.randomness import lent_generators


def drawn(device: torch.device) -> list[float]:
    on_device = torch.rand(1, device=device)
    return [random.random(), float(np.random.rand()), float(torch.rand(1)), float(on_device)]


@pytest.mark.parametrize("name", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_they_follow_from_the_keys_and_are_given_back(name: str) -> None:
    device = torch.device(name)

    def lent(*keys: int | str) -> list[float]:
        with lent_generators(device, *keys):
            return drawn(device)

    def seed() -> None:
        random.seed(1)
        np.random.seed(1)
        torch.manual_seed(1)

    seed()
    undisturbed = drawn(device)
    seed()
    first = lent("look", 3)
    assert drawn(device) == undisturbed
    assert lent("look", 3) == first  # whatever was drawn before
    # negative control: other keys give other numbers
    assert all(one != other for one, other in zip(lent("look", 4), first, strict=True))


def test_they_are_given_back_after_a_fault() -> None:
    torch.manual_seed(2)
    undisturbed = float(torch.rand(1))
    torch.manual_seed(2)

    def fail() -> None:
        with lent_generators(torch.device("cpu"), 0):
            torch.rand(1)
            raise ArithmeticError

    with pytest.raises(ArithmeticError):
        fail()
    assert float(torch.rand(1)) == undisturbed
