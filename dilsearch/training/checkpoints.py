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
from torch import Tensor, nn
from torch.optim import Optimizer

from dilsearch.errors import RunError
from dilsearch.surgery.weights import write_tensors

Row = dict[str, float | int]


@dataclass(frozen=True)
class Checkpoint:
    """Where one stage of training keeps its state.

    Args:
        path: The file; its folder is made if need be.
        training: What is trained, in any words that change when it does, such as the hash of its
            plan; a file that another training left is not continued.
        every: Steps between two writes; 0 writes only on an interrupt.
    """

    path: Path
    training: str = ""
    every: int = 100

    def save(
        self,
        model: nn.Module,
        optimizers: Sequence[Optimizer],
        history: Sequence[Row],
    ) -> None:
        """Write the state after the steps in ``history``; a crash leaves the previous file.

        Raises:
            RunError: If the disk refuses.
        """
        tensors = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
        scalars: dict[str, Any] = {}
        for number, optimizer in enumerate(optimizers):
            for index, state in optimizer.state_dict()["state"].items():
                for key, value in state.items():
                    name = f"optimizer.{number}.{index}.{key}"
                    if isinstance(value, Tensor):
                        tensors[name] = value
                    elif value is not None:
                        scalars[name] = value
        tensors["random.cpu"] = torch.get_rng_state()
        if torch.cuda.is_available():
            tensors["random.cuda"] = torch.cuda.get_rng_state()
        # as a tensor: a header has a limit that long histories would reach
        tensors["history"] = torch.tensor(
            [list(row.values()) for row in history], dtype=torch.float64
        )
        columns = {name: type(value).__name__ for name, value in history[-1].items()}
        header = {
            "training": self.training,
            "columns": json.dumps(columns),
            "scalars": json.dumps(scalars),
        }
        write_tensors(self.path, tensors, header)

    def restore(self, model: nn.Module, optimizers: Sequence[Optimizer]) -> list[Row]:
        """Bring model, optimisers and random state back; the history of the steps done so far.

        An empty history if there is no checkpoint, or only that of another training.

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
            columns = json.loads(header["columns"])
        except (OSError, SafetensorError, KeyError, json.JSONDecodeError) as error:
            raise RunError(
                f"checkpoint {self.path} cannot be read ({error}); "
                "delete it to start the stage again"
            ) from None
        if header.get("training") != self.training:
            return []
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
        return _rows(tensors["history"], columns)

    def discard(self) -> None:
        """Remove the file: the stage is finished."""
        self.path.unlink(missing_ok=True)


def _rows(table: Tensor, columns: dict[str, str]) -> list[Row]:
    kinds = {"int": int, "float": float}
    return [
        {name: kinds[kind](value) for (name, kind), value in zip(columns.items(), row, strict=True)}
        for row in table.tolist()
    ]


def _under(values: dict[str, Any], prefix: str) -> dict[str, Any]:
    return {
        name.removeprefix(prefix): value
        for name, value in values.items()
        if name.startswith(prefix)
    }
