"""Stopping and going on: model, optimisers, history and random state in one safetensors file.

Nothing is pickled: tensors are stored as tensors, everything else as JSON in the file's header.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn
from torch.optim import Optimizer

from dilsearch.errors import RunError
from dilsearch.runs import write_atomically

Row = dict[str, float | int]


@dataclass(frozen=True)
class Checkpoint:
    """Where one stage of training keeps its state.

    Args:
        path: The file; its folder is made if need be.
        every: Steps between two writes; 0 writes only on an interrupt.
    """

    path: Path
    every: int = 100

    def save(
        self,
        model: nn.Module,
        optimizers: Sequence[Optimizer],
        history: Sequence[Row],
    ) -> None:
        """Write the state after the steps in ``history``; a crash leaves the previous file."""
        tensors = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
        scalars: dict[str, Any] = {}
        for number, optimizer in enumerate(optimizers):
            for index, state in optimizer.state_dict()["state"].items():
                for key, value in state.items():
                    name = f"optimizer.{number}.{index}.{key}"
                    if isinstance(value, torch.Tensor):
                        tensors[name] = value
                    elif value is not None:
                        scalars[name] = value
        tensors["random.cpu"] = torch.get_rng_state()
        if torch.cuda.is_available():
            tensors["random.cuda"] = torch.cuda.get_rng_state()
        written = {name: t.detach().cpu().contiguous().clone() for name, t in tensors.items()}
        header = {"history": json.dumps(list(history)), "scalars": json.dumps(scalars)}
        write_atomically(self.path, lambda temporary: save_file(written, temporary, header))

    def restore(self, model: nn.Module, optimizers: Sequence[Optimizer]) -> list[Row]:
        """Bring model, optimisers and random state back; the history of the steps done so far.

        An empty history if there is no checkpoint.

        Raises:
            RunError: If the file cannot be read.
        """
        if not self.path.exists():
            return []
        try:
            with safe_open(str(self.path), framework="pt") as file:
                header = file.metadata() or {}
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            scalars = json.loads(header["scalars"])
            history: list[Row] = json.loads(header["history"])
        except (OSError, SafetensorError, KeyError, json.JSONDecodeError) as error:
            raise RunError(
                f"checkpoint {self.path} cannot be read ({error}); "
                "delete it to start the stage again"
            ) from None
        model.load_state_dict(_under(tensors, "model."))
        for number, optimizer in enumerate(optimizers):
            prefix = f"optimizer.{number}."
            state: dict[int, dict[str, Any]] = {}
            for name, value in {**_under(tensors, prefix), **_under(scalars, prefix)}.items():
                index, key = name.split(".", 1)
                state.setdefault(int(index), {})[key] = value
            groups = optimizer.state_dict()["param_groups"]
            optimizer.load_state_dict({"state": state, "param_groups": groups})
        torch.set_rng_state(tensors["random.cpu"])
        if "random.cuda" in tensors and torch.cuda.is_available():
            torch.cuda.set_rng_state(tensors["random.cuda"])
        return history

    def discard(self) -> None:
        """Remove the file: the stage is finished."""
        self.path.unlink(missing_ok=True)


def _under(values: dict[str, Any], prefix: str) -> dict[str, Any]:
    return {
        name.removeprefix(prefix): value
        for name, value in values.items()
        if name.startswith(prefix)
    }
