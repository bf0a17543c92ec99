"""Axes of space cut into blocks and laid out again, as einops and many repositories write it."""

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from dilsearch.analysis import Analysis

Agreed = Callable[..., Analysis]

SHAPE = (1, 4, 12, 16)


def two(m: Any, x: Tensor) -> Tensor:
    return torch.cat([m.near(x), m.far(x)], 1)


def held() -> dict[str, nn.Module]:
    return {"near": nn.Conv2d(4, 4, 3, padding=1), "far": nn.Conv2d(4, 4, 3, 1, 3, 3)}


def depth_to_space(m: Any, x: Tensor) -> Tensor:
    b, c, h, w = (y := two(m, x)).shape
    y = y.reshape(b, c // 4, 2, 2, h, w).permute(0, 1, 4, 2, 5, 3)
    return y.reshape(b, c // 4, 2 * h, 2 * w)


def repeated(m: Any, x: Tensor) -> Tensor:
    b, c, h, w = (y := m.near(x)).shape
    return y[:, :, :, None, :, None].expand(b, c, h, 2, w, 3).reshape(b, c, 2 * h, 3 * w)


def space_to_depth(m: Any, x: Tensor) -> Tensor:
    b, c, h, w = (y := m.near(x)).shape
    y = y.reshape(b, c, h // 2, 2, w // 4, 4).permute(0, 1, 3, 5, 2, 4)
    return y.reshape(b, 8 * c, h // 2, w // 4)


def block_mean(m: Any, x: Tensor) -> Tensor:
    b, c, h, w = (y := m.near(x)).shape
    return y.reshape(b, c, h // 2, 2, w // 2, 2).mean((3, 5))


def one_of_a_block(m: Any, x: Tensor) -> Tensor:
    return space_to_depth(m, x)[:, 5:6]


def there_and_back(m: Any, x: Tensor) -> Tensor:
    b, c, h, w = (y := m.far(x)).shape
    blocks = y.reshape(b, c, h // 4, 4, w // 4, 4).permute(0, 2, 4, 3, 5, 1)
    tokens = torch.relu(blocks.reshape(-1, 16, c))
    back = tokens.reshape(b, h // 4, w // 4, 4, 4, c).permute(0, 5, 1, 3, 2, 4)
    return back.reshape(b, c, h, w)


@pytest.mark.parametrize(
    ("function", "field_px", "stride_px", "size"),
    [
        (depth_to_space, (7, 7), (Fraction(1, 2), Fraction(1, 2)), (24, 32)),
        (repeated, (3, 3), (Fraction(1, 2), Fraction(1, 3)), (24, 48)),
        (space_to_depth, (4, 6), (2, 4), (6, 4)),
        (one_of_a_block, (3, 3), (2, 4), (6, 4)),
        (block_mean, (4, 4), (2, 2), (6, 8)),
        (there_and_back, (7, 7), (1, 1), (12, 16)),
    ],
)
def test_blocks_are_followed_position_by_position(
    function: Callable[[Any, Tensor], Tensor],
    field_px: tuple[int, int],
    stride_px: tuple[object, object],
    size: tuple[int, int],
    agreed: Agreed,
) -> None:
    analysis = agreed(function, SHAPE, **held())
    output = analysis.outputs[0]
    assert (output.field_px, output.stride_px, output.size) == (field_px, stride_px, size)
    assert analysis.global_context == ()


def test_a_convolution_behind_laid_out_blocks(agreed: Agreed) -> None:
    def forward(m: Any, x: Tensor) -> Tensor:
        return m.last(depth_to_space(m, x))

    analysis = agreed(forward, SHAPE, **held(), last=nn.Conv2d(2, 2, 3, padding=1))
    # two finer positions beyond the block are one coarser pixel
    assert analysis.field_px == (8, 8)


def test_patches_as_tokens(agreed: Agreed) -> None:
    def forward(m: Any, x: Tensor) -> Tensor:
        b, c, h, w = x.shape
        y = x.reshape(b, c, h // 4, 4, w // 4, 4).permute(0, 2, 4, 3, 5, 1)
        tokens = y.reshape(b, h * w // 16, 16 * c)
        return m.embed(tokens).transpose(1, 2).reshape(b, 3, h // 4, w // 4)

    analysis = agreed(forward, SHAPE, embed=nn.Linear(64, 3))
    assert (analysis.field_px, analysis.stride_px) == ((4, 4), (4, 4))


def test_a_cut_that_fits_no_block_is_global_and_named(model: Any) -> None:
    from dilsearch.analysis import analyze

    def forward(m: Any, x: Tensor) -> Tensor:
        return m.near(x).reshape(1, 4, 8, 24)  # rows of 16 into rows of 24

    found = analyze(model(forward, **held()), torch.empty(SHAPE))
    assert found.field_px is None
    assert [context.cause for context in found.global_context] == [
        "reshape in the model's own forward"
    ]
