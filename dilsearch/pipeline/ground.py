"""What plans are made on: the sites of a space's network, its field graph and its limits."""

from dataclasses import dataclass

from dilsearch.geometry import FieldGraph, Limits
from dilsearch.pipeline.stages import largest_field_px
from dilsearch.pipeline.workbench import Resources
from dilsearch.plan import DilationPlan
from dilsearch.surgery import field_graph, read_plan
from dilsearch.surgery.rates import rate_limits


@dataclass(frozen=True, slots=True)
class Ground:
    """All that has to be known of a network to write plans for it.

    Args:
        form: A plan of its sites; what counts is their order and what their rates stand for.
        graph: Its field graph.
        limits: Lower and upper limit of the rates at each site.
        lowest_px: The larger side of the field behind the last site with every rate at its lower
            limit.
    """

    form: DilationPlan
    graph: FieldGraph
    limits: Limits
    lowest_px: int


def ground_of(resources: Resources, seed: int = 0) -> Ground:
    """The ground of a space; it is the same for every seed, but for the rates of ``form``.

    Args:
        resources: Space and network.
        seed: Seed of the network that is looked at.

    Raises:
        DilsearchError: If the space asks for what its network cannot have.
    """
    relaxed = resources.relaxed_network(seed)
    form, graph, limits = read_plan(relaxed), field_graph(relaxed), rate_limits(relaxed)
    assert graph is not None  # the workbench always traces
    lowest = form.replace(
        {site: (float(limits[site][0]),) * len(rates) for site, rates in form.items()}
    )
    return Ground(form, graph, limits, largest_field_px(graph.propagate(lowest)))
