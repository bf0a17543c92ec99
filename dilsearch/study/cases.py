"""What a study consists of, down to the command line of every run."""

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Final

from dilsearch.errors import DilsearchError

_MANNER: Final = ("--quiet", "--resume")


class StudyError(DilsearchError):
    """A study asked for with names, seeds or data that it cannot have."""


@dataclass(frozen=True)
class Variant:
    """One way to run a space.

    Args:
        name: Its name, which is part of the name of a folder.
        meaning: What it is, for the reader of the table.
        overrides: Texts for ``--set``, such as ``search.smoothing=0``.
    """

    name: str
    meaning: str
    overrides: tuple[str, ...] = ()


@dataclass(frozen=True)
class Part:
    """Runs of one space that are compared with each other.

    Args:
        name: Its name, which is the name of a folder.
        title: What it is, for the reader of the table.
        space: A search space by name or path.
        variants: The ways it is run.
        seeds: Every variant is run with each of them.
        profile: Profile of the space; None leaves the space's default.
        overrides: Texts for ``--set`` that hold for every variant.
        stages: The stages to run; None runs all of them.
        needs_data: Whether the runs need a folder of data.
    """

    name: str
    title: str
    space: str
    variants: tuple[Variant, ...]
    seeds: tuple[int, ...]
    profile: str | None = None
    overrides: tuple[str, ...] = ()
    stages: tuple[str, ...] | None = None
    needs_data: bool = False

    def cases(self) -> Iterator["Case"]:
        """Every run, all variants of a seed before the next seed.

        So the variants of an interrupted study have been run with the same seeds.
        """
        for seed in self.seeds:
            for variant in self.variants:
                yield Case(self, variant, seed)


@dataclass(frozen=True)
class Study:
    """Parts that answer one question together."""

    name: str
    title: str
    parts: tuple[Part, ...]

    def cases(self) -> Iterator["Case"]:
        """Every run, part by part."""
        for part in self.parts:
            yield from part.cases()


@dataclass(frozen=True)
class Case:
    """One run of a study."""

    part: Part
    variant: Variant
    seed: int

    def __str__(self) -> str:
        return f"{self.part.name} {self.variant.name} seed {self.seed}"

    @property
    def folder(self) -> Path:
        """Its run folder, relative to where the runs of the study lie."""
        return Path(self.part.name, f"{self.variant.name}-seed{self.seed}")

    def words(self, root: Path, data: Path | None = None, device: str = "auto") -> list[str]:
        """The command line that makes the run.

        Args:
            root: Where the runs of the study lie.
            data: Folder of the data set; left out where the part needs none.
            device: The user's word for a device.
        """
        return command_words(self.part, self.variant, str(self.seed), root, data, device)

    def made_by(self, command: str) -> bool:
        """Whether a recorded command line is this case's, wherever it wrote and what it ran on."""
        try:
            known = _identity(shlex.split(command))
        except ValueError:
            return False
        return known == _identity(self.words(Path()))


def command_words(
    part: Part, variant: Variant, seed: str, root: Path, data: Path | None, device: str
) -> list[str]:
    """The command line of a run; the seed is text, so that a table can write ``N`` for any."""
    out = root / part.name / f"{variant.name}-seed{seed}"
    words = ["dilsearch", "run", part.space, "--out", str(out), "--seed", seed]
    words += ["--profile", part.profile] if part.profile else []
    for override in (*part.overrides, *variant.overrides):
        words += ["--set", override]
    words += ["--stages", ",".join(part.stages)] if part.stages is not None else []
    words += ["--data", str(data)] if data is not None and part.needs_data else []
    words += ["--device", device] if device != "auto" else []
    return [*words, *_MANNER]


def _identity(words: Sequence[str]) -> tuple[tuple[str, ...], ...]:
    """What decides the figures of a run: space, seed, profile, and overrides in their order."""
    options: dict[str, list[str]] = {"--seed": [], "--profile": [], "--set": []}
    for option, value in pairwise(words):
        if option in options:
            options[option].append(value)
    return tuple(words[2:3]), *(tuple(values) for values in options.values())
