"""What all sections of a space share: strict values, and rules between several keys."""

from collections.abc import Iterator
from itertools import pairwise
from typing import Annotated, Any, Final, Self, TypeAlias

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

BROKEN_RULE: Final = "broken_rule"
"""Type of the validation error that carries the sentences of ``broken_rules``."""

Rule: TypeAlias = tuple[str, str]
"""Dotted key that is at fault first, and the sentence that says why and what to do."""


class Section(BaseModel):
    """What all sections share: closed, immutable, and strict about types."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    def broken_rules(self) -> Iterator[Rule]:
        """The rules between several keys that these values break; none unless overridden."""
        yield from ()

    @model_validator(mode="after")
    def _keep_rules(self) -> Self:
        broken = tuple(self.broken_rules())
        if broken:
            sentences = "; ".join(sentence for _, sentence in broken)
            raise PydanticCustomError(BROKEN_RULE, "{sentences}", _context(sentences, broken))
        return self


def _context(sentences: str, broken: tuple[Rule, ...]) -> dict[str, Any]:
    return {"sentences": sentences, "broken": broken}


def _plain(value: Any) -> Any:
    items = value if isinstance(value, tuple) else (value,)
    if not all(isinstance(item, bool | int | float | str) for item in items):
        raise ValueError("is no value of an option")
    return value


PlainValue: TypeAlias = Annotated[
    Any,
    AfterValidator(_plain),
    Field(json_schema_extra={"expects": "a number, text, true, false or a list of these"}),
]
Count: TypeAlias = Annotated[int, Field(ge=1)]
Glob: TypeAlias = Annotated[str, Field(min_length=1)]
Colour: TypeAlias = Annotated[str, Field(pattern=r"^#[0-9a-fA-F]{6}$")]
SizePx: TypeAlias = tuple[Count, Count]


def in_order(key: str, pair: tuple[float, float]) -> Iterator[Rule]:
    """The rule that the smaller of two values comes first."""
    for first, second in pairwise(pair):
        if second < first:
            yield key, f"{key} = {list(pair)} runs backwards; give the smaller value first"
