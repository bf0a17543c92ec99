"""What a field graph must give, so that the bound at every site means something."""

import math
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence

from dilsearch.errors import SurgeryError
from dilsearch.geometry import Coverage, FieldGraph, Source, Window
from dilsearch.layers import MixedRateConv
from dilsearch.sites import Granularity
from dilsearch.surgery.selection import Chosen

_POSITIONS = 8


def check_followed(graph: FieldGraph, chosen: Sequence[Chosen]) -> None:
    """Refuse sites whose field is unknown, or that would let a causal network see the future.

    Raises:
        SurgeryError: With every fault, by site.
    """
    sites = {one.named.name: one.granularity for one in chosen}
    mixed = {one.named.name for one in chosen if isinstance(one.named.module, MixedRateConv)}
    faults = [*_unfollowed(graph, sites, mixed), *_future_faults(graph, sites)]
    if faults:
        raise SurgeryError.from_faults("cannot follow the field to every site", faults)


def with_causal_sites(graph: FieldGraph, sites: Mapping[str, Granularity]) -> FieldGraph:
    """The graph with the last tap as the anchor of causal sites: at present it reads the same."""
    causal = [name for name in graph.site_names if name in sites and sites[name].causal]
    return graph.with_causal(causal) if causal else graph


def _unfollowed(
    graph: FieldGraph, sites: Mapping[str, Granularity], mixed: Collection[str]
) -> Iterator[str]:
    """The bound at a site means nothing behind an operation whose reach is unknown."""
    followed = [name for name in sites if name in graph.site_names]
    for name in sites:
        if not name:
            yield (
                "the site is the whole model, which has no name in a field graph; put it into a "
                "nn.Sequential, or relax without an example"
            )
        elif name not in followed:
            yield (
                f"site '{name}' is not reached from the input in the exported program; "
                "leave it out of the selection"
            )
    uses = Counter(node.module for node in graph.nodes if isinstance(node, Window))
    for name in sites:
        if uses[name] > 1 and name in mixed:
            yield (
                f"site '{name}' has different rates already, and is as many convolutions in the "
                "exported program; relax the network that it was discretised from, or this one "
                "without an example"
            )
        elif uses[name] > 1:
            yield (
                f"site '{name}' runs {uses[name]} times in one forward pass, so that it has as "
                "many fields and bounds; give each use a module of its own, or relax without an "
                "example"
            )
    upstream = {name for site in followed for name in graph.upstream(site)}
    for node, text in graph.unfollowed.items():
        if node in upstream:
            yield (
                f"{text} lies before a selected site and its reach is unknown; "
                "relax without an example, which leaves the gap bound out"
            )


def _future_faults(graph: FieldGraph, sites: Mapping[str, Granularity]) -> Iterator[str]:
    loose = [name for name, granularity in sites.items() if not granularity.causal]
    if loose and sees_no_future(graph):
        for name in loose:
            yield (
                f"site '{name}' is part of a network that sees the past alone, and a rate that "
                "moves its taps around the middle one would let it see the future; give it "
                "causal = True"
            )


def sees_no_future(graph: FieldGraph) -> bool:
    """Whether every output of a network over time sees inputs up to its own position alone.

    Behind a stride, position q stands for the inputs up to q times the stride. Asked at positions
    next to each other around the middle, so that strides inside count. False where more than the
    position itself is never seen, and where it cannot be known: with global context, operations
    that are not followed, or outputs of another length than their stride leaves of the inputs.
    """
    if graph.axes != 1 or graph.unfollowed:
        return False
    inputs = [graph.sizes[node.name][0] for node in graph.nodes if isinstance(node, Source)]
    table = graph.propagate()
    widest = 1
    for output in graph.outputs:
        if output in table.context:
            return False
        (field,), (size,) = table.at(output), graph.sizes[output]
        if any(size != math.ceil(length / field.stride_px) for length in inputs):
            return False
        widest = max(widest, field.size_px)
        (middle,) = graph.middle(output)
        for position in range(middle, middle + _POSITIONS):
            seen = graph.support(output, (position,))
            if any(_last_px(coverage) > position * field.stride_px for coverage in seen.values()):
                return False
    return widest > 1


def _last_px(seen: Coverage) -> int:
    return seen.origin_px[0] + seen.size_px[0] - 1
