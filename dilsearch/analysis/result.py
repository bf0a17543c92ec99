"""What an analysis finds: values that the table, the files and the figures are made from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from dilsearch.analysis.reports import GlobalReport, OutputReport, SiteReport, Sizes, Strides
from dilsearch.errors import GeometryError
from dilsearch.geometry import Coverage, FieldGraph, PathCounts, Source
from dilsearch.geometry.table import nearest

if TYPE_CHECKING:  # frames and figures are imported when they are asked for
    import numpy as np
    import pandas as pd
    from matplotlib.figure import Figure
    from numpy.typing import NDArray


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
        """Field to compare with, per axis: the task's, or 2N - 1 for the input's N pixels."""
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
