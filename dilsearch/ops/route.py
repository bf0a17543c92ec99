"""In which order a fractional convolution shifts its axes and mixes its channels."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dilsearch.ops.taps import Axis


@dataclass(frozen=True, slots=True)
class Route:
    """Which axes are shifted before the channels are mixed, and which one after.

    Attributes:
        before: Axes whose copies are mixed, in the order they are shifted.
        after: The axis that is shifted and summed after the mix; None if there is none.
        still: Axes that need no shift.
    """

    before: tuple[int, ...]
    after: int | None
    still: tuple[int, ...]

    @classmethod
    def of(cls, axes: Sequence[Axis], *, per_channel: bool) -> "Route":
        """The route with the fewest copies.

        Shifts after the mix cannot tell a group's input channels apart, and would be made for
        outputs that a stride leaves out.
        """
        moving = [index for index, axis in enumerate(axes) if not axis.is_still]
        still = tuple(index for index in range(len(axes)) if index not in moving)
        last = len(axes) - 1
        commutes = not per_channel and axes[last].stride == 1
        if commutes and len(moving) > 1 and moving[-1] == last:
            return cls(tuple(moving[:-1]), last, still)
        return cls(tuple(moving), None, still)

    def as_matrix(self, weight: Tensor, groups: int) -> Tensor:
        """The weight as (group, after tap and out channel, before tap, in channel).

        Taps after the mix stand from last to first: their outputs read each other's pixels the
        other way round, and so in rising order.
        """
        split = torch.unflatten(weight, 0, (groups, -1)).permute(self._order)
        if self.after is None:
            return split.reshape(groups, split.shape[1], -1, weight.shape[1])
        turned = weight.new_empty(split.shape)
        for tap in range(split.shape[1]):
            turned[:, -1 - tap] = split[:, tap]
        return turned.view(groups, split.shape[1] * split.shape[2], -1, weight.shape[1])

    def as_weight(self, matrix: Tensor, like: Tensor) -> Tensor:
        """The inverse of ``as_matrix``, in the shape and type of a weight."""
        weight = torch.empty_like(like, memory_format=torch.contiguous_format)
        split = torch.unflatten(weight, 0, (len(matrix), -1)).permute(self._order)
        values = matrix.reshape(split.shape)
        if self.after is None:
            split.copy_(values)
        else:
            for tap in range(split.shape[1]):
                split[:, tap] = values[:, -1 - tap]
        return weight

    @property
    def _order(self) -> tuple[int, ...]:
        """Dimensions of (group, out, in, *taps) as the matrix has them."""
        after = () if self.after is None else (3 + self.after,)
        # The taps of an axis shifted later stand before those of one shifted earlier.
        before = (3 + axis for axis in reversed(self.before))
        return (0, *after, 1, *before, *(3 + axis for axis in self.still), 2)
