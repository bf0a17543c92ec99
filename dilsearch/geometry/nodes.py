"""What a network is reduced to: the nodes that move, join or pool fields of view.

Everything is kept per spatial axis, height first.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

from dilsearch.errors import GeometryError
from dilsearch.geometry.field import Field
from dilsearch.geometry.reads import Reads
from dilsearch.geometry.spans import Span

Fields: TypeAlias = tuple[Field, ...]
"""One field per spatial axis."""

Spans: TypeAlias = tuple[Span, ...]
"""One span per spatial axis."""

Rates: TypeAlias = tuple[tuple[int, ...], ...]
"""One tuple per branch, with one rate per spatial axis. Channels that read alike count once."""

Edge: TypeAlias = Literal["zeros", "reflect", "replicate", "circular"]
"""What is read beyond the edge of a map: nothing, or positions of the map."""


@dataclass(frozen=True, slots=True)
class Source:
    """The network's input, or one of them."""

    name: str


@dataclass(frozen=True, slots=True)
class Window:
    """A convolution, a local pooling, a padding or a regular slice.

    Args:
        name: The module's path, or any unique name for what is no module.
        source: The node it reads.
        taps: Taps per axis.
        stride: Stride per axis.
        anchor: Position of the anchor tap for output position 0, in positions of the source. That
            tap has index (taps - 1) // 2, and its position is (taps - 1) // 2 * dilation - padding
            per axis.
        rates: One rate per axis for each branch; one branch for an ordinary convolution.
        site: Whether a plan may set the rates: true for convolutions, false for poolings.
        module: Path of the module, where it is not the name: a module that runs twice has two
            windows.
        edge: What it reads beyond the edge of its source.
        causal: Whether the anchor tap is the last one on every axis, so that a growing rate
            reaches further back alone.

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
    module: str = ""
    edge: Edge = "zeros"
    causal: bool = False

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

    @property
    def anchor_taps(self) -> tuple[int, ...]:
        """Index of the tap per axis that stays in place whatever the rate."""
        return tuple(taps - 1 if self.causal else (taps - 1) // 2 for taps in self.taps)

    def reads(self, rates: Sequence[int]) -> tuple[Reads, ...]:
        """What it reads along each axis, at one rate per axis."""
        return tuple(
            Reads.window(taps, rate=rate, stride=stride, anchor=anchor, anchor_tap=tap)
            for taps, rate, stride, anchor, tap in zip(
                self.taps, rates, self.stride, self.anchor, self.anchor_taps, strict=True
            )
        )

    def along(self, rates: Rates) -> tuple[tuple[Reads, ...], ...]:
        """What its branches read along each axis, every rate once."""
        return tuple(
            tuple(
                Reads.window(taps, rate=rate, stride=stride, anchor=anchor, anchor_tap=tap)
                for rate in (sorted(set(column)) if taps > 1 else (1,))
            )
            for column, taps, stride, anchor, tap in zip(
                zip(*rates, strict=True),
                self.taps,
                self.stride,
                self.anchor,
                self.anchor_taps,
                strict=True,
            )
        )

    def turned_causal(self) -> "Window":
        """The same reads at the present rates, from where only the last tap will not move.

        Raises:
            GeometryError: If its branches have unlike rates, so that no tap is the last of all.
        """
        if self.causal:
            return self
        moved = [taps - 1 - (taps - 1) // 2 for taps in self.taps]
        last = {
            tuple(
                start + taps * rate
                for start, taps, rate in zip(self.anchor, moved, branch, strict=True)
            )
            for branch in self.rates
        }
        if len(last) > 1:
            raise GeometryError(
                f"site '{self.name}': its branches have the rates {self.rates}, so that their last "
                "taps lie apart and none can stay in place for all; give them one rate first"
            )
        return replace(self, anchor=last.pop(), causal=True)

    @property
    def spanned(self) -> tuple[int, ...]:
        """The axes along which a rate can leave a gap: those with several taps, or else all."""
        axes = range(len(self.taps))
        return tuple(axis for axis in axes if self.taps[axis] > 1) or tuple(axes)

    def tightest(self, spans: Spans) -> Span:
        """Of the axes the window covers, the span with the smallest bound."""
        return min((spans[axis] for axis in self.spanned), key=lambda span: span.bound)

    def leaves_no_gap(self, spans: Spans, rates: Rates) -> bool:
        """Whether each axis keeps its own bound, in every branch."""
        largest = [max(column) for column in zip(*rates, strict=True)]
        return all(
            taps == 1 or rate <= before.bound
            for before, taps, rate in zip(spans, self.taps, largest, strict=True)
        )


@dataclass(frozen=True, slots=True)
class Part:
    """Some channels of a window's output, where they see less than all of them together.

    Args:
        name: Any unique name.
        window: The window, whose rates it goes by.
        source: The node that these channels read.
        branch: The one branch of the window that computes them; None for all.
    """

    name: str
    window: str
    source: str
    branch: int | None = None


@dataclass(frozen=True, slots=True)
class Join:
    """Where paths meet position by position: a sum, product or concatenation."""

    name: str
    sources: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Resample:
    """Upsampling, adaptive pooling or a transposed convolution: positions read by a table.

    Args:
        name: The module's path, or any unique name for what is no module.
        source: The node it reads.
        table: What it reads, per axis.
        edge: What it reads beyond the edge of its source; interpolation repeats the last position.

    Raises:
        GeometryError: If there is no axis.
    """

    name: str
    source: str
    table: tuple[Reads, ...]
    edge: Edge = "zeros"

    def __post_init__(self) -> None:
        if not self.table:
            raise GeometryError(f"node '{self.name}' reads along no axis; give one table for each")

    @property
    def axes(self) -> int:
        """Number of spatial axes."""
        return len(self.table)


@dataclass(frozen=True, slots=True)
class GlobalContext:
    """A global pooling: what follows sees everything, everywhere alike, and counts no field.

    Args:
        name: Any unique name.
        source: The node it reads.
        cause: The operation that does it, with its module path.
    """

    name: str
    source: str
    cause: str = ""


Tables: TypeAlias = tuple[tuple[Reads, ...], ...]
"""What is read along each axis, for each branch."""

Node: TypeAlias = Source | Window | Part | Join | Resample | GlobalContext


def sources_of(node: Node) -> tuple[str, ...]:
    """Names of the nodes that a node reads."""
    match node:
        case Source():
            return ()
        case Join():
            return node.sources
        case _:
            return (node.source,)


def axes_of(node: Node) -> int | None:
    """Number of spatial axes, where the node knows it."""
    match node:
        case Window():
            return len(node.taps)
        case Resample():
            return node.axes
        case _:
            return None


def tables_of(
    node: Window | Part | Resample, windows: Mapping[str, Window], rates: Mapping[str, Rates]
) -> Tables:
    """What a node reads, at these rates of the windows."""
    match node:
        case Window():
            return tuple(node.reads(branch) for branch in dict.fromkeys(rates[node.name]))
        case Part():
            window, some = windows[node.window], rates[node.window]
            if node.branch is not None:
                some = (some[node.branch],)
            return tuple(window.reads(branch) for branch in dict.fromkeys(some))
        case Resample():
            return (node.table,)
