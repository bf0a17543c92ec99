"""A temporal convolutional network: causal residual blocks over a sequence, each with one rate."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from dilsearch.errors import ModelError
from dilsearch.models.blocks import single_rate_faults
from dilsearch.models.rates import Rates


@dataclass(frozen=True, slots=True)
class TCNLayout:
    """What may differ between two temporal convolutional networks.

    Args:
        width: Channels of every block.
        taps: Kernel size of the dilated convolutions.
        channels: Channels of the sequence; None for as many as there are classes.
        rates: Rate of each block, a list of one for each.
    """

    width: int
    taps: int
    channels: int | None
    rates: Rates

    def with_rates(self, rates: Sequence[Sequence[int]]) -> "TCNLayout":
        """The same network with other rates.

        Raises:
            ModelError: If there is not one list of one rate for each block; every fault is listed.
        """
        if len(rates) != len(self.rates):
            raise ModelError(
                f"tcn: rates for {len(rates)} blocks given, but it has {len(self.rates)} "
                "searchable blocks; give one list of rates for each"
            )
        faults = [
            f"block {number}: {fault}"
            for number, chosen in enumerate(rates, start=1)
            for fault in single_rate_faults(chosen)
        ]
        if faults:
            raise ModelError.from_faults("tcn: the rates do not fit", faults)
        return replace(self, rates=tuple(tuple(chosen) for chosen in rates))


def tcn_layout(
    width: int = 32, blocks: int = 6, taps: int = 3, channels: int | None = None
) -> TCNLayout:
    """Equal blocks, all searchable, every rate 1.

    Args:
        width: Channels of every block.
        blocks: How many blocks.
        taps: Kernel size of the dilated convolutions: 3 as in Bai et al., 2 as in WaveNet.
        channels: Channels of the sequence; None for as many as there are classes.

    Raises:
        ModelError: If a number is not a whole number, of at least 1, or of at least 2 for the taps.
    """
    options = {"width": (width, 1), "blocks": (blocks, 1), "taps": (taps, 2)}
    if channels is not None:
        options["channels"] = (channels, 1)
    faults = [
        f"{name} = {value!r} is not a whole number of at least {least}; give one"
        for name, (value, least) in options.items()
        if not isinstance(value, int) or isinstance(value, bool) or value < least
    ]
    if faults:
        raise ModelError.from_faults("tcn: the options do not fit", faults)
    return TCNLayout(width, taps, channels, ((1,),) * blocks)


class CausalBlock(nn.Module):
    """A dilated convolution that looks back alone, ReLU, and a 1x1 convolution, beside a shortcut.

    Args:
        width: Channels of input and output.
        taps: Kernel size.
        rate: Dilation rate.

    Attributes:
        conv: The dilated convolution, the block's searchable site, padded at its start by ``pad``.
    """

    def __init__(self, width: int, taps: int, rate: int = 1) -> None:
        super().__init__()
        self.pad = nn.ZeroPad1d(((taps - 1) * rate, 0))
        self.conv = nn.Conv1d(width, width, taps, dilation=rate)
        self.mix = nn.Conv1d(width, width, 1)

    def forward(
        self, x: Float[Tensor, "batch width length"]
    ) -> Float[Tensor, "batch width length"]:
        """Residual path plus shortcut."""
        y: Tensor = self.mix(F.relu(self.conv(self.pad(x))))
        return x + y


class TCN(nn.Module):
    """A 1x1 convolution, the blocks at full resolution, and a 1x1 classifier of every step.

    No output depends on a later input. Nothing is normalised: statistics over time would tell every
    step about those that come, and so would, while training, those of a batch. Searchable sites
    are named ``blocks.K.conv``; gap-free rates of 3 taps grow up to 1, 3, 9, 27 and so on.

    Args:
        layout: Width, taps, channels and rates.
        num_classes: Channels of the scores.

    Source: WaveNet (van den Oord et al. 2016) and TCN (Bai et al. 2018) for causal dilated residual
    blocks; theirs have gates, or two dilated convolutions each.
    """

    def __init__(self, layout: TCNLayout, num_classes: int) -> None:
        super().__init__()
        width = layout.width
        self.stem = nn.Conv1d(layout.channels or num_classes, width, 1)
        self.blocks = nn.Sequential(
            *(CausalBlock(width, layout.taps, rate) for (rate,) in layout.rates)
        )
        self.classifier = nn.Conv1d(width, num_classes, 1)

    def forward(
        self, sequence: Float[Tensor, "batch channels length"]
    ) -> Float[Tensor, "batch classes length"]:
        """Class scores of every step."""
        scores: Tensor = self.classifier(self.blocks(self.stem(sequence)))
        return scores
