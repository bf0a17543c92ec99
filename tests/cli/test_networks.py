"""A network of a user's own on the data of a space: what fits, and what does not."""

import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import nn

from dilsearch.cli import main
from dilsearch.cli.networks import GivenNetwork
from dilsearch.cli.session import RunOptions
from dilsearch.cli.targets import open_target
from dilsearch.errors import ModelError, RunError, TraceError
from dilsearch.plan import DilationPlan
from dilsearch.space import SearchSpace
from tests.cli.conftest import TINY

SETTINGS = [word for setting in TINY for word in ("--set", setting)]
WORDS = ("--device", "cpu", *SETTINGS)
MODULE = "own_networks"
SOURCE = '''
import torch
from torch import nn


class Net(nn.Module):
    """Scores at a quarter of the size, in a dict, as torchvision returns them."""

    def __init__(self, classes, width=4, channels=3):
        super().__init__()
        self.stem = nn.Conv2d(channels, width, 7, stride=4, padding=3)
        self.body = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1), nn.Conv2d(width, width, 3, padding=2, dilation=2)
        )
        self.head = nn.Conv2d(width, classes, 1)

    def forward(self, image):
        return {"out": self.head(self.body(torch.relu(self.stem(image))))}


class Features(Net):
    def forward(self, image):
        return {"features": self.stem(image)}


def make(num_classes, width=4):
    print("made")
    return Net(num_classes, width)


def pretrained(num_classes):
    net = Net(num_classes)
    nn.init.constant_(net.stem.weight, 0.25)
    return net


def other(classes=3):
    return Net(classes)


def grey(num_classes, in_channels=1):
    return Net(num_classes, channels=in_channels)


def features():
    return Features(4)


def whole(num_classes):
    return nn.Sequential(
        nn.Conv2d(3, 2, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, num_classes)
    )


def failing(num_classes):
    return nn.Sequential(nn.Conv2d(3, 2, 3), nn.Conv2d(3, num_classes, 3))


held = Net(4)
'''


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder that holds a module of networks, which is the current one; gives its path."""
    folder = tmp_path_factory.mktemp("own")
    (folder / f"{MODULE}.py").write_text(SOURCE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.dont_write_bytecode", True)
        patch.chdir(folder)
        yield folder
    sys.modules.pop(MODULE, None)


@pytest.fixture(scope="module")
def searched(own: Path) -> Path:
    """A run that trains such a network up to its integer plan; read only."""
    words = ("--model", f"{MODULE}:make", "--kwargs", '{"width": 6}', "--sites", "body.*")
    stages = ("--stages", "search,convert")
    path = own / "run"
    assert call("run", "toy", *words, *stages, "--out", path, "--quiet", *WORDS) == 0
    return path


def call(*words: str | Path) -> int:
    with pytest.raises(SystemExit) as ended:
        main([str(word) for word in words])
    assert isinstance(ended.value.code, int)
    return ended.value.code


def mistake(capsys: pytest.CaptureFixture[str], *words: str | Path) -> str:
    capsys.readouterr()
    assert call(*words) == 2
    out, err = capsys.readouterr()
    assert out == ""
    return err.removeprefix("made\n").removeprefix("dilsearch: ").rstrip("\n")


def tiny(*overrides: str) -> SearchSpace:
    return SearchSpace.load("toy", None, ["model.name=given", *TINY, *overrides], ["body.*"])


def built(target: str, kwargs: str | None = None, seed: int = 0) -> nn.Module:
    return GivenNetwork(f"{MODULE}:{target}", kwargs).maker(tiny())(4, seed)


class TestWhatFits:
    @pytest.mark.usefixtures("own")
    def test_the_number_of_classes_is_given_where_there_is_a_word_for_it(self) -> None:
        assert built("make").get_parameter("head.weight").shape[0] == 4
        with pytest.raises(ModelError, match="tells 5 classes apart, and data 'thin_bars' has 4"):
            built("make", '{"num_classes": 5}')  # what a user says comes first
        assert built("other", '{"classes": 4}').get_parameter("head.weight").shape[0] == 4

    @pytest.mark.usefixtures("own")
    def test_fresh_weights_follow_the_seed_and_others_stay(self) -> None:
        one, same, other = (built("make", seed=seed).state_dict() for seed in (0, 0, 1))
        assert all(torch.equal(one[name], same[name]) for name in one)
        assert not torch.equal(one["stem.weight"], other["stem.weight"])
        for seed in (0, 1):
            assert (built("pretrained", seed=seed).get_parameter("stem.weight") == 0.25).all()

    @pytest.mark.usefixtures("own")
    def test_a_network_that_a_module_holds_stays_as_it_is(self) -> None:
        network = GivenNetwork(f"{MODULE}:held").maker(tiny())
        first, second = network(4, 0), network(4, 0)
        nn.init.zeros_(first.get_parameter("stem.weight"))
        assert second.get_parameter("stem.weight").any()
        assert sys.modules[MODULE].held.stem.weight.any()

    @pytest.mark.usefixtures("own")
    @pytest.mark.parametrize(
        ("target", "text"),
        [
            (
                "other",
                "the network tells 3 classes apart, and data 'thin_bars' has 4; make it tell 4 "
                "apart with --kwargs '{\"classes\": 4}'",
            ),
            (
                "grey",
                "its first convolution 'stem' takes inputs of 1 channels, and data 'thin_bars' has "
                "3; make it take 3 with --kwargs '{\"in_channels\": 3}'",
            ),
            (
                "features",
                "the network returns a dict: 'features' (Tensor), and there are no scores in it (a "
                "tensor, 'out', 'logits', or the first of a tuple); name a factory whose network "
                "returns them so",
            ),
            (
                "whole",
                "the network returns scores of shape (2, 4) for an input of shape (2, 3, 32, 32), "
                "and data 'thin_bars' has a label at every position; name a network that returns "
                "(batch, classes, height, width)",
            ),
            ("failing", "the network fails on an input of shape (2, 3, 32, 32), as data 'thin_b"),
        ],
    )
    def test_what_does_not_is_told_with_the_fix(self, target: str, text: str) -> None:
        with pytest.raises(ModelError) as caught:
            built(target)
        assert str(caught.value).startswith(f"{MODULE}:{target}: {text}")

    def test_the_command_that_goes_on_names_the_network_and_its_sites(self) -> None:
        options = RunOptions(
            space="toy",
            data=None,
            out=None,
            profile=None,
            seed=0,
            device="auto",
            overrides=(),
            resume=False,
            quiet=True,
            network=GivenNetwork("a.b:c", '{"width": 6}'),
            sites=("body.*", "{select = 'x'}"),
        )
        words = options.words("search", Path("out"))
        given = ["--model", "a.b:c", "--kwargs", '{"width": 6}']
        assert words[words.index("--model") : -4] == given
        assert words[-4:] == ["--sites", "body.*", "--sites", "{select = 'x'}"]

    def test_arguments_without_a_network(self) -> None:
        assert GivenNetwork.of(None, None) is None
        with pytest.raises(ModelError, match="--kwargs are the arguments of --model, which is mis"):
            GivenNetwork.of(None, "{}")
        with pytest.raises(TraceError, match=r"--kwargs \{a is not JSON"):
            GivenNetwork("a:b", "{a").maker(tiny())(4, 0)


class TestRun:
    def test_the_record_says_that_the_network_was_given(self, searched: Path) -> None:
        space = SearchSpace.load(searched / "space.toml")
        assert space.model.is_given
        assert space.sites[0].initial == "present"
        record = json.loads((searched / "run.json").read_text())
        assert f"--model {MODULE}:make --kwargs" in record["command"]
        assert set(record["hashes"]) >= {"network", "space", "data"}
        plan = DilationPlan.load(searched / "plan.json")
        assert list(plan) == ["body.0", "body.1"]
        assert plan.is_integer

    def test_a_stage_needs_the_network_again(
        self, searched: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        fix = f"""add --model {MODULE}:make --kwargs '{{"width": 6}}', as its run was begun"""
        told = (
            f"{searched} trains a network of your own, which every command has to be given; {fix}"
        )
        for command in ("convert", "retrain", "evaluate", "analyze"):
            assert mistake(capsys, command, searched) == told
        another = mistake(capsys, "retrain", searched, "--model", f"{MODULE}:make")
        assert "was begun with another network than --model gives now" in another
        assert fix.removeprefix("add ") in another

    def test_what_a_run_was_begun_with_is_never_imported(
        self, searched: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        folder = tmp_path / "run"
        shutil.copytree(searched, folder)
        record = json.loads((folder / "run.json").read_text())
        record["command"] = "dilsearch run toy --model antigravity:fly"
        (folder / "run.json").write_text(json.dumps(record))
        assert "add --model antigravity:fly, as" in mistake(capsys, "evaluate", folder)
        assert "antigravity" not in sys.modules
        record["command"] = "dilsearch"
        (folder / "run.json").write_text(json.dumps(record))
        assert "add --model PACKAGE.MODULE:FACTORY" in mistake(capsys, "evaluate", folder)

    def test_it_goes_on_with_the_same_network(self, searched: Path, tmp_path: Path) -> None:
        folder = tmp_path / "run"
        shutil.copytree(searched, folder)
        words = ("--model", f"{MODULE}:make", "--kwargs", '{"width": 6}')
        assert call("retrain", folder, *words, "--quiet", "--device", "cpu") == 0
        assert call("evaluate", folder, *words, "--quiet", "--device", "cpu") == 0
        scores = json.loads((folder / "summary.json").read_text())
        assert {"fractional", "retrain"} <= set(scores)
        assert (
            call(
                "run",
                "toy",
                *words,
                "--sites",
                "body.*",
                "--stages",
                "search",
                "--resume",
                "--out",
                folder,
                "--quiet",
                *WORDS,
            )
            == 0
        )

    def test_analysis_takes_it_too(self, searched: Path) -> None:
        words = {"model": f"{MODULE}:make", "kwargs": '{"width": 6}'}
        for target in (searched, searched / "plan.json"):
            found = open_target(str(target), need_weights=True, **words)
            assert found.outputs == ("body.1",)
            assert found.weights == "those of the factory, seed 0"
        with pytest.raises(RunError, match="was begun with another network"):
            open_target(str(searched), model=f"{MODULE}:make")


@pytest.mark.usefixtures("own")
class TestSites:
    def test_those_of_another_network_are_told_beside_those_there_are(
        self, capsys: pytest.CaptureFixture[str]
    ) -> None:
        words = ("search", "toy", "--model", f"{MODULE}:make", "--out", "none", *WORDS)
        shown = "choose by --sites GLOB among those with two or more taps: stem, body.0, body.1"
        assert mistake(capsys, *words) == (
            "space 'toy': [sites]: 'blocks.*.conv2' matches no convolution of the network; " + shown
        )
        two = mistake(capsys, *words, "--sites", "head", "--sites", "{select = 'x.*'}")
        assert two.endswith(f"'head' and 'x.*' match no convolution of the network; {shown}")
        assert not Path("none").exists()

    def test_a_space_of_its_own_says_what_to_add(
        self, searched: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        space = searched / "space.toml"
        for words in (("run", space, "--out", "none"), ("analyze", space)):
            assert mistake(capsys, *words) == (
                "space 'toy': [model]: name = \"given\" leaves the network to the command line; "
                "add --model package.module:factory, and --kwargs where it needs arguments"
            )
        model = ("--model", f"{MODULE}:make", "--stages", "search")
        assert call("run", space, "--out", "own-space", *model, "--quiet", "--device", "cpu") == 0

    def test_a_run_of_a_built_in_network_takes_none(
        self, run_folder: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        told = mistake(capsys, "convert", run_folder, "--model", f"{MODULE}:make")
        assert told == f"{run_folder} has the built-in network 'toy'; leave out --model"
