"""Photographs for the effective field: read, resized to the network's input, normalised."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from dilsearch.data.samples import IMAGENET
from dilsearch.errors import DataError


def read_images(paths: Sequence[Path], shape: tuple[int, ...]) -> Tensor:
    """Photographs as a network takes them, normalised by ImageNet's statistics.

    Args:
        paths: Image files, of any size.
        shape: Shape of the network's input: (batch, 3, height, width).

    Returns:
        (images, 3, height, width).

    Raises:
        DataError: With every file that is no image, or if the network takes no photographs.
    """
    if len(shape) != 4 or shape[1] != 3:
        raise DataError(
            f"--image: photographs have 3 channels and 2 axes, and the network's input has shape "
            f"{shape}; leave --image out to use random inputs"
        )
    images: list[NDArray[np.uint8]] = []
    faults: list[str] = []
    for path in paths:
        try:
            with Image.open(path) as file:
                picture = ImageOps.exif_transpose(file).convert("RGB")
        except UnidentifiedImageError:
            faults.append(f"{path} is not an image")
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            # Pillow raises all of these for files that are missing or cut short
            faults.append(f"cannot read {path}: {getattr(error, 'strerror', None) or error}")
        else:
            resized = picture.resize((shape[3], shape[2]), Image.Resampling.BILINEAR)
            images.append(np.asarray(resized))
    if faults:
        raise DataError(f"--image: {'; '.join(faults)}. Give photographs, as JPEG or PNG.")
    mean, std = (torch.tensor(value)[:, None, None] for value in (IMAGENET.mean, IMAGENET.std))
    pixels = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() / 255
    return (pixels - mean) / std
