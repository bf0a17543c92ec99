"""A convolution of several branches is one site, however its channels are split and joined."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from dilsearch.geometry import Part, Window
from dilsearch.layers import BranchConv2d
from dilsearch.tracing.tracer import trace_model

Agreed = Callable[..., Any]


def branches(*rates: int, channels: int = 4, **more: Any) -> BranchConv2d:
    given = {"padding": 1, "groups": len(rates), **more}
    return BranchConv2d(channels, channels, 3, rates=rates, **given)


@pytest.mark.parametrize(
    "conv",
    [
        branches(1, 3),
        branches(2, 2),
        branches(4, 1, stride=2),
        branches(1, 3, padding=0),
        branches(3, 1, padding=2, dilation=2, groups=4),
        branches(1, 2, 1, 5),
        branches(1, 3, padding=(0, 3)),
    ],
    ids=str,
)
def test_branches_see_what_is_measured(conv: BranchConv2d, agreed: Agreed) -> None:
    analysis = agreed(lambda m, x: m.conv(x), (1, 4, 17, 14), conv=conv)
    (site,) = analysis.sites
    assert (site.name, site.kind) == ("conv", "BranchConv2d")
    assert analysis.outputs[0].node == "conv"
    assert site.rates == tuple((rate, rate) for rate in conv.rates)


def test_one_branch_alone_is_a_part(agreed: Agreed) -> None:
    analysis = agreed(lambda m, x: m.conv(x).split(2, 1)[0], conv=branches(1, 4))
    assert analysis.field_px == (3, 3)
    node = analysis.graph.node(analysis.outputs[0].node)
    assert node == Part("conv[0]", "conv", analysis.graph.nodes[0].name, 0)


def test_branches_behind_branches_keep_apart(agreed: Agreed) -> None:
    def forward(m: Any, x: Tensor) -> tuple[Tensor, ...]:
        return m.second(m.first(x)).split(2, 1)

    analysis = agreed(forward, (1, 4, 21, 21), first=branches(1, 4), second=branches(3, 1))
    assert [output.field_px[0] for output in analysis.outputs] == [3 + 6, 9 + 2]


def test_branches_that_run_twice(agreed: Agreed) -> None:
    analysis = agreed(lambda m, x: m.conv(m.conv(x)), (1, 4, 21, 21), conv=branches(1, 3))
    assert [site.name for site in analysis.sites] == ["conv", "conv:2"]
    # each branch reads its own channels of the first pass
    assert analysis.field_px == (13, 13)


def test_branches_over_pooled_maps_are_context(model: Any) -> None:
    def forward(m: Any, x: Tensor) -> Tensor:
        return x * m.conv(x.mean((2, 3), keepdim=True))

    trace = trace_model(model(forward, conv=branches(1, 3)), torch.empty(1, 4, 9, 9))
    assert not any(isinstance(node, Window) for node in trace.graph.nodes)
    assert trace.graph.unfollowed == {}


def test_a_plan_sets_the_rate_of_a_branch() -> None:
    trace = trace_model(nn.Sequential(branches(1, 3)), torch.empty(1, 4, 17, 17))
    assert trace.graph.site_names == ("0",)
    plan = trace.graph.plan()
    assert dict(plan)["0"] == (1, 3)
    assert trace.modules["0"] == "0"
