"""What works without torch works without torch, and the import contract is one that can fail."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
HEAVY = ("torch", "torchvision", "torchmetrics", "lightning_fabric")


def imports_of(code: str, libraries: tuple[str, ...] = HEAVY) -> list[str]:
    """Those of the libraries that a fresh interpreter has imported after running the code."""
    report = f"; import sys; print(*(name for name in {libraries!r} if name in sys.modules))"
    result = subprocess.run(
        [sys.executable, "-c", code + report], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return result.stdout.splitlines()[-1].split()


@pytest.mark.parametrize(
    "code",
    [
        "import dilsearch",
        "import dilsearch; dir(dilsearch); dilsearch.__version__",
        "from dilsearch import DilationPlan, Field, FieldGraph, join, max_rate, project",
        "from dilsearch import PerBranch, PerSite, SearchSpace; SearchSpace.load('toy')",
        "import dilsearch.geometry, dilsearch.space, dilsearch.runs, dilsearch.scores",
        "import dilsearch.report",
        "import dilsearch.cli",
    ],
)
def test_no_torch_is_imported(code):
    assert imports_of(code) == []


def test_the_control_names_that_need_torch_do_import_it():
    assert "torch" in imports_of("from dilsearch import relax")


def test_every_public_name_is_there():
    import dilsearch

    assert sorted(dilsearch.__all__) == sorted({*dilsearch._HOMES, "__version__"})
    for name in dilsearch.__all__:
        assert getattr(dilsearch, name) is not None
    assert set(dilsearch.__all__) <= set(dir(dilsearch))
    with pytest.raises(AttributeError, match="module 'dilsearch' has no attribute 'nonsense'"):
        dilsearch.nonsense  # noqa: B018


def test_the_start_is_light():
    # What the command line imports before it knows what to do; none of these has a use there.
    unwanted = ("pandas", "matplotlib", "jinja2", "numpy")
    code = (
        f"import sys, dilsearch.cli; print([name for name in {unwanted!r} if name in sys.modules])"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"


def _lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    script = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    return subprocess.run(
        [sys.executable, "-c", script, "--no-cache"],
        cwd=folder,
        env={"PYTHONPATH": str(folder), "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def small_tree(tmp_path):
    """The package's layers as empty modules, under the contracts of this project."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    (layers,) = (c for c in contracts["contracts"] if c["type"] == "layers")
    names = [name for layer in layers["layers"] for name in layer.replace("|", ":").split(":")]
    (tmp_path / "dilsearch").mkdir()
    (tmp_path / "dilsearch" / "__init__.py").write_text("")
    for name in names:
        (tmp_path / "dilsearch" / f"{name.strip()}.py").write_text("")
    text = (ROOT / "pyproject.toml").read_text()
    (tmp_path / "pyproject.toml").write_text(text)
    return tmp_path


@pytest.mark.parametrize(
    ("module", "line", "broken"),
    [
        ("cli", "", None),
        ("cli", "import dilsearch.pipeline", None),
        ("geometry", "import dilsearch.surgery", "Layers"),
        ("models", "import dilsearch.data", "Layers"),
        ("plan", "import torch", "torch-free"),
        ("report", "import dilsearch.training", "torch-free"),
        ("models", "import torchvision", "bare"),
        ("stray", "", "Layers"),
    ],
)
def test_the_contract_catches_what_it_should(small_tree, module, line, broken):
    (small_tree / "dilsearch" / "training.py").write_text("import torch\n")
    (small_tree / "dilsearch" / f"{module}.py").write_text(line + "\n")
    result = _lint_imports(small_tree)
    assert (result.returncode == 0) == (broken is None), result.stdout
    if broken is not None:
        assert "BROKEN" in result.stdout or "not listed" in result.stdout
        assert broken in result.stdout
