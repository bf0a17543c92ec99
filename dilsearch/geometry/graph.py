"""The field graph: a network reduced to what moves its field of view, node by node.

Everything is kept per spatial axis, height first. A graph is immutable; it is propagated with its
own rates or with those of a plan.
"""

import math
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace

from dilsearch.errors import GeometryError, PlanError
from dilsearch.geometry.coverage import Coverage
from dilsearch.geometry.field import Field, join
from dilsearch.geometry.gaps import max_rate
from dilsearch.geometry.nodes import (
    Fields,
    GlobalContext,
    Join,
    Node,
    Rates,
    Resample,
    Source,
    Window,
    sources_of,
)
from dilsearch.geometry.table import FieldRow, FieldTable, nearest
from dilsearch.plan import DilationPlan, SiteRates


@dataclass(frozen=True, slots=True)
class FieldGraph:
    """A network's windows, joins and resamplings in topological order.

    Args:
        nodes: Every node behind the nodes it reads.
        outputs: Names of the nodes the network returns.
        unfollowed: What could not be followed: the node behind it, whose field is therefore a
            lower bound, to a text that names it.

    Raises:
        GeometryError: If a name is repeated or unknown, or strides do not fit; names the node.
    """

    nodes: tuple[Node, ...]
    outputs: tuple[str, ...]
    unfollowed: Mapping[str, str] = field(default_factory=dict, hash=False)
    _context: frozenset[str] = field(init=False, repr=False, compare=False)
    _local: tuple[Node, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        _check_names(self.nodes, (*self.outputs, *self.unfollowed))
        _check_axes(self.nodes)
        context, local = _split_context(self.nodes)
        object.__setattr__(self, "_context", context)
        object.__setattr__(self, "_local", local)
        self.fold((), lambda window, fields: 1)  # raises where strides do not fit

    @property
    def site_names(self) -> tuple[str, ...]:
        """The convolutions whose rates a plan may set, in topological order."""
        return tuple(n.name for n in self.nodes if isinstance(n, Window) and n.site)

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
        fields = self.fold(plan or (), lambda window, _: max(rates[window.name])[0])
        rows = []
        for node in self._local:
            if isinstance(node, Window) and node.site:
                before = fields[node.source]
                rows.append(
                    FieldRow(
                        name=node.name,
                        taps=node.taps,
                        rates=rates[node.name],
                        field_in=before,
                        bound=max_rate(node.tightest(before)),
                        bound_ok=node.leaves_no_gap(before, rates[node.name]),
                        field_out=fields[node.name],
                    )
                )
        return FieldTable(tuple(rows), fields, self._context, self._last_site(plan))

    def coverage(self, plan: DilationPlan | None = None, at: str | None = None) -> Coverage:
        """The exact set of input pixels seen behind a node: by default the plan's last site.

        Global context is left out, as it is from the field.

        Raises:
            PlanError: If the plan does not fit the graph or has fractional rates.
            GeometryError: If the graph is not two-dimensional, there is no such node, it has no
                field, or it depends on a resampling, whose positions do not all see alike.
        """
        if plan is not None and not plan.is_integer:
            raise PlanError("coverage is exact for whole rates only; project the plan first")
        if self._axes != 2:
            raise GeometryError(
                f"coverage lies in the plane, and the network has {self._axes} axes; "
                "read its fields instead"
            )
        if (at := at or self._last_site(plan)) is None:
            raise GeometryError("there is no site to count coverage at; name a node with at=")
        self.propagate(plan).at(at)
        rates, upstream = self._rates(plan), self.upstream(at)
        seen: dict[str, Coverage] = {}
        for node in self._local:
            if node.name not in upstream:
                continue
            match node:
                case Window():
                    seen[node.name] = seen[node.source].through(
                        node.taps, rates[node.name], stride=node.stride, anchor=node.anchor
                    )
                case Join():
                    first, *others = (seen[name] for name in node.sources)
                    seen[node.name] = first.union(*others)
                case Resample():
                    raise GeometryError(
                        f"node '{at}' depends on the resampling '{node.name}', behind which "
                        "positions see different sets; name a node in front of it"
                    )
                case _:
                    seen[node.name] = Coverage.point()
        return seen[at]

    def upstream(self, name: str) -> frozenset[str]:
        """The nodes whose fields a node's field is made of, itself among them.

        What reaches it by global context alone is not; a node without a field has only itself.
        """
        upstream = {name}
        for node in reversed(self._local):
            if node.name in upstream:
                upstream.update(sources_of(node))
        return frozenset(upstream)

    def fold(
        self, sites: Collection[str], choose: Callable[[Window, Fields], int]
    ) -> dict[str, Fields]:
        """Fields by node, with rates chosen on the way.

        Args:
            sites: Where to choose; other windows keep the graph's rates.
            choose: Given a site and the fields in front of it, its largest rate. Called in
                topological order, so that the fields follow from the rates chosen before.
        """
        fields: dict[str, Fields] = {}
        for node in self._local:
            match node:
                case Window():
                    before = fields[node.source]
                    rate = choose(node, before) if node.site and node.name in sites else None
                    fields[node.name] = node.after(before, rate)
                case Join():
                    fields[node.name] = _join_axes(node, [fields[name] for name in node.sources])
                case Resample():
                    fields[node.name] = _resample_axes(node, fields[node.source])
                case _:
                    fields[node.name] = (Field(),) * self._axes
        return fields

    def check(self, plan: DilationPlan) -> None:
        """Refuse a plan that names what is no site here, or has rates for other branches.

        A plan may give several branches to a convolution of one, which it then splits.

        Raises:
            PlanError: Names the site.
        """
        windows = {node.name: node for node in self._local if isinstance(node, Window)}
        for site, rates in plan.items():
            window = windows.get(site)
            if window is None or not window.site:
                raise PlanError(_why_no_site(site, self))
            branches = len(window.rates)
            if len(set(window.rates)) > 1 and len(rates) not in (1, branches):
                raise PlanError(
                    f"site '{site}': the plan has {len(rates)} rates where the network has "
                    f"{branches} branches; give {branches} rates, or one for all"
                )

    @property
    def _axes(self) -> int:
        windows = (n for n in self.nodes if isinstance(n, Window | Resample))
        return next((len(window.taps) for window in windows), 2)

    def _rates(self, plan: DilationPlan | None) -> dict[str, Rates]:
        """Integer rates of every window: the plan's, rounded up, or the graph's."""
        rates = {node.name: node.rates for node in self._local if isinstance(node, Window)}
        if plan is not None:
            self.check(plan)
            for site, values in plan.items():
                rates[site] = tuple((math.ceil(rate),) * self._axes for rate in values)
        return rates

    def _last_site(self, plan: DilationPlan | None) -> str | None:
        sites = [n.name for n in self._local if isinstance(n, Window) and n.site]
        return next((s for s in reversed(sites) if plan is None or s in plan), None)


def _check_names(nodes: tuple[Node, ...], named: tuple[str, ...]) -> None:
    repeated = [name for name, count in Counter(n.name for n in nodes).items() if count > 1]
    if repeated:
        raise GeometryError(f"the name '{repeated[0]}' stands for two nodes; names must be unique")
    earlier: set[str] = set()
    for node in nodes:
        if isinstance(node, Join) and not node.sources:
            raise GeometryError(f"node '{node.name}' joins nothing; give it at least one source")
        for source in sources_of(node):
            if source not in earlier:
                raise GeometryError(
                    f"node '{node.name}' reads '{source}', which is not among the nodes before it; "
                    "list every node behind those it reads"
                )
        earlier.add(node.name)
    for name in named:
        if name not in earlier:
            raise GeometryError(
                f"'{name}' is given as output or unfollowed, but is no node{nearest(name, earlier)}"
            )


def _check_axes(nodes: tuple[Node, ...]) -> None:
    axes = {node.name: len(node.taps) for node in nodes if isinstance(node, Window | Resample)}
    if len(set(axes.values())) > 1:
        listed = ", ".join(f"'{name}' has {count}" for name, count in axes.items())
        raise GeometryError(f"nodes differ in their number of axes ({listed}); give all the same")


def _split_context(nodes: tuple[Node, ...]) -> tuple[frozenset[str], tuple[Node, ...]]:
    """Names behind a global pooling, and the nodes with a field, joins freed of the others."""
    context: set[str] = set()
    local: dict[str, Node] = {}
    for node in nodes:
        sources = sources_of(node)
        near = tuple(name for name in sources if name in local)
        if isinstance(node, GlobalContext) or any(name in context for name in sources):
            context.add(node.name)
        if isinstance(node, Source):
            local[node.name] = node
        elif near and not isinstance(node, GlobalContext):
            local[node.name] = replace(node, sources=near) if isinstance(node, Join) else node
    return frozenset(context), tuple(local.values())


def _join_axes(node: Join, operands: list[Fields]) -> Fields:
    if len(operands) == 1:
        return operands[0]
    try:
        return tuple(join(*axis) for axis in zip(*operands, strict=True))
    except ValueError as error:
        raise GeometryError(f"node '{node.name}': {error}") from None


def _resample_axes(node: Resample, fields: Fields) -> Fields:
    try:
        axes = zip(fields, node.factor, node.taps, strict=True)
        return tuple(before.upsampled(factor, taps) for before, factor, taps in axes)
    except ValueError as error:
        raise GeometryError(f"node '{node.name}': {error}") from None


def _why_no_site(name: str, graph: FieldGraph) -> str:
    if name in graph.site_names:
        return (
            f"site '{name}' sees only what is pooled globally, so its rate moves no field; "
            "take it out of the plan"
        )
    return f"the plan names '{name}', which is no site{nearest(name, graph.site_names)}"
