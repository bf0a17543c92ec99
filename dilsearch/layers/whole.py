"""Which rates plain layers can have."""

from collections.abc import Iterable


def whole_rate_faults(rates: Iterable[float]) -> list[str]:
    """A sentence for each rate that no plain layer can have: none if all are whole."""
    return [
        f"rate {rate:g} is not a whole number of at least 1; project the plan first"
        for rate in dict.fromkeys(rates)
        if not float(rate).is_integer() or rate < 1
    ]
