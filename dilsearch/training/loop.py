"""The training loop of search, retraining and control."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeAlias

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.optim import Optimizer

from dilsearch.errors import RunError
from dilsearch.training.adapters import (
    AdaptedLoss,
    LogitsLoss,
    OutputFunction,
    call_model,
    sample_count,
)
from dilsearch.training.checkpoints import Checkpoint, Row
from dilsearch.training.hooks import Hooks
from dilsearch.training.interrupts import deferred_interrupt
from dilsearch.training.schedule import PolySchedule

History: TypeAlias = list[Row]
Batches: TypeAlias = Callable[[int], Iterable[tuple[Any, Any]]]
_IOU_EVERY = 10  # steps between two looks at the training batch's mean IoU, which costs an argmax


def fit(
    model: nn.Module,
    batches: Batches,
    *,
    fabric: Fabric,
    optimizers: Sequence[Optimizer],
    loss: Callable[[Any, Any], Tensor],
    schedule: PolySchedule,
    output_fn: OutputFunction | None = None,
    hooks: Hooks | None = None,
    checkpoint: Checkpoint | None = None,
    watch: Callable[[Row], None] | None = None,
) -> History:
    """Train a model in place for ``schedule.steps`` steps, or until its hooks say it is finished.

    Args:
        model: The module to train.
        batches: From a first step to the batches (inputs, target) of that step and all after it,
            so that a resumed training sees what an uninterrupted one would have seen. Inputs that
            are a tuple or list are the model's positional arguments, a mapping its keyword
            arguments, and anything else its one argument.
        fabric: Device and precision.
        optimizers: All are stepped at every step; the schedule scales the learning rates they
            were made with.
        loss: The model's output and the target to a scalar; a
            :class:`dilsearch.training.LogitsLoss` takes outputs of many forms.
        schedule: Length and learning-rate factor.
        output_fn: From the model's output to what the loss gets; None gives it the output.
        hooks: What happens around the steps; see :class:`Hooks`.
        checkpoint: Where to keep the state; an existing one is continued.
        watch: Called with each row, for a progress display; where the target is class indices and
            the loss gets their logits, rows carry ``batch_mean_iou`` at times.

    Returns:
        One row a step: step, samples seen, loss, learning rate, and what ``hooks.after_step`` gave.

    Raises:
        RunError: If the loss stops being a finite number, or is more than one; or what
            ``LogitsLoss`` raises.
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
    if output_fn is not None:
        loss = AdaptedLoss(loss, output_fn)
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
        for step, (inputs, target) in zip(
            range(start, schedule.steps),
            batches(start) if start < schedule.steps and not finished else (),
            strict=False,
        ):
            factor = schedule.factor(step)
            _scale(optimizers, original, factor)
            hooks.before_step(step)
            inputs, target = fabric.to_device(inputs), fabric.to_device(target)
            output = call_model(wrapped, inputs)
            value = _scalar(loss(output, target))
            fabric.backward(value)
            reported = _finite(value, step)  # before the weights are moved by what is no number
            hooks.before_update()
            for optimizer in stepped:
                optimizer.step()
                optimizer.zero_grad()
            samples += sample_count(inputs) * fabric.world_size
            row: Row = {
                "step": step + 1,
                "samples": samples,
                "loss": reported,
                "learning_rate": original[0][0] * factor,
            }
            row.update(hooks.after_step())
            history.append(row)
            if watch is not None:
                look = step % _IOU_EVERY == 0
                watch({**row, **_batch_scores(loss, output, target)} if look else row)
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


def _finite(loss: Tensor, step: int) -> float:
    value = float(loss.detach())
    if not math.isfinite(value):
        raise RunError(
            f"the loss became {value} at step {step + 1}; lower the learning rate of the weights, "
            "or lengthen its warm-up"
        )
    return value


@torch.no_grad()
def _batch_scores(loss: object, output: Any, target: Any) -> dict[str, float]:
    """Mean IoU of a training batch, if its target is class indices: a sign of life, no result."""
    if isinstance(loss, AdaptedLoss | LogitsLoss):
        output = loss.taken(output, target)
    return (
        {"batch_mean_iou": _batch_mean_iou(output, target)} if _are_labelled(output, target) else {}
    )


def _are_labelled(logits: object, labels: object) -> bool:
    """Whether there are logits (batch, classes, ...) beside class indices (batch, ...)."""
    return (
        isinstance(logits, Tensor)
        and isinstance(labels, Tensor)
        and logits.ndim >= 2
        and (logits.shape[0], *logits.shape[2:]) == tuple(labels.shape)
        and not (labels.is_floating_point() or labels.is_complex())
    )


def _batch_mean_iou(logits: Tensor, labels: Tensor) -> float:
    classes = logits.shape[1]
    valid = (labels >= 0) & (labels < classes)
    truth, predicted = labels[valid].long(), logits.argmax(1)[valid]
    counts = torch.bincount(truth * classes + predicted, minlength=classes**2)
    confusion = counts.reshape(classes, classes).double()
    hit = confusion.diagonal()
    union = confusion.sum(0) + confusion.sum(1) - hit
    return float((hit[union > 0] / union[union > 0]).mean()) if bool((union > 0).any()) else 0.0
