"""The sections of a search space file: which keys each has, of which type, within which limits.

Every field carries a description, which is what ``dilsearch spaces NAME`` prints beside its value.
Rules that take more than one value stand in ``broken_rules``, so that all of them are reported at
once. [[sites]] and [data] have files of their own.
"""

from collections.abc import Iterator, Mapping
from typing import Annotated, Final, Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat

from dilsearch.space.section import Count, PlainValue, Rule, Section
from dilsearch.space.sites_section import Schedule

GIVEN: Final = "given"
"""Name of a network that is no built-in one, and comes from the command line with every command."""


class ModelSection(Section):
    """Which network is searched."""

    name: str = Field(
        min_length=1,
        description="built-in network, one of dilsearch.models; or given, for one that every "
        "command is told with --model, since a file never says what is imported",
    )
    branches: Count = Field(
        default=2, description="parallel dilated convolutions in each searchable block"
    )
    options: Mapping[str, PlainValue] = Field(
        default_factory=dict, description="settings of the network itself, such as its width"
    )

    def broken_rules(self) -> Iterator[Rule]:
        """A file names no code, and a network that is given has no settings here."""
        if ":" in self.name:
            yield (
                "name",
                f'name = "{self.name}" would import code, which no file may ask for; set name = '
                f'"{GIVEN}", and give the command --model {self.name}',
            )
        if self.is_given and self.options:
            yield (
                "options",
                f"options = {{ {', '.join(self.options)} }} are settings of a built-in network; "
                "give those of your own with --kwargs",
            )

    @property
    def is_given(self) -> bool:
        """Whether the network comes from the command line."""
        return self.name == GIVEN


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
    rate: Count | Literal["present"] | Schedule = Field(
        default=1,
        description="rate of every site, present (the dilations that are there), published:NAME, "
        "or a schedule made by hand: a list with an entry for each site, which is a rate or a list "
        "of one for each branch or channel",
        json_schema_extra={
            "expects": 'a rate of at least 1, "present", "published:NAME", '
            "or a list with an entry for each site"
        },
    )


class FieldSection(Section):
    """The field of view that the task asks for."""

    needed_px: Count | None = Field(
        default=None,
        description="field that the task needs: the search is pulled towards it, open limits and "
        "steps follow from it, and the report compares with it; if absent, that of the data, which "
        "is 2N-1 for images of N px",
    )


def _length_given(steps: int | None, steps_per_px: float | None) -> Iterator[Rule]:
    if steps is None and steps_per_px is None:
        yield (
            "steps",
            "there is neither steps nor steps_per_px; give the number of steps, or how many for "
            "each pixel of the needed field",
        )
