"""Convolution modules: with searchable rates, and with different integer rates inside one layer."""

from dilsearch.layers.branch_conv import BranchConv2d
from dilsearch.layers.grid import ConvGrid
from dilsearch.layers.mixed_rate_conv import MixedRateConv
from dilsearch.layers.plain_form import plain_form
from dilsearch.layers.relaxable import rates_of, relaxation_faults
from dilsearch.layers.relaxed_conv import (
    RelaxedConv,
    RelaxedConv1d,
    RelaxedConv2d,
    RelaxedConv3d,
    relaxed_form,
)

__all__ = [
    "BranchConv2d",
    "ConvGrid",
    "MixedRateConv",
    "RelaxedConv",
    "RelaxedConv1d",
    "RelaxedConv2d",
    "RelaxedConv3d",
    "plain_form",
    "rates_of",
    "relaxation_faults",
    "relaxed_form",
]
