"""The field graph: a network reduced to what moves its field of view, node by node.

Everything is kept per spatial axis, height first. A graph is immutable; it is propagated with its
own rates or with those of a plan.
"""

import math
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from typing import TypeAlias

from dilsearch.errors import GeometryError, PlanError
from dilsearch.geometry.coverage import Coverage
from dilsearch.geometry.field import Field, join
from dilsearch.geometry.gaps import max_rate
from dilsearch.plan import DilationPlan, SiteRates

Fields: TypeAlias = tuple[Field, ...]
"""One field per spatial axis."""

Rates: TypeAlias = tuple[tuple[int, ...], ...]
"""One tuple per branch, with one rate per spatial axis."""


@dataclass(frozen=True, slots=True)
class Source:
    """The network's input."""

    name: str


@dataclass(frozen=True, slots=True)
class Window:
    """A convolution or a local pooling.

    Args:
        name: The module's path, or any unique name for what is no module.
        source: The node it reads.
        taps: Taps per axis.
        stride: Stride per axis.
        anchor: Position of the anchor tap, index (taps - 1) // 2, for output position 0, in
            positions of the source: (taps - 1) // 2 * dilation - padding per axis.
        rates: One rate per axis for each branch; one branch for an ordinary convolution.
        site: Whether a plan may set the rates: true for convolutions, false for poolings.

    Raises:
        GeometryError: If the axes disagree, or taps, strides or rates are below 1.
    """

    name: str
    source: str
    taps: tuple[int, ...]
    stride: tuple[int, ...]
    anchor: tuple[int, ...]
    rates: Rates
    site: bool

    def __post_init__(self) -> None:
        axes = len(self.taps)
        if any(len(values) != axes for values in (self.stride, self.anchor, *self.rates)):
            raise GeometryError(
                f"node '{self.name}': taps, stride, anchor and rates must have as many axes; "
                f"give {axes} values for each"
            )
        if not self.rates or min((*self.taps, *self.stride, *sum(self.rates, ()))) < 1:
            raise GeometryError(
                f"node '{self.name}': taps {self.taps}, stride {self.stride} and rates "
                f"{self.rates} must be at least 1, with at least one branch"
            )

    def after(self, fields: Fields, rate: int | None = None) -> Fields:
        """The fields behind the window, at ``rate`` on every axis or at its own rates."""
        if max(self.taps) == 1 and max(self.stride) == 1:
            return fields
        rates = (rate,) * len(fields) if rate else tuple(map(max, zip(*self.rates, strict=True)))
        each = zip(fields, self.taps, rates, self.stride, strict=True)
        return tuple(before.through(taps, r, stride) for before, taps, r, stride in each)

    def tightest(self, fields: Fields) -> Field:
        """Of the axes the window spans, the field with the smallest bound."""
        spanned = [f for f, taps in zip(fields, self.taps, strict=True) if taps > 1]
        return min(spanned or fields, key=max_rate)

    def leaves_no_gap(self, fields: Fields, rates: Rates) -> bool:
        """Whether each axis keeps its own bound, in every branch."""
        return all(
            taps == 1 or rate <= max_rate(before)
            for branch in rates
            for before, taps, rate in zip(fields, self.taps, branch, strict=True)
        )


@dataclass(frozen=True, slots=True)
class Join:
    """Where paths meet position by position: a sum, product or concatenation."""

    name: str
    sources: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Resample:
    """An upsampling by an integer factor per axis; taps 1 nearest, 2 bilinear, 4 bicubic.

    Raises:
        GeometryError: If taps and factor differ in their axes.
    """

    name: str
    source: str
    taps: tuple[int, ...]
    factor: tuple[int, ...]

    def __post_init__(self) -> None:
        if len(self.taps) != len(self.factor):
            raise GeometryError(
                f"node '{self.name}': taps {self.taps} and factor {self.factor} must have as "
                "many axes; give one value for each"
            )


@dataclass(frozen=True, slots=True)
class GlobalContext:
    """A global pooling: what follows sees everything, everywhere alike, and counts no field."""

    name: str
    source: str


Node: TypeAlias = Source | Window | Join | Resample | GlobalContext


@dataclass(frozen=True, slots=True)
class FieldRow:
    """One site's line in the field table.

    Args:
        name: The site.
        taps: Its taps per axis.
        rates: One tuple per branch, one rate per axis; fractional rates are rounded up.
        field_in: The fields in front of it, per axis.
        bound: The largest rate that leaves no gap on any axis it spans.
        bound_ok: Whether every rate keeps the bound of its axis.
        field_out: The fields behind it, per axis.
    """

    name: str
    taps: tuple[int, ...]
    rates: Rates
    field_in: Fields
    bound: int
    bound_ok: bool
    field_out: Fields


@dataclass(frozen=True, slots=True)
class FieldTable:
    """Fields at every node of a network, for one choice of rates.

    Args:
        rows: One row for each site that has a field, in topological order.
        fields: Fields by node, for the nodes that have one.
        context: The nodes behind a global pooling, wholly or in part.
        last_site: The last site of the plan, or of the graph if no plan was given; None if there
            is no site.
    """

    rows: tuple[FieldRow, ...]
    fields: Mapping[str, Fields]
    context: frozenset[str]
    last_site: str | None

    def at(self, name: str) -> Fields:
        """The fields behind a node, per axis.

        Raises:
            GeometryError: If there is no such node, or everything it sees is pooled globally.
        """
        if name in self.fields:
            return self.fields[name]
        if name in self.context:
            raise GeometryError(
                f"node '{name}' sees only what is pooled globally, so it has no field; "
                "name a node in front of the pooling or behind its join"
            )
        raise GeometryError(f"the network has no node '{name}'{_nearest(name, self.fields)}")

    def global_context(self, name: str) -> bool:
        """Whether a global pooling reaches this node, beside its field or instead of one.

        Raises:
            GeometryError: If there is no such node.
        """
        if name not in self.context:
            self.at(name)
        return name in self.context

    @property
    def field_px(self) -> int | tuple[int, ...]:
        """The size behind the last site: one number if the axes agree, else one per axis.

        Raises:
            GeometryError: If there is no site.
        """
        if self.last_site is None:
            raise GeometryError("there is no site to read the field at; name a node with at(name)")
        sizes = tuple(axis.size_px for axis in self.at(self.last_site))
        return sizes[0] if len(set(sizes)) == 1 else sizes

    @property
    def bound_ok(self) -> bool:
        """Whether every site keeps its bound."""
        return all(row.bound_ok for row in self.rows)


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
                upstream.update(_sources(node))
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


def _sources(node: Node) -> tuple[str, ...]:
    match node:
        case Source():
            return ()
        case Join():
            return node.sources
        case _:
            return (node.source,)


def _check_names(nodes: tuple[Node, ...], named: tuple[str, ...]) -> None:
    repeated = [name for name, count in Counter(n.name for n in nodes).items() if count > 1]
    if repeated:
        raise GeometryError(f"the name '{repeated[0]}' stands for two nodes; names must be unique")
    earlier: set[str] = set()
    for node in nodes:
        if isinstance(node, Join) and not node.sources:
            raise GeometryError(f"node '{node.name}' joins nothing; give it at least one source")
        for source in _sources(node):
            if source not in earlier:
                raise GeometryError(
                    f"node '{node.name}' reads '{source}', which is not among the nodes before it; "
                    "list every node behind those it reads"
                )
        earlier.add(node.name)
    for name in named:
        if name not in earlier:
            raise GeometryError(
                f"'{name}' is given as output or unfollowed, but is no node"
                f"{_nearest(name, earlier)}"
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
        sources = _sources(node)
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
    return f"the plan names '{name}', which is no site{_nearest(name, graph.site_names)}"


def _nearest(name: str, known: Collection[str]) -> str:
    """A hint at the name that was meant, to end a sentence with."""
    close = get_close_matches(name, known, n=1, cutoff=0)
    return f"; the nearest name is '{close[0]}'" if close else ""
