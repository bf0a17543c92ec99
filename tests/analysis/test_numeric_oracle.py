"""The measured support against what happens to the output as each pixel is raised in turn."""

import random

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from dilsearch.analysis.numeric import measure_support

SIZE = (14, 13)


def drawn_layer(draw: random.Random) -> nn.Module:
    kind = draw.choice(["conv", "transposed", "max", "average", "enlarge", "pad"])
    if kind == "conv":
        return nn.Conv2d(
            2,
            2,
            (draw.randint(1, 4), draw.randint(1, 3)),
            stride=draw.randint(1, 2),
            padding=draw.randint(0, 4),
            dilation=(draw.randint(1, 3), draw.randint(1, 3)),
            groups=draw.randint(1, 2),
            padding_mode=draw.choice(["zeros", "reflect", "replicate", "circular"]),
        )
    if kind == "transposed":
        stride = draw.randint(1, 3)
        kernel, padding = draw.randint(stride, 5), draw.randint(0, 1)
        return nn.ConvTranspose2d(2, 2, kernel, stride, padding, dilation=draw.randint(1, 2))
    kernel = draw.randint(2, 4)
    settings = (kernel, draw.randint(1, 3), draw.randint(0, kernel // 2))
    if kind == "max":
        return nn.MaxPool2d(*settings, draw.randint(1, 3), ceil_mode=draw.random() < 0.5)
    if kind == "average":
        return nn.AvgPool2d(*settings, ceil_mode=draw.random() < 0.5)
    if kind == "enlarge":  # not bicubic, whose negative weights a maximum may hide
        mode = draw.choice(["nearest", "nearest-exact", "bilinear"])
        align = draw.random() < 0.5 if mode == "bilinear" else None
        return nn.Upsample(scale_factor=draw.choice([1.5, 2, 3]), mode=mode, align_corners=align)
    return nn.ReflectionPad2d((1, 2, 0, 3))


def drawn_network(draw: random.Random) -> tuple[nn.Module, tuple[int, ...]] | None:
    """Positive layers that fit each other, and a place in their output."""
    layers = nn.Sequential(*(drawn_layer(draw) for _ in range(draw.randint(1, 4)))).double()
    for parameter in layers.parameters():
        nn.init.uniform_(parameter, 0.5, 1.5)
        parameter.data /= parameter[0].numel()
    try:
        size = layers(torch.ones(1, 2, *SIZE, dtype=torch.float64)).shape[2:]
    except RuntimeError:
        return None
    # a window over the whole map is global context
    return (layers, tuple(draw.randrange(n) for n in size)) if min(size) > 1 else None


def reached_by_raising(network: nn.Module, place: tuple[int, ...]) -> np.ndarray:
    pixels = SIZE[0] * SIZE[1]
    plain: Tensor = torch.rand(1, 2, pixels, dtype=torch.float64)
    raised = plain + 1e4 * torch.eye(pixels, dtype=torch.float64).unsqueeze(1)
    with torch.no_grad():
        values = [network(x.unflatten(2, SIZE))[..., *place] for x in (plain, raised)]
    return ((values[1] - values[0]).abs().sum(1) > 1e-4).view(SIZE).numpy()


@pytest.mark.parametrize("seed", range(8))
def test_what_is_measured_is_what_changes_the_output(seed):
    torch.manual_seed(seed)
    draw = random.Random(seed)
    drawn = [pair for pair in (drawn_network(draw) for _ in range(8)) if pair is not None]
    assert drawn
    for network, place in drawn:
        measured = measure_support(network, torch.empty(1, 2, *SIZE, device="meta"), position=place)
        assert np.array_equal(measured.seen, reached_by_raising(network, place)), network
