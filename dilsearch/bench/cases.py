"""What is measured: layers, networks, and layers that grow. Nothing here imports torch."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Final, TypeAlias

from dilsearch.errors import DilsearchError
from dilsearch.sites import Granularity, PerBranch, PerChannel
from dilsearch.space.locate import did_you_mean

CONTESTANTS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "native": "torch's own convolution at the whole part of the rates, which learns no rate",
        "ours": "dilsearch.ops, with a gradient for the rates",
        "deformable": "torchvision.ops.deform_conv2d at offsets computed from the rates",
        "dcls": "the package DCLS: a dense kernel made from the rates, then torch's convolution",
    }
)
"""Ways to do it, by name; the others are compared with the first."""

REFERENCE: Final = "native"
_QUICK_CHANNELS: Final = 8
"""Quick cases have this many times fewer channels and groups."""
_QUICK_PX: Final = 12
_QUICK_SAMPLES: Final = 64


class BenchError(DilsearchError):
    """A benchmark asked for that there is not."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LayerCase:
    """One convolution with 3 taps along each axis and no bias that keeps the size.

    Args:
        name: What it is called on the command line.
        title: What it is.
        shape: Batch, channels and pixels (or samples) of the input.
        rates: One for each branch, or for each input channel.
        out_channels: Channels of the output.
        groups: Channel groups.
        per_channel: Whether ``rates`` are those of the input channels.
        causal: Whether it looks back alone, as layers over time do.
    """

    name: str
    title: str
    shape: tuple[int, ...]
    rates: tuple[float, ...]
    out_channels: int
    groups: int = 1
    per_channel: bool = False
    causal: bool = False

    @property
    def axes(self) -> int:
        """How many axes the convolution runs over."""
        return len(self.shape) - 2

    @property
    def kernel_shape(self) -> tuple[int, ...]:
        """Shape of the weight."""
        return (self.out_channels, self.shape[1] // self.groups, *(3,) * self.axes)

    def quick(self) -> "LayerCase":
        """The same layer, small enough for a smoke test."""
        batch, channels, *size = self.shape
        fewer = channels // _QUICK_CHANNELS
        largest = _QUICK_PX if self.axes > 1 else _QUICK_SAMPLES
        return replace(
            self,
            shape=(batch, fewer, *(min(length, largest) for length in size)),
            out_channels=self.out_channels // _QUICK_CHANNELS,
            groups=max(self.groups // _QUICK_CHANNELS, 1),
            rates=self.rates[:fewer] if self.per_channel else self.rates,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class NetworkCase:
    """A built-in network whose chosen sites have real-valued rates.

    Args:
        name: What it is called on the command line.
        title: What it is.
        network: Its name in ``build_model``.
        shape: Batch, channels, height and width of the images.
        num_classes: Classes of the labels.
        plain_rates: Rates of the network it is compared with, as ``build_model`` takes them.
        sites: What may vary at each site.
        rates: The rates each site is measured at.
        bounded: Whether a step holds the rates to the gap bound, beside their limits.
    """

    name: str
    title: str
    network: str
    shape: tuple[int, int, int, int]
    num_classes: int
    plain_rates: tuple[tuple[int, ...], ...]
    sites: Mapping[str, Granularity] = field(hash=False)
    rates: Mapping[str, tuple[float, ...]] = field(hash=False)
    bounded: bool = False

    def quick(self) -> "NetworkCase":
        """The same network on one small image."""
        height, width = (max(length // 10, 32) for length in self.shape[2:])
        return replace(self, shape=(1, 3, height, width))


@dataclass(frozen=True, kw_only=True, slots=True)
class GrowthCase:
    """One layer at several values of one quantity, forward and backward.

    Args:
        name: What it is called on the command line.
        title: What it is.
        axis: The quantity that grows, with its unit.
        points: Its values, and the layer at each.
    """

    name: str
    title: str
    axis: str
    points: Mapping[float, LayerCase] = field(hash=False)

    def quick(self) -> "GrowthCase":
        """The first two points, small enough for a smoke test."""
        first = list(self.points.items())[:2]
        return replace(self, points={value: layer.quick() for value, layer in first})


Case: TypeAlias = LayerCase | NetworkCase | GrowthCase


def all_cases(*, quick: bool = False) -> tuple[Case, ...]:
    """Every case, in the order they are measured.

    Args:
        quick: In sizes that only show that everything works.
    """
    cases: tuple[Case, ...] = (*_layers(), *_networks(), *_growth())
    return tuple(case.quick() for case in cases) if quick else cases


def choose_cases(names: Sequence[str], *, quick: bool = False) -> tuple[Case, ...]:
    """The named cases, in their own order; all if none is named.

    Raises:
        BenchError: If a name is unknown.
    """
    cases = all_cases(quick=quick)
    known = [case.name for case in cases]
    for name in names:
        _require("case", name, known)
    return tuple(case for case in cases if not names or case.name in names)


def choose_contestants(without: Sequence[str]) -> tuple[str, ...]:
    """The contestants but for those named.

    Raises:
        BenchError: If a name is unknown, or is that of the one that all are compared with.
    """
    for name in without:
        _require("contestant", name, list(CONTESTANTS))
    if REFERENCE in without:
        others = ", ".join(name for name in CONTESTANTS if name != REFERENCE)
        raise BenchError(
            f"'{REFERENCE}' cannot be left out, since the others are compared with it; "
            f"leave out one of {others}"
        )
    return tuple(name for name in CONTESTANTS if name not in without)


def _require(kind: str, name: str, known: Sequence[str]) -> None:
    if name not in known:
        raise BenchError(
            f"there is no {kind} named '{name}'{did_you_mean(name, known)}; "
            f"there are {', '.join(known)}"
        )


def _layers() -> tuple[LayerCase, ...]:
    return (
        LayerCase(
            name="d-block-branch",
            title="one branch of a D block, 8 groups",
            shape=(2, 128, 64, 64),
            rates=(5.5,),
            out_channels=128,
            groups=8,
        ),
        LayerCase(
            name="dense",
            title="a dense layer",
            shape=(1, 256, 45, 60),
            rates=(5.5,),
            out_channels=256,
        ),
        LayerCase(
            name="regseg-camvid",
            title="a RegSeg block of two branches, images of 360 x 480 px",
            shape=(2, 256, 23, 30),
            rates=(1.3, 4.7),
            out_channels=256,
            groups=16,
        ),
        LayerCase(
            name="regseg-cityscapes",
            title="a RegSeg block of two branches, images of 1024 x 2048 px",
            shape=(1, 256, 64, 128),
            rates=(1.3, 4.7),
            out_channels=256,
            groups=16,
        ),
        LayerCase(
            name="largefov-conv5",
            title="conv5 of DeepLab-LargeFOV, a rate for each channel",
            shape=(1, 512, 41, 41),
            rates=_uniform(512, 1, 4, seed=1),
            out_channels=512,
            per_channel=True,
        ),
        LayerCase(
            name="largefov-fc6",
            title="fc6 of DeepLab-LargeFOV, a rate for each channel",
            shape=(1, 512, 41, 41),
            rates=_uniform(512, 4, 20, seed=4),
            out_channels=1024,
            per_channel=True,
        ),
        LayerCase(
            name="depthwise",
            title="a depthwise layer",
            shape=(1, 256, 64, 64),
            rates=(2.5,),
            out_channels=256,
            groups=256,
        ),
        LayerCase(
            name="tcn",
            title="a causal layer over time",
            shape=(8, 64, 1024),
            rates=(6.5,),
            out_channels=64,
            causal=True,
        ),
    )


def _networks() -> tuple[NetworkCase, ...]:
    blocks = [f"body.{index}.conv2" for index in range(5, 18)]
    conv5 = [f"conv5_{index}" for index in (1, 2, 3)]
    return (
        NetworkCase(
            name="regseg",
            title="RegSeg, 13 blocks with two rates each",
            network="regseg",
            shape=(2, 3, 360, 480),
            num_classes=11,
            plain_rates=((1, 2),) * 13,
            sites=dict.fromkeys(blocks, PerBranch(1, 18)),
            rates=dict.fromkeys(blocks, (1.3, 2.7)),
            bounded=True,
        ),
        NetworkCase(
            name="largefov",
            title="DeepLab-LargeFOV, four layers with a rate for each channel",
            network="largefov",
            shape=(1, 3, 321, 321),
            num_classes=19,
            plain_rates=((2,), (2,), (2,), (12,)),
            sites={**dict.fromkeys(conv5, PerChannel(1, 4)), "fc6": PerChannel(4, 20)},
            rates={
                **{name: _uniform(512, 1, 4, seed=seed) for seed, name in enumerate(conv5, 1)},
                "fc6": _uniform(512, 4, 20, seed=4),
            },
        ),
    )


def _growth() -> tuple[GrowthCase, ...]:
    return (
        GrowthCase(
            name="growth-rate",
            title="the larger the rate",
            axis="rate, px",
            points={rate: _growing(rate=rate) for rate in (1.5, 2.5, 4.5, 8.5, 14.5, 19.5)},
        ),
        GrowthCase(
            name="growth-channels",
            title="the more the channels",
            axis="channels",
            points={count: _growing(channels=count) for count in (32, 64, 128, 256, 512)},
        ),
        GrowthCase(
            name="growth-size",
            title="the larger the image",
            axis="height and width, px",
            points={size: _growing(size_px=size) for size in (16, 32, 64, 128)},
        ),
    )


def _growing(rate: float = 5.5, channels: int = 128, size_px: int = 64) -> LayerCase:
    return LayerCase(
        name=f"{channels} channels in groups of 16, {size_px} px, rate {rate:g}",
        title="a branch of a D block",
        shape=(1, channels, size_px, size_px),
        rates=(rate,),
        out_channels=channels,
        groups=channels // 16,
    )


def _uniform(count: int, lower: float, upper: float, *, seed: int) -> tuple[float, ...]:
    """Rates drawn between their limits."""
    generator = random.Random(seed)
    return tuple(generator.uniform(lower, upper) for _ in range(count))
