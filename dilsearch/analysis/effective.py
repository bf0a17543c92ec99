"""How much each pixel weighs in an output: the effective receptive field of a trained network.

After Luo, Li, Urtasun, Zemel, 'Understanding the Effective Receptive Field in Deep Convolutional
Neural Networks' (2016): most of what a network is able to see hardly changes what it says.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from dilsearch.analysis.outputs import gradients, pixel_at, position_in, run_and_pick
from dilsearch.errors import TraceError

LUO_THRESHOLD = 1 - 0.9545  # two standard deviations of a normal distribution


@dataclass(frozen=True, eq=False)
class EffectiveField:
    """The mean absolute gradient of one place in an output, over the pixels of the input.

    Attributes:
        magnitude: One number for each pixel, summed over channels, averaged over images, the
            largest scaled to 1; all zero if no pixel has any influence.
        images: How many images the mean is taken over.
    """

    magnitude: NDArray[np.float64]
    images: int

    def extent_px(self, threshold: float = LUO_THRESHOLD) -> float:
        """Effective size in pixels: side of the cube as large as all that exceeds the threshold.

        Luo et al. 2016, Sec. 3, count the pixels whose magnitude is above 1 - 95.45 % of that of
        the centre, and take the square root for an image; here the largest magnitude stands for
        the centre's, and the root is that of the number of axes.

        Args:
            threshold: Fraction of the largest magnitude.
        """
        count = int((self.magnitude > threshold).sum())
        return float(count ** (1 / self.magnitude.ndim))

    def share_within(self, box_px: Sequence[tuple[int, int]]) -> float:
        """The part of all magnitude, 0 to 1, that lies in a box; 0 if there is none at all.

        Args:
            box_px: First and last pixel along each axis, as ``MeasuredSupport.box_px`` has them.

        Raises:
            TraceError: If the box has not as many axes as the image.
        """
        if len(box_px) != self.magnitude.ndim:
            raise TraceError(
                f"the box has {len(box_px)} axes and the image {self.magnitude.ndim}; "
                "give the first and last pixel along each axis"
            )
        total = float(self.magnitude.sum())
        if total == 0:
            return 0.0
        box = tuple(slice(max(0, first), last + 1) for first, last in box_px)
        return float(self.magnitude[box].sum()) / total


def random_images(shape: Sequence[int], count: int, seed: int) -> Iterator[Tensor]:
    """Images of independent standard-normal values, the same for the same seed.

    Args:
        shape: Channels and size in pixels, without the batch.
        count: Number of images; each comes in a batch of its own.
        seed: Where the drawing starts.
    """
    draw = torch.Generator().manual_seed(seed)
    for _ in range(count):
        yield torch.randn(1, *shape, generator=draw)


def effective_field(
    model: nn.Module,
    images: Iterable[Tensor],
    *,
    output: str | None = None,
    position: tuple[int, ...] | None = None,
    batch_size: int = 1,
) -> EffectiveField:
    """Measure how strongly each pixel changes one place in an output of a network as it is.

    The gradient is that of the sum over all channels at that place, which is 1 at each of them, as
    Luo et al. set it (2016, Sec. 3); no signs are drawn, so that channels may partly cancel. It is
    taken with the network's own weights, type and device, in evaluation mode; mode and gradients
    of the Parameters are afterwards as they were.

    Args:
        model: The network, whose forward takes one tensor.
        images: Tensors (batch, channels, 1 to 3 spatial axes), all of one image shape;
            ``random_images`` makes some.
        output: As in ``measure_support``, but read as (batch, channels, pixels).
        position: As in ``measure_support``.
        batch_size: Images to a pass; tensors with more are split, those with fewer not joined.

    Raises:
        TraceError: If the network does not run, has no such output or place, if a gradient is not
            finite, or if there are no images or their shapes differ.
    """
    if batch_size < 1:
        raise TraceError(f"batch_size is {batch_size}; give at least 1")
    total: NDArray[np.float64] | None = None
    count = 0
    with _evaluation(model), torch.inference_mode(False), torch.enable_grad():
        for batch in (part for tensor in images for part in torch.split(tensor, batch_size)):
            strength = _strength(model, batch, output, position)
            if total is not None and total.shape != strength.shape:
                raise TraceError(
                    f"images of {total.shape} and of {strength.shape} pixels have no mean; "
                    "give images of one size"
                )
            total = strength if total is None else total + strength
            count += batch.shape[0]
    if total is None:
        raise TraceError("there are no images to take a mean over; give at least one")
    largest = float(total.max())
    return EffectiveField(total / largest if largest > 0 else total, count)


def _strength(
    model: nn.Module, batch: Tensor, output: str | None, position: tuple[int, ...] | None
) -> NDArray[np.float64]:
    """Absolute gradients, summed over the images of a batch and their channels."""
    held = next(model.parameters(), batch)
    x = batch.detach().to(held.device, held.dtype).clone().requires_grad_()
    chosen = run_and_pick(model, [x * 1], output)  # which may be written to
    place = position_in(chosen, position)
    (grad,) = gradients(pixel_at(chosen, place), [x])
    if grad is None:
        grad = torch.zeros_like(x)
    if not math.isfinite(float(grad.double().abs().sum())):
        raise TraceError(
            f"the gradient of {type(model).__name__} at {place} is not finite; "
            "check its weights and the images for values that are not"
        )
    strength: NDArray[np.float64] = grad.double().abs().sum(dim=(0, 1)).cpu().numpy()
    return strength


@contextmanager
def _evaluation(model: nn.Module) -> Iterator[None]:
    """Evaluation mode for the while, module by module as it was afterwards."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training
