"""The field graph: a network reduced to what moves its field of view, node by node.

Everything is kept per spatial axis, height first. A graph is immutable; it is propagated with its
own rates or with those of a plan.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from dilsearch.errors import GeometryError, PlanError
from dilsearch.geometry.basis import Basis, basis_of
from dilsearch.geometry.coverage import Coverage
from dilsearch.geometry.fold import Along, Choose, fold, reads_of, up_to
from dilsearch.geometry.forwards import Forwards
from dilsearch.geometry.nodes import (
    Node,
    Rates,
    Spans,
    Window,
    axes_of,
    sources_of,
)
from dilsearch.geometry.plans import check_plan, in_form, plan_of, united_parts, whole_rates
from dilsearch.geometry.routes import Choice, Route, routes
from dilsearch.geometry.spans import Span
from dilsearch.geometry.structure import check_axes, check_names, split_context
from dilsearch.geometry.support import PathCounts, count_paths, support
from dilsearch.geometry.table import FieldTable, nearest, row_of
from dilsearch.plan import DilationPlan


@dataclass(frozen=True, slots=True)
class FieldGraph:
    """A network's windows, joins and resamplings in topological order.

    Args:
        nodes: Every node behind the nodes it reads.
        outputs: Names of the nodes the network returns.
        unfollowed: What could not be followed: the node behind it, whose field is therefore a
            lower bound, to a text that names it.
        sizes: Positions of a node's map per axis. Needed where grids do not fit into one another
            and for sets inside an image; otherwise fields follow without.

    Raises:
        GeometryError: If a name is repeated or unknown, or strides do not fit; names the node.
    """

    nodes: tuple[Node, ...]
    outputs: tuple[str, ...]
    unfollowed: Mapping[str, str] = field(default_factory=dict, hash=False)
    sizes: Mapping[str, tuple[int, ...]] = field(default_factory=dict, hash=False, repr=False)
    _context: frozenset[str] = field(init=False, repr=False, compare=False)
    _local: tuple[Node, ...] = field(init=False, repr=False, compare=False)
    _by_name: Mapping[str, Node] = field(init=False, repr=False, compare=False)
    _windows: Mapping[str, Window] = field(init=False, repr=False, compare=False)
    _reads: Mapping[str, Along | None] = field(init=False, repr=False, compare=False)
    _axes: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        check_names(self.nodes, (*self.outputs, *self.unfollowed))
        check_axes(self.nodes)
        context, local = split_context(self.nodes)
        object.__setattr__(self, "_context", context)
        object.__setattr__(self, "_local", local)
        object.__setattr__(self, "_by_name", {node.name: node for node in self.nodes})
        windows = {node.name: node for node in local if isinstance(node, Window)}
        object.__setattr__(self, "_windows", windows)
        known = (axes for axes in map(axes_of, self.nodes) if axes is not None)
        axes = next(known, 0) or next(map(len, self.sizes.values()), 2)
        object.__setattr__(self, "_axes", axes)
        object.__setattr__(self, "_reads", reads_of(windows.values(), self._sizes))
        self.fold((), lambda window, spans: window.rates)  # raises where strides do not fit

    @property
    def site_names(self) -> tuple[str, ...]:
        """The convolutions whose rates a plan may set, in topological order."""
        return tuple(n.name for n in self.nodes if isinstance(n, Window) and n.site)

    def __contains__(self, name: str) -> bool:
        return name in self._by_name

    def node(self, name: str) -> Node:
        """The node of that name.

        Raises:
            GeometryError: If there is none.
        """
        if name not in self._by_name:
            raise GeometryError(f"the network has no node '{name}'{nearest(name, self._by_name)}")
        return self._by_name[name]

    def at_rates(self, plan: DilationPlan) -> "FieldGraph":
        """The same graph with a plan's rates in place of its own.

        Raises:
            PlanError: If the plan does not fit the graph or has fractional rates.
        """
        graph, rates = self._with_whole_rates(plan)
        nodes = tuple(
            replace(node, rates=rates.get(node.name, node.rates))
            if isinstance(node, Window)
            else node
            for node in graph.nodes
        )
        return replace(self, nodes=nodes)

    def with_causal(self, sites: Collection[str]) -> "FieldGraph":
        """The same graph, where the last tap of these sites stays in place and not the middle one.

        What is read at the present rates is the same.

        Raises:
            GeometryError: If one is no site, or its branches have unlike rates; names the sites.
        """
        known = {
            node.module or node.name: node
            for node in self.nodes
            if isinstance(node, Window) and node.site
        }
        unknown = [site for site in sites if site not in known]
        if unknown:
            raise GeometryError.from_faults(
                "these cannot be causal",
                [f"'{site}' is no site of the network{nearest(site, known)}" for site in unknown],
            )
        if all(known[site].causal for site in sites):
            return self
        return replace(self, nodes=tuple(in_form(self.nodes, frozenset(sites), ())))

    def in_form_of(self, plan: DilationPlan) -> "FieldGraph":
        """The same graph and rates, ready for rates of a plan's form: by branch or channel, causal.

        Raises:
            PlanError: If the plan does not fit the graph; names the sites.
            GeometryError: If a site of the plan is causal and cannot be so here.
        """
        self.check(plan)
        turned = frozenset(
            site
            for site, rates in plan.sites.items()
            if rates.causal and not self._windows[site].causal
        )
        united = united_parts(self._local, plan)
        if not turned and not united:
            return self
        return replace(self, nodes=tuple(in_form(self.nodes, turned, united)))

    def plan(self) -> DilationPlan:
        """The rates in the graph as a plan; one stands for all axes where they have the same."""
        return plan_of(node for node in self.nodes if isinstance(node, Window) and node.site)

    def propagate(self, plan: DilationPlan | None = None) -> FieldTable:
        """Fields at every node, with the plan's rates at its sites and the graph's elsewhere.

        A fractional rate counts as the integer above it, which bilinear sampling touches. Of
        channels, those of the largest rate see all that is counted.

        Raises:
            PlanError: If the plan does not fit the graph; names the sites.
        """
        graph, rates = self._with_rates(plan)
        return graph._table(rates, plan)

    def coverage(self, plan: DilationPlan | None = None, at: str | None = None) -> Coverage:
        """The exact set of input pixels seen behind a node: by default the plan's last site.

        Global context is left out, as it is from the field. Behind upsampling positions see
        different sets: it is that of ``middle``. Where grids do not fit into one another, it ends
        at the edges of the maps.

        Raises:
            PlanError: If the plan does not fit the graph or has fractional rates.
            GeometryError: If there is no such node, it has no field, or the position sees nothing.
        """
        name = self._node_at(plan, at)
        seen = self.coverages((name,), plan)
        if name not in seen:
            raise GeometryError(_sees_nothing(name, self.middle(name)))
        return seen[name]

    def coverages(
        self, names: Collection[str], plan: DilationPlan | None = None
    ) -> dict[str, Coverage]:
        """The coverage behind each of several nodes, in one pass over the graph.

        A node whose middle position sees nothing is left out: all it reads may be padding.

        Raises:
            PlanError: As ``coverage``.
            GeometryError: If there is no such node, or it has no field.
        """
        graph, rates = self._with_whole_rates(plan)
        table = graph._table(rates, plan)
        for name in names:
            table.at(name)
        basis = graph.basis(table)
        forwards = Forwards(graph._local, rates, self.axes)
        ahead: dict[str, tuple[int, ...]] = {}
        seen: dict[str, Coverage | None] = {}
        for name in names:
            middle = self._middle(name, table.spans)
            if basis[name] == "image" or name not in forwards:
                seen[name] = graph._united(name, middle, rates, basis)
            else:
                ahead[name] = (0,) * self.axes if basis[name] == "plane" else middle
        seen |= forwards.seen(ahead)
        for name in ahead:
            if (found := seen.get(name)) is not None and basis[name] == "plane":
                strides = tuple(span.advance_px for span in table.spans[name])
                seen[name] = replace(found, stride_px=strides)
        return {name: one for name in names if (one := seen.get(name)) is not None}

    def seen_by(
        self, at: str, position: Sequence[int], plan: DilationPlan | None = None
    ) -> Coverage:
        """The exact set of input pixels that one position of a node sees, of all inputs together.

        Maps go on without end where what is seen repeats, and end at their edges elsewhere.

        Raises:
            PlanError: As ``coverage``.
            GeometryError: As ``coverage``.
        """
        graph, rates = self._with_whole_rates(plan)
        table = graph._table(rates, plan)
        table.at(at)
        seen = graph._united(at, position, rates, graph.basis(table))
        if seen is None:
            raise GeometryError(_sees_nothing(at, position))
        return seen

    def support(
        self,
        at: str,
        position: Sequence[int],
        plan: DilationPlan | None = None,
        *,
        inside: bool = False,
    ) -> dict[str, Coverage]:
        """The exact set of input pixels that one position of a node sees, for each input.

        Args:
            at: The node.
            position: Index of the position along each axis.
            plan: Rates at its sites; the graph's elsewhere.
            inside: Whether the maps end at their edges, as they do in the network, where a path
                through zeros carries nothing. Otherwise they go on without end.

        Returns:
            Inputs that are seen at all; pixels outside an image have negative indices.

        Raises:
            PlanError: As ``coverage``.
            GeometryError: If there is no such node, it has no field, or a size is not known.
        """
        graph, rates = self._with_whole_rates(plan)
        graph._table(rates, plan).at(at)
        return support(graph._local, rates, at, position, self.sizes if inside else None)

    def paths(
        self, at: str, position: Sequence[int], plan: DilationPlan | None = None
    ) -> PathCounts:
        """How many paths lead from each input pixel to one position of a node.

        Raises:
            PlanError: As ``coverage``.
            GeometryError: If there is no such node, or it has no field.
        """
        graph, rates = self._with_whole_rates(plan)
        graph._table(rates, plan).at(at)
        return count_paths(graph._local, rates, at, position)

    def middle(self, name: str) -> tuple[int, ...]:
        """The position in the middle of a node's map; position 0 if its size is not known.

        Where that sees nothing, as between the taps of a transposed convolution, it is the next
        that sees something.
        """
        return self._middle(name, self.propagate().spans)

    def route(self, at: str, choose: Choice) -> Route:
        """The path to a node with the largest (``max``) or the smallest field (``min``).

        Raises:
            GeometryError: If there is no such node, or it has no field.
        """
        self.propagate().at(at)
        return routes(self._local, self._sizes, self.axes, choose)[at]

    def upstream(self, name: str) -> frozenset[str]:
        """The nodes whose fields a node's field is made of, itself among them.

        What reaches it by global context alone is not; a node without a field has only itself.
        """
        upstream = {name}
        for node in reversed(self._local):
            if node.name in upstream:
                upstream.update(sources_of(node))
        return frozenset(upstream)

    def downstream(self, names: Collection[str]) -> frozenset[str]:
        """The nodes whose fields are made of those of any of these, which are among them."""
        downstream = set(names)
        for node in self._local:
            if not downstream.isdisjoint(sources_of(node)):
                downstream.add(node.name)
        return frozenset(downstream)

    def basis(self, table: FieldTable) -> dict[str, Basis]:
        """What the coverage behind each node stands for, as ``basis_of`` tells.

        Args:
            table: Fields of this graph, at the rates in question.
        """
        return basis_of(self._local, table.spans)

    def fold(
        self, sites: Collection[str], choose: Choose, *, until_last: bool = False
    ) -> dict[str, Spans]:
        """What is seen by node, with rates chosen on the way.

        Args:
            sites: Where to choose; other windows keep the graph's rates.
            choose: Given a site and what is seen in front of it, its rates. Called in topological
                order, so that what is seen follows from the rates chosen before.
            until_last: Whether to stop at the last of the sites.
        """
        nodes = up_to(self._local, sites) if until_last else self._local
        return fold(nodes, self._reads, self._sizes, self.axes, sites, choose)

    def check(self, plan: DilationPlan) -> None:
        """Refuse a plan that names what is no site here, or has rates for other branches or axes.

        A plan may give several branches to a convolution of one, which it then splits.

        Raises:
            PlanError: Names every such site.
        """
        check_plan(plan, self._windows, self.site_names, self.axes)

    @property
    def axes(self) -> int:
        """Number of spatial axes; 2 if neither a node nor the size of a map tells."""
        return self._axes

    def _middle(self, name: str, spans: Mapping[str, Spans]) -> tuple[int, ...]:
        middle = tuple(size // 2 for size in self.sizes.get(name, (0,) * self.axes))
        return tuple(
            next((p for p in range(n, n + len(span.starts)) if span.at(p) is not None), n)
            for n, span in zip(middle, spans.get(name, (Span(),) * self.axes), strict=True)
        )

    def _table(self, rates: Mapping[str, Rates], plan: DilationPlan | None) -> FieldTable:
        spans = self.fold(plan or (), lambda window, _: rates[window.name])
        rows = tuple(
            row_of(window, rates[name], spans)
            for name, window in self._windows.items()
            if window.site
        )
        return FieldTable(rows, spans, self._context, self._last_site(plan))

    def _sizes(self, name: str) -> tuple[int | None, ...]:
        return self.sizes.get(name) or (None,) * self._axes

    def _node_at(self, plan: DilationPlan | None, at: str | None) -> str:
        if (at := at or self._last_site(plan)) is None:
            raise GeometryError("there is no site to count coverage at; name a node with at=")
        return at

    def _with_rates(self, plan: DilationPlan | None) -> "tuple[FieldGraph, dict[str, Rates]]":
        """This graph in the plan's form, and integer rates of every window: the plan's or its own.

        Fractional rates are rounded up.
        """
        rates = {name: window.rates for name, window in self._windows.items()}
        if plan is None:
            return self, rates
        graph = self.in_form_of(plan)
        rates |= {site: whole_rates(values, self.axes) for site, values in plan.sites.items()}
        return graph, rates

    def _with_whole_rates(self, plan: DilationPlan | None) -> "tuple[FieldGraph, dict[str, Rates]]":
        if plan is not None and not plan.is_integer:
            raise PlanError("coverage is exact for whole rates only; project the plan first")
        return self._with_rates(plan)

    def _united(
        self,
        name: str,
        position: Sequence[int],
        rates: dict[str, Rates],
        basis: Mapping[str, Basis],
    ) -> Coverage | None:
        """What one position sees of all inputs; inside the image, where nothing repeats."""
        sizes = self.sizes if basis[name] == "image" else None
        seen = support(self._local, rates, name, position, sizes)
        if not seen:
            return None
        first, *others = seen.values()
        return first.union(*others)

    def _last_site(self, plan: DilationPlan | None) -> str | None:
        sites = [n.name for n in self._local if isinstance(n, Window) and n.site]
        return next((s for s in reversed(sites) if plan is None or s in plan), None)


def _sees_nothing(name: str, position: Sequence[int]) -> str:
    return (
        f"position {tuple(position)} of node '{name}' sees no pixel of any input; "
        "name a node in front of it or behind it"
    )
