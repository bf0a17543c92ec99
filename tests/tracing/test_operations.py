"""Every operation of the table, followed by the tracer and measured by a gradient.

In front of it, the first channels see three rows, the others five columns with gaps: whatever
confuses axes or channels shows.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dilsearch.analysis import analyze, check_support
from dilsearch.tracing import tracer
from dilsearch.tracing.operations import HANDLERS, handler_of

aten = torch.ops.aten
CONVS = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
SIZES = {1: (17,), 2: (9, 13), 3: (5, 6, 7)}


@dataclass(frozen=True)
class Case:
    """A function of a map, with the weights it needs.

    Attributes:
        call: From weights and map to another map.
        twin: What is measured in its place, where the numeric engine has no rule for it.
        axes: Spatial axes.
        shapes: Shape of each weight.
    """

    call: Callable[[Any, Tensor], Tensor]
    twin: Callable[[Any, Tensor], Tensor] | None = None
    axes: int = 2
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)


class Stemmed(nn.Module):
    def __init__(self, case: Case, call: Callable[[Any, Tensor], Tensor]) -> None:
        super().__init__()
        axes, self.call = case.axes, call
        rows, columns = (3, *(1,) * (axes - 1)), (*(1,) * (axes - 1), 3)
        self.rows = CONVS[axes](2, 2, rows, padding="same")
        self.columns = CONVS[axes](2, 2, columns, padding="same", dilation=2)
        for name, shape in case.shapes.items():
            setattr(self, name, nn.Parameter(torch.ones(shape)))
        self.register_buffer("c", torch.ones(4))
        self.register_buffer("picked", torch.tensor([0, 0, 1]))

    def forward(self, x: Tensor) -> Tensor:
        return self.call(self, torch.cat([self.rows(x), self.columns(x)], 1))


def case(call: Callable[[Any, Tensor], Tensor], *args: Any, axes: int = 2, **shapes: Any) -> Case:
    twin = args[0] if args else None
    return Case(call, twin, axes, shapes)


def alone(m: Any, x: Tensor) -> Tensor:
    return x


def first(m: Any, x: Tensor) -> Tensor:
    return x[:, :1]


def mixed(m: Any, x: Tensor) -> Tensor:
    return x.sum(1, keepdim=True)


def beside(make: Callable[[Tensor], Tensor]) -> Case:
    """A constant made after a map, which must not see it: only the first channel is left."""
    return case(lambda m, x: x[:, :1] + make(x)[:, :1], first)


def over_channels(call: Callable[[Tensor], Any]) -> Case:
    return case(lambda m, x: call(x), mixed)


def part(call: Callable[[Tensor], Any]) -> Case:
    return case(lambda m, x: call(x)[0], lambda m, x: x[:, :2])


def last(call: Callable[[Any, Tensor], Tensor], **shapes: Any) -> Case:
    """Of a map with its channels last."""
    return case(lambda m, x: call(m, x.movedim(1, -1)).movedim(-1, 1), mixed, **shapes)


def tokens(x: Tensor) -> Tensor:
    return x.flatten(2).transpose(1, 2)


def grid(x: Tensor) -> Tensor:
    return x.transpose(1, 2).unflatten(2, SIZES[2])


def vector(x: Tensor) -> Tensor:
    return x.mean((2, 3))


CASES: dict[str, Case] = {
    "_to_copy": case(lambda m, x: aten._to_copy(x, dtype=torch.float64), alone),
    "alias": case(lambda m, x: aten.alias(x), alone),
    "alpha_dropout": case(lambda m, x: F.alpha_dropout(x)),
    "bernoulli": case(lambda m, x: x.bernoulli(), alone),
    "clone": case(lambda m, x: x.clone()),
    "contiguous": case(lambda m, x: x.transpose(2, 3).contiguous().transpose(2, 3)),
    "detach": case(lambda m, x: x.detach()),
    "dropout": case(lambda m, x: F.dropout(x, training=False)),
    "feature_alpha_dropout": case(lambda m, x: F.feature_alpha_dropout(x)),
    "feature_dropout": case(lambda m, x: F.dropout2d(x, training=False)),
    "hardswish": case(lambda m, x: F.hardswish(x)),
    "lift_fresh_copy": case(lambda m, x: aten.lift_fresh_copy(x), alone),
    "log_sigmoid": case(lambda m, x: F.logsigmoid(x)),
    "native_batch_norm": case(
        lambda m, x: torch.native_batch_norm(x, None, None, m.c, m.c, False, 0.1, 1e-5)[0], alone
    ),
    "_native_batch_norm_legit_no_training": case(
        lambda m, x: aten._native_batch_norm_legit_no_training(x, None, None, m.c, m.c, 0.1, 0.1)[
            0
        ],
        alone,
    ),
    "native_dropout": case(lambda m, x: torch.native_dropout(x, 0.5, False)[0], alone),
    "prelu": case(lambda m, x: F.prelu(x, m.a), a=(4,)),
    "rrelu": case(lambda m, x: F.rrelu(x)),
    "threshold": case(lambda m, x: F.threshold(x, 0.1, 0.0)),
    "to": case(lambda m, x: x.to(torch.float64)),
    "tril": case(lambda m, x: x.tril(20)),
    "triu": case(lambda m, x: x.triu(-20)),
    "type_as": case(lambda m, x: x.type_as(m.a), a=(1,)),
    "view_as_real": case(lambda m, x: torch.view_as_real(torch.complex(x, x))[..., 1], alone),
    "complex": case(
        lambda m, x: torch.view_as_real(torch.complex(x[:, :2], x[:, 2:]))[..., 0],
        lambda m, x: x[:, :2] + x[:, 2:],
    ),
    "where": case(lambda m, x: torch.where(x > 0, x, 0.0)),
    "empty_like": beside(torch.empty_like),
    "fill": beside(lambda x: x.flip(1).fill_(1.0)),
    "full_like": beside(lambda x: torch.full_like(x, 2.0)),
    "new_empty": beside(lambda x: x.new_empty(x.shape)),
    "new_full": beside(lambda x: x.new_full(x.shape, 2.0)),
    "new_ones": beside(lambda x: x.new_ones(x.shape)),
    "new_zeros": beside(lambda x: x.new_zeros(x.shape)),
    "ones_like": beside(torch.ones_like),
    "rand_like": beside(torch.rand_like),
    "randn_like": beside(torch.randn_like),
    "zeros_like": beside(torch.zeros_like),
    "copy": beside(lambda x: x.flip(1).copy_(x)),
    "slice_scatter": case(
        lambda m, x: torch.slice_scatter(x, x[:, :1], 1, 3, 4)[:, 3:], lambda m, x: x[:, :1]
    ),
    "select_scatter": case(
        lambda m, x: torch.select_scatter(x, x[:, 0], 1, 3)[:, 3:], lambda m, x: x[:, :1]
    ),
    "adjoint": case(lambda m, x: F.relu(x.adjoint()).adjoint()[:, :2]),
    "mT": case(lambda m, x: F.relu(x.mT).mT[:, :2]),
    "movedim": case(lambda m, x: F.relu(x.movedim((1, 2), (3, 1))).movedim(3, 1)[:, 2:]),
    "numpy_T": case(lambda m, x: x + vector(x).T.reshape(1, 4, 1, 1), alone),
    "permute": case(lambda m, x: x.permute(3, 0, 2, 1).permute(1, 3, 2, 0)[:, 2:]),
    "swapaxes": case(lambda m, x: x.swapaxes(1, -1).swapaxes(1, -1)[:, :2]),
    "t": case(lambda m, x: x + vector(x).t().reshape(1, 4, 1, 1), alone),
    "transpose": case(lambda m, x: x.transpose(1, 2)[:, :, 2:].transpose(1, 2)),
    "_unsafe_view": case(
        lambda m, x: aten._unsafe_view(x, (1, 2, 2, *x.shape[2:]))[:, 1], lambda m, x: x[:, 2:]
    ),
    "flatten": case(lambda m, x: x.flatten(2)[:, 2:].view(1, 2, *x.shape[2:])),
    "reshape": case(lambda m, x: x.reshape(1, 2, 2, *x.shape[2:])[:, 0]),
    "reshape_as": case(lambda m, x: x.flatten(2).reshape_as(x)[:, 2:]),
    "unflatten": case(lambda m, x: x.unflatten(1, (2, 2))[:, 1]),
    "view": case(lambda m, x: x.view(2, 2, *x.shape[2:])[1:]),
    "view_as": case(lambda m, x: x.flatten(2).view_as(x)[:, :2]),
    "squeeze": case(lambda m, x: x.squeeze(0).unsqueeze(0)[:, :2]),
    "unsqueeze": case(lambda m, x: x.unsqueeze(2)[:, :, 0][:, 2:]),
    "expand": case(lambda m, x: x.unsqueeze(1).expand(1, 3, -1, -1, -1).flatten(1, 2)[:, 4:6]),
    "expand_as": case(lambda m, x: x[:, :1].expand_as(x)[:, 3:]),
    "repeat": case(lambda m, x: x[:, :1].repeat(1, 3, 1, 1)[:, 2:]),
    "cat": case(lambda m, x: torch.cat([x[:, 2:], x[:, :2]], 1)[:, :2]),
    "concat": case(lambda m, x: torch.concat([x[:, 2:], x[:, :2]], 1)[:, :2]),
    "stack": case(lambda m, x: torch.stack([x[:, 2:], x[:, :2]], 2)[:, :, 0]),
    "chunk": part(lambda x: x.chunk(2, 1)),
    "split": part(lambda x: x.split(2, 1)),
    "split_with_sizes": part(lambda x: x.split_with_sizes((2, 2), 1)),
    "tensor_split": part(lambda x: x.tensor_split(2, 1)),
    "unbind": case(lambda m, x: torch.stack(x.unbind(1)[2:], 1), lambda m, x: x[:, 2:]),
    "unsafe_chunk": part(lambda x: x.unsafe_chunk(2, 1)),
    "unsafe_split": part(lambda x: x.unsafe_split(2, 1)),
    "narrow": case(lambda m, x: x.narrow(1, 2, 2).narrow(3, 3, 6)),
    "slice": case(lambda m, x: x[:, :2, 1:, ::3]),
    "select": case(lambda m, x: x.select(1, -1).unsqueeze(1)),
    "index": case(lambda m, x: x[:, :2][:, m.picked]),
    "index_select": case(lambda m, x: x[:, :2].index_select(1, m.picked)),
    "flip": case(lambda m, x: x.flip(1)[:, :2]),
    "channel_shuffle": case(lambda m, x: F.channel_shuffle(x, 2)[:, 1:2]),
    "native_channel_shuffle": case(
        lambda m, x: torch.native_channel_shuffle(x, 2)[:, 1:2], lambda m, x: x[:, 2:]
    ),
    "all": over_channels(lambda x: (x > 0).all(1, keepdim=True)),
    "amax": over_channels(lambda x: x.amax(1, keepdim=True)),
    "amin": over_channels(lambda x: x.amin(1, keepdim=True)),
    "any": over_channels(lambda x: (x > 0).any(1, keepdim=True)),
    "argmax": over_channels(lambda x: x.argmax(1, keepdim=True)),
    "argmin": over_channels(lambda x: x.argmin(1, keepdim=True)),
    "linalg_vector_norm": over_channels(lambda x: torch.linalg.vector_norm(x, 3, 1, True)),
    "logsumexp": over_channels(lambda x: x.logsumexp(1, keepdim=True)),
    "max": over_channels(lambda x: x.max(1, keepdim=True)[0]),
    "mean": over_channels(lambda x: x.mean(1, keepdim=True)),
    "min": over_channels(lambda x: x.min(1)[0].unsqueeze(1)),
    "norm": over_channels(lambda x: aten.norm(x, 2.0, [1], True)),
    "prod": over_channels(lambda x: x.prod(1, keepdim=True)),
    "std": over_channels(lambda x: x.std(1, keepdim=True)),
    "std_mean": over_channels(lambda x: torch.std_mean(x, 1, keepdim=True)[1]),
    "sum": over_channels(lambda x: x.sum(1).unsqueeze(1)),
    "var": over_channels(lambda x: x.var(1, keepdim=True)),
    "var_mean": over_channels(lambda x: torch.var_mean(x, 1, keepdim=True)[0]),
    "softmax": case(lambda m, x: x.softmax(1)[:, :1]),
    "log_softmax": case(lambda m, x: x.log_softmax(1)[:, :1]),
    "_softmax": case(lambda m, x: aten._softmax(x, 1, False)[:, :1], mixed),
    "_log_softmax": case(lambda m, x: aten._log_softmax(x, 1, False)[:, :1], mixed),
    "batch_norm": case(lambda m, x: F.batch_norm(x, None, None, training=True)[:, :2]),
    "group_norm": case(lambda m, x: F.group_norm(x, 2)[:, :2]),
    "instance_norm": case(lambda m, x: F.instance_norm(x)[:, 2:]),
    "native_group_norm": case(
        lambda m, x: torch.native_group_norm(x, None, None, 1, 4, 117, 2, 0.1)[0][:, :2],
        lambda m, x: x[:, :2],
    ),
    "layer_norm": last(lambda m, x: F.layer_norm(x, (4,))[..., :1]),
    "rms_norm": last(lambda m, x: F.rms_norm(x, (4,))[..., :1]),
    "linear": last(lambda m, x: F.linear(x, m.w), w=(3, 4)),
    "addmm": case(
        lambda m, x: grid(torch.addmm(m.b, tokens(x)[0], m.w)[None]), mixed, w=(4, 3), b=(3,)
    ),
    "baddbmm": case(
        lambda m, x: grid(torch.baddbmm(m.b, tokens(x), m.w)), mixed, w=(1, 4, 3), b=(1, 1, 3)
    ),
    "bmm": case(
        lambda m, x: torch.bmm(m.w, x[:, :2].flatten(2)).unflatten(2, SIZES[2]), w=(1, 3, 2)
    ),
    "matmul": last(lambda m, x: x @ m.w, w=(4, 3)),
    "mm": case(lambda m, x: grid(torch.mm(tokens(x)[0], m.w)[None]), w=(4, 3)),
    "scaled_dot_product_attention": case(
        lambda m, x: (
            x[:, :2] + grid(F.scaled_dot_product_attention(tokens(x), tokens(x), tokens(x)))[:, :2]
        )
    ),
    "einsum": case(lambda m, x: torch.einsum("dc, bchw -> bdhw", m.w, x[:, :2]), w=(3, 2)),
    "cummax": over_channels(lambda x: x.cummax(1)[0]),
    "cumprod": over_channels(lambda x: x.cumprod(1)),
    "cummin": over_channels(lambda x: x.cummin(1)[0]),
    "cumsum": over_channels(lambda x: x.cumsum(1)),
    "logcumsumexp": over_channels(lambda x: x.logcumsumexp(1)),
    "moveaxis": case(lambda m, x: F.relu(x.moveaxis(1, 3)).moveaxis(3, 1)[:, 1:]),
    "swapdims": case(lambda m, x: F.relu(x.swapdims(1, 3)).swapdims(1, 3)[:, 1:]),
    "repeat_interleave": case(
        lambda m, x: x.repeat_interleave(2, 2).repeat_interleave(3, 1)[:, 2:5]
    ),
    "_adaptive_avg_pool2d": case(
        lambda m, x: torch.ops.aten._adaptive_avg_pool2d(x, (3, 4)),
        lambda m, x: F.adaptive_avg_pool2d(x, (3, 4)),
    ),
    "_adaptive_avg_pool3d": case(
        lambda m, x: torch.ops.aten._adaptive_avg_pool3d(x, (2, 3, 4)),
        lambda m, x: F.adaptive_avg_pool3d(x, (2, 3, 4)),
        axes=3,
    ),
    "glu": case(lambda m, x: F.glu(x[:, :2], 1)),
    "conv1d": case(lambda m, x: F.conv1d(x, m.w, None, 2, 3, 2), axes=1, w=(1, 4, 3)),
    "conv2d": case(lambda m, x: F.conv2d(x, m.w, None, (2, 1), (1, 0), (1, 2)), w=(1, 4, 3, 2)),
    "conv3d": case(lambda m, x: F.conv3d(x, m.w, stride=(1, 2, 1)), axes=3, w=(1, 4, 2, 1, 3)),
    "conv_transpose1d": case(
        lambda m, x: F.conv_transpose1d(x, m.w, None, 3, 1, 2, 1, 2), axes=1, w=(4, 1, 3)
    ),
    "conv_transpose2d": case(
        lambda m, x: F.conv_transpose2d(x, m.w, None, (2, 1), (1, 0), (1, 0), 1, (1, 2)),
        w=(4, 1, 3, 2),
    ),
    "conv_transpose3d": case(
        lambda m, x: F.conv_transpose3d(x, m.w, None, (1, 2, 1)), axes=3, w=(4, 1, 2, 1, 3)
    ),
    "convolution": case(
        lambda m, x: aten.convolution(x, m.w, None, (2, 1), (1, 0), (1, 2), True, (1, 0), 2),
        lambda m, x: F.conv_transpose2d(x, m.w, None, (2, 1), (1, 0), (1, 0), 2, (1, 2)),
        w=(4, 1, 3, 2),
    ),
    "avg_pool1d": case(lambda m, x: F.avg_pool1d(x, 3, 2, 1), axes=1),
    "avg_pool2d": case(lambda m, x: F.avg_pool2d(x, (3, 2), None, (1, 0), ceil_mode=True)),
    "avg_pool3d": case(lambda m, x: F.avg_pool3d(x, (1, 2, 3), (2, 1, 3)), axes=3),
    "max_pool1d": case(lambda m, x: F.max_pool1d(x, 3, 2, 1, 2), axes=1),
    "max_pool2d": case(lambda m, x: F.max_pool2d(x, (3, 2), (2, 3), (1, 0), (2, 1))),
    "max_pool3d": case(lambda m, x: F.max_pool3d(x, (1, 2, 3), (2, 1, 3)), axes=3),
    "max_pool2d_with_indices": case(
        lambda m, x: F.max_pool2d_with_indices(x, (3, 2), (2, 3))[0],
        lambda m, x: F.max_pool2d(x, (3, 2), (2, 3)),
    ),
    "max_pool3d_with_indices": case(
        lambda m, x: F.max_pool3d_with_indices(x, (1, 2, 3))[0],
        lambda m, x: F.max_pool3d(x, (1, 2, 3)),
        axes=3,
    ),
    **{
        f"adaptive_{kind}_pool{axes}d": case(
            lambda m, x, kind=kind, axes=axes: getattr(F, f"adaptive_{kind}_pool{axes}d")(
                x, (5, 4, 3)[:axes]
            ),
            axes=axes,
        )
        for kind in ("avg", "max")
        for axes in (1, 2, 3)
    },
    **{
        f"{name}{axes}d": case(
            lambda m, x, mode=mode: F.interpolate(x, scale_factor=1.6, mode=mode), axes=axes
        )
        for name, mode, some in (
            ("upsample_nearest", "nearest", (1, 2, 3)),
            ("_upsample_nearest_exact", "nearest-exact", (1, 2, 3)),
            ("upsample_linear", "linear", (1,)),
            ("upsample_bilinear", "bilinear", (2,)),
            ("upsample_bicubic", "bicubic", (2,)),
            ("upsample_trilinear", "trilinear", (3,)),
        )
        for axes in some
    },
    "constant_pad_nd": case(
        lambda m, x: aten.constant_pad_nd(x, (2, 0, -1, 3)), lambda m, x: F.pad(x, (2, 0, -1, 3))
    ),
    "pad": case(lambda m, x: F.pad(x, (2, 0, 1, 3), mode="circular")),
    **{
        f"{name}_pad{axes}d": case(
            lambda m, x, name=name, axes=axes: getattr(aten, f"{name}_pad{axes}d")(
                x, (2, 1, 0, 3, 1, 2)[: 2 * axes]
            ),
            lambda m, x, mode=mode, axes=axes: F.pad(x, (2, 1, 0, 3, 1, 2)[: 2 * axes], mode),
            axes=axes,
        )
        for name, mode in (("reflection", "reflect"), ("replication", "replicate"))
        for axes in (1, 2, 3)
    },
    "pixel_shuffle": case(lambda m, x: F.pixel_shuffle(torch.cat([x[:, :2]] * 2, 1), 2)),
    "pixel_unshuffle": case(lambda m, x: F.pixel_unshuffle(x[:, :, 1:, 1:], 2)),
}

NOT_EXERCISED = {
    "_assert_tensor_metadata": "gives nothing, so that it is never looked up",
    "_scaled_dot_product_flash_attention": "only in programs that were exported on a GPU",
    "max_pool1d_with_indices": "the same rule as with two axes",
}


def test_the_table_is_covered() -> None:
    assert set(CASES) | set(NOT_EXERCISED) == set(HANDLERS)
    assert not set(CASES) & set(NOT_EXERCISED)


@pytest.mark.parametrize("name", CASES)
def test_both_engines_see_the_same_pixels_behind(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = CASES[name]
    met: set[str] = set()

    def noted(call: Any) -> Any:
        met.add(call.name)
        return handler_of(call)

    monkeypatch.setattr(tracer, "handler_of", noted)
    example = torch.empty(1, 2, *SIZES[case.axes], device="meta")
    analysis = analyze(Stemmed(case, case.call), example)
    assert name in met
    assert analysis.unfollowed == {}
    assert analysis.remarks == {}
    check = check_support(Stemmed(case, case.twin or case.call), example, analysis)
    assert check.agrees, check.text
    assert check.positions == 3
