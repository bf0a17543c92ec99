"""From the user's word for a device to Lightning Fabric."""

import warnings

import torch
from lightning_fabric import Fabric

from dilsearch.errors import RunError


def open_fabric(device: str = "auto", precision: str = "32-true") -> Fabric:
    """Fabric on one device.

    Args:
        device: ``"auto"`` (the GPU if there is one), ``"cpu"``, ``"cuda"``, ``"cuda:1"`` or
            ``"mps"``.
        precision: As Fabric names it: ``"32-true"`` or ``"bf16-mixed"``.

    Raises:
        RunError: If there is no such device.
    """
    kind, _, index = device.partition(":")
    if kind not in {"auto", "cpu", "cuda", "mps"} or (index and not index.isdigit()):
        raise RunError(f"device '{device}' is unknown; use auto, cpu, cuda, cuda:INDEX or mps")
    missing = {
        "cuda": not torch.cuda.is_available(),
        "mps": not torch.backends.mps.is_available(),
    }
    if missing.get(kind, False):
        raise RunError(f"device '{device}' is not available on this machine; use cpu")
    if kind == "cuda" and index and int(index) >= torch.cuda.device_count():
        raise RunError(
            f"device '{device}' does not exist: this machine has {torch.cuda.device_count()} "
            "CUDA devices, counted from 0"
        )
    devices: int | list[int] = [int(index)] if kind == "cuda" and index else 1
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Fabric's advice on loaders and precision is not ours
        fabric = Fabric(accelerator=kind, devices=devices, precision=precision)  # type: ignore[arg-type]
        fabric.launch()
    return fabric
