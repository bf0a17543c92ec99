"""What an analysis finds at one convolution, one output or one pooling: plain values."""

from dataclasses import dataclass
from fractions import Fraction
from typing import Literal, TypeAlias

Sizes: TypeAlias = tuple[int, ...]
"""Whole pixels or taps, one value for each spatial axis: (height, width) in the plane."""

Strides: TypeAlias = tuple[int | Fraction, ...]
"""Input pixels between neighbouring positions, per axis; a fraction behind super-resolution."""

Basis: TypeAlias = Literal["plane", "position", "image", "axes"]
"""What holes were counted on.

``plane``: the exact set, the same for every position. ``position``: positions see different sets
(there is upsampling in front), and this is the exact set of the middle one. ``image``: grids do not
fit into one another, and this is what the middle position sees inside the image. ``axes``: the
exact set would be too large; each axis was counted by itself, and ``holes`` is a lower bound.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gaps:
    """The input pixels inside the box of a field that are not seen.

    Args:
        holes: How many they are.
        largest_hole_px: Side of the largest square (run, cube) without a pixel seen; 0 for none.
        seen_share: Seen pixels over those of the box, from 0 to 1.
        basis: What was counted; only ``axes`` is not exact.
    """

    holes: int
    largest_hole_px: int
    seen_share: float
    basis: Basis

    @property
    def exact(self) -> bool:
        """Whether the figures are exact; else ``holes`` is a lower bound."""
        return self.basis != "axes"


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteReport:
    """One convolution with two or more taps, at one of its uses.

    Args:
        name: Module path; with ``:2`` at its second use in a forward pass, and so on.
        kind: Name of its class, such as ``Conv2d``.
        kernel: Taps per axis.
        rates: Dilation rates per axis, for each branch; one branch for an ordinary convolution.
        stride: Stride per axis, in positions of its input; of its output if transposed.
        groups: Channel groups.
        in_channels: Channels that it reads.
        out_channels: Channels that it writes.
        field_in_px: Field in front of it; None if it sees only what is pooled globally.
        stride_in_px: Stride in front of it.
        field_out_px: Field behind it.
        stride_out_px: Stride behind it.
        centre_px: Input pixel on which the field of position 0 is centred.
        bound: Largest rate per axis that leaves no gap; None for a transposed convolution, and for
            one that has no field.
        bound_ok: Whether every branch keeps the bound on every axis it spans; None as ``bound``,
            and where something in front is not known well enough to tell.
        gaps: Unseen pixels behind it; None if it has no field.
        parameters: Weights and biases.
        macs: Multiply-accumulates for the example's batch; a FLOP count is twice this.
        global_context: Whether a global pooling reaches it.
        lower_bound: Whether something in front of it could not be followed, so that its field and
            bound may be larger.
        upper_bound: Whether more is counted in front of it than is seen, so that they may be
            smaller.
    """

    name: str
    kind: str
    kernel: Sizes
    rates: tuple[Sizes, ...]
    stride: Sizes
    groups: int
    in_channels: int
    out_channels: int
    field_in_px: Sizes | None
    stride_in_px: Strides | None
    field_out_px: Sizes | None
    stride_out_px: Strides | None
    centre_px: tuple[float, ...] | None
    bound: Sizes | None
    bound_ok: bool | None
    gaps: Gaps | None
    parameters: int
    macs: int
    global_context: bool
    lower_bound: bool = False
    upper_bound: bool = False

    @property
    def rate(self) -> Sizes:
        """The largest rate of its branches, per axis."""
        return tuple(max(axis) for axis in zip(*self.rates, strict=True))

    @property
    def fix(self) -> str:
        """What would mend a broken bound, such as ``rate 9 -> 6``; empty if it is kept."""
        if self.bound_ok is not False or self.bound is None:
            return ""
        axes = zip(self.rate, self.bound, self.kernel, strict=True)
        broken = [(rate, bound) for rate, bound, taps in axes if taps > 1 and rate > bound]
        if any(bound < 1 for _, bound in broken):
            return "gaps in front of it: lower the stride or enlarge the kernel before"
        return ", ".join(dict.fromkeys(f"rate {rate} -> {bound}" for rate, bound in broken))


@dataclass(frozen=True, slots=True, kw_only=True)
class PathReport:
    """One way from the input to an output.

    Args:
        field_px: The field along this path alone.
        nodes: Its windows of two or more taps, transposed convolutions and resamplings, in order.
    """

    field_px: Sizes
    nodes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class HdcReport:
    """The rule of Hybrid Dilated Convolution for a chain of convolutions.

    Args:
        m2: The distance M_2 between taps that it goes by.
        taps: Taps of the chain's kernels, which M_2 should not exceed.
        rates: Rates of the chain: those at the coarsest stride of the largest path.
    """

    m2: int
    taps: int
    rates: tuple[int, ...]

    @property
    def ok(self) -> bool:
        """Whether M_2 <= taps: a rule of thumb, where the holes are the truth."""
        return self.m2 <= self.taps


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputReport:
    """What one output of the network, or one node asked for, sees of the input.

    Args:
        name: ``output``, a key such as ``out`` or ``features.0``, or the node that was asked for.
        node: The node of the field graph.
        size: Positions of its map per axis; None if it has none, as the scores of a classifier.
        field_px: The largest field among its positions; None if it sees only global context.
        field_min_px: The smallest; upsampling makes positions differ.
        stride_px: Input pixels between neighbouring positions.
        centre_px: Input pixel on which the field of position 0 is centred.
        needed_px: Field to compare with: that of the task, or 2N - 1 for an image of N pixels, so
            that every pixel can see every other.
        global_context: Whether a global pooling reaches it.
        gaps: Unseen pixels; None if it has no field.
        largest_path: The path with the largest field.
        smallest_path: The path with the smallest.
        hdc: HDC's rule on the largest path; None where that has fewer than two convolutions at
            its coarsest stride.
    """

    name: str
    node: str
    size: Sizes | None
    field_px: Sizes | None
    field_min_px: Sizes | None
    stride_px: Strides | None
    centre_px: tuple[float, ...] | None
    needed_px: Sizes
    global_context: bool
    gaps: Gaps | None
    largest_path: PathReport | None
    smallest_path: PathReport | None
    hdc: HdcReport | None


@dataclass(frozen=True, slots=True, kw_only=True)
class GlobalReport:
    """Where the whole map, or a whole axis of it, enters every position.

    Args:
        node: The node of the field graph.
        cause: The operation and the module that it is in.
        field_px: The field in front of it, per axis; None if that is global as well.
    """

    node: str
    cause: str
    field_px: Sizes | None


def axis_names(axes: int) -> tuple[str, ...]:
    """What the spatial axes are called."""
    return {1: ("length",), 2: ("height", "width"), 3: ("depth", "height", "width")}[axes]
