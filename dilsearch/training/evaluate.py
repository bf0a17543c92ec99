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


@dataclass(frozen=True)
class Evaluation:
    """What one network does on one data set.

    Args:
        counts: Region name to confusion counts, rows truth, columns prediction; "all" is always
            there.
        predictions: Class indices (k, height, width) for the first k samples.
    """

    counts: Mapping[str, np.ndarray[Any, np.dtype[np.int64]]]
    predictions: np.ndarray[Any, np.dtype[np.int64]]


@torch.no_grad()
def evaluate(
    model: nn.Module,
    data: Dataset[tuple[Tensor, Tensor]],
    *,
    classes: int,
    fabric: Fabric,
    batch_size: int,
    regions: Mapping[str, Callable[[Tensor], Tensor]] | None = None,
    keep: int = 0,
) -> Evaluation:
    """Count a model's hits and misses over a data set; the model's mode is restored.

    Args:
        model: Images to logits (batch, classes, height, width).
        data: Images (3, height, width) and labels (height, width).
        classes: Number of classes.
        fabric: Device and precision.
        batch_size: Samples per batch.
        regions: Further regions to count: label (height, width) to a mask of the pixels in it.
        keep: Of how many samples, from the first, to keep the prediction.
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
        for images, labels in DataLoader(data, batch_size=batch_size):
            with fabric.autocast():
                predicted = model(fabric.to_device(images)).argmax(1)
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
