"""Convolution at real-valued dilation rates, on any device that torch has."""

from dilsearch.ops.fractional import fractional_conv1d, fractional_conv2d, fractional_conv3d

__all__ = ["fractional_conv1d", "fractional_conv2d", "fractional_conv3d"]
