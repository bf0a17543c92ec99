"""What the caller of ``search_rates`` may ask for."""

import math
from collections.abc import Iterator
from numbers import Integral, Real
from typing import Any, get_args

from lightning_fabric import Fabric
from torch import nn
from torch.optim import Optimizer

from dilsearch.errors import SearchError
from dilsearch.geometry.project import Policy
from dilsearch.search.smoothing import Smoothing
from dilsearch.surgery.rates import rate_parameters, weight_parameters
from dilsearch.tracing.wrappers import unwrapped
from dilsearch.training import Checkpoint

PRECISIONS = ("32-true", "bf16-mixed")


def check_arguments(model: nn.Module, *, optimizer: Optimizer | None, **given: Any) -> None:
    """Refuse what cannot be searched with, all faults at once.

    Args:
        model: The relaxed model.
        optimizer: The caller's own for the weights, or None.
        given: The other settings of ``search_rates``, by their names.

    Raises:
        SearchError: With a line for each fault.
    """
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
            (
                "loss",
                given["loss"] is None or callable(given["loss"]),
                "a function of output and target; give one, or None for the cross-entropy of "
                "labelled pixels",
            ),
            (
                "output_fn",
                given["output_fn"] is None or callable(given["output_fn"]),
                "a function of the model's output; give one that returns what the loss gets, or "
                "None",
            ),
            (
                "batch_fn",
                given["batch_fn"] is None or callable(given["batch_fn"]),
                "a function of a batch; give one that returns (inputs, target), or None where "
                "batches are such pairs",
            ),
            (
                "learning_rate",
                optimizer is not None or _is_positive(given["learning_rate"]),
                "a positive number; give one",
            ),
            (
                "rate_learning_rate",
                given["rate_learning_rate"] is None or _is_positive(given["rate_learning_rate"]),
                "a positive number; give one, or None to let it follow from the limits",
            ),
            (
                "smoothing",
                given["smoothing"] is None or isinstance(given["smoothing"], Smoothing),
                "a Smoothing; give Smoothing(0) for none, Smoothing(WIDTH), or None for the "
                "default width",
            ),
            (
                "field_target",
                given["field_target"] == 0 or _is_positive(given["field_target"]),
                "a weight; give a positive number, or 0 for no pull",
            ),
            ("gap", given["gap"] in get_args(Policy), "enforce, report or ignore; give one"),
            ("rate_optimizer", given["rate_optimizer"] in ("adam", "sgd"), "adam or sgd; give one"),
        )
        if not allowed
    ]
    if given["rate_optimizer"] == "sgd" and given["rate_learning_rate"] is None:
        faults.append(
            "rate_optimizer = 'sgd' needs a rate_learning_rate: the one that follows from limits "
            "and budget is Adam's; give one"
        )
    faults += _optimizer_faults(model, optimizer)
    faults += _fabric_faults(given["fabric"], given["precision"], given["checkpoint"])
    if unwrapped(model) is not model:
        faults.append(
            f"the model is wrapped already (it is a {type(model).__name__}), and the search wraps "
            "it itself; give the module that relax returned"
        )
    if faults:
        raise SearchError.from_faults("search_rates", faults)


def _optimizer_faults(model: nn.Module, optimizer: Optimizer | None) -> Iterator[str]:
    if optimizer is None:
        return
    held = {id(value) for group in optimizer.param_groups for value in group["params"]}
    rates = {id(rate) for rate in rate_parameters(model)}
    if held & rates:
        yield (
            "the optimizer holds the dilation rates as well, which have an optimiser of their own; "
            "give it the other parameters only (those not in rate_parameters(model))"
        )
    if held - rates - {id(weight) for weight in weight_parameters(model)}:
        yield (
            "the optimizer holds parameters that are not the model's; make it after relax, which "
            "returns a copy, from that copy's parameters"
        )


def _fabric_faults(
    fabric: Fabric | None, precision: str, checkpoint: Checkpoint | None
) -> Iterator[str]:
    name = precision if fabric is None else fabric.strategy.precision.precision
    if name not in PRECISIONS:
        yield (
            f"precision = {name!r} cannot be searched with (the loss scaling of float16 does not "
            f"serve two optimisers); use one of {', '.join(PRECISIONS)}"
        )
    if fabric is not None and fabric.world_size > 1 and checkpoint is not None:
        yield (
            f"a checkpoint is kept on one device only, and there are {fabric.world_size}; leave "
            "the checkpoint out"
        )


def _is_count(value: object, least: int) -> bool:
    return not isinstance(value, bool) and isinstance(value, Integral) and int(value) >= least


def _is_positive(value: object) -> bool:
    return not isinstance(value, bool) and isinstance(value, Real) and 0 < float(value) < math.inf
