"""How each contestant convolves: the same input, weight and rates in, the same output out.

Outputs agree wherever the rates are whole, and those of all but ``native`` at any rate. The one
exception is by design: where every channel has a rate of its own there is no plain convolution to
compare with, and ``native`` takes the whole part of their mean.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import Final, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.ops import deform_conv2d

from dilsearch.bench.cases import LayerCase
from dilsearch.bench.outcome import NOT_INSTALLED
from dilsearch.ops import fractional_conv1d, fractional_conv2d

Forward: TypeAlias = Callable[[], Tensor]

LARGEST_DCLS: Final = 2**27
"""Most elements of a tensor that DCLS makes on the way to its kernel: 512 MiB of float32."""


@dataclass(frozen=True)
class LayerTensors:
    """What all contestants of a layer share.

    Attributes:
        x: The input.
        weight: The kernels.
        rate: Shape () for one rate, (branches,) or (in_channels,) for more.
        cotangent: The gradient of the output.
    """

    x: Tensor
    weight: Tensor
    rate: Tensor
    cotangent: Tensor

    @classmethod
    def of(cls, case: LayerCase, device: torch.device) -> "LayerTensors":
        """Seeded tensors of a case, which ask for gradients."""
        generator = torch.Generator().manual_seed(0)
        out_shape = (case.shape[0], case.out_channels, *case.shape[2:])
        x = torch.randn(case.shape, generator=generator)
        fan_in = math.prod(case.kernel_shape[1:])
        weight = torch.randn(case.kernel_shape, generator=generator) / math.sqrt(fan_in)
        rate = torch.tensor(case.rates if len(case.rates) > 1 else case.rates[0])
        cotangent = torch.randn(out_shape, generator=generator)
        x, weight, rate = (tensor.to(device).requires_grad_() for tensor in (x, weight, rate))
        return cls(x, weight, rate, cotangent.to(device))


def forwards(case: LayerCase, tensors: LayerTensors, names: Sequence[str]) -> dict[str, Forward]:
    """The forward pass of each of the named contestants that can take the case."""
    return {
        name: _bound(_FORWARDS[name], case, tensors)
        for name in names
        if reason_to_leave_out(case, name) is None
    }


def inputs_of(name: str, tensors: LayerTensors) -> tuple[Tensor, ...]:
    """What a contestant gives gradients for: the rate too, but for the plain convolution."""
    plain = (tensors.x, tensors.weight)
    return plain if name == "native" else (*plain, tensors.rate)


def reason_to_leave_out(case: LayerCase, name: str) -> str | None:
    """Why a contestant cannot take a case; None if it can."""
    if name in ("deformable", "dcls") and case.axes != 2:
        return "for images only"
    if name != "dcls":
        return None
    if find_spec("DCLS") is None:
        return NOT_INSTALLED
    if _dcls_elements(case) > LARGEST_DCLS:
        mebibytes = _dcls_elements(case) * 4 / 2**20
        return f"each tensor on the way to its kernel would take {mebibytes:,.0f} MiB"
    return None


def plain_convolution(case: LayerCase, tensors: LayerTensors) -> Tensor:
    """Torch's convolution at whole rates: split, convolve each branch, join."""
    if case.per_channel:
        return _plain(case, tensors.x, tensors.weight, _whole_mean(case.rates), case.groups)
    count = len(case.rates)
    if count == 1:
        return _plain(case, tensors.x, tensors.weight, int(case.rates[0]), case.groups)
    branches = zip(tensors.x.chunk(count, 1), tensors.weight.chunk(count), case.rates, strict=True)
    groups = case.groups // count
    return torch.cat([_plain(case, x, weight, int(r), groups) for x, weight, r in branches], 1)


def fractional_convolution(case: LayerCase, tensors: LayerTensors) -> Tensor:
    """The convolution of this package."""
    x, weight, rate = tensors.x, tensors.weight, tensors.rate
    if case.axes == 2:
        return fractional_conv2d(x, weight, None, rate, padding=1, groups=case.groups)
    if not case.causal:
        return fractional_conv1d(x, weight, None, rate, padding=1, groups=case.groups)
    return fractional_conv1d(F.pad(x, (2, 0)), weight, None, rate, groups=case.groups, causal=True)


def deformable_convolution(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    rate: Tensor,
    *,
    stride: tuple[int, int] = (1, 1),
    padding: tuple[int, int] = (1, 1),
    dilation: tuple[int, int] = (1, 1),
) -> Tensor:
    """A 3x3 convolution at real-valued rates as RegSeg's search makes it, from deformable taps.

    There is no kernel for bfloat16, so that it computes in float32 whatever the input.

    Args:
        x: Images.
        weight: Kernels; the number of groups follows from their channels.
        bias: Added to each output channel, or None.
        rate: Shape () for one rate, (n,) for one for each of n equal runs of input channels.
        stride: Pixels between outputs.
        padding: Of the integer convolution.
        dilation: Of the integer convolution.
    """
    places = torch.tensor([-1.0, 0.0, 1.0], device=x.device)
    grid = torch.stack(torch.meshgrid(places, places, indexing="ij"), dim=-1)
    across = torch.tensor([float(step) for step in dilation], device=x.device)
    moves = ((rate.reshape(-1, 1, 1, 1) - across) * grid).reshape(1, -1, 1, 1)
    height, width = (
        (length + 2 * pad - 2 * rate_ - 1) // step + 1
        for length, pad, rate_, step in zip(x.shape[2:], padding, dilation, stride, strict=True)
    )
    offsets = moves.expand(len(x), -1, height, width).contiguous()
    with torch.autocast(x.device.type, enabled=False):
        out: Tensor = deform_conv2d(
            x.float(), offsets, weight.float(), bias, stride, padding, dilation
        )
    return out.to(x.dtype)


def dense_kernel_convolution(case: LayerCase, tensors: LayerTensors) -> Tensor:
    """DCLS: spread the taps over a dense kernel that spans them, then convolve plainly.

    Source: Dilated Convolution with Learnable Spacings (Khalfaoui-Hassani et al. 2023), bilinear.
    """
    construct_kernel = import_module("DCLS.construct.modules").ConstructKernel2d
    weight, rate = tensors.weight, tensors.rate
    out_channels, in_channels = weight.shape[:2]
    size = _dcls_size(case)
    places = torch.arange(-1.0, 2.0, device=weight.device)
    down, across = torch.meshgrid(places, places, indexing="ij")
    taps = torch.stack((across, down)).reshape(2, 1, 1, 9)  # its positions are (x, y)
    if case.per_channel:
        rates = rate.reshape(1, -1, 1).expand(out_channels, -1, 1)
    else:
        branch = rate.reshape(-1, 1).expand(-1, out_channels // len(case.rates)).reshape(-1, 1, 1)
        rates = branch.expand(-1, in_channels, 1)
    construct = construct_kernel(
        out_channels, case.shape[1], case.groups, 9, (size, size), version="v1"
    )
    kernel = construct(weight.flatten(2), taps * rates, None)
    return F.conv2d(tensors.x, kernel, padding=size // 2, groups=case.groups)


def _plain(case: LayerCase, x: Tensor, weight: Tensor, rate: int, groups: int) -> Tensor:
    if case.axes == 2:
        return F.conv2d(x, weight, padding=rate, dilation=rate, groups=groups)
    if case.causal:
        return F.conv1d(F.pad(x, (2 * rate, 0)), weight, dilation=rate, groups=groups)
    return F.conv1d(x, weight, padding=rate, dilation=rate, groups=groups)


def _whole_mean(rates: Sequence[float]) -> int:
    return int(sum(rates) / len(rates))


def _deformable(case: LayerCase, tensors: LayerTensors) -> Tensor:
    return deformable_convolution(tensors.x, tensors.weight, None, tensors.rate)


def _dcls_size(case: LayerCase) -> int:
    """Pixels along a side of the dense kernel."""
    return 2 * math.ceil(max(case.rates)) + 1


def _dcls_elements(case: LayerCase) -> int:
    """Elements of the tensor in which every weight has a place for every pixel of the kernel."""
    return 2 * _dcls_size(case) ** 2 * math.prod(case.kernel_shape)


def _bound(
    forward: Callable[[LayerCase, LayerTensors], Tensor], case: LayerCase, tensors: LayerTensors
) -> Forward:
    return lambda: forward(case, tensors)


_FORWARDS: Final[Mapping[str, Callable[[LayerCase, LayerTensors], Tensor]]] = {
    "native": plain_convolution,
    "ours": fractional_convolution,
    "deformable": _deformable,
    "dcls": dense_kernel_convolution,
}
