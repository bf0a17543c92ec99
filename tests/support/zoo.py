"""Networks of real shapes with few channels: the geometry is the published one, the rest is small.

``NETWORKS`` has those that take one tensor and always compute the same graph. The others stand by
themselves: ``TwoInputs`` takes two tensors, and ``DataDependent`` looks at the numbers.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Build = Callable[[], nn.Module]
Shape = tuple[int, ...]
Map = Tensor | dict[str, Tensor]


def conv(inputs: int, outputs: int, taps: int = 3, rate: int = 1, stride: int = 1) -> nn.Conv2d:
    """A convolution that keeps the size, but for its stride."""
    padding = rate * (taps - 1) // 2
    return nn.Conv2d(inputs, outputs, taps, stride, padding, rate)


def unit(inputs: int, outputs: int, taps: int = 3, rate: int = 1, stride: int = 1) -> nn.Module:
    """Convolution, batch normalisation, ReLU."""
    return nn.Sequential(
        conv(inputs, outputs, taps, rate, stride), nn.BatchNorm2d(outputs), nn.ReLU()
    )


def central(x: Tensor, size: Sequence[int]) -> Tensor:
    """The middle of a map, as large as ``size``."""
    for axis, kept in enumerate(size, start=2):
        x = x.narrow(axis, (x.shape[axis] - kept) // 2, kept)
    return x


# -------------------------------------------------------------------- dilated segmentation networks


class VggFrontEnd(nn.Module):
    """VGG16 without padding, the last two pools replaced by rates (Yu & Koltun, 2016)."""

    def __init__(self, classes: int = 21, width: float = 1.0) -> None:
        super().__init__()
        first, second, third, fourth, full = (
            max(1, round(width * channels)) for channels in (64, 128, 256, 512, 4096)
        )
        stages = [(2, first, 1), (2, second, 1), (3, third, 1), (3, fourth, 1), (3, fourth, 2)]
        layers: list[nn.Module] = []
        inputs = 3
        for index, (count, outputs, rate) in enumerate(stages):
            for _ in range(count):
                layers += [nn.Conv2d(inputs, outputs, 3, dilation=rate), nn.ReLU()]
                inputs = outputs
            if index < 3:
                layers.append(nn.MaxPool2d(2))
        layers += [nn.Conv2d(fourth, full, 7, dilation=4), nn.ReLU(), nn.Dropout()]
        layers += [nn.Conv2d(full, full, 1), nn.ReLU(), nn.Dropout()]
        self.layers = nn.Sequential(*layers, nn.Conv2d(full, classes, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


class ContextModule(nn.Module):
    """Rates that double, so that the field grows fast without gaps (Yu & Koltun, 2016)."""

    RATES = (1, 1, 2, 4, 8, 16, 1)

    def __init__(self, classes: int = 21) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for rate in self.RATES:
            layers += [conv(classes, classes, rate=rate), nn.ReLU()]
        self.layers = nn.Sequential(*layers, nn.Conv2d(classes, classes, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


class HdcStack(nn.Module):
    """Three-by-three convolutions of given rates in a row (Wang et al., 2018)."""

    def __init__(self, rates: Sequence[int], channels: int = 3) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *(
                unit(3 if index == 0 else channels, channels, rate=r)
                for index, r in enumerate(rates)
            )
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


class Aspp(nn.Module):
    """Rates side by side, with or without the mean of the image (Chen et al., 2017)."""

    def __init__(
        self, rates: Sequence[int] = (6, 12, 18), channels: int = 3, pooled: bool = False
    ) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            [unit(3, channels, taps=1), *(unit(3, channels, rate=rate) for rate in rates)]
        )
        self.image = (
            nn.Sequential(nn.AdaptiveAvgPool2d(1), conv(3, channels, 1)) if pooled else None
        )
        self.project = conv(channels * (len(rates) + 1 + pooled), channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        found = [branch(x) for branch in self.branches]
        if self.image is not None:
            found.append(F.interpolate(self.image(x), x.shape[2:], mode="bilinear"))
        return self.project(torch.cat(found, 1))


class Residual(nn.Module):
    """The basic block of a residual network (He et al., 2016)."""

    def __init__(self, inputs: int, outputs: int, rate: int = 1, stride: int = 1) -> None:
        super().__init__()
        self.body = nn.Sequential(
            unit(inputs, outputs, rate=rate, stride=stride),
            conv(outputs, outputs, rate=rate),
            nn.BatchNorm2d(outputs),
        )
        same = inputs == outputs and stride == 1
        self.shortcut = nn.Identity() if same else conv(inputs, outputs, 1, stride=stride)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.body(x) + self.shortcut(x))


class PSPNet(nn.Module):
    """A dilated residual network, then means over bins of several sizes (Zhao et al., 2017)."""

    def __init__(
        self,
        bins: Sequence[int] = (1, 2, 3, 6),
        width: int = 4,
        classes: int = 3,
        align_corners: bool = False,
    ) -> None:
        super().__init__()
        self.align_corners = align_corners
        self.backbone = nn.Sequential(
            unit(3, width, stride=2),
            Residual(width, width, stride=2),
            Residual(width, 2 * width, rate=2),
            Residual(2 * width, 2 * width, rate=4),
        )
        self.pyramid = nn.ModuleList(
            nn.Sequential(nn.AdaptiveAvgPool2d(size), conv(2 * width, width, 1), nn.ReLU())
            for size in bins
        )
        self.head = nn.Sequential(
            unit((2 + len(bins)) * width, width), nn.Dropout2d(), conv(width, classes, 1)
        )

    def resize(self, x: Tensor, like: Tensor) -> Tensor:
        return F.interpolate(x, like.shape[2:], mode="bilinear", align_corners=self.align_corners)

    def forward(self, x: Tensor) -> Tensor:
        features = self.backbone(x)
        levels = [self.resize(level(features), features) for level in self.pyramid]
        return self.resize(self.head(torch.cat([features, *levels], 1)), x)


# ----------------------------------------------------------------------------- down and up again


class UNet(nn.Module):
    """Down, up again, and the skips between (Ronneberger et al., 2015: not padded, transposed)."""

    def __init__(
        self,
        depth: int = 4,
        width: int = 8,
        up: Literal["transposed", "bilinear", "nearest"] = "transposed",
        padded: bool = True,
        inputs: int = 1,
        classes: int = 2,
    ) -> None:
        super().__init__()
        sizes = [width << level for level in range(depth + 1)]
        self.down = nn.ModuleList(
            self._pair(before, after, padded) for before, after in pairwise([inputs, *sizes])
        )
        self.up = nn.ModuleList(self._raise(low, high, up) for high, low in pairwise(sizes))
        self.join = nn.ModuleList(self._pair(2 * size, size, padded) for size in sizes[:-1])
        self.classify = nn.Conv2d(width, classes, 1)

    @staticmethod
    def _pair(inputs: int, outputs: int, padded: bool) -> nn.Module:
        return nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, padding=int(padded)),
            nn.ReLU(),
            nn.Conv2d(outputs, outputs, 3, padding=int(padded)),
            nn.ReLU(),
        )

    @staticmethod
    def _raise(inputs: int, outputs: int, how: str) -> nn.Module:
        if how == "transposed":
            return nn.ConvTranspose2d(inputs, outputs, 2, stride=2)
        return nn.Sequential(nn.Upsample(scale_factor=2, mode=how), nn.Conv2d(inputs, outputs, 1))

    def forward(self, x: Tensor) -> Tensor:
        skips = []
        for level, block in enumerate(self.down):
            x = block(F.max_pool2d(x, 2) if level else x)
            skips.append(x)
        skips.pop()
        for rise, block in zip(reversed(self.up), reversed(self.join), strict=True):
            x = rise(x)
            x = block(torch.cat([central(skips.pop(), x.shape[2:]), x], 1))
        return self.classify(x)


class Hourglass(nn.Module):
    """Down and up by the nearest pixel, each level within the next (Newell et al., 2016)."""

    def __init__(self, depth: int = 3, channels: int = 4) -> None:
        super().__init__()
        self.beside = Residual(channels, channels)
        self.before = Residual(channels, channels)
        self.within = Hourglass(depth - 1, channels) if depth > 1 else Residual(channels, channels)
        self.after = Residual(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        low = self.after(self.within(self.before(F.max_pool2d(x, 2))))
        return self.beside(x) + F.interpolate(low, scale_factor=2, mode="nearest")


class Fpn(nn.Module):
    """Levels made from the top down, and one head for all of them (Lin et al., 2017)."""

    def __init__(self, channels: int = 4) -> None:
        super().__init__()
        self.stem = unit(3, channels, stride=2)
        self.stages = nn.ModuleList(Residual(channels, channels, stride=2) for _ in range(3))
        self.lateral = nn.ModuleList(conv(channels, channels, 1) for _ in range(3))
        self.smooth = nn.ModuleList(conv(channels, channels) for _ in range(3))
        self.head = nn.Sequential(unit(channels, channels), conv(channels, 2))

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        x = self.stem(x)
        levels = []
        for stage, lateral in zip(self.stages, self.lateral, strict=True):
            x = stage(x)
            levels.append(lateral(x))
        for index in (1, 0):
            above = F.interpolate(levels[index + 1], levels[index].shape[2:], mode="nearest")
            levels[index] = levels[index] + above
        return {
            f"p{index + 2}": self.head(smooth(level))
            for index, (smooth, level) in enumerate(zip(self.smooth, levels, strict=True))
        }


class OddUpsample(nn.Module):
    """Down to 17 and up to 33 again: a size that is no multiple of the stride."""

    def __init__(self, align_corners: bool, channels: int = 3) -> None:
        super().__init__()
        self.align_corners = align_corners
        self.down = unit(3, channels, stride=2)
        self.head = conv(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        low = self.head(self.down(x))
        return F.interpolate(low, x.shape[2:], mode="bilinear", align_corners=self.align_corners)


class SubPixel(nn.Module):
    """Super-resolution whose last convolution holds the finer pixels (Shi et al., 2016)."""

    def __init__(self, factor: int = 3, width: float = 1 / 16) -> None:
        super().__init__()
        first, second = round(64 * width), round(32 * width)
        self.layers = nn.Sequential(
            conv(1, first, 5),
            nn.Tanh(),
            conv(first, second),
            nn.Tanh(),
            conv(second, factor**2),
            nn.PixelShuffle(factor),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


class PixelUnshuffleNet(nn.Module):
    """Pixels moved to channels, convolved, and moved back, as in FFDNet (Zhang et al., 2018)."""

    def __init__(self, channels: int = 4) -> None:
        super().__init__()
        self.body = nn.Sequential(unit(4, channels), conv(channels, 4))

    def forward(self, x: Tensor) -> Tensor:
        return F.pixel_shuffle(self.body(F.pixel_unshuffle(x, 2)), 2)


class VolumeNet(nn.Module):
    """Three axes, down and up again, as in V-Net (Milletari et al., 2016)."""

    def __init__(self, channels: int = 2) -> None:
        super().__init__()
        self.enter = nn.Conv3d(1, channels, (1, 3, 5), padding=(0, 1, 2))
        self.down = nn.Conv3d(channels, channels, 3, stride=2, padding=1)
        self.bottom = nn.Conv3d(
            channels, channels, 3, stride=(1, 2, 2), padding=(2, 1, 1), dilation=(2, 1, 1)
        )
        self.up = nn.ConvTranspose3d(channels, channels, (1, 2, 2), stride=(1, 2, 2))
        self.leave = nn.Conv3d(2 * channels, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        fine = F.relu(self.enter(x))
        low = F.relu(self.down(fine))
        low = low + self.up(F.relu(self.bottom(low)))
        high = F.interpolate(low, fine.shape[2:], mode="trilinear", align_corners=True)
        return self.leave(torch.cat([fine, high], 1))


# ------------------------------------------------------------------------------------- sequences


class WaveNetStack(nn.Module):
    """Causal pairs of taps, gated, with residual and skip sums (van den Oord et al., 2016)."""

    def __init__(self, layers: int = 10, blocks: int = 1, channels: int = 4) -> None:
        super().__init__()
        self.rates = [2**layer for _ in range(blocks) for layer in range(layers)]
        self.enter = nn.Conv1d(1, channels, 1)
        self.gated = nn.ModuleList(
            nn.Conv1d(channels, 2 * channels, 2, dilation=rate) for rate in self.rates
        )
        self.residual = nn.ModuleList(nn.Conv1d(channels, channels, 1) for _ in self.rates)
        self.skip = nn.ModuleList(nn.Conv1d(channels, channels, 1) for _ in self.rates)
        self.leave = nn.Sequential(
            nn.ReLU(), nn.Conv1d(channels, channels, 1), nn.ReLU(), nn.Conv1d(channels, 2, 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.enter(x)
        skips = []
        for rate, gated, residual, skip in zip(
            self.rates, self.gated, self.residual, self.skip, strict=True
        ):
            signal, gate = gated(F.pad(x, (rate, 0))).chunk(2, 1)
            found = torch.tanh(signal) * torch.sigmoid(gate)
            skips.append(skip(found))
            x = x + residual(found)
        return self.leave(torch.stack(skips).sum(0))


class TemporalBlock(nn.Module):
    """Two causal convolutions, each padded on both sides and chomped at the end."""

    def __init__(self, inputs: int, outputs: int, taps: int, rate: int) -> None:
        super().__init__()
        self.chomped = (taps - 1) * rate
        self.first = nn.Conv1d(inputs, outputs, taps, padding=self.chomped, dilation=rate)
        self.second = nn.Conv1d(outputs, outputs, taps, padding=self.chomped, dilation=rate)
        self.shortcut = nn.Conv1d(inputs, outputs, 1) if inputs != outputs else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.first(x)[:, :, : -self.chomped])
        y = F.relu(self.second(y)[:, :, : -self.chomped])
        return F.relu(y + self.shortcut(x))


class TCN(nn.Module):
    """Temporal blocks whose rate doubles (Bai et al., 2018)."""

    def __init__(self, levels: int = 4, kernel: int = 3, channels: int = 4) -> None:
        super().__init__()
        self.blocks = nn.Sequential(
            *(
                TemporalBlock(channels if level else 1, channels, kernel, 2**level)
                for level in range(levels)
            )
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.blocks(x)


# ------------------------------------------------------------------- blocks that sort the channels


class Res2NetBlock(nn.Module):
    """Groups of channels, each of which sees what the one before it found (Gao et al., 2019)."""

    def __init__(self, scales: int = 4, channels: int = 2) -> None:
        super().__init__()
        self.scales = scales
        self.enter = unit(3, scales * channels, 1)
        self.convs = nn.ModuleList(unit(channels, channels) for _ in range(scales - 1))
        self.leave = conv(scales * channels, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        found, *parts = self.enter(x).chunk(self.scales, 1)
        kept = [found]
        for index, (block, part) in enumerate(zip(self.convs, parts, strict=True)):
            found = block(part + found if index else part)
            kept.append(found)
        return F.relu(x + self.leave(torch.cat(kept, 1)))


class ShuffleUnit(nn.Module):
    """Half of the channels convolved, then both halves interleaved (Ma et al., 2018)."""

    def __init__(self, channels: int = 4) -> None:
        super().__init__()
        half = channels // 2
        self.body = nn.Sequential(
            unit(half, half, 1),
            nn.Conv2d(half, half, 3, padding=1, groups=half),
            nn.BatchNorm2d(half),
            unit(half, half, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        left, right = x.chunk(2, 1)
        x = torch.cat([left, self.body(right)], 1)
        count, channels, height, width = x.shape
        x = x.view(count, 2, channels // 2, height, width).transpose(1, 2)
        return x.reshape(count, channels, height, width)


class ConvNeXtBlock(nn.Module):
    """A wide depthwise convolution and a perceptron, channels last (Liu et al., 2022)."""

    def __init__(self, channels: int = 4) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(channels, channels, 7, padding=3, groups=channels)
        self.norm = nn.LayerNorm(channels)
        self.widen = nn.Linear(channels, 4 * channels)
        self.narrow = nn.Linear(4 * channels, channels)
        self.scale = nn.Parameter(torch.full((channels,), 0.1))

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.depthwise(x).permute(0, 2, 3, 1))
        y = self.scale * self.narrow(F.gelu(self.widen(y)))
        return x + y.permute(0, 3, 1, 2)


class InceptionBlock(nn.Module):
    """Branches of unlike kernels, long along one axis each (Szegedy et al., 2016)."""

    def __init__(self, channels: int = 3) -> None:
        super().__init__()
        wide = nn.Conv2d(channels, channels, (1, 7), padding=(0, 3))
        tall = nn.Conv2d(channels, channels, (7, 1), padding=(3, 0))
        self.branches = nn.ModuleList(
            [
                unit(3, channels, 1),
                nn.Sequential(unit(3, channels, 1), wide, nn.ReLU()),
                nn.Sequential(unit(3, channels, 1), tall, nn.ReLU()),
                nn.Sequential(nn.AvgPool2d(3, stride=1, padding=1), unit(3, channels, 1)),
            ]
        )

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([branch(x) for branch in self.branches], 1)


# -------------------------------------------------------------------------- what sees the whole map


class SqueezeExcite(nn.Module):
    """A convolution whose channels are weighed by the mean of the map (Hu et al., 2018)."""

    def __init__(self, channels: int = 4) -> None:
        super().__init__()
        self.body = unit(3, channels)
        self.squeeze = nn.AdaptiveAvgPool2d(1)
        self.excite = nn.Sequential(
            nn.Linear(channels, channels // 2), nn.ReLU(), nn.Linear(channels // 2, channels)
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.body(x)
        weights = torch.sigmoid(self.excite(self.squeeze(x).flatten(1)))
        return x * weights[:, :, None, None]


class CoordinateAttention(nn.Module):
    """Weights from the mean of a row and the mean of a column (Hou et al., 2021)."""

    def __init__(self, channels: int = 3) -> None:
        super().__init__()
        self.shared = unit(channels, channels, 1)
        self.of_rows = conv(channels, channels, 1)
        self.of_columns = conv(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[2:]
        rows = x.mean(3, keepdim=True)
        columns = x.mean(2, keepdim=True).transpose(2, 3)
        both = self.shared(torch.cat([rows, columns], 2))
        rows, columns = both.split([height, width], 2)
        weights = torch.sigmoid(self.of_rows(rows))
        return x * weights * torch.sigmoid(self.of_columns(columns.transpose(2, 3)))


class SegFormerish(nn.Module):
    """Patches that overlap, attention, and a depthwise 3x3 within (Xie et al., 2021)."""

    def __init__(self, channels: int = 8, heads: int = 2, reduction: int = 2) -> None:
        super().__init__()
        self.heads = heads
        self.embed = nn.Conv2d(3, channels, 7, stride=4, padding=3)
        self.before = nn.LayerNorm(channels)
        self.query = nn.Linear(channels, channels)
        self.reduce = nn.Conv2d(channels, channels, reduction, stride=reduction)
        self.key_value = nn.Linear(channels, 2 * channels)
        self.project = nn.Linear(channels, channels)
        self.between = nn.LayerNorm(channels)
        self.widen = nn.Linear(channels, 2 * channels)
        self.depthwise = nn.Conv2d(2 * channels, 2 * channels, 3, padding=1, groups=2 * channels)
        self.narrow = nn.Linear(2 * channels, channels)

    def by_head(self, tokens: Tensor) -> Tensor:
        return tokens.unflatten(2, (self.heads, -1)).transpose(1, 2)

    def attend(self, tokens: Tensor, height: int, width: int) -> Tensor:
        image = tokens.transpose(1, 2).reshape(len(tokens), -1, height, width)
        few = self.reduce(image).flatten(2).transpose(1, 2)
        key, value = self.key_value(few).chunk(2, 2)
        found = F.scaled_dot_product_attention(
            self.by_head(self.query(tokens)), self.by_head(key), self.by_head(value)
        )
        return self.project(found.transpose(1, 2).flatten(2))

    def mix(self, tokens: Tensor, height: int, width: int) -> Tensor:
        image = self.widen(tokens).transpose(1, 2).unflatten(2, (height, width))
        return self.narrow(F.gelu(self.depthwise(image).flatten(2).transpose(1, 2)))

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x)
        height, width = x.shape[2:]
        tokens = x.flatten(2).transpose(1, 2)
        tokens = tokens + self.attend(self.before(tokens), height, width)
        tokens = tokens + self.mix(self.between(tokens), height, width)
        return tokens.transpose(1, 2).reshape(len(x), -1, height, width)


class Classifier(nn.Module):
    """One answer for the whole image, from the mean of its features."""

    def __init__(self, channels: int = 4, classes: int = 5) -> None:
        super().__init__()
        self.features = nn.Sequential(unit(3, channels, stride=2), unit(channels, channels))
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(channels, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.flatten(self.pool(self.features(x)), 1))


class FlattenHead(nn.Module):
    """One answer for the whole image, from every pixel by itself (LeCun et al., 1998)."""

    def __init__(self, height: int, width: int, channels: int = 3, classes: int = 5) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(1, channels, 5), nn.Tanh(), nn.AvgPool2d(2))
        self.head = nn.Linear(channels * ((height - 4) // 2) * ((width - 4) // 2), classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x).flatten(1))


# ---------------------------------------------------------------------- awkward sizes and edges


class PatchGan(nn.Module):
    """A critic of patches, with kernels of four taps (Isola et al., 2017)."""

    def __init__(self, width: int = 2) -> None:
        super().__init__()
        sizes = [3, width, 2 * width, 4 * width, 8 * width, 1]
        layers: list[nn.Module] = []
        for index, (inputs, outputs) in enumerate(pairwise(sizes)):
            stride = 2 if index < 3 else 1
            layers += [nn.Conv2d(inputs, outputs, 4, stride, padding=1), nn.LeakyReLU(0.2)]
        self.layers = nn.Sequential(*layers[:-1])

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


class EvenKernels(nn.Module):
    """Kernels without a middle, padded more on one side, as TensorFlow pads them."""

    def __init__(self, channels: int = 3) -> None:
        super().__init__()
        self.two = nn.Conv2d(3, channels, 2)
        self.four = nn.Conv2d(channels, channels, 4)
        self.strided = nn.Conv2d(channels, channels, (2, 4), stride=2)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.two(F.pad(x, (0, 1, 0, 1))))
        x = F.relu(self.four(F.pad(x, (1, 2, 2, 1))))
        return self.strided(F.pad(x, (1, 1, 0, 0)))


class ReflectNet(nn.Module):
    """Edges that mirror, repeat and wrap around."""

    def __init__(self, channels: int = 3) -> None:
        super().__init__()
        self.mirrored = nn.Conv2d(3, channels, 5)
        self.repeated = nn.Conv2d(channels, channels, 3, padding=1, padding_mode="replicate")
        self.wrapped = nn.Sequential(nn.CircularPad2d((2, 1, 1, 2)), nn.Conv2d(channels, 3, 4))

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.mirrored(F.pad(x, (2, 2, 2, 2), mode="reflect")))
        return self.wrapped(F.relu(self.repeated(x)))


class CeilPool(nn.Module):
    """Pools whose last window hangs over the edge, as in SqueezeNet (Iandola et al., 2016)."""

    def __init__(self, channels: int = 3) -> None:
        super().__init__()
        self.enter = conv(3, channels)
        self.largest = nn.MaxPool2d(3, stride=2, ceil_mode=True)
        self.between = conv(channels, channels)
        self.mean = nn.AvgPool2d(
            2, stride=2, padding=(0, 1), ceil_mode=True, count_include_pad=False
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.mean(self.between(self.largest(self.enter(x))))


class StridedSlice(nn.Module):
    """Every other pixel, from another start on each axis."""

    def __init__(self, channels: int = 3) -> None:
        super().__init__()
        self.before = conv(3, channels)
        self.after = conv(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.after(self.before(x)[:, :, ::2, 1::2])


class SharedConv(nn.Module):
    """One convolution, applied twice."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = conv(3, 3, rate=2)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.relu(self.conv(x)))


class TwoInputs(nn.Module):
    """A pair of images, one seen more widely than the other, as in stereo matching."""

    def __init__(self, channels: int = 3) -> None:
        super().__init__()
        self.left = unit(3, channels)
        self.right = unit(3, channels, taps=5, rate=2)
        self.join = conv(2 * channels, channels)

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        return self.join(torch.cat([self.left(left), self.right(right)], 1))


class DataDependent(nn.Module):
    """A forward pass that depends on the numbers: no graph describes it."""

    def __init__(self, channels: int = 3) -> None:
        super().__init__()
        self.narrow = conv(3, channels)
        self.wide = conv(3, channels, rate=4)

    def forward(self, x: Tensor) -> Tensor:
        return self.wide(x) if x.sum() > 0 else self.narrow(x)


def convnext() -> nn.Module:
    """Patches of four pixels that do not overlap, and two blocks."""
    return nn.Sequential(nn.Conv2d(3, 4, 4, stride=4), ConvNeXtBlock(), ConvNeXtBlock())


def hourglass() -> nn.Module:
    return nn.Sequential(unit(3, 4, taps=7, stride=2), Hourglass(), conv(4, 2, 1))


def shuffled() -> nn.Module:
    """Three units, so that every channel has been convolved."""
    return nn.Sequential(unit(3, 4, stride=2), ShuffleUnit(), ShuffleUnit(), ShuffleUnit())


NETWORKS: dict[str, tuple[Build, Shape]] = {
    "vgg front end": (lambda: VggFrontEnd(3, 1 / 64), (1, 3, 388, 396)),
    "context module": (lambda: ContextModule(3), (1, 3, 71, 80)),
    "hdc": (lambda: HdcStack((1, 2, 5)), (1, 3, 32, 40)),
    "gridding": (lambda: HdcStack((2, 2, 2)), (1, 3, 32, 40)),
    "aspp": (Aspp, (1, 3, 40, 48)),
    "aspp with image mean": (lambda: Aspp(pooled=True), (1, 3, 40, 48)),
    "pspnet": (PSPNet, (1, 3, 48, 56)),
    "pspnet with aligned corners": (lambda: PSPNet(align_corners=True), (1, 3, 49, 57)),
    "unet": (lambda: UNet(3, 2), (1, 1, 48, 64)),
    "unet not padded": (lambda: UNet(4, 1, padded=False), (1, 1, 188, 204)),
    "unet bilinear": (lambda: UNet(2, 2, up="bilinear"), (1, 1, 32, 40)),
    "unet nearest": (lambda: UNet(2, 2, up="nearest"), (1, 1, 32, 40)),
    "hourglass": (hourglass, (1, 3, 48, 64)),
    "fpn": (Fpn, (1, 3, 50, 68)),
    "odd upsampling": (lambda: OddUpsample(align_corners=False), (1, 3, 33, 33)),
    "odd upsampling with aligned corners": (
        lambda: OddUpsample(align_corners=True),
        (1, 3, 33, 33),
    ),
    "subpixel": (SubPixel, (1, 1, 17, 20)),
    "pixel unshuffle": (PixelUnshuffleNet, (1, 1, 24, 30)),
    "volume": (VolumeNet, (1, 1, 12, 16, 20)),
    "wavenet": (WaveNetStack, (1, 1, 1200)),
    "wavenet of three blocks": (lambda: WaveNetStack(blocks=3), (1, 1, 3200)),
    "tcn": (TCN, (1, 1, 96)),
    "res2net": (Res2NetBlock, (1, 3, 20, 24)),
    "shuffle": (shuffled, (1, 3, 32, 40)),
    "convnext": (convnext, (1, 3, 64, 72)),
    "inception": (InceptionBlock, (1, 3, 20, 24)),
    "squeeze and excite": (SqueezeExcite, (1, 3, 16, 20)),
    "coordinate attention": (CoordinateAttention, (1, 3, 16, 20)),
    "segformer": (SegFormerish, (1, 3, 32, 48)),
    "classifier": (Classifier, (1, 3, 24, 32)),
    "flatten head": (lambda: FlattenHead(20, 24), (1, 1, 20, 24)),
    "patchgan": (PatchGan, (1, 3, 96, 104)),
    "even kernels": (EvenKernels, (1, 3, 20, 25)),
    "reflect": (ReflectNet, (1, 3, 16, 20)),
    "ceil pool": (CeilPool, (1, 3, 20, 27)),
    "strided slice": (StridedSlice, (1, 3, 20, 27)),
    "shared conv": (SharedConv, (1, 3, 20, 24)),
}


class Published(NamedTuple):
    """Extent of the field and the step from one output to the next, one number per axis."""

    field_px: Shape
    stride_px: Shape


FIELDS: dict[str, Published] = {
    # Yu & Koltun (2016): 8 times downsampled; 500 -> 16 and 900 -> 66 leave (500 - 380) / 8 + 1
    "vgg front end": Published((380, 380), (8, 8)),
    # Yu & Koltun (2016), table 1: 3, 5, 9, 17, 33, 65, 67, 67
    "context module": Published((67, 67), (1, 1)),
    # Wang et al. (2018): rates 1, 2, 5 leave no gap; 2, 2, 2 see every other pixel of 13
    "hdc": Published((17, 17), (1, 1)),
    "gridding": Published((13, 13), (1, 1)),
    # Chen et al. (2017): a 3x3 at rate 18 spans 37
    "aspp": Published((37, 37), (1, 1)),
    # van den Oord et al. (2016), section 2.1: a block of rates 1, 2, 4, ..., 512 sees 1024
    "wavenet": Published((1024,), (1,)),
    # the same, repeated: 3 x 1023 + 1
    "wavenet of three blocks": Published((3070,), (1,)),
    # Bai et al. (2018): 1 + 2 (k - 1) (2^levels - 1) with two convolutions a level
    "tcn": Published((61,), (1,)),
    # Isola et al. (2017), appendix 6.1.2: the 70x70 discriminator
    "patchgan": Published((70, 70), (8, 8)),
}


def tensors(answer: Map) -> dict[str, Tensor]:
    """What a network of ``NETWORKS`` returns, by name; a lone tensor is called ""."""
    return answer if isinstance(answer, dict) else {"": answer}
