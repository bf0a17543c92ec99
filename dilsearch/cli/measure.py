"""What ``analyze`` finds by running a network instead of following its trace."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text
from torch import Tensor
from torch.export import ExportedProgram

from dilsearch.analysis.effective import effective_field, random_images
from dilsearch.analysis.numeric import MeasuredSupport, measure_support
from dilsearch.analysis.outputs import named_tensors
from dilsearch.cli.pictures import read_images
from dilsearch.cli.targets import Target
from dilsearch.data.samples import IMAGENET
from dilsearch.errors import TraceError

RANDOM_IMAGES = 8
"""Inputs drawn where no photographs are given."""


@dataclass(frozen=True, eq=False)
class Effective:
    """Where the middle position of an output really looks.

    Args:
        magnitude: Weight of each input pixel, the largest 1.
        image: The first photograph as the network saw it; None for random inputs.
        text: A sentence on it.
        values: The same for JSON.
    """

    magnitude: NDArray[np.float64]
    image: NDArray[np.uint8] | None
    text: str
    values: dict[str, Any]


def measure_outputs(target: Target, outputs: Sequence[str]) -> dict[str, MeasuredSupport]:
    """The field of the middle position of each output, by name; of all that are maps by default.

    Raises:
        TraceError: If the network does not run, or has no such output.
    """
    model, example = target.runnable()
    names: Sequence[str | None] = outputs or _map_names(target) or [None]
    return {
        name or "output": measure_support(
            model, example, output=None if name == "output" and not outputs else name
        )
        for name in names
    }


def show_measured(target: Target, measured: dict[str, MeasuredSupport], *, as_json: bool) -> None:
    """Print measured fields, as a table or as JSON."""
    if as_json:
        _, example = target.runnable()
        listed = [{"name": name, **_values(support)} for name, support in measured.items()]
        document = {
            "target": target.label,
            "inputs": [list(tensor.shape) for tensor in example],
            "field_px": listed[0]["field_px"],
            "holes": listed[0]["holes"],
            "outputs": listed,
        }
        print(json.dumps(document, indent=2, ensure_ascii=False))
        return
    console = Console(highlight=False)
    console.print(f"{target.label}, measured", markup=False, soft_wrap=True)
    table = Table(box=SIMPLE_HEAD)
    table.add_column("output")
    for title in ("size", "at", "field px", "holes"):
        table.add_column(title, justify="right", no_wrap=True)
    for name, support in measured.items():
        sizes = (support.output_size, support.position, support.field_px)
        cells = ["x".join(map(str, size)) for size in sizes]
        table.add_row(*map(Text, (name, *cells, str(support.holes))))
    console.print(table)
    for name, support in measured.items():
        if support.touches_border:
            console.print(
                f"The field of '{name}' reaches the border of the image, so it may be larger; "
                "measure it on a larger --input.",
                markup=False,
                soft_wrap=True,
            )


def effective_inputs(target: Target, images: Sequence[Path], seed: int) -> list[Tensor]:
    """Photographs in one batch; random inputs if there are none.

    Raises:
        DataError: If a photograph cannot be used.
        TraceError: If the network takes several inputs.
    """
    _, example = target.runnable()
    if len(example) != 1:
        raise TraceError(
            f"--effective looks at one input, and {target.label} takes {len(example)}; leave it out"
        )
    shape, batch = tuple(example[0].shape), _batch_size(target)
    if len(images) % batch:
        raise TraceError(
            f"--image: {target.label} takes {batch} images at a time, and there are "
            f"{len(images)}; give a multiple of {batch}"
        )
    if images:
        return [read_images(images, shape)]
    count = -(-RANDOM_IMAGES // batch) * batch
    return [torch.cat(list(random_images(shape[1:], count, seed)))]


def measure_effective(
    target: Target, outputs: Sequence[str], inputs: Sequence[Tensor], *, random: bool
) -> Effective:
    """The effective field of the first output.

    Args:
        target: The network.
        outputs: Names of outputs; empty for those of the network.
        inputs: What ``effective_inputs`` gave.
        random: Whether they were drawn.

    Raises:
        TraceError: If the network does not run, or has no such output.
    """
    model, _ = target.runnable()
    output = outputs[0] if outputs else None
    found = effective_field(model, inputs, output=output, batch_size=_batch_size(target))
    extent_px = found.extent_px()
    text = (
        f"Effective field{f' of {output}' if output else ''}: about {extent_px:.0f} px across, "
        f"from {found.images} {'random input' if random else 'image'}"
        f"{'' if found.images == 1 else 's'}; weights: {target.weights}."
    )
    values = {
        "output": output,
        "extent_px": extent_px,
        "images": found.images,
        "random": random,
        "weights": target.weights,
    }
    picture = None if random else IMAGENET.to_rgb(inputs[0][0])
    return Effective(found.magnitude, picture, text, values)


def _batch_size(target: Target) -> int:
    """Images to a pass: what a program was exported for; one takes the least memory elsewhere."""
    if isinstance(target.model, ExportedProgram):
        return int(target.runnable()[1][0].shape[0])
    return 1


@torch.no_grad()
def _map_names(target: Target) -> list[str]:
    """The outputs that are maps; none if the network does not run on the device it is on."""
    model, example = target.runnable()
    held = next(model.parameters(), None)
    device = "cpu" if held is None else held.device
    try:
        returned = list(named_tensors(model(*(tensor.to(device) for tensor in example))))
    except Exception:  # measuring will tell what is wrong
        return []
    return [name for name, tensor in returned if tensor.ndim > 2]


def _values(support: MeasuredSupport) -> dict[str, Any]:
    return {
        "size": list(support.output_size),
        "position": list(support.position),
        "field_px": list(support.field_px),
        "holes": support.holes,
        "touches_border": support.touches_border,
    }
