"""The [sweep] section of a space: which fields and rates the manual baseline tries."""

import re
from datetime import time
from typing import Annotated, Any, Final, TypeAlias

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
)

from dilsearch.space.section import Count, Section
from dilsearch.space.sites_section import Schedule

GRID_EXPECTS: Final = 'the first field, the last and the step in px, such as "500:3500:500"'
_MOST_TARGETS: Final = 1000


def grid_targets_px(grid: str) -> tuple[int, ...]:
    """The fields that a grid FIRST:LAST:STEP stands for, the last one included where it is met.

    Raises:
        ValueError: With what is wrong, to stand between the grid and ``GRID_EXPECTS``.
    """
    if not re.fullmatch(r"[0-9]+:[0-9]+:[0-9]+", grid):
        raise ValueError("is not three whole numbers with colons between them")
    first, last, step = map(int, grid.split(":"))
    if first < 1 or step < 1:
        raise ValueError("has a first field or a step below 1")
    if last < first:
        raise ValueError("runs backwards")
    targets = range(first, last + 1, step)
    if len(targets) > _MOST_TARGETS:
        raise ValueError(f"has {len(targets)} fields, more than {_MOST_TARGETS}")
    return tuple(targets)


def _as_text(grid: object) -> object:
    """TOML takes a bare 10:20:10 for a time of day."""
    return grid.isoformat() if isinstance(grid, time) else grid


def _readable(grid: str) -> str:
    grid_targets_px(grid)
    return grid


Grid: TypeAlias = Annotated[str, BeforeValidator(_as_text), AfterValidator(_readable)]


class SweepSection(Section):
    """What the manual baseline tries: fields on a grid, and rates to begin with.

    A run does not go by it, so it does not count where runs of a space are told apart.
    """

    grid: Grid | None = Field(
        default=None,
        description="fields that dilsearch sweep aims at, FIRST:LAST:STEP in px; if absent, they "
        "lie evenly between the field at the lowest rates and twice the needed field",
        json_schema_extra={"expects": GRID_EXPECTS},
    )
    targets: Annotated[int, Field(ge=2, le=_MOST_TARGETS)] = Field(
        default=7, description="where grid is absent: how many fields"
    )
    first: tuple[Schedule, ...] = Field(
        default=(),
        description="rates that a sweep with --trials tries before all others: published:NAME, or "
        "lists with an entry for each site",
        json_schema_extra={
            "expects": 'a list of "published:NAME" and of lists with an entry for each site'
        },
    )
    looks: Count = Field(
        default=8,
        description="how often the network of a trial is scored while it trains, so that a trial "
        "that lags behind can end early",
    )

    @model_serializer(mode="wrap")
    def _without_defaults(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """A space that says nothing of a sweep is the same as before there was a word for it."""
        values: dict[str, Any] = handler(self)
        fields = type(self).model_fields
        return {key: value for key, value in values.items() if value != fields[key].default}
