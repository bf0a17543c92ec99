"""The order in which pictures lie in memory, kept from input to output."""

import torch
from torch import Tensor

_CHANNELS_LAST = {4: torch.channels_last, 5: torch.channels_last_3d}


def in_format_of(x: Tensor, outputs: Tensor) -> Tensor:
    """The outputs with the channels last in memory where those of ``x`` are, as ``nn.Conv2d`` does.

    A network that runs so would otherwise change back and forth around every layer.
    """
    channels_last = _CHANNELS_LAST.get(x.dim())
    if channels_last is None or x.is_contiguous():
        return outputs
    is_last = x.is_contiguous(memory_format=channels_last)
    return outputs.contiguous(memory_format=channels_last) if is_last else outputs
