"""Losses of labelled positions: cross-entropy, and its online hard example mining form.

Positions lie along any number of axes: the pixels of images, the steps of a sequence.
"""

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
    logits: Float[Tensor, "batch classes *space"],
    label: Int[Tensor, "batch *space"],  # noqa: F821 - a shape, no product
) -> Float[Tensor, ""]:
    """Mean over the positions that are not ignored; 0 if all are."""
    total = F.cross_entropy(logits, label, ignore_index=IGNORE_INDEX, reduction="sum")
    return total / (label != IGNORE_INDEX).sum().clamp(min=1)


def ohem_cross_entropy(
    logits: Float[Tensor, "batch classes *space"],
    label: Int[Tensor, "batch *space"],  # noqa: F821 - a shape, no product
    *,
    threshold: float = 0.3,
    minimum_share: float = 1 / 16,
) -> Float[Tensor, ""]:
    """Mean over the hard positions: those above the threshold, or the hardest share of all.

    The hardest share is taken where few are above the threshold. Ignored positions have loss 0 and
    count toward the share, as in RegSeg's training code. Source: RegSeg (Gao 2022), Sec. 4.2.
    """
    losses = F.cross_entropy(logits, label, ignore_index=IGNORE_INDEX, reduction="none").flatten()
    minimum = max(int(losses.numel() * minimum_share), 1)
    hard = losses > threshold
    if int(hard.sum()) > minimum:
        return losses[hard].mean()
    return losses.topk(minimum).values.mean()
