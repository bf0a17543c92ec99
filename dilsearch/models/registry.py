"""The built-in networks by name."""

import difflib
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, Self

from torch import nn

from dilsearch.errors import ModelError
from dilsearch.models.largefov import LargeFOV, largefov_layout
from dilsearch.models.rates import Rates, published_rates
from dilsearch.models.regnety import regnety600mf_blueprint
from dilsearch.models.regseg import regseg_blueprint
from dilsearch.models.segmenter import Segmenter
from dilsearch.models.tcn import TCN, tcn_layout
from dilsearch.models.toy import Toy, toy_blueprint


class Description(Protocol):
    """What a network is before its modules are made, such as a ``Blueprint``."""

    @property
    def rates(self) -> Rates:
        """The rates of the searchable layers."""

    def with_rates(self, rates: Sequence[Sequence[int]]) -> Self:
        """The same network with other rates at its searchable layers.

        Raises:
            ModelError: If the rates do not fit; every fault is listed.
        """


@dataclass(frozen=True, slots=True)
class _Entry:
    """How a network is described from its options, and built from its description."""

    describe: Callable[..., Description]
    build: Callable[[Any, int], nn.Module]


_NETWORKS = {
    "toy": _Entry(toy_blueprint, Toy),
    "regseg": _Entry(regseg_blueprint, Segmenter),
    "regnety600mf": _Entry(regnety600mf_blueprint, Segmenter),
    "largefov": _Entry(largefov_layout, LargeFOV),
    "tcn": _Entry(tcn_layout, TCN),
}


def model_names() -> tuple[str, ...]:
    """Names that ``build_model`` knows."""
    return tuple(_NETWORKS)


def build_model(
    name: str,
    *,
    num_classes: int,
    rates: str | Sequence[Sequence[int]] | None = None,
    **options: object,
) -> nn.Module:
    """A built-in network with fresh weights; it returns class scores at the size of its input.

    Args:
        name: One of ``model_names()``.
        num_classes: How many classes it tells apart, at least 1.
        rates: For each searchable block or layer in order, the rate of each of its branches; or
            the name of published rates, a key of ``PUBLISHED_RATES``; None for the network's own.
        options: The network's own settings; ``toy`` has width, group_width and blocks.

    Raises:
        ModelError: If name, rates, options or number of classes are impossible.
    """
    description = _describe(name, options)
    if not isinstance(num_classes, int) or isinstance(num_classes, bool) or num_classes < 1:
        raise ModelError(
            f"{name}: num_classes = {num_classes!r} is not a whole number of at least 1; give one"
        )
    if rates is not None:
        chosen = published_rates(rates) if isinstance(rates, str) else rates
        description = description.with_rates(chosen)
    return _NETWORKS[name].build(description, num_classes)


def searchable_blocks(name: str, **options: object) -> int:
    """How many blocks or layers of a network may have rates of their own: the length of ``rates``.

    Raises:
        ModelError: If name or options are impossible.
    """
    return len(_describe(name, options).rates)


def _describe(name: str, options: dict[str, object]) -> Description:
    if name not in _NETWORKS:
        close = difflib.get_close_matches(name, _NETWORKS, 1)
        hint = f" (did you mean '{close[0]}'?)" if close else ""
        raise ModelError(f"no network is named '{name}'{hint}; use one of {', '.join(_NETWORKS)}")
    make = _NETWORKS[name].describe
    known = tuple(inspect.signature(make).parameters)
    for option in options:
        if option not in known:
            raise ModelError(
                f"{name}: it has no option '{option}'; "
                + (f"its options are {', '.join(known)}" if known else "it has no options")
            )
    return make(**options)
