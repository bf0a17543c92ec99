"""Networks that people use: relaxed, trained, made plain, saved and loaded, with one output."""

import runpy
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from dilsearch import (
    DilationPlan,
    PerBranch,
    PerChannel,
    PerSite,
    apply_plan,
    clamp_rates,
    discretize,
    field_graph,
    load,
    param_groups,
    project,
    rate_limits,
    read_plan,
    relax,
    save,
    saved_plan,
)

EXAMPLES = Path(__file__).parent.parent / "examples"


def torchvision_model(name: str) -> nn.Module:
    from torchvision.models import segmentation

    return getattr(segmentation, name)(weights=None, weights_backbone=None, num_classes=3)


def smp_model(name: str) -> nn.Module:
    smp = pytest.importorskip("segmentation_models_pytorch")
    return smp.create_model(name, encoder_name="resnet18", encoder_weights=None, classes=3)


def example_class(file: str, name: str) -> Callable[[], nn.Module]:
    """What an example builds; the part that trains is not run."""
    return runpy.run_path(str(EXAMPLES / file))[name]


@dataclass(frozen=True)
class Case:
    """A network, the sites that suit it, and the sizes of the images that it takes."""

    build: Callable[[], nn.Module]
    sites: dict[Any, Any]
    sizes: tuple[tuple[int, ...], ...] = ((32, 32), (49, 33), (40, 64))
    channels: int = 3
    logits: Callable[[Any], Tensor] = field(default=lambda output: output)


SMP_SIZES = ((32, 32), (64, 32), (32, 96))
CASES = {
    "deeplabv3_resnet50": Case(
        partial(torchvision_model, "deeplabv3_resnet50"),
        {
            "classifier.0.convs.[1-3].0": PerSite(1, 40, initial=1.5),
            "backbone.layer4.2.conv2": PerChannel(1, 8, initial=1.5),
        },
        logits=lambda output: output["out"],
    ),
    "lraspp_mobilenet_v3_large": Case(
        partial(torchvision_model, "lraspp_mobilenet_v3_large"),
        {
            "backbone.4.block.1.0": PerSite(1, 4, separate_axes=True),
            "backbone.1[1-2].block.1.0": PerBranch(1, 6, branches=4),
            "backbone.1[3-5].block.1.0": PerChannel(1, 6),
        },
        logits=lambda output: output["out"],
    ),
    "DeepLabV3Plus": Case(
        partial(smp_model, "DeepLabV3Plus"),
        {
            "decoder.aspp.0.convs.*": PerChannel(1, 40, initial=1.5),
            "encoder.layer4.*": PerSite(1, 8, initial=1.5),
        },
        SMP_SIZES,
    ),
    "PSPNet": Case(partial(smp_model, "PSPNet"), {"encoder.layer2.*": PerSite(1, 8)}, SMP_SIZES),
    "Unet": Case(partial(smp_model, "Unet"), {"decoder.blocks.*": PerSite(1, 4)}, SMP_SIZES),
    "Hugging Face style": Case(
        lambda: example_class("hugging_face_style.py", "Segmenter")(),
        {"mixers.*": PerBranch(1, 8, branches=2)},
        logits=lambda output: output.logits,
    ),
    "TCN": Case(
        lambda: example_class("tcn.py", "build")(),
        {"*.conv": PerSite(1, 16, causal=True)},
        ((64,), (81,), (5,)),
        channels=1,
    ),
}


@dataclass(frozen=True)
class Stages:
    """What one network became, stage by stage."""

    case: Case
    original: nn.Module
    relaxed: nn.Module
    started: DilationPlan
    searched: DilationPlan
    plan: DilationPlan
    network: nn.Module

    def image(self, size: tuple[int, ...]) -> Tensor:
        generator = torch.Generator().manual_seed(1)
        return torch.rand(2, self.case.channels, *size, generator=generator)

    @torch.no_grad()
    def logits(self, model: nn.Module, size: tuple[int, ...]) -> Tensor:
        return self.case.logits(model.eval()(self.image(size)))


@pytest.fixture(scope="module", params=list(CASES))
def stages(request: pytest.FixtureRequest) -> Iterator[Stages]:
    """From the network as it is built to plain layers with rates that one step has moved."""
    case = CASES[request.param]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        original = case.build()
        for module in original.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = None  # the one batch counts in full, as after a long training
        image = torch.rand(2, case.channels, *case.sizes[0])
        relaxed = relax(original, case.sites, example=image).train()
        started = read_plan(relaxed)
        optimizer = torch.optim.AdamW(param_groups(relaxed, lr=1e-4, rate_lr=0.4))
        case.logits(relaxed(image)).square().mean().backward()
        optimizer.step()
        searched = clamp_rates(relaxed, gap="enforce")
        graph = field_graph(relaxed)
        assert graph is not None
        plan = project(searched, graph, limits=rate_limits(relaxed)).plan
        network = discretize(relaxed, plan)
        yield Stages(case, original, relaxed, started, searched, plan, network)


def moved(relaxed: nn.Module) -> DilationPlan:
    """The model's plan with other rates, between whole ones and within the limits."""
    plan = read_plan(relaxed)
    return plan.replace({site: tuple(rate + 0.6 for rate in rates) for site, rates in plan.items()})


def test_a_step_moves_rates_and_projection_makes_them_whole(stages: Stages) -> None:
    assert stages.searched != stages.started
    assert list(stages.plan) == list(stages.searched)
    assert stages.plan.is_integer
    assert not stages.searched.is_integer


def test_the_plain_network_has_the_output_of_the_relaxed_one(stages: Stages) -> None:
    size = stages.case.sizes[0]
    relaxed = stages.logits(apply_plan(stages.relaxed, stages.plan), size)
    plain = stages.logits(stages.network, size)
    assert_same(plain, relaxed)
    with pytest.raises(AssertionError):  # control: before projection they differed
        assert_same(plain, stages.logits(stages.relaxed, size))


def test_a_fresh_network_with_plan_and_weights_has_the_same_output(
    stages: Stages, tmp_path: Path
) -> None:
    path, size = tmp_path / "weights.safetensors", stages.case.sizes[0]
    save(stages.network, path)
    fresh = apply_plan(stages.case.build(), saved_plan(path), inplace=True)
    before = stages.logits(fresh, size)
    load(fresh, path)
    expected = stages.logits(stages.network, size)
    assert_same(stages.logits(fresh, size), expected)
    with pytest.raises(AssertionError):  # control: its own weights give another
        assert_same(before, expected)


def test_shapes_are_those_of_the_original_whatever_size_and_rates(stages: Stages) -> None:
    relaxed = apply_plan(stages.relaxed, moved(stages.relaxed), inplace=False)
    for size in stages.case.sizes:
        shape = stages.logits(stages.original, size).shape
        assert stages.logits(relaxed, size).shape == shape
        assert stages.logits(stages.network, size).shape == shape


def assert_same(found: Tensor, expected: Tensor) -> None:
    """Equal to 1e-5 of the largest value."""
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5 * expected.abs().max().item())
