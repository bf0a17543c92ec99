"""Rates brought back after every step of an optimiser."""

from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle

from dilsearch.errors import PlanError, SearchError
from dilsearch.plan import DilationPlan
from dilsearch.surgery import clamp_rates
from dilsearch.surgery.rates import rate_parameters

Gap = Literal["enforce", "ignore"]


class HeldRates:
    """Rates that are clamped after a step, or put back where no clamping can hold it.

    Under ``enforce`` a step may leave less room at a site than its lower limit, since the bound
    there follows from the rates in front. Such a step of the rates is not taken.

    Args:
        model: A relaxed model.
        gap: As for ``clamp_rates``.
    """

    def __init__(self, model: nn.Module, gap: Gap) -> None:
        self._model = model
        self._gap = gap
        self._rates = rate_parameters(model)
        self._before: list[Tensor] = []
        self.remember()

    @torch.no_grad()
    def remember(self) -> None:
        """Take the present rates, which can be held, for those to go back to."""
        self._before = [rate.detach().clone() for rate in self._rates]

    @torch.no_grad()
    def hold(self) -> DilationPlan:
        """Clamp the rates; the plan after it.

        Raises:
            SurgeryError: If a rate is not a finite number.
        """
        try:
            return clamp_rates(self._model, gap=self._gap)
        except PlanError:
            for rate, before in zip(self._rates, self._before, strict=True):
                rate.copy_(before)
            return clamp_rates(self._model, gap=self._gap)


def clamp_after_step(
    optimizer: Optimizer, model: nn.Module, *, gap: Gap = "ignore"
) -> RemovableHandle:
    """Hold the rates to what is allowed after every step of an optimiser, from now on.

    The rates are clamped at once, and then whenever the optimiser has moved them: ``clamp_rates``
    need not be called. A step that a gradient scaler skips moves nothing and clamps nothing.

    Args:
        optimizer: The optimiser that holds the rates. Where weights and rates have one each, that
            of the rates.
        model: The relaxed model.
        gap: ``"enforce"`` holds the rates to the gap bound too, ``"ignore"`` to their limits alone;
            see :func:`dilsearch.clamp_rates`.

    Returns:
        A handle whose ``remove()`` ends it.

    Raises:
        SearchError: If the optimiser holds none of the model's rates.
        SurgeryError: If the model has no relaxed site, or no field graph for the gap bound.
        PlanError: If the gap bound lies below a site's lower limit at the present rates.
    """
    if not holds_rates(optimizer, model):
        raise SearchError(
            f"the {type(optimizer).__name__} given holds none of the model's rates, so that its "
            "steps do not move them; give the optimiser that holds them, made after relax (which "
            "copies the model), for instance with param_groups(model, ...)"
        )
    clamp_rates(model, gap=gap)  # what cannot be held is told before anything is trained
    held = HeldRates(model, gap)

    def before(_optimizer: Optimizer, _args: tuple[Any, ...], _kwargs: dict[str, Any]) -> None:
        held.remember()

    def after(_optimizer: Optimizer, _args: tuple[Any, ...], _kwargs: dict[str, Any]) -> None:
        held.hold()

    return _Handles(
        optimizer.register_step_pre_hook(before), optimizer.register_step_post_hook(after)
    )


def holds_rates(optimizer: Optimizer, model: nn.Module) -> bool:
    """Whether an optimiser moves any of a relaxed model's rates."""
    held = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
    return any(id(rate) in held for rate in rate_parameters(model))


class _Handles(RemovableHandle):
    """Several hooks that are removed together."""

    def __init__(self, *handles: RemovableHandle) -> None:
        self._handles = handles

    def remove(self) -> None:
        for handle in self._handles:
            handle.remove()
