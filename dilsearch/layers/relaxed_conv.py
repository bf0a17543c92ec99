"""The convolution whose dilation is a trainable number, and its way back to plain layers."""

import warnings
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Self, TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvTransposeNd

from dilsearch.errors import PlanError, SurgeryError
from dilsearch.layers.branch_conv import BranchConv2d
from dilsearch.layers.grid import CONVOLUTIONS, ConvGrid, per_axis
from dilsearch.layers.mixed_rate_conv import MixedRateConv
from dilsearch.ops import fractional_conv1d, fractional_conv2d, fractional_conv3d
from dilsearch.sites import Granularity, PerBranch, PerChannel

Convolution: TypeAlias = nn.Conv1d | nn.Conv2d | nn.Conv3d | BranchConv2d
Rates: TypeAlias = Sequence[float] | Sequence[Sequence[float]]


class RelaxedConv(nn.Module):
    """A convolution with real-valued dilation rates: of the site, its branches or input channels.

    The common part of ``RelaxedConv1d``, ``RelaxedConv2d`` and ``RelaxedConv3d``. The output grid
    is that of the convolution it replaces, whatever the rate: ``padding`` and ``dilation`` are the
    replaced ones, and ``rate`` moves the taps around an anchor that stays. Weight and bias keep
    their names and shapes, so that checkpoints of the replaced layer load.

    Args:
        conv: The convolution to replace; its Parameters are taken over, not copied.
        granularity: How many rates, between which limits, and from where they start.
        causal: Whether the last tap of each axis stays in place, not the one at (k - 1) // 2.

    Attributes:
        rate: Parameter, float32 whatever the dtype of the weights: () per site, (B,) per branch,
            (in_channels,) per channel; with separate axes (1, axes), (B, axes) or
            (in_channels, axes).
        bound: Buffer like ``rate``: the largest rate allowed now, at first the upper limit. On it
            the slope is the left-hand one, so that a rate that rests on its bound can go back.

    Raises:
        SurgeryError: If the convolution cannot have such rates.
    """

    axes: ClassVar[int]
    weight: nn.Parameter
    bias: nn.Parameter | None
    rate: Tensor
    bound: Tensor

    def __init__(
        self, conv: Convolution, granularity: Granularity, *, causal: bool = False
    ) -> None:
        super().__init__()
        faults = relaxation_faults(conv, granularity, axes=self.axes)
        if faults:
            raise SurgeryError.from_faults("cannot relax the convolution", faults)
        self.granularity = granularity
        self.grid = ConvGrid.of(conv, causal=causal)
        self.in_channels = conv.in_channels
        self.out_channels = conv.out_channels
        self.kernel_size = self.grid.kernel_size
        self.stride = self.grid.stride
        self.dilation = self.grid.dilation
        self.groups = conv.groups
        self.weight = conv.weight  # type: ignore[assignment]
        self.bias = conv.bias  # type: ignore[assignment]
        self.train(conv.training)
        present = _present_rows(conv, rate_rows(conv, granularity))
        self.initial_rates: tuple[int, ...] | tuple[tuple[int, ...], ...] = (
            present if granularity.separate_axes else tuple(row[0] for row in present)
        )
        rate = torch.tensor(self.initial_rates, dtype=torch.float32, device=conv.weight.device)
        if granularity.initial is not None:
            rate.fill_(granularity.initial)
        is_single = granularity.kind == "site" and not granularity.separate_axes
        self.rate = nn.Parameter(rate.reshape(()) if is_single else rate)
        upper = torch.full_like(self.rate.data, float(granularity.upper))
        self.register_buffer("bound", upper, persistent=False)

    @property
    def padding(self) -> tuple[int, ...] | str:
        """Padding of the convolution replaced, as the op takes it."""
        if any(before != after for before, after in self.grid.padding):
            return "same"  # which alone pads unevenly
        return tuple(before for before, _ in self.grid.padding)

    def _settings(self) -> dict[str, Any]:
        return {
            "stride": self.stride,
            "padding": self.padding,
            "dilation": self.dilation,
            "groups": self.groups,
            "padding_mode": self.grid.padding_mode,
            "upper": self.bound,
        }

    def to_conv(self, rates: Rates) -> nn.Module:
        """The plain module with these integer rates, sharing this layer's Parameters.

        One rate for all gives the ``torch.nn`` convolution, behind modules that crop or pad where
        its own padding cannot say it. Different rates by branch give ``BranchConv2d`` where it
        can, otherwise, and by channel, ``MixedRateConv``. The output grid does not change.

        Args:
            rates: One for each row of ``rate``, or with separate axes one for each axis of each.

        Raises:
            PlanError: If there are not as many whole rates of at least 1 as the layer has.
        """
        whole = self._whole(rates)
        if len(set(whole)) == 1:
            conv = self.grid.as_module(self.weight, self.bias, whole[0], self.groups)
        elif self._splits(whole):
            conv = self._branch_conv([row[0] for row in whole])
        else:
            conv = MixedRateConv(self.grid, whole, self.weight, self.bias, self.groups)
        return conv.train(self.training)

    def _whole(self, rates: Rates) -> list[tuple[int, ...]]:
        count = len(self.initial_rates)
        if len(rates) != count:
            raise PlanError(
                f"{len(rates)} rates given where the layer has {count}; give one for each"
            )
        rows = [(row,) * self.axes if isinstance(row, int | float) else tuple(row) for row in rates]
        for rate in (rate for row in rows for rate in row):
            if not float(rate).is_integer() or rate < 1:
                raise PlanError(
                    f"rate {rate:g} is not a whole number of at least 1; project the plan first"
                )
        return [tuple(int(rate) for rate in row) for row in rows]

    def _splits(self, rates: Sequence[tuple[int, ...]]) -> bool:
        """Whether ``BranchConv2d`` can have these rates on this grid."""
        return (
            self.axes == 2
            and self.granularity.kind == "branch"
            and self.grid.padding_mode == "zeros"
            and all(k % 2 for k in self.kernel_size)
            and all(before == after for before, after in self.grid.padding)
            and all(height == width for height, width in rates)
        )

    def _branch_conv(self, rates: Sequence[int]) -> BranchConv2d:
        height, width = (before for before, _ in self.grid.padding)
        conv = BranchConv2d(
            self.in_channels,
            self.out_channels,
            (self.kernel_size[0], self.kernel_size[1]),
            rates=rates,
            stride=(self.stride[0], self.stride[1]),
            padding=(height, width),
            dilation=(self.dilation[0], self.dilation[1]),
            groups=self.groups,
            bias=self.bias is not None,
            device="meta",
        )
        conv.weight, conv.bias = self.weight, self.bias
        return conv

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        # Casting a model to bfloat16 would round 10.3 to 10.3125 and stop small steps: the rates
        # follow the device alone.
        kept = {"rate": self.rate.data, "bound": self.bound}
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        for name, before in kept.items():
            tensor = getattr(self, name)
            if tensor.dtype != torch.float32:
                exact = tensor.data.float() if before.is_meta else before.to(tensor.device)
                tensor.data = exact
        return self

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any
    ) -> None:
        key = f"{prefix}rate"
        if key not in state_dict and f"{prefix}weight" in state_dict:
            warnings.warn(
                f"the checkpoint has no '{key}': it is of a network without searchable rates, "
                "and this site keeps the rate it has",
                stacklevel=2,
            )
            state_dict[key] = self.rate.detach().clone()
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)

    def extra_repr(self) -> str:
        """Shape, granularity and limits, as ``nn.Conv2d`` would show them."""
        parts: list[Any] = [
            f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}",
            f"stride={self.stride}, padding={self.padding}, groups={self.groups}",
            f"granularity={self.granularity}",
        ]
        if self.grid.padding_mode != "zeros":
            parts.insert(2, f"padding_mode={self.grid.padding_mode}")
        return ", ".join(parts)


class RelaxedConv1d(RelaxedConv):
    """A ``nn.Conv1d`` with real-valued dilation rates.

    Args:
        conv: The convolution to replace.
        granularity: How many rates, between which limits, and from where they start.
        causal: The last tap stays in place, so that a growing rate reaches further into the past
            alone: for a convolution padded at its start, or at both ends and cropped behind.
    """

    axes = 1

    def __init__(
        self, conv: Convolution, granularity: Granularity, *, causal: bool = False
    ) -> None:
        super().__init__(conv, granularity, causal=causal)

    def forward(
        self, x: Float[Tensor, "*batch in_channels length"]
    ) -> Float[Tensor, "*batch out_channels out_length"]:
        """Convolve at the present rates."""
        settings, causal = self._settings(), self.grid.causal
        return fractional_conv1d(x, self.weight, self.bias, self.rate, causal=causal, **settings)


class RelaxedConv2d(RelaxedConv):
    """A ``nn.Conv2d``, or a ``BranchConv2d``, with real-valued dilation rates.

    Args:
        conv: The convolution to replace.
        granularity: How many rates, between which limits, and from where they start.
    """

    axes = 2

    def __init__(self, conv: Convolution, granularity: Granularity) -> None:
        super().__init__(conv, granularity)

    def forward(
        self, x: Float[Tensor, "*batch in_channels height width"]
    ) -> Float[Tensor, "*batch out_channels out_height out_width"]:
        """Convolve at the present rates."""
        return fractional_conv2d(x, self.weight, self.bias, self.rate, **self._settings())


class RelaxedConv3d(RelaxedConv):
    """A ``nn.Conv3d`` with real-valued dilation rates.

    Args:
        conv: The convolution to replace.
        granularity: How many rates, between which limits, and from where they start.
    """

    axes = 3

    def __init__(self, conv: Convolution, granularity: Granularity) -> None:
        super().__init__(conv, granularity)

    def forward(
        self, x: Float[Tensor, "*batch in_channels depth height width"]
    ) -> Float[Tensor, "*batch out_channels out_depth out_height out_width"]:
        """Convolve at the present rates."""
        return fractional_conv3d(x, self.weight, self.bias, self.rate, **self._settings())


def relaxation_faults(conv: nn.Module, granularity: Granularity, *, axes: int = 2) -> list[str]:
    """Why this convolution cannot have such rates: one sentence for each reason, none if it can."""
    known = (CONVOLUTIONS[axes], BranchConv2d) if axes == 2 else (CONVOLUTIONS[axes],)
    if not isinstance(conv, known) or isinstance(conv, _ConvTransposeNd):
        names = " or ".join(f"{kind.__name__}" for kind in known)
        return [f"it is a {type(conv).__name__}, and only {names} can be relaxed so"]
    faults = []
    if isinstance(granularity, PerBranch) and conv.groups % granularity.branches:
        faults.append(
            f"its {conv.groups} groups do not divide into {granularity.branches} branches; "
            "choose a number of branches that divides the groups"
        )
    rates = _all_rates(conv)
    if len(set(rates)) > 1 and len(rates) != rate_rows(conv, granularity):
        faults.append(
            f"it has {len(rates)} branches with different rates, and "
            f"{rate_rows(conv, granularity)} are asked for; ask for branches = {len(rates)}"
        )
    elif granularity.initial is None:
        faults += [
            f"its dilation {rate} is outside the limits {granularity.lower} to "
            f"{granularity.upper}; widen the limits or give an initial rate"
            for rate in sorted({rate for row in rates for rate in row})
            if not granularity.lower <= rate <= granularity.upper
        ]
    if not granularity.separate_axes and any(len(set(row)) > 1 for row in rates):
        between = "height and width" if axes == 2 else "axes"
        faults.append(
            f"its dilation {rates[0]} differs between {between}; "
            "give it one dilation, or ask for separate axes"
        )
    return faults


def rate_rows(conv: Convolution, granularity: Granularity) -> int:
    """How many rates the granularity gives a convolution, axes apart."""
    if isinstance(granularity, PerChannel):
        return conv.in_channels
    return granularity.branches


def present_rates(conv: Convolution, rows: int) -> tuple[int, ...]:
    """The integer rates along the first axis that a convolution has now, one for each row."""
    return tuple(row[0] for row in _present_rows(conv, rows))


def _present_rows(conv: Convolution, rows: int) -> tuple[tuple[int, ...], ...]:
    rates = _all_rates(conv)
    return rates if len(rates) == rows else (rates[0],) * rows


def _all_rates(conv: Convolution) -> tuple[tuple[int, ...], ...]:
    """The rates along each axis, for each branch or for the whole convolution."""
    if isinstance(conv, BranchConv2d):
        return tuple((rate, rate) for rate in conv.rates)
    return (per_axis(conv.dilation, len(conv.kernel_size)),)


def explicit_padding(conv: Convolution) -> tuple[int, ...]:
    """Padding in pixels before each axis, with 'same' and 'valid' worked out."""
    return tuple(before for before, _ in ConvGrid.of(conv).padding)
