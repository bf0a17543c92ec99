"""Awkward models to relax and to turn back, and what of a model must not change by it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import weight_norm

from dilsearch.sites import Kernel
from dilsearch.surgery.selection import Selector


class Shared(nn.Module):
    """One convolution at two paths, and a shape-reading forward."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(4, 4, 3, padding=1)
        self.again = self.first
        self.head = nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.head(self.again(x))
        return nn.functional.interpolate(y, x.shape[-2:])


class Listed(nn.Module):
    """Convolutions that forward looks up in a list and in a dictionary."""

    def __init__(self) -> None:
        super().__init__()
        self.steps = nn.ModuleList([nn.Conv2d(4, 4, 3, padding=2, dilation=2) for _ in range(2)])
        self.heads = nn.ModuleDict({"main": nn.Conv2d(4, 4, 3, padding=1)})

    def forward(self, x: Tensor) -> Tensor:
        for index in range(len(self.steps)):
            x = F.relu(self.steps[index](x))
        return self.heads["main"](x)


class Tied(nn.Module):
    """Two convolutions with one weight between them."""

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Conv2d(4, 4, 3, padding=1)
        self.other = nn.Conv2d(4, 4, 3, padding=1)
        self.other.weight = self.one.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.other(F.relu(self.one(x)))


class PaddedAhead(nn.Module):
    """Causal: padded in front by hand, and a convolution that pads nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv1d(4, 4, 3, dilation=2)
        self.second = nn.Conv1d(4, 4, 3, dilation=4)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.first(F.pad(x, (4, 0))))
        return x + self.second(F.pad(y, (8, 0)))


class Chomped(nn.Module):
    """Causal: padded at both ends, and what looks ahead cut off behind."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv1d(4, 4, 3, padding=2)
        self.second = nn.Conv1d(4, 4, 3, padding=4, dilation=2)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.first(x)[..., :-2])
        return x + self.second(y)[..., :-4]


def chain() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(4, 8, 3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, padding=1, groups=4),
        nn.ReLU(),
        nn.Conv2d(8, 4, 3, padding=1),
    )


def _alone(*args: int, **settings: object) -> Callable[[], nn.Module]:
    """A plain convolution between two pointwise ones."""

    def build() -> nn.Module:
        conv = nn.Conv2d(*args, **settings)  # type: ignore[arg-type]
        return nn.Sequential(nn.Conv2d(4, args[0], 1), nn.ReLU(), conv)

    return build


@dataclass(frozen=True)
class Animal:
    """A model, which of its convolutions are relaxed, and an input.

    Args:
        build: Makes it.
        selector: The sites.
        pixels: Sizes of an input along its axes; it has 4 channels.
        branches: How many branches its groups divide into.
        causal: Whether its sites are.
    """

    build: Callable[[], nn.Module]
    selector: Selector
    pixels: tuple[int, ...] = (16, 17)
    branches: int = 1
    causal: bool = False

    def built(self, dtype: torch.dtype = torch.float32) -> nn.Module:
        torch.manual_seed(0)
        return self.build().eval().to(dtype)

    def image(self, dtype: torch.dtype = torch.float32, more_px: int = 0) -> Tensor:
        sizes = [size + more_px for size in self.pixels]
        drawn = torch.rand(2, 4, *sizes, generator=torch.Generator().manual_seed(1))
        return drawn.to(dtype)


ZOO: Mapping[str, Animal] = {
    "chain": Animal(chain, "[35]"),
    "root convolution": Animal(lambda: nn.Conv2d(4, 4, 3, padding=1), ""),
    "shared module": Animal(Shared, "again"),
    "tied weights": Animal(Tied, "o*"),
    "module list": Animal(Listed, Kernel(3)),
    "grouped": Animal(_alone(8, 8, 3, padding=1, groups=4), "2", branches=2),
    "depthwise": Animal(_alone(8, 16, 3, padding=2, dilation=2, groups=8), "2", branches=4),
    "frozen": Animal(lambda: chain().requires_grad_(False), "3", branches=2),
    "valid": Animal(_alone(4, 4, 3, padding="valid", dilation=2), "2"),
    "same, odd kernel": Animal(_alone(4, 4, (3, 5), padding="same", dilation=2), "2"),
    "same, even kernel": Animal(_alone(4, 4, (2, 4), padding="same"), "2"),
    "even kernel": Animal(_alone(4, 4, (4, 2), padding=2, dilation=2, stride=2), "2"),
    "reflect": Animal(_alone(4, 4, 3, padding=2, dilation=2, padding_mode="reflect"), "2"),
    "replicate": Animal(_alone(4, 4, 3, padding=1, padding_mode="replicate", stride=2), "2"),
    "circular": Animal(_alone(4, 4, 3, padding="same", padding_mode="circular"), "2"),
    "padded too much": Animal(_alone(4, 4, 3, padding=(3, 0), dilation=(1, 1)), "2"),
    "one axis of taps": Animal(_alone(4, 4, (1, 3), padding=(0, 4), dilation=(1, 4)), "2"),
    "strided": Animal(_alone(4, 8, 3, padding=1, stride=(3, 2)), "2"),
    "one dimension": Animal(
        lambda: nn.Sequential(nn.Conv1d(4, 4, 5, padding=4, dilation=2)), "0", (24,)
    ),
    "three dimensions": Animal(
        lambda: nn.Sequential(nn.Conv3d(4, 4, 3, padding=1, groups=2)), "0", (5, 6, 7), branches=2
    ),
    "padded ahead": Animal(PaddedAhead, "*", (24,), causal=True),
    "chomped": Animal(Chomped, "*", (24,), causal=True),
    "weight-normed": Animal(
        lambda: nn.Sequential(weight_norm(nn.Conv2d(4, 8, 3, padding=1)), nn.Conv2d(8, 4, 1)), "0"
    ),
    "channels last": Animal(lambda: chain().to(memory_format=torch.channels_last), "[35]"),
}
EVEN_SAME = "ignore:Using padding='same' with even kernel"
"""What torch says of such a convolution, relaxed or not."""


def snapshot(model: nn.Module) -> dict[str, tuple[object, ...]]:
    """What of a model must not change: of its tensors all but the values, and each module's mode.

    Rates and what they bring with them are left out.
    """
    tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    seen: dict[str, tuple[object, ...]] = {
        name: (
            tensor.shape,
            tensor.dtype,
            tensor.device,
            tensor.requires_grad,
            tensor.stride(),
            type(tensor),
        )
        for name, tensor in tensors.items()
        if name.rpartition(".")[2] not in {"rate", "bound"} and "_members_" not in name
    }
    for name, module in model.named_modules(remove_duplicate=False):
        seen[f"{name} mode"] = (module.training,)
    return seen


def ties(model: nn.Module) -> set[frozenset[str]]:
    """Paths that lead to one and the same module or Parameter, where there are several."""
    paths: dict[int, set[str]] = {}
    for name, module in model.named_modules(remove_duplicate=False):
        paths.setdefault(id(module), set()).add(name)
    for name, parameter in model.named_parameters(remove_duplicate=False):
        paths.setdefault(id(parameter), set()).add(name)
    return {frozenset(same) for same in paths.values() if len(same) > 1}
