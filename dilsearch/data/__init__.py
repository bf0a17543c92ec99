"""Data sets: what a space's [data] section names, ready for training and for evaluation."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float, Int64, UInt8
from torch import Tensor
from torch.utils.data import Dataset

from dilsearch.data.long_memory import LongMemory, far_steps
from dilsearch.data.palette import class_colours, to_rgb_rows
from dilsearch.data.samples import IGNORE_INDEX, IMAGENET, Sample
from dilsearch.data.seeds import derived_seed, seeded
from dilsearch.data.stream import SampleStream, Transformed, batches
from dilsearch.data.thin_bars import NORMALIZATION, ThinBars, far_region
from dilsearch.errors import DataError

if TYPE_CHECKING:
    from dilsearch.data.pairs import LabelledImages
    from dilsearch.space import (
        CityscapesData,
        DataSection,
        FolderPairsData,
        LongMemoryData,
        ThinBarsData,
    )

__all__ = [
    "IGNORE_INDEX",
    "DataSets",
    "LongMemory",
    "Region",
    "Sample",
    "SampleStream",
    "ThinBars",
    "TrainStream",
    "batches",
    "derived_seed",
    "far_region",
    "far_steps",
    "open_data",
    "seeded",
]

Region: TypeAlias = Callable[[Int64[Tensor, "..."]], Bool[Tensor, "..."]]
"""Picks the pixels of label maps, or the steps of label sequences, that a score is confined to."""


@runtime_checkable
class TrainStream(Protocol):
    """Makes training data of which sample t depends on the seed and on t alone."""

    def __call__(self, *, seed: int, samples: int) -> Dataset[Sample]:
        """Training data of that many samples."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DataSets:
    """One task: what to train on, what to score on, and what is known of both.

    Args:
        identity: ``name`` and ``content_hash``, which tell data sets apart wherever they lie.
        train_stream: Makes the training data from a seed and a number of samples.
        validation: Images, or sequences, and labels to score on; the same for every seed.
        class_names: Names by class index.
        palette: Colour of each class.
        image_px: Height and width of the images trained on; of sequences, the number of steps.
        to_rgb: Turns normalised images (..., 3, h, w) into colours (..., h, w, 3) of 0 to 255; and
            sequences (..., channels, l) into pictures one row high, (..., 1, l, 3).
        regions: Parts of the image that are scored by themselves, by name.
        ignore_index: Label of pixels that are neither trained on nor scored.
    """

    identity: Mapping[str, str]
    train_stream: TrainStream
    validation: Dataset[Sample]
    class_names: tuple[str, ...]
    palette: UInt8[np.ndarray[Any, Any], "classes 3"]
    image_px: tuple[int, ...]
    to_rgb: Callable[[Float[Tensor, "..."]], UInt8[np.ndarray[Any, Any], "*picture 3"]]
    regions: Mapping[str, Region] = field(default_factory=dict)
    ignore_index: int = IGNORE_INDEX

    @property
    def name(self) -> str:
        """Which data set this is."""
        return self.identity["name"]

    @property
    def content_hash(self) -> str:
        """SHA-256 of what the data set holds."""
        return self.identity["content_hash"]


def open_data(section: "DataSection", *, root: str | Path | None = None) -> DataSets:
    """The data that a space's [data] section names, checked.

    Args:
        section: The section.
        root: The data folder, of the layout that the section names; None where data is generated.

    Raises:
        DataError: If the folder is missing, or given where none is needed, or if anything is
            wrong with its files; all that is wrong is listed at once.
    """
    if section.name in ("thin_bars", "long_memory") and root is not None:
        raise DataError(
            f"data '{section.name}' is generated and reads no folder; leave out --data."
        )
    if section.name == "thin_bars":
        return _open_thin_bars(section)
    if section.name == "long_memory":
        return _open_long_memory(section)
    if root is None:
        raise DataError(f"data '{section.name}' needs a data folder; give --data PATH.")
    return _open_images(section, Path(root))


def _open_thin_bars(section: "ThinBarsData") -> DataSets:
    def bars(split: str, seed: int, length: int) -> ThinBars:
        return ThinBars(
            length=length,
            size_px=section.size_px,
            bar_width_px=section.bar_width_px,
            gap_px=section.gap_px,
            patch_px=section.patch_px,
            classes=section.classes,
            palette=section.palette,
            noise=section.noise,
            split=split,
            seed=seed,
        )

    # A split of its own keeps these images out of training, whatever the training's seed is.
    validation = bars("validation", 0, section.validation_images)
    return DataSets(
        identity={"name": section.name, "content_hash": validation.content_hash},
        train_stream=lambda *, seed, samples: bars("train", seed, samples),
        validation=validation,
        class_names=validation.class_names,
        palette=validation.class_rgb,
        image_px=(section.size_px, section.size_px),
        to_rgb=NORMALIZATION.to_rgb,
        regions={"far": far_region},
    )


def _open_long_memory(section: "LongMemoryData") -> DataSets:
    def sequences(split: str, seed: int, length: int) -> LongMemory:
        return LongMemory(
            length=length,
            segment=section.segment,
            pulse=section.pulse,
            classes=section.classes,
            sequence=section.sequence,
            palette=section.palette,
            noise=section.noise,
            split=split,
            seed=seed,
        )

    validation = sequences("validation", 0, section.validation_sequences)
    return DataSets(
        identity={"name": section.name, "content_hash": validation.content_hash},
        train_stream=lambda *, seed, samples: sequences("train", seed, samples),
        validation=validation,
        class_names=validation.class_names,
        palette=validation.class_rgb,
        image_px=section.image_px,
        to_rgb=validation.to_rgb,
        regions={"far": partial(far_steps, segment=section.segment)},
    )


def _open_images(section: "FolderPairsData | CityscapesData", root: Path) -> DataSets:
    # torchvision takes seconds to import, and generated data needs none of it.
    from dilsearch.data.pairs import raise_if_any
    from dilsearch.data.transforms import evaluation_transform, training_transform

    train, validation = _open_splits(section, root)
    augment = training_transform(
        size_px=section.size_px, crop_px=section.crop_px, scale=section.scale, flip=section.flip
    )
    raise_if_any(root, [*train.faults(), *validation.faults()])

    def stream(*, seed: int, samples: int) -> SampleStream:
        return SampleStream(train, augment, seed=seed, length=samples)

    hashes = train.content_hash() + validation.content_hash()
    return DataSets(
        identity={
            "name": section.name,
            "content_hash": hashlib.sha256(hashes.encode()).hexdigest(),
        },
        train_stream=stream,
        validation=Transformed(validation, evaluation_transform()),
        class_names=train.class_names,
        palette=to_rgb_rows(class_colours(len(train.class_names))),
        image_px=section.crop_px or section.size_px,
        to_rgb=IMAGENET.to_rgb,
    )


def _open_splits(
    section: "FolderPairsData | CityscapesData", root: Path
) -> "tuple[LabelledImages, LabelledImages]":
    from dilsearch.data.cityscapes import Cityscapes
    from dilsearch.data.folder_pairs import FolderPairs

    def split(name: str) -> "LabelledImages":
        if section.name == "cityscapes":
            return Cityscapes(root, split=name, size_px=section.size_px)
        return FolderPairs(
            root,
            split=name,
            class_names=section.class_names,
            size_px=section.size_px,
            ignore_index=section.ignore_index,
            label_suffix=section.label_suffix,
        )

    if section.name == "cityscapes":
        return split("train"), split("val")
    return split(section.train_split), split(section.validation_split)
