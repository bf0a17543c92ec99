"""For which positions of a node one coverage stands."""

from collections.abc import Mapping, Sequence
from typing import Literal, TypeAlias

from dilsearch.geometry.nodes import Node, Resample, Spans, sources_of

Basis: TypeAlias = Literal["plane", "position", "image"]
"""What the set behind a node stands for: every position, one position, or one inside the image."""


def basis_of(nodes: Sequence[Node], spans: Mapping[str, Spans]) -> dict[str, Basis]:
    """What the coverage behind each node with a field stands for.

    It is ``plane`` where all positions see alike, there and at every node in front; ``image``
    where something in front does not repeat, so that maps end at their edges; and ``position``,
    one in the middle, elsewhere.

    Args:
        nodes: In topological order, those without a field left out.
        spans: What is seen behind them.
    """
    basis: dict[str, Basis] = {}
    for node in nodes:
        here = spans[node.name]
        before = {basis[name] for name in sources_of(node)}
        tables = node.table if isinstance(node, Resample) else ()
        if "image" in before or not all(span.repeats for span in here):
            basis[node.name] = "image"
        elif (
            "position" in before
            or not all(span.uniform for span in here)
            or any(reads.period > 1 for reads in tables)
        ):
            basis[node.name] = "position"
        else:
            basis[node.name] = "plane"
    return basis
