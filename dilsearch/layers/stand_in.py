"""A layer in the place of a convolution: it says of itself what the convolution said."""

from torch import nn

from dilsearch.layers.grid import ConvGrid
from dilsearch.layers.sharing import carry, share


class StandIn(nn.Module):
    """The common part of layers that take over a convolution's weights and keep its output grid.

    Code around a convolution may read its sizes, as a parent that pads ahead reads ``dilation``.
    They stay those of the convolution replaced, and so does what such code computes from them:
    the layer itself makes up for its rates.

    Args:
        grid: The output grid.
        source: The convolution whose weight, bias, mode and further attributes it takes over.

    Attributes:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        groups: Channel groups.
        grid: As given.
        kernel_size: Taps along each axis.
        stride: Step in pixels along each axis.
        dilation: Of the convolution replaced, along each axis.
        padding: Of the convolution replaced: pixels along each axis, or 'same' where uneven.
        padding_mode: What is padded with.
        transposed: False, as of every convolution that can be replaced.
        output_padding: Zeros, likewise.
    """

    def __init__(self, grid: ConvGrid, source: nn.Module) -> None:
        super().__init__()
        self.in_channels, self.out_channels, self.groups = sizes_of(source)
        self.grid = grid
        self.kernel_size = grid.kernel_size
        self.stride = grid.stride
        self.dilation = grid.dilation
        padding = grid.padding_word(grid.dilation)
        assert padding is not None  # it was a convolution's
        self.padding = padding
        self.padding_mode = grid.padding_mode
        self.transposed = False
        self.output_padding = (0,) * grid.axes
        self.training = source.training
        share(self, source)
        carry(self, source)


def sizes_of(source: nn.Module) -> tuple[int, int, int]:
    """Input channels, output channels and groups of a convolution."""
    sizes = (source.in_channels, source.out_channels, source.groups)
    assert all(isinstance(size, int) for size in sizes)
    return sizes  # type: ignore[return-value]
