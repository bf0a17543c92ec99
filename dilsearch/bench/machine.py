"""The machine that was measured on, in words that name neither it nor its owner."""

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from dilsearch.bench.suite import Settings


def describe_machine(settings: Settings, *, quick: bool) -> dict[str, Any]:
    """What decides the figures, beside the code.

    Args:
        settings: How everything is measured.
        quick: Whether cases had the sizes of a smoke test.
    """
    cuda = settings.device.type == "cuda"
    return {
        "device": settings.device.type,
        "cpu": _cpu_name(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name(settings.device) if cuda else None,
        "cuda": torch.version.cuda if cuda else None,
        # On a GPU torch may compute float32 convolutions with fewer digits than float32 has.
        "cudnn_allows_tf32": torch.backends.cudnn.allow_tf32 if cuda else None,
        "precision": settings.precision,
        "python": platform.python_version(),
        "os": platform.platform(),
        "versions": {
            "dilsearch": _version("dilsearch"),
            "torch": torch.__version__,  # which tells the build too
            "torchvision": _version("torchvision"),
            "DCLS": _version("DCLS"),
        },
        "rounds": settings.rounds,
        "warmup_rounds": settings.warmup,
        "quick": quick,
    }


def _cpu_name() -> str:
    """The processor's name where the system tells it, else its architecture."""
    path = Path("/proc/cpuinfo")
    if path.is_file():
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name":
                return value.strip()
    return platform.processor() or platform.machine()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
