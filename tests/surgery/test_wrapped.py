"""Models that torch.compile and DistributedDataParallel have wrapped, wholly and in parts."""

import copy
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from surgery_zoo import chain
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

from dilsearch.errors import SurgeryError
from dilsearch.layers import RelaxedConv2d
from dilsearch.sites import PerBranch, PerSite
from dilsearch.surgery import (
    clamp_rates,
    discretize,
    field_graph,
    rate_parameters,
    read_plan,
    relax,
    relaxed_sites,
)
from dilsearch.surgery.companion import companion_of
from dilsearch.tracing import trace_graph

X = torch.rand(1, 4, 16, 16, generator=torch.Generator().manual_seed(0))
SITES = {"1.0": PerBranch(1, 8), "2": PerSite(1, 8)}


@pytest.fixture(autouse=True)
def called_without_compiling() -> Iterator[None]:
    """No compiler follows the shape checks of a test run; what is called is what would be."""
    with torch.compiler.set_stance("force_eager"):
        yield


@pytest.fixture
def process_group(tmp_path: Path) -> Iterator[None]:
    store = distributed.FileStore(str(tmp_path / "store"), 1)
    distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    yield
    distributed.destroy_process_group()


def compiled(module: nn.Module) -> nn.Module:
    wrapper: nn.Module = torch.compile(module, backend="eager")  # type: ignore[assignment]
    return wrapper


def nested() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(4, 8, 3, padding=1),
        nn.Sequential(nn.Conv2d(8, 8, 3, padding=1, groups=2), nn.ReLU()),
        nn.Conv2d(8, 4, 3, padding=1),
    )


def partly_compiled() -> nn.Module:
    """A compiled block, and a compiled convolution."""
    model = nested()
    model[1], model[2] = compiled(model[1]), compiled(model[2])
    return model


def test_compiled_parts_stay_compiled_and_names_are_plain() -> None:
    model = partly_compiled()
    relaxed = relax(model, SITES, example=X)
    assert list(relaxed_sites(relaxed)) == list(read_plan(relaxed)) == ["1.0", "2"]
    assert [type(module) for module in relaxed] == [type(module) for module in model]
    assert isinstance(relaxed[2]._orig_mod, RelaxedConv2d)
    torch.testing.assert_close(relaxed(X), model(X), rtol=1e-5, atol=1e-6)
    before = relaxed(X)
    with torch.no_grad():  # what is compiled goes by the rates of the result, not of an old layer
        for rate in rate_parameters(relaxed):
            rate.add_(1.5)
    assert (relaxed(X) - before).abs().max() > 1e-3
    back = discretize(relaxed, read_plan(relaxed).replace({"1.0": (1, 1), "2": (1,)}))
    assert torch.equal(back(X), model(X))
    assert list(back.state_dict()) == list(model.state_dict())


def test_a_compiled_convolution_changed_in_place() -> None:
    model, expected = partly_compiled(), nested()(X)
    relaxed = relax(model, {"2": PerSite(1, 8)}, inplace=True)
    assert relaxed is model
    torch.testing.assert_close(relaxed(X), expected, rtol=1e-5, atol=1e-6)
    with torch.no_grad():
        rate_parameters(relaxed)[0].fill_(2.5)
    assert (relaxed(X) - expected).abs().max() > 1e-3


def test_a_traced_model_is_the_same_compiled_or_not() -> None:
    plain = trace_graph(nested(), X)
    assert trace_graph(partly_compiled(), X) == plain
    assert trace_graph(compiled(partly_compiled()), X) == plain


def test_wrapped_models_come_back_without_their_wrapper(process_group: None) -> None:
    model = nested()
    for wrapper in (
        compiled(model),
        DistributedDataParallel(model),
        nn.DataParallel(model),
        DistributedDataParallel(compiled(model)),
    ):
        relaxed = relax(wrapper, SITES)
        assert type(relaxed) is nn.Sequential
        assert list(read_plan(relaxed)) == ["1.0", "2"]
        assert not isinstance(model[2], RelaxedConv2d)
        with pytest.raises(SurgeryError, match=r"cannot be relaxed in place.*give the module"):
            relax(wrapper, SITES, inplace=True)


def test_relaxed_models_are_read_and_clamped_through_wrappers(process_group: None) -> None:
    relaxed = relax(nested(), SITES, example=X)
    for wrapper in (
        compiled(relaxed),
        DistributedDataParallel(relaxed),
        DistributedDataParallel(compiled(relaxed)),
    ):
        assert companion_of(wrapper) is companion_of(relaxed)
        assert field_graph(wrapper) is field_graph(relaxed)
        assert read_plan(wrapper) == read_plan(relaxed)
        with torch.no_grad():
            rate_parameters(wrapper)[1].fill_(30.0)
        wrapper(X).sum().backward()
        assert clamp_rates(wrapper, gap="enforce")["2"] == (5.0,)
        back = discretize(wrapper, clamp_rates(wrapper))
        assert type(back) is nn.Sequential
        torch.testing.assert_close(back(X), relaxed(X), rtol=1e-5, atol=1e-6)
        assert companion_of(back) is not None


def test_a_site_inside_a_distributed_part_is_refused(process_group: None) -> None:
    model = nn.Sequential(nested(), nn.Conv2d(4, 4, 3))
    model[0] = DistributedDataParallel(model[0])
    text = r"site '0.module.2' lies in the DistributedDataParallel '0', which would not know of its"
    with pytest.raises(SurgeryError, match=text):
        relax(model, {"0.module.2": PerSite(1, 8)})


def test_copies_keep_the_companion() -> None:
    relaxed = relax(chain(), {"3": PerSite(1, 8)})
    assert companion_of(copy.deepcopy(relaxed)) is companion_of(relaxed)
    assert companion_of(chain()) is None
