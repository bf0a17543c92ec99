"""Models that export only with care, and one sentence for those that do not."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
import zoo
from torch import Tensor, nn

from dilsearch.errors import TraceError
from dilsearch.tracing import trace_graph
from dilsearch.tracing.tracer import trace_model


class OwnTensors(nn.Module):
    """Makes a grid without naming a device, as on a CPU one may."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)
        self.register_buffer("shift", torch.zeros(3, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        ramp = torch.linspace(0, 1, x.shape[-1])
        return self.conv(x) * ramp + self.shift


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_a_forward_that_makes_tensors_on_the_cpu(device: str) -> None:
    model = OwnTensors().to(device)
    graph = trace_graph(model, torch.empty(1, 3, 16, 20))
    assert graph.propagate().at(graph.outputs[0])[0].size_px == 3
    assert model.conv.weight.device.type == device


class Scores:
    """An output of a class that torch has never heard of."""

    def __init__(self, logits: Tensor, hidden: tuple[Tensor, ...]) -> None:
        self.logits, self.hidden = logits, hidden


class ReturnsAnObject(OwnTensors):
    def forward(self, x: Tensor) -> Any:
        scores = super().forward(x)
        return Scores(scores, (x, scores))


def test_an_object_that_is_returned_is_read_field_by_field() -> None:
    model = ReturnsAnObject()
    trace = trace_model(model, torch.empty(1, 3, 16, 20))
    assert trace.output_names == ("logits", "hidden.0", "hidden.1")
    sizes = [trace.graph.propagate().at(output)[0].size_px for output in trace.graph.outputs]
    assert sizes == [3, 1, 3]
    assert isinstance(model(torch.zeros(1, 3, 16, 20)), Scores)  # the model itself still does


def test_an_old_style_eval() -> None:
    class Careless(nn.Sequential):
        def eval(self) -> Any:
            super().eval()

    graph = trace_graph(Careless(nn.Conv2d(3, 3, 3)), torch.empty(1, 3, 16, 20))
    assert graph.propagate().field_px == 3


def test_a_choice_by_values_is_one_sentence_and_nothing_else(
    capfd: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(TraceError) as raised:
        trace_graph(zoo.DataDependent(), torch.empty(1, 3, 16, 20))
    assert str(raised.value) == (
        "DataDependent cannot be exported with input of shape (1, 3, 16, 20): its forward goes by "
        "the values of a tensor, which are not known beforehand. Export a part without that "
        "choice, or measure the field numerically."
    )
    assert capfd.readouterr() == ("", "")


def test_what_forward_raises_is_told_in_its_first_line(capfd: pytest.CaptureFixture[str]) -> None:
    class Raises(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            raise ValueError("the size must be 7\nand a second line")

    with pytest.raises(TraceError) as raised:
        trace_graph(Raises(), torch.empty(1, 3, 16, 20))
    assert str(raised.value) == (
        "Raises cannot be exported with input of shape (1, 3, 16, 20): the size must be 7. Give an "
        "example input that its forward accepts."
    )
    assert capfd.readouterr() == ("", "")


def test_an_input_without_a_batch() -> None:
    model = nn.Sequential(nn.Conv2d(3, 3, 3, padding=1))
    with pytest.raises(TraceError) as raised:
        trace_graph(model, torch.empty(3, 16, 20))
    assert str(raised.value) == (
        "module '0' is given a map of shape (3, 16, 20) without a batch; give inputs of shape "
        "(batch, channels, ...), such as (1, 3, 16, 20)"
    )


@pytest.mark.parametrize(
    ("function", "field_px", "stride_px"),
    [
        (lambda x: F.interpolate(x, scale_factor=0.5, mode="bilinear", antialias=True), 3, 2),
        (lambda x: torch.roll(x, 1, 2), 3, 1),
    ],
)
def test_what_is_not_followed_still_has_the_right_stride(
    function: Any, field_px: int, stride_px: int
) -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 3, 3, padding=1)

        def forward(self, x: Tensor) -> Tensor:
            return function(self.conv(x))

    graph = trace_graph(Net(), torch.empty(1, 3, 16, 20))
    assert len(graph.unfollowed) == 1
    field = graph.propagate().at(graph.outputs[0])[0]
    assert (field.size_px, field.stride_px) == (field_px, stride_px)


class Aliased(nn.Module):
    """Called by the second of its paths, inside a container that has two of them itself."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(3, 3, 3))
        self.second = self.first

    def forward(self, x: Tensor) -> Tensor:
        return self.second(x)


def test_a_shared_module_has_the_name_of_its_first_path() -> None:
    assert trace_graph(Aliased(), torch.empty(1, 3, 16, 20)).site_names == ("first.0",)
