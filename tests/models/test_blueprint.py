"""Bodies before they are built, and their field measured by gradients."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from dilsearch.errors import ModelError
from dilsearch.models.blueprint import Block, Blueprint
from dilsearch.models.regnety import regnety600mf_blueprint
from dilsearch.models.regseg import regseg_blueprint
from dilsearch.models.toy import toy_blueprint


def test_stages_end_with_the_last_block_of_each_resolution() -> None:
    assert regseg_blueprint().stage_ends == (0, 3, 17)
    assert regseg_blueprint().stage_channels == (48, 128, 320)
    assert regnety600mf_blueprint().stage_ends == (0, 3, 14)
    assert regnety600mf_blueprint().stage_channels == (48, 112, 608)
    assert toy_blueprint().stage_ends == (4,)


def test_rates_replace_those_of_the_searchable_blocks_alone() -> None:
    before = regseg_blueprint()
    after = before.with_rates([[1, 3]] * 13)
    assert after.rates == ((1, 3),) * 13
    assert after.blocks[:5] == before.blocks[:5]
    assert before.rates != after.rates


@pytest.mark.parametrize(
    ("rates", "text"),
    [
        ([[1]] * 4, "toy: rates for 4 blocks given, but it has 5 searchable blocks; give one list"),
        ([[1]] * 4 + [[1, 2, 3]], "toy: the rates do not fit: block 5: 3 branches cannot share 32"),
        ([[1]] * 4 + [3], "toy: the rates do not fit: block 5: rates 3 are not a list; give a"),
        (["1"] + [[1]] * 4, "toy: the rates do not fit: block 1: rates '1' are not a list"),
        ([[]] + [[1]] * 4, "toy: the rates do not fit: block 1: it has no rates"),
    ],
)
def test_rates_that_do_not_fit(rates: list[object], text: str) -> None:
    with pytest.raises(ModelError) as caught:
        toy_blueprint().with_rates(rates)
    assert str(caught.value).startswith(text)


def test_all_faults_are_told_at_once() -> None:
    with pytest.raises(ModelError, match=r"(?s)2 faults:.*block 1: rate 0 .*block 3: 3 branches"):
        toy_blueprint().with_rates([[0], [1], [1, 2, 3], [1], [1]])


def measured_field(stem: nn.Module, body: nn.Module, size_px: int) -> tuple[int, int, int]:
    """Rows and columns of the input that reach the middle output, and how many of them."""
    network = nn.Sequential(stem, body).double().eval()
    for module in network.modules():
        if isinstance(module, nn.Conv2d) or hasattr(module, "rates"):
            nn.init.constant_(module.weight, 1 / module.weight[0].numel())
    image = torch.ones(1, 3, size_px, size_px, dtype=torch.float64, requires_grad=True)
    features = network(image)
    middle = features.shape[-1] // 2
    features[0, :, middle, middle].sum().backward()
    seen = image.grad.abs().sum(dim=(0, 1)) > 0
    rows, columns = seen.any(dim=1).nonzero(), seen.any(dim=0).nonzero()
    height, width = int(rows[-1] - rows[0]) + 1, int(columns[-1] - columns[0]) + 1
    return height, width, int(seen.sum())


def thin(blueprint: Blueprint, width: int) -> Blueprint:
    """The same geometry in few channels, without the global means."""
    blocks = tuple(replace(block, channels=width) for block in blueprint.blocks)
    return replace(
        blueprint,
        in_channels=width,
        blocks=blocks,
        group_width=width // 4,
        squeeze_excite=False,
    )


@pytest.mark.parametrize(
    ("blueprint", "size_px", "field_px"),
    [
        (regnety600mf_blueprint(), 511, 479),  # RegSeg Fig. 2
        (regseg_blueprint().with_rates([[1, 2]] + [[1]] * 12), 575, 63 + 32 * 14),
        (regseg_blueprint().with_rates([[1]] * 13), 511, 63 + 32 * 13),
    ],
)
def test_field_is_the_formulas_and_solid(blueprint: Blueprint, size_px: int, field_px: int) -> None:
    stem = nn.Conv2d(3, 4, 3, stride=2, padding=1, bias=False)
    height, width, seen = measured_field(stem, thin(blueprint, 4).build(), size_px)
    assert (height, width, seen) == (field_px, field_px, field_px**2)


def test_a_rate_above_the_bound_leaves_holes() -> None:
    stem = nn.Conv2d(3, 4, 3, stride=2, padding=1, bias=False)
    blueprint = Blueprint("gaps", 4, (Block(4, 2, (3,)),), group_width=4, squeeze_excite=False)
    height, _, seen = measured_field(stem, blueprint.build(), 31)
    assert seen < height**2
