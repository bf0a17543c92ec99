"""DeepLab-LargeFOV against the counts of its published definition."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from dilsearch.errors import ModelError
from dilsearch.models import LargeFOV, build_model
from dilsearch.plan import DilationPlan, SiteRates
from dilsearch.tracing import trace_graph

SITES = ("conv5_1", "conv5_2", "conv5_3", "fc6")


def on_meta(num_classes: int = 19, **settings: object) -> LargeFOV:
    """A network with shapes only."""
    with torch.device("meta"):
        model = build_model("largefov", num_classes=num_classes, **settings)
    assert isinstance(model, LargeFOV)
    return model


def image(size: int = 321) -> torch.Tensor:
    return torch.empty(1, 3, size, size, device="meta")


# Parameters and learnable rates: train.prototxt of Learning Dilation Factors (2017).
@pytest.mark.parametrize(("num_classes", "count"), [(19, 20_503_379), (21, 20_505_429)])
@pytest.mark.parametrize("rates", [None, [(1,), (3,), (4,), (20,)]])
def test_parameters_whatever_the_rates(num_classes: int, count: int, rates: object) -> None:
    model = on_meta(num_classes, rates=rates)
    assert sum(parameter.numel() for parameter in model.parameters()) == count
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_a_rate_for_every_input_channel_is_2048_rates() -> None:
    model = on_meta()
    assert sum(getattr(model, site).in_channels for site in SITES) == 2048


def test_multiplications_at_321_px() -> None:
    with FlopCounterMode(display=False) as counter:
        on_meta()(image())
    assert counter.get_total_flops() == 2 * 50_924_643_008
    assert counter.get_total_flops() / 2e9 == pytest.approx(50.925, abs=5e-4)


def test_logits_are_at_stride_8_and_scores_at_the_size_of_the_image() -> None:
    model = on_meta()
    assert model.coarse_logits(image()).shape == (1, 19, 41, 41)
    assert model(image()).shape == (1, 19, 321, 321)


@pytest.mark.parametrize(("size", "pooled"), [(321, 161), (161, 81), (81, 41), (64, 33), (50, 26)])
def test_poolings_round_up_as_caffe_does(size: int, pooled: int) -> None:
    pool = on_meta().pool1
    assert pool(image(size)).shape[-1] == pooled == -(-(size - 1) // 2) + 1
    # The control: torch's own rounding loses the last pixel of an even size.
    down = F.max_pool2d(image(size), 3, 2, padding=1)
    assert down.shape[-1] == pooled - (size % 2 == 0)


def test_layers_in_order() -> None:
    layers = list(on_meta().named_children())
    convs = [name for name, layer in layers if isinstance(layer, nn.Conv2d)]
    assert convs == [
        *("conv1_1", "conv1_2", "conv2_1", "conv2_2"),
        *("conv3_1", "conv3_2", "conv3_3", "conv4_1", "conv4_2", "conv4_3"),
        *("conv5_1", "conv5_2", "conv5_3", "fc6", "fc7", "fc8"),
    ]
    # Every convolution but the last is followed by a ReLU.
    after = dict(
        zip([name for name, _ in layers], [layer for _, layer in layers][1:], strict=False)
    )
    assert all(isinstance(after[name], nn.ReLU) for name in convs[:-1])
    assert [layer.p for _, layer in layers if isinstance(layer, nn.Dropout)] == [0.5, 0.5]
    strides = [layer.stride for _, layer in layers if isinstance(layer, nn.MaxPool2d)]
    assert strides == [2, 2, 2, 1, 1]


@pytest.mark.parametrize("rates", [None, [(1,), (3,), (4,), (20,)]])
def test_rates_are_applied_and_keep_the_size(rates: list[tuple[int]] | None) -> None:
    model = on_meta(rates=rates)
    expected = rates or [(2,), (2,), (2,), (12,)]
    for site, (rate,) in zip(SITES, expected, strict=True):
        conv = getattr(model, site)
        assert conv.dilation == conv.padding == (rate, rate)
    assert model.conv4_3.dilation == model.conv4_3.padding == (1, 1)
    assert model.coarse_logits(image()).shape[-2:] == (41, 41)


def test_weights_are_those_torch_gives_a_fresh_layer() -> None:
    torch.manual_seed(3)
    model = build_model("largefov", num_classes=2)
    torch.manual_seed(3)
    first = nn.Conv2d(3, 64, 3)
    assert torch.equal(model.conv1_1.weight, first.weight)
    assert torch.equal(model.conv1_1.bias, first.bias)


def test_its_field_is_followed_with_poolings_counted() -> None:
    graph = trace_graph(on_meta(), image())
    assert graph.propagate().field_px == 419
    assert set(SITES) <= set(graph.site_names)
    narrow = graph.propagate(DilationPlan({site: SiteRates("site", (1,)) for site in SITES}))
    assert 419 - narrow.field_px == 2 * 8 * (3 * 1 + 11)
    # The control: without poolings it would be 373, as some papers count.
    reach = sum(2 * stride * rate for stride, rate in _convolutions())
    assert 1 + reach == 373


def _convolutions() -> list[tuple[int, int]]:
    """Stride in front of each 3x3 convolution, and its rate."""
    return [(1, 1)] * 2 + [(2, 1)] * 2 + [(4, 1)] * 3 + [(8, 1)] * 3 + [(8, 2)] * 3 + [(8, 12)]


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        (
            {"rates": "exp48"},
            "largefov: rates for 13 layers given, but it has 4 searchable layers; give one list "
            "of rates for each",
        ),
        (
            {"rates": [(2,), (2,), (1, 2), (0,)]},
            "largefov: the rates do not fit, 2 faults:\n  - layer conv5_3: 2 rates given, but its "
            "channels are a single group; give it one rate\n  - layer fc6: rate 0 is not a whole "
            "number of at least 1; give whole rates",
        ),
        (
            {"rates": [2, 2, 2, 12]},
            "largefov: the rates do not fit, 4 faults:\n  - layer conv5_1: rates 2 are not a list",
        ),
        ({"width": 3}, "largefov: it has no option 'width'; it has no options"),
    ],
)
def test_impossible_settings(settings: dict[str, object], text: str) -> None:
    with pytest.raises(ModelError) as caught:
        build_model("largefov", num_classes=4, **settings)
    assert str(caught.value).startswith(text)
