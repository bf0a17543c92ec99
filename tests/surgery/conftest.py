"""A small zoo: one fixture for the model most tests use, one for the awkward ones."""

from collections.abc import Callable

import pytest
import torch
from torch import nn


class Shared(nn.Module):
    """One convolution at two paths, and a shape-reading forward."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(4, 4, 3, padding=1)
        self.again = self.first
        self.head = nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.head(self.again(x))
        return nn.functional.interpolate(y, x.shape[-2:])


def chain() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(4, 8, 3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, padding=1, groups=4),
        nn.ReLU(),
        nn.Conv2d(8, 4, 3, padding=1),
    )


ZOO: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "chain": (chain, "[35]"),
    "root convolution": (lambda: nn.Conv2d(4, 4, 3, padding=1), ""),
    "shared module": (Shared, "first"),
    "module list": (lambda: nn.Sequential(nn.ModuleList([nn.Conv2d(4, 4, 3)])[0]), "0"),
    "depthwise": (lambda: nn.Sequential(nn.Conv2d(4, 4, 3, groups=4, padding=1)), "0"),
    "frozen": (lambda: chain().requires_grad_(False), "3"),
    "valid padding": (lambda: nn.Sequential(nn.Conv2d(4, 4, 3, padding="valid")), "0"),
    "same padding": (lambda: nn.Sequential(nn.Conv2d(4, 4, 5, padding="same")), "0"),
    "half precision": (lambda: chain().bfloat16(), "3"),
    "double precision": (lambda: chain().double(), "3"),
    "training mode": (lambda: chain().train(), "3"),
    "channels last": (lambda: chain().to(memory_format=torch.channels_last), "3"),
}


@pytest.fixture
def model() -> nn.Module:
    torch.manual_seed(0)
    return chain().eval()


@pytest.fixture
def shared() -> nn.Module:
    torch.manual_seed(0)
    return Shared().eval()


@pytest.fixture(params=list(ZOO))
def awkward(request: pytest.FixtureRequest) -> tuple[nn.Module, str]:
    torch.manual_seed(0)
    build, glob = ZOO[request.param]
    network = build()
    return (network if request.param == "training mode" else network.eval()), glob
