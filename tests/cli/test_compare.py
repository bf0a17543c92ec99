import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from compared_folders import grid_trials, made_quickly, tpe_trials, write_run, write_sweep
from matplotlib.figure import Figure

from dilsearch.cli import main
from dilsearch.cli.compare import CompareOptions, run_comparison
from dilsearch.errors import ComparisonError

TABLES = ("comparison", "differences", "seeds", "plans", "costs")
FIGURES = ("field", "cost-samples", "cost-seconds")


@pytest.fixture
def given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Two seeds of a search, a grid and TPE; the working folder is where they lie."""
    made_quickly(monkeypatch)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "140")
    for seed in (0, 1):
        write_run(Path(f"runs/toy-seed{seed}"), seed=seed, score=0.9 - seed / 10)
    write_sweep(Path("runs/toy-grid"), grid_trials())
    write_sweep(Path("runs/toy-tpe"), tpe_trials(), protocol="tpe")
    return ["found=runs/toy-seed*", "runs/toy-grid", "runs/toy-tpe"]


def compare(runs: list[str], **asked: Any) -> None:
    run_comparison(CompareOptions(runs=runs, **asked))


def test_tables_figures_and_sentences_are_written(
    given: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dilsearch.report.figures.as_png", lambda _: b"")  # the SVG is in earnest
    with pytest.raises(SystemExit) as caught:
        main(["compare", *given, "--threshold", "0.9", "--out", "out"])
    assert caught.value.code == 0
    written = sorted(path.name for path in Path("out").iterdir())
    expected = [f"{name}.csv" for name in TABLES] + ["comparison.md"]
    expected += [f"{name}.{kind}" for name in FIGURES for kind in ("png", "svg")]
    assert written == sorted(expected)
    summary = pd.read_csv("out/comparison.csv")
    assert list(summary["name"]) == ["found", "grid", "grid at 80 px", "tpe", "control"]
    assert len(pd.read_csv("out/plans.csv")) == 14  # 2 searched, 2 controls, 4 and 6 trials
    text = Path("out/comparison.md").read_text()
    assert all(f"({name}.png)" in text for name in FIGURES)
    printed = capsys.readouterr().out
    assert "found minus control is +0.350" in printed
    assert "0.700 ± 0.141" in printed
    assert printed.endswith("tables, figures and how it was counted: out/comparison.md\n")


def test_the_figures_are_of_trained_plans_and_know_every_kind(
    given: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: dict[str, tuple[pd.DataFrame, dict[str, Any]]] = {}

    def keep(name: str) -> Any:
        def draw(frame: pd.DataFrame, **asked: Any) -> Figure:
            drawn[str(asked.get("unit", name))] = (frame, asked)
            return Figure(figsize=(0.1, 0.1))

        return draw

    for name in ("field_figure", "cost_figure"):
        monkeypatch.setattr(f"dilsearch.report.sweep_figures.{name}", keep(name))
    compare(given)
    points, asked = drawn["field_figure"]
    assert (asked["needed_px"], asked["rate_one_px"]) == (63, 23)
    assert list(points.loc[points["kind"] == "tpe", "number"]) == [1, 2, 5]  # 3 is as 2
    for unit in ("samples", "seconds"):
        curves = drawn[unit][0]
        assert dict(zip(curves["method"], curves["kind"], strict=True)) == {
            "found": "search", "grid": "grid", "tpe": "tpe", "control": "control",
        }  # fmt: skip


def test_the_tables_are_the_same_however_the_result_is_shown(
    given: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dilsearch.cli.compare._write_figures", lambda *_: [])  # they take a while
    given.append(str(write_run(Path("runs/begun"), stages=("search",))))
    compare(given, score="far_accuracy", as_json=True)
    printed = capsys.readouterr()
    document = json.loads(printed.out)
    asked = [document[key] for key in ("out", "score", "threshold", "needed_px")]
    assert asked == ["comparison", "far_accuracy", None, 63]
    assert [row["name"] for row in document["methods"]][:2] == ["found", "grid"]
    assert document["methods"][3]["score_std"] is None  # one seed
    assert document["differences"][0]["verdict"] == "too few seeds"
    assert len(document["seeds"]) == 9
    assert document["remarks"] == printed.err.strip().splitlines()
    assert printed.err.startswith("runs/begun is left out: ")
    compare(given, score="far_accuracy", quiet=True, out=Path("quiet"))
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == ("", "")
    for path in Path("comparison").iterdir():
        assert path.read_bytes() == Path("quiet", path.name).read_bytes()


def test_nothing_is_written_where_something_is_wrong(given: list[str]) -> None:
    with pytest.raises(ComparisonError, match=r"^--score nonsense: there is no such score in"):
        compare(given, score="nonsense", out=Path("out"))
    write_run(Path("runs/other"), seed=5, overrides=("train.batch_size=8",))
    with pytest.raises(ComparisonError, match=r"train\.batch_size is 8, not 4"):
        compare([*given, "runs/other"], out=Path("out"))
    assert not Path("out").exists()


def test_a_run_is_not_written_into(given: list[str]) -> None:
    before = sorted(Path("runs/toy-grid").iterdir())
    with pytest.raises(ComparisonError) as caught:
        compare(given, out=Path("runs/toy-grid"))
    assert str(caught.value) == ("--out runs/toy-grid is the folder of a run; write to another")
    assert sorted(Path("runs/toy-grid").iterdir()) == before


def test_neither_torch_nor_optuna_is_imported(given: list[str]) -> None:
    script = (
        "import sys\n"
        "import dilsearch.cli.compare, dilsearch.report.figures, dilsearch.report.sweep_page\n"
        "from dilsearch.comparison.methods import read_methods\n"
        f"read_methods({given!r})\n"
        "print([name for name in ('torch', 'optuna') if name in sys.modules])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"


@pytest.mark.slow
def test_what_the_commands_write_can_be_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Real folders: a control and a trial with its rates and seed are one training, twice."""
    monkeypatch.chdir(tmp_path)
    small = ["--profile", "smoke", "--quiet", "--set", "model.options.blocks=2"]
    small += ["--set", "data.size_px=32"]
    for words in (
        ["run", "toy", *small, "--out", "run"],
        ["sweep", "toy", *small, "--grid", "23:39:16", "--seeds", "0-1", "--out", "grid"],
        ["sweep", "toy", *small, "--trials", "3", "--out", "tpe"],
        ["compare", "run", "grid", "tpe", "--quiet", "--threshold", "0.1"],
    ):
        with pytest.raises(SystemExit) as caught:
            main(words)
        assert caught.value.code == 0
    plans = pd.read_csv("comparison/plans.csv")
    assert list(plans["method"]) == ["search", *["grid"] * 4, *["tpe"] * 3, "control"]
    first = plans[(plans["method"] == "grid") & (plans["seed"] == 0)].iloc[0]
    control = plans.iloc[-1]
    assert (first["field_px"], first["samples"]) == (control["field_px"], control["samples"])
    assert first["score"] == control["score"]
    summary = pd.read_csv("comparison/comparison.csv").set_index("name")
    assert list(summary["samples_mean"][["search", "control"]]) == [160, 80]
    assert summary["samples_mean"]["grid"] == 160
