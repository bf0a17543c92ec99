"""The thin-bars task: bars as high as the image whose class shows only at their foot.

A network that labels the top of a bar must have seen its bottom, so accuracy there measures the
field of view. The idea is RegSeg's (Gao 2022, section 3.6 and Fig. 6); sizes, colours and the
rule by which bars are laid are ours, since the paper leaves them open.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Int64, UInt8
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from dilsearch.data.palette import class_colours, to_rgb_rows
from dilsearch.data.samples import IGNORE_INDEX, Normalization, Sample
from dilsearch.data.seeds import derived_seed
from dilsearch.errors import DataError

NORMALIZATION = Normalization(mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))
_BACKGROUND, _BODY = "#1f2430", "#9aa0a6"
# Part of the content hash: raise it whenever equal settings would give other pixels.
_GENERATOR_VERSION = 1


class ThinBars(Dataset[Sample]):
    """Images of full-height thin bars, each drawn from ``(split, seed, index)`` alone.

    Bars of random width stand a random gap apart, from left to right, until the next one drawn no
    longer fits; what is left over is shared at random between the two sides. A bar's class is
    drawn evenly and independently of all others. All bars have one colour, except for the lowest
    ``patch_px`` rows, which have the colour of the bar's class. The label is 0 on the background
    and 1 + class on the whole bar, so that every pixel is labelled.

    Args:
        size_px: Height and width of the image.
        bar_width_px: Smallest and largest width of a bar.
        gap_px: Smallest and largest gap between bars.
        patch_px: Rows at the bottom that show the class.
        classes: How many kinds of bars there are, background not counted.
        palette: Colours "#rrggbb" of the background, the bars, then each class; None or empty
            for the colours built in.
        noise: Standard deviation of the Gaussian noise on each colour channel of 0 to 1.
        split: Name of the stream of images; other splits share no image stream.
        seed: Seed of the stream of images.
        length: How many images there are.

    Raises:
        DataError: If the sizes, counts or colours cannot be drawn or learned.
    """

    def __init__(
        self,
        *,
        length: int,
        size_px: int = 96,
        bar_width_px: tuple[int, int] = (6, 13),
        gap_px: tuple[int, int] = (4, 9),
        patch_px: int = 6,
        classes: int = 3,
        palette: Sequence[str] | None = None,
        noise: float = 0.0,
        split: str = "train",
        seed: int = 0,
    ) -> None:
        self.size_px = size_px
        self.bar_width_px = bar_width_px
        self.gap_px = gap_px
        self.patch_px = patch_px
        self.classes = classes
        self.palette = tuple(palette or (_BACKGROUND, _BODY, *class_colours(classes)))
        self.noise = noise
        self.split = split
        self.seed = seed
        self.length = length
        faults = [*self._size_faults(), *self._colour_faults()]
        if faults:
            raise DataError.from_faults("thin_bars", faults)
        self._rgb = to_rgb_rows(self.palette)
        scaled = (self._rgb / 255 - NORMALIZATION.mean) / NORMALIZATION.std
        self._colours = np.ascontiguousarray(scaled.T, dtype=np.float32)

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Sample:
        """Image (3, size, size), float32, mean about 0, and label (size, size), int64.

        Raises:
            IndexError: If the index is not within 0 to length - 1.
        """
        if not 0 <= index < self.length:
            raise IndexError(f"image {index} of {self.length} thin-bars images")
        rng = np.random.default_rng(derived_seed("thin_bars", self.split, self.seed, index))
        column_labels = self._draw_columns(rng)
        is_bar = (column_labels > 0).astype(np.int64)
        image = np.empty((3, self.size_px, self.size_px), dtype=np.float32)
        image[:, : -self.patch_px] = self._colours[:, None, is_bar]
        image[:, -self.patch_px :] = self._colours[:, None, is_bar + column_labels]
        if self.noise:
            spread = np.float32(self.noise / NORMALIZATION.std[0])
            image += spread * rng.standard_normal(image.shape, dtype=np.float32)
        label = np.tile(column_labels, (self.size_px, 1))
        return torch.from_numpy(image), torch.from_numpy(label)

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names by label, background first."""
        return ("background", *(f"class {i + 1}" for i in range(self.classes)))

    @property
    def class_rgb(self) -> UInt8[np.ndarray[Any, Any], "labels 3"]:
        """Colours to draw labels in: those of the background and of each class's patch."""
        return np.delete(self._rgb, 1, axis=0)

    @property
    def content_hash(self) -> str:
        """SHA-256 of all that decides what an image looks like, its seed and index aside."""
        settings = {
            "generator": _GENERATOR_VERSION,
            "size_px": self.size_px,
            "bar_width_px": list(self.bar_width_px),
            "gap_px": list(self.gap_px),
            "patch_px": self.patch_px,
            "classes": self.classes,
            "palette": [colour.lower() for colour in self.palette],
            "noise": float(self.noise),
        }
        return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()

    def _draw_columns(self, rng: np.random.Generator) -> NDArray[np.int64]:
        """The label of each column of pixels."""
        most = self.size_px // (self.bar_width_px[0] + self.gap_px[0]) + 1
        widths = rng.integers(*self.bar_width_px, size=most, endpoint=True)
        gaps = rng.integers(*self.gap_px, size=most, endpoint=True)
        labels = rng.integers(1, self.classes, size=most, endpoint=True)
        ends = np.cumsum(widths + gaps) - gaps
        bars = int(np.searchsorted(ends, self.size_px, side="right"))
        left_over = self.size_px - int(ends[bars - 1])
        margin = int(rng.integers(0, left_over, endpoint=True))
        # Runs of columns: margin, bar, gap, bar, ..., bar, margin.
        runs = np.zeros(2 * bars + 1, dtype=np.int64)
        values = np.zeros_like(runs)
        runs[0], runs[-1] = margin, left_over - margin
        runs[1::2], values[1::2] = widths[:bars], labels[:bars]
        runs[2:-1:2] = gaps[: bars - 1]
        return np.repeat(values, runs)

    def _size_faults(self) -> Iterator[str]:
        for name, (low, high) in (("bar_width_px", self.bar_width_px), ("gap_px", self.gap_px)):
            if not 1 <= low <= high:
                yield (
                    f"{name} = [{low}, {high}] is not a range of whole pixels; "
                    "give the smallest, at least 1, then the largest"
                )
        widest = self.bar_width_px[1]
        if widest > self.size_px:
            yield (
                f"bar_width_px reaches {widest} px, but the image is {self.size_px} px wide; "
                "make the bars thinner or raise size_px"
            )
        if not 1 <= self.patch_px <= self.size_px // 2:
            yield (
                f"patch_px = {self.patch_px}, but the patch has at least 1 row and at most half "
                f"of the image, {self.size_px // 2}; nothing would be far from it otherwise"
            )
        if not 2 <= self.classes < IGNORE_INDEX:
            yield (
                f"classes = {self.classes}, but there are 2 to {IGNORE_INDEX - 1} kinds of bars; "
                "with fewer there is nothing to tell apart"
            )
        if self.length < 1:
            yield f"length = {self.length} images; give at least 1"
        if not self.noise >= 0:
            yield f"noise = {self.noise} is not a standard deviation; give 0 or more"

    def _colour_faults(self) -> Iterator[str]:
        if len(self.palette) != self.classes + 2:
            yield (
                f"palette has {len(self.palette)} colours, but {self.classes} classes need "
                f"{self.classes + 2}: background, bar, then one for each class"
            )
        elif len({colour.lower() for colour in self.palette}) < len(self.palette):
            yield "palette has a colour twice; background, bar and classes must be told apart"


def far_region(label: Int64[Tensor, "*batch height width"]) -> Bool[Tensor, "*batch height width"]:
    """Bar pixels in the upper half of the image, the half away from the patch."""
    region = (label > 0) & (label != IGNORE_INDEX)
    region[..., label.shape[-2] // 2 :, :] = False
    return region
