import csv
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from dilsearch.bench.tables import QUANTITIES, RESULT_TYPES
from dilsearch.cli import main

FEW = ["bench", "--quick", "--rounds", "2", "--device", "cpu"]


def flags(option: str, *values: str) -> list[str]:
    return [word for value in values for word in (option, value)]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")
    return tmp_path


def run(*words: str) -> int:
    with pytest.raises(SystemExit) as caught:
        main(list(words))
    assert isinstance(caught.value.code, int)
    return caught.value.code


def rows_of(folder: Path) -> list[dict[str, str]]:
    assert {path.name for path in folder.iterdir()} == {
        "results.csv", "table.md", "machine.json", "ratios.png", "growth.png"
    }  # fmt: skip
    with (folder / "results.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_table_figures_and_machine(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cases = ("dense", "tcn", "growth-rate")
    assert run("bench", "--quick", "--device", "cpu", *flags("--case", *cases)) == 0
    rows = rows_of(here / "bench")
    assert list(rows[0]) == list(RESULT_TYPES)
    assert list(dict.fromkeys(row["case"] for row in rows)) == list(cases)
    assert {row["contestant"] for row in rows} >= {"native", "ours", "deformable"}
    timed = [row for row in rows if row["quantity"].endswith("_ms")]
    assert {row["rounds"] for row in timed} == {"2"}
    assert all(float(row["median"]) > 0 for row in timed)
    assert all(float(row["ratio"]) == 1 for row in timed if row["contestant"] == "native")
    assert {row["at"] for row in rows} == {"", "1.5", "2.5"}
    assert json.loads((here / "bench" / "machine.json").read_text())["quick"] is True
    assert "the figures mean nothing" in (here / "bench" / "table.md").read_text()
    printed = capsys.readouterr()
    assert "table and figures: bench" in printed.out
    assert "left out: deformable: for images only (tcn)" in printed.out
    assert printed.err.startswith("dense: a dense layer, 1 x 32 x 12 x 12 to 32 channels, at 5.5\n")


@pytest.mark.slow
def test_everything_in_quick_sizes(here: Path) -> None:
    assert run("bench", "--quick", "--device", "cpu", "--quiet") == 0
    rows = rows_of(here / "bench")
    assert len({row["case"] for row in rows}) == 13
    found = [(row["quantity"], row["contestant"]) for row in rows if row["case"] == "largefov"]
    assert found == [
        *(("training_step_ms", name) for name in ("native", "ours", "deformable")),
        *(("training_step_mib", name) for name in ("native", "ours", "deformable")),
        *(("inference_ms", name) for name in ("native", "ours")),
        *(("inference_gmac", name) for name in ("native", "ours")),
    ]
    assert {row["quantity"] for row in rows} == set(QUANTITIES)


def test_one_case_as_json(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stale = here / "some where" / "growth.png"
    stale.parent.mkdir()
    stale.write_bytes(b"of other results")
    before = torch.get_num_threads()
    words = [*FEW, "--case", "dense", "--without", "deformable", "--without", "dcls"]
    assert run(*words, "--json", "--quiet", "--threads", "1", "--out", "some where") == 0
    assert torch.get_num_threads() == before
    printed = capsys.readouterr()
    document = json.loads(printed.out)
    assert printed.err == ""
    assert document["out"] == "some where"
    assert document["machine"]["threads"] == 1
    assert document["left_out"] == []
    assert [(row["quantity"], row["contestant"]) for row in document["results"]] == [
        (quantity, name)
        for quantity in ("forward_ms", "forward_backward_ms", "forward_backward_mib")
        for name in ("native", "ours")
    ]
    assert document["results"][0]["at"] is None
    assert not stale.exists()
    assert (here / "some where" / "ratios.png").exists()


def test_quiet_says_nothing(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*FEW, "--case", "depthwise", "--without", "dcls", "--quiet") == 0
    assert capsys.readouterr() == ("", "")


def test_half_precision(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [*FEW, "--case", "dense", "--precision", "bfloat16", "--json", "--quiet"]
    assert run(*words) == 0
    assert json.loads(capsys.readouterr().out)["machine"]["precision"] == "bfloat16"


def test_cases_and_contestants_are_listed(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("bench", "--list") == 0
    printed = capsys.readouterr().out
    assert "growth-size" in printed
    assert "torchvision.ops.deform_conv2d" in printed
    assert run("bench", "--list", "--json") == 0
    listed = json.loads(capsys.readouterr().out)
    assert listed["cases"][0] == {
        "name": "d-block-branch",
        "title": "one branch of a D block, 8 groups, 2 x 128 x 64 x 64 to 128 channels, at 5.5",
    }
    assert [entry["name"] for entry in listed["contestants"]] == [
        "native", "ours", "deformable", "dcls"
    ]  # fmt: skip
    assert not list(here.iterdir())


@pytest.mark.parametrize(
    ("words", "start"),
    [
        (["--case", "dens"], "there is no case named 'dens' (did you mean 'dense'?); there are d-"),
        (["--without", "our"], "there is no contestant named 'our' (did you mean 'ours'?); there "),
        (["--without", "native"], "'native' cannot be left out, since the others are compared"),
        (["--precision", "float16"], "precision 'float16' is unknown; use one of float32, bfloat"),
        (["--device", "gpu"], "device 'gpu' is unknown; use auto, cpu, cuda, cuda:INDEX or mps"),
        (["--rounds", "0"], "Invalid value for '--rounds'"),
    ],
)
def test_mistakes_are_one_sentence(
    here: Path, capsys: pytest.CaptureFixture[str], words: list[str], start: str
) -> None:
    assert run("bench", "--quick", *words) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith(f"dilsearch: {start}")
    assert printed.err.count("\n") == 1
    assert not list(here.iterdir())


def test_what_is_chosen_needs_no_torch() -> None:
    code = (
        "import sys, dilsearch.cli.bench, dilsearch.bench.tables, dilsearch.bench.figures\n"
        "print('torch' in sys.modules)\n"
        "sys.modules['torch'] = sys\n"
        "print('torch' in sys.modules)"  # the control: it would be seen
    )
    words = [sys.executable, "-c", code]
    result = subprocess.run(words, capture_output=True, text=True, check=True)
    assert result.stdout.split() == ["False", "True"]
