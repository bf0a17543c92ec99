"""Cityscapes as it is unpacked: leftImg8bit/ and gtFine/, by split and by city."""

from pathlib import Path

import numpy as np

from dilsearch.data.pairs import (
    NOT_A_LABEL,
    LabelledImages,
    LabelMap,
    Listing,
    absent_folders,
    match_pairs,
)
from dilsearch.data.samples import IGNORE_INDEX
from dilsearch.space.data_sections import CITYSCAPES_CLASSES

# The evaluated classes in the original *_labelIds.png files, in the order of their training ids.
_IDS = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
_LAST_ID = 33
_IMAGES, _LABELS = "leftImg8bit", "gtFine"
_IMAGE_END = "_leftImg8bit.png"
_TRAIN_IDS_END = "_gtFine_labelTrainIds.png"
_IDS_END = "_gtFine_labelIds.png"


class Cityscapes(LabelledImages):
    """The 19 evaluated classes of Cityscapes; all other pixels are ignored.

    Labels are ``*_gtFine_labelTrainIds.png`` where a split has any, and otherwise the original
    ``*_gtFine_labelIds.png``, whose ids are translated.

    Args:
        root: The folder that holds ``leftImg8bit`` and ``gtFine``.
        split: ``"train"`` or ``"val"``.
        size_px: Height and width that images and labels are resized to; 1024 x 2048 as they are.

    Raises:
        DataError: If the size is impossible.
    """

    def __init__(
        self, root: str | Path, *, split: str, size_px: tuple[int, int] = (1024, 2048)
    ) -> None:
        root = Path(root)
        has_train_ids = any((root / _LABELS / split).glob(f"*/*{_TRAIN_IDS_END}"))
        if has_train_ids:
            accepted = f"a training id, 0 to {len(CITYSCAPES_CLASSES) - 1}, or the ignored 255"
        else:
            accepted = f"an id, 0 to {_LAST_ID}, or the ignored 255"
        super().__init__(
            root,
            _list_pairs(root, split, _TRAIN_IDS_END if has_train_ids else _IDS_END),
            class_names=CITYSCAPES_CLASSES,
            label_map=_train_id_map() if has_train_ids else _id_map(),
            accepted=accepted,
            size_px=size_px,
        )


def _train_id_map() -> LabelMap:
    label_map = np.full(256, NOT_A_LABEL, dtype=np.int16)
    label_map[: len(CITYSCAPES_CLASSES)] = np.arange(len(CITYSCAPES_CLASSES))
    label_map[255] = IGNORE_INDEX
    return label_map


def _id_map() -> LabelMap:
    label_map = np.full(256, NOT_A_LABEL, dtype=np.int16)
    label_map[: _LAST_ID + 1] = IGNORE_INDEX
    label_map[255] = IGNORE_INDEX
    label_map[list(_IDS)] = np.arange(len(CITYSCAPES_CLASSES))
    return label_map


def _list_pairs(root: Path, split: str, label_end: str) -> Listing:
    image_folder, label_folder = f"{_IMAGES}/{split}", f"{_LABELS}/{split}"
    content = "one folder per city, as Cityscapes is unpacked"
    absent = absent_folders(root, {image_folder: content, label_folder: content})
    if absent:
        return Listing(faults=tuple(absent))
    images = _by_frame(root, image_folder, _IMAGE_END)
    matched = match_pairs(
        images,
        _by_frame(root, label_folder, label_end),
        image_named=lambda frame: f"{image_folder}/{frame}{_IMAGE_END}",
        label_named=lambda frame: f"{label_folder}/{frame}{label_end}",
    )
    if images:
        return matched
    empty = f"'{image_folder}' is empty; put *{_IMAGE_END} there, in a folder per city"
    return Listing(matched.pairs, (empty, *matched.faults))


def _by_frame(root: Path, folder: str, end: str) -> dict[str, str]:
    """The files of that ending below the folder, by "city/frame"."""
    found = (path.relative_to(root / folder) for path in (root / folder).glob(f"*/*{end}"))
    return {
        path.as_posix().removesuffix(end): f"{folder}/{path.as_posix()}"
        for path in found
        if not path.name.startswith(".")
    }
