"""With an example: sites whose bound means something, and networks that see the past alone."""

import pytest
import torch
from surgery_zoo import ZOO
from torch import Tensor, nn
from torch.nn import functional as F

from dilsearch.errors import SurgeryError
from dilsearch.geometry import Window
from dilsearch.sites import PerChannel, PerSite
from dilsearch.surgery import (
    clamp_rates,
    discretize,
    field_graph,
    rate_parameters,
    read_plan,
    relax,
)
from dilsearch.surgery.following import sees_no_future
from dilsearch.tracing import trace_graph

EXAMPLE = torch.empty(1, 4, 32, 32, device="meta")
SEQUENCE = torch.empty(1, 4, 40, device="meta")


class Hidden(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.used = nn.Conv2d(4, 4, 3, padding=1)
        self.unused = nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.used(torch.roll(x, 1, 2))


def test_sites_whose_field_is_unknown_are_refused() -> None:
    model = Hidden()
    with pytest.raises(SurgeryError) as raised:
        relax(model, {"*used": PerSite(1, 8)}, example=EXAMPLE)
    assert "site 'unused' is not reached from the input" in str(raised.value)
    assert "aten.roll.default in the model's own forward lies before a selected site" in str(
        raised.value
    )
    relax(model, {"used": PerSite(1, 8)})  # without an example the bound is out of reach, no more


class Twice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 3, padding=1)
        self.alias = self.conv

    def forward(self, x: Tensor) -> Tensor:
        return self.alias(self.conv(x))


def test_a_convolution_that_runs_twice_has_no_bound_of_its_own() -> None:
    with pytest.raises(SurgeryError, match="site 'conv' runs 2 times in one forward pass"):
        relax(Twice(), {"conv": PerSite(1, 8)}, example=EXAMPLE)
    relax(Twice(), {"conv": PerSite(1, 8)})


def test_unlike_channels_are_several_convolutions_in_a_program() -> None:
    model, sites = nn.Sequential(nn.Conv2d(4, 4, 3)), {"0": PerChannel(1, 8)}
    relaxed = relax(model, sites)
    plain = discretize(relaxed, read_plan(relaxed).replace({"0": (1, 2, 3, 1)}))
    with pytest.raises(SurgeryError, match="site '0' has different rates already, and is as many"):
        relax(plain, sites, example=EXAMPLE)
    relax(plain, sites)
    padded = discretize(relaxed, read_plan(relaxed).replace({"0": (2,) * 4}))
    relax(padded, sites, example=EXAMPLE)  # one rate is one convolution


def test_a_whole_model_has_no_name_in_a_graph() -> None:
    with pytest.raises(SurgeryError, match=r"the site is the whole model.*put it into a nn.Seq"):
        relax(nn.Conv2d(4, 4, 3), {"": PerSite(1, 8)}, example=EXAMPLE)
    relax(nn.Conv2d(4, 4, 3), {"": PerSite(1, 8)})


@pytest.mark.parametrize("name", ["padded ahead", "chomped"])
def test_a_network_that_sees_the_past_alone_keeps_doing_so(name: str) -> None:
    model = ZOO[name].built()
    with pytest.raises(SurgeryError) as raised:
        relax(model, {"*": PerSite(1, 8)}, example=SEQUENCE)
    assert "2 faults" in str(raised.value)
    assert (
        "site 'second' is part of a network that sees the past alone, and a rate that moves its "
        "taps around the middle one would let it see the future; give it causal = True"
    ) in str(raised.value)
    relaxed = relax(model, {"*": PerSite(1, 8, causal=True)}, example=SEQUENCE)
    graph = field_graph(relaxed)
    assert graph is not None
    assert all(node.causal for node in graph.nodes if isinstance(node, Window) and node.site)
    with torch.no_grad():
        for rate in rate_parameters(relaxed):
            rate.fill_(7.7)
    assert dict(clamp_rates(relaxed, gap="enforce")) == {"first": (1,), "second": (3,)}
    x = torch.rand(1, 4, 40)
    late = x.clone()
    late[..., 20:] += 1
    assert torch.equal(relaxed(late)[..., :20], relaxed(x)[..., :20])
    # the control: with the middle tap in place it does see ahead
    loose = relax(model, {"*": PerSite(1, 8, initial=6.5)})
    assert not torch.equal(loose(late)[..., :20], loose(x)[..., :20])


def test_without_an_example_nobody_knows_and_nobody_is_told() -> None:
    relax(ZOO["chomped"].built(), {"*": PerSite(1, 8)})


class Strided(nn.Module):
    """Halved and doubled again: looks ahead within a pair of positions, or behind."""

    def __init__(self, shift: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(4, 4, 2, stride=2)
        self.shift = shift

    def forward(self, x: Tensor) -> Tensor:
        y = F.interpolate(self.conv(x), scale_factor=2)
        return F.pad(y, (self.shift, 0))[..., : x.shape[-1]]


class Pyramid(nn.Module):
    """Causal or not, with an output at half the positions, as a decimating encoder has."""

    def __init__(self, ahead: int) -> None:
        super().__init__()
        self.halving = nn.Conv1d(4, 4, 3, stride=2)
        self.conv = nn.Conv1d(4, 4, 3)
        self.ahead = ahead

    def forward(self, x: Tensor) -> Tensor:
        pads = (2 - self.ahead, self.ahead)
        return self.conv(F.pad(self.halving(F.pad(x, pads)), (2, 0)))


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        (ZOO["padded ahead"].built(), True),
        (ZOO["chomped"].built(), True),
        (nn.Conv1d(4, 4, 3, padding=1), False),
        (nn.Conv1d(4, 4, 1), False),  # sees nothing but itself: as causal as not
        (nn.Conv1d(4, 4, 3), False),  # another length, so that nobody knows which is its own
        (nn.Conv2d(4, 4, 3, padding=1), False),
        (nn.Sequential(nn.Conv1d(4, 4, 3, padding=1), nn.AdaptiveAvgPool1d(1)), False),
        (Strided(0), False),
        (Strided(1), True),
        (Pyramid(0), True),
        (Pyramid(1), False),
    ],
)
def test_what_sees_no_future(model: nn.Module, expected: bool) -> None:
    example = EXAMPLE if isinstance(model, nn.Conv2d) else SEQUENCE
    assert sees_no_future(trace_graph(model, example)) is expected


def test_a_causal_site_joins_the_graph_in_a_second_step() -> None:
    first = relax(ZOO["chomped"].built(), {"first": PerSite(1, 8, causal=True)}, example=SEQUENCE)
    both = relax(first, {"second": PerSite(1, 8, causal=True)})
    graph = field_graph(both)
    assert graph is not None
    windows = [node for node in graph.nodes if isinstance(node, Window) and node.site]
    assert [node.causal for node in windows] == [True, True]
    assert [node.causal for node in field_graph(first).nodes if isinstance(node, Window)].count(
        True
    ) == 1
