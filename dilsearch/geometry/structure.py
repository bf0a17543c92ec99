"""What makes a list of nodes a field graph: names, order and axes, and what is pooled globally."""

from collections import Counter
from dataclasses import replace

from dilsearch.errors import GeometryError
from dilsearch.geometry.nodes import (
    GlobalContext,
    Join,
    Node,
    Part,
    Source,
    Window,
    axes_of,
    sources_of,
)
from dilsearch.geometry.table import nearest


def check_names(nodes: tuple[Node, ...], named: tuple[str, ...]) -> None:
    """Every name stands for one node, which comes behind those it reads.

    Raises:
        GeometryError: Names the node.
    """
    repeated = [name for name, count in Counter(n.name for n in nodes).items() if count > 1]
    if repeated:
        raise GeometryError(f"the name '{repeated[0]}' stands for two nodes; names must be unique")
    earlier: set[str] = set()
    windows: set[str] = set()
    for node in nodes:
        if isinstance(node, Join) and not node.sources:
            raise GeometryError(f"node '{node.name}' joins nothing; give it at least one source")
        for source in sources_of(node):
            if source not in earlier:
                raise GeometryError(
                    f"node '{node.name}' reads '{source}', which is not among the nodes before it; "
                    "list every node behind those it reads"
                )
        if isinstance(node, Part) and node.window not in windows:
            raise GeometryError(
                f"node '{node.name}' is part of '{node.window}', which is no window before it; "
                "list the window first"
            )
        if isinstance(node, Window):
            windows.add(node.name)
        earlier.add(node.name)
    for name in named:
        if name not in earlier:
            raise GeometryError(
                f"'{name}' is given as output or unfollowed, but is no node{nearest(name, earlier)}"
            )


def check_axes(nodes: tuple[Node, ...]) -> None:
    """All nodes have as many axes.

    Raises:
        GeometryError: Names nodes that differ.
    """
    axes = {node.name: count for node in nodes if (count := axes_of(node)) is not None}
    if len(set(axes.values())) > 1:
        listed = ", ".join(f"'{name}' has {count}" for name, count in axes.items())
        raise GeometryError(f"nodes differ in their number of axes ({listed}); give all the same")


def split_context(nodes: tuple[Node, ...]) -> tuple[frozenset[str], tuple[Node, ...]]:
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
