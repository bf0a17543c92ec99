"""The two engines see the same pixels: what the field graph says, and what a gradient measures.

Sets are compared pixel for pixel at the middle, the first and the last position of every map.
"""

from collections.abc import Callable
from dataclasses import replace

import pytest
import random_networks
import torch
import zoo
from hypothesis import HealthCheck, example, given, settings
from torch import nn

from dilsearch.analysis import Analysis, SupportCheck, analyze, check_support
from dilsearch.geometry import Window
from dilsearch.models import build_model

WITHOUT_FIELD = {"classifier", "flatten head"}

# The same networks each time; the slow tests draw others.
_FEW = settings(
    max_examples=30, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
)


def compared(
    model: nn.Module, shape: tuple[int, ...], outputs: tuple[str, ...] = ()
) -> tuple[Analysis, SupportCheck]:
    example = torch.empty(shape, device="meta")
    analysis = analyze(model, example, outputs=outputs)
    return analysis, check_support(model, example, analysis)


@pytest.mark.parametrize("name", sorted(set(zoo.NETWORKS) - WITHOUT_FIELD))
def test_networks_of_every_kind(name: str):
    build, shape = zoo.NETWORKS[name]
    analysis, check = compared(build(), shape)
    assert check.agrees, check.text
    assert check.positions >= 3
    assert not analysis.unfollowed
    assert not analysis.remarks
    if name in zoo.FIELDS:
        published = zoo.FIELDS[name]
        assert (analysis.field_px, analysis.stride_px) == (
            published.field_px,
            published.stride_px,
        )


def _narrow_shuffle(bins: int, *behind: random_networks.Mix) -> random_networks.Network:
    """Pixel shuffle of a map that is one pixel high, which has no axis left to lay blocks along."""
    pool = random_networks.AdaptivePool(kind="max", bins=(1, bins))
    steps = (pool, random_networks.Mix(channels=4), random_networks.PixelShuffle(factor=2), *behind)
    return random_networks.Network(channels=3, size=(17, 18), steps=steps)


@_FEW
@example(_narrow_shuffle(7, random_networks.Mix(channels=2)))
@example(_narrow_shuffle(9))
@given(random_networks.random_networks(axes=2))
def test_random_networks_in_the_plane(network: random_networks.Network):
    _agree(network)


@_FEW
@given(random_networks.random_networks(axes=1))
def test_random_networks_on_a_line(network: random_networks.Network):
    _agree(network)


@_FEW
@given(random_networks.random_networks(axes=3))
def test_random_networks_in_a_volume(network: random_networks.Network):
    _agree(network)


@pytest.mark.slow
@pytest.mark.parametrize("axes", [1, 2, 3])
def test_many_random_networks(axes: int):
    @settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
    @given(random_networks.random_networks(axes=axes))
    def agree(network: random_networks.Network) -> None:
        _agree(network)

    agree()


def _agree(network: random_networks.Network) -> None:
    model, shape = random_networks.build(network), random_networks.input_shape(network)
    analysis, check = compared(model, shape)
    assert not analysis.unfollowed
    assert not analysis.remarks
    assert check.agrees, check.text


def _torchvision(name: str, **options: object) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        from torchvision.models import get_model

        return get_model(name, weights=None, **options)

    return build


@pytest.mark.parametrize("name", ["toy", "regseg"])
def test_our_own_networks(name: str):
    analysis, check = compared(build_model(name, num_classes=3), (1, 3, 128, 160))
    assert not analysis.unfollowed
    assert check.agrees, check.text


@pytest.mark.slow
@pytest.mark.parametrize(
    ("build", "shape"),
    [
        (_torchvision("fcn_resnet50", weights_backbone=None), (1, 3, 129, 160)),
        (_torchvision("fcn_resnet101", weights_backbone=None), (1, 3, 128, 160)),
        (_torchvision("deeplabv3_resnet50", weights_backbone=None), (1, 3, 129, 160)),
        (_torchvision("deeplabv3_resnet101", weights_backbone=None), (1, 3, 128, 128)),
        (_torchvision("deeplabv3_mobilenet_v3_large", weights_backbone=None), (1, 3, 128, 160)),
        (_torchvision("lraspp_mobilenet_v3_large", weights_backbone=None), (1, 3, 128, 160)),
        (lambda: build_model("regseg", num_classes=19, rates="dnas_table2"), (1, 3, 192, 256)),
        (lambda: build_model("regnety600mf", num_classes=19), (1, 3, 192, 256)),
        (lambda: build_model("largefov", num_classes=3), (1, 3, 161, 161)),
        (lambda: zoo.VggFrontEnd(classes=3, width=0.125), (1, 3, 500, 500)),
    ],
    ids=[
        *("fcn50", "fcn101", "deeplab50", "deeplab101", "deeplab mobile", "lraspp"),
        *("regseg", "regnety600mf", "largefov", "vgg front end"),
    ],
)
def test_published_networks(build: Callable[[], nn.Module], shape: tuple[int, ...]):
    analysis, check = compared(build(), shape)
    assert not analysis.unfollowed
    assert check.agrees, check.text


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "node"),
    [
        ("resnet18", "layer4"),
        ("densenet121", "features"),
        ("shufflenet_v2_x0_5", "conv5"),
        ("convnext_tiny", "features"),
        ("mobilenet_v3_small", "features"),
        ("efficientnet_b0", "features"),
        ("regnet_y_400mf", "trunk_output"),
        ("googlenet", "inception5b"),
        ("squeezenet1_1", "features"),
        ("inception_v3", "Mixed_7c"),
    ],
)
def test_backbones_in_front_of_their_pooling(name: str, node: str):
    options = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
    model = _torchvision(name, **options)().eval()
    size = (1, 3, 107, 123) if name == "inception_v3" else (1, 3, 96, 128)
    analysis, check = compared(model, size, outputs=(node,))
    assert not analysis.unfollowed
    assert check.agrees, check.text


def test_a_disagreement_is_found_and_told():
    build, shape = zoo.NETWORKS["hdc"]
    model, example = build(), torch.empty(shape)
    analysis = analyze(model, example)
    wrong = [
        replace(node, rates=((1, 1),)) if isinstance(node, Window) else node
        for node in analysis.graph.nodes
    ]
    analysis = replace(analysis, graph=replace(analysis.graph, nodes=tuple(wrong)))
    check = check_support(model, example, analysis)
    assert not check.agrees
    assert check.text == (
        "The engines DISAGREE at 3 of 3 positions on an input of 32 x 40 px, first 'output' at "
        "(16, 20)."
    )


def test_what_has_no_field_cannot_be_checked():
    build, shape = zoo.NETWORKS["classifier"]
    _, check = compared(build(), shape)
    assert (check.agrees, check.positions) == (True, 0)
    assert check.text.startswith("Nothing to check")


def test_a_large_input_is_halved_for_the_check():
    model = nn.Sequential(nn.Conv2d(1, 1, 3, padding=1), nn.Conv2d(1, 1, 3, stride=2, padding=1))
    _, check = compared(model, (1, 1, 1024, 600))
    assert check.agrees
    assert check.input_px == (256, 150)
