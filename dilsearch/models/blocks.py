"""The parts that the built-in networks are made of: convolution-norm-ReLU, SE, D and Y blocks."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from dilsearch.errors import ModelError
from dilsearch.layers.branch_conv import BranchConv2d


class ConvBNReLU(nn.Sequential):
    """A convolution without bias that keeps the size (per stride), BatchNorm and ReLU.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        taps: Odd kernel size.
        stride: Step in pixels.
    """

    def __init__(self, in_channels: int, out_channels: int, taps: int, *, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(
            in_channels, out_channels, taps, stride=stride, padding=taps // 2, bias=False
        )
        self.bn = nn.BatchNorm2d(out_channels)
        self.relu = nn.ReLU(inplace=True)


class SqueezeExcite(nn.Module):
    """Scale every channel by a gate between 0 and 1 computed from the means of all channels.

    Args:
        channels: Channels to scale.
        squeezed: Channels between the two biased 1x1 convolutions.
    """

    def __init__(self, channels: int, squeezed: int) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.conv1 = nn.Conv2d(channels, squeezed, 1)
        self.conv2 = nn.Conv2d(squeezed, channels, 1)

    def forward(
        self, x: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch channels height width"]:
        """Gate the channels."""
        gate = self.conv2(F.relu(self.conv1(self.pool(x))))
        return x * torch.sigmoid(gate)


class DBlock(nn.Module):
    """RegSeg's dilated residual block: 1x1, grouped 3x3 at one or more rates, SE, 1x1, shortcut.

    With B rates the channels of the 3x3 are split into B contiguous equal parts, the i-th at the
    i-th rate; parameters and their names are the same for every B. With all rates 1 and stride 1
    it is the Y block of RegNet. A shortcut that halves the size averages 2x2 pixels before its
    1x1 convolution. Source: RegSeg (Gao 2022), Sec. 3.2 and Fig. 4.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output, a multiple of ``group_width``.
        rates: Dilation rate of each branch of the 3x3 convolution.
        stride: Step of the 3x3 convolution in pixels.
        group_width: Channels in each group of the 3x3 convolution.
        squeeze_excite: Whether to gate the 3x3's output, with ``in_channels // 4`` hidden channels.

    Attributes:
        conv2: The 3x3 convolution, the block's searchable site: ``nn.Conv2d`` for one rate, else
            ``BranchConv2d``.

    Raises:
        ModelError: If the channels cannot be split as asked.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        rates: Sequence[int] = (1,),
        *,
        stride: int = 1,
        group_width: int = 16,
        squeeze_excite: bool = True,
    ) -> None:
        super().__init__()
        faults = split_faults(out_channels, group_width, rates)
        if faults:
            raise ModelError.from_faults("cannot build the block", faults)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.conv2 = _grouped_3x3(out_channels, rates, stride, out_channels // group_width)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.se = SqueezeExcite(out_channels, in_channels // 4) if squeeze_excite else nn.Identity()
        self.conv3 = nn.Conv2d(out_channels, out_channels, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out_channels)
        same_shape = stride == 1 and in_channels == out_channels
        self.shortcut = (
            nn.Identity() if same_shape else self._projection(in_channels, out_channels, stride)
        )

    def _projection(self, in_channels: int, out_channels: int, stride: int) -> nn.Module:
        shortcut = nn.Sequential()
        if stride > 1:
            shortcut.add_module("pool", nn.AvgPool2d(stride, stride, ceil_mode=True))
        shortcut.add_module("conv", nn.Conv2d(in_channels, out_channels, 1, bias=False))
        shortcut.add_module("bn", nn.BatchNorm2d(out_channels))
        return shortcut

    def forward(
        self, x: Float[Tensor, "batch in_channels height width"]
    ) -> Float[Tensor, "batch out_channels out_height out_width"]:
        """Residual path plus shortcut, then ReLU."""
        y = F.relu(self.bn1(self.conv1(x)), inplace=True)
        y = F.relu(self.bn2(self.conv2(y)), inplace=True)
        y = self.bn3(self.conv3(self.se(y)))
        return F.relu(y + self.shortcut(x), inplace=True)


class YBlock(DBlock):
    """RegNet's Y block: a D block whose shortcut strides in its 1x1 convolution, without pooling.

    Source: RegNet (Radosavovic et al. 2020); RegSeg (Gao 2022), Fig. 4a.
    """

    def _projection(self, in_channels: int, out_channels: int, stride: int) -> nn.Module:
        shortcut = nn.Sequential()
        conv = nn.Conv2d(in_channels, out_channels, 1, stride=stride, bias=False)
        shortcut.add_module("conv", conv)
        shortcut.add_module("bn", nn.BatchNorm2d(out_channels))
        return shortcut


def split_faults(channels: int, group_width: int, rates: Sequence[int]) -> list[str]:
    """Why a 3x3 over these channels cannot have these rates: one sentence each, none if it can."""
    faults = [
        f"rate {rate!r} is not a whole number of at least 1; give whole rates"
        for rate in rates
        if not isinstance(rate, int) or isinstance(rate, bool) or rate < 1
    ]
    if not rates:
        faults.append("it has no rates; give one for each branch")
    groups, rest = divmod(channels, group_width)
    if rest:
        faults.append(
            f"{channels} channels are not a multiple of the group width {group_width}; "
            "change either"
        )
    elif rates and groups % len(rates):
        possible = [str(count) for count in range(1, groups + 1) if groups % count == 0]
        faults.append(
            f"{len(rates)} branches cannot share {channels} channels in {groups} groups of "
            f"{group_width}; give a number of rates that divides the groups ({', '.join(possible)})"
        )
    return faults


def single_rate_faults(chosen: object) -> list[str]:
    """Why a layer of one group cannot have these rates: one sentence each, none if it can."""
    if isinstance(chosen, str) or not isinstance(chosen, Sequence):
        return [f"rates {chosen!r} are not a list; give a list such as [2]"]
    if len(chosen) != 1:
        return [f"{len(chosen)} rates given, but its channels are a single group; give it one rate"]
    return split_faults(1, 1, chosen)


def upsample(
    x: Float[Tensor, "batch channels height width"], size_px: Sequence[int]
) -> Float[Tensor, "batch channels out_height out_width"]:
    """Resize to (height, width) bilinearly, corners not aligned."""
    return F.interpolate(x, size=tuple(size_px), mode="bilinear", align_corners=False)


def _grouped_3x3(channels: int, rates: Sequence[int], stride: int, groups: int) -> nn.Module:
    if len(rates) > 1:
        return BranchConv2d(
            channels, channels, 3, rates=rates, stride=stride, padding=1, groups=groups, bias=False
        )
    return nn.Conv2d(
        channels,
        channels,
        3,
        stride=stride,
        padding=rates[0],
        dilation=rates[0],
        groups=groups,
        bias=False,
    )
