"""The training loop of search, retraining and control."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TypeAlias

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.optim import Optimizer

from dilsearch.errors import RunError
from dilsearch.training.checkpoints import Checkpoint, Row
from dilsearch.training.hooks import Hooks
from dilsearch.training.interrupts import deferred_interrupt
from dilsearch.training.losses import Loss
from dilsearch.training.schedule import PolySchedule

History: TypeAlias = list[Row]
Batches: TypeAlias = Callable[[int], Iterable[tuple[Tensor, Tensor]]]
_IOU_EVERY = 10  # steps between two looks at the training batch's mean IoU, which costs an argmax


def fit(
    model: nn.Module,
    batches: Batches,
    *,
    fabric: Fabric,
    optimizers: Sequence[Optimizer],
    loss: Loss,
    schedule: PolySchedule,
    hooks: Hooks | None = None,
    checkpoint: Checkpoint | None = None,
    watch: Callable[[Row], None] | None = None,
) -> History:
    """Train a model in place for ``schedule.steps`` steps, or until its hooks say it is finished.

    Args:
        model: The module to train.
        batches: From a first step to the batches (images, labels) of that step and all after it,
            so that a resumed training sees what an uninterrupted one would have seen.
        fabric: Device and precision.
        optimizers: All are stepped at every step; the schedule scales the learning rates they
            were made with.
        loss: Logits and labels to a scalar.
        schedule: Length and learning-rate factor.
        hooks: What happens around the steps; see :class:`Hooks`.
        checkpoint: Where to keep the state; an existing one is continued.
        watch: Called with each row, for a progress display; where labels are class indices of
            pixels, rows carry ``batch_mean_iou`` at times.

    Returns:
        One row a step: step, samples seen, loss, learning rate, and what ``hooks.after_step`` gave.

    Raises:
        RunError: If the loss stops being a finite number, or is more than one.
        KeyboardInterrupt: After the step in flight, with the checkpoint written.
    """
    original = [[float(group["lr"]) for group in opt.param_groups] for opt in optimizers]
    history = checkpoint.restore(model, optimizers) if checkpoint else []
    if checkpoint is not None and len(history) > schedule.steps:
        raise RunError(
            f"checkpoint {checkpoint.path} is {len(history)} steps into a training that is to have "
            f"{schedule.steps}; delete it, or train for longer"
        )
    hooks = hooks or Hooks()
    hooks.begin()
    model.train()
    for optimizer in optimizers:
        optimizer.zero_grad()  # a gradient left by the caller is not the first step's
    wrapped, *stepped = fabric.setup(model, *optimizers)
    samples = int(history[-1]["samples"]) if history else 0
    start = len(history)
    if history:
        _scale(optimizers, original, schedule.factor(start - 1))  # as the last step left it
    finished = bool(history) and hooks.is_finished(history)
    with _learning_rates_kept(optimizers, original), deferred_interrupt() as interrupt:
        for step, (images, labels) in zip(
            range(start, schedule.steps),
            batches(start) if start < schedule.steps and not finished else (),
            strict=False,
        ):
            factor = schedule.factor(step)
            _scale(optimizers, original, factor)
            hooks.before_step(step)
            images, labels = fabric.to_device(images), fabric.to_device(labels)
            logits = wrapped(images)
            value = _scalar(loss(logits, labels))
            fabric.backward(value)
            reported = _finite(value, step)  # before the weights are moved by what is no number
            hooks.before_update()
            for optimizer in stepped:
                optimizer.step()
                optimizer.zero_grad()
            samples += _batch_size(images) * fabric.world_size
            row: Row = {
                "step": step + 1,
                "samples": samples,
                "loss": reported,
                "learning_rate": original[0][0] * factor,
            }
            row.update(hooks.after_step())
            history.append(row)
            if watch is not None:
                looked = step % _IOU_EVERY == 0 and _is_segmentation(logits, labels)
                watch({**row, "batch_mean_iou": _batch_mean_iou(logits, labels)} if looked else row)
            due = checkpoint is not None and checkpoint.every and (step + 1) % checkpoint.every == 0
            if checkpoint is not None and (due or interrupt.requested):
                checkpoint.save(model, optimizers, history)
            if interrupt.requested:
                raise KeyboardInterrupt
            if finished := hooks.is_finished(history):
                break
    if len(history) < schedule.steps and not finished:
        raise RunError(
            f"the data ended after step {len(history)} of {schedule.steps}; give more batches"
        )
    return history


@contextmanager
def _learning_rates_kept(
    optimizers: Sequence[Optimizer], original: Sequence[Sequence[float]]
) -> Iterator[None]:
    """Leave optimisers as they were given, so that another training can take them."""
    try:
        yield
    finally:
        _scale(optimizers, original, 1.0)


def _scale(
    optimizers: Sequence[Optimizer], original: Sequence[Sequence[float]], factor: float
) -> None:
    for optimizer, rates in zip(optimizers, original, strict=True):
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate * factor


def _scalar(loss: Tensor) -> Tensor:
    if loss.numel() != 1:
        raise RunError(
            f"the loss has shape {tuple(loss.shape)} and is not one number; take its mean or sum"
        )
    return loss


def _batch_size(inputs: object) -> int:
    """Length of the first tensor in whatever the model is given; 0 where there is none."""
    if isinstance(inputs, Tensor):
        return len(inputs)
    values = inputs.values() if isinstance(inputs, Mapping) else inputs
    if isinstance(values, str) or not isinstance(values, Iterable):
        return 0
    return next((size for value in values if (size := _batch_size(value))), 0)


def _finite(loss: Tensor, step: int) -> float:
    value = float(loss.detach())
    if not math.isfinite(value):
        raise RunError(
            f"the loss became {value} at step {step + 1}; lower the learning rate of the weights, "
            "or lengthen its warm-up"
        )
    return value


def _is_segmentation(logits: object, labels: object) -> bool:
    """Whether there are logits (batch, classes, ...) beside class indices (batch, ...)."""
    return (
        isinstance(logits, Tensor)
        and isinstance(labels, Tensor)
        and logits.ndim >= 2
        and (logits.shape[0], *logits.shape[2:]) == tuple(labels.shape)
        and not (labels.is_floating_point() or labels.is_complex())
    )


@torch.no_grad()
def _batch_mean_iou(logits: Tensor, labels: Tensor) -> float:
    """Mean IoU of one training batch: a running sign of life, not a result."""
    classes = logits.shape[1]
    valid = (labels >= 0) & (labels < classes)
    truth, predicted = labels[valid].long(), logits.argmax(1)[valid]
    counts = torch.bincount(truth * classes + predicted, minlength=classes**2)
    confusion = counts.reshape(classes, classes).double()
    hit = confusion.diagonal()
    union = confusion.sum(0) + confusion.sum(1) - hit
    return float((hit[union > 0] / union[union > 0]).mean()) if bool((union > 0).any()) else 0.0
