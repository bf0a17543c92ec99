"""The tracer: which operations move the field, and what it says of those it cannot follow."""

from fractions import Fraction

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from dilsearch.errors import PlanError, TraceError
from dilsearch.geometry import GlobalContext, Join, Resample, Source, Window
from dilsearch.layers import BranchConv2d, RelaxedConv2d
from dilsearch.models import build_model
from dilsearch.plan import DilationPlan, SiteRates
from dilsearch.sites import PerBranch
from dilsearch.tracing import trace_graph
from dilsearch.tracing.tracer import trace_model, trace_program


def meta(*shape: int) -> torch.Tensor:
    return torch.empty(*shape, device="meta")


def conv(taps: int = 3, **options: int) -> nn.Conv2d:
    return nn.Conv2d(2, 2, taps, **options)


def field_of(module: nn.Module, size: int = 64) -> tuple[int, int]:
    """Size and stride at the first output, height axis."""
    graph = trace_graph(module, meta(1, 2, size, size))
    field = graph.propagate().at(graph.outputs[0])[0]
    return field.size_px, field.stride_px


def support_of(module: nn.Module, size: int = 64) -> int:
    """Independent oracle: rows of the input with a gradient from one central output."""
    module = module.double().eval()
    for parameter in module.parameters():
        nn.init.constant_(parameter, 0.1)
    image = torch.rand(1, 2, size, size, dtype=torch.float64, requires_grad=True)
    output = module(image)
    output[0, 0, output.shape[2] // 2, output.shape[3] // 2].backward()
    assert image.grad is not None
    rows = image.grad.abs().sum((0, 1, 3)).nonzero().flatten()
    return int(rows.max() - rows.min() + 1)


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = conv(padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.relu(self.conv(x) + x)


@pytest.mark.parametrize(
    ("module", "expected"),
    [
        (conv(padding=1), (3, 1)),
        (conv(5, padding=4, dilation=2), (9, 1)),
        (nn.Sequential(conv(padding=1, stride=2), conv(padding=1)), (7, 2)),
        (nn.Sequential(conv(padding=1), nn.AvgPool2d(2), conv(1)), (4, 2)),
        (nn.Sequential(nn.AvgPool2d(3, 2, 1), conv(padding=1)), (7, 2)),
        (nn.Sequential(nn.ZeroPad2d(2), conv(5)), (5, 1)),
        (nn.Sequential(Residual(), Residual()), (5, 1)),
        (nn.Sequential(conv(padding="same"), nn.BatchNorm2d(2), nn.ReLU6()), (3, 1)),
        (conv(1, stride=2), (1, 2)),
    ],
)
def test_field_agrees_with_arithmetic_and_with_gradients(
    module: nn.Module, expected: tuple[int, int]
) -> None:
    assert field_of(module) == expected
    assert support_of(module) == expected[0]


@pytest.mark.slow
def test_published_fields_are_read_off_the_networks() -> None:
    # RegSeg Tab. 2: 2399 px for the searched rates; 479 px for RegNetY-600MF's body
    regseg = trace_graph(
        build_model("regseg", num_classes=19, rates="dnas_table2").to("meta"), meta(1, 3, 256, 512)
    )
    assert regseg.propagate().at("body.17.conv2")[0].size_px == 2399
    assert regseg.unfollowed == {}
    # its squeeze-excite blocks are context and not field
    assert any(isinstance(node, GlobalContext) for node in regseg.nodes)
    assert regseg.propagate().global_context("body.17.conv2")
    regnety = trace_graph(
        build_model("regnety600mf", num_classes=19).to("meta"), meta(1, 3, 256, 256)
    )
    assert regnety.propagate().at("body.14.conv2")[0].size_px == 479


def test_without_squeeze_excite_there_is_no_context() -> None:
    toy = trace_graph(build_model("toy", num_classes=2), meta(1, 3, 64, 64))
    assert not toy.propagate().global_context("blocks.4.conv2")


def test_branches_are_one_site_with_a_rate_each() -> None:
    graph = trace_graph(
        BranchConv2d(4, 4, 3, rates=(1, 5), padding=1, groups=4), meta(1, 4, 32, 32)
    )
    window = next(node for node in graph.nodes if isinstance(node, Window))
    assert window.rates == ((1, 1), (5, 5))
    assert graph.propagate().rows[0].field_out[0].size_px == 11


def test_a_relaxed_network_is_traced_at_the_rates_it_came_from() -> None:
    layer = RelaxedConv2d(nn.Conv2d(4, 4, 3, padding=2, dilation=2, groups=4), PerBranch(1, 8))
    with torch.no_grad():
        layer.rate.copy_(torch.tensor([3.7, 5.2]))
    model = nn.Sequential(layer)
    graph = trace_graph(model, meta(1, 4, 32, 32))
    assert graph.propagate().field_px == 5
    plan = DilationPlan.per_branch({"0": (3.7, 5.2)})
    assert graph.propagate(plan).field_px == 13  # the outer integer of 5.2 is touched
    assert isinstance(model[0], RelaxedConv2d)  # the model itself is untouched
    assert model[0].weight.device.type == "cpu"


class Upsampled(nn.Module):
    def __init__(self, mode: str) -> None:
        super().__init__()
        self.conv = conv(padding=1, stride=4)
        self.mode = mode

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        corners = None if self.mode == "nearest" else False
        return F.interpolate(self.conv(x), x.shape[-2:], mode=self.mode, align_corners=corners)


@pytest.mark.parametrize(("mode", "taps"), [("nearest", 1), ("bilinear", 2), ("bicubic", 4)])
def test_upsampling_divides_the_stride(mode: str, taps: int) -> None:
    graph = trace_graph(Upsampled(mode), meta(1, 2, 64, 64))
    (node,) = [n for n in graph.nodes if isinstance(n, Resample)]
    assert [(reads.period, reads.advance) for reads in node.table] == [(4, 1)] * 2
    assert {len(offsets) for reads in node.table for offsets in reads.offsets} == {taps}
    field = graph.propagate().at(graph.outputs[0])[0]
    assert (field.size_px, field.stride_px) == (3 + (taps - 1) * 4, 1)


class Rolled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = conv(padding=1)
        self.head = conv(padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(torch.roll(self.stem(x), 1, 2))


def test_what_cannot_be_followed_is_named_with_its_module() -> None:
    graph = trace_graph(nn.Sequential(Rolled()), meta(1, 2, 16, 16))
    (text,) = graph.unfollowed.values()
    assert text == "aten.roll.default in module '0'"
    assert set(graph.unfollowed) <= graph.upstream("0.head")
    assert not set(graph.unfollowed) & graph.upstream("0.stem")


def test_an_upsampling_of_uneven_factor_is_followed_position_by_position() -> None:
    graph = trace_graph(Upsampled("bilinear"), meta(1, 2, 62, 62))  # 62 -> 16 -> 62
    assert graph.unfollowed == {}
    field = graph.propagate().at(graph.outputs[0])[0]
    assert (field.size_px, field.stride_px) == (3 + 4, Fraction(4 * 16, 62))


@pytest.mark.parametrize(("dim", "followed"), [(1, True), (-3, True), (2, False), (-1, False)])
def test_softmax_over_space_is_global_context(dim: int, followed: bool) -> None:
    graph = trace_graph(nn.Sequential(conv(padding=1), nn.Softmax(dim)), meta(1, 2, 16, 16))
    assert graph.unfollowed == {}
    assert graph.propagate().global_context(graph.outputs[0]) is not followed


class Twice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = conv(padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(self.conv(x))


def test_a_convolution_used_twice_has_two_windows_and_no_plan() -> None:
    graph = trace_graph(Twice(), meta(1, 2, 16, 16))
    assert [row.name for row in graph.propagate().rows] == ["conv", "conv:2"]
    assert graph.propagate().at("conv:2")[0].size_px == 5
    with pytest.raises(PlanError, match="site 'conv' runs 2 times in one forward pass"):
        graph.propagate(DilationPlan({"conv": SiteRates("site", (2,))}))


def test_an_input_that_does_not_fit_is_one_sentence() -> None:
    with pytest.raises(TraceError, match=r"Conv2d cannot be exported with input of shape \(1, 5"):
        trace_graph(conv(), meta(1, 5, 16, 16))


def test_group_normalisation_is_context_beside_the_field() -> None:
    graph = trace_graph(nn.Sequential(conv(padding=1), nn.GroupNorm(1, 2)), meta(1, 2, 16, 16))
    assert graph.unfollowed == {}
    assert isinstance(graph.nodes[-1], Join)
    assert graph.propagate().at(graph.outputs[0])[0].size_px == 3
    assert graph.propagate().global_context(graph.outputs[0])


class Named(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(conv(padding=1), nn.ReLU())
        self.head = conv(padding=1)

    def forward(self, x: torch.Tensor) -> dict[str, object]:
        features = self.stem(x)
        return {"out": self.head(features), "features": [features, (x, None)], "size": 3}


def test_outputs_and_modules_have_names() -> None:
    trace = trace_model(Named(), meta(1, 2, 16, 16))
    assert trace.output_names == ("out", "features.0", "features.1.0")
    assert trace.graph.outputs == ("head", "stem.0", trace.graph.nodes[0].name)
    assert trace.modules == {"stem.0": "stem.0", "stem.1": "stem.0", "stem": "stem.0"} | {
        "head": "head",
        "": "head",
    }
    assert trace.input_px == (16, 16)


class Timed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(1, 2)
        self.conv = conv(padding=1)

    def forward(
        self, step: torch.Tensor, x: torch.Tensor, other: torch.Tensor
    ) -> tuple[torch.Tensor, ...]:
        return self.conv(x) + self.embed(step)[..., None, None], other * 2.0


def test_vectors_have_no_place_in_the_image() -> None:
    inputs = (meta(1, 1), meta(1, 2, 16, 8), meta(1, 2, 4, 4))
    trace = trace_model(Timed(), inputs)
    assert trace.inputs == ((1, 1), (1, 2, 16, 8), (1, 2, 4, 4))
    assert trace.input_px == (16, 8)
    assert trace.output_names == ("0", "1")
    assert sum(isinstance(node, Source) for node in trace.graph.nodes) == 2
    assert trace.graph.propagate().at(trace.graph.outputs[0])[0].size_px == 3


def test_a_program_is_traced_as_the_model_is() -> None:
    model, example = Named().eval(), torch.empty(1, 2, 16, 16)
    program = trace_program(torch.export.export(model, (example,)))
    trace = trace_model(model, example)
    assert program.graph == trace.graph
    assert (program.macs, program.parameters) == (trace.macs, trace.parameters)
    assert dict(program.layers) == dict(trace.layers)
    assert program.output_names == trace.output_names


class Choosing(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x if x.sum() > 0 else -x


class Raising(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        raise KeyError("no such thing")


@pytest.mark.parametrize(
    ("model", "shape", "said"),
    [
        (Choosing(), (1, 2, 8, 8), "goes by the values of a tensor, which are not known before"),
        (Raising(), (1, 2, 8, 8), "no such thing.* Give an example input that its forward"),
        (conv(), (1, 5, 8, 8), r"^Conv2d cannot be exported with input of shape \(1, 5, 8, 8\): "),
        (nn.Linear(2, 2), (3, 2), r"input of shape \(3, 2\), which has no spatial axes; give"),
        (nn.Identity(), (1, 2, 3, 4, 5, 6), "which has no spatial axes"),
    ],
    ids=["choice", "raise", "channels", "vector", "six axes"],
)
def test_what_cannot_be_traced_is_one_sentence(
    model: nn.Module, shape: tuple[int, ...], said: str
) -> None:
    with pytest.raises(TraceError, match=said) as raised:
        trace_graph(model, meta(*shape))
    assert "\n" not in str(raised.value)
