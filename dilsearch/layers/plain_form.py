"""The plain module that computes a convolution at given integer rates."""

from collections.abc import Sequence

from torch import nn

from dilsearch.layers.branch_conv import BranchConv2d
from dilsearch.layers.grid import CONVOLUTIONS, ConvGrid, moving
from dilsearch.layers.mixed_rate_conv import MixedRateConv
from dilsearch.layers.sharing import carry, has_bias, share
from dilsearch.layers.stand_in import sizes_of
from dilsearch.sites import Kind


def plain_form(
    source: nn.Module,
    rates: Sequence[Sequence[int]],
    *,
    kind: Kind,
    causal: bool = False,
    is_read: bool = False,
) -> nn.Module:
    """The module without rates to learn that has these, and the output grid of the source.

    One rate for all gives the ``torch.nn`` convolution. Different rates by branch give
    ``BranchConv2d`` where it can, and what neither can say gives ``MixedRateConv``. The result
    shares the source's Parameters or parametrisations under the same names, its mode, and what else
    was kept on it as plain attributes.

    Args:
        source: A convolution of ``torch.nn`` or of this package, relaxed or not.
        rates: For the site, each branch or each input channel, a whole rate for each axis.
        kind: What a row of ``rates`` stands for.
        causal: Whether the last tap of each axis stays in place, where the source does not know.
        is_read: Whether code around it reads ``dilation`` or ``padding``, which then must stay what
            they were: a ``torch.nn`` convolution of other rates has others.
    """
    grid = ConvGrid.of(source, causal=causal)
    rows = [tuple(row) for row in rates]
    conv: nn.Module
    is_one = len(set(rows)) == 1
    padding = grid.padding_word(rows[0]) if is_one else None
    if padding is not None and (rows[0] == grid.dilation or not is_read):
        conv = _convolution(grid, rows[0], padding, source)
    elif kind == "branch" and (by_branch := _branch_rates(grid, rows)):
        conv = _branch_conv(grid, by_branch, source)
    else:
        conv = MixedRateConv(grid, rows[:1] if is_one else rows, source)
    conv.training = source.training
    carry(conv, source)
    return conv


def _convolution(
    grid: ConvGrid, rates: tuple[int, ...], padding: tuple[int, ...] | str, source: nn.Module
) -> nn.Module:
    in_channels, out_channels, groups = sizes_of(source)
    conv = CONVOLUTIONS[grid.axes](
        in_channels,
        out_channels,
        grid.kernel_size,  # type: ignore[arg-type]
        stride=grid.stride,  # type: ignore[arg-type]
        padding=padding,  # type: ignore[arg-type]
        dilation=rates,  # type: ignore[arg-type]
        groups=groups,
        bias=has_bias(source),
        padding_mode=grid.padding_mode,  # type: ignore[arg-type]
        device="meta",
    )
    share(conv, source)
    return conv


def _branch_rates(grid: ConvGrid, rows: Sequence[tuple[int, ...]]) -> list[int]:
    """The rates as ``BranchConv2d`` takes them; none if it cannot have them on this grid."""
    fits = (
        grid.axes == 2
        and grid.padding_mode == "zeros"
        and all(taps % 2 for taps in grid.kernel_size)
        and all(before == after for before, after in grid.padding)
    )
    spanned = [moving(row, grid.kernel_size) for row in rows]
    if not fits or any(len(set(row)) > 1 for row in spanned):
        return []
    return [row[0] for row in spanned]


def _branch_conv(grid: ConvGrid, rates: Sequence[int], source: nn.Module) -> BranchConv2d:
    in_channels, out_channels, groups = sizes_of(source)
    conv = BranchConv2d(
        in_channels,
        out_channels,
        (grid.kernel_size[0], grid.kernel_size[1]),
        rates=rates,
        stride=(grid.stride[0], grid.stride[1]),
        padding=(grid.padding[0][0], grid.padding[1][0]),
        dilation=(grid.dilation[0], grid.dilation[1]),
        groups=groups,
        bias=has_bias(source),
        device="meta",
    )
    share(conv, source)
    return conv
