"""Evaluation: confusion counts over a data set, by region, and a few predictions to look at."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchmetrics.classification import MulticlassConfusionMatrix

from dilsearch.data import IGNORE_INDEX
from dilsearch.errors import RunError
from dilsearch.training.adapters import OutputFunction, call_model, check_labels, logits_for


@dataclass(frozen=True)
class Evaluation:
    """What one network does on one data set.

    Args:
        counts: Region name to confusion counts, rows truth, columns prediction; "all" is always
            there.
        predictions: Class indices (k, ...) for the first k samples, of the labels' sizes.
    """

    counts: Mapping[str, np.ndarray[Any, np.dtype[np.int64]]]
    predictions: np.ndarray[Any, np.dtype[np.int64]]


@torch.no_grad()
def evaluate(
    model: nn.Module,
    data: Dataset[tuple[Any, Tensor]],
    *,
    classes: int,
    fabric: Fabric,
    batch_size: int,
    regions: Mapping[str, Callable[[Tensor], Tensor]] | None = None,
    keep: int = 0,
    output_fn: OutputFunction | None = None,
) -> Evaluation:
    """Count a model's hits and misses over a data set; the model's mode is restored.

    Args:
        model: Inputs to logits (batch, classes, ...), or to anything that holds them, which are
            brought to the size of the labels: see :func:`dilsearch.training.logits_for`.
        data: Inputs and labels, such as images (3, height, width) and class indices (height,
            width), or sequences (channels, length) and (length,). Inputs of several parts are
            passed to the model as ``fit`` passes them.
        classes: Number of classes.
        fabric: Device and precision.
        batch_size: Samples per batch.
        regions: Further regions to count: the label of one sample, of whatever rank, to a mask of
            the positions in it.
        keep: Of how many samples, from the first, to keep the prediction.
        output_fn: Takes the logits from the model's output; None looks for them.

    Raises:
        RunError: If the output holds no logits of that many classes, or the labels do not fit.
    """
    masks = {"all": lambda label: label != IGNORE_INDEX, **(regions or {})}
    matrices = {
        region: MulticlassConfusionMatrix(classes, ignore_index=IGNORE_INDEX).to(fabric.device)
        for region in masks
    }
    kept: list[Tensor] = []
    was_training = model.training
    model.eval()
    try:
        model.to(fabric.device)
        for inputs, labels in DataLoader(data, batch_size=batch_size):
            with fabric.autocast():
                output = call_model(model, fabric.to_device(inputs))
                logits = logits_for(output, labels, output_fn)
            _check(logits, labels, classes)
            predicted = logits.argmax(1)
            for region, mask in masks.items():
                inside = torch.stack([mask(label) for label in labels])
                target = torch.where(inside, labels, IGNORE_INDEX)
                matrices[region].update(predicted, fabric.to_device(target))
            if sum(map(len, kept)) < keep:
                kept.append(predicted.cpu())
    finally:
        model.train(was_training)
    stacked = torch.cat(kept)[:keep] if kept else torch.zeros(0, 0, 0)
    return Evaluation(
        counts={
            region: m.compute().cpu().numpy().astype(np.int64) for region, m in matrices.items()
        },
        predictions=stacked.numpy().astype(np.int64),
    )


def _check(logits: Tensor, labels: Tensor, classes: int) -> None:
    if logits.shape[1] != classes:
        raise RunError(
            f"evaluate: the logits have shape {tuple(logits.shape)}, which is {logits.shape[1]} "
            f"classes, and classes = {classes}; give the number that the model was made for"
        )
    check_labels(labels, classes)
