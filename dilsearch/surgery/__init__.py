"""Make a model's dilation rates learnable, read them, and turn it back into plain layers."""

from dilsearch.surgery.discretize import discretize
from dilsearch.surgery.rates import (
    clamp_rates,
    field_graph,
    rate_parameters,
    read_plan,
    weight_parameters,
)
from dilsearch.surgery.relax import relax
from dilsearch.surgery.weights import load, save

__all__ = [
    "clamp_rates",
    "discretize",
    "field_graph",
    "load",
    "rate_parameters",
    "read_plan",
    "relax",
    "save",
    "weight_parameters",
]
