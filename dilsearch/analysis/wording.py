"""What an analysis found, in words: one sentence that claims no more than the figures show."""

from collections.abc import Collection, Iterable

from dilsearch.analysis.frames import is_lower_bound, is_upper_bound
from dilsearch.analysis.printing import print_analysis
from dilsearch.analysis.reports import Gaps, OutputReport, Sizes
from dilsearch.analysis.result import Analysis
from dilsearch.geometry import FieldGraph
from dilsearch.geometry.nodes import sources_of
from dilsearch.report.sizes import axes_of, reach, whole_text

__all__ = ["print_analysis", "verdict"]

_NAMED = 3
"""More names than these are counted, not listed."""


def verdict(analysis: Analysis) -> str:
    """One line on the field of the first output, the bounds, the holes and what is not known."""
    output = analysis.outputs[0]
    parts = [_field_part(analysis, output), _bounds_part(analysis)]
    plain = output.field_px is not None and analysis.bound_ok and _covered(output)
    if output.gaps is not None:
        parts.append(_holes_part(output.gaps, output.field_px or ()))
        plain = plain and not output.gaps.holes
    if output.field_px is not None and output.global_context:
        parts.append(f"beside its field it sees global context{_causes(analysis, output)}")
        plain = False
    if analysis.unfollowed:
        parts.append(_unfollowed_part(analysis.unfollowed.values()))
        plain = False
    if analysis.remarks:
        parts.append(_remarks_part(analysis.remarks.values()))
        plain = False
    return (", " if plain else "; ").join(part for part in parts if part) + "."


def _field_part(analysis: Analysis, output: OutputReport) -> str:
    if output.field_px is None:
        return _no_field_part(analysis, output)
    smallest = output.field_min_px or output.field_px
    if smallest == output.field_px:
        size = whole_text(output.field_px)
    else:
        size = f"{whole_text(smallest)} to {whole_text(output.field_px)}"
    more, less = is_lower_bound(analysis, output), is_upper_bound(analysis, output)
    about = "about " if more and less else "at least " if more else "at most " if less else ""
    need = _need(output, more=more, less=less)
    comma = "," if need.startswith("which") else ""
    return f"Field {about}{size} px at '{output.name}'{comma} {need}"


def _need(output: OutputReport, *, more: bool, less: bool) -> str:
    """What the field says to the need, axis by axis where axes differ.

    Args:
        output: An output with a field.
        more: Whether the field is a lower bound, so that it may reach further than it says.
        less: Whether it is an upper bound.
    """
    needed, field_px = output.needed_px, output.field_px or ()
    reached = reach(field_px, output.field_min_px, needed)
    if set(reached) == {"all"} and not less:
        return f"({whole_text(needed)} needed: covered)"
    known = not (less if set(reached) == {"all"} else more)
    if len(set(reached)) == 1 and "some" not in reached and not known:
        return f"which is not known to cover the {whole_text(needed)} needed"
    falls_short = "is not known to cover" if more else "falls short of"
    covers = "may cover" if less else "covers"
    if set(reached) == {"none"}:
        return f"{falls_short} the {whole_text(needed)} needed"
    told = (
        ("all", covers + " the {} needed in {}"),
        ("some", covers + " the {} needed in {} at some positions only"),
        ("none", falls_short + " the {} needed in {}"),
    )
    clauses = []
    for degree, text in told:
        axes = [
            (f"{needed[axis]:,}", name)
            for axis, name in enumerate(axes_of(needed))
            if reached[axis] == degree
        ]
        if axes and len({size for size, _ in axes}) == 1:
            clauses.append(text.format(axes[0][0], _listed(name for _, name in axes)))
        else:
            clauses += [text.format(size, name) for size, name in axes]
    if len(clauses) > 2:
        return ", ".join(clauses)
    return (" but " if "none" in reached and "all" in reached else " and ").join(clauses)


def _no_field_part(analysis: Analysis, output: OutputReport) -> str:
    if not output.global_context:
        return f"'{output.name}' has no field"
    told = (
        f"'{output.name}' counts as seeing the whole image, through global context"
        f"{_causes(analysis, output)} and has no field of its own"
    )
    before = _ancestors(analysis.graph, output.node)
    fields = [
        found.field_px
        for found in analysis.global_context
        if found.node in before and found.field_px is not None
    ]
    if not fields:
        return told
    least = "at least " if before & set(analysis.unfollowed) else ""
    return f"{told}; in front of it the field is {least}{whole_text(fields[-1])} px"


def _causes(analysis: Analysis, output: OutputReport) -> str:
    """The operations that bring global context to an output, in brackets; empty if not known."""
    before = _ancestors(analysis.graph, output.node)
    causes = [found.cause for found in analysis.global_context if found.node in before]
    return f" ({_first_of(causes)})" if causes else ""


def _bounds_part(analysis: Analysis) -> str:
    broken = [site for site in analysis.sites if site.bound_ok is False]
    count, total = len(broken), len(analysis.sites)
    if not broken:
        told = [site.bound_ok for site in analysis.sites if site.bound is not None]
        if None in told:
            return f"no bound known to be broken, and {told.count(None)} of {len(told)} unknown"
        return "every bound kept" if told else "no site has a bound"
    named = f"{broken[0].name}: {broken[0].fix}"
    if total == 1:
        return f"the only site breaks its bound ({named})"
    if count == 1:
        return f"1 of {total} sites breaks its bound ({named})"
    return f"{count} of {total} sites break their bound (first {named})"


def _holes_part(gaps: Gaps, field_px: Sizes) -> str:
    """How many pixels are not seen, with where they were counted if not everywhere."""
    if gaps.holes == 0:
        return {
            "plane": "no holes",
            "position": "no holes for the map's middle position",
            "image": "no holes inside the image for the map's middle position",
            "axes": "no holes found on any axis by itself",
        }[gaps.basis]
    verb = "is" if gaps.holes == 1 else "are"
    pixels = "pixel" if gaps.holes == 1 else "pixels"
    largest = f"largest hole {gaps.largest_hole_px:,} px"
    if gaps.basis == "axes":
        return f"at least {gaps.holes:,} {pixels} {verb} never seen (counted by axis; {largest})"
    if gaps.basis == "plane":
        box = 1
        for side in field_px:
            box *= side
        return f"{gaps.holes:,} of {box:,} pixels {verb} never seen ({largest})"
    inside = " inside the image" if gaps.basis == "image" else ""
    return (
        f"{gaps.holes:,} {pixels}{inside} {verb} not seen by the map's middle position ({largest})"
    )


def _unfollowed_part(operations: Collection[str]) -> str:
    count = len(operations)
    what, them = ("operation", "it") if count == 1 else ("operations", "them")
    return (
        f"{count} {what} could not be followed ({_first_of(list(operations))}), "
        f"so fields behind {them} are lower bounds, and bounds and holes go by these"
    )


def _remarks_part(remarks: Collection[str]) -> str:
    """Remarks name an operation and say why; only the operations are named here."""
    count = len(remarks)
    what, them = ("operation", "it") if count == 1 else ("operations", "them")
    operations = [remark.partition(": ")[0] for remark in remarks]
    return (
        f"{count} {what} may see less than is counted ({_first_of(operations)}), "
        f"so fields behind {them} are upper bounds"
    )


def _covered(output: OutputReport) -> bool:
    reached = reach(output.field_px or (), output.field_min_px, output.needed_px)
    return set(reached) == {"all"}


def _ancestors(graph: FieldGraph, name: str) -> frozenset[str]:
    """Every node in front of a node, those behind global context among them."""
    found = {name}
    for node in reversed(graph.nodes):
        if node.name in found:
            found.update(sources_of(node))
    return frozenset(found)


def _first_of(names: list[str]) -> str:
    """A few names in full; of many, the first and how many more."""
    names = list(dict.fromkeys(names))
    if len(names) <= _NAMED:
        return ", ".join(names)
    return f"{names[0]} and {len(names) - 1} more"


def _listed(names: Iterable[str]) -> str:
    *head, last = names
    return f"{', '.join(head)} and {last}" if head else last
