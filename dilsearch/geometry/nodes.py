"""What a network is reduced to: the nodes that move, join or pool fields of view.

Everything is kept per spatial axis, height first.
"""

from dataclasses import dataclass
from typing import TypeAlias

from dilsearch.errors import GeometryError
from dilsearch.geometry.field import Field
from dilsearch.geometry.gaps import max_rate

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


def sources_of(node: Node) -> tuple[str, ...]:
    """Names of the nodes that a node reads."""
    match node:
        case Source():
            return ()
        case Join():
            return node.sources
        case _:
            return (node.source,)
