"""Make a model's dilation rates learnable, read them, and turn it back into plain layers."""

from dilsearch.surgery.apply import apply_plan
from dilsearch.surgery.discretize import discretize
from dilsearch.surgery.output_stride import set_output_stride
from dilsearch.surgery.rates import (
    clamp_rates,
    field_graph,
    freeze_rates,
    rate_limits,
    rate_parameters,
    read_plan,
    relaxed_sites,
    unfreeze_rates,
    weight_parameters,
)
from dilsearch.surgery.relax import relax
from dilsearch.surgery.weights import load, save, saved_plan

__all__ = [
    "apply_plan",
    "clamp_rates",
    "discretize",
    "field_graph",
    "freeze_rates",
    "load",
    "rate_limits",
    "rate_parameters",
    "read_plan",
    "relax",
    "relaxed_sites",
    "save",
    "saved_plan",
    "set_output_stride",
    "unfreeze_rates",
    "weight_parameters",
]
