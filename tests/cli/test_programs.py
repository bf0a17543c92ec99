"""Programs from files, of which some are not what they seem."""

import io
import logging
import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from dilsearch.cli.programs import load_program, program_inputs, program_module
from dilsearch.errors import TraceError

FORCED = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"
OBJECTS = (
    "holds objects or compiled code beside its tensors, which could run anything and are never "
    "loaded here; save the program of a plain model"
)


class Trap:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (str(self.folder),)


@pytest.fixture
def program(tmp_path: Path) -> Path:
    model = nn.Sequential(nn.Conv2d(3, 4, 3, padding=2, dilation=2), nn.BatchNorm2d(4)).eval()
    path = tmp_path / "model.pt2"
    torch.export.save(torch.export.export(model, (torch.ones(1, 3, 16, 24),)), path)
    return path


def rewritten(program: Path, changed: dict[str, bytes], added: dict[str, bytes]) -> Path:
    """A copy of an archive with other contents; names without the archive's own."""
    path = program.with_name("other.pt2")
    with zipfile.ZipFile(program) as source, zipfile.ZipFile(path, "w") as copy:
        for name in source.namelist():
            copy.writestr(name, changed.get(name.partition("/")[2], source.read(name)))
        for name, content in added.items():
            copy.writestr(f"model/{name}", content)
    return path


def mistake(path: Path) -> str:
    with pytest.raises(TraceError) as caught:
        load_program(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_program_runs_on_the_inputs_it_names(program: Path) -> None:
    loaded = load_program(program)
    inputs = program_inputs(loaded)
    assert [(tuple(x.shape), float(x.abs().sum())) for x in inputs] == [((1, 3, 16, 24), 0)]
    module = program_module(loaded)
    assert module.eval()(*inputs).shape == (1, 4, 16, 24)


def test_nothing_but_tensors_is_unpickled(program: Path, tmp_path: Path) -> None:
    trap = tmp_path / "sprung"
    buffer = io.BytesIO()
    torch.save(((Trap(trap),), {}), buffer)
    path = rewritten(program, {"data/sample_inputs/model.pt": buffer.getvalue()}, {})
    assert mistake(path) == f"{path} {OBJECTS}"
    assert not trap.exists()
    torch.export.load(path)  # control: torch's own reader springs it
    assert trap.exists()


def test_objects_and_compiled_code_are_refused_unopened(program: Path) -> None:
    for name in ("data/constants/custom_obj_0", "data/aotinductor/model/model.so"):
        path = rewritten(program, {}, {name: b"x"})
        assert mistake(path) == f"{path} {OBJECTS}"
    assert load_program(rewritten(program, {}, {"extra/notes.txt": b"x"}))  # control


def test_reading_leaves_environment_and_logging_alone(
    program: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for value in ("0", None):
        if value is None:
            monkeypatch.delenv(FORCED, raising=False)
        else:
            monkeypatch.setenv(FORCED, value)
        load_program(program)
        assert os.environ.get(FORCED) == value
    assert logging.root.manager.disable == 0


def test_files_that_are_no_programs(program: Path, tmp_path: Path) -> None:
    fix = "write one with torch.export.save(torch.export.export(model, inputs), 'model.pt2')"
    text = tmp_path / "text.pt2"
    text.write_text("hello")
    cut = tmp_path / "cut.pt2"
    cut.write_bytes(program.read_bytes()[:2000])
    for path in (text, cut):
        assert mistake(path) == (
            f"{path} is not a program of torch.export: it is no archive, or only a part of one; "
            f"{fix}"
        )
    weights = tmp_path / "weights.pt2"
    torch.save({"weight": torch.ones(2)}, weights)
    assert mistake(weights) == (
        f"{weights} is not a program of torch.export: it is an archive without a graph, such as "
        f"weights alone; {fix}"
    )
    assert mistake(tmp_path / "no.pt2") == (
        f"cannot read {tmp_path}/no.pt2: No such file or directory; name a file"
    )


def test_a_damaged_program(program: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = rewritten(program, {"models/model.json": b"{}"}, {})
    assert mistake(path).startswith(f"{path} cannot be read as a program of torch.export (")
    assert mistake(path).endswith(f"); write it again with torch {torch.__version__}")
    assert capfd.readouterr().err == ""
