"""The residual blocks: parameters, equivalences and refusals."""

import pytest
import torch
from torch import nn

from dilsearch.errors import ModelError
from dilsearch.layers.branch_conv import BranchConv2d
from dilsearch.models.blocks import DBlock, YBlock, split_faults, upsample


def settled(block: nn.Module) -> nn.Module:
    """The block in evaluation mode with BatchNorms that do something."""
    for module in block.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
            nn.init.normal_(module.weight)
    return block.eval()


@pytest.mark.parametrize("channels", [(32, 32), (32, 64)])
def test_d_block_at_rate_1_is_the_y_block(channels: tuple[int, int]) -> None:
    # RegSeg Fig. 4: with rates (1, 1) the D block is the Y block with the same weights.
    y_block = settled(YBlock(*channels))
    d_block = DBlock(*channels, (1, 1)).eval()
    d_block.load_state_dict(y_block.state_dict())
    x = torch.randn(2, channels[0], 9, 11)
    assert torch.equal(d_block(x), y_block(x))
    dilated = DBlock(*channels, (1, 2)).eval()
    dilated.load_state_dict(y_block.state_dict())
    assert not torch.allclose(dilated(x), y_block(x))


def test_only_the_d_block_pools_in_a_striding_shortcut() -> None:
    pooled, strided = DBlock(32, 48, stride=2).shortcut, YBlock(32, 48, stride=2).shortcut
    assert [name for name, _ in pooled.named_children()] == ["pool", "conv", "bn"]
    assert [name for name, _ in strided.named_children()] == ["conv", "bn"]
    assert pooled.conv.stride == (1, 1)
    assert strided.conv.stride == (2, 2)


@pytest.mark.parametrize("block_class", [DBlock, YBlock])
@pytest.mark.parametrize("size", [(9, 11), (8, 10), (9, 8)])
def test_odd_sizes_round_up_when_halved(block_class: type[DBlock], size: tuple[int, int]) -> None:
    block = block_class(32, 48, stride=2).eval()
    height, width = size
    expected = (1, 48, (height + 1) // 2, (width + 1) // 2)
    assert block(torch.randn(1, 32, height, width)).shape == expected


def test_the_site_is_a_plain_convolution_for_one_rate_and_split_for_more() -> None:
    assert type(DBlock(64, 64, (3,)).conv2) is nn.Conv2d
    assert DBlock(64, 64, (3,)).conv2.dilation == (3, 3)
    site = DBlock(64, 64, (1, 3, 6, 12)).conv2
    assert isinstance(site, BranchConv2d)
    assert site.rates == (1, 3, 6, 12)
    assert site.groups == 4


def test_branches_leave_names_shapes_and_initial_weights_alone() -> None:
    states = []
    for rates in [(1,), (1, 4), (1, 3, 6, 12)]:
        torch.manual_seed(0)
        states.append(DBlock(64, 64, rates).state_dict())
    for state in states[1:]:
        assert state.keys() == states[0].keys()
        assert all(torch.equal(state[name], states[0][name]) for name in state)


def test_squeeze_excite_sees_everything_and_can_be_left_out() -> None:
    x = torch.randn(1, 32, 40, 8)
    changed = x.clone()
    changed[:, :, -1] += 1
    with_se, without = settled(DBlock(32, 32)), settled(DBlock(32, 32, squeeze_excite=False))
    assert not torch.equal(with_se(x)[:, :, 0], with_se(changed)[:, :, 0])
    assert torch.equal(without(x)[:, :, 0], without(changed)[:, :, 0])


@pytest.mark.parametrize(
    ("channels", "rates", "text"),
    [
        (48, (1, 2), "2 branches cannot share 48 channels in 3 groups of 16; give a number of "),
        (40, (1,), "40 channels are not a multiple of the group width 16; change either"),
        (32, (), "it has no rates; give one for each branch"),
        (32, (1, 0), "rate 0 is not a whole number of at least 1; give whole rates"),
        (32, (1.5, 2), "rate 1.5 is not a whole number of at least 1; give whole rates"),
        (32, (True, 2), "rate True is not a whole number"),
    ],
)
def test_impossible_splits_are_refused(channels: int, rates: tuple[int, ...], text: str) -> None:
    with pytest.raises(ModelError) as caught:
        DBlock(32, channels, rates)
    assert str(caught.value).startswith(f"cannot build the block: {text}")


def test_possible_splits_have_no_faults() -> None:
    assert split_faults(48, 16, (1, 2, 3)) == []


def test_upsample_is_bilinear_without_aligned_corners() -> None:
    ramp = torch.tensor([0.0, 1.0]).reshape(1, 1, 1, 2)
    assert upsample(ramp, (1, 4)).flatten().tolist() == [0.0, 0.25, 0.75, 1.0]
