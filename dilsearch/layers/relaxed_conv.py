"""The convolution whose dilation is a trainable number, and its way back to plain layers."""

import warnings
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Self, TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dilsearch.errors import PlanError, SurgeryError
from dilsearch.layers.grid import ConvGrid
from dilsearch.layers.memory_format import in_format_of
from dilsearch.layers.plain_form import plain_form
from dilsearch.layers.relaxable import Convolution, present_rates, relaxation_faults
from dilsearch.layers.sharing import device_of
from dilsearch.layers.stand_in import StandIn
from dilsearch.layers.whole import whole_rate_faults
from dilsearch.ops import fractional_conv1d, fractional_conv2d, fractional_conv3d
from dilsearch.sites import Granularity

Rates: TypeAlias = Sequence[float] | Sequence[Sequence[float]]


class RelaxedConv(StandIn):
    """A convolution with real-valued dilation rates: of the site, its branches or input channels.

    The common part of ``RelaxedConv1d``, ``RelaxedConv2d`` and ``RelaxedConv3d``. The output grid
    is that of the convolution it replaces, whatever the rate: ``padding`` and ``dilation`` are the
    replaced ones, and ``rate`` moves the taps around an anchor that stays. Weight and bias keep
    their names and shapes, so that checkpoints of the replaced layer load.

    Args:
        conv: The convolution to replace; its Parameters and parametrisations are taken over, not
            copied.
        granularity: How many rates, between which limits, from where they start, and which tap
            stays in place: the one at (k - 1) // 2, or the last if it is causal.
        generator: Where rates that start anywhere between the limits are drawn from; torch's
            global one if None.
        is_read: Whether code around the convolution reads its ``dilation`` or ``padding``, so that
            the plain module, too, has to say what the convolution said.

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
    weight: Tensor
    bias: Tensor | None
    rate: Tensor
    bound: Tensor

    def __init__(
        self,
        conv: Convolution,
        granularity: Granularity,
        *,
        generator: torch.Generator | None = None,
        is_read: bool = False,
    ) -> None:
        faults = relaxation_faults(conv, granularity, axes=self.axes)
        if faults:
            raise SurgeryError.from_faults("cannot relax the convolution", faults)
        super().__init__(ConvGrid.of(conv, causal=granularity.causal), conv)
        self.granularity = granularity
        self.is_read = is_read
        self.initial_rates = present_rates(conv, granularity)
        rate = _first_rates(self.initial_rates, granularity, generator).to(device_of(conv))
        is_single = granularity.kind == "site" and not granularity.separate_axes
        self.rate = nn.Parameter(rate.reshape(()) if is_single else rate)
        self.register_buffer("bound", torch.empty_like(self.rate.data), persistent=False)
        self.reset_bound()

    def reset_bound(self) -> None:
        """Allow rates up to the upper limit again, until they are next clamped."""
        self.bound.fill_(self.granularity.upper)

    def _settings(self) -> dict[str, Any]:
        return {
            "stride": self.stride,
            "padding": self.padding,
            "dilation": self.dilation,
            "groups": self.groups,
            "padding_mode": self.padding_mode,
            "upper": self.bound,
        }

    def to_conv(self, rates: Rates) -> nn.Module:
        """The plain module with these integer rates, sharing this layer's Parameters.

        One rate for all gives the ``torch.nn`` convolution, different rates by branch give
        ``BranchConv2d`` where it can, and what neither can say gives ``MixedRateConv``: rates by
        channel, padding that differs between the ends of an axis or crops, and other rates than
        those that code around it reads. Names of weight and bias stay, and so does the output grid.

        Args:
            rates: One for each row of ``rate``, or with separate axes one for each axis of each.

        Raises:
            PlanError: If there are not as many whole rates of at least 1 as the layer has.
        """
        rows, kind = self._whole(rates), self.granularity.kind
        return plain_form(self, rows, kind=kind, is_read=self.is_read)

    def _whole(self, rates: Rates) -> list[tuple[int, ...]]:
        count = len(self.initial_rates)
        if len(rates) != count:
            raise PlanError(
                f"{len(rates)} rates given where the layer has {count}; give one for each"
            )
        rows = [self._on_every_axis(row) if isinstance(row, int | float) else row for row in rates]
        faults = whole_rate_faults(rate for row in rows for rate in row)
        if faults:
            raise PlanError.from_faults("cannot make the layer plain", faults)
        return [tuple(int(rate) for rate in row) for row in rows]

    def _on_every_axis(self, rate: float) -> tuple[float, ...]:
        """The rate of each axis; where there is a single tap, the dilation that was there."""
        axes = zip(self.kernel_size, self.dilation, strict=True)
        return tuple(rate if taps > 1 else float(dilation) for taps, dilation in axes)

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
        if kept["bound"].is_meta:  # no checkpoint has it
            self.reset_bound()
        return self

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any
    ) -> None:
        key = f"{prefix}rate"
        if key not in state_dict and _holds_weights(state_dict, prefix):
            warnings.warn(
                f"the checkpoint has no '{key}': it is of a network without searchable rates, "
                "and this site keeps the rate it has",
                stacklevel=2,
            )
            state_dict[key] = self.rate.detach().clone()
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)
        # Assigning takes the checkpoint's tensor as it is, its dtype and its device.
        self.rate.data = self.rate.data.float()
        self.bound = self.bound.new_empty(self.bound.shape, device=self.rate.device)
        self.reset_bound()  # the one that followed from the rates before no longer holds

    def extra_repr(self) -> str:
        """Shape, granularity and limits, as ``nn.Conv2d`` would show them."""
        parts: list[Any] = [
            f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}",
            f"stride={self.stride}, padding={self.padding}, groups={self.groups}",
            f"granularity={self.granularity}",
        ]
        if self.padding_mode != "zeros":
            parts.insert(2, f"padding_mode={self.padding_mode}")
        return ", ".join(parts)


class RelaxedConv1d(RelaxedConv):
    """A ``nn.Conv1d`` with real-valued dilation rates.

    A causal granularity keeps the last tap in place, so that a growing rate reaches further into
    the past alone: for a convolution padded at its start, or at both ends and cropped behind.

    Args:
        conv: The convolution to replace.
        granularity: How many rates, between which limits, and from where they start.
        generator: Where rates are drawn from, if they are.
    """

    axes = 1

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
        generator: Where rates are drawn from, if they are.
    """

    axes = 2

    def forward(
        self, x: Float[Tensor, "*batch in_channels height width"]
    ) -> Float[Tensor, "*batch out_channels out_height out_width"]:
        """Convolve at the present rates."""
        outputs = fractional_conv2d(x, self.weight, self.bias, self.rate, **self._settings())
        return in_format_of(x, outputs)


class RelaxedConv3d(RelaxedConv):
    """A ``nn.Conv3d`` with real-valued dilation rates.

    Args:
        conv: The convolution to replace.
        granularity: How many rates, between which limits, and from where they start.
        generator: Where rates are drawn from, if they are.
    """

    axes = 3

    def forward(
        self, x: Float[Tensor, "*batch in_channels depth height width"]
    ) -> Float[Tensor, "*batch out_channels out_depth out_height out_width"]:
        """Convolve at the present rates."""
        outputs = fractional_conv3d(x, self.weight, self.bias, self.rate, **self._settings())
        return in_format_of(x, outputs)


def relaxed_form(
    conv: Convolution,
    granularity: Granularity,
    *,
    generator: torch.Generator | None = None,
    is_read: bool = False,
) -> RelaxedConv:
    """The layer for a convolution of one, two or three axes.

    Args:
        conv: The convolution to replace.
        granularity: How many rates, between which limits, and from where they start.
        generator: Where rates are drawn from, if they are.
        is_read: Whether code around it reads ``dilation`` or ``padding``.

    Raises:
        SurgeryError: If the convolution cannot have such rates.
    """
    layer = _LAYERS[len(conv.kernel_size)]
    return layer(conv, granularity, generator=generator, is_read=is_read)


_LAYERS: dict[int, type[RelaxedConv]] = {1: RelaxedConv1d, 2: RelaxedConv2d, 3: RelaxedConv3d}


def _first_rates(
    present: Sequence[object], granularity: Granularity, generator: torch.Generator | None
) -> Tensor:
    """The rates to start from, in the shape of the present ones."""
    rates = torch.tensor(present, dtype=torch.float32)
    if granularity.initial is None:
        return rates
    if granularity.initial != "uniform":
        return torch.full_like(rates, granularity.initial)
    device = torch.device("cpu") if generator is None else generator.device
    drawn = torch.rand(rates.shape, generator=generator, device=device)
    return granularity.lower + (granularity.upper - granularity.lower) * drawn


def _holds_weights(state_dict: dict[str, Any], prefix: str) -> bool:
    """Whether a checkpoint has the weights of this layer, parametrised or not."""
    names = (f"{prefix}weight", f"{prefix}parametrizations.weight.")
    return any(key.startswith(names) for key in state_dict)
