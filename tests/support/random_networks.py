"""Small random networks as plain descriptions: drawn and shrunk by hypothesis, then built.

A step knows the shape that it makes of a shape (channels and sizes, without the batch), so that
what is drawn always fits. Every size, kernel, stride, rate and padding is drawn for each axis by
itself.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, fields
from functools import partial
from typing import Any, Literal

import torch
import torch.nn.functional as F
from hypothesis import strategies as st
from torch import Tensor, nn

Shape = tuple[int, ...]
Sides = tuple[tuple[int, int], ...]  # before and after, for each axis

CONVS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
MAX_POOLS = (F.max_pool1d, F.max_pool2d, F.max_pool3d)
MEAN_POOLS = (F.avg_pool1d, F.avg_pool2d, F.avg_pool3d)
ADAPTIVE_MEANS = (F.adaptive_avg_pool1d, F.adaptive_avg_pool2d, F.adaptive_avg_pool3d)
ADAPTIVE_MAXES = (F.adaptive_max_pool1d, F.adaptive_max_pool2d, F.adaptive_max_pool3d)
LINEAR = ("linear", "bilinear", "trilinear")
POINTWISE: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": F.relu,
    "gelu": F.gelu,
    "tanh": torch.tanh,
}

SMALLEST_PX = 2
LARGEST_PX = {1: 128, 2: 64, 3: 20}
INPUT_PX = {1: (17, 64), 2: (17, 48), 3: (7, 12)}


class Call(nn.Module):
    """A function as a module."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


def _pad(amounts: Sides, mode: str = "constant") -> nn.Module:
    """Padding in torch's order, the last axis first."""
    return Call(partial(F.pad, pad=[n for sides in reversed(amounts) for n in sides], mode=mode))


def _with_padding(amounts: Sides, make: Callable[[Shape], nn.Module]) -> nn.Module:
    """The operation's own padding where both sides are alike, a step before it where not."""
    if all(before == after for before, after in amounts):
        return make(tuple(before for before, _ in amounts))
    return nn.Sequential(_pad(amounts), make((0,) * len(amounts)))


def _windows(size: Shape, taps: Shape, stride: Shape, rate: Shape, padding: Sides) -> Shape:
    return tuple(
        (n + sum(sides) - r * (k - 1) - 1) // s + 1
        for n, k, s, r, sides in zip(size, taps, stride, rate, padding, strict=True)
    )


# ------------------------------------------------------------------------------------- the steps


@dataclass(frozen=True)
class Conv:
    channels: int
    taps: Shape
    stride: Shape
    rate: Shape
    padding: Sides
    groups: int = 1

    def after(self, shape: Shape) -> Shape:
        size = _windows(shape[1:], self.taps, self.stride, self.rate, self.padding)
        return (self.channels, *size)

    def build(self, shape: Shape) -> nn.Module:
        def make(padding: Shape) -> nn.Module:
            kind = CONVS[len(self.taps) - 1]
            kernel = self.taps, self.stride, padding, self.rate
            return kind(shape[0], self.channels, *kernel, groups=self.groups)

        return _with_padding(self.padding, make)


@dataclass(frozen=True)
class Depthwise:
    taps: Shape
    stride: Shape
    rate: Shape
    padding: Sides

    def _conv(self, shape: Shape) -> Conv:
        return Conv(shape[0], self.taps, self.stride, self.rate, self.padding, groups=shape[0])

    def after(self, shape: Shape) -> Shape:
        return self._conv(shape).after(shape)

    def build(self, shape: Shape) -> nn.Module:
        return self._conv(shape).build(shape)


@dataclass(frozen=True)
class Mix:
    """A convolution of one tap."""

    channels: int

    def after(self, shape: Shape) -> Shape:
        return (self.channels, *shape[1:])

    def build(self, shape: Shape) -> nn.Module:
        return CONVS[len(shape) - 2](shape[0], self.channels, 1)


@dataclass(frozen=True)
class Pointwise:
    kind: Literal["relu", "gelu", "tanh", "norm"]

    def after(self, shape: Shape) -> Shape:
        return shape

    def build(self, shape: Shape) -> nn.Module:
        if self.kind == "norm":
            return NORMS[len(shape) - 2](shape[0])
        return Call(POINTWISE[self.kind])


@dataclass(frozen=True)
class Pool:
    """A mean has no rate; padding is the same on both sides."""

    kind: Literal["max", "mean"]
    taps: Shape
    stride: Shape
    rate: Shape
    padding: Shape
    ceil: bool

    def after(self, shape: Shape) -> Shape:
        sides = tuple((p, p) for p in self.padding)
        size = _windows(shape[1:], self.taps, self.stride, self.rate, sides)
        if self.ceil:
            hung = tuple((p, p + s - 1) for p, s in zip(self.padding, self.stride, strict=True))
            size = _windows(shape[1:], self.taps, self.stride, self.rate, hung)
            size = tuple(  # a window that would start beyond the map is left out
                out - ((out - 1) * s >= n + p)
                for out, n, s, p in zip(size, shape[1:], self.stride, self.padding, strict=True)
            )
        return (shape[0], *size)

    def build(self, shape: Shape) -> nn.Module:
        axis = len(shape) - 2
        window = {"stride": self.stride, "padding": self.padding, "ceil_mode": self.ceil}
        if self.kind == "max":
            window["dilation"] = self.rate
            return Call(partial(MAX_POOLS[axis], kernel_size=self.taps, **window))
        return Call(
            partial(MEAN_POOLS[axis], kernel_size=self.taps, count_include_pad=False, **window)
        )


@dataclass(frozen=True)
class AdaptivePool:
    kind: Literal["max", "mean"]
    bins: Shape

    def after(self, shape: Shape) -> Shape:
        return (shape[0], *self.bins)

    def build(self, shape: Shape) -> nn.Module:
        pools = ADAPTIVE_MAXES if self.kind == "max" else ADAPTIVE_MEANS
        return Call(partial(pools[len(self.bins) - 1], output_size=self.bins))


@dataclass(frozen=True)
class Transposed:
    channels: int
    taps: Shape
    stride: Shape
    rate: Shape
    padding: Shape
    output_padding: Shape

    def after(self, shape: Shape) -> Shape:
        each = zip(
            shape[1:],
            self.taps,
            self.stride,
            self.rate,
            self.padding,
            self.output_padding,
            strict=True,
        )
        size = ((n - 1) * s - 2 * p + r * (k - 1) + o + 1 for n, k, s, r, p, o in each)
        return (self.channels, *size)

    def build(self, shape: Shape) -> nn.Module:
        return TRANSPOSED[len(self.taps) - 1](
            shape[0],
            self.channels,
            self.taps,
            self.stride,
            self.padding,
            self.output_padding,
            dilation=self.rate,
        )


@dataclass(frozen=True)
class Up:
    """Interpolation, to smaller sizes too; by factors, or to a size where ``factor`` is None."""

    kind: Literal["nearest", "nearest-exact", "linear", "cubic", "area"]
    size: Shape
    factor: tuple[float, ...] | None
    align_corners: bool

    def after(self, shape: Shape) -> Shape:
        return (shape[0], *self.size)

    def build(self, shape: Shape) -> nn.Module:
        size = None if self.factor else self.size
        mode = {"linear": LINEAR[len(self.size) - 1], "cubic": "bicubic"}.get(self.kind, self.kind)
        align = self.align_corners if self.kind in ("linear", "cubic") else None
        return Call(
            partial(
                F.interpolate, size=size, scale_factor=self.factor, mode=mode, align_corners=align
            )
        )


@dataclass(frozen=True)
class Pad:
    kind: Literal["constant", "reflect", "replicate", "circular"]
    amounts: Sides

    def after(self, shape: Shape) -> Shape:
        return (shape[0], *(n + sum(a) for n, a in zip(shape[1:], self.amounts, strict=True)))

    def build(self, shape: Shape) -> nn.Module:
        return _pad(self.amounts, self.kind)


@dataclass(frozen=True)
class Slice:
    """``x[start : size - left_out : step]`` on each axis."""

    start: Shape
    left_out: Shape
    step: Shape

    def _slices(self, shape: Shape) -> tuple[slice, ...]:
        each = zip(self.start, shape[1:], self.left_out, self.step, strict=True)
        return tuple(slice(start, n - left_out, step) for start, n, left_out, step in each)

    def after(self, shape: Shape) -> Shape:
        kept = zip(shape[1:], self._slices(shape), strict=True)
        return (shape[0], *(len(range(n)[where]) for n, where in kept))

    def build(self, shape: Shape) -> nn.Module:
        where = (slice(None), slice(None), *self._slices(shape))
        return Call(lambda x: x[where])


@dataclass(frozen=True)
class PixelShuffle:
    factor: int

    def after(self, shape: Shape) -> Shape:
        channels, *size = shape
        return (channels // self.factor ** len(size), *(self.factor * n for n in size))

    def build(self, shape: Shape) -> nn.Module:
        return nn.PixelShuffle(self.factor)


@dataclass(frozen=True)
class PixelUnshuffle:
    factor: int

    def after(self, shape: Shape) -> Shape:
        channels, *size = shape
        return (channels * self.factor ** len(size), *(n // self.factor for n in size))

    def build(self, shape: Shape) -> nn.Module:
        return nn.PixelUnshuffle(self.factor)


@dataclass(frozen=True)
class ChannelShuffle:
    groups: int

    def after(self, shape: Shape) -> Shape:
        return shape

    def build(self, shape: Shape) -> nn.Module:
        channels, *size = shape

        def shuffle(x: Tensor) -> Tensor:
            x = x.view(len(x), self.groups, channels // self.groups, *size)
            return x.transpose(1, 2).reshape(len(x), channels, *size)

        return Call(shuffle)


@dataclass(frozen=True)
class Gate:
    """Channels weighed by a mean, over all axes (squeeze and excite) or some of them."""

    axes: tuple[int, ...]

    def after(self, shape: Shape) -> Shape:
        return shape

    def build(self, shape: Shape) -> nn.Module:
        return _Gate([2 + axis for axis in self.axes], CONVS[len(shape) - 2](shape[0], shape[0], 1))


@dataclass(frozen=True)
class Repeat:
    """The same steps, with the same weights, one time after another."""

    steps: "tuple[Step, ...]"
    times: int

    def after(self, shape: Shape) -> Shape:
        for _ in range(self.times):
            shape = shape_after(self.steps, shape)
        return shape

    def build(self, shape: Shape) -> nn.Module:
        return nn.Sequential(*[_sequence(self.steps, shape)] * self.times)


@dataclass(frozen=True)
class Residual:
    """The input and what the steps make of it, resized to the input where its size differs."""

    steps: "tuple[Step, ...]"
    fit: Literal["crop", "nearest", "linear"]

    def after(self, shape: Shape) -> Shape:
        return shape

    def build(self, shape: Shape) -> nn.Module:
        parts = [nn.Identity(), _sequence(self.steps, shape)]
        return _Joined(parts, "add", self.fit)


@dataclass(frozen=True)
class Branches:
    """Sequences side by side; where sizes differ, those of the first are what the others get."""

    parts: "tuple[tuple[Step, ...], ...]"
    join: Literal["add", "cat"]
    fit: Literal["crop", "nearest", "linear"]

    def after(self, shape: Shape) -> Shape:
        made = [shape_after(part, shape) for part in self.parts]
        channels = made[0][0] if self.join == "add" else sum(one[0] for one in made)
        return (channels, *made[0][1:])

    def build(self, shape: Shape) -> nn.Module:
        return _Joined([_sequence(part, shape) for part in self.parts], self.join, self.fit)


@dataclass(frozen=True)
class Split:
    """Channels divided, each share through steps of its own, and all concatenated again."""

    shares: Shape
    parts: "tuple[tuple[Step, ...], ...]"
    fit: Literal["crop", "nearest", "linear"]

    def _shapes(self, shape: Shape) -> list[Shape]:
        return [(share, *shape[1:]) for share in self.shares]

    def after(self, shape: Shape) -> Shape:
        each = zip(self.parts, self._shapes(shape), strict=True)
        made = [shape_after(part, share) for part, share in each]
        return (sum(one[0] for one in made), *made[0][1:])

    def build(self, shape: Shape) -> nn.Module:
        each = zip(self.parts, self._shapes(shape), strict=True)
        parts = [_sequence(part, share) for part, share in each]
        return _Joined(parts, "cat", self.fit, self.shares)


Step = (
    Conv
    | Depthwise
    | Mix
    | Pointwise
    | Pool
    | AdaptivePool
    | Transposed
    | Up
    | Pad
    | Slice
    | PixelShuffle
    | PixelUnshuffle
    | ChannelShuffle
    | Gate
    | Repeat
    | Residual
    | Branches
    | Split
)


@dataclass(frozen=True)
class Network:
    channels: int
    size: Shape
    steps: tuple[Step, ...]


# ----------------------------------------------------------------------------------------- building


class _Gate(nn.Module):
    def __init__(self, axes: list[int], mix: nn.Module) -> None:
        super().__init__()
        self.axes = axes
        self.mix = mix

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(self.mix(x.mean(self.axes, keepdim=True)))


class _Joined(nn.Module):
    """Parts that all get the input, or a share of its channels each."""

    def __init__(
        self, parts: list[nn.Module], join: str, fit: str, shares: Shape | None = None
    ) -> None:
        super().__init__()
        self.parts = nn.ModuleList(parts)
        self.join = join
        self.fit = fit
        self.shares = shares

    def forward(self, x: Tensor) -> Tensor:
        inputs = [x] * len(self.parts) if self.shares is None else x.split(self.shares, 1)
        first, *others = (part(y) for part, y in zip(self.parts, inputs, strict=True))
        others = [_fitted(other, first.shape[2:], self.fit) for other in others]
        if self.join == "cat":
            return torch.cat([first, *others], 1)
        for other in others:
            first = first + other
        return first


def _fitted(x: Tensor, size: Shape, fit: str) -> Tensor:
    if x.shape[2:] == size:
        return x
    if fit == "crop":
        for axis, kept in enumerate(size, start=2):
            x = x.narrow(axis, (x.shape[axis] - kept) // 2, kept)
        return x
    return F.interpolate(x, size, mode=LINEAR[len(size) - 1] if fit == "linear" else fit)


def _sequence(steps: Iterable[Step], shape: Shape) -> nn.Module:
    layers = []
    for step in steps:
        layers.append(step.build(shape))
        shape = step.after(shape)
    return nn.Sequential(*layers)


def shape_after(steps: Iterable[Step], shape: Shape) -> Shape:
    """Channels and sizes after these steps, without the batch."""
    for step in steps:
        shape = step.after(shape)
    return shape


def build(description: Network) -> nn.Module:
    """The network in evaluation mode; equal descriptions give equal weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return _sequence(description.steps, (description.channels, *description.size)).eval()


def input_shape(description: Network) -> Shape:
    """With a batch of one."""
    return (1, description.channels, *description.size)


def output_shape(description: Network) -> Shape:
    """With a batch of one."""
    return (1, *shape_after(description.steps, input_shape(description)[1:]))


def walk(description: Network) -> Iterator[Step]:
    """Every step, those within others too."""
    waiting: list[Any] = list(description.steps)
    while waiting:
        step = waiting.pop(0)
        if isinstance(step, tuple):
            waiting[:0] = step
            continue
        yield step
        waiting[:0] = [*getattr(step, "parts", ()), *getattr(step, "steps", ())]


def labels(description: Network) -> set[str]:
    """What kinds of step there are, and in which variants: "Pool", "Pool mean", "Pool ceil"..."""
    found = set()
    for step in walk(description):
        name = type(step).__name__
        found.add(name)
        for field in fields(step):
            value = getattr(step, field.name)
            if isinstance(value, str):
                found.add(f"{name} {value}")
            elif value is True:
                found.add(f"{name} {field.name}")
    return found


# ------------------------------------------------------------------------------------- the drawing


class _Drawer:
    """Draws steps that fit; ``left`` counts how many more there may be, nested ones included."""

    def __init__(
        self,
        draw: Callable[[st.SearchStrategy[Any]], Any],
        axes: int,
        steps: int,
        kinds: Iterable[type[Step]],
    ) -> None:
        self.draw = draw
        self.axes = axes
        self.left = steps
        self.kinds = [DRAWN[kind] for kind in kinds]
        self.largest_px = LARGEST_PX[axes]

    # parts of steps

    def integer(self, low: int, high: int) -> int:
        return self.draw(st.integers(low, high))

    def one_of(self, *choices: Any) -> Any:
        return self.draw(st.sampled_from(choices))

    def each(self, low: int, high: int) -> Shape:
        return tuple(self.integer(low, high) for _ in range(self.axes))

    def strides(self, size: Shape) -> Shape:
        """Small maps keep their size."""
        return tuple(self.integer(1, 3 if n >= 3 * SMALLEST_PX else 1) for n in size)

    def sides(self, size: Shape, taps: Shape, rate: Shape) -> Sides:
        """Padding that keeps the size, any that leaves enough of the map, or none."""
        found = []
        for n, k, r in zip(size, taps, rate, strict=True):
            span = r * (k - 1)
            kinds = ["same", "none", "any"] if n - span >= 2 * SMALLEST_PX else ["same"]
            kind = self.one_of(*kinds)
            if kind == "same":
                before = self.integer(0, 1) if span % 2 else 0
                found.append((span // 2 + before, span - span // 2 - before))
            else:
                found.append((self.integer(0, 4), self.integer(0, 4)) if kind == "any" else (0, 0))
        return tuple(found)

    def fit(self, shapes: Iterable[Shape], size: Shape) -> str:
        """How maps become as large as ``size``; only larger ones can be cropped."""
        small = any(n < kept for shape in shapes for n, kept in zip(shape[1:], size, strict=True))
        return self.one_of("nearest", "linear", *([] if small else ["crop"] * 2))

    # steps: each takes a shape and gives one that fits, several that belong together, or nothing

    def pointwise(self, shape: Shape) -> Step:
        return Pointwise(self.one_of("relu", "gelu", "tanh", "norm"))

    def mix(self, shape: Shape) -> Step:
        return Mix(self.integer(2, 6))

    def conv(self, shape: Shape) -> Step:
        channels, *size = shape
        taps, rate = self.each(1, 4), self.each(1, 4)
        outputs = self.integer(2, 6)
        common = [n for n in (1, 2, 3) if channels % n == outputs % n == 0]
        groups = self.one_of(*common)
        return Conv(outputs, taps, self.strides(size), rate, self.sides(size, taps, rate), groups)

    def depthwise(self, shape: Shape) -> Step:
        _, *size = shape
        taps, rate = self.each(1, 4), self.each(1, 4)
        return Depthwise(taps, self.strides(size), rate, self.sides(size, taps, rate))

    def pool(self, shape: Shape) -> Step | None:
        """No window of a maximum may lie in the padding alone, and no mean exceed the map."""
        _, *size = shape
        kind = self.one_of("max", "mean")
        taps = self.each(1, 4)
        rate = self.each(1, 3) if kind == "max" else (1,) * self.axes
        padding = tuple(self.integer(0, k // 2) for k in taps)
        fits = all(
            n >= (r if kind == "max" else k) and n + 2 * p - r * (k - 1) >= SMALLEST_PX
            for n, k, r, p in zip(size, taps, rate, padding, strict=True)
        )
        strides = self.strides(size)
        return Pool(kind, taps, strides, rate, padding, self.one_of(False, True)) if fits else None

    def adaptive_pool(self, shape: Shape) -> Step:
        return AdaptivePool(self.one_of("max", "mean"), self.each(1, 9))

    def transposed(self, shape: Shape) -> Step:
        _, *size = shape
        taps, rate = self.each(1, 4), self.each(1, 3)
        stride = tuple(self.integer(1, max(1, min(3, self.largest_px // n))) for n in size)
        output_padding, padding = [], []
        for n, k, s, r in zip(size, taps, stride, rate, strict=True):
            output_padding.append(self.integer(0, max(s, r) - 1))
            spare = (n - 1) * s + r * (k - 1) + 1 - SMALLEST_PX
            padding.append(self.integer(0, max(0, min(3, spare // 2))))
        return Transposed(
            self.integer(2, 6), taps, stride, rate, tuple(padding), tuple(output_padding)
        )

    def up(self, shape: Shape) -> Step:
        _, *size = shape
        cubic = ["cubic"] * (self.axes == 2)
        kind = self.one_of("nearest", "linear", "linear", *cubic, "nearest-exact", "area")
        align = kind in ("linear", "cubic") and self.one_of(False, True)
        if self.one_of(True, False):
            factor = tuple(
                self.one_of(
                    *(f for f in (1.0, 2.0, 3.0, 1.5, 2.5) if int(n * f) <= self.largest_px),
                    *(f for f in (0.5, 0.75) if int(n * f) >= SMALLEST_PX),
                )
                for n in size
            )
            return Up(
                kind, tuple(int(n * f) for n, f in zip(size, factor, strict=True)), factor, align
            )
        wanted = tuple(
            self.integer(max(SMALLEST_PX, n // 2), min(self.largest_px, 3 * n)) for n in size
        )
        return Up(kind, wanted, None, align)

    def pad(self, shape: Shape) -> Step:
        """A mirror needs more pixels than it shows; whatever wraps around, as many."""
        _, *size = shape
        kind = self.one_of("constant", "reflect", "replicate", "circular")
        most = [min(4, n - 1) for n in size]
        return Pad(kind, tuple((self.integer(0, m), self.integer(0, m)) for m in most))

    def cut(self, shape: Shape) -> Step:
        _, *size = shape
        spare = [max(0, n - 2 * SMALLEST_PX) for n in size]
        start = tuple(self.integer(0, min(3, n // 2)) for n in spare)
        left_out = tuple(self.integer(0, min(3, n // 2)) for n in spare)
        return Slice(start, left_out, tuple(self.integer(1, 2 if n else 1) for n in spare))

    def pixel_shuffle(self, shape: Shape) -> tuple[Step, ...]:
        """With the channels that it takes."""
        factors = [f for f in (2, 3) if f * max(shape[1:]) <= self.largest_px]
        if not factors or self.axes != 2:
            return ()
        factor = self.one_of(*factors)
        return Mix(self.integer(1, 16 // factor**2) * factor**2), PixelShuffle(factor)

    def pixel_unshuffle(self, shape: Shape) -> tuple[Step, ...]:
        """With few channels before, and after an edge that would be left over is cut off."""
        factor = self.one_of(2, 3)
        if self.axes != 2 or min(shape[1:]) < factor * SMALLEST_PX:
            return ()
        cut = Slice((0, 0), tuple(n % factor for n in shape[1:]), (1, 1))
        return Mix(self.integer(1, 16 // factor**2)), cut, PixelUnshuffle(factor)

    def channel_shuffle(self, shape: Shape) -> tuple[Step, ...]:
        """With the channels that it takes."""
        groups = self.one_of(2, 3)
        return Mix(2 * groups), ChannelShuffle(groups)

    def gate(self, shape: Shape) -> Step:
        everywhere = tuple(range(self.axes))
        return Gate(self.one_of(everywhere, *((axis,) for axis in everywhere)))

    # steps that hold others

    def repeat(self, shape: Shape) -> Step | None:
        """One convolution keeps the channels and is made to fit as often as it is repeated."""
        channels, *size = shape
        taps, rate = self.each(1, 3), self.each(1, 2)
        sides = self.sides(size, taps, rate)
        conv = Conv(channels, taps, (1,) * self.axes, rate, sides)
        step = Repeat((conv, Pointwise("relu")), self.integer(2, 3))
        fits = all(SMALLEST_PX <= n <= self.largest_px for n in step.after(shape)[1:])
        return step if fits else None

    def residual(self, shape: Shape) -> Step:
        steps, made = self.within(shape, channels=shape[0])
        return Residual(steps, self.fit([made], shape[1:]))

    def branches(self, shape: Shape) -> Step:
        join = self.one_of("add", "cat")
        parts, shapes = [], []
        for index in range(self.integer(2, 3)):
            wanted = shapes[0][0] if join == "add" and index else None
            steps, made = self.within(shape, channels=wanted)
            parts.append(steps)
            shapes.append(made)
        return Branches(tuple(parts), join, self.fit(shapes[1:], shapes[0][1:]))

    def split(self, shape: Shape) -> Step | None:
        channels, *size = shape
        if channels < 2:
            return None
        first = self.integer(1, channels - 1)
        shares = (first, channels - first)
        made = [self.within((share, *size)) for share in shares]
        parts = tuple(steps for steps, _ in made)
        return Split(shares, parts, self.fit([made[1][1]], made[0][1][1:]))

    def within(self, shape: Shape, channels: int | None = None) -> tuple[tuple[Step, ...], Shape]:
        """A short sequence, which may be empty; ends with ``channels``."""
        steps, shape = self.sequence(shape, self.integer(0, min(3, self.left)))
        if channels is not None and shape[0] != channels:
            steps, shape = (*steps, Mix(channels)), (channels, *shape[1:])
        return steps, shape

    def sequence(self, shape: Shape, count: int | None) -> tuple[tuple[Step, ...], Shape]:
        """``count`` steps or fewer; where it is None, until none is left.

        To stop is the first choice, so that hypothesis can leave out single steps as it shrinks.
        """
        steps: list[Step] = []
        while self.left > 0 and (count is None or len(steps) < count):
            choose = self.one_of(*([None] if steps else []), *self.kinds)
            if choose is None:
                break
            self.left -= 1
            drawn = choose(self, shape) or self.pointwise(shape)
            together = drawn if isinstance(drawn, tuple) else (drawn,)
            if not self.fits(shape_after(together, shape)):
                together = (self.pointwise(shape),)
            steps += together
            shape = shape_after(together, shape)
        return tuple(steps), shape

    def fits(self, shape: Shape) -> bool:
        return min(shape) >= 1 and shape[0] <= 16 and max(shape[1:]) <= self.largest_px


# simple steps first, for hypothesis shrinks towards them
DRAWN: dict[type[Step], Callable[[_Drawer, Shape], Step | tuple[Step, ...] | None]] = {
    Pointwise: _Drawer.pointwise,
    Mix: _Drawer.mix,
    Conv: _Drawer.conv,
    Depthwise: _Drawer.depthwise,
    Pool: _Drawer.pool,
    Pad: _Drawer.pad,
    Slice: _Drawer.cut,
    Up: _Drawer.up,
    Transposed: _Drawer.transposed,
    AdaptivePool: _Drawer.adaptive_pool,
    PixelShuffle: _Drawer.pixel_shuffle,
    PixelUnshuffle: _Drawer.pixel_unshuffle,
    ChannelShuffle: _Drawer.channel_shuffle,
    Gate: _Drawer.gate,
    Repeat: _Drawer.repeat,
    Residual: _Drawer.residual,
    Branches: _Drawer.branches,
    Split: _Drawer.split,
}

OFTEN = (Conv, Conv, Conv, Pool, Up, Residual, Branches, Split)


@st.composite
def random_networks(
    draw: Callable[[st.SearchStrategy[Any]], Any],
    axes: int = 2,
    without: Iterable[type[Step]] = (),
) -> Network:
    """Descriptions of 1 to 12 steps, those within others included.

    ``without`` names types of step that are not drawn; a ``Mix`` or ``Slice`` that another step
    needs still occurs. Without ``Gate`` and ``AdaptivePool`` no step sees the whole map.
    """
    channels = draw(st.integers(2, 4))
    size = tuple(
        draw(st.lists(st.integers(*INPUT_PX[axes]), min_size=axes, max_size=axes, unique=True))
    )
    excluded = set(without)
    kinds = [kind for kind in (*DRAWN, *OFTEN) if kind not in excluded]
    drawer = _Drawer(draw, axes, draw(st.integers(1, 12)), kinds)
    steps, _ = drawer.sequence((channels, *size), None)
    return Network(channels, size, steps)
