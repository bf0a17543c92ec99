"""Published dilation rates of RegSeg's 13 searchable blocks, by the name of their experiment."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import TypeAlias

from dilsearch.errors import ModelError

Rates: TypeAlias = tuple[tuple[int, ...], ...]
"""The rates of each searchable block in order, one for each of its branches."""

_RISING: Rates = ((1,), (1, 2), (1, 4), (1, 6), (1, 8), (1, 10))

PUBLISHED_RATES: Mapping[str, Rates] = MappingProxyType(
    {
        # Found by gradient descent: RegSeg (Gao 2022), Tab. 2. Field 2399 px.
        "dnas_table2": (
            (1, 1),
            (1, 2),
            (1, 2),
            (1, 3),
            (2, 3),
            (2, 7),
            (2, 3),
            (2, 6),
            (2, 5),
            (2, 9),
            (2, 11),
            (4, 7),
            (5, 14),
        ),
        # Chosen by hand: the ablation studies published with RegSeg's code. exp48 is the paper's
        # final network, field 3807 px.
        "exp30": ((1, 4),) * 5 + ((1, 10),) * 8,
        "exp43": (*_RISING, *((1, 12),) * 7),
        "exp46": (*_RISING, *((1, 10),) * 7),
        "exp47": (*_RISING, (1, 12), *((1, 14),) * 6),
        "exp48": ((1,), (1, 2), *((1, 4),) * 4, *((1, 14),) * 7),
        "exp49": ((1,), (1, 2), *((1, 4),) * 6, *((1, 6, 12, 18),) * 5),
        "exp50": (*_RISING, *((1, 3, 6, 12),) * 7),
        "exp51": (*_RISING, *((1, 4, 8, 12),) * 7),
        "exp52": ((1,), (1, 2), (1, 4), *((1, 6),) * 10),
    }
)


def published_rates(name: str) -> Rates:
    """The rates of a published experiment.

    Raises:
        ModelError: If no experiment has that name.
    """
    if name not in PUBLISHED_RATES:
        raise ModelError(
            f"rates '{name}' are not among the published {', '.join(PUBLISHED_RATES)}; "
            "use one of these, or give a list of rates for each block"
        )
    return PUBLISHED_RATES[name]
