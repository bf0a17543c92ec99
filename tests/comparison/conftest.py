from collections.abc import Callable
from pathlib import Path
from typing import Any

import compared_folders
import pytest

WriteRun = Callable[..., Path]


@pytest.fixture(autouse=True)
def made_quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    compared_folders.made_quickly(monkeypatch)


@pytest.fixture
def write_run() -> WriteRun:
    return compared_folders.write_run


@pytest.fixture
def write_sweep() -> WriteRun:
    return compared_folders.write_sweep


@pytest.fixture
def grid_trials() -> list[dict[str, Any]]:
    return compared_folders.grid_trials()


@pytest.fixture
def tpe_trials() -> list[dict[str, Any]]:
    return compared_folders.tpe_trials()
