"""The loop: exact resumption, stopping between steps, and clear ends."""

import os
import signal
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from dilsearch.errors import RunError
from dilsearch.training import (
    Checkpoint,
    History,
    LogitsLoss,
    PolySchedule,
    build_loss,
    fit,
    open_fabric,
    weight_optimizer,
)

STEPS = 8


def batches(start: int) -> Iterable[tuple[torch.Tensor, torch.Tensor]]:
    for step in range(start, STEPS):
        generator = torch.Generator().manual_seed(step)
        image = torch.rand(2, 3, 8, 8, generator=generator)
        yield image, (image.mean(1) > 0.5).long()


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.Dropout(0.2), nn.Conv2d(4, 2, 1)
    )


def train(
    model: nn.Module,
    *,
    checkpoint: Checkpoint | None = None,
    source: object = batches,
    watch: object = None,
    steps: int = STEPS,
    loss: object = None,
    output_fn: object = None,
) -> History:
    weights = list(model.parameters())
    optimizers = (
        weight_optimizer(model, weights[:2], learning_rate=0.1, momentum=0.9, weight_decay=1e-4),
        torch.optim.Adam(weights[2:], lr=0.01),
    )
    return fit(
        model,
        source,  # type: ignore[arg-type]
        fabric=open_fabric("cpu"),
        optimizers=optimizers,
        loss=loss or build_loss("cross_entropy"),  # type: ignore[arg-type]
        output_fn=output_fn,  # type: ignore[arg-type]
        schedule=PolySchedule(steps),
        checkpoint=checkpoint,
        watch=watch,  # type: ignore[arg-type]
    )


def test_training_lowers_the_loss_and_keeps_a_row_a_step() -> None:
    history = train(network())
    assert [row["step"] for row in history] == list(range(1, STEPS + 1))
    assert [row["samples"] for row in history] == list(range(2, 2 * STEPS + 1, 2))
    assert history[-1]["loss"] < history[0]["loss"]
    assert history[0]["learning_rate"] == 0.1


def test_resuming_gives_the_bits_of_an_uninterrupted_training(tmp_path: Path) -> None:
    torch.manual_seed(7)
    whole = network()
    torch.manual_seed(7)
    expected = train(whole)

    def stop_at(step: int) -> object:
        def watch(row: dict[str, float]) -> None:
            if row["step"] == step:
                os.kill(os.getpid(), signal.SIGINT)

        return watch

    model = network()
    checkpoint = Checkpoint(tmp_path / "c" / "state.safetensors", every=0)
    torch.manual_seed(7)
    with pytest.raises(KeyboardInterrupt):
        train(model, checkpoint=checkpoint, watch=stop_at(5))
    assert checkpoint.path.exists()
    torch.manual_seed(99)  # whatever happened in between
    fresh = network()
    resumed = train(fresh, checkpoint=checkpoint)
    assert resumed == expected
    for name, value in whole.state_dict().items():
        assert torch.equal(fresh.state_dict()[name], value), name
    # negative control: dropout makes a training without the saved random state differ
    torch.manual_seed(99)
    assert train(network()) != expected


def test_a_checkpoint_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    path = tmp_path / "state.safetensors"
    path.write_bytes(b"not a checkpoint, though long enough")
    with pytest.raises(RunError, match=r"cannot be read .* delete it to start the stage again"):
        train(network(), checkpoint=Checkpoint(path))


def test_a_checkpoint_of_a_longer_training_is_refused(tmp_path: Path) -> None:
    checkpoint = Checkpoint(tmp_path / "state.safetensors", every=1)
    expected = train(network(), checkpoint=checkpoint)
    text = (
        f"checkpoint {checkpoint.path} is 8 steps into a training that is to have 7; "
        "delete it, or train for longer"
    )
    with pytest.raises(RunError) as caught:
        train(network(), checkpoint=checkpoint, steps=STEPS - 1)
    assert str(caught.value) == text
    # negative control: one that is as long has nothing left to do
    assert train(network(), checkpoint=checkpoint) == expected


def test_a_loss_that_is_no_number_stops_the_training() -> None:
    def poisoned(start: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        for image, label in batches(start):
            yield image * float("nan"), label

    with pytest.raises(RunError, match=r"the loss became nan at step 1; lower the learning"):
        train(network(), source=poisoned)


def test_a_loss_that_is_many_numbers_is_named() -> None:
    with pytest.raises(
        RunError, match=r"the loss has shape \(2, 8, 8\) and is not one number; take"
    ):
        fit(
            network(),
            batches,
            fabric=open_fabric("cpu"),
            optimizers=(torch.optim.SGD(network().parameters(), lr=0.1),),
            loss=lambda logits, labels: nn.functional.cross_entropy(
                logits, labels, reduction="none"
            ),
            schedule=PolySchedule(STEPS),
        )


def test_data_that_ends_early_is_an_error() -> None:
    with pytest.raises(RunError, match="the data ended after step 8 of 20; give more batches"):
        train(network(), steps=20)


@pytest.mark.parametrize("stop", [None, 3])
def test_optimisers_leave_with_the_learning_rates_they_came_with(stop: int | None) -> None:
    model = network()
    optimizers = (
        torch.optim.SGD(list(model.parameters())[:2], lr=0.1),
        torch.optim.Adam(list(model.parameters())[2:], lr=0.01),
    )
    during: list[list[float]] = []

    def watch(row: dict[str, float]) -> None:
        during.append([group["lr"] for opt in optimizers for group in opt.param_groups])
        if row["step"] == stop:
            raise RuntimeError("something went wrong")

    def again() -> History:
        return fit(
            model,
            batches,
            fabric=open_fabric("cpu"),
            optimizers=optimizers,
            loss=build_loss("cross_entropy"),
            schedule=PolySchedule(STEPS),
            watch=watch,  # type: ignore[arg-type]
        )

    if stop is None:
        assert again()[0]["learning_rate"] == again()[0]["learning_rate"] == 0.1
    else:
        with pytest.raises(RuntimeError, match="something went wrong"):
            again()
    assert [group["lr"] for opt in optimizers for group in opt.param_groups] == [0.1, 0.01]
    assert during[-1] != [0.1, 0.01]  # negative control: they did move in between


class Blend(nn.Module):
    """The network, of the mean of two images."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = network()

    def forward(self, one: torch.Tensor, other: torch.Tensor, scale: float = 0.5) -> torch.Tensor:
        return self.inner((one + other) * scale)  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    "form",
    [
        lambda image: (image, image),
        lambda image: [image, image],
        lambda image: {"other": image, "one": image, "scale": 0.5},
        lambda image: OrderedDict(scale=torch.tensor(0.5), one=image, other=image),
    ],
)
def test_inputs_of_several_parts_are_arguments(form: Callable[[torch.Tensor], Any]) -> None:
    def formed(start: int) -> Iterable[tuple[Any, torch.Tensor]]:
        return ((form(image), label) for image, label in batches(start))

    # two images a step are counted, not the parts of an input
    assert train(Blend(), source=formed) == train(network())


def test_what_is_taken_from_an_output_reaches_the_loss() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = network()

        def forward(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
            return {"unused": image, "main": self.inner(image)}

    shown: list[dict[str, float]] = []
    taken = train(Two(), output_fn=lambda output: output["main"], watch=shown.append)
    expected: list[dict[str, float]] = []
    assert taken == train(network(), watch=expected.append)
    assert shown == expected
    assert "batch_mean_iou" in shown[0]


def test_a_loss_of_logits_takes_what_the_model_returns() -> None:
    class Coarse(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = network()

        def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, None]:
            return nn.functional.avg_pool2d(self.inner(image), 2), None

    shown: list[dict[str, float]] = []
    history = train(Coarse(), loss=LogitsLoss(), watch=shown.append)
    assert history[-1]["loss"] < history[0]["loss"]
    assert "batch_mean_iou" in shown[0]


def test_sequences_are_looked_at_as_images_are() -> None:
    model = nn.Sequential(nn.Conv1d(1, 4, 3, padding=1), nn.ReLU(), nn.Conv1d(4, 2, 1))

    def sequences(start: int) -> Iterable[tuple[torch.Tensor, torch.Tensor]]:
        for image, _ in batches(start):
            signal = image.flatten(1)[:, None]
            yield signal, (signal[:, 0] > 0.5).long()

    shown: list[dict[str, float]] = []
    history = train(model, source=sequences, watch=shown.append)
    assert history[-1]["loss"] < history[0]["loss"]
    assert 0 < shown[0]["batch_mean_iou"] <= 1
