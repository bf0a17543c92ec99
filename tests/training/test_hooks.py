"""What hooks see of a training, and how they end it."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from dilsearch.errors import RunError
from dilsearch.training import (
    Checkpoint,
    History,
    Hooks,
    PolySchedule,
    build_loss,
    fit,
    open_fabric,
)

STEPS = 6


class Data:
    """Batches that count how often they were asked for, from where, and how many were taken."""

    def __init__(self, calls: list[str] | None = None) -> None:
        self.starts: list[int] = []
        self.taken = 0
        self.calls = calls if calls is not None else []

    def __call__(self, start: int) -> Iterable[tuple[Tensor, Tensor]]:
        self.starts.append(start)
        for step in range(start, STEPS):
            self.taken += 1
            generator = torch.Generator().manual_seed(step)
            image = torch.rand(2, 3, 4, 4, generator=generator)
            yield image, (image.mean(1) > 0.5).long()


class Recorder(Hooks):
    """Notes every call, beside what the model and its gradients are at the time."""

    def __init__(self, model: nn.Module, calls: list[str], end_at: int | None = None) -> None:
        self.calls = calls
        self.end_at = end_at
        self.states: list[tuple[str, float, bool]] = []
        self._weight = next(iter(model.parameters()))

    def _note(self, call: str) -> None:
        self.calls.append(call)
        grad = self._weight.grad
        self.states.append((call, self._weight.sum().item(), grad is not None))

    def begin(self) -> None:
        self._note("begin")

    def before_step(self, step: int) -> None:
        self._note(f"before_step {step}")

    def before_update(self) -> None:
        self._note("before_update")

    def after_step(self) -> Mapping[str, float]:
        self._note("after_step")
        return {"extra": 0.5}

    def is_finished(self, history: Sequence[Mapping[str, float]]) -> bool:
        self._note(f"is_finished {len(history)}")
        return self.end_at is not None and len(history) >= self.end_at


class Network(nn.Module):
    """A convolution that notes its forward passes."""

    def __init__(self, calls: list[str]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(3, 2, 3, padding=1)
        self.calls = calls

    def forward(self, x: Tensor) -> Tensor:
        self.calls.append("forward")
        return self.conv(x)  # type: ignore[no-any-return]


def train(
    model: nn.Module, data: Data, hooks: Hooks | None, *, steps: int = STEPS, **more: object
) -> History:
    return fit(
        model,
        data,
        fabric=open_fabric("cpu"),
        optimizers=(torch.optim.SGD(model.parameters(), lr=0.1),),
        loss=build_loss("cross_entropy"),
        schedule=PolySchedule(steps),
        hooks=hooks,
        **more,  # type: ignore[arg-type]
    )


def test_they_are_called_in_order() -> None:
    calls: list[str] = []
    model = Network(calls)
    train(model, Data(), Recorder(model, calls), steps=2)
    step = ["before_step {}", "forward", "before_update", "after_step", "is_finished {}"]
    assert calls == [
        "begin",
        *(call.format(0 if "step" in call else 1) for call in step),
        *(call.format(1 if "step" in call else 2) for call in step),
    ]


def test_gradients_are_there_before_the_update_and_weights_move_after_it() -> None:
    model = Network([])
    hooks = Recorder(model, [])
    train(model, Data(), hooks, steps=2)
    states = {call: (weight, grad) for call, weight, grad in hooks.states[:5]}
    assert [grad for _, grad in states.values()] == [False, False, True, False, False]
    before = {weight for call, (weight, _) in states.items() if call[:6] in ("begin", "before")}
    after = {weight for call, (weight, _) in states.items() if call[:6] not in ("begin", "before")}
    assert len(before) == len(after) == 1
    assert before != after


def test_what_after_step_returns_joins_the_row() -> None:
    model = Network([])
    seen: list[dict[str, float]] = []
    history = train(model, Data(), Recorder(model, []), watch=seen.append)
    assert [row["extra"] for row in history] == [0.5] * STEPS
    assert [row["extra"] for row in seen] == [0.5] * STEPS
    # negative control: hooks that are left alone add nothing and end nothing
    plain = train(Network([]), Data(), Hooks())
    assert plain == [{k: v for k, v in row.items() if k != "extra"} for row in history]
    assert train(Network([]), Data(), None) == plain


@pytest.mark.parametrize("end", [1, 3, STEPS])
def test_being_finished_ends_it_and_no_more_data_is_taken(end: int) -> None:
    model, data = Network([]), Data()
    history = train(model, data, Recorder(model, [], end_at=end))
    assert [row["step"] for row in history] == list(range(1, end + 1))
    assert data.taken == end
    # negative control: without an end all of it is
    model, data = Network([]), Data()
    train(model, data, Recorder(model, []))
    assert data.taken == STEPS


def test_an_end_before_the_schedules_is_no_lack_of_data() -> None:
    model = Network([])
    assert len(train(model, Data(), Recorder(model, [], end_at=STEPS), steps=20)) == STEPS
    with pytest.raises(RunError, match="the data ended after step 6 of 20"):
        train(Network([]), Data(), Recorder(model, []), steps=20)


def test_a_finished_training_is_not_gone_on_with(tmp_path: Path) -> None:
    checkpoint = Checkpoint(tmp_path / "state.safetensors", every=1)
    model = Network([])
    expected = train(model, Data(), Recorder(model, [], end_at=3), checkpoint=checkpoint)
    calls: list[str] = []
    fresh, data = Network(calls), Data()
    with torch.no_grad():
        fresh.conv.weight.zero_()
    hooks = Recorder(fresh, calls, end_at=3)
    assert train(fresh, data, hooks, checkpoint=checkpoint) == expected
    assert calls == ["begin", "is_finished 3"]
    assert (data.starts, data.taken) == ([], 0)
    assert torch.equal(fresh.conv.weight, model.conv.weight)
    assert hooks.states[0][1] == model.conv.weight.sum().item()  # begin found it restored
    # negative control: hooks that see no end go on where it stopped
    again, data = Network([]), Data()
    history = train(again, data, Recorder(again, []), checkpoint=checkpoint)
    assert (data.starts, data.taken) == ([3], STEPS - 3)
    assert history[:3] == expected
    assert len(history) == STEPS


def test_a_training_whose_steps_are_all_done_asks_for_no_data(tmp_path: Path) -> None:
    checkpoint = Checkpoint(tmp_path / "state.safetensors", every=1)
    expected = train(Network([]), Data(), None, checkpoint=checkpoint)
    data = Data()
    assert train(Network([]), data, None, checkpoint=checkpoint) == expected
    assert (data.starts, data.taken) == ([], 0)


def regression(output: object, labels: object) -> Tensor:
    assert isinstance(output, Tensor)
    assert isinstance(labels, Tensor)
    return (output.mean() - labels.float().mean()).square()


@pytest.mark.parametrize(
    ("labels", "carried"),
    [
        (torch.zeros(2, 4, 4, dtype=torch.long), True),
        (torch.zeros(2, 4, 4, dtype=torch.uint8), True),
        (torch.zeros(2, 4, 4), False),  # a number for each pixel
        (torch.zeros(2, dtype=torch.long), False),  # a class for each image
        (torch.zeros(2, 2, 4, 4), False),  # an image
    ],
)
def test_the_batch_mean_iou_is_for_classes_of_pixels(labels: Tensor, carried: bool) -> None:
    rows: list[dict[str, float]] = []
    model = nn.Conv2d(3, 2, 1)
    fit(
        model,
        lambda start: [(torch.rand(2, 3, 4, 4), labels)],
        fabric=open_fabric("cpu"),
        optimizers=(torch.optim.SGD(model.parameters(), lr=0.1),),
        loss=regression,
        schedule=PolySchedule(1),
        watch=rows.append,
    )
    assert [("batch_mean_iou" in row) for row in rows] == [carried]


def test_labels_in_bytes_are_counted_as_whole_numbers() -> None:
    model = nn.Conv2d(3, 20, 1)
    with torch.no_grad():
        assert model.bias is not None
        model.weight.zero_()
        model.bias.copy_(torch.arange(20.0))  # the last class everywhere

    def mean_iou(label: int) -> float:
        rows: list[dict[str, float]] = []
        labels = torch.full((2, 4, 4), label, dtype=torch.uint8)
        fit(
            model,
            lambda start: [(torch.rand(2, 3, 4, 4), labels)],
            fabric=open_fabric("cpu"),
            optimizers=(torch.optim.SGD(model.parameters(), lr=1e-12),),
            loss=regression,
            schedule=PolySchedule(1),
            watch=rows.append,
        )
        return rows[0]["batch_mean_iou"]

    assert mean_iou(19) == 1.0  # 19 * 20 classes is more than a byte holds
    assert mean_iou(18) == 0.0  # negative control
