"""What every data set of dilsearch hands out: image and label, and the way back to colours."""

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

IGNORE_INDEX = 255
"""Label of pixels that are neither trained on nor scored."""

Sample: TypeAlias = tuple[Float[Tensor, "channels ..."], Int64[Tensor, "..."]]
"""A normalised image, or a sequence, and the class index of each of its pixels or steps."""

RawSample: TypeAlias = tuple[UInt8[Tensor, "3 height width"], UInt8[Tensor, "height width"]]
"""An RGB image of 0 to 255 and its classes, before augmentation and normalisation."""


@dataclass(frozen=True, slots=True)
class Normalization:
    """The affine map from colours of 0 to 1 to what a network is fed: (colour - mean) / std.

    Args:
        mean: Subtracted, one value per channel of RGB.
        std: Divided by, one value per channel of RGB.
    """

    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    def to_rgb(
        self, image: Float[Tensor, "*batch 3 height width"]
    ) -> UInt8[np.ndarray[Any, Any], "*batch height width 3"]:
        """The colours of a normalised image, rounded to 8 bits; noise outside is clipped."""
        pixels = image.detach().to("cpu", torch.float32).movedim(-3, -1)
        colours = pixels * torch.tensor(self.std) + torch.tensor(self.mean)
        return (colours * 255).round().clamp(0, 255).to(torch.uint8).numpy()


IMAGENET = Normalization(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
"""Statistics of ImageNet, which photographs are normalised with by custom."""
