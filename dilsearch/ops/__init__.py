"""Convolution at real-valued dilation rates, on any device that torch has."""

from dilsearch.ops.fractional import fractional_conv2d

__all__ = ["fractional_conv2d"]
