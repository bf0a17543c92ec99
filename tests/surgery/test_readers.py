"""Parents that read a convolution's dilation or padding compute as before, whatever its rates."""

import functools
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional as F

from dilsearch.layers import BranchConv2d, MixedRateConv
from dilsearch.plan import DilationPlan, SiteRates
from dilsearch.sites import Granularity, PerBranch, PerChannel, PerSite
from dilsearch.surgery import apply_plan, discretize, read_plan, readers, relax
from dilsearch.surgery.readers import read_sites
from dilsearch.surgery.selection import named_modules
from dilsearch.tracing import trace_graph


def fixed_padding(x: Tensor, kernel_size: int, dilation: int) -> Tensor:
    """As Xception pads: ahead of a convolution that pads nothing."""
    reach = (kernel_size - 1) * dilation
    return F.pad(x, (reach // 2, reach - reach // 2) * 2)


class FixedPadding(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(4, 4, 3, dilation=2, groups=2)
        self.pointwise = nn.Conv2d(4, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = fixed_padding(x, self.conv1.kernel_size[0], self.conv1.dilation[0])
        out: Tensor = self.pointwise(self.conv1(x))
        return out


class Causal(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(4, 4, 3, dilation=2)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv(F.pad(x, (2 * self.conv.dilation[0], 0)))
        return out


class Cropping(nn.Module):
    """Pads at both ends, and cuts off behind what its convolution says."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(4, 4, 3, padding=4, dilation=2)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv(x)[..., : -self.conv.padding[0]]  # type: ignore[index]
        return out


def apply_padded(conv: Any, x: Tensor) -> Tensor:
    return pad_for(conv, conv(x)) if x.dim() < 2 else conv(pad_for(conv, x))


def pad_for(conv: Any, x: Tensor) -> Tensor:
    return F.pad(x, [edge for reach in conv.dilation for edge in (reach, reach)])


class ByHelper(Causal):
    """A function, of a function, reads."""

    def forward(self, x: Tensor) -> Tensor:
        return apply_padded(self.conv, x)


PARENTS: dict[str, tuple[Callable[[], nn.Module], str, bool, tuple[int, ...]]] = {
    "fixed padding": (FixedPadding, "1.conv1", False, (12, 12)),
    "causal": (Causal, "1.conv", True, (20,)),
    "cropping": (Cropping, "1.conv", True, (20,)),
    "by helper": (ByHelper, "1.conv", False, (20,)),
}


@pytest.mark.parametrize("parent", PARENTS)
@pytest.mark.parametrize("kind", [PerSite, PerBranch, PerChannel])
def test_relaxed_discretised_and_planned_agree(parent: str, kind: type[Granularity]) -> None:
    torch.manual_seed(0)
    build, site, causal, sizes = PARENTS[parent]
    model = nn.Sequential(nn.Identity(), build()).double().eval()
    x = torch.rand(2, 4, *sizes, dtype=torch.float64)
    settings: dict[str, Any] = {"branches": 1} if kind is PerBranch else {}
    relaxed = relax(model, {site: kind(1, 8, initial=3, causal=causal, **settings)})
    plan = read_plan(relaxed)
    outputs = relaxed(x)
    assert outputs.shape == model(x).shape
    for plain in (discretize(relaxed, plan), apply_plan(model, plan)):
        assert isinstance(plain.get_submodule(site), MixedRateConv | BranchConv2d)
        torch.testing.assert_close(plain(x), outputs, rtol=1e-10, atol=1e-10)
        # and on, and back to what it was
        again = discretize(relax(plain, {site: kind(1, 8, causal=causal, **settings)}), plan)
        assert torch.equal(again(x), plain(x))
        back = apply_plan(plain, plan.replace({site: (2,) * len(plan[site])}))
        assert type(back.get_submodule(site)) is type(model.get_submodule(site))
        assert torch.equal(back(x), model(x))
        graph = trace_graph(relax(plain, {site: kind(1, 8, causal=causal, **settings)}), x)
        assert graph.sizes[graph.outputs[0]] == tuple(outputs.shape[2:])


@pytest.mark.parametrize("parent", PARENTS)
def test_without_asking_the_shapes_would_differ(
    parent: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    build, site, _, sizes = PARENTS[parent]
    model, x = nn.Sequential(nn.Identity(), build()), torch.rand(2, 4, *sizes)
    monkeypatch.setattr(readers, "_READ", frozenset())
    plain = apply_plan(model, read_plan(relax(model, {site: PerSite(1, 8, 3)})))
    assert not isinstance(plain.get_submodule(site), MixedRateConv)
    assert plain(x).shape != model(x).shape


def reading(forward: Callable[..., Any], **attributes: Any) -> nn.Module:
    """A module of a class of its own with this forward and a convolution."""

    def start(self: nn.Module) -> None:
        nn.Module.__init__(self)
        self.conv = nn.Conv2d(2, 2, 3)

    kind = type("Reading", (nn.Module,), {"__init__": start, "forward": forward, **attributes})
    module: nn.Module = kind()
    return module


def decorated(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def inner(*args: Any) -> Any:
        return function(*args)

    return inner


def one_deep(conv: Any) -> Any:
    return two_deep(conv)


def two_deep(conv: Any) -> Any:
    return three_deep(conv, getattr(conv, "groups"))  # noqa: B009


def three_deep(conv: Any, _: int) -> Any:
    return conv.dilation


def reads_itself(conv: Any) -> Any:
    return conv.padding


@pytest.mark.parametrize(
    ("module", "is_read"),
    [
        (reading(lambda self, x: self.conv(x)), False),
        (reading(lambda self, x: self.conv.stride), False),
        (reading(lambda self, x: self.conv.dilation), True),
        (reading(lambda self, x: [tap * self.conv.dilation[0] for tap in (1, 2)]), True),
        (reading(lambda self, x: getattr(self.conv, "dilation")), True),  # noqa: B009
        (reading(lambda self, x: F.pad(x, (1, 1))), False),  # torch's own code is left out
        (reading(lambda self, x: self.pad(x), pad=lambda self, x: self.conv.padding), True),
        (reading(lambda self, x: self.pad(x), pad=staticmethod(reads_itself)), True),
        (reading(lambda self, x: self.pad, pad=property(lambda self: self.conv.padding)), True),
        (reading(lambda self, x: self.pad(x), pad=functools.partial(reads_itself)), True),
        (reading(decorated(lambda self, x: self.conv.dilation)), True),
        (reading(lambda self, x: two_deep(self.conv)), True),
        (reading(lambda self, x: one_deep(self.conv)), False),  # deeper than is looked
        (nn.Sequential(nn.Conv2d(2, 2, 3)), False),
    ],
)
def test_what_the_code_tells(module: nn.Module, is_read: bool) -> None:
    model = nn.Sequential(module, nn.Conv2d(2, 2, 3))
    sites = [named for named in named_modules(model) if named.is_candidate]
    found = read_sites(model, sites)
    assert bool(found) is is_read
    assert "1" not in found  # beside what reads, not in it


def test_methods_that_are_overridden_count_and_so_does_a_modules_own_forward() -> None:
    class Called(Causal):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x)

    (site,) = (named for named in named_modules(Called()) if named.is_candidate)
    assert read_sites(Called(), [site]) == {"conv"}
    model: Any = nn.Sequential(nn.Conv2d(2, 2, 3))
    sites = [named for named in named_modules(model) if named.is_candidate]
    assert not read_sites(model, sites)
    model.forward = lambda x: model[0](x) + model[0].dilation[0]
    assert read_sites(model, sites) == {"0"}


def test_networks_that_read_nothing_get_torchs_own_convolutions() -> None:
    with torch.device("meta"):
        model = torchvision.models.resnet18()
    sites = {f"layer{stage}.1.conv2": SiteRates("site", (3,)) for stage in (1, 2, 3, 4)}
    plain = apply_plan(model, DilationPlan(sites))
    assert all(type(plain.get_submodule(site)) is nn.Conv2d for site in sites)
