"""Convolution modules: with searchable rates, and with different integer rates by branch."""

from dilsearch.layers.branch_conv import BranchConv2d
from dilsearch.layers.relaxed_conv import RelaxedConv2d

__all__ = ["BranchConv2d", "RelaxedConv2d"]
