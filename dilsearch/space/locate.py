"""Where search spaces are found: by name among those that ship with dilsearch, or by path."""

import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from dilsearch.errors import SpaceError

SUFFIX = ".toml"
_PACKAGE = Path(__file__).resolve().parent.parent
_WHERE = re.compile(r"^(?P<what>.*) \(at (?P<where>.*)\)$", re.DOTALL)


@dataclass(frozen=True, slots=True)
class SpaceFile:
    """A search space file.

    Args:
        path: Where it is.
        label: How messages call it: the bare file name if it ships with dilsearch, else the path
            as the user gave it.
    """

    path: Path
    label: str

    @property
    def name(self) -> str:
        """The name of the space unless the file gives another: the file's stem."""
        return self.path.stem


@dataclass(frozen=True, slots=True)
class SpaceEntry:
    """A search space that ships with dilsearch, as ``dilsearch spaces`` lists it."""

    name: str
    title: str
    profiles: tuple[str, ...]
    default_profile: str | None
    path: Path


def shipped_folder() -> Path:
    """The folder of the shipped spaces: inside an installed wheel, beside a source checkout."""
    inside = _PACKAGE / "search_spaces"
    return inside if inside.is_dir() else _PACKAGE.parent / "search_spaces"


def list_spaces() -> list[SpaceEntry]:
    """The search spaces that ship with dilsearch, in alphabetical order.

    Raises:
        SpaceError: If one of them cannot be read.
    """
    return [_entry(path) for path in sorted(shipped_folder().glob(f"*{SUFFIX}"))]


def locate(name_or_path: str | Path) -> SpaceFile:
    """Find a space: anything with a folder or the suffix ``.toml`` is a path, the rest are names.

    Raises:
        SpaceError: If no space has that name.
    """
    text = str(name_or_path)
    if isinstance(name_or_path, Path) or text.endswith(SUFFIX) or "/" in text or "\\" in text:
        return SpaceFile(Path(name_or_path), text)
    path = shipped_folder() / f"{text}{SUFFIX}"
    if path.is_file():
        return SpaceFile(path, path.name)
    names = sorted(path.stem for path in shipped_folder().glob(f"*{SUFFIX}"))
    raise SpaceError(
        f"there is no search space named '{text}'{did_you_mean(text, names)}. "
        f"Use one of {', '.join(names)}, or give the path of a {SUFFIX} file."
    )


def read_document(file: SpaceFile) -> dict[str, Any]:
    """The file as nested tables.

    Raises:
        SpaceError: If the file cannot be read, or is not TOML; the line is named.
    """
    try:
        return tomllib.loads(file.path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise SpaceError(
            f"cannot read search space {file.label}: {error.strerror}. Give the path of a "
            f"{SUFFIX} file, or the name of a space."
        ) from None
    except UnicodeDecodeError as error:
        raise SpaceError(
            f"{file.label}: byte {error.start} is not UTF-8; save the file as UTF-8 text"
        ) from None
    except tomllib.TOMLDecodeError as error:
        raise SpaceError(f"{file.label}: {toml_fault(error)}; correct the TOML there") from None


def toml_fault(error: tomllib.TOMLDecodeError) -> str:
    """Where and what is wrong: ``line 3, column 7: expected '=' after a key ...``."""
    match = _WHERE.match(str(error))
    if match is None:
        return str(error)
    what = match["what"]
    return f"{match['where']}: {what[:1].lower()}{what[1:]}"


def closest(given: str, known: Sequence[str]) -> str | None:
    """The known word nearest to the one given, if any is near."""
    return next(iter(get_close_matches(given, known, n=1, cutoff=0.65)), None)


def did_you_mean(given: str, known: Sequence[str], quote: str = "'") -> str:
    """`` (did you mean 'x'?)`` for the known word nearest to the one given, or nothing."""
    word = closest(given, known)
    return f" (did you mean {quote}{word}{quote}?)" if word else ""


def _entry(path: Path) -> SpaceEntry:
    document = read_document(SpaceFile(path, path.name))
    return SpaceEntry(
        name=path.stem,
        title=str(document.get("title", "")),
        profiles=tuple(document.get("profiles", {})),
        default_profile=document.get("default_profile"),
        path=path,
    )
