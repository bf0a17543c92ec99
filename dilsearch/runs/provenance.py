"""What made a run: command, seed, versions, machine and revision."""

import os
import platform
import subprocess
import tomllib
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

SCHEMA_VERSION: Final = 1
"""Version of ``run.json``; raised when an older dilsearch could not read it."""

_LIBRARIES = ("dilsearch", "torch", "torchvision", "lightning-fabric", "numpy", "pandas")


def provenance(command: str, space: str, seed: int, device: str) -> dict[str, Any]:
    """The record of a run that has not begun any stage, as ``run.json`` holds it.

    Args:
        command: The command line.
        space: The resolved search space as TOML.
        seed: Seed of all randomness.
        device: What the run computes on, in words.
    """
    values = tomllib.loads(space)
    return {
        "schema_version": SCHEMA_VERSION,
        "command": command,
        "space": values.get("name"),
        "profile": values.get("profile"),
        "seed": seed,
        "versions": {"python": platform.python_version(), **_versions()},
        "platform": platform.platform(),
        "device": device,
        "cpu_count": os.cpu_count(),
        "revision": _revision(),
        "hashes": {},
        "stages": {},
    }


def _versions() -> dict[str, str | None]:
    """Versions of the libraries that decide the numbers, read without importing them."""
    found: dict[str, str | None] = {}
    for library in _LIBRARIES:
        try:
            found[library] = version(library)
        except PackageNotFoundError:
            found[library] = None
    return found


def _revision() -> str | None:
    """Commit of the source checkout that runs, ``-dirty`` if changed; None when installed."""
    checkout = Path(__file__).resolve().parents[2]
    if not (checkout / ".git").exists():
        return None
    command = ["git", "-C", str(checkout), "describe", "--always", "--dirty", "--abbrev=40"]
    try:
        result = subprocess.run(
            [*command, "--exclude=*"], capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return result.stdout.strip()
