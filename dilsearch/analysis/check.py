"""The two engines against each other: what was followed, and what a gradient measures."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from dilsearch.analysis.analyze import analyze
from dilsearch.analysis.numeric import measure_support
from dilsearch.analysis.reports import OutputReport, Sizes
from dilsearch.analysis.result import Analysis
from dilsearch.errors import DilsearchError
from dilsearch.geometry import FieldGraph, Source
from dilsearch.tracing.tracer import Example

_MOST_PIXELS = 256 * 256
"""Above it the check runs on smaller inputs; sets inside the image test the same rules."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SupportCheck:
    """Whether both engines see the same pixels.

    Args:
        agrees: Whether they do, pixel for pixel, at every position looked at.
        text: One sentence for people.
        positions: How many positions of outputs were compared.
        input_px: Spatial size of the input that they were compared on.
    """

    agrees: bool
    text: str
    positions: int
    input_px: Sizes


def check_support(model: nn.Module, example: Example, analysis: Analysis) -> SupportCheck:
    """Measure what the analysis says, at the middle, the first and the last position of each map.

    Sets are compared inside the image, where padding cuts paths off. Where the analysis could not
    follow an operation, the engines need not agree, and the sentence says so.

    Args:
        model: The model that was analysed.
        example: Its input or inputs. Above 256 x 256 px a smaller one takes its place, if the
            model takes that.
        analysis: The analysis.

    Raises:
        TraceError: If the numeric engine cannot run the model.
    """
    inputs = [example] if isinstance(example, Tensor) else list(example)
    inputs, analysis = _smaller(model, inputs, analysis)
    differing: list[str] = []
    compared = 0
    for output in analysis.outputs:
        name = _measured_name(output, analysis)
        if name is None or output.field_px is None or output.size is None:
            continue
        first = measure_support(model, inputs, output=name)
        if len(first.output_size) != len(output.size):
            continue  # a map laid out as tokens has no position of two indices
        if first.output_size != output.size:
            compared += 1
            differing.append(f"'{output.name}', whose map is of size {first.output_size}")
            continue
        for position in _positions(output.size):
            compared += 1
            expected = expected_support(analysis.graph, output.node, position, analysis.inputs)
            measured = (
                first
                if position == first.position
                else measure_support(model, inputs, output=name, position=position)
            )
            found = [mask for mask in measured.all_inputs if mask is not None]
            if not all(np.array_equal(a, b) for a, b in zip(expected, found, strict=True)):
                differing.append(f"'{output.name}' at {position}")
    size = " x ".join(map(str, analysis.input_px))
    if not compared:
        text = (
            "Nothing to check: what was asked for has no field of its own, is no output or module, "
            "or is laid out as no map."
        )
    elif differing:
        text = (
            f"The engines DISAGREE at {len(differing)} of {compared} positions on an input of "
            f"{size} px, first {differing[0]}."
        )
        if analysis.unfollowed or analysis.remarks:
            text += " Some operations could not be followed exactly, which may be why."
    else:
        text = (
            f"Measured by gradients on an input of {size} px: the same pixels at all {compared} "
            "positions."
        )
    return SupportCheck(
        agrees=not differing, text=text, positions=compared, input_px=analysis.input_px
    )


def expected_support(
    graph: FieldGraph, node: str, position: Sequence[int], inputs: Sequence[Sequence[int]]
) -> list[NDArray[np.bool_]]:
    """What the field graph says that a position sees of each image, inside the images."""
    seen = graph.support(node, position, inside=True)
    masks = []
    sources = [source.name for source in graph.nodes if isinstance(source, Source)]
    images = [shape[2:] for shape in inputs if len(shape) == graph.axes + 2]
    for name, size in zip(sources, images, strict=True):
        mask = np.zeros(size, dtype=np.bool_)
        if name in seen:
            inside = tuple(
                slice(start, start + extent)
                for start, extent in zip(seen[name].origin_px, seen[name].size_px, strict=True)
            )
            mask[inside] = seen[name].to_array()
        masks.append(mask)
    return masks


def _measured_name(output: OutputReport, analysis: Analysis) -> str | None:
    """What the numeric engine calls an output; None for what is neither output nor module."""
    if output.name in analysis.model_outputs or output.name in analysis.modules:
        return output.name
    names = [name for name, node in analysis.model_outputs.items() if node == output.node]
    return names[0] if names else None


def _smaller(
    model: nn.Module, inputs: list[Tensor], analysis: Analysis
) -> tuple[list[Tensor], Analysis]:
    """Inputs halved until they are quick to measure, as far as the model takes them."""
    asked = [output.name for output in analysis.outputs]
    if all(name in analysis.model_outputs for name in asked):
        asked = []
    while prod(analysis.input_px) > _MOST_PIXELS and min(analysis.input_px) > 1:
        rank = len(analysis.input_px) + 2
        halved = [_halved(x) if x.dim() == rank else x for x in inputs]
        try:
            analysis = analyze(model, halved, outputs=asked)
        except DilsearchError:
            break
        inputs = halved
    return inputs, analysis


def _halved(x: Tensor) -> Tensor:
    size = [max(length // 2, 1) for length in x.shape[2:]]
    return torch.empty(*x.shape[:2], *size, dtype=x.dtype, device="meta")


def _positions(size: Sizes) -> list[Sizes]:
    """The middle, the first and the last position of a map."""
    return list(
        dict.fromkeys([tuple(n // 2 for n in size), (0,) * len(size), tuple(n - 1 for n in size)])
    )
