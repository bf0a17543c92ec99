"""What an analysis finds: values that the table, the files and the figures are made from."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, Literal, TypeAlias

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray

from dilsearch.errors import GeometryError
from dilsearch.geometry import Coverage, FieldGraph, PathCounts, Source
from dilsearch.geometry.table import nearest

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
        needed_px: 2N - 1 for an image of N pixels, so that every pixel can see every other.
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


@dataclass(frozen=True, kw_only=True)
class Analysis:
    """Fields, strides, bounds and exact gaps of a network, at every convolution and output.

    Sizes have one value per spatial axis: (height, width) in the plane, (length,) for a series,
    (depth, height, width) for a volume.

    Args:
        model: Name of its class.
        input_px: Spatial size of the first input.
        inputs: Shape of every input.
        sites: Every convolution of two or more taps, in the order of the forward pass.
        outputs: Every output that has a place in the image; or the nodes that were asked for.
        global_context: Every operation that mixes a whole map or a whole axis.
        unfollowed: Node to the operation, with its module path, that could not be followed; fields
            behind it are lower bounds.
        remarks: Node to what is counted there beyond what is seen; fields behind it are upper
            bounds.
        parameters: Of the whole model.
        macs: Multiply-accumulates of one forward pass on the example; a FLOP count is twice this.
        graph: The field graph, with the rates that were analysed.
        modules: Module path to the node behind it.
        model_outputs: Each output of the model, whether it was asked for or not, to its node.
    """

    model: str
    input_px: Sizes
    inputs: tuple[tuple[int, ...], ...]
    sites: tuple[SiteReport, ...]
    outputs: tuple[OutputReport, ...]
    global_context: tuple[GlobalReport, ...]
    unfollowed: Mapping[str, str]
    remarks: Mapping[str, str] = field(default_factory=dict)
    parameters: int
    macs: int
    graph: FieldGraph = field(repr=False)
    modules: Mapping[str, str] = field(repr=False, default_factory=dict)
    model_outputs: Mapping[str, str] = field(repr=False, default_factory=dict)

    @property
    def field_px(self) -> Sizes | None:
        """Field at the first output; None if it sees only what is pooled globally."""
        return self.outputs[0].field_px

    @property
    def stride_px(self) -> Strides | None:
        """Stride at the first output."""
        return self.outputs[0].stride_px

    @property
    def needed_px(self) -> Sizes:
        """2N - 1 for the input's N pixels per axis, so that every pixel can see every other."""
        return self.outputs[0].needed_px

    @property
    def holes(self) -> int | None:
        """Unseen pixels in the field of the first output; None if it has no field."""
        gaps = self.outputs[0].gaps
        return None if gaps is None else gaps.holes

    @property
    def bound_ok(self) -> bool | None:
        """Whether every site that has a bound keeps it; None if none has."""
        kept = [site.bound_ok for site in self.sites if site.bound_ok is not None]
        return all(kept) if kept else None

    @property
    def verdict(self) -> str:
        """One line that says whether the field suffices, bounds are kept and pixels are missed."""
        from dilsearch.analysis.wording import verdict

        return verdict(self)

    def coverage(self, at: str | None = None) -> Coverage:
        """The exact set of input pixels behind a node or module; by default, the first output.

        Behind upsampling positions see different sets: it is that of the map's middle position.

        Raises:
            GeometryError: If there is no such node, or it has no field.
        """
        return self.graph.coverage(at=self.node(at))

    def paths(self, at: str | None = None) -> PathCounts:
        """How many paths lead from each input pixel to the middle position of a node.

        Raises:
            GeometryError: As ``coverage``.
        """
        node = self.node(at)
        return self.graph.paths(node, self.graph.middle(node))

    def node(self, name: str | None = None) -> str:
        """The node of that name, or the last behind the module of that path.

        Args:
            name: By default, the first output.

        Raises:
            GeometryError: If there is neither.
        """
        return self.outputs[0].node if name is None else find_node(self.graph, self.modules, name)

    def sites_frame(self) -> pd.DataFrame:
        """One row per site, one column per figure and axis: ``field_in_height_px`` and so on."""
        from dilsearch.analysis.frames import sites_frame

        return sites_frame(self)

    def outputs_frame(self) -> pd.DataFrame:
        """One row per output, as ``sites_frame``."""
        from dilsearch.analysis.frames import outputs_frame

        return outputs_frame(self)

    def growth_frame(self) -> pd.DataFrame:
        """Field by depth on the largest path of the first output.

        Columns ``depth`` (1 for the first node that widens the field), ``node``, and ``AXIS_px``
        for each axis.

        Raises:
            GeometryError: If the first output has no field.
        """
        from dilsearch.analysis.frames import growth_frame

        return growth_frame(self)

    def to_json(self) -> dict[str, Any]:
        """Everything as plain values: sizes as lists [height, width], whole strides as integers."""
        from dilsearch.analysis.frames import as_json

        return as_json(self)

    def plot_coverage(self, at: str | None = None) -> Figure:
        """Input pixels seen by one position and by how many paths: the gridding picture.

        Raises:
            GeometryError: As ``coverage``.
        """
        from dilsearch.analysis.pictures import coverage_picture

        return coverage_picture(self, at)

    def plot_growth(self) -> Figure:
        """Field by depth on the largest path, against the needed field.

        Raises:
            GeometryError: If the first output has no field.
        """
        from dilsearch.analysis.pictures import growth_picture

        return growth_picture(self)

    def plot_bounds(self) -> Figure:
        """Rates against bounds, site by site."""
        from dilsearch.analysis.pictures import bounds_picture

        return bounds_picture(self)

    def plot_effective(
        self, magnitude: NDArray[np.float64], image: NDArray[np.uint8] | None = None
    ) -> Figure:
        """Where a position really looks: gradient magnitude, over an image if one is given.

        Args:
            magnitude: ``effective_field(...).magnitude``, of the input's spatial shape.
            image: The image, (height, width) or (height, width, 3).
        """
        from dilsearch.analysis.pictures import effective_picture

        return effective_picture(self, magnitude, image)


def find_node(graph: FieldGraph, modules: Mapping[str, str], name: str) -> str:
    """The node of that name, or the last behind the module of that path.

    Raises:
        GeometryError: If there is neither.
    """
    if name in graph:
        return name
    if name in modules:
        return modules[name]
    inputs = {node.name for node in graph.nodes if isinstance(node, Source)}
    known = [*modules, *(node.name for node in graph.nodes if node.name not in inputs)]
    raise GeometryError(f"the network has no node or module '{name}'{nearest(name, known)}")


def axis_names(axes: int) -> tuple[str, ...]:
    """What the spatial axes are called."""
    return {1: ("length",), 2: ("height", "width"), 3: ("depth", "height", "width")}[axes]
