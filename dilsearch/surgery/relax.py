"""Put a trainable rate in place of the dilation of chosen convolutions."""

import copy
from collections import Counter
from collections.abc import Mapping
from fnmatch import fnmatchcase

from torch import nn
from torch.nn.modules.conv import _ConvNd

from dilsearch.errors import SurgeryError
from dilsearch.geometry import FieldGraph, Window
from dilsearch.layers import BranchConv2d, ConvGrid, RelaxedConv, RelaxedConv2d
from dilsearch.layers.relaxed_conv import relaxation_faults
from dilsearch.sites import Granularity, PerChannel
from dilsearch.surgery.companion import Companion, attach, companion_of
from dilsearch.tracing import trace_graph
from dilsearch.tracing.shadow import replace_modules
from dilsearch.tracing.tracer import Example

_HOOKS = (
    "_forward_hooks",
    "_forward_pre_hooks",
    "_backward_hooks",
    "_backward_pre_hooks",
    "_state_dict_hooks",
    "_state_dict_pre_hooks",
    "_load_state_dict_pre_hooks",
    "_load_state_dict_post_hooks",
)


def relax(
    model: nn.Module,
    sites: Mapping[str, Granularity],
    *,
    example: Example | None = None,
    inplace: bool = False,
) -> nn.Module:
    """A model whose chosen convolutions have real-valued, trainable dilation rates.

    Everything is checked before anything is changed, and every fault is reported at once. Output
    shapes, weights, buffers, device, dtype and mode stay as they are; a checkpoint of the original
    loads into the result, whose rates then stay as they are, with a warning.

    Args:
        model: Any module with ``nn.Conv2d`` or ``BranchConv2d`` layers.
        sites: Glob over module paths (``fnmatch`` on the whole path, ``"layer4.*.conv2"``) to what
            may vary there. Convolutions with a single tap are passed over by a glob.
        example: Input or inputs to trace the field with; needed for the gap bound. Only its shape
            counts.
        inplace: Change the model that was given, sharing its Parameters, instead of a copy.

    Returns:
        The relaxed model.

    Raises:
        SurgeryError: With every fault, by site, if the selection cannot be relaxed.
        TraceError: If an example is given and the model cannot be exported with it.
    """
    chosen = _select(model, sites)
    graph = trace_graph(model, example) if example is not None else None
    if graph is not None:
        _check_followed(graph, chosen)
        order = [name for name in graph.site_names if name in chosen]
        chosen = {name: chosen[name] for name in order}
    target = model if inplace else copy.deepcopy(model)
    modules = dict(target.named_modules())
    relaxed = {
        id(modules[name]): RelaxedConv2d(_convolution(modules[name]), granularity)
        for name, granularity in chosen.items()
    }
    target = replace_modules(target, dict(relaxed))
    attach(target, _companion(model, chosen, graph))
    return target


def _companion(
    model: nn.Module, chosen: Mapping[str, Granularity], graph: FieldGraph | None
) -> Companion:
    """The companion of the result: sites that were relaxed before stay sites."""
    before = companion_of(model)
    if before is None:
        return Companion(chosen, graph)
    graph = graph or before.graph
    sites = {**before.sites, **chosen}
    order = graph.site_names if graph is not None else tuple(sites)
    return Companion({name: sites[name] for name in order if name in sites}, graph)


def _select(model: nn.Module, sites: Mapping[str, Granularity]) -> dict[str, Granularity]:
    """Sites by module path, in module order; every fault at once."""
    modules = dict(model.named_modules())
    chosen: dict[str, tuple[str, Granularity]] = {}
    faults: list[str] = []
    if not sites:
        faults.append("no site is selected; give at least one glob")
    for glob, granularity in sites.items():
        matched = [name for name in modules if fnmatchcase(name, glob)]
        candidates = [name for name in matched if _is_candidate(modules[name])]
        if not candidates:
            faults.append(_nothing_selected(glob, matched, modules))
        for name in candidates:
            if name in chosen:
                faults.append(
                    f"site '{name}' is selected by '{chosen[name][0]}' and by '{glob}'; "
                    "let one glob select it"
                )
                continue
            chosen[name] = (glob, granularity)
            faults += _site_faults(name, modules[name], granularity)
    if faults:
        raise SurgeryError.from_faults("cannot relax the model", faults)
    return {name: chosen[name][1] for name in modules if name in chosen}


def _is_candidate(module: nn.Module) -> bool:
    """Whether a glob means this module: a convolution that has taps to move, of whatever kind."""
    if isinstance(module, RelaxedConv):
        return True
    return isinstance(module, _ConvNd | BranchConv2d) and max(module.kernel_size) > 1


def _nothing_selected(glob: str, matched: list[str], modules: dict[str, nn.Module]) -> str:
    if matched:
        kind = type(modules[matched[0]]).__name__
        return (
            f"'{glob}' selects no convolution with two or more taps "
            f"(the first module it matches, '{matched[0]}', is a {kind}); "
            "name the convolutions themselves"
        )
    candidates = [name for name, module in modules.items() if _is_candidate(module)]
    shown = ", ".join(f"'{name}'" for name in candidates[:6]) or "none"
    more = f" and {len(candidates) - 6} more" if len(candidates) > 6 else ""
    return f"'{glob}' matches no module; the convolutions with two or more taps are {shown}{more}"


def _site_faults(name: str, module: nn.Module, granularity: Granularity) -> list[str]:
    if isinstance(module, RelaxedConv):
        return [f"site '{name}' is relaxed already; discretise it first"]
    if type(module) not in (nn.Conv2d, BranchConv2d):
        return [
            f"site '{name}' is a {type(module).__name__}, and only nn.Conv2d and BranchConv2d "
            "can be relaxed; leave it out of the selection"
        ]
    conv = _convolution(module)
    faults = [
        f"site '{name}': {fault}"
        for fault in (*_plan_faults(conv, granularity), *relaxation_faults(conv, granularity))
    ]
    if any(getattr(module, hooks) for hooks in _HOOKS):
        faults.append(
            f"site '{name}' has hooks, which would be lost; remove them and add them afterwards"
        )
    if hasattr(module, "parametrizations"):
        faults.append(f"site '{name}' has parametrisations, which would be lost; remove them first")
    return faults


def _plan_faults(conv: nn.Conv2d | BranchConv2d, granularity: Granularity) -> list[str]:
    """What the layer could do, but plan and field graph have no words for."""
    grid = ConvGrid.of(conv)
    faults = []
    if isinstance(granularity, PerChannel) or granularity.separate_axes:
        faults.append(
            "a plan has one rate for the site or each branch, not for channels or axes; "
            "put RelaxedConv2d(conv, ...) in its place yourself"
        )
    if any(count % 2 == 0 for count in grid.kernel_size):
        height, width = grid.kernel_size
        faults.append(
            f"its kernel is {height} x {width}, and only odd kernels can be relaxed; "
            "leave it out of the selection"
        )
    elif any(before != after for before, after in grid.padding):
        faults.append("its padding 'same' is uneven; give the padding as numbers")
    if grid.padding_mode != "zeros":
        faults.append(
            f"its padding mode is '{grid.padding_mode}', and only 'zeros' can be relaxed; "
            "leave it out of the selection"
        )
    return faults


def _check_followed(graph: FieldGraph, chosen: Mapping[str, Granularity]) -> None:
    """The bound at a site means nothing behind an operation whose reach is unknown."""
    faults = [
        f"site '{name}' is not reached from the input in the exported program; "
        "leave it out of the selection"
        for name in chosen
        if name not in graph.site_names
    ]
    uses = Counter(node.module for node in graph.nodes if isinstance(node, Window))
    faults += [
        f"site '{name}' runs {uses[name]} times in one forward pass, so that it has as many fields "
        "and bounds; give each use a module of its own, or relax without an example"
        for name in chosen
        if uses[name] > 1
    ]
    upstream = {
        name for site in chosen if site in graph.site_names for name in graph.upstream(site)
    }
    faults += [
        f"{text} lies before a selected site and its reach is unknown; "
        "relax without an example, which leaves the gap bound out"
        for node, text in graph.unfollowed.items()
        if node in upstream
    ]
    if faults:
        raise SurgeryError.from_faults("cannot follow the field to every site", faults)


def _convolution(module: nn.Module) -> nn.Conv2d | BranchConv2d:
    assert isinstance(module, nn.Conv2d | BranchConv2d)
    return module
