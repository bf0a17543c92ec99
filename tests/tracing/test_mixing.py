"""Layouts, channels told apart, global context, and what is written into tensors."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dilsearch.tracing.tracer import Trace, trace_model

Agreed = Callable[..., Any]
SIZE = (11, 14)


def conv(inputs: int = 4, outputs: int = 4, rate: int = 1, groups: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, padding=rate, dilation=rate, groups=groups)


def held(**more: nn.Module) -> dict[str, nn.Module]:
    return {"near": conv(4, 2), "far": conv(4, 2, rate=3), **more}


def two(m: Any, x: Tensor) -> Tensor:
    """Two channels that see 3 px and two that see 7."""
    return torch.cat([m.near(x), m.far(x)], 1)


def shuffled(x: Tensor) -> Tensor:
    return x.unflatten(1, (2, 2)).transpose(1, 2).flatten(1, 2)


def over_last(m: Any, x: Tensor, last: Callable[[Tensor], Tensor]) -> Tensor:
    return last(two(m, x).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def over_tokens(m: Any, x: Tensor, last: Callable[[Tensor], Tensor]) -> Tensor:
    return last(two(m, x).flatten(2).transpose(1, 2)).transpose(1, 2).unflatten(2, SIZE)


def patches(x: Tensor) -> Tensor:
    """``b (c p q) h w -> b c (p q) h w`` and one of the positions."""
    return x.reshape(1, 1, 2, 2, *SIZE).flatten(2, 3)[:, :, 3]


CHANNELS: dict[str, tuple[Callable[[Any, Tensor], Tensor], int]] = {
    "one of the shuffled": (lambda m, x: shuffled(two(m, x))[:, 1:2], 7),
    "shuffled as a module": (lambda m, x: nn.ChannelShuffle(2)(two(m, x))[:, 2:3], 3),
    "shuffled back": (lambda m, x: shuffled(shuffled(two(m, x)))[:, :2], 3),
    "depthwise": (lambda m, x: m.depthwise(two(m, x))[:, 1:2], 5),
    "depthwise, the other": (lambda m, x: m.depthwise(two(m, x))[:, 2:3], 9),
    "selected": (lambda m, x: two(m, x).select(1, 1).unsqueeze(1), 3),
    "from the end": (lambda m, x: two(m, x)[:, -1:], 7),
    "reversed": (lambda m, x: two(m, x).flip(1)[:, :2], 7),
    "einops": (lambda m, x: patches(two(m, x)), 7),
    "in the batch": (lambda m, x: two(m, x).view(2, 2, *SIZE)[:1], 3),
    "picked, any of all": (lambda m, x: two(m, x)[:, m.index], 7),
    "interleaved": (lambda m, x: torch.stack([m.far(x), m.near(x)], 2).flatten(1, 2)[:, 1:2], 3),
    "a linear layer over channels": (lambda m, x: over_last(m, x, m.linear)[:, :1], 7),
    "a norm over channels": (lambda m, x: over_last(m, x, m.norm)[:, :1], 7),
    "tokens kept apart": (lambda m, x: over_tokens(m, x, F.gelu)[:, :2], 3),
    "tokens mixed": (lambda m, x: over_tokens(m, x, m.linear)[:, :2], 7),
    "halves that gate": (lambda m, x: F.glu(two(m, x)[:, :2], 1), 3),
    "a unit length": (lambda m, x: F.normalize(two(m, x), dim=1)[:, :1], 7),
    "the larger of two": (lambda m, x: torch.max(m.near(x), m.far(x)), 7),
    "channels weighed by channels": (
        lambda m, x: (m.near(x).mean((2, 3)).view(1, 1, 2) @ m.far(x).flatten(2)).unflatten(
            2, SIZE
        ),
        7,
    ),
    "a sum of products": (lambda m, x: torch.einsum("bchw,dc->bdhw", m.near(x), m.weight), 3),
}


@pytest.mark.parametrize("name", CHANNELS)
def test_channels_are_told_apart(name: str, agreed: Agreed) -> None:
    function, field_px = CHANNELS[name]
    more = {
        "depthwise": conv(groups=4),
        "linear": nn.Linear(4, 4),
        "norm": nn.LayerNorm(4),
        "weight": nn.Parameter(torch.ones(3, 2)),
        "index": nn.Buffer(torch.tensor([0, 3, 1])),
    }
    known = name != "picked, any of all"  # the index lies in a buffer, whose values are not read
    analysis = agreed(function, exact=known, **held(**more))
    assert analysis.field_px == (field_px, field_px)
    assert bool(analysis.remarks) is not known


def written(m: Any, x: Tensor) -> Tensor:
    y = torch.zeros_like(x)
    y[:, :2] = m.near(x)
    y[:, 2:] = m.far(x)
    return y


def added(m: Any, x: Tensor) -> Tensor:
    y = m.same(x)
    y[:, 2:] += m.far(x)
    return y


def padded_by_hand(m: Any, x: Tensor) -> Tensor:
    y = x.new_zeros(1, 2, 13, 16)
    y[:, :, 2:, 1:-1] = m.near(x)
    return y


def changed_behind_a_view(m: Any, x: Tensor) -> Tensor:
    y = m.near(x)
    view = y.flatten(2)
    y.add_(m.far(x))
    return view.unflatten(2, SIZE)


WRITTEN: dict[str, tuple[Callable[[Any, Tensor], Tensor], int]] = {
    "parts": (lambda m, x: written(m, x)[:, :2], 3),
    "the other part": (lambda m, x: written(m, x)[:, 2:], 7),
    "a sum": (lambda m, x: added(m, x)[:, 2:], 7),
    "what is left": (lambda m, x: added(m, x)[:, :2], 3),
    "padding": (padded_by_hand, 3),
    "a view": (changed_behind_a_view, 7),
}


@pytest.mark.parametrize("name", WRITTEN)
def test_what_is_written_into_a_tensor_is_seen(name: str, agreed: Agreed) -> None:
    function, field_px = WRITTEN[name]
    analysis = agreed(function, **held(same=conv()))
    assert analysis.field_px == (field_px, field_px)


def tokens(x: Tensor) -> Tensor:
    return x.flatten(2).transpose(1, 2)


CONTEXT: dict[str, Callable[[Any, Tensor], Tensor]] = {
    "mean": lambda m, x: x.mean((2, 3)),
    "adaptive_avg_pool2d": lambda m, x: F.adaptive_avg_pool2d(x, 1),
    "amax": lambda m, x: x.amax((2, 3), keepdim=True),
    "linear": lambda m, x: F.linear(x.flatten(2), x.new_ones(3, 154)),
    "softmax": lambda m, x: x.flatten(2).softmax(2),
    "matmul": lambda m, x: tokens(x) @ x.flatten(2),
    "bmm": lambda m, x: torch.bmm(x.flatten(2), tokens(x)),
    "cumsum": lambda m, x: x.cumsum(3),
    "cat": lambda m, x: torch.cat([x, x], 3),
    "group_norm": lambda m, x: F.group_norm(x, 1),
    "instance_norm": lambda m, x: F.instance_norm(x),
    "batch_norm": lambda m, x: F.batch_norm(x, None, None, training=True),
    "layer_norm": lambda m, x: F.layer_norm(x, (4, *SIZE)),
    "scaled_dot_product_attention": lambda m, x: F.scaled_dot_product_attention(
        tokens(x), tokens(x), tokens(x)
    ),
    "einsum": lambda m, x: torch.einsum("bchw,bchw->bc", x, x),
    "std": lambda m, x: x.std(),
    "var": lambda m, x: torch.var(x, unbiased=False),
}


def traced(model: Any, function: Callable[[Any, Tensor], Any], **more: Any) -> Trace:
    inner = model(function, **more)
    outer = model(lambda m, x: m.mixer(m.stem(x)), stem=conv(), mixer=inner)
    return trace_model(outer, torch.empty(1, 4, *SIZE))


@pytest.mark.parametrize("name", CONTEXT)
def test_global_context_is_named_with_its_module(name: str, model: Any) -> None:
    trace = traced(model, CONTEXT[name])
    assert trace.graph.unfollowed == {}
    found = [node for node in trace.graph.nodes if hasattr(node, "cause")]
    assert [node.cause for node in found] == [f"{name} in module 'mixer'"]
    assert found[0].source == "stem"
    table = trace.graph.propagate()
    assert table.global_context(trace.graph.outputs[0])
    local = name.endswith(("_norm", "softmax"))  # each position beside what all give
    assert (trace.graph.outputs[0] in table.spans) is local


POINTWISE_NORMS = (nn.BatchNorm2d(4), nn.InstanceNorm2d(4, track_running_stats=True))


@pytest.mark.parametrize("norm", POINTWISE_NORMS, ids=lambda norm: type(norm).__name__)
def test_norms_with_running_statistics_are_pointwise(norm: nn.Module, agreed: Agreed) -> None:
    assert agreed(lambda m, x: m.norm(m.near(x)), near=conv(), norm=norm).global_context == ()


def test_attention_over_channels_stays_in_place(agreed: Agreed) -> None:
    def forward(m: Any, x: Tensor) -> Tensor:
        q, k, v = (m.near(x).flatten(2) for _ in range(3))
        weights = (q @ k.transpose(1, 2)).softmax(-1)
        return (weights @ v).unflatten(2, SIZE)

    analysis = agreed(forward, **held())
    assert analysis.field_px == (3, 3)
    assert [found.cause for found in analysis.global_context] == [
        "matmul in the model's own forward"
    ]


@torch.library.custom_op("dilsearch_tests::blur", mutates_args=())
def blur(x: Tensor) -> Tensor:
    return x.clone()


@blur.register_fake
def _(x: Tensor) -> Tensor:
    return torch.empty_like(x)


UNFOLLOWED: dict[str, Callable[[Any, Tensor], Tensor]] = {
    "aten.roll.default": lambda m, x: x.roll(1, 2),
    "aten.grid_sampler.default": lambda m, x: F.grid_sample(
        x, x[:, :2].movedim(1, -1), align_corners=False
    ),
    "dilsearch_tests.blur.default": lambda m, x: blur(x),
    "aten.im2col.default": lambda m, x: F.unfold(x, 3),
    "aten.flip.default": lambda m, x: x.flip(3),
    "aten.select.int": lambda m, x: x[:, :, 2],
    "aten.index_select.default": lambda m, x: x.index_select(2, m.index),
    "aten.split.Tensor": lambda m, x: x.split(7, 3)[1],
    "aten.add.Tensor": lambda m, x: x[..., :11] + x[..., :11].transpose(2, 3),
    "aten.cat.default": lambda m, x: torch.cat([x[..., :11], x[..., :11].transpose(2, 3)], 1),
    "aten.glu.default": lambda m, x: F.glu(x, 3),
    "aten.repeat.default": lambda m, x: x.repeat(1, 1, 2, 1),
}


@pytest.mark.parametrize("name", UNFOLLOWED)
def test_what_is_not_followed_is_named_with_its_module(name: str, model: Any) -> None:
    trace = traced(model, UNFOLLOWED[name], index=nn.Buffer(torch.tensor([0, 3])))
    assert set(trace.graph.unfollowed.values()) == {f"{name} in module 'mixer'"}
    (output,) = trace.graph.outputs
    assert set(trace.graph.unfollowed) & trace.graph.upstream(output)
    # what it reads counts still, as a lower bound
    assert trace.graph.propagate().at(output)[0].size_px >= 3


def test_convolutions_behind_a_part_of_space_are_followed(model: Any) -> None:
    trace = traced(model, lambda m, x: m.behind(x.chunk(2, 2)[1]), behind=conv())
    assert set(trace.graph.unfollowed.values()) == {"aten.chunk.default in module 'mixer'"}
    assert trace.graph.propagate().at(trace.graph.outputs[0])[0].size_px == 5


def test_constants_have_no_place(model: Any) -> None:
    trace = traced(model, lambda m, x: (x, torch.zeros_like(x)))
    assert trace.output_names == ("0",)
    assert trace.modules == {"stem": "stem", "": "stem"}
