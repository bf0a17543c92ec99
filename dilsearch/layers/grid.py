"""The output grid of a convolution that is replaced, kept while its rates change."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor, nn

from dilsearch.ops.plain import convolve_padded
from dilsearch.ops.taps import Axis

PerAxis: TypeAlias = int | tuple[int, ...]
Convolution: TypeAlias = nn.Conv1d | nn.Conv2d | nn.Conv3d

CONVOLUTIONS: dict[int, type[Convolution]] = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}


@dataclass(frozen=True, slots=True)
class ConvGrid:
    """Where the outputs of a convolution lie, whatever the rates of its taps.

    Attributes:
        kernel_size: Taps along each axis.
        stride: Step in pixels along each axis.
        padding: Pixels before and after each axis, at ``dilation``.
        dilation: Rate along each axis that the padding is meant for.
        padding_mode: What is padded with: 'zeros', 'reflect', 'replicate' or 'circular'.
        causal: Whether the last tap of each axis stays in place, not the one at (k - 1) // 2.
    """

    kernel_size: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[tuple[int, int], ...]
    dilation: tuple[int, ...]
    padding_mode: str = "zeros"
    causal: bool = False

    @classmethod
    def of(cls, conv: nn.Module, *, causal: bool = False) -> "ConvGrid":
        """The grid of a ``torch.nn`` convolution, or of one of this package."""
        kept = getattr(conv, "grid", None)
        if isinstance(kept, ConvGrid):
            return kept
        assert isinstance(conv, nn.Conv1d | nn.Conv2d | nn.Conv3d)
        count = len(conv.kernel_size)
        kernel, dilation = per_axis(conv.kernel_size, count), per_axis(conv.dilation, count)
        if conv.padding == "same":  # as torch does it: what cannot be halved goes behind
            totals = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
            padding = tuple((total // 2, total - total // 2) for total in totals)
        elif conv.padding == "valid":
            padding = ((0, 0),) * count
        else:
            assert not isinstance(conv.padding, str)
            padding = tuple((pixels, pixels) for pixels in per_axis(conv.padding, count))
        stride = per_axis(conv.stride, count)
        return cls(kernel, stride, padding, dilation, conv.padding_mode, causal)

    @property
    def axes(self) -> int:
        """Number of spatial axes."""
        return len(self.kernel_size)

    @property
    def anchors(self) -> tuple[int, ...]:
        """Index of the tap on each axis that no rate moves."""
        return tuple(k - 1 if self.causal else (k - 1) // 2 for k in self.kernel_size)

    def padding_at(self, rates: Sequence[int]) -> tuple[tuple[int, int], ...]:
        """Padding before and after each axis that keeps the grid; negative where it crops."""
        axes = (
            Axis(1, k, s, p, d, anchor)
            for k, s, p, d, anchor in zip(
                self.kernel_size,
                self.stride,
                self.padding,
                self.dilation,
                self.anchors,
                strict=True,
            )
        )
        return tuple(axis.padding_at(rate) for axis, rate in zip(axes, rates, strict=True))

    def convolve(
        self, x: Tensor, weight: Tensor, bias: Tensor | None, rates: Sequence[int], groups: int
    ) -> Tensor:
        """A plain convolution of these rates on this grid."""
        paddings, mode = self.padding_at(rates), self.padding_mode
        return convolve_padded(x, weight, bias, rates, paddings, self.stride, groups, mode)

    def convolve_branches(
        self,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        rates: Sequence[tuple[int, ...]],
        groups: int,
    ) -> Tensor:
        """Split the channels into as many equal runs as there are rates, convolve, join."""
        if len(set(rates)) == 1:
            return self.convolve(x, weight, bias, rates[0], groups)
        count, channels = len(rates), -1 - self.axes
        biases = [None] * count if bias is None else bias.chunk(count)
        parts = zip(x.chunk(count, channels), weight.chunk(count), biases, rates, strict=True)
        return torch.cat([self.convolve(*part, groups // count) for part in parts], dim=channels)

    def convolve_channels(
        self,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        members: Sequence[tuple[tuple[int, ...], Tensor]],
        groups: int,
    ) -> Tensor:
        """Select the input channels of each rate, convolve, and sum.

        In a grouped convolution all channels stay, and the weights of the others are left out.

        Args:
            x: Images, or one.
            weight: Kernels.
            bias: One value for each output channel, or None.
            members: Each rate along the axes, with the indices of its input channels.
            groups: Channel groups.
        """
        total = None
        for rate, chosen in members:
            if groups == 1:
                images = x.index_select(-1 - self.axes, chosen)
                kernels = weight.index_select(1, chosen)
            else:
                images, kernels = x, weight * self._membership(chosen, weight, groups)
            part = self.convolve(images, kernels, bias if total is None else None, rate, groups)
            total = part if total is None else total + part
        assert total is not None
        return total

    def _membership(self, chosen: Tensor, weight: Tensor, groups: int) -> Tensor:
        """One for each kernel that reads a chosen channel, zero for the others."""
        member = weight.new_zeros(groups * weight.shape[1])
        member = member.index_fill(0, chosen, 1).view(groups, 1, -1)
        by_output = member.expand(-1, weight.shape[0] // groups, -1).flatten(0, 1)
        return by_output.reshape(*by_output.shape, *[1] * self.axes)

    def padding_word(self, rates: Sequence[int]) -> tuple[int, ...] | str | None:
        """The padding by which a ``torch.nn`` convolution of these rates has this grid.

        Returns:
            Pixels for each axis, or 'same', or None where it has no word for it: padding that
            differs between the ends of an axis, or crops.
        """
        paddings = self.padding_at(rates)
        if all(before == after >= 0 for before, after in paddings):
            return tuple(before for before, _ in paddings)
        spans = [rate * (taps - 1) for rate, taps in zip(rates, self.kernel_size, strict=True)]
        as_torch_does = tuple((span // 2, span - span // 2) for span in spans)
        return "same" if paddings == as_torch_does and set(self.stride) == {1} else None


def per_axis(value: PerAxis | Sequence[int], count: int) -> tuple[int, ...]:
    """One value for each axis."""
    return (value,) * count if isinstance(value, int) else tuple(value)


def moving(rates: Sequence[int], taps: Sequence[int]) -> tuple[int, ...]:
    """The rates of the axes that have taps to move; of all, where none has."""
    some = tuple(rate for rate, count in zip(rates, taps, strict=True) if count > 1)
    return some or tuple(rates)
