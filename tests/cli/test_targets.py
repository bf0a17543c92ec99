"""What a target may be, and what is said of what it may not be."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.export import ExportedProgram

from dilsearch.cli.targets import open_target
from dilsearch.errors import DilsearchError
from dilsearch.layers import RelaxedConv2d
from dilsearch.plan import DilationPlan
from dilsearch.surgery.weights import present_plan

SHAPE = ["1,3,32,32"]


def mistake(target: str | Path, **options: Any) -> str:
    with pytest.raises(DilsearchError) as caught:
        open_target(str(target), **options)
    return str(caught.value)


@pytest.fixture
def program(tmp_path: Path) -> Path:
    model = nn.Conv2d(3, 4, 3, padding=1).eval()
    path = tmp_path / "model.pt2"
    torch.export.save(torch.export.export(model, (torch.zeros(1, 3, 16, 24),)), path)
    return path


def test_a_space_by_name_at_the_size_it_trains_at() -> None:
    target = open_target("toy", overrides=["data.size_px=64"], profile="smoke")
    assert isinstance(target.model, nn.Module)
    assert not target.model.training
    assert target.example is not None
    assert [(x.shape, x.device.type) for x in target.example] == [((1, 3, 64, 64), "meta")]
    assert target.outputs == ("blocks.4.conv2",)
    assert target.plan is None
    assert target.label == "space toy, profile smoke, initial rates"
    assert target.weights == "fresh, seed 0"


def test_the_needed_field_is_that_of_the_task_where_the_size_of_the_input_does_not_say() -> None:
    assert open_target("toy").needed_px is None  # 2N - 1 along each axis
    assert open_target("toy", overrides=["field.needed_px=80"]).needed_px == 80
    assert open_target("long_memory").needed_px == 192 - 4 + 1  # longest segment, pulse of 4


def test_a_space_by_path_with_another_input(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(Path("search_spaces/toy.toml").read_text())
    target = open_target(str(path), input_shapes=["2,3,40,56"])
    assert target.example is not None
    assert target.example[0].shape == (2, 3, 40, 56)
    assert target.label.startswith("space mine")


def test_equal_seeds_give_equal_weights() -> None:
    one, same, other = (open_target("toy", seed=seed).model for seed in (1, 1, 2))
    assert isinstance(one, nn.Module)
    assert isinstance(same, nn.Module)
    assert isinstance(other, nn.Module)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), same.parameters(), strict=True))
    assert not all(
        torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True)
    )


def test_a_run_at_its_integer_plan(run_folder: Path) -> None:
    target = open_target(str(run_folder))
    plan = DilationPlan.load(run_folder / "plan.json")
    assert isinstance(target.model, nn.Module)
    assert present_plan(target.model) == plan
    assert target.plan is None
    assert not any(isinstance(module, RelaxedConv2d) for module in target.model.modules())
    assert target.example is not None
    assert target.example[0].shape == (1, 3, 32, 32)
    assert target.outputs == (list(plan)[-1],)
    assert target.label == f"run {run_folder}, rates of plan.json"
    assert target.weights == "fresh, seed 0"


def test_a_run_with_its_weights(run_folder: Path) -> None:
    from safetensors.torch import load_file

    target = open_target(str(run_folder), need_weights=True)
    assert isinstance(target.model, nn.Module)
    saved = load_file(run_folder / "weights.safetensors")
    assert all(torch.equal(saved[name], x) for name, x in target.model.state_dict().items())
    assert target.weights == str(run_folder / "weights.safetensors")


def test_the_float_plan_of_a_run_keeps_its_fractions(run_folder: Path) -> None:
    target = open_target(str(run_folder / "plan.float.json"), need_weights=True)
    assert isinstance(target.model, nn.Module)
    layers = [m for m in target.model.modules() if isinstance(m, RelaxedConv2d)]
    plan = DilationPlan.load(run_folder / "plan.float.json")
    for layer, rates in zip(layers, plan.values(), strict=True):
        assert layer.rate.reshape(-1).tolist() == pytest.approx(rates)
    assert target.weights.endswith("search.safetensors")
    assert target.label.endswith("rates of plan.float.json")


def test_a_run_that_was_only_searched_gives_its_float_plan(
    run_folder: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(run_folder, folder)
    (folder / "plan.json").unlink()
    assert open_target(str(folder)).label.endswith("rates of plan.float.json")
    (folder / "plan.float.json").unlink()
    assert mistake(folder) == (
        f"{folder} holds no plan yet, neither plan.json nor plan.float.json; run its search, or "
        f"analyse its space: dilsearch analyze {folder / 'space.toml'}"
    )


def test_opening_a_run_changes_nothing_in_it(run_folder: Path) -> None:
    def state() -> dict[Path, tuple[int, bytes]]:
        files = (path for path in run_folder.rglob("*") if path.is_file())
        return {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in files}

    before = state()
    open_target(str(run_folder), need_weights=True)
    assert state() == before


def test_a_plan_with_a_network_beside_it(run_folder: Path, tmp_path: Path, networks: str) -> None:
    plan = DilationPlan.load(run_folder / "plan.json")
    wider = plan.replace({site: tuple(2.0 for _ in rates) for site, rates in plan.items()})
    path = tmp_path / "wide.json"
    wider.save(path)
    for model in ("toy", str(run_folder)):
        target = open_target(str(path), model=model)
        assert isinstance(target.model, nn.Module)
        assert target.plan is None
        conv = target.model.get_submodule(list(plan)[-1])
        assert conv.dilation == (2, 2)
    target = open_target(str(path), model=f"{networks}:make", input_shapes=SHAPE)
    assert target.plan == wider
    assert target.label == f"{networks}:make, rates of {path}"


def test_a_plan_without_its_network(run_folder: Path, tmp_path: Path, program: Path) -> None:
    path = tmp_path / "plan.json"
    shutil.copy(run_folder / "plan.json", path)
    assert mistake(path) == (
        f"{path} lies in no run folder, and a plan does not know its network; name a space, a "
        "run or a factory with --model"
    )
    assert mistake(path, model=str(program)) == (
        f"--model {program} is a program, and no network that takes a plan; name a space, a run "
        "or a package.module:factory"
    )
    assert "site 'blocks.0.conv2' of the plan is not a relaxed site" in mistake(
        path, model="regseg_camvid"
    )


def test_a_program_brings_its_inputs(program: Path) -> None:
    target = open_target(str(program))
    assert isinstance(target.model, ExportedProgram)
    assert target.example is None
    assert target.outputs == ()
    model, example = target.runnable()
    assert model(*example).shape == (1, 4, 16, 24)
    assert mistake(program, input_shapes=SHAPE) == (
        f"{program}: --input is not needed, since a program holds the shapes of its inputs; "
        "leave it out"
    )


def test_what_is_on_the_disk_comes_first(
    tmp_path: Path, run_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "toy").mkdir()  # no run: it does not hide the space
    assert open_target("toy").label.startswith("space toy")
    (tmp_path / "toy").rmdir()
    shutil.copytree(run_folder, tmp_path / "toy")
    assert open_target("toy").label == "run toy, rates of plan.json"
    (tmp_path / "odd:name.toml").write_text("")
    assert "odd:name.toml" in mistake("odd:name.toml")
    assert "import" not in mistake("odd:name.toml")


def test_a_factory_costs_no_memory_unless_weights_count(networks: str) -> None:
    target = open_target(f"{networks}:Gridded", kwargs='{"rate": 5}', input_shapes=["1,3,32,32"])
    assert isinstance(target.model, nn.Module)
    assert {p.device.type for p in target.model.parameters()} == {"meta"}
    assert target.model.get_submodule("second").dilation == (5, 5)
    assert target.outputs == ()
    target = open_target(f"{networks}:Gridded", input_shapes=SHAPE, need_weights=True)
    assert isinstance(target.model, nn.Module)
    assert {p.device.type for p in target.model.parameters()} == {"cpu"}


def test_every_input_of_a_factory(networks: str) -> None:
    shapes = ["1,3,32,48", " 1, 1, 32, 48"]
    target = open_target(f"{networks}:Two", input_shapes=shapes)
    assert target.example is not None
    assert [tuple(x.shape) for x in target.example] == [(1, 3, 32, 48), (1, 1, 32, 48)]


@pytest.mark.parametrize(
    ("target", "text"),
    [
        (
            "tory",
            "'tory' is no file or folder, and no search space has that name (did you mean 'toy'?);"
            " give one of ",
        ),
        ("tory", "a run folder, a plan, a .pt2 program, or a factory written as in torchvision"),
        ("torchvision.models.resnet18", "a factory written as in torchvision.models:resnet18"),
        ("runs/nowhere", "there is no file or folder runs/nowhere; give the path of one"),
        ("model.pt2", "there is no file or folder model.pt2; give the path of one"),
        ("plan.json", "there is no file or folder plan.json; give the path of one"),
        ("mine.toml", "cannot read search space mine.toml: No such file or directory"),
        (".", ". holds no run: there is no run.json in it"),
    ],
)
def test_no_such_target(
    target: str, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    message = mistake(target)
    assert text in message
    assert "\n" not in message


def test_files_that_are_no_target(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("words")
    assert mistake(tmp_path / "notes.txt") == (
        f"{tmp_path}/notes.txt is a file of no known kind; give a space (.toml), a program of "
        "torch.export (.pt2) or a plan (.json)"
    )
    (tmp_path / "list.json").write_text(json.dumps([1, 2]))
    assert "is not a dilation plan" in mistake(tmp_path / "list.json")
    (tmp_path / "bad.json").write_text("{")
    assert "is not JSON" in mistake(tmp_path / "bad.json")


@pytest.mark.parametrize(
    ("target", "options", "text"),
    [
        ("toy", {"kwargs": "{}"}, "toy: --kwargs belongs to a package.module:factory"),
        ("toy", {"model": "toy"}, "--model belongs to a plan file, which does not know its"),
        ("toy", {"profile": "quik"}, "did you mean 'quick'?"),
        ("toy", {"overrides": ["data.size=3"]}, "did you mean 'size_px'?"),
        ("a:b", {"profile": "quick"}, "a:b: --profile belongs to a search space; leave it out"),
        ("a:b", {"overrides": ["x=1"]}, "a:b: --set belongs to a search space; leave it out"),
    ],
)
def test_options_that_do_not_fit(target: str, options: dict[str, Any], text: str) -> None:
    assert text in mistake(target, **options)


def test_options_that_do_not_fit_a_run(run_folder: Path) -> None:
    assert mistake(run_folder, profile="quick") == (
        f"{run_folder}: --profile belongs to a search space; leave it out"
    )
