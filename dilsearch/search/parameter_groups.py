"""Weights and rates as the parameter groups of one optimiser."""

import math
from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches
from typing import Any, TypeGuard

from torch import nn

from dilsearch.errors import SearchError
from dilsearch.search.rate_optimizer import rate_groups
from dilsearch.surgery.rates import relaxed_sites, weight_parameters
from dilsearch.training.optimizers import weight_groups


def param_groups(
    model: nn.Module,
    *,
    lr: float,
    rate_lr: float | Mapping[str, float] | None = None,
    weight_decay: float | None = None,
    steps: int | None = None,
) -> list[dict[str, Any]]:
    """Weights and rates of a relaxed model, each Parameter once, for an optimiser of your own.

    ``torch.optim.AdamW(param_groups(model, lr=1e-3, rate_lr=0.05))`` trains them together. The
    groups are ``"weights"``, ``"norms"`` (normalisation layers, which do not decay) and
    ``"rates of SITE"`` (which do not either: a rate has no reason to shrink), and carry these
    names. Weights that need no gradient are left out. Rates never are, so that rates frozen for a
    warm-up move once they are unfrozen. Hold the rates to their limits with
    :func:`dilsearch.clamp_after_step`.

    Args:
        model: What :func:`dilsearch.relax` returned, or a module that holds it.
        lr: Learning rate of the weights.
        rate_lr: That of the rates, in units of rate: the same for all, or by site. Adam moves a
            rate by about as much in a step. None lets it follow from the limits of each site and
            the number of steps, which is meant for Adam and AdamW.
        weight_decay: Of the weights; None leaves it to the optimiser.
        steps: Length of the training; needed where ``rate_lr`` is None.

    Returns:
        What ``torch.optim`` takes in place of Parameters.

    Raises:
        SurgeryError: If the model has no relaxed site.
        SearchError: With every fault, if a number is impossible or a site is not in the model.
    """
    sites = list(relaxed_sites(model))
    faults = [*_number_faults(lr, rate_lr, weight_decay), *_rate_faults(rate_lr, steps, sites)]
    if faults:
        raise SearchError.from_faults("cannot group the parameters", faults)
    weights = weight_groups(model, weight_parameters(model), weight_decay)
    rates = rate_groups(model, rate_lr, steps or 1)
    return [*({**group, "lr": lr} for group in weights), *_each_once(rates)]


def _number_faults(
    lr: float, rate_lr: float | Mapping[str, float] | None, weight_decay: float | None
) -> Iterator[str]:
    asked: dict[str, object] = {"lr": lr}
    if isinstance(rate_lr, Mapping):
        asked |= {f"rate_lr['{site}']": value for site, value in rate_lr.items()}
    elif rate_lr is not None:
        asked["rate_lr"] = rate_lr
    for name, value in asked.items():
        if not (_is_number(value) and value > 0):
            keep = "" if name == "lr" else ", or keep the rates with freeze_rates"
            yield f"{name} = {value!r} is no learning rate; give a number above 0{keep}"
    if weight_decay is not None and not (_is_number(weight_decay) and weight_decay >= 0):
        yield f"weight_decay = {weight_decay!r} is no weight decay; give 0, a number above, or None"


def _rate_faults(
    rate_lr: float | Mapping[str, float] | None, steps: int | None, sites: list[str]
) -> Iterator[str]:
    if isinstance(rate_lr, Mapping):
        for site in rate_lr:
            if site not in sites:
                close = get_close_matches(site, sites, n=1, cutoff=0)[0]
                yield f"rate_lr names '{site}', which is no site; the nearest name is '{close}'"
        if missing := [site for site in sites if site not in rate_lr]:
            yield f"rate_lr has nothing for {', '.join(missing)}; give every site a learning rate"
    elif rate_lr is None and (isinstance(steps, bool) or not isinstance(steps, int) or steps < 1):
        yield (
            f"without rate_lr the learning rates follow from the length of the training, and "
            f"steps = {steps!r}; give one of the two, steps as a whole number above 0"
        )


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _each_once(groups: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """The same groups without Parameters that an earlier one has: two sites may share a rate."""
    seen: set[int] = set()
    for group in groups:
        params = [rate for rate in group["params"] if id(rate) not in seen]
        seen.update(map(id, params))
        if params:
            yield {**group, "params": params}
