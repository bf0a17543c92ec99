"""The search as a library: any relaxed model, any loader, any loss."""

import itertools
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from hashlib import sha256
from typing import Any, Literal

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.optim import Optimizer

from dilsearch.errors import SearchError
from dilsearch.plan import DilationPlan
from dilsearch.search.arguments import check_arguments
from dilsearch.search.loop import search
from dilsearch.search.reach import out_of_reach
from dilsearch.search.smoothing import Smoothing
from dilsearch.surgery.rates import site_granularities, weight_parameters
from dilsearch.training import (
    AdaptedLoss,
    BatchFunction,
    Checkpoint,
    LogitsLoss,
    OutputFunction,
    PolySchedule,
    open_fabric,
    weight_optimizer,
)
from dilsearch.training.adapters import described
from dilsearch.training.checkpoints import Row
from dilsearch.training.loop import Batches

WARMUP_SHARE = 0.05


class SearchWarning(UserWarning):
    """A search that ended where a user would not want it to; says what to try."""


def search_rates(
    model: nn.Module,
    train_loader: Iterable[Any],
    *,
    loss: Callable[[Any, Any], Tensor] | None = None,
    output_fn: OutputFunction | None = None,
    batch_fn: BatchFunction | None = None,
    budget: int,
    learning_rate: float = 0.05,
    optimizer: Optimizer | None = None,
    rate_optimizer: Literal["adam", "sgd"] = "adam",
    rate_learning_rate: float | None = None,
    smoothing: Smoothing | None = None,
    gap: Literal["enforce", "report", "ignore"] = "enforce",
    needed_px: int | None = None,
    field_target: float = 2.0,
    patience: int | None = None,
    seed: int = 0,
    device: str | torch.device = "auto",
    precision: str = "32-true",
    fabric: Fabric | None = None,
    checkpoint: Checkpoint | None = None,
    watch: Callable[[Row], None] | None = None,
) -> DilationPlan:
    """Train weights and rates of a relaxed model together; its rates at the end are the plan.

    The model is trained in place, every module of it in training mode. Both learning rates warm up
    over the first 5 % of the steps and then decay as ``(1 - t/T)^0.9``. Round the plan with
    :func:`dilsearch.project`, make plain layers of it with :func:`dilsearch.discretize`, and train
    those from scratch. Learning rate and smoothing of the rates follow from the limits given to
    ``relax``: choose them as wide as is plausible, and no wider.

    Args:
        model: What :func:`dilsearch.relax` returned; given an example, unless ``gap`` is
            ``"ignore"`` or ``"report"`` and there is no pull towards a needed field.
        train_loader: Batches of (inputs, target), such as a ``DataLoader``, or of any form with a
            ``batch_fn``; gone through again and again until the budget is used up.
            ``drop_last=True`` spares batch normalisation a last batch of one. Inputs that are a
            tuple or list are the model's positional arguments, a mapping its keyword arguments, and
            anything else its one argument.
        loss: The model's output, as it is, and the target to a scalar; None for the cross-entropy
            of positions labelled with class indices, 255 ignored. That one finds the logits in
            what the model returns (a tensor, ``out`` or ``logits`` in a dictionary or object, the
            first of a tuple), and brings them to the size of the labels.
        output_fn: From the model's output to what the loss gets, such as
            ``lambda output: output["aux"]``.
        batch_fn: From a batch to (inputs, target), such as
            ``lambda batch: (batch["image"], batch["mask"])``.
        budget: Steps in which weights and rates train.
        learning_rate: Of the weights, trained by SGD with momentum 0.9 and weight decay 1e-4.
        optimizer: An optimiser of your own for the weights, in place of that, made after ``relax``
            (which copies the model); it must not hold the rates.
        rate_optimizer: ``"adam"``, or ``"sgd"``, which needs a ``rate_learning_rate`` and never
            ends early; for the rates.
        rate_learning_rate: Of the rates; None lets it follow from their limits and the budget.
        smoothing: How widely each step's rates are drawn around the present ones; None for the
            default, ``Smoothing(0)`` for the plain gradient.
        gap: ``"enforce"`` holds the rates to the gap bound while they are searched; with
            ``"report"`` and ``"ignore"`` only the limits hold them, and ``project`` reports.
        needed_px: Field that the task asks for, in pixels, if you know it: 2N - 1 lets every one of
            N pixels see every other. Rates are pulled towards it, and a search that ends far below
            warns.
        field_target: Weight of that pull, in units of the loss; 0 for none. See
            :class:`dilsearch.FieldTarget`.
        patience: Steps over which no rate may move for the search to end early; None for a tenth
            of the budget, 0 to use all of it.
        seed: Seed of the draws. Order and augmentation of the data are the loader's.
        device: ``"auto"``, ``"cpu"``, ``"cuda"``, ``"cuda:1"`` or ``"mps"``; where the model is
            trained and stays.
        precision: ``"32-true"`` or ``"bf16-mixed"``.
        fabric: A launched Fabric of your own, in place of device and precision; the model must not
            have been set up with it. The draws are the same on every rank; that each rank sees
            other batches is for the loader to see to.
        checkpoint: Where to keep the state, on one device; that of an interrupted search with the
            same sites, budget, optimisers and seed is continued, with the loader begun again at its
            first batch, and it is removed at the end. Give it a model at its starting rates.
        watch: Called with a row of figures after each step.

    Returns:
        The plan with the rates found, not rounded; ``read_plan(model)`` reads it from the model.

    Raises:
        SurgeryError: If the model has no relaxed site, or no field graph where the gap bound needs
            one.
        SearchError: If an argument cannot be used, the loader is empty, or there is no field graph
            where the field target needs one.
        RunError: If the loss stops being finite, the model's output or the labels are not what the
            cross-entropy takes, or there is no such device.

    Warns:
        SearchWarning: Before the search, if limits and bounds leave ``needed_px`` out of reach;
            after it, if no rate moved, the field is far below ``needed_px``, or rates gathered on a
            limit.
    """
    check_arguments(
        model,
        loss=loss,
        output_fn=output_fn,
        batch_fn=batch_fn,
        budget=budget,
        learning_rate=learning_rate,
        optimizer=optimizer,
        rate_optimizer=rate_optimizer,
        rate_learning_rate=rate_learning_rate,
        smoothing=smoothing,
        gap=gap,
        needed_px=needed_px,
        field_target=field_target,
        patience=patience,
        precision=precision,
        fabric=fabric,
        checkpoint=checkpoint,
    )
    budget = int(budget)
    weights = optimizer or weight_optimizer(
        model,
        weight_parameters(model),
        learning_rate=learning_rate,
        momentum=0.9,
        weight_decay=1e-4,
    )
    if checkpoint is not None:
        identity = _identity(model, budget, seed, type(weights).__name__, rate_optimizer)
        checkpoint = replace(checkpoint, training=f"{checkpoint.training} {identity}")
    fabric = open_fabric(str(device), precision) if fabric is None else fabric
    unreachable = out_of_reach(model, gap=gap, needed_px=needed_px)
    if unreachable is not None:
        warnings.warn(unreachable, SearchWarning, stacklevel=2)
    result = search(
        model,
        _cycled(train_loader, batch_fn),
        fabric=fabric,
        weight_optimizer=weights,
        loss=_adapted(loss, output_fn),
        schedule=PolySchedule(budget, warmup_steps=round(WARMUP_SHARE * budget)),
        rate_optimizer=rate_optimizer,
        rate_learning_rate=rate_learning_rate,
        smoothing=smoothing,
        gap=gap,
        needed_px=needed_px,
        field_target=field_target,
        patience=budget // 10 if patience is None else patience,
        seed=seed,
        checkpoint=checkpoint,
        watch=watch,
    )
    if checkpoint is not None:
        checkpoint.discard()
    for finding in result.findings:
        warnings.warn(finding, SearchWarning, stacklevel=2)
    return result.plan


def _identity(model: nn.Module, *settings: object) -> str:
    """What a state must have been left by for this search to go on from it."""
    sites = [f"{name} {what}" for name, what in site_granularities(model).items()]
    shapes = [f"{name} {tuple(value.shape)}" for name, value in model.named_parameters()]
    told = "\n".join((*map(str, settings), *sites, *shapes))
    return sha256(told.encode()).hexdigest()


def _adapted(
    loss: Callable[[Any, Any], Tensor] | None, output_fn: OutputFunction | None
) -> Callable[[Any, Any], Tensor]:
    if loss is None:
        return LogitsLoss(output_fn=output_fn)
    return loss if output_fn is None else AdaptedLoss(loss, output_fn)


def _cycled(loader: Iterable[Any], batch_fn: BatchFunction | None) -> Batches:
    def batches(start: int) -> Iterator[tuple[Any, Any]]:
        given = 0
        for epoch in itertools.count():
            count = 0
            # a DistributedSampler left to itself gives every epoch in one order
            set_epoch = getattr(getattr(loader, "sampler", None), "set_epoch", None)
            if set_epoch is not None:
                set_epoch(epoch)
            for batch in loader:
                count += 1
                yield _pair(batch, batch_fn)
            if count == 0 and epoch == 0:
                raise SearchError("search_rates: the train_loader is empty; give one with batches")
            if count == 0:
                raise SearchError(
                    f"search_rates: the train_loader ended for good after batch {given}; give a "
                    "DataLoader or a list, which can be gone through again, and not a generator"
                )
            given += count

    return batches


def _pair(batch: Any, batch_fn: BatchFunction | None) -> tuple[Any, Any]:
    """A batch as inputs and target."""
    pair = batch if batch_fn is None else batch_fn(batch)
    if isinstance(pair, tuple | list) and len(pair) == 2:
        return pair[0], pair[1]
    if batch_fn is not None:
        raise SearchError(
            f"search_rates: batch_fn made {described(pair)} of a batch, not a pair (inputs, "
            "target); return one"
        )
    raise SearchError(
        f"search_rates: a batch of the train_loader is {described(batch)}, not a pair (inputs, "
        "target); give a batch_fn that makes one of it"
    )
