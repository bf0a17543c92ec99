"""The search as a library: any relaxed model, any loader, any loss."""

import math
import warnings
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Literal, get_args

from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.optim import Optimizer

from dilsearch.errors import SearchError
from dilsearch.geometry.project import Policy
from dilsearch.plan import DilationPlan
from dilsearch.search.loop import search
from dilsearch.search.smoothing import Smoothing
from dilsearch.surgery.rates import rate_parameters, weight_parameters
from dilsearch.training import Checkpoint, PolySchedule, build_loss, open_fabric, weight_optimizer
from dilsearch.training.checkpoints import Row
from dilsearch.training.loop import Batches

WARMUP_SHARE = 0.05


class SearchWarning(UserWarning):
    """A search that ended where a user would not want it to; says what to try."""


def search_rates(
    model: nn.Module,
    train_loader: Iterable[tuple[Tensor, Tensor]],
    *,
    loss: Callable[[Any, Any], Tensor] | None = None,
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
    device: str = "auto",
    precision: str = "32-true",
    fabric: Fabric | None = None,
    checkpoint: Checkpoint | None = None,
    watch: Callable[[Row], None] | None = None,
) -> DilationPlan:
    """Train weights and rates of a relaxed model together; its rates at the end are the plan.

    The model is trained in place. Both learning rates warm up over the first 5 % of the steps and
    then decay as ``(1 - t/T)^0.9``. Round the plan with :func:`dilsearch.project`, make plain
    layers of it with :func:`dilsearch.discretize`, and train those from scratch.

    Args:
        model: What :func:`dilsearch.relax` returned; given an example, unless ``gap`` is
            ``"ignore"`` or ``"report"`` and there is no pull towards a needed field.
        train_loader: Batches of (input, target), such as a ``DataLoader``; gone through again and
            again until the budget is used up.
        loss: The model's output and the target to a scalar; None for the cross-entropy of pixels
            labelled with class indices, 255 ignored.
        budget: Steps in which weights and rates train.
        learning_rate: Of the weights, trained by SGD with momentum 0.9 and weight decay 1e-4.
        optimizer: An optimiser of your own for the weights, in place of that; it must not hold the
            rates.
        rate_optimizer: ``"adam"`` or ``"sgd"``, for the rates.
        rate_learning_rate: Of the rates; None lets it follow from their limits and the budget.
        smoothing: How widely each step's rates are drawn around the present ones; None for the
            default, ``Smoothing(0)`` for the plain gradient.
        gap: ``"enforce"`` holds the rates to the gap bound while they are searched.
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
        fabric: A launched Fabric of your own, in place of device and precision. The draws are the
            same on every rank; that each rank sees other batches is for the loader to see to.
        checkpoint: Where to keep the state; an existing one is continued, with the loader begun
            again at its first batch. Give it a model at its starting rates.
        watch: Called with a row of figures after each step.

    Returns:
        The plan with the rates found, not rounded.

    Raises:
        SurgeryError: If the model has no relaxed site, or no field graph where the gap bound needs
            one.
        SearchError: If an argument cannot be used, the loader is empty, or there is no field graph
            where the field target needs one.
        RunError: If the loss stops being finite, or there is no such device.

    Warns:
        SearchWarning: If no rate moved, the field is far below ``needed_px``, or rates gathered on
            a limit.
    """
    _check(
        model,
        budget=budget,
        learning_rate=learning_rate,
        optimizer=optimizer,
        rate_optimizer=rate_optimizer,
        rate_learning_rate=rate_learning_rate,
        gap=gap,
        needed_px=needed_px,
        field_target=field_target,
        patience=patience,
    )
    weights = optimizer or weight_optimizer(
        model,
        weight_parameters(model),
        learning_rate=learning_rate,
        momentum=0.9,
        weight_decay=1e-4,
    )
    result = search(
        model,
        _cycled(train_loader),
        fabric=fabric or open_fabric(device, precision),
        weight_optimizer=weights,
        loss=loss or build_loss("cross_entropy"),
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
    for finding in result.findings:
        warnings.warn(finding, SearchWarning, stacklevel=2)
    return result.plan


def _check(model: nn.Module, *, optimizer: Optimizer | None, **given: Any) -> None:
    """Refuse what cannot be searched with, all faults at once."""
    faults = [
        f"{name} = {given[name]!r} is not {rule}"
        for name, allowed, rule in (
            (
                "budget",
                _is_count(given["budget"], 1),
                "a number of steps; give a whole one above 0",
            ),
            (
                "patience",
                given["patience"] is None or _is_count(given["patience"], 0),
                "a number of steps; give a whole one, or 0 to use the whole budget",
            ),
            (
                "needed_px",
                given["needed_px"] is None or _is_count(given["needed_px"], 1),
                "a field in whole pixels; give one above 0, or None if it is unknown",
            ),
            ("learning_rate", 0 < given["learning_rate"] < math.inf, "a positive number; give one"),
            (
                "rate_learning_rate",
                given["rate_learning_rate"] is None or 0 < given["rate_learning_rate"] < math.inf,
                "a positive number; give one, or None to let it follow from the limits",
            ),
            (
                "field_target",
                0 <= given["field_target"] < math.inf,
                "a weight; give a positive number, or 0 for no pull",
            ),
            ("gap", given["gap"] in get_args(Policy), "enforce, report or ignore; give one"),
            ("rate_optimizer", given["rate_optimizer"] in ("adam", "sgd"), "adam or sgd; give one"),
        )
        if not allowed
    ]
    rates = {id(rate) for rate in rate_parameters(model)}
    if optimizer is not None and any(
        id(parameter) in rates for group in optimizer.param_groups for parameter in group["params"]
    ):
        faults.append(
            "the optimizer holds the dilation rates as well, which have an optimiser of their own; "
            "give it the other parameters only (those not in rate_parameters(model))"
        )
    if faults:
        raise SearchError.from_faults("search_rates", faults)


def _is_count(value: object, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _cycled(loader: Iterable[tuple[Tensor, Tensor]]) -> Batches:
    def batches(start: int) -> Iterator[tuple[Tensor, Tensor]]:
        while True:
            count = 0
            for batch in loader:
                count += 1
                yield batch
            if count == 0:
                raise SearchError(
                    "search_rates: the train_loader gives no batch (any more); give a DataLoader "
                    "or a list, which can be gone through again, and not a generator"
                )

    return batches
