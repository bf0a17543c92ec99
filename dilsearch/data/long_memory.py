"""The long-memory task: sequences cut into segments whose class shows only at their start.

A causal network that labels the last step of a segment must have seen back to its first ones, so
accuracy there measures the field. It is the thin-bars task along a single axis, in the manner of
the copy-memory task with which temporal convolutions are compared (Bai et al. 2018, section 4),
but every step of it is labelled, so that short memories are rewarded too.

The field it takes is known exactly. A step that comes n steps after the start of its segment has
the last step of the pulse in sight if the field is at least ``n - (pulse - 1) + 1``, and in the
longest segment n reaches ``segment - 1``: with ``segment - pulse + 1`` no step is out of sight of
its pulse. Without noise one step of the pulse tells the class; without any, all classes are equally
likely.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64, UInt8
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from dilsearch.data.palette import class_colours, to_rgb_rows
from dilsearch.data.samples import IGNORE_INDEX, Sample
from dilsearch.data.seeds import derived_seed
from dilsearch.errors import DataError

_SILENCE = "#1f2430"
# Part of the content hash: raise it whenever equal settings would give other sequences.
_GENERATOR_VERSION = 1


class LongMemory(Dataset[Sample]):
    """Sequences of segments, each drawn from ``(split, seed, index)`` alone.

    Segments follow each other from step 0 until the sequence is full; the last is cut off. Their
    lengths are drawn evenly from half of ``segment``, rounded up, to ``segment``. A segment's class
    is drawn evenly from those that differ from the class before it, so that labels show where
    segments begin. There is one channel for each class: that of the segment's class is 1 for the
    first ``pulse`` steps, and all is 0 otherwise. Every step is labelled with its segment's class.

    Args:
        length: How many sequences there are.
        segment: Steps of the longest segment.
        pulse: Steps at a segment's start that show its class.
        classes: How many classes there are.
        sequence: Steps of a sequence; None for twice the longest segment.
        palette: Colours "#rrggbb" of silence, then of each class; None or empty for those built in.
        noise: Standard deviation of the Gaussian noise on each channel.
        split: Name of the stream of sequences; other splits share no stream.
        seed: Seed of the stream of sequences.

    Raises:
        DataError: If the lengths, counts or colours cannot be drawn or learned.
    """

    def __init__(
        self,
        *,
        length: int,
        segment: int = 192,
        pulse: int = 4,
        classes: int = 4,
        sequence: int | None = None,
        palette: Sequence[str] | None = None,
        noise: float = 0.0,
        split: str = "train",
        seed: int = 0,
    ) -> None:
        self.length = length
        self.segment = segment
        self.pulse = pulse
        self.classes = classes
        self.sequence = 2 * segment if sequence is None else sequence
        self.palette = tuple(palette or (_SILENCE, *class_colours(classes)))
        self.noise = noise
        self.split = split
        self.seed = seed
        faults = [*self._length_faults(), *self._count_faults(), *self._colour_faults()]
        if faults:
            raise DataError.from_faults("long_memory", faults)
        self._rgb = to_rgb_rows(self.palette)

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Sample:
        """Channels (classes, sequence), float32, and label (sequence,), int64.

        Raises:
            IndexError: If the index is not within 0 to length - 1.
        """
        if not 0 <= index < self.length:
            raise IndexError(f"sequence {index} of {self.length} long-memory sequences")
        rng = np.random.default_rng(derived_seed("long_memory", self.split, self.seed, index))
        kinds, starts = self._draw_segments(rng)
        lengths = np.diff(starts, append=self.sequence)
        since = np.arange(self.sequence) - np.repeat(starts, lengths)
        label = np.repeat(kinds, lengths)
        channels = np.zeros((self.classes, self.sequence), dtype=np.float32)
        shown = np.flatnonzero(since < self.pulse)
        channels[label[shown], shown] = 1
        if self.noise:
            spread = np.float32(self.noise)
            channels += spread * rng.standard_normal(channels.shape, dtype=np.float32)
        return torch.from_numpy(channels), torch.from_numpy(label)

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names by label."""
        return tuple(f"class {i + 1}" for i in range(self.classes))

    @property
    def class_rgb(self) -> UInt8[np.ndarray[Any, Any], "labels 3"]:
        """Colours to draw labels in."""
        return self._rgb[1:]

    @property
    def content_hash(self) -> str:
        """SHA-256 of all that decides what a sequence looks like, its seed and index aside."""
        settings = {
            "generator": _GENERATOR_VERSION,
            "segment": self.segment,
            "pulse": self.pulse,
            "classes": self.classes,
            "sequence": self.sequence,
            "palette": [colour.lower() for colour in self.palette],
            "noise": float(self.noise),
        }
        return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()

    def to_rgb(
        self, channels: Float[Tensor, "*batch classes sequence"]
    ) -> UInt8[np.ndarray[Any, Any], "*batch 1 sequence 3"]:
        """Sequences as pictures one row high: each channel adds its colour to that of silence."""
        shown = channels.detach().to("cpu", torch.float32).movedim(-2, -1).numpy()
        silence, colours = self._rgb[0].astype(np.float32), self._rgb[1:].astype(np.float32)
        rows: NDArray[np.float32] = silence + shown @ (colours - silence)
        return np.expand_dims(rows.round().clip(0, 255).astype(np.uint8), -3)

    def _draw_segments(
        self, rng: np.random.Generator
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The class of each segment, and the step where it begins."""
        shortest = -(-self.segment // 2)
        most = -(-self.sequence // shortest)
        lengths = rng.integers(shortest, self.segment, size=most, endpoint=True)
        # Steps around the circle of classes; all but the first are no whole turn.
        turns = rng.integers(1, self.classes, size=most)
        turns[0] = rng.integers(self.classes)
        starts = np.cumsum(lengths) - lengths
        inside = starts < self.sequence
        return np.cumsum(turns)[inside] % self.classes, starts[inside]

    def _length_faults(self) -> Iterator[str]:
        if not 1 <= self.pulse <= self.segment // 2:
            yield (
                f"pulse = {self.pulse}, but it has at least 1 step and at most half of the longest "
                f"segment, {self.segment // 2}; nothing would be far from it otherwise"
            )
        if self.sequence < self.segment:
            yield (
                f"sequence = {self.sequence} steps hold no segment of {self.segment}; "
                "make it as long at least"
            )

    def _count_faults(self) -> Iterator[str]:
        if not 2 <= self.classes < IGNORE_INDEX:
            yield (
                f"classes = {self.classes}, but there are 2 to {IGNORE_INDEX - 1} classes; "
                "with fewer there is nothing to tell apart"
            )
        if self.length < 1:
            yield f"length = {self.length} sequences; give at least 1"
        if not self.noise >= 0:
            yield f"noise = {self.noise} is not a standard deviation; give 0 or more"

    def _colour_faults(self) -> Iterator[str]:
        if len(self.palette) != self.classes + 1:
            yield (
                f"palette has {len(self.palette)} colours, but {self.classes} classes need "
                f"{self.classes + 1}: silence, then one for each class"
            )
        elif len({colour.lower() for colour in self.palette}) < len(self.palette):
            yield "palette has a colour twice; silence and classes must be told apart"


def far_steps(
    label: Int64[Tensor, "*batch sequence"], *, segment: int
) -> Bool[Tensor, "*batch sequence"]:
    """Steps that come at least half the longest segment, rounded down, after the start of theirs.

    A field of up to ``segment // 2 - pulse + 1`` sees none of their pulses.
    """
    steps = torch.arange(label.shape[-1], device=label.device).expand_as(label)
    begins = torch.ones_like(label, dtype=torch.bool)
    begins[..., 1:] = label[..., 1:] != label[..., :-1]
    starts = torch.where(begins, steps, 0).cummax(dim=-1).values
    return steps - starts >= segment // 2
