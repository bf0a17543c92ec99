"""Multiply-accumulates against torch's own count of FLOPs, which are two each."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from dilsearch.layers import BranchConv2d
from dilsearch.tracing.tracer import trace_model


class Block(nn.Module):
    """A block of a vision transformer over patches of 4 x 4."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 8, 4, 4)
        self.norm = nn.LayerNorm(8)
        self.qkv = nn.Linear(8, 24)
        self.project = nn.Linear(8, 8)
        self.mlp = nn.Sequential(nn.Linear(8, 16), nn.GELU(), nn.Linear(16, 8))

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        q, k, v = self.qkv(self.norm(x)).unflatten(2, (3, 2, 4)).permute(2, 0, 3, 1, 4)
        seen = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        x = x + self.project(seen)
        return x + self.mlp(x)


def tokens(x: Tensor) -> Tensor:
    return x.flatten(2).transpose(1, 2)


FUNCTIONS: dict[str, Callable[[Any, Tensor], Tensor]] = {
    "linear": lambda m, x: m.linear(x.movedim(1, -1)),
    "mm": lambda m, x: x[0, 0] @ x[0, 1].t(),
    "addmm": lambda m, x: torch.addmm(m.b, tokens(x)[0], m.w),
    "bmm": lambda m, x: torch.bmm(tokens(x), x.flatten(2)),
    "baddbmm": lambda m, x: torch.baddbmm(m.b, tokens(x), m.w.expand(2, 3, 5)),
    "matmul": lambda m, x: x.movedim(1, -1) @ m.w,
    "einsum": lambda m, x: torch.einsum("bchw, cd -> bdhw", x, m.w),
    "einsum of a map with itself": lambda m, x: torch.einsum("bcij,bckj->bcik", x, x),
    "nothing but sums": lambda m, x: torch.einsum("bchw->bc", x) + x.sum((2, 3)),
    "values of another width": lambda m, x: F.scaled_dot_product_attention(
        tokens(x), tokens(x)[:, :7], tokens(x)[:, :7, :2]
    ),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_cost_what_torch_counts(name: str, model: Any) -> None:
    weights = {"w": nn.Parameter(torch.ones(3, 5)), "b": nn.Parameter(torch.ones(5))}
    _same(model(FUNCTIONS[name], linear=nn.Linear(3, 5), **weights), (2, 3, 6, 8))


@pytest.mark.parametrize(
    "module",
    [
        nn.Conv2d(4, 6, (3, 2), (2, 1), 1, groups=2),
        nn.Conv2d(4, 4, 3, groups=4, dilation=2, bias=False),
        nn.ConvTranspose2d(4, 6, 3, 2, 1, 1, groups=2),
        nn.Sequential(nn.Conv2d(4, 3, 1), nn.Flatten(), nn.Linear(3 * 8 * 9, 5)),
        BranchConv2d(4, 8, 3, rates=(1, 3), groups=2, padding=1, stride=2),
    ],
    ids=["grouped", "depthwise", "transposed", "classifier", "branches"],
)
def test_modules_cost_what_torch_counts(module: nn.Module) -> None:
    _same(module, (2, 4, 8, 9))


def test_a_transformer_costs_what_torch_counts() -> None:
    _same(Block(), (2, 3, 8, 12))


def test_convolutions_know_their_own_share() -> None:
    convs = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ConvTranspose2d(4, 2, 2, 2))
    trace = trace_model(convs, torch.empty(1, 3, 6, 7))
    assert [layer.macs for layer in trace.layers.values()] == [
        4 * 5 * 4 * 27,
        4 * 5 * 4 * 2 * 4,
    ]
    assert trace.macs == sum(layer.macs for layer in trace.layers.values())
    assert [layer.parameters for layer in trace.layers.values()] == [4 * 27 + 4, 4 * 2 * 4 + 2]
    assert trace.parameters == sum(layer.parameters for layer in trace.layers.values())


def test_branches_know_their_share() -> None:
    conv = BranchConv2d(4, 8, 3, rates=(1, 3), groups=2, padding=1, stride=2)
    trace = trace_model(conv, torch.empty(2, 4, 8, 9))
    (layer,) = trace.layers.values()
    assert layer.macs == trace.macs
    assert layer.parameters == trace.parameters


def _same(module: nn.Module, shape: tuple[int, ...]) -> None:
    example = torch.rand(shape)
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
        module.eval()(example)
    assert 2 * trace_model(module, example).macs == counter.get_total_flops()
