"""Weights travel with the rates they were trained with."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from dilsearch.errors import PlanError, SurgeryError
from dilsearch.plan import DilationPlan
from dilsearch.sites import PerBranch, PerSite
from dilsearch.surgery import discretize, load, read_plan, relax, save

SITES = {"3": PerBranch(1, 8), "5": PerSite(1, 8)}


def integer(model: nn.Module, first: tuple[float, float], last: float) -> nn.Module:
    relaxed = relax(model, SITES)
    return discretize(relaxed, read_plan(relaxed).replace({"3": first, "5": (last,)}))


def test_a_round_trip_is_exact(model: nn.Module, tmp_path: Path) -> None:
    network = integer(model, (1, 3), 2)
    save(network, tmp_path / "w.safetensors")
    other = integer(model, (1, 3), 2)
    for parameter in other.parameters():
        nn.init.normal_(parameter)
    x = torch.rand(1, 4, 16, 16)
    assert not torch.equal(other(x), network(x))
    assert torch.equal(load(other, tmp_path / "w.safetensors")(x), network(x))


def test_equal_models_give_equal_files(model: nn.Module, tmp_path: Path) -> None:
    for name in "ab":
        save(integer(model, (1, 3), 2), tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_relaxed_model_takes_its_rates_from_the_file(model: nn.Module, tmp_path: Path) -> None:
    relaxed = relax(model, {"3": PerBranch(1, 8, initial=2.5)})
    save(relaxed, tmp_path / "w")
    other = load(relax(model, {"3": PerBranch(1, 8)}), tmp_path / "w")
    assert read_plan(other)["3"] == (2.5, 2.5)


def test_other_rates_are_refused_where_a_state_dict_would_not_notice(
    model: nn.Module, tmp_path: Path
) -> None:
    save(integer(model, (1, 3), 2), tmp_path / "w")
    other = integer(model, (1, 4), 2)
    other.load_state_dict(load_file(tmp_path / "w"))  # negative control: all keys match
    with pytest.raises(
        PlanError, match=r"site '3' has rates \(1, 3\) in the file, \(1, 4\) in the model"
    ):
        load(other, tmp_path / "w")


def test_other_sites_are_refused(model: nn.Module, tmp_path: Path) -> None:
    save(integer(model, (1, 3), 2), tmp_path / "w")
    with pytest.raises(PlanError, match="site '5' is not in the model"):
        load(relax(model, {"3": PerBranch(1, 8)}), tmp_path / "w")


def test_other_weights_and_other_files_are_refused(model: nn.Module, tmp_path: Path) -> None:
    network = integer(model, (1, 3), 2)
    save_file({"a": torch.zeros(1)}, tmp_path / "plain")
    with pytest.raises(SurgeryError, match="holds weights but no plan"):
        load(network, tmp_path / "plain")
    with pytest.raises(SurgeryError, match="cannot read weights"):
        load(network, tmp_path / "absent")
    (tmp_path / "text").write_text("no tensors at all, but long enough to be read")
    with pytest.raises(SurgeryError, match="cannot read weights"):
        load(network, tmp_path / "text")
    save_file({"a": torch.zeros(1)}, tmp_path / "other", {"dilsearch.plan": _plan(network)})
    with pytest.raises(SurgeryError, match="holds the weights of another network"):
        load(network, tmp_path / "other")


def test_tied_weights_are_saved_under_every_name(shared: nn.Module, tmp_path: Path) -> None:
    relaxed = relax(shared, {"first": PerSite(1, 8)})
    save(relaxed, tmp_path / "w")
    other = load(relax(shared, {"first": PerSite(1, 8)}), tmp_path / "w")
    assert other.again is other.first


def test_a_model_without_sites_cannot_be_saved(model: nn.Module, tmp_path: Path) -> None:
    with pytest.raises(SurgeryError, match="was neither relaxed nor discretised"):
        save(model, tmp_path / "w")
    assert not list(tmp_path.iterdir())


def _plan(network: nn.Module) -> str:
    plan = DilationPlan.per_branch({"3": (1, 3), "5": (2,)})
    document = plan.to_json().splitlines()
    kinds = [i for i, line in enumerate(document) if '"kind"' in line]
    document[kinds[1]] = document[kinds[1]].replace("branch", "site")
    return "\n".join(document)
