"""The field graph: a network reduced to what moves its field of view, node by node.

Everything is kept per spatial axis, height first. A graph is immutable; it is propagated with its
own rates or with those of a plan.
"""

import math
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, TypeAlias

from dilsearch.errors import GeometryError, PlanError
from dilsearch.geometry.coverage import Coverage
from dilsearch.geometry.forwards import Forwards
from dilsearch.geometry.nodes import (
    Join,
    Node,
    Part,
    Rates,
    Resample,
    Spans,
    Tables,
    Window,
    axes_of,
    sources_of,
    tables_of,
)
from dilsearch.geometry.routes import Choice, Route, routes
from dilsearch.geometry.spans import Span
from dilsearch.geometry.structure import check_axes, check_names, split_context
from dilsearch.geometry.support import PathCounts, count_paths, support
from dilsearch.geometry.table import FieldRow, FieldTable, fields_of, nearest
from dilsearch.plan import DilationPlan, SiteRates

Choose = Callable[[Window, Spans], Rates]

Basis: TypeAlias = Literal["plane", "position", "image"]
"""What the set behind a node stands for: every position, one position, or one inside the image."""


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

    def __post_init__(self) -> None:
        check_names(self.nodes, (*self.outputs, *self.unfollowed))
        check_axes(self.nodes)
        context, local = split_context(self.nodes)
        object.__setattr__(self, "_context", context)
        object.__setattr__(self, "_local", local)
        object.__setattr__(self, "_by_name", {node.name: node for node in self.nodes})
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
        rates = self._whole_rates(plan)
        nodes = tuple(
            replace(node, rates=rates.get(node.name, node.rates))
            if isinstance(node, Window)
            else node
            for node in self.nodes
        )
        return replace(self, nodes=nodes)

    def plan(self) -> DilationPlan:
        """The rates in the graph as a plan.

        Sites whose axes have different rates are left out: a plan's rate stands for all axes.
        """
        return DilationPlan(
            {
                node.name: SiteRates(
                    "branch" if len(node.rates) > 1 else "site",
                    tuple(branch[0] for branch in node.rates),
                )
                for node in self.nodes
                if isinstance(node, Window)
                and node.site
                and all(len(set(branch)) == 1 for branch in node.rates)
            }
        )

    def propagate(self, plan: DilationPlan | None = None) -> FieldTable:
        """Fields at every node, with the plan's rates at its sites and the graph's elsewhere.

        A plan's rate holds on every axis. A fractional rate counts as the integer above it, which
        bilinear sampling touches.

        Raises:
            PlanError: If the plan does not fit the graph; names the site.
        """
        rates = self._rates(plan)
        spans = self.fold(plan or (), lambda window, _: rates[window.name])
        rows = []
        for node in self._local:
            if isinstance(node, Window) and node.site:
                before = spans[node.source]
                rows.append(
                    FieldRow(
                        name=node.name,
                        taps=node.taps,
                        rates=rates[node.name],
                        field_in=fields_of(before),
                        bounds=tuple(span.bound for span in before),
                        bound=node.tightest(before).bound,
                        bound_ok=node.leaves_no_gap(before, rates[node.name]),
                        field_out=fields_of(spans[node.name]),
                    )
                )
        return FieldTable(tuple(rows), spans, self._context, self._last_site(plan))

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
        rates, table = self._whole_rates(plan), self.propagate(plan)
        for name in names:
            table.at(name)
        basis = self.basis(table)
        forwards = Forwards(self._local, rates, self.axes)
        ahead: dict[str, tuple[int, ...]] = {}
        seen: dict[str, Coverage | None] = {}
        for name in names:
            middle = self._middle(name, table.spans)
            if basis[name] == "image" or name not in forwards:
                seen[name] = self._united(name, middle, rates, basis)
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
        rates, table = self._whole_rates(plan), self.propagate(plan)
        table.at(at)
        seen = self._united(at, position, rates, self.basis(table))
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
        rates = self._whole_rates(plan)
        self.propagate(plan).at(at)
        return support(self._local, rates, at, position, self.sizes if inside else None)

    def paths(
        self, at: str, position: Sequence[int], plan: DilationPlan | None = None
    ) -> PathCounts:
        """How many paths lead from each input pixel to one position of a node.

        Raises:
            PlanError: As ``coverage``.
            GeometryError: If there is no such node, or it has no field.
        """
        rates = self._whole_rates(plan)
        self.propagate(plan).at(at)
        return count_paths(self._local, rates, at, position)

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
        """What the coverage behind each node with a field stands for.

        It is ``plane`` where all positions see alike, there and at every node in front; ``image``
        where something in front does not repeat, so that maps end at their edges; and
        ``position``, that of ``middle``, elsewhere.

        Args:
            table: Fields of this graph, at the rates in question.
        """
        basis: dict[str, Basis] = {}
        for node in self._local:
            spans = table.spans[node.name]
            before = {basis[name] for name in sources_of(node)}
            tables = node.table if isinstance(node, Resample) else ()
            if "image" in before or not all(span.repeats for span in spans):
                basis[node.name] = "image"
            elif (
                "position" in before
                or not all(span.uniform for span in spans)
                or any(reads.period > 1 for reads in tables)
            ):
                basis[node.name] = "position"
            else:
                basis[node.name] = "plane"
        return basis

    def fold(self, sites: Collection[str], choose: Choose) -> dict[str, Spans]:
        """What is seen by node, with rates chosen on the way.

        Args:
            sites: Where to choose; other windows keep the graph's rates.
            choose: Given a site and what is seen in front of it, its rates. Called in topological
                order, so that what is seen follows from the rates chosen before.
        """
        spans: dict[str, Spans] = {}
        windows: dict[str, Window] = {}
        rates: dict[str, Rates] = {}
        for node in self._local:
            match node:
                case Window() | Part() | Resample():
                    before = spans[node.source]
                    if isinstance(node, Window):
                        chosen = node.site and node.name in sites
                        windows[node.name] = node
                        rates[node.name] = choose(node, before) if chosen else node.rates
                    spans[node.name] = self._behind(node, tables_of(node, windows, rates), before)
                case Join():
                    spans[node.name] = self._joined(node, [spans[name] for name in node.sources])
                case _:
                    spans[node.name] = (Span(),) * self.axes
        return spans

    def check(self, plan: DilationPlan) -> None:
        """Refuse a plan that names what is no site here, or has rates for other branches.

        A plan may give several branches to a convolution of one, which it then splits.

        Raises:
            PlanError: Names the site.
        """
        windows = {node.name: node for node in self._local if isinstance(node, Window)}
        uses = Counter(node.module or node.name for node in windows.values())
        for site, rates in plan.items():
            window = windows.get(site)
            if window is None or not window.site:
                raise PlanError(_why_no_site(site, self))
            if (runs := uses[window.module or site]) > 1:
                raise PlanError(
                    f"site '{site}' runs {runs} times in one forward pass, so that it has as "
                    "many fields and bounds; give each use a module of its own"
                )
            branches = len(window.rates)
            if len(set(window.rates)) > 1 and len(rates) not in (1, branches):
                raise PlanError(
                    f"site '{site}': the plan has {len(rates)} rates where the network has "
                    f"{branches} branches; give {branches} rates, or one for all"
                )

    @property
    def axes(self) -> int:
        """Number of spatial axes; 2 if neither a node nor the size of a map tells."""
        known = (axes for axes in map(axes_of, self.nodes) if axes is not None)
        return next(known, 0) or next(map(len, self.sizes.values()), 2)

    def _middle(self, name: str, spans: Mapping[str, Spans]) -> tuple[int, ...]:
        middle = tuple(size // 2 for size in self.sizes.get(name, (0,) * self.axes))
        return tuple(
            next((p for p in range(n, n + len(span.starts)) if span.at(p) is not None), n)
            for n, span in zip(middle, spans.get(name, (Span(),) * self.axes), strict=True)
        )

    def _behind(self, node: Node, tables: Tables, before: Spans) -> Spans:
        sizes = self._sizes(node.name)
        try:
            branches = [
                tuple(
                    span.through(reads, size)
                    for span, reads, size in zip(before, table, sizes, strict=True)
                )
                for table in tables
            ]
        except GeometryError as error:
            raise GeometryError(f"node '{node.name}': {error}") from None
        return self._joined(node, branches)

    def _joined(self, node: Node, operands: Sequence[Spans]) -> Spans:
        if len(operands) == 1:
            return operands[0]
        axes = zip(zip(*operands, strict=True), self._sizes(node.name), strict=True)
        try:
            return tuple(Span.join(spans, size) for spans, size in axes)
        except GeometryError as error:
            raise GeometryError(f"node '{node.name}': {error}") from None

    def _sizes(self, name: str) -> tuple[int | None, ...]:
        return self.sizes.get(name) or (None,) * self.axes

    def _node_at(self, plan: DilationPlan | None, at: str | None) -> str:
        if (at := at or self._last_site(plan)) is None:
            raise GeometryError("there is no site to count coverage at; name a node with at=")
        return at

    def _whole_rates(self, plan: DilationPlan | None) -> dict[str, Rates]:
        if plan is not None and not plan.is_integer:
            raise PlanError("coverage is exact for whole rates only; project the plan first")
        return self._rates(plan)

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

    def _rates(self, plan: DilationPlan | None) -> dict[str, Rates]:
        """Integer rates of every window: the plan's, rounded up, or the graph's."""
        rates = {node.name: node.rates for node in self._local if isinstance(node, Window)}
        if plan is not None:
            self.check(plan)
            for site, values in plan.items():
                rates[site] = tuple((math.ceil(rate),) * self.axes for rate in values)
        return rates

    def _last_site(self, plan: DilationPlan | None) -> str | None:
        sites = [n.name for n in self._local if isinstance(n, Window) and n.site]
        return next((s for s in reversed(sites) if plan is None or s in plan), None)


def on_every_axis(rates: Sequence[int], window: Window) -> Rates:
    """One rate per branch, as rates per axis."""
    return tuple((rate,) * len(window.taps) for rate in rates)


def _sees_nothing(name: str, position: Sequence[int]) -> str:
    return (
        f"position {tuple(position)} of node '{name}' sees no pixel of any input; "
        "name a node in front of it or behind it"
    )


def _why_no_site(name: str, graph: FieldGraph) -> str:
    if name in graph.site_names:
        return (
            f"site '{name}' sees only what is pooled globally, so its rate moves no field; "
            "take it out of the plan"
        )
    return f"the plan names '{name}', which is no site{nearest(name, graph.site_names)}"
