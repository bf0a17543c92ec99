"""Whole rates are told from others, one sentence each."""

import pytest

from dilsearch.layers.whole import whole_rate_faults


def test_whole_rates_have_no_fault() -> None:
    assert not whole_rate_faults([1, 2.0, 40])


@pytest.mark.parametrize("rate", [0, -1, 0.5, 2.5, float("nan"), float("inf")])
def test_others_are_named_once(rate: float) -> None:
    (fault,) = whole_rate_faults([1, rate, rate])
    assert fault.startswith(f"rate {rate:g} is not a whole number of at least 1; project")
