"""Photographs for training and for evaluation, by torchvision's v2 transforms."""

from collections.abc import Callable
from typing import TypeAlias

import torch
from torchvision import tv_tensors
from torchvision.transforms import v2

from dilsearch.data.samples import IGNORE_INDEX, IMAGENET, Sample
from dilsearch.errors import DataError

Transform: TypeAlias = Callable[..., Sample]
"""Takes an image and a label as tv_tensors, gives a normalised image and a label of int64."""

# The mean colour becomes about 0 once normalised: padding says nothing.
_PADDING = {
    tv_tensors.Image: tuple(round(255 * mean) for mean in IMAGENET.mean),
    tv_tensors.Mask: IGNORE_INDEX,
}


def training_transform(
    *,
    size_px: tuple[int, int],
    crop_px: tuple[int, int] | None = None,
    scale: tuple[float, float] | None = None,
    flip: bool = True,
) -> Transform:
    """Random scale, random crop, random horizontal flip, then normalisation.

    Image and label move together; images are resized bilinearly, labels to the nearest pixel.
    Where a scaled image is smaller than the crop it is padded, at a random place, with the mean
    colour and with pixels that are ignored.

    Args:
        size_px: Height and width of the images to come.
        crop_px: Height and width of the result; None for ``size_px``.
        scale: Smallest and largest factor by which to resize, sides in proportion; the shorter
            side is drawn evenly between the two. None leaves the size.
        flip: Whether every second image, at random, is mirrored left to right.

    Raises:
        DataError: If the crop or the factors are impossible.
    """
    crop_px = crop_px or size_px
    _check(crop_px, scale)
    steps: list[torch.nn.Module] = []
    if scale is not None:
        shorter = min(size_px)
        smallest, largest = (max(1, round(shorter * factor)) for factor in scale)
        # The range of torchvision's draw leaves its end out.
        steps.append(v2.RandomResize(smallest, largest + 1, antialias=True))
    if scale is not None or crop_px != size_px:
        steps.append(v2.RandomCrop(crop_px, pad_if_needed=True, fill=_PADDING))
    if flip:
        steps.append(v2.RandomHorizontalFlip(0.5))
    return _compose([*steps, *_normalization()])


def evaluation_transform() -> Transform:
    """Normalisation alone."""
    return _compose(_normalization())


def _normalization() -> list[torch.nn.Module]:
    to_dtype = {tv_tensors.Image: torch.float32, tv_tensors.Mask: torch.int64}
    return [
        v2.ToDtype(to_dtype, scale=True),
        v2.Normalize(mean=list(IMAGENET.mean), std=list(IMAGENET.std)),
        v2.ToPureTensor(),
    ]


def _compose(steps: list[torch.nn.Module]) -> Transform:
    composed: Transform = v2.Compose(steps)
    return composed


def _check(crop_px: tuple[int, int], scale: tuple[float, float] | None) -> None:
    if min(crop_px) < 1:
        raise DataError(
            f"crop_px = [{crop_px[0]}, {crop_px[1]}] holds no pixel; "
            "give height and width of at least 1."
        )
    if scale is not None and not 0 < scale[0] <= scale[1]:
        raise DataError(
            f"scale = [{scale[0]}, {scale[1]}] is not a range of factors; "
            "give the smallest, above 0, then the largest."
        )
