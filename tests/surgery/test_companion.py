"""What travels beside a model stays with it and its copies, and with what is made of it."""

import copy
import pickle

import pytest
import torch
from surgery_zoo import chain
from torch import nn
from torch.fx import symbolic_trace
from torchvision.models.feature_extraction import create_feature_extractor

from dilsearch.sites import PerSite
from dilsearch.surgery import apply_plan, discretize, field_graph, read_plan, relax
from dilsearch.surgery.companion import companion_of
from dilsearch.surgery.present import known_sites

X = torch.empty(1, 4, 32, 32)


@pytest.mark.parametrize("is_graph_module", [True, False])
def test_copies_and_what_is_made_of_them_keep_it(is_graph_module: bool) -> None:
    model: nn.Module = symbolic_trace(chain()) if is_graph_module else chain()
    assert companion_of(model) is None
    sites = {name: PerSite(1, 8) for name in ("3", "5")}
    relaxed = relax(model, sites, example=X)
    graph, plan = field_graph(relaxed), read_plan(relaxed)
    assert graph is not None
    plain = discretize(relaxed, plan)
    for one in (
        relaxed,
        copy.deepcopy(relaxed),
        plain,
        copy.deepcopy(plain),
        discretize(copy.deepcopy(relaxed), plan),
        apply_plan(relaxed, plan),
        apply_plan(plain, plan),
        apply_plan(copy.deepcopy(plain), plan, inplace=True),
    ):
        assert field_graph(one) is graph
        assert known_sites(one) == sites
        assert not any("dilsearch" in name for name in one.state_dict())
    assert companion_of(model) is None  # which was left as it was
    again = companion_of(pickle.loads(pickle.dumps(relaxed)))
    assert again is not None
    assert again.sites == sites


def test_a_copy_of_a_graph_module_loses_other_attributes() -> None:
    # the control: why it is kept in the module's meta
    model = symbolic_trace(chain())
    model.kept = 1
    assert not hasattr(copy.deepcopy(model), "kept")


def test_graph_modules_of_torchvision_keep_it_too() -> None:
    # they come without meta
    model = create_feature_extractor(chain(), ["3"])
    relaxed = relax(model, {"3": PerSite(1, 8)}, example=X)
    copied = copy.deepcopy(relaxed)
    assert field_graph(copied) is field_graph(relaxed) is not None
