import json
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from dilsearch.cli import main
from dilsearch.study import STUDIES, Case, Study, robustness, runner

ONE_PART = ["study", "small", "--part", "bars"]


@pytest.fixture
def here(tmp_path: Path, study: Study, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder, with the small study among those that ship."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setitem(robustness.STUDIES, "small", study)  # type: ignore[arg-type]
    return tmp_path


def run(*words: str) -> int:
    with pytest.raises(SystemExit) as caught:
        main(list(words))
    assert isinstance(caught.value.code, int)
    return caught.value.code


def test_the_studies_are_listed(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("study") == 0
    printed = capsys.readouterr().out
    assert "small: A small study" in printed
    assert "(needs --data)" in printed
    assert run("study", "--json") == 0
    listed = json.loads(capsys.readouterr().out)
    assert [entry["name"] for entry in listed] == list(STUDIES)
    assert listed[-1]["parts"][0]["variants"] == ["default", "plain"]


def test_a_dry_run_prints_the_commands_and_does_nothing(
    here: Path, study: Study, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("study", "small", "--dry-run", "--seeds", "3", "--out", "my out") == 0
    printed = capsys.readouterr()
    assert printed.out.splitlines() == [
        "dilsearch run toy --out 'my out/runs/bars/default-seed3' --seed 3 --set data.size_px=64 "
        "--stages search,convert,evaluate --quiet --resume",
        "dilsearch run toy --out 'my out/runs/bars/plain-seed3' --seed 3 --set data.size_px=64 "
        "--set search.smoothing=0 --stages search,convert,evaluate --quiet --resume",
    ]
    assert printed.err == "streets: left out, since it needs --data\n"
    assert not list(here.iterdir())
    assert run("study", "small", "--dry-run", "--data", "d", "--json") == 0
    commands = json.loads(capsys.readouterr().out)
    assert commands == [case.words(Path("studies/small/runs"), Path("d")) for case in study.cases()]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["study", "smal"], "there is no study named 'smal' (did you mean 'small'?); there are "
         "search-robustness, small"),
        (["study", "small", "--part", "bar"], "there is no part named 'bar' (did you mean "
         "'bars'?); 'small' has bars, streets"),
        (["study", "small", "--variant", "x"], "there is no variant named 'x'; 'small' has "
         "default, plain"),
        (["study", "small", "--seeds", "1-x"], "--seeds 1-x: '1-x' is no seed or range of seeds; "
         "give whole numbers and rising ranges of at most 1000, such as 0-9 or 0,1,2"),
        (["study", "small", "--part", "bars", "--part", "streets"], "part 'streets' needs the "
         "folder of its data; give it with --data"),
    ],
)  # fmt: skip
def test_mistakes_are_one_sentence(
    here: Path, capsys: pytest.CaptureFixture[str], words: list[str], sentence: str
) -> None:
    assert run(*words) == 2
    assert capsys.readouterr().err == f"dilsearch: {sentence}\n"
    assert not list(here.iterdir())


def test_tables_and_figures_of_what_is_finished(
    here: Path, study: Study, write_run: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    runs, out = here / "studies/small/runs", here / "studies/small"
    assert run("study", "small", "--tables-only") == 0
    assert "no run is finished in studies/small/runs" in capsys.readouterr().err
    assert not out.exists()
    far = {"fractional": {"far_accuracy": 0.5}}
    part = study.parts[0]
    for seed in (0, 1, 5):
        write_run(runs, Case(part, part.variants[0], seed), scores=far)
    write_run(runs, next(study.parts[1].cases()), needed_px=None)
    assert run("study", "small", "--tables-only") == 0
    printed = capsys.readouterr().out
    assert "3 of 3" in printed
    assert "table and figures: studies/small" in printed
    assert {path.name for path in out.iterdir()} == {
        "runs", "results.csv", "table.md", "fields.png", "scores.png"
    }  # fmt: skip
    assert len((out / "results.csv").read_text().splitlines()) == 1 + 4
    assert "--out studies/small/runs/bars/default-seedN" in (out / "table.md").read_text()

    # Narrowed, the files hold what is asked for; figures of more than that are taken away.
    words = ["study", "small", "--tables-only", "--json", "--part", "streets", "--seeds", "0"]
    assert run(*words) == 0
    document = json.loads(capsys.readouterr().out)
    assert [row["part"] for row in document["results"]] == ["streets"]
    assert document["summary"][0]["found"] is None
    assert not (out / "fields.png").exists()
    assert not (out / "scores.png").exists()
    assert len((out / "results.csv").read_text().splitlines()) == 1 + 1


def test_what_finished_is_tabulated_before_failures_are_told(
    here: Path,
    study: Study,
    write_run: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    runs = here / "studies/small/runs"
    write_run(runs, next(study.cases()), scores={"fractional": {"far_accuracy": 0.5}})
    fail = [sys.executable, "-I", "-S", "-c", "import sys; sys.exit('dilsearch: no memory')"]
    monkeypatch.setattr(runner, "command_of", lambda words: fail)
    assert run(*ONE_PART, "--seeds", "0") == 2
    printed = capsys.readouterr()
    assert "1 of 1" in printed.out
    assert printed.err.splitlines()[-1] == (
        "dilsearch: 1 of 2 runs failed (bars plain seed 0); the first because: no memory"
    )
    assert len((here / "studies/small/results.csv").read_text().splitlines()) == 1 + 1


def test_an_interrupt_says_how_to_go_on(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stopped = runner.Outcome(interrupted=True)
    asked: list[Case] = []

    def run_cases(cases: list[Case], root: Path, **options: object) -> runner.Outcome:
        asked.extend(cases)
        return stopped

    monkeypatch.setattr(runner, "run_cases", run_cases)
    words = [
        *ONE_PART, "--variant", "plain", "--seeds", "0-2", "--workers", "2", "--data", "my data",
        "--device", "cpu",
    ]  # fmt: skip
    assert run(*words, "--out", "o") == 130
    last = capsys.readouterr().err.splitlines()[-1]
    assert last == (
        "dilsearch: stopped; go on with: dilsearch study small --out o --part bars "
        "--variant plain --seeds 0-2 --workers 2 --data 'my data' --device cpu"
    )
    assert [case.seed for case in asked] == [0, 1, 2]
    # What is printed asks for the same again.
    asked.clear()
    assert run(*shlex.split(last.partition("dilsearch study")[2].join(["study", ""]))) == 130
    assert [case.seed for case in asked] == [0, 1, 2]


def test_quiet_says_nothing(
    here: Path, study: Study, write_run: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    write_run(here / "studies/small/runs", next(study.cases()))
    assert run("study", "small", "--tables-only", "--quiet") == 0
    assert capsys.readouterr() == ("", "")


def test_studies_need_no_torch() -> None:
    code = (
        "import sys, dilsearch.study.runner, dilsearch.study.figures, dilsearch.cli.study\n"
        "print('torch' in sys.modules)\n"
        "sys.modules['torch'] = sys\n"
        "print('torch' in sys.modules)"  # the control: it would be seen
    )
    words = [sys.executable, "-c", code]
    result = subprocess.run(words, capture_output=True, text=True, check=True)
    assert result.stdout.split() == ["False", "True"]
