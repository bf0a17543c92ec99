"""The folders that are compared: which were given, what each holds, and which are finished."""

import glob
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pandas as pd

from dilsearch.errors import ComparisonError, RunError
from dilsearch.runs import SPACE_FILE, RunFolder
from dilsearch.space import SearchSpace

SEARCH: Final = "search"
CONTROL: Final = "control"
SWEEPS: Final = ("grid", "tpe")
"""Kinds with many trials, as ``summary.json`` names their protocols."""

_SWEEP_STAGE: Final = "sweep"
_STUDY_FILE: Final = "study.json"
_RESTORE: Final = "Restore the file, or make the folder anew."
_SEARCH_STAGES: Final = ("search", "convert", "retrain", "evaluate")
_CONTROL_STAGES: Final = ("control", "evaluate")
_WILDCARDS: Final = frozenset("*?[")


@dataclass(frozen=True, slots=True)
class Source:
    """One folder that takes part.

    Args:
        folder: A run, or the root folder of a sweep.
        label: What the user calls its method, if anything.
        kind: ``"search"`` for a run; for a sweep its protocol, ``"grid"`` or ``"tpe"``.
        space: Its resolved space.
        has_search: Whether it has a searched network that was retrained and scored.
        has_control: Whether it has a control that was trained and scored.
    """

    folder: RunFolder
    label: str | None
    kind: str
    space: SearchSpace
    has_search: bool
    has_control: bool

    @property
    def path(self) -> str:
        """The folder as it was given."""
        return str(self.folder.path())

    @property
    def method(self) -> str:
        """Name of its method: the user's, or what kind it is."""
        return self.label or self.kind

    @property
    def is_sweep(self) -> bool:
        """Whether it holds many trials."""
        return self.kind != SEARCH

    @property
    def has_plans(self) -> bool:
        """Whether its method, rather than its control alone, takes part."""
        return self.is_sweep or self.has_search

    def summary(self, *keys: str) -> Any:
        """A value of ``summary.json``.

        Raises:
            RunError: If it has none.
        """
        return _value(self.folder, "summary.json", *keys)

    def swept(self, key: str) -> Any:
        """What ``summary.json`` says of the sweep.

        Raises:
            RunError: If it does not.
        """
        return self.summary(_SWEEP_STAGE, key)

    def description(self) -> dict[str, Any]:
        """What makes a sweep this one and no other, as ``study.json`` has it.

        Raises:
            RunError: If it is not there.
        """
        found = _value(self.folder, _STUDY_FILE, "description")
        return dict(found) if isinstance(found, dict) else {}

    def table(self, name: str, columns: Iterable[str], *, filled: bool = False) -> pd.DataFrame:
        """A table with the columns that are needed.

        Args:
            name: Its file.
            columns: What it must have.
            filled: Whether it must have a row.

        Raises:
            RunError: If the file is missing or damaged, or lacks a column or a row.
        """
        frame = self.folder.read_csv(name)
        absent = [f"column '{column}'" for column in columns if column not in frame.columns]
        if filled and frame.empty:
            absent.append("row")
        if absent:
            raise RunError(f"{self.folder.path(name)} has no {absent[0]}. {_RESTORE}")
        return frame


@dataclass(frozen=True, slots=True)
class Sources:
    """The folders that take part, and a sentence for each that does not."""

    finished: tuple[Source, ...]
    left_out: tuple[str, ...]


def find_sources(given: Sequence[str]) -> Sources:
    """Open what was given.

    Args:
        given: Folders, globs, or either behind ``LABEL=``.

    Raises:
        ComparisonError: If a glob matches nothing, a label is empty, a folder is given twice, or
            none is finished.
        RunError: If a folder holds no run, or a damaged one.
    """
    named = [(label, path) for text in given for label, path in _folders(text)]
    _refuse_repeated([path for _, path in named])
    finished: list[Source] = []
    left_out: list[str] = []
    for label, path in named:
        found = _source(label, RunFolder.open(path))
        if isinstance(found, str):
            left_out.append(f"{path} is left out: {found}")
        else:
            finished.append(found)
    if not finished:
        raise ComparisonError.from_faults("nothing can be compared yet", left_out)
    return Sources(tuple(finished), tuple(left_out))


def _folders(text: str) -> Iterator[tuple[str | None, Path]]:
    """The folders that one argument names, each with its label."""
    label, folder = _split(text)
    if Path(folder).exists() or not _WILDCARDS & set(folder):
        yield label, Path(folder)
        return
    matches = [Path(match) for match in sorted(glob.glob(folder)) if Path(match).is_dir()]
    if not matches:
        raise ComparisonError(f"{text}: no folder matches {folder}; give folders that there are")
    for match in matches:
        yield label, match


def _split(text: str) -> tuple[str | None, str]:
    label, sign, folder = text.partition("=")
    if not sign or "/" in label or Path(text).exists():  # a folder may have '=' in its name
        return None, text
    if not label.strip() or not folder:
        raise ComparisonError(
            f"'{text}' is no LABEL=FOLDER; give a name, '=' and a folder, or the folder alone"
        )
    return label.strip(), folder


def _refuse_repeated(paths: Sequence[Path]) -> None:
    first: dict[Path, Path] = {}
    for path in paths:
        known = first.setdefault(path.resolve(), path)
        if known is not path:
            other = "" if str(known) == str(path) else f", first as {known}"
            raise ComparisonError(f"{path} is given twice{other}; give every run once")


def _source(label: str | None, folder: RunFolder) -> Source | str:
    """The folder as it takes part, or why it does not."""
    is_sweep = _SWEEP_STAGE in folder.stages
    if is_sweep and not folder.is_finished(_SWEEP_STAGE):
        return "the sweep is not finished; the command that began it goes on with it"
    has_search = not is_sweep and all(map(folder.is_finished, _SEARCH_STAGES))
    has_control = not is_sweep and all(map(folder.is_finished, _CONTROL_STAGES))
    if not (is_sweep or has_search or has_control):
        return "no searched network and no control has been trained and evaluated; finish the run"
    return Source(
        folder=folder,
        label=label,
        kind=_protocol(folder) if is_sweep else SEARCH,
        space=SearchSpace.load(folder.path(SPACE_FILE)),
        has_search=has_search,
        has_control=has_control,
    )


def _protocol(folder: RunFolder) -> str:
    """Which kind of sweep a folder holds."""
    found = str(_value(folder, "summary.json", _SWEEP_STAGE, "protocol"))
    if found not in SWEEPS:
        raise RunError(
            f"{folder.path('summary.json')} names a protocol '{found}', and this dilsearch knows "
            f"{' and '.join(SWEEPS)}. {_RESTORE}"
        )
    return found


def _value(folder: RunFolder, name: str, *keys: str) -> Any:
    """What a JSON file says under these keys, one in the other.

    Raises:
        RunError: If the file is missing, damaged or lacks one of them.
    """
    value: Any = folder.read_json(name)
    for depth, key in enumerate(keys, start=1):
        if not isinstance(value, dict) or key not in value:
            raise RunError(f"{folder.path(name)} has no '{'.'.join(keys[:depth])}'. {_RESTORE}")
        value = value[key]
    return value
