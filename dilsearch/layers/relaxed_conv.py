"""The convolution whose dilation is a trainable number, and its way back to plain layers."""

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dilsearch.errors import PlanError, SurgeryError
from dilsearch.layers.branch_conv import BranchConv2d
from dilsearch.ops import fractional_conv2d
from dilsearch.sites import Granularity


class RelaxedConv2d(nn.Module):
    """A 2-D convolution with one real-valued dilation rate, or one for each branch of channels.

    The output grid is that of the convolution it replaces, whatever the rate: ``padding`` and
    ``dilation`` are the replaced ones, and ``rate`` moves the taps around an anchor that stays.
    Weight and bias keep their names and shapes, so that checkpoints of the replaced layer load.

    Args:
        conv: The convolution to replace; its Parameters are taken over, not copied.
        granularity: How many rates, between which limits, and from where they start.

    Attributes:
        rate: Parameter, float32 whatever the dtype of the weights: () per site, (B,) per branch.
        bound: Buffer like ``rate``: the largest rate allowed now, at first the upper limit. On it
            the slope is the left-hand one, so that a rate that rests on its bound can go back.

    Raises:
        SurgeryError: If the convolution cannot have such rates.
    """

    rate: Tensor
    bound: Tensor

    def __init__(self, conv: nn.Conv2d | BranchConv2d, granularity: Granularity) -> None:
        super().__init__()
        faults = relaxation_faults(conv, granularity)
        if faults:
            raise SurgeryError.from_faults("cannot relax the convolution", faults)
        self.granularity = granularity
        self.in_channels = conv.in_channels
        self.out_channels = conv.out_channels
        self.kernel_size = _pair(conv.kernel_size)
        self.stride = _pair(conv.stride)
        self.dilation = _pair(conv.dilation)
        self.padding = explicit_padding(conv)
        self.groups = conv.groups
        self.weight = conv.weight
        self.bias = conv.bias
        self.train(conv.training)
        self.initial_rates = present_rates(conv, granularity.branches)
        start = granularity.initial
        values = self.initial_rates if start is None else (start,) * granularity.branches
        shape = () if granularity.kind == "site" else (granularity.branches,)
        rate = torch.tensor(values, dtype=torch.float32, device=conv.weight.device).reshape(shape)
        self.rate = nn.Parameter(rate)
        self.register_buffer(
            "bound", torch.full_like(rate, float(granularity.upper)), persistent=False
        )

    def forward(
        self, x: Float[Tensor, "batch in_channels height width"]
    ) -> Float[Tensor, "batch out_channels out_height out_width"]:
        """Convolve at the present rates."""
        return fractional_conv2d(
            x,
            self.weight,
            self.bias,
            self.rate,
            stride=self.stride,
            padding=self.padding,
            dilation=self.dilation,
            groups=self.groups,
            upper=self.bound,
        )

    def to_conv(self, rates: Sequence[float]) -> nn.Module:
        """The plain module with these integer rates, sharing this layer's Parameters.

        One rate for all branches gives ``nn.Conv2d`` (behind ``nn.ZeroPad2d`` with negative, that
        is cropping, amounts where the old padding was less than the new rate needs); different
        rates give ``BranchConv2d``. The output grid does not change.

        Raises:
            PlanError: If there is not one whole rate of at least 1 for each branch.
        """
        if len(rates) != self.granularity.branches:
            raise PlanError(
                f"{len(rates)} rates given where the layer has {self.granularity.branches}; "
                "give one for each"
            )
        for rate in rates:
            if not float(rate).is_integer() or rate < 1:
                raise PlanError(
                    f"rate {rate:g} is not a whole number of at least 1; project the plan first"
                )
        whole = tuple(int(rate) for rate in rates)
        conv = self._same_rate_conv(whole[0]) if len(set(whole)) == 1 else self._branch_conv(whole)
        return conv.train(self.training)

    def _same_rate_conv(self, rate: int) -> nn.Module:
        down, across = (
            padding + (taps - 1) // 2 * (rate - dilation)
            for padding, taps, dilation in zip(
                self.padding, self.kernel_size, self.dilation, strict=True
            )
        )
        conv = nn.Conv2d(
            self.in_channels,
            self.out_channels,
            self.kernel_size,
            stride=self.stride,
            padding=(max(down, 0), max(across, 0)),
            dilation=rate,
            groups=self.groups,
            bias=self.bias is not None,
            device="meta",
        )
        conv.weight, conv.bias = self.weight, self.bias
        if min(down, across) >= 0:
            return conv
        height, width = min(down, 0), min(across, 0)
        return nn.Sequential(nn.ZeroPad2d((width, width, height, height)), conv)

    def _branch_conv(self, rates: tuple[int, ...]) -> BranchConv2d:
        conv = BranchConv2d(
            self.in_channels,
            self.out_channels,
            self.kernel_size,
            rates=rates,
            stride=self.stride,
            padding=self.padding,
            dilation=self.dilation,
            groups=self.groups,
            bias=self.bias is not None,
            device="meta",
        )
        conv.weight, conv.bias = self.weight, self.bias
        return conv

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "RelaxedConv2d":
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
        return ", ".join(parts)


def relaxation_faults(conv: nn.Conv2d | BranchConv2d, granularity: Granularity) -> list[str]:
    """Why this convolution cannot have such rates: one sentence for each reason, none if it can."""
    faults = []
    taps = _pair(conv.kernel_size)
    branches = granularity.branches
    mode = getattr(conv, "padding_mode", "zeros")
    if any(count % 2 == 0 for count in taps):
        faults.append(
            f"its kernel is {taps[0]} x {taps[1]}, and only odd kernels can be relaxed; "
            "leave it out of the selection"
        )
    if mode != "zeros":
        faults.append(
            f"its padding mode is '{mode}', and only 'zeros' can be relaxed; "
            "leave it out of the selection"
        )
    if conv.padding == "same" and any(
        (count - 1) * dilation % 2
        for count, dilation in zip(taps, _pair(conv.dilation), strict=True)
    ):
        faults.append("its padding 'same' is uneven; give the padding as numbers")
    if conv.groups % branches:
        faults.append(
            f"its {conv.groups} groups do not divide into {branches} branches; "
            "choose a number of branches that divides the groups"
        )
    if isinstance(conv, BranchConv2d) and branches != len(conv.rates) and len(set(conv.rates)) > 1:
        faults.append(
            f"it has {len(conv.rates)} branches with different rates, and {branches} are asked "
            f"for; ask for branches = {len(conv.rates)}"
        )
    elif granularity.initial is None:
        faults += [
            f"its dilation {rate} is outside the limits {granularity.lower} to "
            f"{granularity.upper}; widen the limits or give an initial rate"
            for rate in sorted(set(_all_rates(conv)))
            if not granularity.lower <= rate <= granularity.upper
        ]
    if isinstance(conv, nn.Conv2d) and len(set(_pair(conv.dilation))) > 1:
        faults.append(
            f"its dilation {tuple(conv.dilation)} differs between height and width; "
            "give it one dilation for both"
        )
    return faults


def present_rates(conv: nn.Conv2d | BranchConv2d, branches: int) -> tuple[int, ...]:
    """The integer rates a convolution has now, one for each of ``branches``."""
    rates = _all_rates(conv)
    return rates if len(rates) == branches else (rates[0],) * branches


def explicit_padding(conv: nn.Conv2d | BranchConv2d) -> tuple[int, int]:
    """Padding in pixels for (height, width), with 'same' and 'valid' worked out."""
    if conv.padding == "valid":
        return (0, 0)
    if conv.padding == "same":
        height, width = (
            (taps - 1) * dilation // 2
            for taps, dilation in zip(_pair(conv.kernel_size), _pair(conv.dilation), strict=True)
        )
        return (height, width)
    assert not isinstance(conv.padding, str)
    return _pair(conv.padding)


def _all_rates(conv: nn.Conv2d | BranchConv2d) -> tuple[int, ...]:
    return conv.rates if isinstance(conv, BranchConv2d) else (_pair(conv.dilation)[0],)


def _pair(value: int | tuple[int, ...]) -> tuple[int, int]:
    if isinstance(value, int):
        return (value, value)
    height, width = value
    return (height, width)
