"""The shape RegSeg and its baseline share: a stem, a body down to stride 16, a light decoder."""

from jaxtyping import Float
from torch import Tensor, nn

from dilsearch.models.blocks import ConvBNReLU, upsample
from dilsearch.models.blueprint import Blueprint
from dilsearch.models.decoder import Decoder


class Segmenter(nn.Module):
    """A stem of stride 2, a body of residual blocks down to stride 16, and RegSeg's decoder.

    Searchable sites are named ``body.K.conv2``. Source: RegSeg (Gao 2022).

    Args:
        blueprint: The body, with a stage at each of the strides 4, 8 and 16.
        num_classes: Channels of the scores.
    """

    def __init__(self, blueprint: Blueprint, num_classes: int) -> None:
        super().__init__()
        self.stem = ConvBNReLU(3, blueprint.in_channels, 3, stride=2)
        self.body = blueprint.build()
        self.decoder = Decoder(blueprint.stage_channels, num_classes)
        self._stage_ends = blueprint.stage_ends

    def features(self, image: Float[Tensor, "batch 3 height width"]) -> list[Tensor]:
        """The last feature map at each of the strides 4, 8 and 16, each (batch, C, h, w)."""
        x: Tensor = self.stem(image)
        maps = []
        for index, block in enumerate(self.body):
            x = block(x)
            if index in self._stage_ends:
                maps.append(x)
        return maps

    def coarse_logits(
        self, image: Float[Tensor, "batch 3 height width"]
    ) -> Float[Tensor, "batch classes height4 width4"]:
        """Class scores at stride 4, before they are brought to the image's size."""
        logits: Tensor = self.decoder(self.features(image))
        return logits

    def forward(
        self, image: Float[Tensor, "batch 3 height width"]
    ) -> Float[Tensor, "batch classes height width"]:
        """Class scores at the size of the image."""
        return upsample(self.coarse_logits(image), image.shape[-2:])
