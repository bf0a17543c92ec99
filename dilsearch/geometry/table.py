"""The field table: what propagating a field graph gives."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from difflib import get_close_matches

from dilsearch.errors import GeometryError
from dilsearch.geometry.nodes import Fields, Rates, Spans, Window


@dataclass(frozen=True, slots=True)
class FieldRow:
    """One site's line in the field table.

    Args:
        name: The site.
        taps: Its taps per axis.
        rates: One tuple per branch, one rate per axis; fractional rates are rounded up. Of
            channels, every tuple once.
        field_in: The fields in front of it, per axis.
        bounds: The largest rate that leaves no gap, per axis.
        bound: The largest that leaves none on any axis it spans.
        bound_ok: Whether every rate keeps the bound of its axis.
        field_out: The fields behind it, per axis.
    """

    name: str
    taps: tuple[int, ...]
    rates: Rates
    field_in: Fields
    bounds: tuple[int, ...]
    bound: int
    bound_ok: bool
    field_out: Fields


@dataclass(frozen=True, slots=True)
class FieldTable:
    """Fields at every node of a network, for one choice of rates.

    Args:
        rows: One row for each site that has a field, in topological order.
        spans: What is seen by node and axis, for the nodes that have a field.
        context: The nodes behind a global pooling, wholly or in part.
        last_site: The last site of the plan, or of the graph if no plan was given; None if there
            is no site.
    """

    rows: tuple[FieldRow, ...]
    spans: Mapping[str, Spans]
    context: frozenset[str]
    last_site: str | None

    def at(self, name: str) -> Fields:
        """The fields behind a node, per axis.

        Raises:
            GeometryError: If there is no such node, or everything it sees is pooled globally.
        """
        if name in self.spans:
            return fields_of(self.spans[name])
        if name in self.context:
            raise GeometryError(
                f"node '{name}' sees only what is pooled globally, so it has no field; "
                "name a node in front of the pooling or behind its join"
            )
        raise GeometryError(f"the network has no node '{name}'{nearest(name, self.spans)}")

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


def row_of(site: Window, rates: Rates, spans: Mapping[str, Spans]) -> FieldRow:
    """A site's line, at these rates and what is seen by node."""
    before = spans[site.source]
    return FieldRow(
        name=site.name,
        taps=site.taps,
        rates=rates,
        field_in=fields_of(before),
        bounds=tuple(span.bound for span in before),
        bound=site.tightest(before).bound,
        bound_ok=site.leaves_no_gap(before, rates),
        field_out=fields_of(spans[site.name]),
    )


def fields_of(spans: Spans) -> Fields:
    """The largest field of the positions along each axis."""
    return tuple(span.field for span in spans)


def nearest(name: str, known: Collection[str]) -> str:
    """A hint at the name that was meant, to end a sentence with."""
    close = get_close_matches(name, known, n=1, cutoff=0)
    return f"; the nearest name is '{close[0]}'" if close else ""
