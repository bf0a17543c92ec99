"""DeepLab-LargeFOV: VGG-16 at stride 8, dilated where two of its poolings no longer stride."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from jaxtyping import Float
from torch import Tensor, nn

from dilsearch.errors import ModelError
from dilsearch.models.blocks import single_rate_faults, upsample
from dilsearch.models.rates import Rates

_STAGES: Final = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
"""Channels of each 3x3 convolution of VGG-16, stage by stage."""
_STRIDES: Final = (2, 2, 2, 1, 1)
"""Stride of the pooling behind each stage."""
_HIDDEN: Final = 1024
"""Channels of the two layers that stand for VGG's fully connected ones."""
_SITES: Final = ("conv5_1", "conv5_2", "conv5_3", "fc6")


@dataclass(frozen=True, slots=True)
class LargeFOVLayout:
    """What may differ between two LargeFOV networks.

    Args:
        rates: Rate of conv5_1, conv5_2, conv5_3 and fc6, a list of one for each.
    """

    rates: Rates = ((2,), (2,), (2,), (12,))

    def with_rates(self, rates: Sequence[Sequence[int]]) -> "LargeFOVLayout":
        """The same network with other rates at its dilated layers.

        Raises:
            ModelError: If there is not one list of one rate for each; every fault is listed.
        """
        if len(rates) != len(_SITES):
            raise ModelError(
                f"largefov: rates for {len(rates)} layers given, but it has {len(_SITES)} "
                "searchable layers; give one list of rates for each"
            )
        faults = [
            f"layer {name}: {fault}"
            for name, chosen in zip(_SITES, rates, strict=True)
            for fault in single_rate_faults(chosen)
        ]
        if faults:
            raise ModelError.from_faults("largefov: the rates do not fit", faults)
        return replace(self, rates=tuple(tuple(chosen) for chosen in rates))


def largefov_layout() -> LargeFOVLayout:
    """The published network: rate 2 in conv5, 12 in fc6."""
    return LargeFOVLayout()


class LargeFOV(nn.Module):
    """VGG-16 whose last two poolings keep the size, and a fully connected layer turned 3x3.

    Its searchable convolutions are ``conv5_1``, ``conv5_2``, ``conv5_3`` and ``fc6``. Poolings take
    3x3 pixels and round sizes up as Caffe does, so that 321 px become 41 logits. Weights are those
    that torch gives a fresh layer. With poolings counted its field is 419 px at the first rates.

    Args:
        layout: The rates.
        num_classes: Channels of the scores.

    Source: DeepLab (Chen et al. 2015), as Learning Dilation Factors (2017) trains it, that is
    without the average pooling in front of fc6.
    """

    def __init__(self, layout: LargeFOVLayout, num_classes: int) -> None:
        super().__init__()
        rates = {name: rate for name, (rate,) in zip(_SITES, layout.rates, strict=True)}
        for name, layer in _layers(rates, num_classes):
            self.add_module(name, layer)

    def coarse_logits(
        self, image: Float[Tensor, "batch 3 height width"]
    ) -> Float[Tensor, "batch classes height8 width8"]:
        """Class scores at stride 8, before they are brought to the image's size."""
        x: Tensor = image
        for layer in self.children():
            x = layer(x)
        return x

    def forward(
        self, image: Float[Tensor, "batch 3 height width"]
    ) -> Float[Tensor, "batch classes height width"]:
        """Class scores at the size of the image."""
        return upsample(self.coarse_logits(image), image.shape[-2:])


def _layers(rates: dict[str, int], num_classes: int) -> Iterator[tuple[str, nn.Module]]:
    """Every layer with its name, in the order they run."""
    channels = 3
    for stage, (widths, stride) in enumerate(zip(_STAGES, _STRIDES, strict=True), start=1):
        for number, width in enumerate(widths, start=1):
            name = f"conv{stage}_{number}"
            yield name, _conv(channels, width, rates.get(name, 1))
            yield f"relu{stage}_{number}", nn.ReLU(inplace=True)
            channels = width
        yield f"pool{stage}", nn.MaxPool2d(3, stride, padding=1, ceil_mode=True)
    yield "fc6", _conv(channels, _HIDDEN, rates["fc6"])
    yield "relu6", nn.ReLU(inplace=True)
    yield "drop6", nn.Dropout()
    yield "fc7", nn.Conv2d(_HIDDEN, _HIDDEN, 1)
    yield "relu7", nn.ReLU(inplace=True)
    yield "drop7", nn.Dropout()
    yield "fc8", nn.Conv2d(_HIDDEN, num_classes, 1)


def _conv(in_channels: int, out_channels: int, rate: int) -> nn.Conv2d:
    """A 3x3 convolution that keeps the size."""
    return nn.Conv2d(in_channels, out_channels, 3, padding=rate, dilation=rate)
