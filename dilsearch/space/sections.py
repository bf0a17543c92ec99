"""The sections of a search space file: which keys each has, of which type, within which limits.

Every field carries a description, which is what ``dilsearch spaces NAME`` prints beside its value.
Rules that take more than one value stand in ``broken_rules``, so that all of them are reported at
once. The [data] section has a file of its own.
"""

import math
from collections.abc import Iterator, Mapping
from typing import Annotated, Literal, TypeAlias

from pydantic import BeforeValidator, Field, NonNegativeFloat, NonNegativeInt, PositiveFloat

from dilsearch.errors import SpaceError
from dilsearch.sites import Granularity, PerBranch, PerSite
from dilsearch.space.section import Count, Glob, PlainValue, Rule, Section

Published: TypeAlias = Annotated[str, Field(pattern="^published:.+")]
Schedule: TypeAlias = Published | tuple[Count | tuple[Count, ...], ...]
"""Rates chosen beforehand: an entry for each site, which is a rate or a list of one for each
branch; or the name of published ones."""


def _as_tuple(value: object) -> object:
    return (value,) if isinstance(value, str) else value


class ModelSection(Section):
    """Which built-in network is searched."""

    name: str = Field(min_length=1, description="built-in network, one of dilsearch.models")
    branches: Count = Field(
        default=2, description="parallel dilated convolutions in each searchable block"
    )
    options: Mapping[str, PlainValue] = Field(
        default_factory=dict, description="settings of the network itself, such as its width"
    )


class SitesSection(Section):
    """Which convolutions are searched, and between which rates."""

    select: Annotated[tuple[Glob, ...], BeforeValidator(_as_tuple)] = Field(
        min_length=1,
        description="globs on module paths; every convolution matched is a site",
        json_schema_extra={"expects": 'a glob such as "body.*.conv2", or a list of globs'},
    )
    granularity: Literal["site", "branch"] = Field(
        default="branch", description="one rate for the whole site, or one for each branch"
    )
    branches: Count | None = Field(
        default=None, description="equal groups of channels with a rate each; 2 if not given"
    )
    lower: Count = Field(default=1, description="smallest rate allowed")
    upper: Count | None = Field(
        default=None,
        description="largest rate allowed; if absent, the one at which the site spans the needed "
        "field by itself",
    )
    initial: PositiveFloat | Literal["uniform", "bound"] | Schedule = Field(
        default=1.0,
        description="rate the search starts from: a number, uniform (drawn between the limits), "
        "bound (the upper limit, or the gap bound where it is enforced), published:NAME, or a "
        "list with an entry for each site",
        json_schema_extra={
            "expects": 'a number above 0, "uniform", "bound", "published:NAME", '
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
        if self.granularity == "site" and self.branches is not None:
            yield (
                "branches",
                f'branches = {self.branches} has no meaning with granularity = "site"; '
                'leave branches out, or set granularity = "branch"',
            )

    def to_granularity(self, upper: int) -> Granularity:
        """The limits as ``relax`` takes them.

        Args:
            upper: The upper limit, where the section leaves it open.

        Raises:
            SpaceError: If that lies below the lower limit or the starting rate.
        """
        # Starting rates that are no number are set once the model is relaxed.
        initial = self.initial if isinstance(self.initial, float) else float(self.lower)
        if self.upper is None and upper < max(self.lower, initial):
            raise SpaceError(
                f"upper is left open and would be {upper}, the rate at which a site spans the "
                f"needed field by itself, below {max(self.lower, initial):g} where rates begin; "
                "give upper"
            )
        upper = self.upper or upper
        if self.granularity == "site":
            return PerSite(self.lower, upper, initial)
        return PerBranch(self.lower, upper, self.branches or 2, initial)


class GapSection(Section):
    """What happens to a rate above the largest one that skips no pixel."""

    policy: Literal["enforce", "report", "ignore"] = Field(
        default="enforce",
        description="lower the rate to the bound, only name it in the report, or do neither",
    )


class TrainSection(Section):
    """How weights are trained, the same way in search, retraining and control."""

    batch_size: Count = Field(description="images in one step")
    optimizer: Literal["sgd", "adamw"] = Field(
        default="sgd", description="optimiser of the weights"
    )
    learning_rate: PositiveFloat = Field(description="learning rate of the weights at its highest")
    momentum: Annotated[float, Field(ge=0, lt=1)] = Field(
        default=0.9, description="momentum (optimizer sgd only)"
    )
    weight_decay: NonNegativeFloat = Field(
        default=1e-4, description="decay of the weights; rates and normalisation have none"
    )
    warmup_steps: NonNegativeInt = Field(
        default=0, description="steps in which the learning rate rises to its full value"
    )
    warmup_factor: Annotated[float, Field(gt=0, le=1)] = Field(
        default=0.1, description="share of the learning rate that warm-up begins with"
    )
    poly_power: NonNegativeFloat = Field(
        default=0.9, description="exponent of the decay (1 - step / steps); 0 keeps it constant"
    )
    loss: Literal["cross_entropy", "ohem"] = Field(
        default="cross_entropy", description="all pixels alike, or the hardest ones only"
    )
    ohem_threshold: PositiveFloat = Field(
        default=0.3, description="loss above which a pixel counts as hard (loss ohem only)"
    )
    # float16 is left out: its loss scaling cannot serve two optimisers at once
    precision: Literal["32-true", "bf16-mixed"] = Field(
        default="32-true", description="number format of the forward pass"
    )


class SearchSection(Section):
    """How long rates are searched, and how."""

    steps: Count | None = Field(
        default=None, description="steps in which weights and rates train together"
    )
    base_steps: NonNegativeInt = Field(
        default=0, description="where steps is absent: steps that a field of any size takes"
    )
    steps_per_px: PositiveFloat | None = Field(
        default=None,
        description="where steps is absent: further steps for each pixel of the needed field",
    )
    rate_learning_rate: PositiveFloat | None = Field(
        default=None,
        description="learning rate of the dilation rates; if absent, it follows from their limits "
        "and the number of steps",
    )
    rate_optimizer: Literal["adam", "sgd"] = Field(
        default="adam",
        description="optimiser of the dilation rates; sgd needs a rate_learning_rate, and its "
        "searches do not end early",
    )
    smoothing: NonNegativeFloat | None = Field(
        default=None,
        description="standard deviation of the logarithm of the rates drawn around the present "
        "ones at the first step; 0 for the plain gradient; if absent, it follows from the limits",
    )
    smoothing_share: Annotated[float, Field(gt=0, le=1)] = Field(
        default=0.7, description="share of the steps over which smoothing falls to 0"
    )
    field_target: NonNegativeFloat = Field(
        default=2.0,
        description="weight of the pull towards the needed field, in units of the loss; 0 for none",
    )
    patience_share: Annotated[float, Field(ge=0, lt=1)] = Field(
        default=0.1,
        description="share of the steps over which no rate may move for the search to end early; "
        "0 never ends it",
    )

    def broken_rules(self) -> Iterator[Rule]:
        """There is a length, and a learning rate where none follows."""
        yield from _length_given(self.steps, self.steps_per_px)
        if self.rate_optimizer == "sgd" and self.rate_learning_rate is None:
            yield (
                "rate_optimizer",
                'rate_optimizer = "sgd" needs a rate_learning_rate: the one that follows from '
                "limits and steps is Adam's; give one",
            )


class RetrainSection(Section):
    """How long the network with the rates found is trained from scratch."""

    steps: Count | None = Field(
        default=None, description="steps of the final training, and of the control's"
    )
    base_steps: NonNegativeInt = Field(
        default=0, description="where steps is absent: steps that a field of any size takes"
    )
    steps_per_px: PositiveFloat | None = Field(
        default=None,
        description="where steps is absent: further steps for each pixel of the needed field",
    )

    def broken_rules(self) -> Iterator[Rule]:
        """There is a length."""
        yield from _length_given(self.steps, self.steps_per_px)


class ControlSection(Section):
    """The same network with other rates, trained as long: what the rates found are worth."""

    enabled: bool = Field(default=True, description="train the control as well")
    rate: Count | Schedule = Field(
        default=1,
        description="rate of every site, published:NAME, or a schedule made by hand: a list with "
        "an entry for each site, which is a rate or a list of one for each branch",
        json_schema_extra={
            "expects": 'a rate of at least 1, "published:NAME", '
            "or a list with an entry for each site"
        },
    )


class FieldSection(Section):
    """The field of view that the task asks for."""

    needed_px: Count | None = Field(
        default=None,
        description="field that the task needs: the search is pulled towards it, open limits and "
        "steps follow from it, and the report compares with it; 2N-1 for images of N px if absent",
    )


def _length_given(steps: int | None, steps_per_px: float | None) -> Iterator[Rule]:
    if steps is None and steps_per_px is None:
        yield (
            "steps",
            "there is neither steps nor steps_per_px; give the number of steps, or how many for "
            "each pixel of the needed field",
        )
