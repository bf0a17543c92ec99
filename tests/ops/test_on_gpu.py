"""The path to the kernels, on a GPU or by Triton's interpreter: tables, limits and sequences."""

import importlib
import os
from unittest import mock

import pytest
import torch
from torch import Tensor

from dilsearch.ops import on_gpu
from dilsearch.ops.taps import Axis
from dilsearch.oracle import fractional_conv1d_oracle, fractional_conv2d_oracle

pytest.importorskip("triton")

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"

if DEVICE == "cpu":  # Triton decides when functions are decorated: on import
    with mock.patch.dict(os.environ, TRITON_INTERPRET="1"):
        importlib.import_module("dilsearch.ops.triton_kernels")


@pytest.mark.parametrize(
    ("count", "rates", "upper"),
    [
        (1, [1.5, 2.25], [1.5, 9.0]),
        (1, [[1.0], [1.5], [2.5], [0.5]], None),
        (2, 2.0, 2.0),
        (2, [1.0, 1.5, 2.5, 0.5], None),
        (2, [[1.25, 2.5], [2.0, 1.0]], [[9.0, 2.5], [2.0, 9.0]]),
    ],
)
def test_tables_of_every_shape_reach_the_kernels(
    count: int, rates: float | list[float], upper: float | list[float] | None
) -> None:
    rate = torch.tensor(rates)
    generator = torch.Generator().manual_seed(0)
    sizes = (3, 4)[-count:]
    x = torch.randn(1, 4, *sizes, generator=generator)
    weight = torch.randn(4, 2, *(3, 3)[-count:], generator=generator)
    axes = [Axis(size, 3, 1, (1, 1), 1, 1) for size in sizes]
    table = rate if rate.dim() == 2 else rate.reshape(-1, 1)
    limits = None if upper is None else torch.tensor(upper)
    bounds = None
    if limits is not None:
        bounds = limits.reshape(-1, 1) if limits.dim() < 2 else limits
    oracle = fractional_conv1d_oracle if count == 1 else fractional_conv2d_oracle
    exact = [tensor.double().requires_grad_() for tensor in (x, weight, rate)]
    expected = oracle(exact[0], exact[1], None, exact[2], padding=1, groups=2, upper=limits)
    cotangent = torch.randn(expected.shape, generator=generator)
    wanted = torch.autograd.grad(expected, exact, cotangent.double())

    def there(tensor: Tensor | None) -> Tensor | None:
        return None if tensor is None else tensor.to(DEVICE)

    shared = (there(table), there(bounds), axes, 2)
    out = on_gpu.convolve(there(x), there(weight), None, *shared)
    found = on_gpu.gradients(
        there(cotangent), there(x), there(weight), *shared, needs=(True, True, True)
    )
    torch.testing.assert_close(out.cpu().double(), expected, rtol=1e-4, atol=1e-4)
    assert all(gradient is not None for gradient in found)
    grad_x, grad_weight, grad_rates = (gradient.cpu().double() for gradient in found)
    assert grad_rates.shape == (len(table), count)
    if table.shape[1] == 1:
        grad_rates = grad_rates.sum(1)
    torch.testing.assert_close(grad_x, wanted[0], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(grad_weight, wanted[1], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(grad_rates.reshape(rate.shape), wanted[2], rtol=1e-4, atol=1e-4)


def test_who_takes_the_kernels() -> None:
    image = torch.empty(1, 1, 3, 3)
    assert not on_gpu.takes(image, "zeros")  # not on a GPU
    with mock.patch.object(torch.Tensor, "is_cuda", True):
        assert on_gpu.takes(image, "zeros")
        assert on_gpu.takes(image[0], "zeros")
        assert not on_gpu.takes(image, "reflect")
        assert not on_gpu.takes(image.double(), "zeros")
        assert not on_gpu.takes(image[None], "zeros")  # a volume
