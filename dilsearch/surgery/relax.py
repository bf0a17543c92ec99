"""Put a trainable rate in place of the dilation of chosen convolutions."""

import copy
from collections.abc import Mapping, Sequence

import torch
from torch import nn

from dilsearch.errors import SurgeryError
from dilsearch.geometry import FieldGraph
from dilsearch.layers import relaxed_form
from dilsearch.layers.relaxable import Convolution
from dilsearch.sites import Granularity
from dilsearch.surgery.companion import Companion, attach, companion_of
from dilsearch.surgery.following import check_followed, with_causal_sites
from dilsearch.surgery.readers import read_sites
from dilsearch.surgery.selection import Chosen, Key, named_modules, select
from dilsearch.surgery.site_faults import site_faults
from dilsearch.surgery.surroundings import surrounding_faults
from dilsearch.tracing import trace_graph
from dilsearch.tracing.shadow import replace_modules
from dilsearch.tracing.tracer import Example
from dilsearch.tracing.wrappers import plain_path, unwrapped


def relax(
    model: nn.Module,
    sites: Mapping[Key, Granularity],
    *,
    example: Example | None = None,
    generator: torch.Generator | None = None,
    inplace: bool = False,
) -> nn.Module:
    """A model whose chosen convolutions have real-valued, trainable dilation rates.

    Everything is checked before anything is changed, and every fault is reported at once. Output
    shapes, weights and their parametrisations, buffers, device, dtype, memory format and mode stay
    as they are; what is shared stays shared. A checkpoint of the original loads into the result,
    whose rates then stay as they are, with a warning.

    Relax a model before it is wrapped for training. Given ``DistributedDataParallel``, a model that
    ``torch.compile`` returned and the like, the result is the model inside, relaxed, to be wrapped
    again; parts that are compiled inside a model stay so.

    Args:
        model: Any module with convolutions of one, two or three axes.
        sites: What is selected, to what may vary there. A selector is a glob over module paths
            (``fnmatch`` on the whole path, ``"layer4.*.conv2"``), a ``Kernel``, or a predicate
            ``(name, module) -> bool``, which is asked about convolutions with two or more taps
            only; other modules that a glob matches are passed over.
        example: Input or inputs to trace the field with; needed for the gap bound. Only its shape
            counts.
        generator: Where rates that start anywhere between their limits (``initial="uniform"``) are
            drawn from, site after site; torch's global generator if None.
        inplace: Change the model that was given, sharing its Parameters, instead of a copy.

    Returns:
        The relaxed model.

    Raises:
        SurgeryError: With every fault, by site, if the selection cannot be relaxed.
        TraceError: If an example is given and the model cannot be exported with it.
    """
    given, model = model, unwrapped(model)
    chosen, faults = select(model, sites)
    for one in chosen:
        faults += site_faults(one.named.name, one.named.module, one.granularity)
    faults += surrounding_faults(model, [one.named for one in chosen])
    if inplace and given is not model:
        faults.append(
            f"a {type(given).__name__} cannot be relaxed in place, as it would go on with the "
            "Parameters that it has; give the module inside, and wrap the result"
        )
    if faults:
        raise SurgeryError.from_faults("cannot relax the model", faults)
    graph = trace_graph(model, example) if example is not None else None
    if graph is not None:
        check_followed(graph, chosen)
        order = {name: position for position, name in enumerate(graph.site_names)}
        chosen = sorted(chosen, key=lambda one: order[one.named.name])
    companion = _companion(model, chosen, graph)
    relaxed = _exchanged(model if inplace else copied(model), chosen, generator)
    attach(relaxed, companion)
    return relaxed


def copied(model: nn.Module) -> nn.Module:
    """A copy that shares nothing.

    Raises:
        SurgeryError: If the model cannot be copied, as with weights that a hook has computed.
    """
    try:
        return copy.deepcopy(model)
    except (RuntimeError, TypeError) as error:
        reason = str(error).strip().splitlines()[0].rstrip(".")
        raise SurgeryError(
            f"{type(model).__name__} cannot be copied: {reason}; give a network that "
            "copy.deepcopy takes, or change this one with inplace = True"
        ) from error


def _exchanged(
    model: nn.Module, chosen: Sequence[Chosen], generator: torch.Generator | None
) -> nn.Module:
    """The model with relaxed convolutions, changed in place; checks that nothing else changed."""
    before = _kinds(model)
    read = read_sites(model, [one.named for one in chosen])
    # of a wrapper and its inner module, which share a name, the inner one comes last
    modules = {named.name: named.module for named in named_modules(model)}
    replacements: dict[int, nn.Module] = {}
    for one in chosen:
        conv = modules[one.named.name]
        assert isinstance(conv, Convolution)
        replacements[id(conv)] = relaxed_form(
            conv, one.granularity, generator=generator, is_read=one.named.name in read
        )
    relaxed = replace_modules(model, replacements)
    after = _kinds(relaxed)
    changed = {plain_path(path) for path in before if after.get(path) is not before[path]}
    assert before.keys() == after.keys()
    assert changed == {alias for one in chosen for alias in one.named.aliases}
    return relaxed


def _kinds(model: nn.Module) -> dict[str, type]:
    return {path: type(m) for path, m in model.named_modules(remove_duplicate=False)}


def _companion(model: nn.Module, chosen: Sequence[Chosen], graph: FieldGraph | None) -> Companion:
    """The companion of the result: sites that were relaxed before stay sites."""
    before = companion_of(model)
    sites = {one.named.name: one.granularity for one in chosen}
    if before is not None:
        graph = graph or before.graph
        sites = {**before.sites, **sites}
    if graph is None:
        return Companion(sites, None)
    order = dict.fromkeys((*graph.site_names, *sites))
    sites = {name: sites[name] for name in order if name in sites}
    return Companion(sites, with_causal_sites(graph, sites))
