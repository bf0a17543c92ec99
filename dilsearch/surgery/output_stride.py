"""Take strides out of a network and put dilation in, so that what it learned stays in place."""

import copy
from collections.abc import Iterator, Mapping
from fractions import Fraction

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from dilsearch.errors import SurgeryError, TraceError
from dilsearch.geometry import FieldGraph
from dilsearch.layers import RelaxedConv
from dilsearch.surgery.companion import companion_of
from dilsearch.surgery.denser import Densities, densities, strides_of
from dilsearch.surgery.denser_modules import Denser, make_denser
from dilsearch.tracing.shadow import replace_modules, shadow_of
from dilsearch.tracing.tracer import Example, Trace, trace_model
from dilsearch.tracing.wrappers import plain_path, unwrapped

_EXAMPLE_PX = 256


def set_output_stride(
    model: nn.Module, stride: int, *, example: Example | None = None, inplace: bool = False
) -> nn.Module:
    """A model whose maps stand ``stride`` input pixels apart at most, with the same weights.

    Strides past it are taken out, and what reads the denser maps is dilated as much, padding
    included, so that pretrained features stay in place: sampled every so many positions, the new
    features are the old ones, at every layer and at the borders. The convolution whose stride is
    taken keeps its own dilation, and those behind it are dilated, as in DRN and in torchvision's
    ``replace_stride_with_dilation``; a ResNet of BasicBlocks, which torchvision does not dilate,
    is done alike. Any network of convolutions and poolings of ``torch.nn`` will do, alone or with
    the rest of a segmentation model behind it.

    What averages the whole image (squeeze and excitation, image pooling) and what interpolates
    goes by more positions then, so that what lies behind these is close to the old features and
    not equal. What a model tells of its strides elsewhere, such as the ``feature_info`` of timm,
    stays as it was.

    Args:
        model: Any module that ``torch.export`` can export; not relaxed yet.
        stride: The output stride that is wanted, in input pixels, which the network passes through
            on the way to its present one: 8 or 16 for the usual 32.
        example: Input or inputs to trace the strides with; only their shapes count. None for an
            image of 256 px with the channels that the first convolution takes.
        inplace: Change the model that was given, instead of a copy.

    Returns:
        The model, in its mode, with Parameters, buffers, names and hooks as they were; a pooling
        whose map would come out too small stands in an ``nn.Sequential`` behind a padding.

    Raises:
        SurgeryError: With everything that cannot follow, by name; nothing is changed then.
        TraceError: If the model cannot be exported.

    Source: Yu, Koltun, Funkhouser 2017 (DRN), Sec. 2; Chen et al. 2017 (DeepLabv3), Sec. 3.
    """
    _check(model, stride)
    example = _default_example(model) if example is None else example
    before = trace_model(model, example)
    present = _check_stride(before.graph, stride)
    if present == stride:
        return model if inplace else copy.deepcopy(model)
    heading = f"cannot lower the output stride from {present} to {stride}"
    found = densities(model, before.graph, stride)
    if found.faults:
        raise SurgeryError.from_faults(heading, found.faults)
    after = _traced(_apply(shadow_of(model), found.modules), example, heading)
    faults = [*_unlike(before, after, found)]
    if faults:
        raise SurgeryError.from_faults(heading, faults)
    return _apply(model if inplace else copy.deepcopy(model), found.modules)


def _apply(model: nn.Module, changes: Mapping[str, Denser]) -> nn.Module:
    """The model with its modules made denser, at every path that leads to them."""
    modules = {plain_path(name): module for name, module in model.named_modules()}
    denser = {id(modules[path]): (modules[path], to) for path, to in changes.items()}
    replaced = {key: make_denser(module, to) for key, (module, to) in denser.items()}
    return replace_modules(
        model, {key: new for key, new in replaced.items() if new is not denser[key][0]}
    )


def _check(model: nn.Module, stride: object) -> None:
    faults = []
    if isinstance(stride, bool) or not isinstance(stride, int) or stride < 1:
        faults.append(f"stride = {stride!r} is no output stride; give a whole number of pixels")
    if unwrapped(model) is not model:
        faults.append(
            f"the model is wrapped already (it is a {type(model).__name__}); give the module inside"
        )
    relaxed = any(isinstance(module, RelaxedConv) for module in model.modules())
    if relaxed or companion_of(model) is not None:
        faults.append(
            "the model is relaxed or discretised already, with fields and bounds of its present "
            "strides; set the output stride first, and relax the result"
        )
    if faults:
        raise SurgeryError.from_faults("cannot set the output stride", faults)


def _default_example(model: nn.Module) -> Tensor:
    """An image for the first convolution, on the meta device."""
    first = next((module for module in model.modules() if isinstance(module, _ConvNd)), None)
    if first is None:
        raise SurgeryError(
            f"cannot set the output stride: {type(model).__name__} has no convolution to take an "
            "example's channels from; give an example"
        )
    size = (_EXAMPLE_PX,) * len(first.kernel_size)
    return torch.empty(1, first.in_channels, *size, dtype=first.weight.dtype, device="meta")


def _check_stride(graph: FieldGraph, wanted_px: int) -> int | Fraction:
    """The present output stride, if the one that is wanted lies on the way to it."""
    by_axis = [set(axis) for axis in zip(*strides_of(graph).values(), strict=True)]
    present: int | Fraction = max(max(axis) for axis in by_axis)
    if wanted_px > present:
        raise SurgeryError(
            f"cannot raise the output stride from {present} to {wanted_px}; give {present} at most"
        )
    passed = [axis for axis in by_axis if max(axis) > wanted_px]
    if any(wanted_px not in axis for axis in passed):
        shared = sorted(px for px in set.intersection(*passed) if px == int(px))
        raise SurgeryError(
            f"the output stride cannot become {wanted_px}, which the network does not pass "
            f"through; give one of {', '.join(map(str, shared))}"
        )
    return present


def _traced(denser: nn.Module, example: Example, heading: str) -> Trace:
    """What the result's program tells, if it has one."""
    try:
        return trace_model(denser, example)
    except TraceError as error:
        raise SurgeryError(
            f"{heading}: something in the model has a fixed size or factor and does not go with "
            "denser maps; give set_output_stride its backbone alone, or choose another stride "
            f"({error})"
        ) from error


def _unlike(before: Trace, after: Trace, found: Densities) -> Iterator[str]:
    """Convolutions and outputs whose stride did not become what was wanted."""
    old, new = strides_of(before.graph), strides_of(after.graph)
    places = {f"module '{name}'": (name, name) for name in before.layers}
    outputs = zip(before.output_names, before.graph.outputs, after.graph.outputs, strict=True)
    places |= {f"the output '{name}'": (one, other) for name, one, other in outputs}
    for told, (name, now) in places.items():
        if name in old and now in new:
            wanted = tuple(
                s / Fraction(f) for s, f in zip(old[name], found.factors[name], strict=True)
            )
            if wanted != new[now]:
                yield (
                    f"{told} would stand {new[now][0]} px apart and not {wanted[0]}, as something "
                    "in front of it scales by a fixed factor; give set_output_stride the backbone "
                    "alone"
                )
