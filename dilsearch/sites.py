"""What may vary at a site: how many rates it has, and between which limits."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, TypeAlias

from dilsearch.errors import SpaceError

Kind: TypeAlias = Literal["site", "branch", "channel"]
Initial: TypeAlias = float | Literal["uniform"] | None
"""Rate to start from: a number, drawn evenly between the limits, or the dilation that is there."""


@dataclass(frozen=True, slots=True)
class Kernel:
    """Selects convolutions by their taps, in place of a glob: ``{Kernel(3): PerSite(1, 8)}``.

    Args:
        size: Taps on every axis, or on each: ``Kernel(3)`` is 3, 3x3 and 3x3x3, and
            ``Kernel((1, 3))`` is 1x3 alone.

    Raises:
        SpaceError: If a size is not a whole number of at least 1.
    """

    size: int | tuple[int, ...]

    def __post_init__(self) -> None:
        sizes = self.size if isinstance(self.size, tuple) else (self.size,)
        if not sizes or not all(_is_integer(size) and size >= 1 for size in sizes):
            raise SpaceError(
                f"Kernel: size = {self.size!r} is not a number of taps; give Kernel(3), or one "
                "for each axis as in Kernel((1, 3))"
            )

    def matches(self, taps: Sequence[int]) -> bool:
        """Whether a convolution with these taps along its axes is meant."""
        if isinstance(self.size, tuple):
            return tuple(taps) == self.size
        return all(count == self.size for count in taps)


@dataclass(frozen=True, slots=True)
class PerSite:
    """One rate for the whole convolution.

    Args:
        lower: Smallest rate allowed, an integer of at least 1.
        upper: Largest rate allowed, an integer of at least ``lower``.
        initial: Rate to start from; ``"uniform"`` draws one between the limits, None keeps the
            dilation the convolution has.
        separate_axes: Whether every spatial axis has a rate of its own.
        causal: Whether the last tap stays in place, not the middle one, so that a growing rate
            reaches further into the past alone; 1-D convolutions only.

    Raises:
        SpaceError: If the limits or the initial rate are impossible.
    """

    lower: int
    upper: int
    initial: Initial = None
    separate_axes: bool = False
    causal: bool = False
    kind: ClassVar[Kind] = "site"

    def __post_init__(self) -> None:
        _check_limits(type(self).__name__, self.lower, self.upper, self.initial)

    @property
    def branches(self) -> int:
        """How many rates the site has."""
        return 1


@dataclass(frozen=True, slots=True)
class PerBranch:
    """One rate for each of ``branches`` contiguous, equal groups of channels.

    Args:
        lower: Smallest rate allowed, an integer of at least 1.
        upper: Largest rate allowed, an integer of at least ``lower``.
        branches: How many groups; the convolution's groups must be divisible by it.
        initial: Rate to start every branch from; ``"uniform"`` draws one for each between the
            limits, None keeps the dilations the site has.
        separate_axes: Whether every spatial axis has rates of its own.
        causal: As for ``PerSite``.

    Raises:
        SpaceError: If the limits, the branches or the initial rate are impossible.
    """

    lower: int
    upper: int
    branches: int = 2
    initial: Initial = None
    separate_axes: bool = False
    causal: bool = False
    kind: ClassVar[Kind] = "branch"

    def __post_init__(self) -> None:
        _check_limits(type(self).__name__, self.lower, self.upper, self.initial)
        if not _is_integer(self.branches) or self.branches < 1:
            raise SpaceError(
                f"PerBranch: branches = {self.branches}, but a site has a whole number of "
                "branches, at least 1. "
                "Give the number of equal channel groups, such as 2."
            )


@dataclass(frozen=True, slots=True)
class PerChannel:
    """One rate for each input channel.

    Args:
        lower: Smallest rate allowed, an integer of at least 1.
        upper: Largest rate allowed, an integer of at least ``lower``.
        initial: Rate to start every channel from; ``"uniform"`` draws one for each between the
            limits, None keeps the dilation the convolution has.
        separate_axes: Whether every spatial axis has rates of its own.
        causal: As for ``PerSite``.

    Raises:
        SpaceError: If the limits or the initial rate are impossible.

    Source: Learning Dilation Factors (He et al. 2017), Sec. 3.
    """

    lower: int
    upper: int
    initial: Initial = None
    separate_axes: bool = False
    causal: bool = False
    kind: ClassVar[Kind] = "channel"

    def __post_init__(self) -> None:
        _check_limits(type(self).__name__, self.lower, self.upper, self.initial)


Granularity: TypeAlias = PerSite | PerBranch | PerChannel


def _check_limits(name: str, lower: int, upper: int, initial: Initial) -> None:
    for limit, value in (("lower", lower), ("upper", upper)):
        if not _is_integer(value):
            raise SpaceError(f"{name}: {limit} = {value} is not an integer. Round it.")
    if lower < 1:
        raise SpaceError(
            f"{name}: lower = {lower}, but a dilation rate is at least 1. Raise lower to 1 or more."
        )
    if upper < lower:
        raise SpaceError(
            f"{name}: upper = {upper} is below lower = {lower}. Swap them or raise upper."
        )
    if isinstance(initial, str):
        if initial != "uniform":
            raise SpaceError(
                f"{name}: initial = {initial!r} is no rate; give a number between the limits, "
                "'uniform', or None for the dilation that is there"
            )
    elif initial is not None and not (math.isfinite(initial) and lower <= initial <= upper):
        raise SpaceError(
            f"{name}: initial = {initial} is outside the limits {lower} to {upper}. "
            "Choose an initial rate between them."
        )


def _is_integer(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
