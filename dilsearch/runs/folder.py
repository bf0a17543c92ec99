"""Run folders: everything one command did, and how far it got.

``run.json`` says what made the folder and which stages have finished, which is what ``--resume``
goes by. Every file is written whole or not at all, so that a crash at any moment leaves a folder
that can be resumed.
"""

import json
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, Self, TypeAlias

from dilsearch.errors import RunError
from dilsearch.runs.atomic import is_temporary, write_atomically
from dilsearch.runs.differences import differences
from dilsearch.runs.provenance import SCHEMA_VERSION, provenance

if TYPE_CHECKING:
    import pandas as pd

RUN_FILE: Final = "run.json"
SPACE_FILE: Final = "space.toml"

StageStatus: TypeAlias = Literal["running", "finished"]

_WRITTEN_BY = {
    "trajectory.csv": "search",
    "plan.float.json": "search",
    "search.safetensors": "search",
    "plan.json": "convert",
    "projection.csv": "convert",
    "field.csv": "convert",
    "retrain.csv": "retrain",
    "weights.safetensors": "retrain",
    "control.csv": "control",
    "control.safetensors": "control",
    "counts.csv": "evaluate",
    "summary.json": "evaluate",
}
_TEXT_COLUMNS = (
    "site",
    "rule",
    "rates",
    "taps",
    "field_px",
    "field_in_px",
    "field_out_px",
    "stride_in_px",
    "stage",
    "region",
)
_NEEDED = ("seed", "hashes", "stages")
_RESTORE = "Restore the file, or start a new run with --out."
_NOT_OF_RUNS = ("name", "title", "profile", "sweep")
_DIFFERENCES_SHOWN = 3


class RunFolder:
    """A folder that holds one run.

    Make one with ``RunFolder.create`` or ``RunFolder.open``. Names of files are relative to the
    folder and may lie in folders of their own, which are made as needed.
    """

    def __init__(self, path: Path, record: dict[str, Any]) -> None:
        self._path = path
        self._record = record

    @classmethod
    def create(
        cls,
        path: str | Path,
        *,
        command: str,
        space: str,
        seed: int,
        device: str = "cpu",
        resume: bool = False,
    ) -> Self:
        """Begin a run in a folder that is new or empty, or go on with the run that is there.

        Args:
            path: The folder.
            command: The command line, for the record.
            space: The resolved search space as TOML; it becomes ``space.toml``.
            seed: Seed of all randomness.
            device: What the run computes on, in words.
            resume: Go on with a run of the same space and seed, if the folder holds one.

        Raises:
            RunError: If the folder holds a run and ``resume`` is off, or the run there has another
                space or seed, or the folder holds other files, or cannot be written.
        """
        folder = Path(path)
        if (folder / RUN_FILE).exists():
            existing = cls.open(folder)
            existing._check_resumable(space, seed, resume)
            return existing
        _claim(folder, space)
        run = cls(folder, provenance(command, space, seed, device))
        run.write_text(SPACE_FILE, space)
        run._save()
        return run

    @classmethod
    def refuse_occupied(cls, path: str | Path) -> None:
        """Refuse a folder that holds a run, before any work is done for a new one.

        Raises:
            RunError: If it holds one.
        """
        folder = Path(path)
        if (folder / RUN_FILE).exists():
            raise cls.open(folder)._occupied()

    @classmethod
    def refuse_unfit(cls, path: str | Path, space: str) -> None:
        """Refuse a place where no run can be begun, before anything is written.

        Args:
            path: The folder, which need not exist.
            space: The resolved search space as TOML; what a crash left of the same is no hindrance.

        Raises:
            RunError: If it holds other files, or is none.
        """
        folder = Path(path)
        if folder.exists():
            _refuse_foreign(folder, space)

    @classmethod
    def open(cls, path: str | Path) -> Self:
        """Open a folder that holds a run.

        Raises:
            RunError: If it holds none, or one that this dilsearch cannot read.
        """
        folder = Path(path)
        if not (folder / RUN_FILE).is_file():
            raise RunError(
                f"{folder} holds no run: there is no {RUN_FILE} in it. "
                "Give the folder of a run, such as runs/toy-seed0."
            )
        record = _read_object(folder / RUN_FILE)
        found = record.get("schema_version")
        if found != SCHEMA_VERSION:
            raise RunError(
                f"{folder / RUN_FILE} has schema version {found}, and this dilsearch reads "
                f"{SCHEMA_VERSION}. Use the dilsearch that wrote it, or a newer one."
            )
        absent = [key for key in _NEEDED if key not in record]
        if absent:
            raise RunError(f"{folder / RUN_FILE} has no '{absent[0]}'. {_RESTORE}")
        return cls(folder, record)

    @property
    def record(self) -> Mapping[str, Any]:
        """What ``run.json`` says: command, space, seed, versions, stages and more."""
        return self._record

    @property
    def seed(self) -> int:
        """Seed of the run."""
        return int(self._record["seed"])

    @property
    def stages(self) -> Mapping[str, Mapping[str, Any]]:
        """Stage to its status and the seconds it took, in the order they began."""
        stages: Mapping[str, Mapping[str, Any]] = self._record["stages"]
        return stages

    def begin(self, stage: str) -> None:
        """Note that a stage is running; seconds of an interrupted attempt are kept."""
        seconds = 0.0 if self.is_finished(stage) else self.seconds(stage)
        self._note_stage(stage, "running", seconds)

    def pause(self, stage: str, *, seconds: float) -> None:
        """Note how long a stage has run in all when it is interrupted."""
        self._note_stage(stage, "running", seconds)

    def finish(self, stage: str, *, seconds: float) -> None:
        """Note that a stage is done.

        Args:
            stage: Its name.
            seconds: How long it ran in all, interrupted attempts included.
        """
        self._note_stage(stage, "finished", seconds)

    def forget(self, *stages: str) -> None:
        """Take back that stages were done, because what they stand on is made again."""
        for stage in stages:
            self._record["stages"].pop(stage, None)
        self._save()

    def is_finished(self, stage: str) -> bool:
        """Whether the stage is done."""
        return self.stages.get(stage, {}).get("status") == "finished"

    def seconds(self, stage: str) -> float:
        """How long the stage has run so far, in all attempts."""
        return float(self.stages.get(stage, {}).get("seconds", 0.0))

    def note_hash(self, what: str, digest: str) -> None:
        """Record the hash of something that the run is made of, such as its plan."""
        self._record["hashes"][what] = digest
        self._save()

    def require_hash(self, what: str, digest: str) -> None:
        """Record a hash the first time, and insist on the same from then on.

        Raises:
            RunError: If another hash is on record, so that going on would mix two runs.
        """
        known = self._record["hashes"].get(what)
        if known not in (None, digest):
            raise RunError(
                f"{self._path}: the {what} has changed since this run began (hash {known[:12]} "
                f"then, {digest[:12]} now). Restore it, or start a new run with --out."
            )
        if known is None:
            self.note_hash(what, digest)

    def path(self, name: str = "") -> Path:
        """The path of a file in the folder, whether it exists or not; the folder without a name."""
        return self._path / name

    def has(self, name: str) -> bool:
        """Whether the folder has that file."""
        return self.path(name).is_file()

    def write_text(self, name: str, text: str) -> None:
        """Write a text file."""
        write_atomically(self.path(name), text)

    def write_json(self, name: str, document: object) -> None:
        """Write a JSON file; NaN and infinity, which are no JSON, are refused with ValueError."""
        self.write_text(name, _to_json(document))

    def write_csv(self, name: str, frame: "pd.DataFrame") -> None:
        """Write a table without its index; floats keep all their digits."""
        self.write_text(name, frame.to_csv(index=False, lineterminator="\n"))

    def write_with(self, name: str, write: Callable[[Path], object]) -> None:
        """Let a function write the file at a temporary path of the same suffix."""
        write_atomically(self.path(name), write)

    def read_text(self, name: str) -> str:
        """Read a text file.

        Raises:
            RunError: If it is not there; the stage that writes it is named.
        """
        try:
            return self._existing(name).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise RunError(
                f"{self.path(name)} is not readable text ({error}). {_RESTORE}"
            ) from None

    def read_json(self, name: str) -> dict[str, Any]:
        """Read a JSON file whose top is an object.

        Raises:
            RunError: If it is missing or damaged.
        """
        return _read_object(self._existing(name))

    def read_csv(self, name: str) -> "pd.DataFrame":
        """Read a table; columns that hold names or sizes are text even if they look like numbers.

        Raises:
            RunError: If it is missing or damaged.
        """
        import pandas as pd  # here, so that the command line starts without it

        path = self._existing(name)
        try:
            return pd.read_csv(
                path,
                dtype=dict.fromkeys(_TEXT_COLUMNS, "string"),
                keep_default_na=False,
                na_values=[""],
            )
        except ValueError as error:
            raise RunError(f"{path} is not a readable table ({error}). {_RESTORE}") from None

    def _existing(self, name: str) -> Path:
        if not self.has(name):
            stage = _WRITTEN_BY.get(name)
            fix = f"Run the stage that writes it, {stage}, first." if stage else _RESTORE
            raise RunError(f"{self._path} has no {name}. {fix}")
        return self.path(name)

    def _check_resumable(self, space: str, seed: int, resume: bool) -> None:
        if not resume:
            raise self._occupied()
        if self.seed != seed:
            raise RunError(
                f"{self._path} holds a run with seed {self.seed}, and this one has seed {seed}. "
                f"Resume it with --seed {self.seed}, or write elsewhere with --out."
            )
        different = list(differences(self._space_values(), _values(space)))
        if different:
            shown = ", ".join(different[:_DIFFERENCES_SHOWN])
            more = len(different) - _DIFFERENCES_SHOWN
            raise RunError(
                f"{self._path} holds a run of another search space: {shown}"
                + (f", and {more} more" if more > 0 else "")
                + ". Resume it with the same profile and settings, or write elsewhere with --out."
            )

    def _occupied(self) -> RunError:
        return RunError(
            f"{self._path} already holds a run ({self._state_in_words()}). "
            "Continue it with --resume, or write elsewhere with --out."
        )

    def _space_values(self) -> dict[str, Any]:
        try:
            return _values(self.read_text(SPACE_FILE))
        except tomllib.TOMLDecodeError as error:
            raise RunError(
                f"{self.path(SPACE_FILE)} is not readable TOML ({error}). {_RESTORE}"
            ) from None

    def _state_in_words(self) -> str:
        finished = [stage for stage in self.stages if self.is_finished(stage)]
        if finished:
            return f"{', '.join(finished)} finished"
        return f"{next(iter(self.stages))} begun" if self.stages else "nothing finished"

    def _note_stage(self, stage: str, status: StageStatus, seconds: float) -> None:
        self._record["stages"][stage] = {"status": status, "seconds": round(seconds, 3)}
        self._save()

    def _save(self) -> None:
        self.write_json(RUN_FILE, self._record)


def _claim(folder: Path, space: str) -> None:
    """Make the folder, or make sure that nothing but leftovers of a crash is in it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unusable(folder, error) from None
    _refuse_foreign(folder, space)


def _refuse_foreign(folder: Path, space: str) -> None:
    try:
        foreign = [path.name for path in folder.iterdir() if not _is_leftover(path, space)]
    except OSError as error:
        raise _unusable(folder, error) from None
    if foreign:
        raise RunError(
            f"{folder} holds files that are no run, such as {min(foreign)}. "
            "Write to a new or empty folder with --out."
        )


def _unusable(folder: Path, error: OSError) -> RunError:
    return RunError(
        f"cannot make the run folder {folder}: {error.strerror}. Choose another with --out."
    )


def _is_leftover(path: Path, space: str) -> bool:
    """Whether a crash of the same command, before ``run.json`` was there, can have left this."""
    if path.name == SPACE_FILE and path.is_file():
        return path.read_text(encoding="utf-8", errors="replace") == space
    return is_temporary(path)


def _values(space: str) -> dict[str, Any]:
    """What a run goes by in a resolved space: neither what that is called, nor its sweep."""
    return {key: value for key, value in tomllib.loads(space).items() if key not in _NOT_OF_RUNS}


def _to_json(document: object) -> str:
    return json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _read_object(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunError(f"{path} is not readable JSON ({error}). {_RESTORE}") from None
    if not isinstance(document, dict):
        raise RunError(f"{path} is not a JSON object. {_RESTORE}")
    return document
