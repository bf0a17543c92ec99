"""Convolution modules: with searchable rates, and with different integer rates inside one layer."""

from dilsearch.layers.branch_conv import BranchConv2d
from dilsearch.layers.grid import ConvGrid
from dilsearch.layers.mixed_rate_conv import MixedRateConv
from dilsearch.layers.relaxed_conv import (
    RelaxedConv,
    RelaxedConv1d,
    RelaxedConv2d,
    RelaxedConv3d,
)

__all__ = [
    "BranchConv2d",
    "ConvGrid",
    "MixedRateConv",
    "RelaxedConv",
    "RelaxedConv1d",
    "RelaxedConv2d",
    "RelaxedConv3d",
]
