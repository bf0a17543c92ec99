"""The [data] section of a space: which keys each kind of data set has, and their limits."""

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from typing import Annotated, ClassVar, Final, Literal, TypeAlias

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat

from dilsearch.space.section import Colour, Count, Rule, Section, SizePx, in_order

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


class ImageData(Section):
    """What all data sets of images share: three colours, and the field that follows from a size."""

    channels: ClassVar[int] = 3

    @property
    @abstractmethod
    def image_px(self) -> tuple[int, int]:
        """Height and width of the images the network trains on."""

    @property
    def needed_px(self) -> int:
        """Field in which every pixel of an image sees every other: 2N - 1, N the larger side.

        Source: RegSeg (Gao 2022), Sec. 3.1.
        """
        return 2 * max(self.image_px) - 1


class ThinBarsData(ImageData):
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
        yield from in_order("bar_width_px", self.bar_width_px)
        yield from in_order("gap_px", self.gap_px)
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
        yield from _broken_colours(self.palette, self.classes, "background, bars")

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


class LongMemoryData(Section):
    """Sequences of segments whose class is shown at their start, drawn on the fly.

    Thin bars along one axis, in the manner of the copy-memory task of Bai et al. (2018), Sec. 4.
    """

    name: Literal["long_memory"] = Field(
        description="the long-memory task, generated from the seed"
    )
    segment: Annotated[int, Field(ge=8)] = Field(
        default=192, description="steps of the longest segment; the shortest has half as many"
    )
    pulse: Count = Field(default=4, description="steps at a segment's start that show its class")
    classes: Annotated[int, Field(ge=2, lt=UNLABELLED)] = Field(
        default=4, description="classes of segments, each with a channel of its own"
    )
    sequence: Count | None = Field(
        default=None, description="steps of a sequence; twice the longest segment if absent"
    )
    palette: tuple[Colour, ...] | None = Field(
        default=None,
        description="colours of silence and of each class; chosen for you if absent",
        json_schema_extra={"expects": 'a list of colours such as "#1f77b4"'},
    )
    noise: NonNegativeFloat = Field(
        default=0.0, description="standard deviation of the noise added to every channel"
    )
    validation_sequences: Count = Field(
        default=64, description="sequences the network is scored on, none of them trained on"
    )

    def broken_rules(self) -> Iterator[Rule]:
        """The pulse leaves the far half alone, a segment fits, each class has a colour."""
        if 2 * self.pulse > self.segment:
            yield (
                "pulse",
                f"pulse = {self.pulse} reaches into the half that far accuracy is measured on "
                f"(segment = {self.segment}); give at most half the longest segment",
            )
        if self.sequence is not None and self.sequence < self.segment:
            yield (
                "sequence",
                f"sequence = {self.sequence} holds no segment = {self.segment}; make it as long at "
                "least",
            )
        yield from _broken_colours(self.palette, self.classes, "silence")

    @property
    def channels(self) -> int:
        """Channels of the network's input."""
        return self.classes

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names by class index."""
        return tuple(f"class {number}" for number in range(1, self.classes + 1))

    @property
    def ignore_index(self) -> int:
        """Label that is never scored; this task labels every step, so it does not occur."""
        return UNLABELLED

    @property
    def image_px(self) -> tuple[int]:
        """Steps of the sequences the network trains on."""
        return (2 * self.segment if self.sequence is None else self.sequence,)

    @property
    def needed_px(self) -> int:
        """Smallest field from which every step sees the pulse of its segment, in steps.

        The last step of the longest segment comes ``segment - 1`` steps after its first, and the
        pulse ends ``pulse - 1`` steps after it.
        """
        return self.segment - self.pulse + 1


class ImageFolderData(ImageData):
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
            yield from in_order("scale", self.scale)

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


def _broken_colours(palette: tuple[str, ...] | None, classes: int, others: str) -> Iterator[Rule]:
    """A palette has a colour for each class and for the others, all of them different."""
    if palette is None:
        return
    count = classes + 1 + others.count(",")
    if len(palette) != count:
        yield (
            "palette",
            f"palette has {len(palette)} colours for classes = {classes}; give "
            f"{count}: {others}, and one for each class",
        )
    if len({colour.lower() for colour in palette}) != len(palette):
        yield (
            "palette",
            "palette has the same colour twice, so that two classes would look alike; "
            "give each its own",
        )


DataSection: TypeAlias = ThinBarsData | LongMemoryData | FolderPairsData | CityscapesData
DATA_SECTIONS: Final[Mapping[str, type[Section]]] = {
    "thin_bars": ThinBarsData,
    "long_memory": LongMemoryData,
    "folder_pairs": FolderPairsData,
    "cityscapes": CityscapesData,
}
