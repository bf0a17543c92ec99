"""A [[sites]] section of a space: which convolutions are searched, and how their rates may vary."""

import math
from collections.abc import Iterator
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import (
    BeforeValidator,
    Field,
    PositiveFloat,
    SerializerFunctionWrapHandler,
    model_serializer,
)

from dilsearch.errors import SpaceError
from dilsearch.sites import Granularity, Initial, Kind, PerBranch, PerChannel, PerSite
from dilsearch.space.section import Count, Glob, Rule, Section

Published: TypeAlias = Annotated[str, Field(pattern="^published:.+")]
Schedule: TypeAlias = Published | tuple[Count | tuple[Count, ...], ...]
"""Rates chosen beforehand: an entry for each site, which is a rate or a list of one for each
branch or channel; or the name of published ones."""


def _as_tuple(value: object) -> object:
    return (value,) if isinstance(value, str) else value


class SitesSection(Section):
    """Which convolutions are searched, and between which rates."""

    select: Annotated[tuple[Glob, ...], BeforeValidator(_as_tuple)] = Field(
        min_length=1,
        description="globs on module paths; every convolution matched is a site",
        json_schema_extra={"expects": 'a glob such as "body.*.conv2", or a list of globs'},
    )
    granularity: Kind = Field(
        default="branch",
        description="one rate for the whole site, for each branch, or for each input channel",
    )
    branches: Count | None = Field(
        default=None, description="equal groups of channels with a rate each; 2 if not given"
    )
    separate_axes: bool = Field(
        default=False, description="whether every axis, height and width, has rates of its own"
    )
    causal: bool = Field(
        default=False,
        description="whether a growing rate reaches further back alone, so that no output sees "
        "what comes later (1-D convolutions only)",
    )
    lower: Count = Field(default=1, description="smallest rate allowed")
    upper: Count | None = Field(
        default=None,
        description="largest rate allowed; if absent, the one at which the site spans the needed "
        "field by itself",
    )
    initial: PositiveFloat | Literal["present", "uniform", "bound"] | Schedule = Field(
        default=1.0,
        description="rate the search starts from: a number, present (the dilation that is there), "
        "uniform (drawn between the limits), bound (the upper limit, or the gap bound where it is "
        "enforced), published:NAME, or a list with an entry for each site",
        json_schema_extra={
            "expects": 'a number above 0, "present", "uniform", "bound", "published:NAME", '
            "or a list with an entry for each site"
        },
    )

    def broken_rules(self) -> Iterator[Rule]:
        """Limits must be in order, the initial rate between them, branches only where meant."""
        if self.upper is not None and self.upper < self.lower:
            yield (
                "upper",
                f"upper = {self.upper} is below lower = {self.lower}; "
                "raise upper or reduce lower until they are in order",
            )
        elif isinstance(self.initial, float) and not (
            self.lower <= self.initial <= (self.upper or math.inf)
        ):
            upper = "" if self.upper is None else f" and upper = {self.upper}"
            yield (
                "initial",
                f"initial = {self.initial:g} is outside the limits lower = {self.lower}{upper}; "
                "give a number between them",
            )
        if self.granularity != "branch" and self.branches is not None:
            yield (
                "branches",
                f'branches = {self.branches} has no meaning with granularity = "{self.granularity}"'
                '; leave branches out, or set granularity = "branch"',
            )
        if self.causal and self.separate_axes:
            yield (
                "separate_axes",
                "separate_axes = true has no meaning with causal = true, since a causal "
                "convolution has one axis; leave either out",
            )

    @model_serializer(mode="wrap")
    def _without_what_is_off(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """A space that asks for nothing special is the same as before there was a word for it."""
        values: dict[str, Any] = handler(self)
        return {key: value for key, value in values.items() if value is not False}

    def to_granularity(self, upper: int) -> Granularity:
        """The limits as ``relax`` takes them.

        Args:
            upper: The upper limit, where the section leaves it open.

        Raises:
            SpaceError: If that lies below the lower limit or the starting rate.
        """
        begin = self.initial if isinstance(self.initial, float) else float(self.lower)
        if self.upper is None and upper < max(self.lower, begin):
            raise SpaceError(
                f"upper is left open and would be {upper}, the rate at which a site spans the "
                f"needed field by itself, below {max(self.lower, begin):g} where rates begin; "
                "give upper"
            )
        limits, axes = (self.lower, self.upper or upper), self.separate_axes
        initial = self._initial()
        if self.granularity == "site":
            return PerSite(*limits, initial, axes, self.causal)
        if self.granularity == "channel":
            return PerChannel(*limits, initial, axes, self.causal)
        return PerBranch(*limits, self.branches or 2, initial, axes, self.causal)

    def _initial(self) -> Initial:
        """As a granularity has it; what it has no word for is set once the model is relaxed."""
        if self.initial == "present":
            return None
        if self.initial == "uniform":
            return "uniform"
        return self.initial if isinstance(self.initial, float) else float(self.lower)
