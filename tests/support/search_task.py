"""Tasks for the tests of the search: the class of a pixel lies some way to its left."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from dilsearch.search import SearchResult, Smoothing, search
from dilsearch.sites import PerSite
from dilsearch.surgery import rate_parameters, relax
from dilsearch.surgery.rates import weight_parameters
from dilsearch.training import PolySchedule, build_loss, open_fabric

Batch = tuple[Tensor, Tensor]
Batches = Callable[[int], Iterable[Batch]]


def shifted_copies(steps: int, *, shift_px: int = 3) -> Batches:
    """A pixel's class is the brightness ``shift_px`` to its left; brightness varies smoothly."""

    def batches(start: int) -> Iterable[Batch]:
        for step in range(start, steps):
            generator = torch.Generator().manual_seed(step)
            image = nn.functional.interpolate(
                torch.rand(4, 1, 16, 10, generator=generator),
                (16, 40),
                mode="bilinear",
                align_corners=False,
            )
            yield image, (image[:, 0].roll(shift_px, 2) > 0.5).long()

    return batches


def distant_patches(steps: int, *, seed: int = 0) -> Batches:
    """Two columns are scored, and what decides their class starts 3 px to the left of them.

    Everything between is empty, so that at a rate of 1 no loss has any slope: any rate from 4 to 11
    sees the patch from both columns.
    """

    def batches(start: int) -> Iterable[Batch]:
        for step in range(start, steps):
            generator = torch.Generator().manual_seed(1000 * seed + step)
            classes = torch.randint(0, 2, (8, 4), generator=generator)
            image = torch.zeros(8, 1, 4, 24)
            image[:, 0, :, :9] = (2.0 * classes - 1)[:, :, None]
            labels = torch.full((8, 4, 24), 255)
            labels[:, :, 11:13] = classes[:, :, None]
            yield image, labels

    return batches


def one_site(seed: int = 0) -> nn.Module:
    """One convolution, three taps wide, called "0"."""
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(1, 2, (1, 3), padding=(0, 1)))


def relaxed(
    upper: int = 16, *, initial: float = 1.0, seed: int = 0, traced: bool = False
) -> nn.Module:
    """``one_site`` with a rate that may vary."""
    example = torch.empty(1, 1, 16, 40, device="meta") if traced else None
    return relax(one_site(seed), {"0": PerSite(1, upper, initial)}, example=example)


def chain(upper: int = 8, *, sites: int = 3, seed: int = 0) -> nn.Module:
    """Three-by-three convolutions in a row, traced, one rate each."""
    torch.manual_seed(seed)
    layers: list[nn.Module] = []
    for index in range(sites):
        layers += [nn.Conv2d(1 if index == 0 else 4, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU()]
    layers.append(nn.Conv2d(4, 2, 1))
    example = torch.empty(1, 1, 16, 16, device="meta")
    limits = {str(3 * index): PerSite(1, upper, 1.0) for index in range(sites)}
    return relax(nn.Sequential(*layers), limits, example=example)


def frozen(model: nn.Module) -> nn.Module:
    """The same model with rates that stay as they are, whatever their learning rate."""
    for rate in rate_parameters(model):
        rate.requires_grad_(False)
    return model


def run(
    model: nn.Module,
    batches: Batches,
    steps: int,
    *,
    weight_learning_rate: float = 1.0,
    rate_learning_rate: float | None = None,
    smoothing: Smoothing | None = None,
    **more: Any,
) -> SearchResult:
    """Search on the CPU; ``more`` goes to ``search``."""
    settings: dict[str, Any] = {"gap": "ignore", "loss": build_loss("cross_entropy"), **more}
    return search(
        model,
        batches,
        fabric=open_fabric("cpu"),
        weight_optimizer=torch.optim.SGD(
            weight_parameters(model), lr=weight_learning_rate, momentum=0.9
        ),
        rate_learning_rate=rate_learning_rate,
        schedule=PolySchedule(steps, warmup_steps=min(5, steps - 1)),
        smoothing=smoothing,
        **settings,
    )
