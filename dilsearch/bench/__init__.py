"""What fractional convolution costs, beside the plain convolution and the other ways to do it.

``cases`` says what is measured, ``contestants`` and ``networks`` how each way does it, ``measure``
takes times and memory, ``suite`` puts them together, and ``tables`` and ``figures`` show the
``outcome``. Contestants take turns in one process on the same tensors, so that a machine that slows
down slows all of them; what counts is the ratio within a round.
"""

from dilsearch.bench.cases import (
    CONTESTANTS,
    BenchError,
    Case,
    GrowthCase,
    LayerCase,
    NetworkCase,
    all_cases,
    choose_cases,
    choose_contestants,
)

__all__ = [
    "CONTESTANTS",
    "BenchError",
    "Case",
    "GrowthCase",
    "LayerCase",
    "NetworkCase",
    "all_cases",
    "choose_cases",
    "choose_contestants",
]
