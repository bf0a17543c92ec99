"""Pairs of image and label files: reading, checking before training, and hashing.

The layouts in which users have such pairs differ; what can be wrong with a pair does not.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Int16, UInt8
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from torch.utils.data import Dataset
from torchvision import tv_tensors
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional

from dilsearch.data.samples import RawSample
from dilsearch.errors import DataError

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg")
_FORMATS = ("PNG", "JPEG")
_LABEL_MODES = ("L", "P")
# What Pillow raises on a damaged file.
_DAMAGE = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)
_FAULTS_LISTED = 20
# Samples are kept in memory, resized, where all of them take no more than this.
_KEEP_BYTES = 2**29

LabelMap = Int16[np.ndarray[Any, Any], "256"]
"""For each value a label file may hold: its class, ``IGNORE_INDEX``, or ``NOT_A_LABEL``."""
NOT_A_LABEL = -1
LabelImage = UInt8[np.ndarray[Any, Any], "height width"]
"""The values of a label file, or the classes they stand for."""


@dataclass(frozen=True, slots=True)
class Pair:
    """One image and its label, as paths relative to the data folder, with forward slashes."""

    image: str
    label: str


@dataclass(frozen=True, slots=True)
class Listing:
    """The complete pairs of a split, in order, and what is wrong with the rest of its folders."""

    pairs: tuple[Pair, ...] = ()
    faults: tuple[str, ...] = ()


def match_pairs(
    images: Mapping[str, str],
    labels: Mapping[str, str],
    *,
    image_named: Callable[[str], str],
    label_named: Callable[[str], str],
) -> Listing:
    """Bring image and label files of one key together; whatever is left alone is a fault.

    Args:
        images: Image files by key.
        labels: Label files by key.
        image_named: What the image of a key should be called.
        label_named: What the label of a key should be called.
    """
    unlabelled = sorted(images.keys() - labels.keys())
    unseen = sorted(labels.keys() - images.keys())
    return Listing(
        pairs=tuple(Pair(images[k], labels[k]) for k in sorted(images.keys() & labels.keys())),
        faults=(
            *(f"{images[k]} has no label {label_named(k)}; add or drop one" for k in unlabelled),
            *(f"{labels[k]} has no image {image_named(k)}; add or drop one" for k in unseen),
        ),
    )


def absent_folders(root: Path, folders: Mapping[str, str]) -> list[str]:
    """One fault for each folder below ``root`` that is missing; each comes with what it holds."""
    if not root.is_dir():
        return ["the folder does not exist; correct the path"]
    return [
        f"there is no folder '{name}'; it should hold {content}"
        for name, content in folders.items()
        if not (root / name).is_dir()
    ]


class _UnusableError(Exception):
    """A label file that is whole but cannot be used; the text goes on after the file's name."""


class LabelledImages(Dataset[RawSample]):
    """Images with label files of equal size, read and resized one by one.

    Where the resized samples fit into half a GiB each is kept in memory once read, so that later
    epochs decode nothing; worker processes keep their own.

    Args:
        root: The data folder.
        listing: The pairs of files to read.
        class_names: Names by class index.
        label_map: What the values in the label files mean.
        accepted: The values that label files may hold, in words, for messages.
        size_px: Height and width that images and labels are resized to.

    Raises:
        DataError: If the size is impossible.
    """

    def __init__(
        self,
        root: Path,
        listing: Listing,
        *,
        class_names: Sequence[str],
        label_map: LabelMap,
        accepted: str,
        size_px: tuple[int, int],
    ) -> None:
        if min(size_px) < 1:
            raise DataError(
                f"size_px = [{size_px[0]}, {size_px[1]}] holds no pixel; "
                "give height and width of at least 1."
            )
        self.root = root
        self.pairs = listing.pairs
        self.class_names = tuple(class_names)
        self.size_px = size_px
        self._listing_faults = listing.faults
        self._label_map = label_map
        self._accepted = accepted
        self._resize = v2.Resize(list(size_px), antialias=True)
        sample_bytes = 4 * size_px[0] * size_px[1]
        self._keeps = sample_bytes * len(self.pairs) <= _KEEP_BYTES
        self._kept: dict[int, RawSample] = {}

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> RawSample:
        """Image (3, h, w) as ``tv_tensors.Image`` and label (h, w) as ``tv_tensors.Mask``, uint8.

        Raises:
            DataError: If the label holds a value that is no class.
        """
        if index in self._kept:
            return self._kept[index]
        sample = self._read(self.pairs[index])
        if self._keeps:
            self._kept[index] = sample
        return sample

    def __getstate__(self) -> dict[str, Any]:
        # A worker process that is sent this object reads for itself.
        return {**self.__dict__, "_kept": {}}

    def faults(self) -> list[str]:
        """All that is wrong with the files, one sentence each; every file is looked into.

        Labels are decoded in full. Of images the header is read, and as much as it takes to tell
        that they are complete.
        """
        with ThreadPoolExecutor() as pool:
            of_pairs = list(pool.map(self._pair_faults, self.pairs))
        return [*self._listing_faults, *(fault for faults in of_pairs for fault in faults)]

    def check(self) -> None:
        """Refuse to go on with anything wrong.

        Raises:
            DataError: Listing every fault, up to 20.
        """
        raise_if_any(self.root, self.faults())

    def content_hash(self) -> str:
        """SHA-256 over the names and bytes of all files; where the folder lies is left out."""
        names = sorted(name for pair in self.pairs for name in (pair.image, pair.label))
        total = hashlib.sha256()
        with ThreadPoolExecutor() as pool:
            for name, digest in zip(names, pool.map(self._file_digest, names), strict=True):
                total.update(f"{name}\0{digest}\n".encode())
        return total.hexdigest()

    def _read(self, pair: Pair) -> RawSample:
        with _open(self.root / pair.image) as file:
            image = tv_tensors.Image(functional.pil_to_tensor(file.convert("RGB")))
        try:
            classes = self._to_classes(_read_values(self.root / pair.label))
        except _UnusableError as error:
            raise DataError(f"{pair.label} {error}.") from None
        sample: RawSample = self._resize(image, tv_tensors.Mask(torch.from_numpy(classes)))
        return sample

    def _pair_faults(self, pair: Pair) -> list[str]:
        faults: list[str] = []
        image_px = label_px = None
        with _noting(faults, pair.image):
            image_px = _probe_image(self.root / pair.image)
        with _noting(faults, pair.label):
            values = _read_values(self.root / pair.label)
            label_px = (values.shape[0], values.shape[1])
            self._to_classes(values)
        if image_px and label_px and image_px != label_px:
            faults.append(
                f"{pair.image} is {_size(image_px)} px, but its label {pair.label} is "
                f"{_size(label_px)} px; give both one size"
            )
        return faults

    def _to_classes(self, values: LabelImage) -> LabelImage:
        classes: NDArray[np.int16] = self._label_map[values]
        if classes.min() == NOT_A_LABEL:
            raise _UnusableError(self._value_fault(values))
        return classes.astype(np.uint8)

    def _value_fault(self, values: LabelImage) -> str:
        counts = np.bincount(values.ravel(), minlength=256)
        wrong = np.flatnonzero((counts > 0) & (self._label_map == NOT_A_LABEL))
        listed = ", ".join(str(value) for value in wrong[:5]) + (", ..." if len(wrong) > 5 else "")
        return (
            f"holds the value {listed} in {counts[wrong].sum()} pixels, but a label is "
            f"{self._accepted}; correct the file or the classes"
        )

    def _file_digest(self, name: str) -> str:
        with (self.root / name).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()


def raise_if_any(root: Path, faults: Iterable[str]) -> None:
    """Raise one DataError that lists the faults of a data folder, if there are any.

    Raises:
        DataError: With each fault once, the first 20 of them, and how many more there are.
    """
    found = list(dict.fromkeys(faults))
    if not found:
        return
    lines = str(DataError.from_faults(f"data folder {root}", found)).splitlines()
    if len(found) > _FAULTS_LISTED:
        lines[1 + _FAULTS_LISTED :] = [f"  and {len(found) - _FAULTS_LISTED} more"]
    raise DataError("\n".join(lines))


def files_in(folder: Path, suffixes: Sequence[str]) -> list[str]:
    """Names of the visible files with one of the suffixes, in either case, sorted."""
    return sorted(
        path.name
        for path in folder.iterdir()
        if path.suffix.lower() in suffixes and not path.name.startswith(".") and path.is_file()
    )


def _open(path: Path) -> Image.Image:
    return Image.open(path, formats=_FORMATS)


def _probe_image(path: Path) -> tuple[int, int]:
    """Height and width, after a check that the file is complete; raises what Pillow raises."""
    with _open(path) as file:
        size_px = (file.height, file.width)
        if file.format == "JPEG":
            # Pillow cannot verify a JPEG short of decoding it; at an eighth that is cheap.
            file.draft("RGB", (1, 1))
            file.load()
        else:
            file.verify()
    return size_px


def _read_values(path: Path) -> LabelImage:
    with _open(path) as file:
        if file.mode not in _LABEL_MODES:
            raise _UnusableError(
                f"has pixels of mode '{file.mode}', but a label holds one 8-bit class index "
                "per pixel; convert it to a greyscale or palette PNG"
            )
        return np.asarray(file)


@contextmanager
def _noting(faults: list[str], name: str) -> Iterator[None]:
    """Add what goes wrong with a file to the faults, and go on."""
    try:
        yield
    except _UnusableError as error:
        faults.append(f"{name} {error}")
    except UnidentifiedImageError:
        faults.append(f"{name} cannot be read: it is no PNG or JPEG; replace the file")
    except _DAMAGE as error:
        faults.append(f"{name} cannot be read: {error}; replace the file")


def _size(size_px: tuple[int, int]) -> str:
    return f"{size_px[0]} x {size_px[1]}"
