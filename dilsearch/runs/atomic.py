"""Files that are whole or absent: written beside their name, flushed, then renamed."""

import os
import secrets
from collections.abc import Callable
from pathlib import Path

from dilsearch.errors import RunError

_MARK = ".tmp"


def is_temporary(path: Path) -> bool:
    """Whether a crash in the middle of a write can have left this file."""
    return path.name.startswith(".") and _MARK in path.name


def write_atomically(path: Path, content: str | bytes | Callable[[Path], object]) -> None:
    """Write a file whole or not at all.

    The content goes to a temporary file in the same folder, is flushed to the disk and takes the
    file's name by a rename. If anything fails, the temporary file is removed and the file of
    before, if any, stays as it was. Of several processes that write it at once the last one wins.

    Args:
        path: The file; its folder is made if it does not exist.
        content: Text (written as UTF-8), bytes, or a function that writes the path it is given,
            which has the suffix of the file's name.

    Raises:
        RunError: If the disk refuses.
    """
    temporary = path.with_name(f".{path.stem}{_MARK}{secrets.token_hex(4)}{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            if callable(content):
                content(temporary)
            else:
                data = content.encode("utf-8") if isinstance(content, str) else content
                temporary.write_bytes(data)
            _flush(temporary)
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
        if os.name == "posix":  # elsewhere folders cannot be opened, and renames need no flush
            _flush(path.parent)
    except OSError as error:
        raise RunError(
            f"cannot write {path}: {error.strerror or error}. "
            "Free the disk or its permissions, or write elsewhere with --out."
        ) from error


def _flush(path: Path) -> None:
    """Wait until a file, or a folder's list of names, is on the disk."""
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
