from pathlib import Path

import pytest

from dilsearch.cli import main

TINY = (
    "data.size_px=32 data.bar_width_px=[4,6] data.patch_px=4 data.validation_images=2 "
    "train.batch_size=2 search.steps=3 retrain.steps=2 train.warmup_steps=0"
).split()

NETWORKS = '''
"""Networks for tests; what is printed here must not reach standard output."""

import torch
from torch import nn

print("networks imported")


class Gridded(nn.Module):
    """Two convolutions, of which the second leaves gaps unless its rate is 3 or less."""

    def __init__(self, rate=3, channels=4):
        super().__init__()
        self.first = nn.Conv2d(3, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=rate, dilation=rate)

    def forward(self, x):
        print("running")
        return self.second(self.first(x))


class Two(nn.Module):
    def __init__(self):
        super().__init__()
        self.left = nn.Conv2d(3, 2, 3, padding=1)
        self.right = nn.Conv2d(1, 2, 5, padding=2)

    def forward(self, x, y):
        joined = self.left(x) + self.right(y)
        return {"out": joined, "aux": self.left(x)}


class Unexportable(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 2, 3, padding=1)

    def forward(self, x):
        y = self.conv(x)
        return y * 2 if float(y.sum()) > -1e30 else y


class Late(Gridded):
    """Reads a value while it is made, which the meta device does not have."""

    def __init__(self):
        super().__init__(rate=int(torch.linspace(0, 2, 3)[2].item()))


def make(rate=1, **options):
    return Gridded(rate, **options)


def needy(width):
    return nn.Conv2d(3, width, 3)


def broken():
    raise RuntimeError("no disk\\nsecond line")


def nothing():
    return None


class holder:
    inner = Gridded


ready = Gridded(2)
answer = 42
'''


def call(*words: str | Path) -> int:
    with pytest.raises(SystemExit) as ended:
        main([str(word) for word in words])
    assert isinstance(ended.value.code, int)
    return ended.value.code


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the toy task up to its retrained network; read only."""
    path = tmp_path_factory.mktemp("runs") / "run"
    settings = [word for setting in TINY for word in ("--set", setting)]
    stages = ("--stages", "search,convert,retrain")
    assert call("run", "toy", "--out", path, "--quiet", "--device", "cpu", *stages, *settings) == 0
    return path


@pytest.fixture
def networks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> str:
    """A module of networks in the current folder, an empty one but for it; gives its name."""
    name = f"networks_{abs(hash(request.node.nodeid))}"  # no two tests share a module
    folder = tmp_path / "here"
    folder.mkdir()
    (folder / f"{name}.py").write_text(NETWORKS)
    monkeypatch.setattr("sys.dont_write_bytecode", True)
    monkeypatch.chdir(folder)
    return name
