"""Where a network's maps become denser when its output stride is lowered, and by how much.

No map may stand further apart than the stride that is wanted. A map that stood ``S`` pixels apart
is then ``S / min(S, wanted)`` times denser, and every convolution that reads it has to reach that
many times further in positions.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction

from torch import nn

from dilsearch.geometry import FieldGraph, GlobalContext, Node, Resample, Source, Window
from dilsearch.geometry.nodes import sources_of
from dilsearch.surgery.denser_modules import Denser, axes_of, denser_faults
from dilsearch.tracing.wrappers import plain_path

Strides = tuple[int | Fraction, ...]
Factors = tuple[int, ...]

_REDUCTIONS = ("mean", "sum", "max", "min", "amax", "amin", "std", "var", "std_mean", "var_mean")
_ELSEWHERE = "give set_output_stride the part of the model in front of it, such as its backbone"


@dataclass(frozen=True)
class Densities:
    """A network's maps at the output stride that is wanted.

    Args:
        factors: How many times denser each map becomes, per axis.
        modules: What convolutions and poolings have to become, by path; only those that change.
        faults: What cannot follow, in sentences.
    """

    factors: Mapping[str, Factors]
    modules: Mapping[str, Denser]
    faults: tuple[str, ...]


@dataclass(frozen=True)
class _Place:
    """Where in the model a node of its graph stands.

    Args:
        path: The module that the node is, or in whose forward it stands; '' is the model.
        module: That module.
        operation: What is done in its forward; empty where the node is the module.
    """

    path: str
    module: nn.Module
    operation: str

    def __str__(self) -> str:
        kind = type(self.module).__name__
        here = f"module '{self.path}' (a {kind})" if self.path else f"the model (a {kind})"
        plain = not self.operation or axes_of(self.module) is not None
        return here if plain else f"{self.operation} in the forward of {here}"


def strides_of(graph: FieldGraph) -> dict[str, Strides]:
    """What the positions of each map stand apart, in pixels.

    Left out are maps without a field, and the bins of adaptive poolings, of which there are as
    many on a denser map.
    """
    table = graph.propagate()
    strides: dict[str, Strides] = {}
    for node in graph.nodes:
        if node.name in table.spans and not _is_binned(node, strides):
            strides[node.name] = tuple(field.stride_px for field in table.at(node.name))
    return strides


def densities(model: nn.Module, graph: FieldGraph, wanted_px: int) -> Densities:
    """What has to change for no map to stand further apart than a stride.

    Args:
        model: The model; unwrapped.
        graph: Its field graph.
        wanted_px: The stride that is wanted.
    """
    factors = {
        name: tuple(_factor(stride, wanted_px) for stride in strides)
        for name, strides in strides_of(graph).items()
    }
    named = [(plain_path(n), m) for n, m in model.named_modules(remove_duplicate=False)]
    modules, paths = dict(named), {id(m): path for path, m in reversed(named)}
    uses: dict[str, set[Denser]] = {}
    changed: dict[str, Denser] = {}
    faults: dict[str, None] = {}  # in order, without repetition
    for node in graph.nodes:
        before = next((factors[name] for name in sources_of(node) if name in factors), None)
        place = _place(node, modules)
        if before is None or _is_padding_of_convolution(node, place):
            continue
        after = factors.get(node.name, before)
        if not isinstance(node, Window):
            if max(before) > 1 or after != before:
                faults |= dict.fromkeys(_other_faults(graph, node, place))
            continue
        to = Denser(before, _stride_after(node, before, after))
        path = paths[id(place.module)]
        uses.setdefault(path, set()).add(to)
        if to != Denser((1,) * len(before), node.stride):
            if path not in changed or axes_of(place.module) is not None:  # a forward once
                faults |= dict.fromkeys(_window_faults(node, place, to, wanted_px))
            changed[path] = to
    faults |= dict.fromkeys(
        f"module '{path}' runs on maps of several strides, and would need as many dilations; give "
        "each use a module of its own"
        for path in changed
        if len(uses[path]) > 1 and axes_of(modules[path]) is not None
    )
    return Densities(factors, changed, tuple(faults))


def _factor(stride: int | Fraction, wanted_px: int) -> int:
    """How many times denser a map becomes; one of no whole multiple is left to its sizes."""
    factor = Fraction(stride) / wanted_px
    return int(factor) if factor > 1 and factor.denominator == 1 else 1


def _stride_after(node: Window, before: Factors, after: Factors) -> tuple[int, ...]:
    """The stride between two maps that become denser; 0 along an axis where none leads there."""
    steps = zip(before, node.stride, after, strict=True)
    return tuple(0 if f * stride % g else f * stride // g for f, stride, g in steps)


def _place(node: Node, modules: Mapping[str, nn.Module]) -> _Place:
    """The module that a node is named after, or in whose forward it stands."""
    name = node.module if isinstance(node, Window) and node.module else node.name
    path, operation = name, ""
    if name not in modules or not name:
        path, _, operation = name.rpartition(".")
        operation = re.sub(r"(_\d+)?(:\d+)?$", "", operation)
    while path not in modules:  # the parts of a node of several
        path = path.rpartition(".")[0]
    return _Place(path, modules[path], operation)


def _is_binned(node: Node, strides: Mapping[str, Strides]) -> bool:
    """Whether the positions of a map are bins, as many as its network says."""
    if isinstance(node, Source) or _interpolates(node):
        return False
    return _makes_bins(node) or not any(source in strides for source in sources_of(node))


def _makes_bins(node: Node) -> bool:
    return isinstance(node, Resample) and ".adaptive_" in f".{node.name}"


def _interpolates(node: Node) -> bool:
    """Whether a node is an interpolation, which alone of all resamplings repeats the edge."""
    return isinstance(node, Resample) and node.edge == "replicate"


def _is_padding_of_convolution(node: Node, place: _Place) -> bool:
    """Whether a window is the padding that a convolution of another mode does by itself."""
    own = axes_of(place.module) is not None and hasattr(place.module, "padding_mode")
    return own and isinstance(node, Window) and place.operation.startswith("pad")


def _window_faults(node: Window, place: _Place, to: Denser, wanted_px: int) -> Iterator[str]:
    """Why a window's module cannot become what it has to."""
    if axes_of(place.module) != len(to.factor):
        yield (
            f"{place} is no plain convolution or pooling of torch.nn along every axis, and has a "
            f"stride or reach that cannot be changed; put one in its place, or {_ELSEWHERE}"
        )
    elif 0 in to.stride:
        stride = " x ".join(map(str, node.stride))
        yield f"{place} strides by {stride}, past {wanted_px} px; choose a stride that it stops at"
    else:
        yield from (f"{place} {fault}" for fault in denser_faults(place.module, to))


def _other_faults(graph: FieldGraph, node: Node, place: _Place) -> Iterator[str]:
    """Why what is no window cannot follow a denser map."""
    if node.name in graph.unfollowed:
        yield f"{graph.unfollowed[node.name]} cannot be followed; {_ELSEWHERE}"
    elif isinstance(node, GlobalContext):
        operation = node.cause.partition(" in ")[0]
        if not ("pool" in operation or operation.endswith("norm") or operation in _REDUCTIONS):
            yield (
                f"{node.cause} weighs all positions against each other, and there would be more of "
                f"them; {_ELSEWHERE}"
            )
    elif isinstance(node, Resample) and not (_interpolates(node) or _makes_bins(node)):
        yield f"{place} resamples its map by a fixed factor; {_ELSEWHERE}"
