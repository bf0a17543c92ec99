"""What moves the field, at the edges of maps and where channels are told apart."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from dilsearch.geometry import Resample
from dilsearch.tracing.tracer import trace_model

Agreed = Callable[..., Any]
MODES = ("nearest", "nearest-exact", "bilinear", "bicubic", "area")


def conv(inputs: int = 4, outputs: int = 4, taps: int = 3, rate: int = 1, **more: Any) -> nn.Conv2d:
    padding = more.pop("padding", rate * (taps - 1) // 2)
    return nn.Conv2d(inputs, outputs, taps, padding=padding, dilation=rate, **more)


def two(m: Any, x: Tensor) -> Tensor:
    return torch.cat([m.near(x), m.far(x)], 1)


def held(**more: nn.Module) -> dict[str, nn.Module]:
    return {"near": conv(4, 2), "far": conv(4, 2, rate=3), **more}


@pytest.mark.parametrize(("part", "field_px"), [(0, 5), (1, 9)])
def test_the_field_of_a_part_is_that_of_its_channels(
    part: int, field_px: int, agreed: Agreed
) -> None:
    analysis = agreed(lambda m, x: m.behind(two(m, x).chunk(2, 1)[part]), **held(behind=conv(2, 2)))
    assert analysis.field_px == (field_px, field_px)


@pytest.mark.parametrize(("groups", "fields"), [(1, [9, 9]), (2, [5, 9]), (4, [5, 9])])
def test_groups_see_their_own_branch(groups: int, fields: list[int], agreed: Agreed) -> None:
    analysis = agreed(
        lambda m, x: tuple(m.grouped(two(m, x)).split(2, 1)),
        **held(grouped=conv(4, 4, groups=groups)),
    )
    assert [output.field_px for output in analysis.outputs] == [(n, n) for n in fields]


def test_groups_across_two_branches_see_both(agreed: Agreed) -> None:
    analysis = agreed(
        lambda m, x: tuple(m.grouped(torch.cat([two(m, x), x[:, :2]], 1)).split(1, 1)),
        **held(grouped=conv(6, 2, groups=2)),
    )
    assert [output.field_px for output in analysis.outputs] == [(9, 9), (9, 9)]


def test_groups_of_a_transposed_convolution_see_their_own_branch(agreed: Agreed) -> None:
    up = nn.ConvTranspose2d(4, 4, 3, 2, 1, output_padding=1, groups=2, dilation=2)
    analysis = agreed(lambda m, x: tuple(m.up(two(m, x)).split(2, 1)), **held(up=up))
    near, far = analysis.outputs
    assert near.field_px < far.field_px
    assert near.stride_px == far.stride_px


def test_one_tap_leaves_groups_where_they_are(agreed: Agreed) -> None:
    analysis = agreed(
        lambda m, x: m.mix(two(m, x))[:, :2], **held(mix=nn.Conv2d(4, 4, 1, groups=2))
    )
    assert analysis.field_px == (3, 3)


@pytest.mark.parametrize("size", [(22, 29), (7, 9), (11, 20)])
def test_interpolation_to_a_size(size: tuple[int, int], agreed: Agreed) -> None:
    agreed(
        lambda m, x: {mode: F.interpolate(m.near(x), size, mode=mode) for mode in MODES},
        positions=15,
        **held(),
    )


@pytest.mark.parametrize("factor", [2.0, 0.4, 1.7])
def test_interpolation_by_a_factor(factor: float, agreed: Agreed) -> None:
    agreed(
        lambda m, x: {
            **{mode: F.interpolate(m.near(x), scale_factor=factor, mode=mode) for mode in MODES},
            "sized": F.interpolate(
                m.near(x), scale_factor=factor, mode="bilinear", recompute_scale_factor=True
            ),
        },
        positions=18,
        **held(),
    )


def test_interpolation_between_corners(agreed: Agreed) -> None:
    def forward(m: Any, x: Tensor) -> dict[str, Tensor]:
        return {
            f"{mode} {size}": F.interpolate(m.near(x), size, mode=mode, align_corners=True)
            for mode in ("bilinear", "bicubic")
            for size in ((21, 27), (1, 5))
        }

    agreed(forward, positions=12, **held())


def test_antialiased_interpolation_is_named(model: Any) -> None:
    def forward(m: Any, x: Tensor) -> Tensor:
        return F.interpolate(x, (5, 5), mode="bilinear", antialias=True)

    trace = trace_model(model(forward), torch.empty(1, 2, 9, 9))
    assert list(trace.graph.unfollowed.values()) == [
        "aten._upsample_bilinear2d_aa.vec in the model's own forward"
    ]


def test_cropping_and_padding_of_any_side(agreed: Agreed) -> None:
    analysis = agreed(
        lambda m, x: {
            "crop": m.near(F.pad(m.far(x), (-2, 0, 0, -3))),
            "right": m.near(F.pad(m.far(x), (0, 3))),
            "moved": m.near(F.pad(m.far(x), (1, -1, -2, 2))),
            "reflected": m.near(F.pad(m.far(x), (2, 1, 0, 3), mode="reflect")),
            "round": m.near(F.pad(m.far(x), (2, 1, 0, 3), mode="circular")),
            "last": m.near(F.pad(m.far(x), (2, 1, 0, 3), mode="replicate")),
        },
        positions=18,
        near=conv(2, 2, padding=0),
        far=conv(4, 2, rate=3),
    )
    assert {output.name for output in analysis.outputs} == {
        *("crop", "right", "moved", "reflected", "round", "last")
    }


def test_a_causal_convolution_by_chomping(agreed: Agreed) -> None:
    analysis = agreed(
        lambda m, x: m.near(x)[:, :, :-4],
        (1, 2, 23),
        near=nn.Conv1d(2, 2, 3, padding=4, dilation=2),
    )
    assert analysis.outputs[0].centre_px == (-2.0,)


def test_slices_with_steps_and_from_the_end(agreed: Agreed) -> None:
    analysis = agreed(
        lambda m, x: {
            "steps": m.near(x[:, :, ::2, 1::3]),
            "end": m.near(x)[..., -5:],
            "beyond": m.near(x)[:, :, -100:5],
            "channels": two(m, x)[:, -100:2],
            "space to depth": torch.cat([m.near(x[:, :, i::2]) for i in (0, 1)], 1)[:, 2:],
        },
        (1, 4, 12, 14),
        positions=15,
        **held(),
    )
    fields = {output.name: output.field_px for output in analysis.outputs}
    assert fields["steps"] == (5, 7)
    assert fields["channels"] == (3, 3)


@pytest.mark.parametrize("size", [(8, 11), (9, 12), (10, 13)])
def test_pools_that_round_up(size: tuple[int, int], agreed: Agreed) -> None:
    agreed(
        lambda m, x: (
            m.near(F.max_pool2d(x, 3, 2, ceil_mode=True)),
            m.near(F.avg_pool2d(x, (2, 3), (3, 2), (1, 0), ceil_mode=True)),
        ),
        (1, 4, *size),
        positions=6,
        **held(),
    )


def test_a_pool_of_powers_reads_the_same_window(model: Any) -> None:
    trace = trace_model(
        model(lambda m, x: F.lp_pool2d(x, 2, (3, 2), 2, ceil_mode=True)), torch.empty(1, 2, 8, 9)
    )
    field = trace.graph.propagate().at(trace.graph.outputs[0])
    assert [(axis.size_px, axis.stride_px) for axis in field] == [(3, 2), (2, 2)]
    assert trace.graph.sizes[trace.graph.outputs[0]] == (4, 5)


def test_a_pool_over_the_whole_map_is_context(agreed: Agreed) -> None:
    analysis = agreed(lambda m, x: m.near(x) * F.avg_pool2d(m.far(x), (11, 14)), **held())
    (found,) = analysis.global_context
    assert found.cause == "avg_pool2d in the model's own forward"
    assert found.field_px == (7, 7)
    assert analysis.field_px == (3, 3)


def test_shuffled_pixels_keep_to_their_own_channels(agreed: Agreed) -> None:
    def forward(m: Any, x: Tensor) -> Tensor:
        mixed = torch.stack([m.far(x), m.near(x)], 2).flatten(1, 2)
        return F.pixel_shuffle(mixed, 2)

    output = agreed(forward, **held()).outputs[0]
    # columns come from channels that see 7 and 3 px in turn, rows from both
    assert (output.field_px, output.field_min_px) == ((7, 7), (7, 3))


def test_rows_and_columns_are_repeated(agreed: Agreed) -> None:
    # coordinate attention: pooled along one axis, which then sees all of it, and no more
    def forward(m: Any, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        rows = F.adaptive_avg_pool2d(m.near(x), (11, 1))
        columns = F.adaptive_avg_pool2d(m.near(x), (1, 14))
        return m.far(x) * rows, m.near(x) + columns, m.behind(rows.expand(-1, -1, -1, 14))

    analysis = agreed(forward, positions=9, **held(behind=conv(2, 2)))
    assert analysis.global_context == ()


def test_a_module_that_runs_twice_has_two_nodes(model: Any) -> None:
    shared = conv(2, 2)
    trace = trace_model(
        model(lambda m, x: m.a(F.relu(m.b(x))), a=shared, b=shared), torch.empty(1, 2, 9, 9)
    )
    # one module is one site, by the first path that leads to it
    assert list(trace.layers) == ["a", "a:2"]
    assert trace.modules["a"] == "a:2"
    again = trace_model(model(lambda m, x: m.a(m.a(x)), a=shared), torch.empty(1, 2, 9, 9))
    assert list(again.layers) == ["a", "a:2"]
    assert again.modules["a"] == "a:2"
    assert again.graph.site_names == ("a", "a:2")


def test_weights_that_are_functions_or_parametrized(agreed: Agreed) -> None:
    analysis = agreed(
        lambda m, x: F.conv2d(m.normal(x), m.weight, padding="same", dilation=2),
        normal=weight_norm(conv(4, 4)),
        weight=nn.Parameter(torch.ones(2, 4, 3, 3)),
    )
    kinds = [(site.name, site.kind, site.rate) for site in analysis.sites]
    assert kinds == [("normal", "ParametrizedConv2d", (1, 1)), ("conv2d_1", "conv2d", (2, 2))]


def test_weights_that_come_from_the_input_are_not_followed(model: Any) -> None:
    def forward(m: Any, x: Tensor) -> Tensor:
        return F.conv2d(x, x.mean((2, 3))[:, :, None, None])

    trace = trace_model(model(forward), torch.empty(2, 2, 9, 9))
    assert list(trace.graph.unfollowed.values()) == [
        "aten.conv2d.default in the model's own forward"
    ]


def test_kernels_over_pooled_channels_do_not_lie_in_space(agreed: Agreed) -> None:
    # efficient channel attention, and what is done to its channels behind it
    def forward(m: Any, x: Tensor) -> Tensor:
        pooled = F.adaptive_avg_pool2d(x, 1).squeeze(-1).transpose(-1, -2)
        gate = m.along(pooled).transpose(-1, -2).unsqueeze(-1)
        first, second = (x * gate.sigmoid().expand_as(x)).chunk(2, 1)
        return m.behind(torch.cat([second, first], 1))

    analysis = agreed(forward, along=nn.Conv1d(1, 1, 3, padding=1), behind=conv(4, 2))
    assert analysis.field_px == (3, 3)
    assert [site.field_out_px for site in analysis.sites] == [None, (3, 3)]
    assert analysis.outputs[0].global_context


def test_a_convolution_along_one_axis_of_the_plane(agreed: Agreed) -> None:
    def forward(m: Any, x: Tensor) -> Tensor:
        rows = x.permute(0, 2, 1, 3).flatten(0, 1)
        return m.along(rows).unflatten(0, (1, 11)).permute(0, 2, 1, 3)

    analysis = agreed(forward, along=nn.Conv1d(4, 2, 3, 1, 2, 2))
    assert analysis.field_px == (1, 5)


def test_upsampling_keeps_a_table(model: Any) -> None:
    trace = trace_model(
        model(lambda m, x: m.up(x), up=nn.ConvTranspose2d(2, 2, 2, 3)), torch.empty(1, 2, 5, 5)
    )
    (node,) = [node for node in trace.graph.nodes if isinstance(node, Resample)]
    assert [len(offsets) for offsets in node.table[0].offsets] == [1, 1, 0]
    assert trace.layers["up"].transposed
