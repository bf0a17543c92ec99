"""The sections of a search space file: which keys each has, of which type, within which limits.

Every field carries a description, which is what ``dilsearch spaces NAME`` prints beside its value.
Rules that take more than one value stand in ``broken_rules``, so that all of them are reported at
once.
"""

import math
from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Annotated, Any, Final, Literal, Self, TypeAlias

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    model_validator,
)
from pydantic_core import PydanticCustomError

from dilsearch.errors import SpaceError
from dilsearch.sites import Granularity, PerBranch, PerSite

BROKEN_RULE: Final = "broken_rule"
"""Type of the validation error that carries the sentences of ``broken_rules``."""

UNLABELLED: Final = 255
"""Label of pixels that are never scored, where a data set does not choose its own."""

CITYSCAPES_CLASSES: Final = (
    "road",
    "sidewalk",
    "building",
    "wall",
    "fence",
    "pole",
    "traffic light",
    "traffic sign",
    "vegetation",
    "terrain",
    "sky",
    "person",
    "rider",
    "car",
    "truck",
    "bus",
    "train",
    "motorcycle",
    "bicycle",
)
"""The 19 classes of the Cityscapes benchmark, in the order of their train ids."""

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


def _as_tuple(value: object) -> object:
    return (value,) if isinstance(value, str) else value


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
Published: TypeAlias = Annotated[str, Field(pattern="^published:.+")]
Schedule: TypeAlias = Published | tuple[Count | tuple[Count, ...], ...]
"""Rates chosen beforehand: an entry for each site, which is a rate or a list of one for each
branch; or the name of published ones."""


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


class ThinBarsData(Section):
    """Bars of full height whose class is shown by a patch at the bottom, drawn on the fly.

    Source: the toy task of RegSeg (Gao 2022), Fig. 6; sizes and colours are ours.
    """

    name: Literal["thin_bars"] = Field(description="the thin-bars task, generated from the seed")
    size_px: Annotated[int, Field(ge=16)] = Field(
        default=96, description="height and width of the image"
    )
    bar_width_px: SizePx = Field(default=(6, 13), description="thinnest and thickest bar")
    gap_px: SizePx = Field(default=(4, 9), description="smallest and largest gap between bars")
    patch_px: Count = Field(default=6, description="height of the patch that shows the class")
    classes: Annotated[int, Field(ge=2, lt=UNLABELLED)] = Field(
        default=3, description="classes of bars, background not counted"
    )
    palette: tuple[Colour, ...] | None = Field(
        default=None,
        description="colours of background, bars and each class's patch; chosen for you if absent",
        json_schema_extra={"expects": 'a list of colours such as "#1f77b4"'},
    )
    noise: NonNegativeFloat = Field(
        default=0.0, description="standard deviation of the noise added to colours in [0, 1]"
    )
    validation_images: Count = Field(
        default=64, description="images the network is scored on, none of them trained on"
    )

    def broken_rules(self) -> Iterator[Rule]:
        """Bars fit the image, the patch leaves the far half alone, each class has a colour."""
        yield from _in_order("bar_width_px", self.bar_width_px)
        yield from _in_order("gap_px", self.gap_px)
        if self.bar_width_px[1] > self.size_px:
            yield (
                "bar_width_px",
                f"bar_width_px = {list(self.bar_width_px)} does not fit size_px = {self.size_px}; "
                "give thinner bars or a larger image",
            )
        if 2 * self.patch_px > self.size_px:
            yield (
                "patch_px",
                f"patch_px = {self.patch_px} reaches into the half that far accuracy is measured "
                f"on (size_px = {self.size_px}); give at most half the size",
            )
        if self.palette is not None:
            yield from self._broken_colours(self.palette)

    def _broken_colours(self, palette: tuple[str, ...]) -> Iterator[Rule]:
        if len(palette) != self.classes + 2:
            yield (
                "palette",
                f"palette has {len(palette)} colours for classes = {self.classes}; give "
                f"{self.classes + 2}: background, bars, and one for each class",
            )
        if len({colour.lower() for colour in palette}) != len(palette):
            yield (
                "palette",
                "palette has the same colour twice, so that two classes would look alike; "
                "give each its own",
            )

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names by class index; the background is class 0."""
        return ("background", *(f"class {number}" for number in range(1, self.classes + 1)))

    @property
    def ignore_index(self) -> int:
        """Label that is never scored; this task labels every pixel, so it does not occur."""
        return UNLABELLED

    @property
    def image_px(self) -> tuple[int, int]:
        """Height and width of the images the network trains on."""
        return (self.size_px, self.size_px)


class ImageFolderData(Section):
    """What all data sets of image files share: how an image becomes a training example."""

    name: str = Field(description="kind of data set")
    size_px: SizePx = Field(description="height and width that images and labels are resized to")
    scale: tuple[PositiveFloat, PositiveFloat] | None = Field(
        default=None, description="smallest and largest random zoom in training; none if absent"
    )
    crop_px: SizePx | None = Field(
        default=None, description="height and width of the training crop; size_px if absent"
    )
    flip: bool = Field(default=True, description="mirror half of the training images")
    workers: NonNegativeInt = Field(
        default=0, description="processes that load images; 0 loads them in the training process"
    )

    def broken_rules(self) -> Iterator[Rule]:
        """The zoom's limits are in order."""
        if self.scale is not None:
            yield from _in_order("scale", self.scale)

    @property
    def image_px(self) -> tuple[int, int]:
        """Height and width of the images the network trains on."""
        return self.crop_px or self.size_px


class FolderPairsData(ImageFolderData):
    """Folders of images beside folders of labels, paired by file name."""

    name: Literal["folder_pairs"] = Field(description="image folders beside label folders")
    class_names: tuple[Annotated[str, Field(min_length=1)], ...] = Field(
        min_length=2, description="names of the classes; a label's value is the position here"
    )
    ignore_index: Annotated[int, Field(ge=0, le=255)] = Field(
        default=UNLABELLED, description="label value that is never trained on nor scored"
    )
    train_split: str = Field(
        default="train", min_length=1, description="folder of the training images"
    )
    validation_split: str = Field(
        default="val", min_length=1, description="folder of the images the network is scored on"
    )
    label_suffix: str = Field(
        default="annot", min_length=1, description="what a label folder adds to its image folder"
    )

    def broken_rules(self) -> Iterator[Rule]:
        """Class names are distinct, void is no class, and the two splits differ."""
        yield from super().broken_rules()
        repeated = [name for name in self.class_names if self.class_names.count(name) > 1]
        if repeated:
            yield (
                "class_names",
                f"class_names has {repeated[0]!r} {len(repeated)} times; name each class once",
            )
        if self.ignore_index < len(self.class_names):
            yield (
                "ignore_index",
                f"ignore_index = {self.ignore_index} is the class "
                f"{self.class_names[self.ignore_index]!r}; give a label value that is no class, "
                f"such as {UNLABELLED}",
            )
        if self.train_split == self.validation_split:
            yield (
                "validation_split",
                f'validation_split = "{self.validation_split}" is also the training split; '
                "score on images that are not trained on",
            )


class CityscapesData(ImageFolderData):
    """The Cityscapes benchmark as it is distributed: ``leftImg8bit/`` beside ``gtFine/``."""

    name: Literal["cityscapes"] = Field(description="the Cityscapes folders, 19 classes")
    size_px: SizePx = Field(
        default=(1024, 2048),
        description="height and width that images and labels are resized to",
    )

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names by class index."""
        return CITYSCAPES_CLASSES

    @property
    def ignore_index(self) -> int:
        """Label that is never trained on nor scored."""
        return UNLABELLED


DataSection: TypeAlias = ThinBarsData | FolderPairsData | CityscapesData
DATA_SECTIONS: Final[Mapping[str, type[Section]]] = {
    "thin_bars": ThinBarsData,
    "folder_pairs": FolderPairsData,
    "cityscapes": CityscapesData,
}


class TrainSection(Section):
    """How weights are trained, the same way in search, retraining and control."""

    batch_size: Count = Field(description="images in one step")
    learning_rate: PositiveFloat = Field(description="learning rate of the weights at its highest")
    momentum: Annotated[float, Field(ge=0, lt=1)] = Field(
        default=0.9, description="momentum of stochastic gradient descent"
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
        default="adam", description="optimiser of the dilation rates"
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
        """There is a length."""
        yield from _length_given(self.steps, self.steps_per_px)


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


def _in_order(key: str, pair: tuple[float, float]) -> Iterator[Rule]:
    for first, second in pairwise(pair):
        if second < first:
            yield key, f"{key} = {list(pair)} runs backwards; give the smaller value first"
