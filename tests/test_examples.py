"""The examples run as they stand, on random data and without a network."""

import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import dilsearch

FOLDER = Path(__file__).parent.parent / "examples"
EXAMPLES = sorted(path.name for path in FOLDER.glob("*.py"))
HEAVY = ("smp_models.py", "torchvision_deeplab.py", "torchvision_lraspp.py")
"""Examples that take many seconds; continuous integration runs every example as a program."""
NEEDED = {
    "lightning_callback.py": "lightning",
    "smp_models.py": "segmentation_models_pytorch",
}
"""What an example needs that the library does not."""


def test_there_are_examples() -> None:
    assert len(EXAMPLES) >= 7
    assert {*NEEDED, *HEAVY} <= set(EXAMPLES)


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder, so that what an example leaves behind is seen."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


# of Lightning, about torch's newer trees and the loaders of so small a task
@pytest.mark.filterwarnings("ignore:.*isinstance.treespec, LeafSpec.*:FutureWarning")
@pytest.mark.filterwarnings("ignore:The '.*' does not have many workers")
@pytest.mark.filterwarnings("ignore:The number of training batches")
@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.slow if name in HEAVY else ()) for name in EXAMPLES],
)
def test_an_example_runs_and_says_what_it_found(
    name: str, elsewhere: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if name in NEEDED:
        pytest.importorskip(NEEDED[name])
    with torch.random.fork_rng():
        torch.manual_seed(0)
        runpy.run_path(str(FOLDER / name), run_name="__main__")
    told = capsys.readouterr().out
    assert told.strip()
    assert "False" not in told
    assert not list(elsewhere.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_runs_by_itself(name: str, elsewhere: Path) -> None:
    if name in NEEDED:
        pytest.importorskip(NEEDED[name])
    command = [sys.executable, str(FOLDER / name)]
    done = subprocess.run(command, env=dict(os.environ), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_uses_public_names_alone(name: str) -> None:
    used = [
        line.split()
        for line in (FOLDER / name).read_text(encoding="utf-8").splitlines()
        if line.lstrip().startswith(("from dilsearch", "import dilsearch"))
    ]
    assert used
    modules = {words[1] for words in used}
    assert modules <= {"dilsearch", "dilsearch.lightning"}
    for words in used:
        if words[:2] == ["from", "dilsearch"]:
            names = {word.strip("(),") for word in words[3:]} - {""}
            assert names <= set(dilsearch.__all__)
