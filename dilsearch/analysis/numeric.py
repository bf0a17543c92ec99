"""Which pixels of an image reach a place in an output, measured by a gradient.

No graph is followed: the network runs as it stands, in a mode that makes it a positive linear map,
and what has a gradient is what is seen.
"""

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from dilsearch.analysis.neutral import NeutralMode
from dilsearch.analysis.neutral_axes import channels_first
from dilsearch.analysis.outputs import gradients, pixel_at, position_in, run_and_pick
from dilsearch.errors import TraceError
from dilsearch.layers import MixedRateConv, RelaxedConv
from dilsearch.tracing.shadow import rates_now, replace_modules


@dataclass(frozen=True, eq=False)
class MeasuredSupport:
    """The pixels that reach one place in an output.

    Attributes:
        seen: Whether each pixel is seen, in any channel: of the first input with spatial axes.
        position: The place in the output, in pixels of the output.
        output_size: Size of the output in pixels.
        all_inputs: The same as ``seen`` for each input, None for inputs without spatial axes.
    """

    seen: NDArray[np.bool_]
    position: tuple[int, ...]
    output_size: tuple[int, ...]
    all_inputs: tuple[NDArray[np.bool_] | None, ...]

    @property
    def empty(self) -> bool:
        """Whether no pixel is seen, as where all that arrives is global context."""
        return not self.seen.any()

    @property
    def box_px(self) -> tuple[tuple[int, int], ...] | None:
        """First and last pixel seen along each axis; None if none is."""
        if self.empty:
            return None
        places = np.nonzero(self.seen)
        return tuple((int(axis.min()), int(axis.max())) for axis in places)

    @property
    def field_px(self) -> tuple[int, ...]:
        """Extent of the box along each axis in pixels; zeros if no pixel is seen."""
        if self.box_px is None:
            return (0,) * self.seen.ndim
        return tuple(last - first + 1 for first, last in self.box_px)

    @property
    def holes(self) -> int:
        """How many pixels of the box are not seen."""
        return math.prod(self.field_px) - int(self.seen.sum())

    @property
    def touches_border(self) -> bool:
        """Whether the box reaches an edge of the image, so that more might be seen of a larger."""
        return self.box_px is not None and any(
            first == 0 or last == length - 1
            for (first, last), length in zip(self.box_px, self.seen.shape, strict=True)
        )


def measure_support(
    model: nn.Module,
    example: Tensor | Sequence[Tensor],
    *,
    output: str | None = None,
    position: tuple[int, ...] | None = None,
) -> MeasuredSupport:
    """Measure which pixels of the input reach one place in an output.

    A copy of the network runs once, forwards and backwards, in float64 on the CPU; the network
    itself is left as it is. Weights count as nonzero wherever no mask in the forward pass makes
    them zero; activations, norms and dropout count as the identity at each pixel, and a maximum, a
    product or a difference as the sum of what it is made of. Global context is left out: pooling
    to one pixel, sums over the whole image, softmax over pixels, linear layers over a flattened
    map, attention. A sum along only some axes of the image counts. Relaxed sites stand with their
    present rates, rounded up.

    Args:
        model: Any network, on the CPU or the meta device.
        example: Input or inputs (batch, channels, 1 to 3 spatial axes); only shapes count, and of
            integers the values. Much larger than the total stride, and than the field if its
            whole extent is wanted.
        output: None for the first tensor that the network returns. A name for another: keys,
            fields and indices joined by dots, as in 'out', '0' or 'aux.1', where the name of a
            group means its first tensor. If there is none, the path of a module, whose last call
            counts.
        position: Index along each spatial axis of the output, wherever its channels are, by
            default size // 2.

    Returns:
        The pixels seen by batch element 0, over all channels.

    Raises:
        TraceError: If the network does not run, has no such output or place, checkpoints its
            activations, or uses a function on its maps for which there is no rule.
    """
    shapes = [example] if isinstance(example, Tensor) else list(example)
    if not any(x.ndim > 2 and x.is_floating_point() for x in shapes):
        raise TraceError(
            "the example has no tensor of floats with spatial axes; give one of shape "
            "(batch, channels, pixels...)"
        )
    with torch.inference_mode(False), torch.enable_grad():  # whatever the caller is in
        stand_in, leaves = _stand_in(model), [_leaf(x) for x in shapes]
        with NeutralMode():
            # a leaf may not be written to, and a network may write to its input
            inputs = [x * 1 if x.requires_grad else x for x in leaves]
            chosen = channels_first(run_and_pick(stand_in, inputs, output))
        place = position_in(chosen, position)
        masks = _reached(pixel_at(chosen, place)[0], leaves)
    first = next(mask for mask in masks if mask is not None)
    return MeasuredSupport(first, place, tuple(chosen.shape[2:]), tuple(masks))


def _reached(pixel: Tensor, leaves: Sequence[Tensor]) -> list[NDArray[np.bool_] | None]:
    """Where the gradient of each input is not zero; None for inputs without spatial axes."""
    maps = [x for x in leaves if x.requires_grad]
    found = iter(gradients(pixel, maps))
    masks: list[NDArray[np.bool_] | None] = []
    for leaf in leaves:
        grad = next(found) if leaf.requires_grad else None
        if leaf.ndim < 3:
            masks.append(None)
        elif grad is None:
            masks.append(np.zeros(tuple(leaf.shape[2:]), dtype=np.bool_))
        else:
            masks.append((grad != 0).flatten(0, 1).any(dim=0).numpy())
    return masks


def _leaf(x: Tensor) -> Tensor:
    """Ones in its shape that a gradient can reach; integers as they are, or zeros on meta."""
    if x.is_floating_point():
        return torch.ones(x.shape, dtype=torch.float64, requires_grad=True)
    return torch.zeros(x.shape, dtype=x.dtype) if x.is_meta else x.detach().cpu().clone()


def _stand_in(model: nn.Module) -> nn.Module:
    """A copy on the CPU in evaluation mode, with drawn weights, and plain convolutions for sites.

    The weights are drawn so that none is zero, and none becomes zero where they are normalised.
    """
    if any(isinstance(module, torch.jit.ScriptModule) for module in model.modules()):
        raise TraceError(
            f"{type(model).__name__} holds a scripted module, whose functions cannot be exchanged; "
            "give the network before torch.jit"
        )
    draw = torch.Generator().manual_seed(0)
    memo: dict[int, Any] = {}
    for parameter in model.parameters():
        values = torch.rand(parameter.shape, generator=draw, dtype=torch.float64) + 0.5
        memo[id(parameter)] = nn.Parameter(values, requires_grad=False)
    for buffer in model.buffers():
        memo[id(buffer)] = _constant(buffer)
    rates = {
        name: rates_now(module)
        for name, module in model.named_modules()
        if isinstance(module, RelaxedConv)
    }
    try:
        stand_in: nn.Module = copy.deepcopy(model, memo)
    except RuntimeError as fault:
        raise TraceError(
            f"{type(model).__name__} cannot be copied: {str(fault).splitlines()[0]}; "
            "give a network that copy.deepcopy takes"
        ) from fault
    plain = {
        id(module): _plain(module, rates.get(name))
        for name, module in stand_in.named_modules()
        if isinstance(module, RelaxedConv | MixedRateConv)
    }
    stand_in = replace_modules(stand_in, plain)
    stand_in.eval()  # whose result is not the module where somebody overrides it carelessly
    return stand_in.requires_grad_(False)


def _constant(buffer: Tensor) -> Tensor:
    if buffer.is_meta:
        values = torch.ones(buffer.shape) if buffer.is_floating_point() else None
        held = torch.zeros(buffer.shape, dtype=buffer.dtype) if values is None else values
    else:
        held = buffer.detach().cpu().clone()
    return held.double() if held.is_floating_point() else held


def _plain(module: nn.Module, rates: Any) -> nn.Module:
    if isinstance(module, RelaxedConv):
        return module.to_conv(rates)
    assert isinstance(module, MixedRateConv)  # made anew, as on meta it forgets its channels
    return MixedRateConv(module.grid, module.rates, module)
