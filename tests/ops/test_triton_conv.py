"""The GPU kernels against plain references; without a GPU, by Triton's interpreter on the CPU."""

import importlib
import importlib.util
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from typing import Any
from unittest import mock

import pytest
import torch
from torch import Tensor

from dilsearch.ops import triton_conv
from dilsearch.ops.taps import Axis
from dilsearch.oracle import fractional_conv2d_oracle

pytest.importorskip("triton")

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
INTERPRETED = DEVICE == "cpu"
INF, NAN = float("inf"), float("nan")

if INTERPRETED:  # which Triton decides when functions are decorated: on import
    with mock.patch.dict(os.environ, TRITON_INTERPRET="1"):
        importlib.import_module("dilsearch.ops.triton_kernels")


@dataclass(frozen=True)
class Case:
    """One convolution; the rates are (row, column) for one or more equal runs of in channels."""

    size: tuple[int, int] = (5, 6)
    kernel: tuple[int, int] = (3, 3)
    channels: tuple[int, int] = (2, 3)
    groups: int = 1
    stride: tuple[int, int] = (1, 1)
    padding: tuple[tuple[int, int], tuple[int, int]] = ((1, 1), (1, 1))
    dilation: tuple[int, int] = (1, 1)
    rates: tuple[tuple[float, float], ...] = ((1.3, 1.3),)
    upper: float = INF
    images: int = 1

    @property
    def uniform(self) -> bool:
        return len(self.rates) <= self.groups

    @property
    def axes(self) -> tuple[Axis, Axis]:
        rows, columns = (
            Axis(size, taps, stride, padding, dilation, (taps - 1) // 2)
            for size, taps, stride, padding, dilation in zip(
                self.size, self.kernel, self.stride, self.padding, self.dilation, strict=True
            )
        )
        return rows, columns

    def tensors(self, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
        generator = torch.Generator().manual_seed(0)

        def normal(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)

        inputs, outputs = self.channels
        rows, columns = self.axes
        rates = torch.tensor(self.rates).repeat_interleave(inputs // len(self.rates), dim=0)
        return {
            "x": normal(self.images, inputs, *self.size),
            "weight": normal(outputs, inputs // self.groups, *self.kernel),
            "bias": normal(outputs),
            "rates": rates,
            "uppers": torch.full_like(rates, self.upper),
            "grad": normal(self.images, outputs, rows.size_out, columns.size_out),
        }


def blend_matrix(axis: Axis, tap: int, rates: Tensor, uppers: Tensor) -> Tensor:
    """(channel, output, pixel): how much of each pixel of an axis each output's tap reads."""
    outward = (tap > 0) - (tap < 0)
    distance = abs(tap) * rates.double() if tap else torch.zeros_like(rates, dtype=torch.float64)
    leftward = (rates >= uppers) & (tap != 0)
    near = torch.where(leftward, distance.ceil() - 1, distance.floor()).detach()
    fraction = (distance - near)[:, None, None]
    near = near.nan_to_num(0, 0, 0).clamp(-1e6, 1e6).long()
    anchors = axis.anchor + axis.stride * torch.arange(axis.size_out)
    inner = (anchors + outward * near[:, None])[:, :, None]
    pixels = torch.arange(axis.size_in)
    return (1 - fraction) * (pixels == inner) + fraction * (pixels == inner + outward)


def reference(
    case: Case, x: Tensor, weight: Tensor, bias: Tensor, rates: Tensor, uppers: Tensor
) -> Tensor:
    """The definition in float64, one matrix for each axis, tap and channel."""
    rows, columns = case.axes
    total = bias.double()[:, None, None]
    kernels = weight.double().unflatten(0, (case.groups, -1))
    for i in range(rows.taps):
        by_row = blend_matrix(rows, i - rows.middle, rates[:, 0], uppers[:, 0])
        for j in range(columns.taps):
            by_column = blend_matrix(columns, j - columns.middle, rates[:, 1], uppers[:, 1])
            read = torch.einsum("cqh,nchw,cpw->ncqp", by_row, x.double(), by_column)
            mixed = torch.einsum(
                "ngcqp,goc->ngoqp", read.unflatten(1, (case.groups, -1)), kernels[..., i, j]
            )
            total = total + mixed.flatten(1, 2)
    return total


def expected(case: Case, tensors: dict[str, Tensor]) -> tuple[Tensor, ...]:
    """The reference's outputs and gradients of x, weight and rates."""
    given = {k: v.double() for k, v in tensors.items() if k != "grad"}
    sources = [given[k].requires_grad_() for k in ("x", "weight", "rates")]
    out = reference(case, **given)
    found = torch.autograd.grad(out, sources, tensors["grad"].double(), allow_unused=True)
    return out.detach(), *(
        torch.zeros_like(s) if g is None else g for s, g in zip(sources, found, strict=True)
    )


def convolve(case: Case, tensors: dict[str, Tensor], *, bias: bool = True) -> Tensor:
    t = {k: v.to(DEVICE) for k, v in tensors.items()}
    return triton_conv.convolve(
        t["x"],
        t["weight"],
        t["bias"] if bias else None,
        t["rates"],
        t["uppers"],
        *case.axes,
        case.groups,
        uniform=case.uniform,
    ).cpu()


def gradients(
    case: Case,
    tensors: dict[str, Tensor],
    *,
    needs: tuple[bool, bool, bool] = (True, True, True),
    uniform: bool | None = None,
) -> list[Any]:
    t = {k: v.to(DEVICE) for k, v in tensors.items()}
    found = triton_conv.gradients(
        t["grad"],
        t["x"],
        t["weight"],
        t["rates"],
        t["uppers"],
        *case.axes,
        case.groups,
        uniform=case.uniform if uniform is None else uniform,
        needs=needs,
    )
    return [None if g is None else g.cpu() for g in found]


def error(found: Tensor, wanted: Tensor) -> float:
    """Root mean square of the difference, relative to what was wanted."""
    assert found.shape == wanted.shape
    scale = wanted.double().square().mean().sqrt().clamp(min=1e-3)
    return float((found.double() - wanted.double()).square().mean().sqrt() / scale)


CASES = {
    "1x3": Case(kernel=(1, 3), padding=((0, 0), (1, 1)), rates=((1.0, 2.6),)),
    "5x3, strides": Case(
        kernel=(5, 3), stride=(1, 2), padding=((2, 2), (1, 1)), rates=((0.8, 1.5), (1.2, 2.1))
    ),
    "2x2, stride 2, groups": Case(
        kernel=(2, 2), stride=(2, 2), channels=(4, 2), groups=2, rates=((1.4, 1.4), (2.3, 2.3))
    ),
    "4x3, uneven": Case(
        kernel=(4, 3),
        padding=((0, 3), (2, 1)),
        dilation=(1, 2),
        rates=((1.4, 0.6), (2.3, 1.7)),
    ),
    "depthwise": Case(kernel=(2, 3), channels=(2, 4), groups=2, rates=((1.4, 1.1), (2.3, 0.4))),
    "two rates, four groups": Case(
        kernel=(2, 1), channels=(8, 4), groups=4, rates=((1.4, 1.1), (2.3, 0.4))
    ),
    "groups and channels": Case(
        kernel=(1, 3), channels=(4, 2), groups=2, rates=((1, 1.4), (1, 2.3), (1, 0.7), (1, 1.6))
    ),
    "one pixel": Case(size=(1, 1), kernel=(2, 3), rates=((0.4, 0.7),)),
    "blocks": Case(kernel=(2, 1), size=(5, 13), channels=(17, 33)),
    "blocks, channels": Case(
        kernel=(1, 2),
        size=(5, 13),
        channels=(17, 3),
        rates=tuple((1.0, 0.5 + 0.13 * c) for c in range(17)),
    ),
    "whole, right slopes": Case(kernel=(1, 3), rates=((1.0, 2.0),)),
    "whole, left slopes": Case(kernel=(2, 3), rates=((2.0, 2.0), (1.0, 2.0)), upper=2.0),
    "shrunk and mirrored": Case(kernel=(2, 2), rates=((0.3, -1.3), (0.0, 0.6))),
    "enormous": Case(kernel=(2, 4), rates=((1.2, 3e38), (1e9, -3e38))),
    "one tap": Case(kernel=(1, 1), padding=((0, 0), (0, 0))),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_values_and_gradients_are_those_of_the_definition(case):
    tensors = case.tensors()
    out, *wanted = expected(case, tensors)
    assert error(convolve(case, tensors), out) < 1e-6
    for found, right in zip(gradients(case, tensors), wanted, strict=True):
        assert error(found, right) < 3e-6


@pytest.mark.parametrize(
    ("kernel", "rates"), [((3, 3), ((1.6, 1.6),)), ((3, 1), ((1.6, 1.6), (2.3, 2.3)))]
)
def test_the_oracle_agrees(kernel, rates):
    case = Case(kernel=kernel, channels=(2, 4), groups=len(rates), stride=(2, 1), rates=rates)
    tensors = case.tensors()
    x, weight, bias, rate = (
        t.double().requires_grad_()
        for t in (tensors["x"], tensors["weight"], tensors["bias"], torch.tensor(rates)[:, 0])
    )
    out = fractional_conv2d_oracle(
        x, weight, bias, rate, stride=case.stride, padding=1, groups=case.groups
    )
    wanted = torch.autograd.grad(out, (x, weight, rate), tensors["grad"].double())
    found = gradients(case, tensors)
    found[2] = found[2].view(len(rates), -1).sum(1)
    assert error(convolve(case, tensors), out.detach()) < 1e-6
    for one, right in zip(found, wanted, strict=True):
        assert error(one, right) < 3e-6


def test_the_comparison_can_fail():
    case = Case(kernel=(1, 3))
    tensors = case.tensors()
    found = [convolve(case, tensors), *gradients(case, tensors)]
    off = tensors | {"rates": tensors["rates"] + 1e-3}
    for one, wrong in zip(found[:3], expected(case, off)[:3], strict=True):
        assert error(one, wrong) > 1e-4
    mirrored = tensors | {"weight": tensors["weight"].flip(3)}
    assert error(found[0], expected(case, mirrored)[0]) > 0.1
    left = Case(kernel=(1, 3), rates=((1.0, 2.0),), upper=2.0)
    right = Case(kernel=(1, 3), rates=((1.0, 2.0),))
    assert error(gradients(left, left.tensors())[2], expected(right, right.tensors())[3]) > 0.1


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("rates", [((1.3, 1.3),), ((1.3, 0.6), (2.2, 1.7))])
def test_half_precision_is_as_exact_as_its_rounding(dtype, rates):
    if INTERPRETED and dtype == torch.bfloat16:
        pytest.skip("Triton's interpreter multiplies the bits of bfloat16, not the numbers")
    case = Case(kernel=(2, 3), channels=(2, 4), rates=rates)
    tensors = case.tensors(dtype)
    epsilon = torch.finfo(dtype).eps
    out, *wanted = expected(case, tensors)
    found = convolve(case, tensors)
    assert found.dtype == dtype
    assert error(found, out) < 2 * epsilon
    grads = gradients(case, tensors)
    assert [g.dtype for g in grads] == [dtype, dtype, torch.float32]
    for one, right in zip(grads, wanted, strict=True):
        assert error(one, right) < 2 * epsilon


def test_double_precision_by_the_interpreter():
    if not INTERPRETED:
        pytest.skip("whether a GPU's compiler takes float64 products is not promised")
    case = Case(kernel=(3, 1), rates=((1.25, 1.0),))
    tensors = case.tensors(torch.float64)
    out, *wanted = expected(case, tensors)
    assert error(convolve(case, tensors), out) < 1e-14
    for found, right in zip(gradients(case, tensors)[:2], wanted[:2], strict=True):
        assert error(found, right) < 1e-14


@pytest.mark.parametrize(
    ("bad", "upper"), [((NAN, 1.5), INF), ((1.5, INF), INF), ((1.5, INF), 4.0), ((-INF, 1.5), 4.0)]
)
def test_a_rate_that_is_no_number_spoils_what_depends_on_it_and_no_more(bad, upper):
    case = Case(kernel=(1, 3), channels=(4, 2), groups=2, upper=upper)
    case = Case(**{**vars(case), "rates": (bad, (1.5, 1.5), (1.5, 1.5), (1.5, 1.5))})
    tensors = case.tensors()
    out = convolve(case, tensors)
    grad_x, grad_weight, grad_rates = gradients(case, tensors)
    assert out[:, 0].isnan().all()
    assert out[:, 1].isfinite().all()
    assert grad_x[:, 0].isnan().all()
    assert grad_x[:, 1:].isfinite().all()
    assert grad_weight[0, 0].isnan().all()
    assert grad_weight[0, 1].isfinite().all()
    assert grad_weight[1].isfinite().all()
    assert grad_rates[0].isnan().all()
    assert grad_rates[1:].isfinite().all()


def test_a_shared_rate_that_is_no_number_spoils_its_group():
    case = Case(kernel=(3, 1), channels=(4, 2), groups=2, rates=((NAN, 1.0), (1.5, 1.0)))
    tensors = case.tensors()
    grad_x, grad_weight, grad_rates = gradients(case, tensors)
    assert convolve(case, tensors)[:, 0].isnan().all()
    for spoilt, whole in (
        (grad_x[:, :2], grad_x[:, 2:]),
        (grad_weight[0], grad_weight[1]),
        (grad_rates[:2], grad_rates[2:]),
    ):
        assert spoilt.isnan().all()
        assert whole.isfinite().all()


@pytest.mark.parametrize(
    "case", [Case(images=0), Case(size=(2, 2), kernel=(5, 5), padding=((1, 2), (1, 1)))]
)
def test_nothing_to_compute_gives_zeros(case):
    tensors = case.tensors()
    out = convolve(case, tensors)
    assert out.shape == tensors["grad"].shape
    assert out.numel() == 0
    for name, found in zip(("x", "weight", "rates"), gradients(case, tensors), strict=True):
        assert torch.equal(found, torch.zeros_like(tensors[name]))


def test_any_memory_layout_and_no_bias():
    case = Case(kernel=(3, 1), channels=(3, 2))
    tensors = case.tensors()
    out, *wanted = expected(case, tensors)
    strided = {
        name: t.to(memory_format=torch.channels_last) if t.dim() == 4 else t
        for name, t in tensors.items()
    }
    strided["rates"] = tensors["rates"].t().contiguous().t()
    strided["uppers"] = tensors["uppers"][:, :1].expand(-1, 2)
    assert not strided["x"].is_contiguous()
    assert error(convolve(case, strided), out) < 1e-6
    for found, right in zip(gradients(case, strided), wanted, strict=True):
        assert error(found, right) < 3e-6
    plain = convolve(case, strided, bias=False)
    assert error(plain + tensors["bias"][:, None, None], out) < 1e-6


@pytest.mark.parametrize("wanted", range(3))
def test_only_what_is_needed_is_computed(wanted):
    case = Case(kernel=(1, 3))
    tensors = case.tensors()
    needs = (wanted == 0, wanted == 1, wanted == 2)
    found = gradients(case, tensors, needs=needs)
    assert [g is not None for g in found] == list(needs)
    assert error(found[wanted], expected(case, tensors)[wanted + 1]) < 3e-6


def test_the_faster_way_for_equal_rates_changes_nothing():
    case = Case(kernel=(2, 2), channels=(2, 2), stride=(2, 1))
    tensors = case.tensors()
    for one, other in zip(
        gradients(case, tensors, uniform=True),
        gradients(case, tensors, uniform=False),
        strict=True,
    ):
        assert error(one, other) < 1e-6


@pytest.mark.parametrize("programs", [1, 7])  # one run of pixel blocks, and runs of unequal length
def test_splitting_the_work_changes_nothing(programs, monkeypatch):
    case = Case(kernel=(1, 3), size=(5, 13), images=2, rates=((1, 1.4), (1, 2.3)))
    tensors = case.tensors()
    monkeypatch.setattr(triton_conv, "_PROGRAMS", programs)
    monkeypatch.setattr(triton_conv, "_BUFFER_BYTES", 1)
    for found, right in zip(gradients(case, tensors), expected(case, tensors)[1:], strict=True):
        assert error(found, right) < 3e-6


def test_equal_inputs_give_equal_bits():
    if INTERPRETED:
        pytest.skip("the interpreter runs one program after the other")
    case = Case(kernel=(1, 3), size=(5, 13))
    tensors = case.tensors()
    for one, other in zip(gradients(case, tensors), gradients(case, tensors), strict=True):
        assert torch.equal(one, other)


COMPILE = """
import json, sys
import torch
import triton.language as tl
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource, compile
from dilsearch.ops import triton_conv, triton_kernels

numbers = sys.argv[1]
dtype = {"fp32": torch.float32, "bf16": torch.bfloat16}[numbers]
constants = dict(
    in_channels=16, out_channels=16, row_taps=3, column_taps=3, row_middle=1, column_middle=1,
    row_stride=2, column_stride=1, has_bias=True, needs_weight=True, needs_rates=True,
    rates_per_block=16, **triton_conv._blocks(dtype, 16, 16, 64),
)
accurate = ("rates", "uppers", "weight_parts", "rate_parts")
tensors = ("x", "weight", "bias", "out", "grad", "grad_x", "products")
found = {}
for name in sys.argv[2:]:
    kernel = getattr(triton_kernels, name)
    signature = {
        argument: "constexpr" if argument in constants
        else "*fp32" if argument in accurate
        else "*" + numbers if argument in tensors
        else "i32"
        for argument in kernel.arg_names
    }
    given = {k: v for k, v in constants.items() if k in kernel.arg_names}
    source = ASTSource(fn=kernel, signature=signature, constexprs=given)
    options = {k: v for k, v in triton_conv._LAUNCH.items()}
    compiled = compile(source, target=GPUTarget("cuda", 90, 32), options=options)
    found[name] = [len(compiled.asm["cubin"]), "mma" in compiled.asm["ptx"]]
print(json.dumps(found))
"""
KERNELS = (
    "convolve_kernel",
    "image_gradient_kernel",
    "collect_kernel",
    "parameter_gradient_kernel",
)


@pytest.mark.slow
@pytest.mark.parametrize("numbers", ["bf16", "fp32"])
def test_every_kernel_compiles_for_a_gpu(numbers, tmp_path):
    if importlib.util.find_spec("triton.backends.nvidia") is None:
        pytest.skip("this Triton has no compiler for NVIDIA GPUs")
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    # The compiler reads a kernel's source from its file.
    script = tmp_path / "compile.py"
    script.write_text(COMPILE)
    done = subprocess.run(
        [sys.executable, str(script), numbers, *KERNELS],
        env=environment | {"TRITON_CACHE_DIR": str(tmp_path), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout)
    assert all(found[name][0] > 0 for name in KERNELS)
    # Products of half precision are the matrix units'; full precision must not be cut for them.
    uses = [found[name][1] for name in KERNELS]
    assert uses == ([True, True, False, True] if numbers == "bf16" else [False] * 4)
