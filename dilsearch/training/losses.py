"""Pixel losses: cross-entropy, and its online hard example mining form."""

from collections.abc import Callable
from functools import partial

import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from dilsearch.data import IGNORE_INDEX

Loss = Callable[[Tensor, Tensor], Tensor]


def build_loss(name: str, *, ohem_threshold: float = 0.3) -> Loss:
    """The loss a space names: ``"cross_entropy"`` or ``"ohem"``."""
    if name == "ohem":
        return partial(ohem_cross_entropy, threshold=ohem_threshold)
    return cross_entropy


def cross_entropy(
    logits: Float[Tensor, "batch classes height width"],
    label: Int[Tensor, "batch height width"],
) -> Float[Tensor, ""]:
    """Mean over the pixels that are not ignored; 0 if all are."""
    total = F.cross_entropy(logits, label, ignore_index=IGNORE_INDEX, reduction="sum")
    return total / (label != IGNORE_INDEX).sum().clamp(min=1)


def ohem_cross_entropy(
    logits: Float[Tensor, "batch classes height width"],
    label: Int[Tensor, "batch height width"],
    *,
    threshold: float = 0.3,
    minimum_share: float = 1 / 16,
) -> Float[Tensor, ""]:
    """Mean over the hard pixels: those above the threshold, or the hardest share if they are few.

    Ignored pixels have loss 0 and count toward the share, as in RegSeg's training code.
    Source: RegSeg (Gao 2022), Sec. 4.2.
    """
    losses = F.cross_entropy(logits, label, ignore_index=IGNORE_INDEX, reduction="none").flatten()
    minimum = max(int(losses.numel() * minimum_share), 1)
    hard = losses > threshold
    if int(hard.sum()) > minimum:
        return losses[hard].mean()
    return losses.topk(minimum).values.mean()
