"""What a network's body is before its modules are made: blocks, widths, strides and rates."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from torch import nn

from dilsearch.errors import ModelError
from dilsearch.models.blocks import DBlock, split_faults
from dilsearch.models.rates import Rates


@dataclass(frozen=True, slots=True)
class Block:
    """One residual block of a body.

    Args:
        channels: Channels of its output.
        stride: Step in pixels.
        rates: Rate of each branch of its 3x3 convolution.
        searchable: Whether its rates may be chosen; the others stay at 1.
    """

    channels: int
    stride: int = 1
    rates: tuple[int, ...] = (1,)
    searchable: bool = False


@dataclass(frozen=True, slots=True)
class Blueprint:
    """A body, block by block.

    Args:
        name: The network's name, for messages.
        in_channels: Channels of the first block's input, that is of the stem.
        blocks: The blocks in order.
        block_class: The kind of residual block.
        group_width: Channels in each group of the 3x3 convolutions.
        squeeze_excite: Whether the blocks gate their channels by global means.
    """

    name: str
    in_channels: int
    blocks: tuple[Block, ...]
    block_class: type[DBlock] = DBlock
    group_width: int = 16
    squeeze_excite: bool = True

    @property
    def rates(self) -> Rates:
        """The rates of the searchable blocks."""
        return tuple(block.rates for block in self.blocks if block.searchable)

    @property
    def stage_ends(self) -> tuple[int, ...]:
        """Index of the last block at each resolution."""
        last = len(self.blocks) - 1
        return (
            *(i for i, (_, after) in enumerate(pairwise(self.blocks)) if after.stride > 1),
            last,
        )

    @property
    def stage_channels(self) -> tuple[int, ...]:
        """Channels of the last block at each resolution."""
        return tuple(self.blocks[index].channels for index in self.stage_ends)

    def with_rates(self, rates: Sequence[Sequence[int]]) -> "Blueprint":
        """The same body with other rates at its searchable blocks.

        Raises:
            ModelError: If there is not one list for each, or a block cannot have its rates; every
                fault is listed.
        """
        searchable = [index for index, block in enumerate(self.blocks) if block.searchable]
        if len(rates) != len(searchable):
            raise ModelError(
                f"{self.name}: rates for {len(rates)} blocks given, but it has {len(searchable)} "
                "searchable blocks; give one list of rates for each"
            )
        blocks, faults = list(self.blocks), []
        for number, (index, chosen) in enumerate(zip(searchable, rates, strict=True), start=1):
            faults += [f"block {number}: {fault}" for fault in self._faults(index, chosen)]
            if not faults:
                blocks[index] = replace(blocks[index], rates=tuple(chosen))
        if faults:
            raise ModelError.from_faults(f"{self.name}: the rates do not fit", faults)
        return replace(self, blocks=tuple(blocks))

    def _faults(self, index: int, chosen: object) -> list[str]:
        if isinstance(chosen, str) or not isinstance(chosen, Sequence):
            return [f"rates {chosen!r} are not a list; give a list such as [1, 4]"]
        return split_faults(self.blocks[index].channels, self.group_width, chosen)

    def build(self) -> nn.Sequential:
        """The blocks as modules; block K's searchable convolution is ``K.conv2``."""
        widths = [self.in_channels, *(block.channels for block in self.blocks)]
        return nn.Sequential(
            *(
                self.block_class(
                    in_channels,
                    out_channels,
                    block.rates,
                    stride=block.stride,
                    group_width=self.group_width,
                    squeeze_excite=self.squeeze_excite,
                )
                for (in_channels, out_channels), block in zip(
                    pairwise(widths), self.blocks, strict=True
                )
            )
        )
