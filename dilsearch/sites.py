"""What may vary at a site: how many rates it has, and between which limits."""

from dataclasses import dataclass
from typing import ClassVar, Literal, TypeAlias

from dilsearch.errors import SpaceError

Kind: TypeAlias = Literal["site", "branch", "channel"]


@dataclass(frozen=True, slots=True)
class PerSite:
    """One rate for the whole convolution.

    Args:
        lower: Smallest rate allowed, an integer of at least 1.
        upper: Largest rate allowed, an integer of at least ``lower``.
        initial: Rate to start from; None keeps the dilation the convolution has.
        separate_axes: Whether every spatial axis has a rate of its own.

    Raises:
        SpaceError: If the limits or the initial rate are impossible.
    """

    lower: int
    upper: int
    initial: float | None = None
    separate_axes: bool = False
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
        initial: Rate to start every branch from; None keeps the dilations the site has.
        separate_axes: Whether every spatial axis has rates of its own.

    Raises:
        SpaceError: If the limits, the branches or the initial rate are impossible.
    """

    lower: int
    upper: int
    branches: int = 2
    initial: float | None = None
    separate_axes: bool = False
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
        initial: Rate to start every channel from; None keeps the dilation the convolution has.
        separate_axes: Whether every spatial axis has rates of its own.

    Raises:
        SpaceError: If the limits or the initial rate are impossible.

    Source: Learning Dilation Factors (He et al. 2017), Sec. 3.
    """

    lower: int
    upper: int
    initial: float | None = None
    separate_axes: bool = False
    kind: ClassVar[Kind] = "channel"

    def __post_init__(self) -> None:
        _check_limits(type(self).__name__, self.lower, self.upper, self.initial)


Granularity: TypeAlias = PerSite | PerBranch | PerChannel


def _check_limits(name: str, lower: int, upper: int, initial: float | None) -> None:
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
    if initial is not None and not lower <= initial <= upper:
        raise SpaceError(
            f"{name}: initial = {initial} is outside the limits {lower} to {upper}. "
            "Choose an initial rate between them."
        )


def _is_integer(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
