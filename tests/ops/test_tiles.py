"""Many small tiles give what one large one does, by every way through the code."""

from typing import Any
from unittest import mock

import pytest
import torch
from torch import Tensor

from dilsearch.ops import fractional_conv1d, fractional_conv2d, fractional_conv3d, tiles

OURS = {1: fractional_conv1d, 2: fractional_conv2d, 3: fractional_conv3d}


def seeded(seed: int, *shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def run(elements: int, kernel: tuple[int, ...], rates: Any, **changed: Any) -> tuple[list, int]:
    """Output and gradients, and in how many tiles each way."""
    count, made = len(kernel), []
    tensors = [
        seeded(0, 3, 4, *(9, 7, 6)[:count]),
        seeded(1, 4, 2, *kernel),
        seeded(2, 4),
        torch.tensor(rates, dtype=torch.float64),
    ]
    tensors = [tensor.requires_grad_() for tensor in tensors]
    cut = tiles.PartWork._tiles

    def counted(work: Any) -> Any:
        found = list(cut(work))
        made.append(len(found))
        return iter(found)

    with (
        mock.patch.object(tiles, "TILE_ELEMENTS", elements),
        mock.patch.object(tiles.PartWork, "_tiles", counted),
        mock.patch.object(torch, "get_num_threads", return_value=1),  # tiles grow with it
    ):
        y = OURS[count](*tensors, **{"padding": 1, "groups": 2} | changed)
        gradients = torch.autograd.grad(y, tensors, seeded(3, *y.shape))
    return [y, *gradients], max(made)


CASES = [
    ((3, 3), 1.5, {}),
    ((3, 3), [1.5, 2.0], {}),
    ((3, 3), [1.25, 1.75], {}),
    ((3, 3), [1.25, 2.5, 0.5, 0.75], {}),
    ((3, 3), [[1.25, 2.5]], {"stride": (2, 1)}),
    ((3, 3), 1.5, {"stride": (1, 2)}),
    ((5, 3), [1.5, 2.5], {"stride": 2, "padding": 2}),
    ((1, 3), 1.5, {"padding": (0, 1)}),
    ((1, 3), 1.5, {"padding": (0, 1), "stride": (1, 2)}),
    ((1, 3), 1.5, {"padding": (1, 1)}),
    ((3, 1), 1.5, {"padding": (1, 0)}),
    ((1, 1), 1.5, {"padding": 0}),
    ((3, 3), 1.5, {"padding_mode": "replicate"}),
    ((1, 3), 1.5, {"padding_mode": "replicate"}),
    ((3, 3), 1e6, {}),
    ((3,), [1.5, 2.0], {}),
    ((4,), 1.5, {"stride": 2, "causal": True}),
    ((3, 3, 3), [1.5, 2.0], {}),
    ((1, 3, 3), 1.5, {"padding": (0, 1, 1)}),
    ((1, 1, 3), 1.5, {"padding": (0, 0, 1), "stride": (1, 1, 2)}),
    ((2, 3, 1), [1.5, 2.0, 0.5, 0.75], {"stride": (1, 2, 1)}),
]


@pytest.mark.parametrize(("kernel", "rates", "changed"), CASES, ids=str)
@pytest.mark.parametrize("elements", [1, 100, 300])
def test_many_tiles_give_what_one_gives(kernel, rates, changed, elements):
    whole, one = run(2**20, kernel, rates, **changed)
    parts, many = run(elements, kernel, rates, **changed)
    assert one == 1
    assert elements > 1 or many > 3  # else nothing was compared
    for a, b in zip(parts, whole, strict=True):
        torch.testing.assert_close(a, b)


def test_rows_are_cut_only_where_one_group_of_one_image_is_too_much():
    _, groups = run(1500, (3, 3), 1.5)
    _, rows = run(1, (3, 3), 1.5)
    assert 1 < groups <= 6 < rows  # three images of two groups


@pytest.mark.parametrize("kernel", [(1, 3), (3, 1), (3, 3)])
@pytest.mark.parametrize("stride", [1, 2])
def test_tiles_of_the_usual_size_are_cut_and_agree(kernel, stride):
    # one convolution large enough for runs of rows, at half its size in one tile
    x, weight = seeded(0, 1, 8, 96, 128).float(), seeded(1, 8, 8, *kernel).float()
    rate = torch.tensor(1.5, requires_grad=True)
    results = []
    for elements in (2**15, 2**30):
        image = x.clone().requires_grad_()
        with mock.patch.object(tiles, "TILE_ELEMENTS", elements):
            padding = (kernel[0] // 2, kernel[1] // 2)
            y = fractional_conv2d(image, weight, None, rate, padding=padding, stride=(1, stride))
            results.append([y, *torch.autograd.grad(y.square().mean(), [image, rate])])
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_sums_are_kept_in_a_type_that_is_accurate():
    for dtype in (torch.bfloat16, torch.float16):
        assert tiles.accurate_dtype(dtype) == torch.float32
    for dtype in (torch.float32, torch.float64):
        assert tiles.accurate_dtype(dtype) == dtype
