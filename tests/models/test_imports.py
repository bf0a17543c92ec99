"""Models run on a machine that has torch and jaxtyping alone."""

import subprocess
import sys

HEAVY = (
    "lightning_fabric matplotlib pandas pydantic rich safetensors torchmetrics torchvision typer"
)


def test_models_import_little() -> None:
    code = f"import sys, dilsearch.models; print(*(set({HEAVY!r}.split()) & set(sys.modules)))"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.split() == []
