"""The fractional convolution in torch operations, on any device, with its gradients by hand.

Bilinear sampling separates into the axes. For a k_h x k_w kernel the layer makes k_h copies of its
input, each shifted down or up by its tap's real distance; mixes channels once, with k_h times the
inputs and k_w times the outputs; and sums the k_w results, each shifted sideways. The
multiplications are those of a plain convolution, the shifts cheap passes over memory. Where the
channels of a group have different rates, shifting and mixing do not commute: all axes are shifted
first, which takes k_h * k_w copies and one mix. So are strided ones, whose copies are small.

What this costs beyond the multiplications is memory traffic, which tiles keep in the cache. Only
input, weight and, for the rate, one map (the slope of the last sum) are kept for the gradients; the
copies are made anew.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from dilsearch.ops.rates import Part, Rates, Selection, deal, in_runs
from dilsearch.ops.route import Route
from dilsearch.ops.taps import Axis
from dilsearch.ops.tiles import PartWork, accurate_dtype

_FEW_DOTS = 64


def convolve(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    rates: Rates,
    axes: Sequence[Axis],
    groups: int,
    route: Route,
    *,
    with_slope: bool,
) -> tuple[Tensor, Tensor | None]:
    """The outputs and, where the last axis is shifted after the mix, their slope in its rates.

    Args:
        x: Images (batch, in_channels, *pixels).
        weight: Kernels (out_channels, in_channels / groups, *taps).
        bias: One value for each output channel, or None.
        rates: The rates of all channels.
        axes: The spatial axes.
        groups: Channel groups.
        route: The order of shifts and mix.
        with_slope: Whether the slope is wanted.

    Returns:
        Outputs, and the slope or None: (batch, out_channels, *outputs), in the type of ``x``.
    """
    parts, order = in_runs(deal(rates, tuple(axes), groups=groups, in_channels=x.shape[1]), groups)
    x, weight = _reordered(x, order), _reordered(weight, order)
    maps = torch.unflatten(x, 1, (groups, -1))
    matrix = route.as_matrix(weight, groups)
    # What is returned must be no view: what comes next may change it in place.
    shape = (len(x), len(weight), *(axis.size_out for axis in axes))
    fresh = x.new_zeros if route.after is None else x.new_empty
    outputs = fresh(shape, dtype=accurate_dtype(x.dtype))
    slopes = torch.empty_like(outputs) if with_slope and route.after is not None else None
    results = [
        torch.unflatten(each, 1, (groups, -1)) for each in (outputs, slopes) if each is not None
    ]
    for part in parts:
        if part.taps is None:
            for result in results:
                result[:, part.groups] = math.nan
            continue
        own = [_select(result, part.groups, 1) for result in results]
        work = PartWork(part, route, axes, _of_maps(maps, part), _of_matrix(matrix, part))
        work.convolve(*own)
        for result, values in zip(results, own, strict=True):
            _put(result, values, part.groups, 1)
    if bias is not None:
        outputs += bias.reshape(-1, *[1] * len(axes))
    return outputs.to(x.dtype), None if slopes is None else slopes.to(x.dtype)


def gradients(
    grad: Tensor,
    x: Tensor,
    weight: Tensor,
    slope: Tensor | None,
    rates: Rates,
    axes: Sequence[Axis],
    groups: int,
    route: Route,
    *,
    needs: tuple[bool, bool, bool],
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """Gradients of the images, the weight and the rates, as far as they are needed.

    Args:
        grad: Gradient of the outputs.
        x: Images.
        weight: Kernels.
        slope: What ``convolve`` gave beside the outputs; made up for if it was not asked for one.
        rates: The rates of all channels.
        axes: The spatial axes.
        groups: Channel groups.
        route: The order of shifts and mix.
        needs: Which of the three are needed.

    Returns:
        Gradients like ``x``, in the type to add up in, and like ``weight``, and one (row, axis)
        for the rates.
    """
    needs_x, needs_weight, needs_rates = needs
    if needs_rates and slope is None and route.after is not None:
        _, slope = convolve(x, weight, None, rates, axes, groups, route, with_slope=True)
    parts, order = in_runs(deal(rates, tuple(axes), groups=groups, in_channels=x.shape[1]), groups)
    x, weight = _reordered(x, order), _reordered(weight, order)
    maps = torch.unflatten(x, 1, (groups, -1))
    signals, matrix = torch.unflatten(grad, 1, (groups, -1)), route.as_matrix(weight, groups)
    accurate = accurate_dtype(x.dtype)
    grad_x = torch.empty_like(x, dtype=accurate, memory_format=torch.contiguous_format)
    grad_maps = torch.unflatten(grad_x, 1, (groups, -1)) if needs_x or needs_rates else None
    grad_matrix = x.new_zeros(matrix.shape, dtype=accurate) if needs_weight else None
    table = x.new_zeros((len(rates.values), len(axes)), dtype=accurate) if needs_rates else None
    for part in parts:
        own_maps = None if grad_maps is None else _of_maps(grad_maps, part)
        own_matrix = None if grad_matrix is None else _of_matrix(grad_matrix, part).contiguous()
        if part.taps is None:
            for values in (own_maps, own_matrix):
                if values is not None:
                    values.fill_(math.nan)
            if table is not None:
                table[part.rows] = math.nan
        else:
            work = PartWork(part, route, axes, _of_maps(maps, part), _of_matrix(matrix, part))
            work.back(_select(signals, part.groups, 1), own_maps, own_matrix, table)
        if grad_maps is not None and own_maps is not None:
            _put_part(grad_maps, own_maps, part, 1, 2)
        if grad_matrix is not None and own_matrix is not None:
            _put_part(grad_matrix, own_matrix, part, 0, 3)
    if table is not None and slope is not None and route.after is not None:
        table[:, route.after] += _inner_products(grad, slope, len(table))
    grad_weight = None if grad_matrix is None else route.as_weight(grad_matrix, weight)
    grad_images = grad_x if needs_x else None
    return _put_in_order(grad_images, order), _put_in_order(grad_weight, order), table


def _reordered(values: Tensor, order: Tensor | None) -> Tensor:
    """Images or a weight with the input channels in this order."""
    return values if order is None else values.index_select(1, order.to(values.device))


def _put_in_order(values: Tensor | None, order: Tensor | None) -> Tensor | None:
    """The inverse of ``_reordered``."""
    if values is None or order is None:
        return values
    return torch.empty_like(values).index_copy_(1, order.to(values.device), values)


def _of_maps(maps: Tensor, part: Part) -> Tensor:
    """The part's groups and channels of maps: a view if both are runs."""
    return _select(_select(maps, part.groups, 1), part.channels, 2)


def _of_matrix(matrix: Tensor, part: Part) -> Tensor:
    """The part's groups and input channels of a matrix: a view if both are runs."""
    return _select(_select(matrix, part.groups, 0), part.channels, 3)


def _select(values: Tensor, selection: Selection, dim: int) -> Tensor:
    if isinstance(selection, slice):
        return values.narrow(dim, selection.start, selection.stop - selection.start)
    return values.index_select(dim, selection.to(values.device))


def _put_part(values: Tensor, own: Tensor, part: Part, groups: int, channels: int) -> None:
    """Write back a part's share, whose groups and channels are these dimensions."""
    if isinstance(part.groups, Tensor):  # then it has all their channels
        _put(values, own, part.groups, groups)
    else:
        _put(_select(values, part.groups, groups), own, part.channels, channels)


def _put(values: Tensor, selected: Tensor, selection: Selection, dim: int) -> None:
    """Write back what was selected, unless it is a view anyway."""
    if isinstance(selection, Tensor):
        values.index_copy_(dim, selection.to(values.device), selected)
        return
    view = _select(values, selection, dim)
    if view.data_ptr() != selected.data_ptr():
        view.copy_(selected)


def _inner_products(a: Tensor, b: Tensor, rows: int) -> Tensor:
    """Sum of products over equal runs of channels, as many as there are rows."""
    dtype = accurate_dtype(a.dtype)
    left, right = (each.reshape(len(each) * rows, -1).to(dtype) for each in (a, b))
    if len(left) > _FEW_DOTS:
        products: Tensor = torch.linalg.vecdot(left, right)
        return products.view(-1, rows).sum(0)
    # each in one pass, where `vecdot` writes the products first
    dots = [torch.dot(*pair) for pair in zip(left, right, strict=True)]
    return torch.stack(dots).view(-1, rows).sum(0) if dots else left.new_zeros(rows)
