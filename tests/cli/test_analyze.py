"""The analyze command as a user types it."""

import csv
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from dilsearch.cli import analyze as command
from dilsearch.cli import main
from dilsearch.plan import DilationPlan

INPUT = ("--input", "1,3,32,40")
KEPT, BROKEN = '{"rate": 3}', '{"rate": 5}'
"""Rates of ``Gridded`` with no gap, and with a field of 13 px of which 9 are seen per axis."""


def call(*words: str | Path) -> int:
    with pytest.raises(SystemExit) as ended:
        main([str(word) for word in words])
    assert isinstance(ended.value.code, int)
    return ended.value.code


def mistake(capsys: pytest.CaptureFixture[str], *words: str | Path) -> str:
    """What a mistake prints: one sentence on standard error, behind what a network prints."""
    capsys.readouterr()
    before = sorted(Path.cwd().rglob("*"))
    assert call(*words) == 2
    assert sorted(Path.cwd().rglob("*")) == before
    out, err = capsys.readouterr()
    assert out == ""
    assert "Traceback" not in err
    said = [line for line in err.splitlines() if line.startswith("dilsearch: ")]
    assert len(said) == 1
    assert err.splitlines()[-1] == said[0]
    return said[0].removeprefix("dilsearch: ")


def document(capsys: pytest.CaptureFixture[str], *words: str | Path, code: int = 0) -> dict:  # type: ignore[type-arg]
    capsys.readouterr()
    assert call(*words, "--json") == code
    return json.loads(capsys.readouterr().out)  # type: ignore[no-any-return]


def test_the_table_and_its_verdict(networks: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("analyze", f"{networks}:Gridded", *INPUT, "--kwargs", BROKEN) == 0
    out, err = capsys.readouterr()
    assert out.splitlines()[0] == f"{networks}:Gridded"
    for text in ("first", "second", "rate 5 -> 3", "13"):
        assert text in out
    assert "networks imported" not in out
    assert "dilsearch:" not in err


def test_json_has_the_keys_that_are_promised(
    networks: str, capsys: pytest.CaptureFixture[str]
) -> None:
    found = document(capsys, "analyze", f"{networks}:Gridded", *INPUT, "--kwargs", BROKEN)
    assert found["target"] == f"{networks}:Gridded"
    assert found["field_px"] == [13, 13]
    assert found["stride_px"] == [1, 1]
    assert found["global_context"] is False
    assert found["needed_px"] == [63, 79]
    assert found["holes"] == 13**2 - 9**2
    first, second = found["sites"]
    assert {
        "name": "second",
        "kernel": [3, 3],
        "rate": [5, 5],
        "field_in_px": [3, 3],
        "stride_in_px": [1, 1],
        "bound": [3, 3],
        "bound_ok": False,
    }.items() <= second.items()
    assert first["bound_ok"] is True


def test_a_space_is_read_at_its_last_site(capsys: pytest.CaptureFixture[str]) -> None:
    found = document(capsys, "analyze", "toy", "--set", "data.size_px=64")
    assert found["output"] == "blocks.4.conv2"
    assert found["needed_px"] == [127, 127]
    assert found["field_px"] == [47, 47]
    found = document(capsys, "analyze", "toy", "--output", "blocks.0.conv2")
    assert [output["node"] for output in found["outputs"]] == ["blocks.0.conv2"]


def test_a_run_has_the_field_of_its_summary(
    run_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = document(capsys, "analyze", run_folder)
    summary = json.loads((run_folder / "summary.json").read_text())
    assert max(found["field_px"]) == summary["plan"]["field_px"]
    assert found["holes"] == summary["plan"]["holes"]
    rates = {site["name"]: site["rates"] for site in found["sites"]}
    for site, expected in summary["plan"]["rates"].items():
        assert rates[site] == [[rate, rate] for rate in expected] or {
            tuple(rate) for rate in rates[site]
        } == {(rate, rate) for rate in expected}


def test_fractional_rates_are_rounded_up(
    run_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = DilationPlan.load(run_folder / "plan.json")
    for name, rate in (("between", 1.25), ("above", 2.0)):
        rates = {site: tuple(rate for _ in rates) for site, rates in plan.items()}
        plan.replace(rates).save(tmp_path / f"{name}.json")
    words = ("--model", run_folder, "--check")
    between = document(capsys, "analyze", tmp_path / "between.json", *words)
    above = document(capsys, "analyze", tmp_path / "above.json", *words)
    assert between["field_px"] == above["field_px"]
    assert between["check"]["agrees"] is True
    assert above["check"]["agrees"] is True


def test_a_program(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3, dilation=3)).eval()
    path = tmp_path / "model.pt2"
    torch.export.save(torch.export.export(model, (torch.zeros(1, 3, 32, 32),)), path)
    found = document(capsys, "analyze", path, "--check")
    assert found["field_px"] == [9, 9]
    assert found["holes"] == 0
    assert found["check"]["agrees"] is True


def test_a_program_is_run_in_the_batches_it_was_made_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = nn.Conv2d(3, 2, 3, padding=1).eval()
    path, picture = tmp_path / "model.pt2", tmp_path / "grey.png"
    torch.export.save(torch.export.export(model, (torch.zeros(3, 3, 16, 16),)), path)
    Image.new("RGB", (4, 4)).save(picture)
    found = document(capsys, "analyze", path, "--effective")
    assert found["effective"]["images"] == 9
    found = document(capsys, "analyze", path, "--effective", *["--image", picture] * 3)
    assert found["effective"]["images"] == 3
    assert mistake(capsys, "analyze", path, "--effective", "--image", picture) == (
        f"--image: program {path} takes 3 images at a time, and there are 1; give a multiple of 3"
    )


def test_every_file_that_is_asked_for(networks: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["analyze", f"{networks}:Gridded", *INPUT, "--kwargs", BROKEN, "--effective"]
    files = ["--csv", "out/deep/sites.csv", "--html", "out/page.html", "--figures", "out/figures"]
    assert call(*words, *files) == 0
    out = capsys.readouterr().out
    with open("out/deep/sites.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["name"] for row in rows] == ["first", "second"]
    assert rows[1]["bound_height"] == "3"
    names = {path.name for path in Path("out/figures").iterdir()}
    drawn = ("coverage", "growth", "bounds", "effective")
    assert names == {f"{name}.{kind}" for name in drawn for kind in ("png", "svg")}
    page = Path("out/page.html").read_text(encoding="utf-8")
    assert f"{networks}:Gridded" in page
    assert "Effective field: about" in page
    assert "written: out/page.html" in out


def test_equal_calls_give_equal_files(networks: str) -> None:
    for name in ("one", "two"):
        words = ("--csv", f"{name}/a.csv", "--html", f"{name}/a.html", "--figures", name)
        assert call("analyze", f"{networks}:Gridded", *INPUT, "--quiet", "--effective", *words) == 0
    for path in Path("one").iterdir():
        assert path.read_bytes() == (Path("two") / path.name).read_bytes(), path


def test_quiet_says_nothing(networks: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("analyze", f"{networks}:Gridded", *INPUT, "--quiet") == 0
    assert capsys.readouterr().out == ""


def test_strict_objects_to_broken_bounds_and_missed_pixels(
    networks: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("analyze", f"{networks}:Gridded", *INPUT, "--strict", "--csv", "sites.csv")
    assert call(*words, "--kwargs", KEPT) == 0
    assert "dilsearch:" not in capsys.readouterr().err
    assert call(*words, "--kwargs", BROKEN) == 1
    said = [x for x in capsys.readouterr().err.splitlines() if x.startswith("dilsearch: ")]
    assert said == [
        "dilsearch: --strict: 1 site breaks its bound: second",
        "dilsearch: --strict: output misses 88 pixels in its field",
    ]
    assert Path("sites.csv").is_file()  # what was found is written all the same


def test_a_check_that_agrees(networks: str, capsys: pytest.CaptureFixture[str]) -> None:
    found = document(capsys, "analyze", f"{networks}:Gridded", *INPUT, "--check")
    assert found["check"]["agrees"] is True
    assert found["check"]["positions"] >= 1


def test_a_check_that_differs_is_told_and_ends_with_code_1(
    networks: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    differs = SimpleNamespace(agrees=False, positions=1, text="they differ at (1, 2).")
    monkeypatch.setattr(command, "check_support", lambda *given: differs)
    found = document(capsys, "analyze", f"{networks}:Gridded", *INPUT, "--check", code=1)
    assert found["check"] == {"agrees": False, "positions": 1, "text": "they differ at (1, 2)."}
    assert call("analyze", f"{networks}:Gridded", *INPUT, "--check") == 1
    assert capsys.readouterr().err.splitlines()[-1] == "dilsearch: --check: they differ at (1, 2)."


def test_what_cannot_be_exported_can_be_measured(
    networks: str, capsys: pytest.CaptureFixture[str]
) -> None:
    said = mistake(capsys, "analyze", f"{networks}:Unexportable", *INPUT)
    assert "Unexportable cannot be exported" in said
    assert said.endswith("To measure it without a trace, add --numeric.")
    found = document(capsys, "analyze", f"{networks}:Unexportable", *INPUT, "--numeric")
    assert found["field_px"] == [3, 3]
    assert found["holes"] == 0


def test_measuring_every_output(networks: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("analyze", f"{networks}:Two", "--input", "1,3,32,40", "--input", "1,1,32,40")
    found = document(capsys, *words, "--numeric")
    assert found["inputs"] == [[1, 3, 32, 40], [1, 1, 32, 40]]
    assert [(x["name"], x["field_px"], x["holes"]) for x in found["outputs"]] == [
        ("out", [3, 3], 0),
        ("aux", [3, 3], 0),
    ]
    found = document(capsys, *words, "--numeric", "--output", "aux")
    assert [x["name"] for x in found["outputs"]] == ["aux"]
    assert call("analyze", "toy", "--numeric", "--set", "data.size_px=32") == 0
    out = capsys.readouterr().out
    assert "blocks.4.conv2" in out
    assert "reaches the border of the image" in " ".join(out.split())


def test_measured_and_traced_agree(networks: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("analyze", f"{networks}:Gridded", *INPUT, "--kwargs", BROKEN)
    traced, measured = document(capsys, *words), document(capsys, *words, "--numeric")
    for key in ("field_px", "holes"):
        assert traced[key] == measured[key]


def test_the_effective_field_on_photographs(
    networks: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.fromarray(np.full((20, 30, 3), 128, dtype=np.uint8)).save("grey.png")
    Image.new("L", (9, 9)).save("small.jpg")
    words = ("analyze", f"{networks}:Gridded", *INPUT, "--effective", "--seed", "3")
    found = document(capsys, *words, "--image", "grey.png", "--image", "small.jpg")
    assert found["effective"]["images"] == 2
    assert found["effective"]["random"] is False
    assert found["effective"]["weights"] == "those of the factory, seed 3"
    assert 1 <= found["effective"]["extent_px"] <= 9
    assert document(capsys, *words)["effective"]["random"] is True


def test_the_effective_field_of_a_run_is_that_of_its_weights(
    run_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = document(capsys, "analyze", run_folder, "--effective")
    assert found["effective"]["weights"] == str(run_folder / "weights.safetensors")
    assert found["effective"]["output"] == "blocks.4.conv2"


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (
            [],
            "NET:Gridded: the shape of its input is not known; give it as in --input 1,3,512,1024 "
            "(batch, channels, height, width), once for each input",
        ),
        (["--input", "1,3"], "--input 1,3: it has 2 sizes, and 3 to 5 are needed: batch,"),
        ([*INPUT, "--kwargs", "[]"], "--kwargs [] is not a JSON object"),
        (
            [*INPUT, "--numeric", "--csv", "a.csv"],
            "--numeric measures fields and their holes alone, without the trace that --csv goes "
            "by; leave one of them out",
        ),
        (
            [*INPUT, "--numeric", "--strict"],
            "--numeric measures fields and their holes alone, without the trace that --strict "
            "goes by; leave one of them out",
        ),
        (
            [*INPUT, "--image", "a.png"],
            "--image is what --effective looks at; add --effective",
        ),
        (
            [*INPUT, "--effective", "--image", "no.png", "--csv", "a.csv"],
            "--image: cannot read no.png: No such file or directory. Give photographs, as JPEG or "
            "PNG.",
        ),
        (
            [*INPUT, "--effective", "--image", "NET.py", "--html", "a.html"],
            "--image: NET.py is not an image. Give photographs, as JPEG or PNG.",
        ),
        ([*INPUT, "--csv", "."], "--csv . is a folder; name a file"),
        ([*INPUT, "--html", "."], "--html . is a folder; name a file"),
        ([*INPUT, "--figures", "NET.py"], "--figures NET.py is a file; name a folder"),
        (
            [*INPUT, "--html", "NET.py/a.html"],
            "--html NET.py/a.html: NET.py is a file; name a path outside of it",
        ),
        (
            [*INPUT, "--csv", "a", "--html", "a"],
            "--csv and --html both name a; give each a file of its own",
        ),
        ([*INPUT, "--output", "secnd", "--csv", "a.csv"], "'second'"),
        ([*INPUT, "--output", "secnd", "--numeric"], "'second'"),
        (["--input", "1,4,32,32", "--csv", "a.csv"], "cannot be exported"),
    ],
)
def test_a_mistake_is_one_sentence_and_leaves_nothing_behind(
    words: list[str], text: str, networks: str, capsys: pytest.CaptureFixture[str]
) -> None:
    named = [word.replace("NET", networks) for word in words]
    assert text.replace("NET", networks) in mistake(
        capsys, "analyze", f"{networks}:Gridded", *named
    )


def test_photographs_need_three_channels(networks: str, capsys: pytest.CaptureFixture[str]) -> None:
    Image.new("RGB", (4, 4)).save("a.png")
    Path("one.py").write_text("from torch import nn\nnet = nn.Conv2d(1, 1, 3)\n")
    words = ("--input", "1,1,8,8", "--effective", "--image", "a.png")
    assert mistake(capsys, "analyze", "one:net", *words) == (
        "--image: photographs have 3 channels and 2 axes, and the network's input has shape "
        "(1, 1, 8, 8); leave --image out to use random inputs"
    )


def test_the_effective_field_needs_one_input(
    networks: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = (f"{networks}:Two", *INPUT, "--input", "1,1,32,40", "--effective")
    assert mistake(capsys, "analyze", *words) == (
        f"--effective looks at one input, and {networks}:Two takes 2; leave it out"
    )


def test_a_plan_beside_a_factory_is_followed_but_not_run(
    networks: str, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = {"schema_version": 1, "sites": {"second": {"kind": "site", "rates": [5]}}}
    Path("plan.json").write_text(json.dumps(plan))
    words = ("analyze", "plan.json", "--model", f"{networks}:make", *INPUT)
    assert document(capsys, *words)["field_px"] == [13, 13]
    assert mistake(capsys, *words, "--check") == (
        f"--check runs the network, and that of {networks}:make runs at its own rates, not those "
        "of the plan; build it with the plan's rates, or leave --check out"
    )


def test_a_disk_that_refuses(
    networks: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*given: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("dilsearch.runs.atomic.os.replace", refuse)
    assert mistake(capsys, "analyze", f"{networks}:Gridded", *INPUT, "--csv", "a.csv") == (
        "cannot write a.csv: No space left on device. Free the disk or its permissions, or write "
        "elsewhere."
    )
