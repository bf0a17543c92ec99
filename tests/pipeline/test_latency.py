"""How long one forward pass takes."""

import time

import pytest
import torch
from torch import Tensor, nn

from dilsearch.pipeline.latency import latency_ms
from dilsearch.training import open_fabric

FABRIC = open_fabric("cpu")


class Sleeper(nn.Module):
    """Takes a known time, and remembers how it was called."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds = seconds
        self.frozen = nn.BatchNorm2d(3).eval()
        self.calls: list[tuple[tuple[int, ...], bool, bool, int]] = []

    def forward(self, inputs: Tensor) -> Tensor:
        threads = torch.get_num_threads()
        self.calls.append((tuple(inputs.shape), self.training, inputs.requires_grad, threads))
        assert torch.is_inference_mode_enabled()
        time.sleep(self.seconds)
        return inputs


def measured(model: nn.Module) -> float:
    return latency_ms(model, image_px=(4, 6), channels=3, fabric=FABRIC)


def test_it_is_the_time_of_one_pass() -> None:
    assert 5 <= measured(Sleeper(0.005)) < 15  # sleeping never ends early
    assert 15 <= measured(Sleeper(0.015)) < 45  # negative control: it is no constant


def test_passes_are_of_one_sample_in_evaluation_mode_on_the_threads_that_are_set() -> None:
    model = Sleeper(0.005)
    before = torch.get_num_threads()
    measured(model)
    assert set(model.calls) == {((1, 3, 4, 6), False, False, before)}
    assert torch.get_num_threads() == before


@pytest.mark.parametrize("training", [True, False])
def test_mode_and_randomness_are_as_before(training: bool) -> None:
    model = nn.Sequential(Sleeper(0.005), nn.Dropout(0.5)).train(training)
    sleeper = model[0]
    assert isinstance(sleeper, Sleeper)
    sleeper.frozen.eval()  # a part that is kept from training stays so
    state = torch.get_rng_state()
    measured(model)
    assert [module.training for module in model.modules()] == [training, training, False, training]
    assert torch.equal(torch.get_rng_state(), state)


def test_a_network_that_fails_is_left_in_its_mode() -> None:
    class Broken(nn.Module):
        def forward(self, inputs: Tensor) -> Tensor:
            raise ArithmeticError("no result")

    model = Broken()
    with pytest.raises(ArithmeticError, match="no result"):
        measured(model)
    assert model.training
