"""The networks of the contestants: whole training steps, and inference at whole rates."""

import copy
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from dilsearch.bench.cases import NetworkCase
from dilsearch.bench.contestants import deformable_convolution
from dilsearch.data.seeds import seeded
from dilsearch.layers import BranchConv2d, RelaxedConv2d
from dilsearch.models import build_model
from dilsearch.surgery import clamp_rates, relax

Autocast: TypeAlias = Callable[[], AbstractContextManager[object]]

_EXAMPLE_PX = 512
"""Size at which the field of a network is followed; every stride divides it."""


class DeformableConv2d(nn.Module):
    """A relaxed convolution that samples by torchvision's deformable convolution.

    Args:
        layer: The relaxed convolution; its Parameters are taken over.
    """

    rate: Tensor

    def __init__(self, layer: RelaxedConv2d) -> None:
        super().__init__()
        self.granularity = layer.granularity
        self.stride, self.dilation = layer.stride, layer.dilation
        self.padding = layer.padding
        self.weight, self.bias, self.rate = layer.weight, layer.bias, layer.rate

    def forward(self, x: Tensor) -> Tensor:
        """Convolve at the present rates."""
        return deformable_convolution(
            x,
            self.weight,
            self.bias,
            self.rate,
            stride=_pair(self.stride),
            padding=_pair(self.padding),
            dilation=_pair(self.dilation),
        )


@dataclass(frozen=True)
class Batch:
    """Images and labels that all contestants share."""

    image: Tensor
    label: Tensor

    @classmethod
    def of(cls, case: NetworkCase, device: torch.device) -> "Batch":
        """Seeded noise in the sizes of a case."""
        generator = torch.Generator().manual_seed(0)
        image = torch.rand(case.shape, generator=generator)
        shape = (case.shape[0], *case.shape[2:])
        label = torch.randint(0, case.num_classes, shape, generator=generator)
        return cls(image.to(device), label.to(device))


def training_networks(
    case: NetworkCase, names: Sequence[str], device: torch.device
) -> dict[str, nn.Module]:
    """The network of each of the named contestants, with equal weights, in training mode."""
    plain = _plain_network(case)
    makers: dict[str, Callable[[], nn.Module]] = {
        "native": lambda: copy.deepcopy(plain),
        "ours": lambda: relaxed_network(case, plain, bounded=case.bounded),
        "deformable": lambda: deformable_network(case, plain),
    }
    return {name: makers[name]().to(device).train() for name in names if name in makers}


def inference_networks(
    case: NetworkCase, names: Sequence[str], device: torch.device
) -> dict[str, nn.Module]:
    """The plain network, and ours converted at the whole part of its rates, in evaluation mode."""
    plain = _plain_network(case)
    networks = {"native": plain, "ours": _converted(case, relaxed_network(case, plain))}
    return {name: net.to(device).eval() for name, net in networks.items() if name in names}


def relaxed_network(case: NetworkCase, plain: nn.Module, *, bounded: bool = False) -> nn.Module:
    """A copy of the plain network at the rates of the case.

    Args:
        case: Sites and rates.
        plain: The network at whole rates.
        bounded: Whether to follow its field, so that its rates can be held to the gap bound.
    """
    if bounded:
        example = torch.empty(1, 3, _EXAMPLE_PX, _EXAMPLE_PX, device="meta")
        network = relax(plain, case.sites, example=example)
    else:
        network = copy.deepcopy(plain)
        for site, granularity in case.sites.items():
            conv = network.get_submodule(site)
            assert isinstance(conv, nn.Conv2d | BranchConv2d)
            _exchange(network, site, RelaxedConv2d(conv, granularity))
    with torch.no_grad():
        for site, rates in case.rates.items():
            rate = _relaxed(network, site).rate
            rate.copy_(torch.tensor(rates).reshape(rate.shape))
    _hold_to_limits(network, bounded=bounded)
    return network


def deformable_network(case: NetworkCase, plain: nn.Module) -> nn.Module:
    """A copy of the plain network with deformable convolutions at the rates of the case."""
    network = relaxed_network(case, plain)
    for site in case.sites:
        _exchange(network, site, DeformableConv2d(_relaxed(network, site)))
    return network


def training_step(
    case: NetworkCase, network: nn.Module, batch: Batch, autocast: Autocast
) -> Callable[[], None]:
    """One step as a search makes it: forward, loss, backward, both optimisers, limits.

    The rates are held to the gap bound where the case asks for it and the network is ours, and to
    their own limits elsewhere, which costs less. Learning rates are so small that the rates stay
    between the integers they were put at.
    """
    rates = [p for name, p in network.named_parameters() if name.split(".")[-1] == "rate"]
    known = {id(rate) for rate in rates}
    weights = [p for p in network.parameters() if id(p) not in known]
    optimizers: list[torch.optim.Optimizer] = [
        torch.optim.SGD(weights, lr=1e-3, momentum=0.9, weight_decay=1e-4)
    ]
    if rates:
        optimizers.append(torch.optim.Adam(rates, lr=1e-6))
    relaxed = any(isinstance(module, RelaxedConv2d) for module in network.modules())
    bounded = case.bounded and relaxed

    def step() -> None:
        with autocast():
            loss = F.cross_entropy(network(batch.image), batch.label)
        loss.backward()  # type: ignore[no-untyped-call]
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()
        if rates:
            _hold_to_limits(network, bounded=bounded)

    return step


def inference(network: nn.Module, batch: Batch, autocast: Autocast) -> Callable[[], Tensor]:
    """A forward pass without gradients."""

    def run() -> Tensor:
        with torch.no_grad(), autocast():
            scores: Tensor = network(batch.image)
        return scores

    return run


def multiply_accumulates(run: Callable[[], object]) -> float:
    """Multiplications of a run with an addition each, which is half of what torch counts."""
    with FlopCounterMode(display=False) as counter:
        run()
    flops: int = counter.get_total_flops()
    return flops / 2


def _plain_network(case: NetworkCase) -> nn.Module:
    with seeded("bench", 0):
        return build_model(case.network, num_classes=case.num_classes, rates=case.plain_rates)


def _converted(case: NetworkCase, network: nn.Module) -> nn.Module:
    for site, rates in case.rates.items():
        layer = _relaxed(network, site)
        _exchange(network, site, layer.to_conv(tuple(float(int(rate)) for rate in rates)))
    return network


@torch.no_grad()
def _hold_to_limits(network: nn.Module, *, bounded: bool) -> None:
    if bounded:
        clamp_rates(network, gap="enforce")
        return
    for module in network.modules():
        if isinstance(module, RelaxedConv2d | DeformableConv2d):
            module.rate.clamp_(module.granularity.lower, module.granularity.upper)


def _exchange(network: nn.Module, site: str, module: nn.Module) -> None:
    parent, _, name = site.rpartition(".")
    setattr(network.get_submodule(parent), name, module)


def _relaxed(network: nn.Module, site: str) -> RelaxedConv2d:
    layer = network.get_submodule(site)
    assert isinstance(layer, RelaxedConv2d)
    return layer


def _pair(values: object) -> tuple[int, int]:
    assert isinstance(values, tuple)
    height, width = values
    return (height, width)
