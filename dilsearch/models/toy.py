"""The toy network: so small that its rates are searched in seconds, and blind beyond its field."""

from jaxtyping import Float
from torch import Tensor, nn

from dilsearch.errors import ModelError
from dilsearch.models.blocks import ConvBNReLU, split_faults, upsample
from dilsearch.models.blueprint import Block, Blueprint


def toy_blueprint(width: int = 32, group_width: int = 8, blocks: int = 5) -> Blueprint:
    """Equal D blocks at stride 4, all searchable, every rate 1; two branches if groups are even.

    Without squeeze-excite: its global means would tell every pixel about the whole image and take
    away the reason to grow the field.

    Args:
        width: Channels of every block.
        group_width: Channels in each group of the 3x3 convolutions.
        blocks: How many blocks.

    Raises:
        ModelError: If a number is not a whole number of at least 1, or the width cannot be split.
    """
    options = {"width": width, "group_width": group_width, "blocks": blocks}
    faults = [
        f"{name} = {value!r} is not a whole number of at least 1; give one"
        for name, value in options.items()
        if not isinstance(value, int) or isinstance(value, bool) or value < 1
    ]
    faults = faults or split_faults(width, group_width, (1,))
    if faults:
        raise ModelError.from_faults("toy: the options do not fit", faults)
    rates = (1, 1) if width // group_width % 2 == 0 else (1,)
    block = Block(width, rates=rates, searchable=True)
    return Blueprint("toy", width, (block,) * blocks, group_width=group_width, squeeze_excite=False)


class Toy(nn.Module):
    """Two 3x3 convolutions of stride 2, the blocks, and a 1x1 classifier.

    The stem's field is 7 px at stride 4. Searchable sites are named ``blocks.K.conv2``.

    Args:
        blueprint: The blocks.
        num_classes: Channels of the scores.
    """

    def __init__(self, blueprint: Blueprint, num_classes: int) -> None:
        super().__init__()
        width = blueprint.in_channels
        self.stem = nn.Sequential(
            ConvBNReLU(3, width, 3, stride=2), ConvBNReLU(width, width, 3, stride=2)
        )
        self.blocks = blueprint.build()
        self.classifier = nn.Conv2d(blueprint.stage_channels[-1], num_classes, 1)

    def forward(
        self, image: Float[Tensor, "batch 3 height width"]
    ) -> Float[Tensor, "batch classes height width"]:
        """Class scores at the size of the image."""
        logits = self.classifier(self.blocks(self.stem(image)))
        return upsample(logits, image.shape[-2:])
