"""Weights travel with the rates they were trained with."""

import json
import struct
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from dilsearch.errors import PlanError, SurgeryError
from dilsearch.plan import DilationPlan
from dilsearch.sites import Granularity, PerBranch, PerChannel, PerSite
from dilsearch.surgery import (
    apply_plan,
    clamp_rates,
    discretize,
    field_graph,
    load,
    read_plan,
    relax,
    save,
    saved_plan,
)

SITES = {"3": PerBranch(1, 8), "5": PerSite(1, 8)}


def integer(model: nn.Module, first: tuple[float, float], last: float) -> nn.Module:
    relaxed = relax(model, SITES)
    return discretize(relaxed, read_plan(relaxed).replace({"3": first, "5": (last,)}))


def values(model: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def unchanged(model: nn.Module, before: dict[str, Tensor]) -> bool:
    after = values(model)
    return list(after) == list(before) and all(torch.equal(after[n], before[n]) for n in before)


class Causal(nn.Module):
    """A convolution over time that sees the past alone."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(4, 4, 3, dilation=2)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(nn.functional.pad(x, (4, 0)))  # type: ignore[no-any-return]


FORMS: dict[str, tuple[Callable[[], nn.Module], Granularity, tuple[float, ...]]] = {
    "site": (lambda: nn.Conv2d(4, 4, 3, padding=1), PerSite(1, 8), (3,)),
    "branch": (lambda: nn.Conv2d(4, 4, 3, padding=1, groups=2), PerBranch(1, 8), (3, 1)),
    "channel": (lambda: nn.Conv2d(4, 4, 3, padding=1), PerChannel(1, 8), (3, 1, 2, 3)),
    "channels alike": (lambda: nn.Conv2d(4, 4, 3, padding=1), PerChannel(1, 8), (2, 2, 2, 2)),
    "depthwise": (lambda: nn.Conv2d(4, 4, 3, groups=4), PerChannel(1, 8), (3, 1, 2, 3)),
    "separate axes": (
        lambda: nn.Conv2d(4, 4, 3, padding=1),
        PerSite(1, 8, separate_axes=True),
        (2, 5),
    ),
    "branches with axes": (
        lambda: nn.Conv2d(4, 4, 3, padding=1, groups=2),
        PerBranch(1, 8, separate_axes=True),
        (2, 5, 3, 3),
    ),
    "single row of taps": (
        lambda: nn.Conv2d(4, 4, (1, 3), padding=(0, 1)),
        PerSite(1, 8, separate_axes=True),
        (1, 5),
    ),
    "cropped padding": (lambda: nn.Conv2d(4, 4, 3, padding=2, dilation=3), PerSite(1, 8), (1,)),
    "even kernel": (lambda: nn.Conv2d(4, 4, 4, padding=1), PerSite(1, 8), (3,)),
    "reflected": (
        lambda: nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect"),
        PerSite(1, 8),
        (3,),
    ),
    "volume": (lambda: nn.Conv3d(4, 4, 3, padding=1), PerSite(1, 8), (2,)),
    "causal": (Causal, PerSite(1, 8, causal=True), (3,)),
}


def built(form: str, *, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(FORMS[form][0]()).eval()


def site_of(form: str) -> str:
    return "0.conv" if form == "causal" else "0"


def searched(form: str) -> nn.Module:
    return relax(built(form), {site_of(form): FORMS[form][1]})


def image(form: str) -> Tensor:
    axes = {"causal": 1, "volume": 3}.get(form, 2)
    return torch.rand(2, 4, *[12] * axes, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("form", FORMS)
def test_every_kind_of_plan_comes_back_with_its_weights(form: str, tmp_path: Path) -> None:
    relaxed = searched(form)
    network = discretize(relaxed, read_plan(relaxed).replace({site_of(form): FORMS[form][2]}))
    save(network, tmp_path / "w")
    plan = saved_plan(tmp_path / "w")
    assert plan[site_of(form)] == FORMS[form][2]
    assert plan.sites[site_of(form)].causal == (form == "causal")
    other = apply_plan(built(form, seed=1), plan)
    assert not torch.equal(other(image(form)), network(image(form)))
    assert torch.equal(load(other, tmp_path / "w")(image(form)), network(image(form)))


@pytest.mark.parametrize("form", FORMS)
def test_learned_rates_come_back_whatever_their_form(form: str, tmp_path: Path) -> None:
    relaxed = searched(form)
    rates = tuple(rate + 0.25 for rate in FORMS[form][2])
    relaxed = apply_plan(relaxed, read_plan(relaxed).replace({site_of(form): rates}))
    save(relaxed, tmp_path / "w")
    other = load(searched(form), tmp_path / "w")
    assert read_plan(other) == read_plan(relaxed) == saved_plan(tmp_path / "w")
    assert torch.equal(other(image(form)), relaxed(image(form)))


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
    for name in "abcdef":
        save(integer(model, (1, 3), 2), tmp_path / name)
    assert len({path.read_bytes() for path in tmp_path.iterdir()}) == 1


def test_other_rates_are_refused_where_a_strict_state_dict_succeeds_silently(
    model: nn.Module, tmp_path: Path
) -> None:
    network, other = integer(model, (1, 3), 2), integer(model, (1, 4), 2)
    nn.init.normal_(network[5].weight)
    save(network, tmp_path / "w")
    x = torch.rand(1, 4, 16, 16)
    silent = deepcopy(other)
    keys = silent.load_state_dict(load_file(tmp_path / "w"), strict=True)
    assert not keys.missing_keys
    assert not keys.unexpected_keys
    assert silent(x).shape == network(x).shape
    assert not torch.allclose(silent(x), network(x), atol=1e-3)  # and nobody was told
    before = values(other)
    with pytest.raises(
        PlanError, match=r"site '3' has rates \(1, 3\) in the file, \(1, 4\) in the model"
    ):
        load(other, tmp_path / "w")
    assert unchanged(other, before)
    assert not unchanged(silent, before)  # control: the comparison sees loaded weights


def test_every_difference_is_told_and_nothing_loaded(model: nn.Module, tmp_path: Path) -> None:
    save(integer(model, (1, 3), 2), tmp_path / "w")
    other = relax(model, {"0": PerSite(1, 8), "3": PerSite(1, 8)})
    other = discretize(other, read_plan(other))
    other[5] = nn.Conv2d(8, 3, 3)
    before = values(other)
    with pytest.raises(PlanError) as told:
        load(other, tmp_path / "w")
    for sentence in (
        "5 faults",
        "site '0' is not in the file",
        "site '5' is not in the model",
        "site '3' has 2 rates of kind 'branch' in the file, 1 rate in the model",
        "'5.weight' has shape (4, 8, 3, 3) in the file, (3, 8, 3, 3) in the model",
    ):
        assert sentence in str(told.value)
    assert unchanged(other, before)


@pytest.mark.parametrize(
    ("granularity", "told"),
    [
        (PerChannel(1, 8), "2 rates of kind 'branch' in the file, 8 rates of kind 'channel'"),
        (PerBranch(1, 8, branches=4), "in the file, 4 rates of kind 'branch' in the model"),
        (
            PerBranch(1, 8, separate_axes=True),
            "in the file, 2 rates of kind 'branch' for each of 2 axes in the model",
        ),
    ],
)
def test_other_forms_are_refused(
    granularity: Granularity, told: str, model: nn.Module, tmp_path: Path
) -> None:
    save(relax(model, {"3": PerBranch(1, 8)}), tmp_path / "w")
    with pytest.raises(PlanError, match=told):
        load(relax(model, {"3": granularity}), tmp_path / "w")


def test_a_causal_site_is_not_one_that_sees_ahead(tmp_path: Path) -> None:
    save(searched("causal"), tmp_path / "w")
    other = relax(built("causal"), {"0.conv": PerSite(1, 8)})
    with pytest.raises(PlanError, match="1 rate with the last tap in place in the file, 1 rate in"):
        load(other, tmp_path / "w")


def test_the_first_of_many_rates_that_differs_is_shown(tmp_path: Path) -> None:
    build = nn.Conv2d(16, 2, 3, padding=1)
    relaxed = relax(nn.Sequential(build), {"0": PerChannel(1, 8)})
    rates = tuple(float(1 + channel % 3) for channel in range(16))
    save(discretize(relaxed, read_plan(relaxed).replace({"0": rates})), tmp_path / "w")
    other = discretize(relaxed, read_plan(relaxed).replace({"0": (*rates[:14], 1, 3)}))
    with pytest.raises(
        PlanError,
        match="differs in 2 of its 16 rates, first in channel 14: 3 in the file, 1 in the model",
    ):
        load(other, tmp_path / "w")


def test_rates_to_learn_and_plain_layers_are_told_apart(model: nn.Module, tmp_path: Path) -> None:
    relaxed = relax(model, {"3": PerBranch(1, 8)})
    plain = discretize(relaxed, read_plan(relaxed))
    save(relaxed, tmp_path / "relaxed")
    save(plain, tmp_path / "plain")
    with pytest.raises(PlanError, match="site '3' has rates to learn in the file, and plain"):
        load(plain, tmp_path / "relaxed")
    with pytest.raises(PlanError, match="site '3' has plain layers in the file, and rates to"):
        load(relaxed, tmp_path / "plain")


def test_rates_outside_the_limits_of_the_model_are_refused(
    model: nn.Module, tmp_path: Path
) -> None:
    save(relax(model, {"5": PerSite(1, 8, initial=6.5)}), tmp_path / "w")
    with pytest.raises(
        PlanError, match=r"site '5' has rates \(6.5\) in the file, outside its limits 1 to 6"
    ):
        load(relax(model, {"5": PerSite(1, 6)}), tmp_path / "w")


def test_sites_relaxed_after_others_were_discretised_are_compared_with_them(
    model: nn.Module, tmp_path: Path
) -> None:
    both = [relax(integer(model, (1, 3), last), {"0": PerSite(1, 8)}) for last in (2, 4)]
    save(both[0], tmp_path / "w")
    assert saved_plan(tmp_path / "w")["5"] == (2,)
    load(both[0], tmp_path / "w")
    with pytest.raises(PlanError, match=r"site '5' has rates \(2\) in the file, \(4\) in"):
        load(both[1], tmp_path / "w")


def test_a_plain_model_is_told_how_to_get_the_rates(model: nn.Module, tmp_path: Path) -> None:
    save(integer(model, (1, 3), 2), tmp_path / "w")
    before = values(model)
    with pytest.raises(SurgeryError, match=r"call apply_plan\(model, saved_plan\(path\)\) first"):
        load(model, tmp_path / "w")
    assert unchanged(model, before)
    load(apply_plan(model, saved_plan(tmp_path / "w")), tmp_path / "w")


def test_weights_of_another_network_are_refused(model: nn.Module, tmp_path: Path) -> None:
    network = integer(model, (1, 3), 2)
    save(network, tmp_path / "w")
    wider = deepcopy(network)
    wider[0] = nn.Conv2d(4, 9, 3)
    before = values(wider)
    with pytest.raises(SurgeryError) as told:
        load(wider, tmp_path / "w")
    assert "holds the weights of another network, 3 faults" in str(told.value)
    assert "the file has no '0.bias'" in str(told.value)
    assert "'0.weight' has shape (8, 4, 3, 3) in the file, (9, 4, 3, 3) in" in str(told.value)
    assert "'0' has stride 2, padding 1 in the file, stride 1, padding 0 in" in str(told.value)
    assert unchanged(wider, before)
    longer = deepcopy(network)
    longer.append(nn.Sequential(*[nn.Linear(1, 1) for _ in range(20)]))
    with pytest.raises(SurgeryError, match=r"13 faults(?s:.)*and 28 more of this sort"):
        load(longer, tmp_path / "w")


def test_values_are_brought_to_the_dtype_of_the_model(model: nn.Module, tmp_path: Path) -> None:
    network = integer(model, (1, 3), 2)
    save(network, tmp_path / "w")
    halved = load(deepcopy(network).bfloat16(), tmp_path / "w")
    assert torch.equal(halved[5].weight, network[5].weight.bfloat16())
    save(halved, tmp_path / "halved")
    assert torch.equal(load(network, tmp_path / "halved")[5].weight, halved[5].weight.float())
    network[0].weight = nn.Parameter(network[0].weight.int(), requires_grad=False)
    with pytest.raises(SurgeryError, match=r"'0.weight' is float32 in the file, int32 in the mod"):
        load(network, tmp_path / "w")


def strided(stride: int, pool: nn.Module) -> nn.Module:
    """A site behind a convolution that has a stride, or a dilation in its stead."""
    torch.manual_seed(0)
    rate = 3 - stride
    return nn.Sequential(
        nn.Conv2d(4, 4, 3, stride=stride, padding=rate, dilation=rate),
        pool,
        nn.Conv2d(4, 4, 3, padding=1),
    )


@pytest.mark.parametrize("learned", [True, False])
def test_settings_that_no_state_dict_holds_are_compared(learned: bool, tmp_path: Path) -> None:
    def prepared(stride: int, pool: nn.Module) -> nn.Module:
        relaxed = relax(strided(stride, pool), {"2": PerSite(1, 8)})
        return relaxed if learned else apply_plan(strided(stride, pool), read_plan(relaxed))

    saved = prepared(1, nn.MaxPool2d(2))
    save(saved, tmp_path / "w")
    other = prepared(2, nn.MaxPool2d(2, ceil_mode=True))
    silent, before = deepcopy(other), values(other)
    silent.load_state_dict(saved.state_dict(), strict=True)
    assert silent(torch.rand(1, 4, 9, 9)).shape != saved(torch.rand(1, 4, 9, 9)).shape
    with pytest.raises(SurgeryError) as told:
        load(other, tmp_path / "w")
    for sentence in (
        "holds the weights of another network, 2 faults",
        "'0' has stride 1, padding 2, dilation 2 in the file, stride 2, padding 1, dilation 1 in "
        "the model; build the model as it was saved",
        "'1' has ceil_mode False in the file, ceil_mode True in the model; build",
    ):
        assert sentence in str(told.value)
    assert unchanged(other, before)
    with pytest.raises(SurgeryError, match="the model has no '1', a MaxPool2d in the file; build"):
        load(prepared(1, nn.ReLU()), tmp_path / "w")
    load(prepared(1, nn.MaxPool2d((2, 2))), tmp_path / "w")  # control


def test_the_grid_of_a_site_is_compared(tmp_path: Path) -> None:
    def site(padding: int) -> nn.Module:
        relaxed = relax(nn.Sequential(nn.Conv2d(4, 4, 3, padding=padding)), {"0": PerSite(1, 8)})
        return discretize(relaxed, read_plan(relaxed).replace({"0": (3,)}))

    save(site(1), tmp_path / "w")
    with pytest.raises(
        SurgeryError, match="'0' has padding_at_rate_1 1 in the file, padding_at_rate_1 0 in the"
    ):
        load(site(0), tmp_path / "w")
    load(site(1), tmp_path / "w")  # control


def test_a_file_without_settings_loads_unchecked_and_damaged_ones_do_not(tmp_path: Path) -> None:
    relaxed = relax(strided(1, nn.ReLU()), {"2": PerSite(1, 8)})
    other = relax(strided(2, nn.ReLU()), {"2": PerSite(1, 8)})
    save(relaxed, tmp_path / "w")
    load(other, rewritten(tmp_path / "w", file_version=2, settings=None))
    for damaged in ([], {"0": 3}, {"0": {}}):
        with pytest.raises(SurgeryError, match="holds damaged settings of convolutions; save the"):
            load(relaxed, rewritten(tmp_path / "w", settings=damaged))


def test_files_that_are_none_of_ours_are_refused(model: nn.Module, tmp_path: Path) -> None:
    network = integer(model, (1, 3), 2)
    save_file({"a": torch.zeros(1)}, tmp_path / "plain")
    with pytest.raises(SurgeryError, match="holds weights but no plan"):
        load(network, tmp_path / "plain")
    with pytest.raises(SurgeryError, match="cannot read weights"):
        load(network, tmp_path / "absent")
    with pytest.raises(SurgeryError, match="cannot read weights"):
        load(network, tmp_path)
    (tmp_path / "text").write_text("no tensors at all, but long enough to be read")
    with pytest.raises(SurgeryError, match="cannot read weights"):
        load(network, tmp_path / "text")
    save_file({"a": torch.zeros(1)}, tmp_path / "mangled", {"dilsearch.plan": "{"})
    with pytest.raises(PlanError, match="mangled is not JSON"):
        load(network, tmp_path / "mangled")


def test_a_file_cut_short_anywhere_is_refused(model: nn.Module, tmp_path: Path) -> None:
    network = integer(model, (1, 3), 2)
    save(network, tmp_path / "w")
    whole, before = (tmp_path / "w").read_bytes(), values(network)
    for length in range(0, len(whole), 97):
        (tmp_path / "cut").write_bytes(whole[:length])
        with pytest.raises(SurgeryError, match="cannot read weights"):
            load(network, tmp_path / "cut")
    assert unchanged(network, before)
    (tmp_path / "cut").write_bytes(whole)  # control
    load(network, tmp_path / "cut")


def rewritten(path: Path, **changes: object) -> Path:
    """The same file with other entries in its header."""
    with safe_open(str(path), framework="pt") as file:
        document = json.loads(file.metadata()["dilsearch.plan"])
    header = {"dilsearch.plan": json.dumps({**document, **changes})}
    other = path.with_name("rewritten")
    save_file(load_file(path), other, header)
    return other


def test_newer_files_and_plans_are_refused(model: nn.Module, tmp_path: Path) -> None:
    network = integer(model, (1, 3), 2)
    save(network, tmp_path / "w")
    load(network, rewritten(tmp_path / "w"))  # control
    with pytest.raises(PlanError, match="is a weights file of version 4, and this dilsearch reads"):
        load(network, rewritten(tmp_path / "w", file_version=4))
    with pytest.raises(PlanError, match=r"has schema version 9.* Upgrade dilsearch"):
        load(network, rewritten(tmp_path / "w", schema_version=9))


OLD_PLAN = r"{\n  \"schema_version\": 1,\n  \"sites\": {\n    \"0\": {\n      \"kind\": \"site\",\n      \"rates\": [\n        2\n      ]\n    }\n  }\n}\n"  # noqa: E501
OLD_HEADER = (
    '{"__metadata__":{"dilsearch.plan":"' + OLD_PLAN + '"},'
    '"0.weight":{"dtype":"F32","shape":[1,1,3,3],"data_offsets":[0,36]}}'
).encode()


def test_files_of_the_first_version_load(tmp_path: Path) -> None:
    kernel = (1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0)
    content = struct.pack("<Q", len(OLD_HEADER)) + OLD_HEADER + struct.pack("<9f", *kernel)
    (tmp_path / "old").write_bytes(content)
    model = nn.Sequential(nn.Conv2d(1, 1, 3, padding=1, bias=False))
    model = load(apply_plan(model, saved_plan(tmp_path / "old")), tmp_path / "old")
    assert model[0].dilation == (2, 2)
    assert torch.equal(model[0].weight, torch.tensor(kernel).reshape(1, 1, 3, 3))


def test_tied_weights_are_saved_under_every_name(shared: nn.Module, tmp_path: Path) -> None:
    relaxed = relax(shared, {"first": PerSite(1, 8)})
    save(relaxed, tmp_path / "w")
    other = load(relax(shared, {"first": PerSite(1, 8)}), tmp_path / "w")
    assert other.again is other.first


def test_compiled_models_and_parts_have_the_files_of_plain_ones(
    model: nn.Module, tmp_path: Path
) -> None:
    network = integer(model, (1, 3), 2)
    save(network, tmp_path / "plain")
    parts = deepcopy(network)
    parts[3] = torch.compile(parts[3])
    assert any("_orig_mod" in name for name in parts.state_dict())  # control
    for wrapped in (torch.compile(network), parts, nn.DataParallel(network)):
        save(wrapped, tmp_path / "wrapped")
        assert (tmp_path / "wrapped").read_bytes() == (tmp_path / "plain").read_bytes()
        before = values(wrapped)
        for parameter in wrapped.parameters():
            nn.init.constant_(parameter, 7)
        assert load(wrapped, tmp_path / "wrapped") is wrapped
        assert unchanged(wrapped, before)


@pytest.mark.parametrize("learned", [True, False])
def test_of_an_averaged_model_the_averages_are_saved(
    learned: bool, model: nn.Module, tmp_path: Path
) -> None:
    relaxed = relax(model, SITES, example=torch.empty(1, 4, 16, 16, device="meta"))
    network = relaxed if learned else discretize(relaxed, read_plan(relaxed))
    averaged = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(0.5))
    averaged.update_parameters(network)
    with torch.no_grad():
        network[5].weight.add_(1)
        if learned:
            network[5].rate.fill_(4)
    averaged.update_parameters(network)
    save(averaged, tmp_path / "w")
    assert field_graph(averaged) == field_graph(relaxed) is not None
    assert set(load_file(tmp_path / "w")) == set(network.state_dict())
    other = load(deepcopy(network), tmp_path / "w")
    assert torch.equal(other[5].weight, averaged.module[5].weight)
    assert not torch.equal(other[5].weight, network[5].weight)  # control
    assert saved_plan(tmp_path / "w")["5"] == ((2.5,) if learned else (1,))
    again = AveragedModel(network)
    assert load(again, tmp_path / "w") is again
    assert unchanged(again.module, values(averaged.module))


def test_compiled_relaxed_parts_keep_their_rates(model: nn.Module, tmp_path: Path) -> None:
    relaxed = relax(model, {"3": PerBranch(1, 8, initial=2.5)})
    save(relaxed, tmp_path / "w")
    parts = relax(model, {"3": PerBranch(1, 8)})
    parts[3] = torch.compile(parts[3])
    assert read_plan(load(parts, tmp_path / "w"))["3"] == (2.5, 2.5)


def test_a_model_without_sites_cannot_be_saved(model: nn.Module, tmp_path: Path) -> None:
    with pytest.raises(SurgeryError, match="was neither relaxed nor discretised"):
        save(model, tmp_path / "w")
    assert not list(tmp_path.iterdir())


def test_a_site_that_was_replaced_since_is_told(model: nn.Module, tmp_path: Path) -> None:
    network = integer(model, (1, 3), 2)
    network[5] = nn.ReLU()
    with pytest.raises(SurgeryError, match="site '5' has become a ReLU"):
        save(network, tmp_path / "w")
    del network[5]
    with pytest.raises(SurgeryError, match="site '5' is gone"):
        save(network, tmp_path / "w")


class Counting(nn.Module):
    """Keeps something in its state_dict that is no tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 1, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)  # type: ignore[no-any-return]

    def get_extra_state(self) -> object:
        return {"steps": 3}

    def set_extra_state(self, state: object) -> None:
        pass


def test_what_is_no_tensor_cannot_be_saved(tmp_path: Path) -> None:
    model = relax(Counting(), {"conv": PerSite(1, 8)})
    with pytest.raises(SurgeryError, match="'_extra_state' in its state_dict is a dict"):
        save(model, tmp_path / "w")


@torch.no_grad()
def test_rates_that_a_step_took_beyond_their_limits_are_not_saved(
    model: nn.Module, tmp_path: Path
) -> None:
    relaxed = relax(model, {"3": PerBranch(1, 8), "5": PerSite(2, 8, initial=2)})
    relaxed[3].rate.copy_(torch.tensor([0.5, -1.0]))
    relaxed[5].rate.fill_(8.5)
    with pytest.raises(SurgeryError) as told:
        save(relaxed, tmp_path / "w")
    for sentence in (
        "cannot save the model, 2 faults",
        "site '3' has rate 0.5 and 1 more outside its limits 1 to 8; call clamp_rates first",
        "site '5' has rate 8.5 outside its limits 2 to 8; call clamp_rates first",
    ):
        assert sentence in str(told.value)
    assert not list(tmp_path.iterdir())
    plan = clamp_rates(relaxed)
    save(relaxed, tmp_path / "w")
    assert read_plan(load(relaxed, tmp_path / "w")) == plan
    relaxed[5].rate.fill_(torch.nan)
    with pytest.raises(SurgeryError, match="site '5': the rate became nan; training diverged"):
        save(relaxed, tmp_path / "w")


@pytest.mark.parametrize("rate", [float("nan"), 0.0])
def test_a_model_whose_training_diverged_can_be_loaded_into(
    rate: float, model: nn.Module, tmp_path: Path
) -> None:
    relaxed = relax(model, SITES)
    save(relaxed, tmp_path / "w")
    plan = read_plan(relaxed)
    for give in (lambda: load(relaxed, tmp_path / "w"), lambda: apply_plan(relaxed, plan)):
        nn.init.constant_(relaxed[3].rate, rate)
        assert read_plan(give()) == plan


def test_a_model_without_storage_is_refused(model: nn.Module, tmp_path: Path) -> None:
    save(integer(model, (1, 3), 2), tmp_path / "w")
    empty = apply_plan(model.to("meta"), DilationPlan(saved_plan(tmp_path / "w").sites))
    with pytest.raises(SurgeryError, match="on the meta device, which holds no values"):
        load(empty, tmp_path / "w")
    with pytest.raises(SurgeryError, match="cannot save the model: it is on the meta device"):
        save(empty, tmp_path / "other")
    load(empty.to_empty(device="cpu"), tmp_path / "w")
