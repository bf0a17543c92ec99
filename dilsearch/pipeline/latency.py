"""How long one forward pass takes."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

import torch
from lightning_fabric import Fabric
from torch import nn

_WARM_UP_PASSES: Final = 3
_LEAST_SECONDS: Final = 0.1
_MOST_SECONDS: Final = 2.0


def latency_ms(
    model: nn.Module, *, image_px: Sequence[int], channels: int, fabric: Fabric
) -> float:
    """Median time of one forward pass on one sample, in evaluation mode; the mode is restored.

    A few passes are not counted, and on a GPU each measurement waits for the device. Passes are
    measured until their quartiles lie within a tenth of the median, for 0.1 s at least and 2 s at
    most, on as many threads as torch is set to.

    Args:
        model: Takes (1, channels, ...); it is moved to the device.
        image_px: Sizes of the input behind its channels.
        channels: Channels of the input.
        fabric: Device and precision.
    """
    with _silenced("torch.utils.cpp_extension"):  # it looks for compilers, and tells what it lacks
        from torch.utils.benchmark import Timer

    generator = torch.Generator().manual_seed(0)  # the global one is left alone
    sample = torch.rand(1, channels, *image_px, generator=generator).to(fabric.device)
    modes = {module: module.training for module in model.modules()}
    model.eval().to(fabric.device)

    def forward() -> None:
        with torch.inference_mode(), fabric.autocast():
            model(sample)

    try:
        for _ in range(_WARM_UP_PASSES):
            forward()
        threads = torch.get_num_threads()  # left to itself, a timer takes one
        timer = Timer("forward()", globals={"forward": forward}, num_threads=threads)
        measured = timer.adaptive_autorange(min_run_time=_LEAST_SECONDS, max_run_time=_MOST_SECONDS)
    finally:
        for module, training in modes.items():
            module.training = training
    return float(measured.median) * 1000


@contextmanager
def _silenced(name: str) -> Iterator[None]:
    logger = logging.getLogger(name)
    before, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = before
