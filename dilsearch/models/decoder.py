"""RegSeg's decoder: from feature maps at strides 4, 8 and 16 to class scores at stride 4."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dilsearch.models.blocks import ConvBNReLU, upsample


class Decoder(nn.Module):
    """Sum the maps of strides 16 and 8, concatenate that of stride 4, classify every pixel.

    Source: RegSeg (Gao 2022), Sec. 3.5 and Fig. 8.

    Args:
        in_channels: Channels of the feature maps at strides 4, 8 and 16.
        num_classes: Channels of the scores.
    """

    def __init__(self, in_channels: Sequence[int], num_classes: int) -> None:
        super().__init__()
        channels4, channels8, channels16 = in_channels
        self.reduce16 = ConvBNReLU(channels16, 128, 1)
        self.reduce8 = ConvBNReLU(channels8, 128, 1)
        self.reduce4 = ConvBNReLU(channels4, 8, 1)
        self.merge8 = ConvBNReLU(128, 64, 3)
        self.merge4 = ConvBNReLU(64 + 8, 64, 3)
        self.classifier = nn.Conv2d(64, num_classes, 1)

    def forward(
        self, features: Sequence[Float[Tensor, "batch _channels _height _width"]]
    ) -> Float[Tensor, "batch classes height4 width4"]:
        """Class scores at the size of the first (stride 4) of the three maps."""
        at4, at8, at16 = features
        y8 = self.reduce8(at8)
        y8 = self.merge8(y8 + upsample(self.reduce16(at16), y8.shape[-2:]))
        y4 = self.reduce4(at4)
        y4 = self.merge4(torch.cat([upsample(y8, y4.shape[-2:]), y4], dim=1))
        scores: Tensor = self.classifier(y4)
        return scores
