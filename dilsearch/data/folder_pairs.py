"""Images in one folder, labels of the same names in the folder beside it: CamVid's usual layout."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from dilsearch.data.pairs import (
    IMAGE_SUFFIXES,
    NOT_A_LABEL,
    LabelledImages,
    LabelMap,
    Listing,
    absent_folders,
    files_in,
    match_pairs,
)
from dilsearch.data.samples import IGNORE_INDEX
from dilsearch.errors import DataError


class FolderPairs(LabelledImages):
    """``root/SPLIT`` holds images, ``root/SPLIT + label_suffix`` PNG labels of the same stem.

    Images are PNG or JPEG. Labels are 8-bit PNGs whose values, or palette indices, are class
    indices; ``ignore_index`` marks pixels that count for nothing. Nothing is read before
    ``check()`` or the first item.

    Args:
        root: The data folder.
        split: Name of the folder of images.
        class_names: Names by class index.
        size_px: Height and width that images and labels are resized to.
        ignore_index: The value of ignored pixels in the files; None where there are none.
        label_suffix: What the labels' folder is called beyond the split's name.

    Raises:
        DataError: If the classes, the ignored value or the size are impossible.
    """

    def __init__(
        self,
        root: str | Path,
        *,
        split: str,
        class_names: Sequence[str],
        size_px: tuple[int, int],
        ignore_index: int | None = None,
        label_suffix: str = "annot",
    ) -> None:
        root = Path(root)
        accepted = f"a class, 0 to {len(class_names) - 1}"
        if ignore_index is not None:
            accepted += f", or the ignored {ignore_index}"
        super().__init__(
            root,
            _list_pairs(root, split, split + label_suffix),
            class_names=class_names,
            label_map=_label_map(class_names, ignore_index),
            accepted=accepted,
            size_px=size_px,
        )


def _label_map(class_names: Sequence[str], ignore_index: int | None) -> LabelMap:
    classes = len(class_names)
    if not 1 <= classes <= IGNORE_INDEX:
        raise DataError(f"class_names has {classes} names; give 1 to {IGNORE_INDEX}.")
    if len(set(class_names)) < classes:
        twice = next(name for name in class_names if list(class_names).count(name) > 1)
        raise DataError(f"class_names has '{twice}' twice; give each class a name of its own.")
    label_map = np.full(256, NOT_A_LABEL, dtype=np.int16)
    label_map[:classes] = np.arange(classes)
    if ignore_index is not None:
        if not classes <= ignore_index <= 255:
            raise DataError(
                f"ignore_index = {ignore_index} is not a value from {classes} to 255; the values "
                f"below are the {classes} classes, and a label has 8 bits."
            )
        label_map[ignore_index] = IGNORE_INDEX
    return label_map


def _list_pairs(root: Path, image_folder: str, label_folder: str) -> Listing:
    absent = absent_folders(
        root, {image_folder: "the images", label_folder: "the label of each image"}
    )
    if absent:
        return Listing(faults=tuple(absent))
    images, faults = _by_stem(root, image_folder, IMAGE_SUFFIXES)
    labels, label_faults = _by_stem(root, label_folder, (".png",))
    if not images:
        faults.append(f"'{image_folder}' is empty; put PNG or JPEG images there")
    matched = match_pairs(
        images,
        labels,
        image_named=lambda stem: f"{image_folder}/{stem}.png or .jpg",
        label_named=lambda stem: f"{label_folder}/{stem}.png",
    )
    return Listing(matched.pairs, (*faults, *label_faults, *matched.faults))


def _by_stem(root: Path, folder: str, suffixes: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    """The folder's files by stem, and a fault for each further file of the same stem."""
    files: dict[str, str] = {}
    faults = []
    for name in files_in(root / folder, suffixes):
        first = files.setdefault(Path(name).stem, f"{folder}/{name}")
        if first != f"{folder}/{name}":
            faults.append(f"{first} and {folder}/{name} go by one name; keep one of them")
    return files, faults
