"""Which convolutions can have which rates, and what their rates are now."""

from typing import TypeAlias

from torch import nn
from torch.nn.modules.conv import _ConvTransposeNd

from dilsearch.layers.branch_conv import BranchConv2d
from dilsearch.layers.grid import CONVOLUTIONS, moving, per_axis
from dilsearch.layers.mixed_rate_conv import MixedRateConv
from dilsearch.layers.sharing import own_attributes
from dilsearch.sites import Granularity, PerBranch, PerChannel

Convolution: TypeAlias = nn.Conv1d | nn.Conv2d | nn.Conv3d | BranchConv2d | MixedRateConv
_TAKEN = frozenset(
    {
        *("rate", "bound", "grid", "rates", "granularity", "initial_rates", "is_read"),
        *("axes", "by_channel", "to_conv", "reset_bound"),
    }
)
"""Names that the layers with rates use, and that no attribute of a user's can have there."""
Rows: TypeAlias = tuple[tuple[int, ...], ...]
"""Rates by branch or channel, then by axis."""


def rates_of(conv: Convolution) -> Rows:
    """The rates along each axis: one row for the whole convolution, each branch or channel."""
    if isinstance(conv, BranchConv2d):
        return tuple((rate, rate) for rate in conv.rates)
    if isinstance(conv, MixedRateConv):
        return conv.rates
    return (per_axis(conv.dilation, len(conv.kernel_size)),)


def rate_rows(conv: Convolution, granularity: Granularity) -> int:
    """How many rates the granularity gives a convolution, axes apart."""
    if isinstance(granularity, PerChannel):
        return conv.in_channels
    return granularity.branches


def present_rates(conv: Convolution, granularity: Granularity) -> tuple[int, ...] | Rows:
    """The rates that a convolution has now, in the form the granularity asks for.

    An axis of a single tap has nothing to move: without separate axes the others tell the rate,
    and with them it starts within the limits.
    """
    count, taps = rate_rows(conv, granularity), conv.kernel_size
    rates = rates_of(conv)
    rows = rates if len(rates) == count else (rates[0],) * count
    if not granularity.separate_axes:
        return tuple(moving(row, taps)[0] for row in rows)
    lower, upper = granularity.lower, granularity.upper
    return tuple(
        tuple(
            rate if count > 1 else min(max(rate, lower), upper)
            for rate, count in zip(row, taps, strict=True)
        )
        for row in rows
    )


def relaxation_faults(conv: nn.Module, granularity: Granularity, *, axes: int = 2) -> list[str]:
    """Why this convolution cannot have such rates: one sentence for each reason, none if it can."""
    if not _is_known(conv, axes):
        names = f"{CONVOLUTIONS[axes].__name__}{' or BranchConv2d' if axes == 2 else ''}"
        return [f"it is a {type(conv).__name__}, and only {names} can be relaxed so"]
    assert isinstance(conv, Convolution)
    return [
        *_branch_faults(conv, granularity),
        *_rate_faults(conv, granularity),
        *_causal_faults(conv, granularity),
        *_name_faults(conv),
    ]


def _is_known(conv: nn.Module, axes: int) -> bool:
    if isinstance(conv, MixedRateConv):
        return conv.grid.axes == axes
    if isinstance(conv, BranchConv2d):
        return axes == 2
    return isinstance(conv, CONVOLUTIONS[axes]) and not isinstance(conv, _ConvTransposeNd)


def _branch_faults(conv: Convolution, granularity: Granularity) -> list[str]:
    if isinstance(granularity, PerBranch) and conv.groups % granularity.branches:
        if conv.groups == 1:
            return ["it is not grouped, and branches are groups; ask for PerSite or PerChannel"]
        return [
            f"its {conv.groups} groups do not divide into {granularity.branches} branches; "
            "choose a number of branches that divides the groups"
        ]
    return []


def _rate_faults(conv: Convolution, granularity: Granularity) -> list[str]:
    rates, rows = rates_of(conv), rate_rows(conv, granularity)
    moved = [moving(row, conv.kernel_size) for row in rates]
    faults = []
    if len(set(moved)) > 1 and len(rates) != rows:
        units, fix = "branches", f"ask for branches = {len(rates)}"
        if isinstance(conv, MixedRateConv) and conv.by_channel:
            units, fix = "channels", "ask for rates by channel"
        faults.append(
            f"it has {len(rates)} {units} with different rates, and {rows} are asked for; {fix}"
        )
    elif granularity.initial is None:
        faults += [
            f"its dilation {rate} is outside the limits {granularity.lower} to "
            f"{granularity.upper}; widen the limits or give an initial rate"
            for rate in sorted({rate for row in moved for rate in row})
            if not granularity.lower <= rate <= granularity.upper
        ]
    starts_here = granularity.initial is None and not granularity.separate_axes
    if starts_here and any(len(set(row)) > 1 for row in moved):
        between = "height and width" if len(conv.kernel_size) == 2 else "axes"
        faults.append(
            f"its dilation {rates[0]} differs between {between}; "
            "give it one dilation or an initial rate, or ask for separate axes"
        )
    return faults


def _causal_faults(conv: Convolution, granularity: Granularity) -> list[str]:
    axes = len(conv.kernel_size)
    if granularity.causal and axes != 1:
        return [f"causal = True is for one axis, time, and it has {axes}; leave causal out"]
    kept = conv.grid.causal if isinstance(conv, MixedRateConv) else granularity.causal
    if kept != granularity.causal:
        is_so = "stays" if kept else "does not stay"
        return [f"its last tap {is_so} in place while rates change; ask for causal = {kept}"]
    return []


def _name_faults(conv: Convolution) -> list[str]:
    """Plain attributes go along to the new layer, but for those whose names it uses."""
    of_user = isinstance(conv, nn.Conv1d | nn.Conv2d | nn.Conv3d)
    names = vars(conv) if of_user else own_attributes(conv)
    return [
        f"it has a plain attribute '{name}', a name that layers with rates use; rename it"
        for name in sorted(_TAKEN & names.keys())
    ]
