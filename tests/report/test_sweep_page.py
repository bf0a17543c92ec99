"""The page of a sweep: its numbers, what it says of noise, escaping, and a width that fits."""

import html
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import sweeps
from browser import BROWSER, FLAGS

from dilsearch.errors import RunError
from dilsearch.report import figures, sweep_pictures, write_report, write_sweep_report
from dilsearch.report.sweep_page import render_sweep
from dilsearch.report.sweep_tables import read_sweep, targets_table
from dilsearch.report.sweep_verdict import sweep_verdict
from dilsearch.runs import RunFolder

NONE = "\N{EN DASH}"


@pytest.fixture(scope="module")
def grid(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("runs") / "toy-grid"
    sweeps.write_sweep(path, "grid", sweeps.grid_rows(), best=sweeps.GRID_BEST)
    write_report(path)
    return path


@pytest.fixture(scope="module")
def tpe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("runs") / "toy-tpe"
    sweeps.write_sweep(
        path,
        "tpe",
        sweeps.tpe_rows(),
        objectives=["miou", "latency"],
        pareto=[0, 1, 2, 4],
        best=sweeps.TPE_BEST,
    )
    with pytest.MonkeyPatch.context() as patch:
        for form in ("as_png", "as_svg"):  # the grid's are written in earnest
            patch.setattr(figures, form, lambda _: b"<svg/>")
        write_report(path)
    return path


def _source(path: Path) -> str:
    return (path / "report.html").read_text(encoding="utf-8")


def _text(path: Path) -> str:
    return _words(_source(path))


def _words(page: str) -> str:
    body = re.sub(r"<style>.*?</style>", "", page, flags=re.DOTALL)
    return re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]*>", " ", body)))


def _page(path: Path) -> str:
    """The page without its figures, which take a while to draw."""
    return render_sweep(read_sweep(path), {})


def _rows(path: Path, section: str) -> list[list[str]]:
    return _rows_of(_source(path), section)


def _rows_of(page: str, section: str) -> list[list[str]]:
    """The rows of a table, by the name of its region."""
    [table] = re.findall(rf'aria-label="{section}">(.*?)</table>', page, re.DOTALL)
    rows = re.findall(r"<tr[^>]*>\s*<th scope=\"row\".*?</tr>", table, re.DOTALL)
    cells = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.DOTALL) for row in rows]
    return [[html.unescape(re.sub(r"<[^>]*>", "", cell)).strip() for cell in row] for row in cells]


def test_the_page_of_a_grid_tells_its_targets(grid: Path) -> None:
    frame = pd.DataFrame(sweeps.grid_rows())
    spread = frame.groupby("target_px")["mean_iou"].agg(["mean", "std"])
    shown = _rows(grid, "Targets")
    assert [(row[0], row[1]) for row in shown] == [
        (str(target), str(field)) for target, (field, _) in sweeps.GRID.items()
    ]
    assert [row[3] for row in shown] == [
        f"{row['mean']:.3f} ± {row['std']:.3f}" for _, row in spread.iterrows()
    ]
    assert {(row[4], row[5]) for row in shown} == {("3", "14,400")}
    assert [row[6] for row in shown] == ["", "", "best", ""]
    assert shown[0][2].replace("\N{NO-BREAK SPACE}", " ") == "1, 7 | 1, 8 | 1, 9 | 1, 10 | 1, 11"
    text = _text(grid)
    for told in (
        "The best of 4 targets is 239 px, with a field of exactly 239 px (191 needed): mean IoU "
        "0.969 ± 0.012 over 3 seeds.",
        "The runner-up, 335 px with 0.963 ± 0.014, is within noise",
        "chosen by its score on the validation set",
        "12 trials are complete, none were pruned, none failed.",
        "Schedules of rates for 4 fields of 47 to 335 px, with seeds 0, 1, 2, each trained for 240",
        "12 of 12",
        "57,600",
        "✗ broken",
        "optuna-dashboard sqlite:///study.db --artifact-dir artifacts",
        "dilsearch sweep toy # grid",
    ):
        assert told in text
    assert "not complete" not in text


def test_the_page_of_proposed_plans_tells_its_trials(tpe: Path) -> None:
    shown = _rows(tpe, "Trials")
    assert [row[1] for row in shown] == [
        *(state for _, _, state, *_ in sweeps.TPE),
        "complete, from trial 4",
    ]
    assert shown[3][2] == "95"
    assert shown[3][4:8] == ["0.410", NONE, "1,800", "step 90"]
    assert shown[4][4:] == ["0.972", "6.900", "4,800", "", "best on the front"]
    assert shown[7][-1] == "killed on the way"
    text = _text(tpe)
    for told in (
        "The best of 8 finished trials is number 4, with a field of 239 px (191 needed): mean IoU "
        "0.972. The runner-up, number 5 with 0.966, is 0.006 behind; each was trained with one",
        "4 trials are on the front of mean IoU and latency (ms): no other is at least as good in "
        "all and better in one.",
        "6 trials are complete (1 of them answered from another with the same plan and seed), 2 "
        "were pruned, 1 failed. What a killed, interrupted or failed trial had seen before is not "
        "recorded and not charged.",
        "On the front is every trial that no other dominates",
        "Plans proposed by TPE for mean IoU and latency (ms), each trained for at most 240 steps",
        "8 of 8",
    ):
        assert told in text
    assert sorted(path.stem for path in (tpe / "figures").glob("*.svg")) == [
        "cost",
        "field",
        "looks",
        "pareto",
    ]


def test_a_page_needs_nothing_but_itself(grid: Path, tpe: Path) -> None:
    for path in (grid, tpe):
        page = _source(path)
        addresses = re.findall(r'(?:src|href)="([^"]*)"', page)
        assert addresses
        assert all(address.startswith("data:image/svg+xml;base64,") for address in addresses)
        assert not re.search(r"<(script|link|iframe|object)|https?:|url\(|@import", page)
        assert all(caption for caption in re.findall(r"<figcaption>(.*?)</figcaption>", page))
        assert page.count("<table") == len(re.findall(r'<div class="scroll"[^>]*>\s*<table', page))


@pytest.mark.parametrize(
    ("second", "told"),
    [(0.5, "is more than one standard deviation behind"), (0.96, "is within noise")],
)
def test_the_runner_up_is_noise_only_within_a_standard_deviation(
    tmp_path: Path, second: float, told: str
) -> None:
    rows = sweeps.grid_rows()
    for row in rows:
        if row["target_px"] == 335:
            row["mean_iou"] = second + 0.001 * row["seed"]
    sweeps.write_sweep(tmp_path / "run", "grid", rows, best=sweeps.GRID_BEST)
    assert told in sweep_verdict(read_sweep(tmp_path / "run"))


def test_a_target_that_failed_with_a_seed_is_no_runner_up(tmp_path: Path) -> None:
    rows = sweeps.grid_rows()
    lost = next(row for row in rows if row["target_px"] == 335 and row["seed"] == 1)
    lost |= {"state": "failed", "mean_iou": None, "reason": "out of memory"}
    path = sweeps.write_sweep(tmp_path / "run", "grid", rows, total=12, best=sweeps.GRID_BEST)
    told = sweep_verdict(read_sweep(path))  # the other two seeds of 335 px are the highest
    assert "The runner-up, 143 px with 0.712" in told
    assert "What was trained with fewer of the seeds is not held against the best: 335 px." in told
    assert "11 trials are complete, none were pruned, 1 failed. What a killed" in told
    # What the failed one had seen would not be charged even if it were on record.
    assert list(targets_table(read_sweep(path))["samples"]) == [14400, 14400, 14400, 9600]
    assert "52,800; complete and pruned trials" in _words(_page(path))


def test_answered_trials_are_counted_within_those_of_their_end(tmp_path: Path) -> None:
    rows = sweeps.tpe_rows()
    twin = {"number": 9, "slot": "tpe 9", "answered_from": 3, "samples": 0, "folder": None}
    stopped = sweeps.trial_row(10, state="interrupted", samples=None, folder=None)
    rows += [{**rows[3], **twin}, stopped]
    path = sweeps.write_sweep(tmp_path / "run", "tpe", rows, best=sweeps.TPE_BEST)
    told = sweep_verdict(read_sweep(path))
    assert "6 trials are complete (1 of them answered from another with the same plan" in told
    assert "seed), 3 were pruned, 1 failed, 1 was interrupted. What a killed" in told


def test_the_front_of_a_grid_is_over_the_means_of_its_targets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("field_figure", "cost_figure"):
        monkeypatch.setattr(sweep_pictures, name, lambda *_, **__: None)
    rows = [
        {**row, "latency_ms": row["target_px"] / 50 + row["seed"]} for row in sweeps.grid_rows()
    ]
    front = [row["number"] for row in rows if row["target_px"] in (47, 143, 239)]
    path = sweeps.write_sweep(
        tmp_path / "run", "grid", rows, objectives=["miou", "latency"], pareto=front,
        best=sweeps.GRID_BEST,
    )  # fmt: skip
    data = read_sweep(path)
    assert "3 targets are on the front of mean IoU and latency (ms): no other" in sweep_verdict(
        data
    )
    axes = sweep_pictures.draw_sweep_figures(data)["pareto"].axes[0]
    means = pd.DataFrame(rows).groupby("target_px")[["latency_ms", "mean_iou"]].mean()
    behind, joined, _ = (line.get_xydata() for line in axes.lines)
    assert joined == pytest.approx(means.loc[[47, 143, 239]].to_numpy())
    assert behind == pytest.approx(means.loc[[335]].to_numpy())
    page = render_sweep(data, {"pareto": "data:"})
    assert "On the front is every target that no other dominates" in page
    assert "Each stands for its mean over the seeds." in page


def test_an_unfinished_sweep_says_what_is_missing(tmp_path: Path) -> None:
    rows = sweeps.grid_rows(1)[:3]
    rows.append(sweeps.trial_row(3, state="running", samples=None, seconds=None, folder=None))
    best = {**sweeps.GRID_BEST, "trial": 2, "seeds": 1, "std": None}
    path = sweeps.write_sweep(tmp_path / "run", "grid", rows, total=12, best=best)
    page = _page(path)
    text = _words(page)
    assert "This sweep is not complete." in text
    assert "3 of 12 trials have finished, 1 still running when the table was written." in text
    assert "one seed each does not tell whether that is noise" in text
    assert _rows_of(page, "Targets")[-1][3:] == [NONE, NONE, NONE, "not trained yet"]


def test_a_sweep_that_has_just_begun_has_a_page(tmp_path: Path) -> None:
    folder = RunFolder.create(
        tmp_path / "run", command="dilsearch sweep toy", space=sweeps.SPACE, seed=0
    )
    folder.begin("sweep")
    assert write_report(tmp_path / "run") == tmp_path / "run" / "report.html"
    text = _text(tmp_path / "run")
    assert "No trial of this sweep is complete yet." in text
    assert "No trial has been written down yet." in text
    assert "<img" not in _source(tmp_path / "run")


def test_a_target_with_the_schedule_of_another_is_told(tmp_path: Path) -> None:
    rows = [row for row in sweeps.grid_rows() if row["target_px"] != 335]
    for number, row in enumerate(rows):
        row["number"] = number
    path = sweeps.write_sweep(tmp_path / "run", "grid", rows, best={**sweeps.GRID_BEST, "trial": 5})
    shown = _rows_of(_page(path), "Targets")
    assert shown[-1][3:] == [NONE, NONE, NONE, "same schedule as another target"]
    assert targets_table(read_sweep(path))["mean"].notna().tolist() == [True, True, True, False]


def test_everything_is_escaped(tmp_path: Path) -> None:
    evil = "<script>alert('x')</script>"
    rows = sweeps.tpe_rows()
    for row in rows:
        row |= {"reason": evil, "state": row["state"]}
    rows[7]["rates"] = rows[8]["rates"] = evil
    storage = f"sqlite:///{evil}.db"
    path = sweeps.write_sweep(tmp_path / "run", "tpe", rows, best=sweeps.TPE_BEST, storage=storage)
    record = json.loads((path / "run.json").read_text())
    record |= {"space": evil, "command": evil, "device": evil}
    (path / "run.json").write_text(json.dumps(record))
    page = _page(path)
    assert "<script" not in page
    assert html.unescape(page).count(evil) > 12
    assert "without a password" in _words(page)


def test_folders_that_are_no_sweep_are_refused(tmp_path: Path) -> None:
    RunFolder.create(tmp_path / "run", command="dilsearch run toy", space=sweeps.SPACE, seed=0)
    with pytest.raises(RunError, match=r"holds a run that is no sweep.*runs/toy-grid"):
        write_sweep_report(tmp_path / "run")
    write_report(tmp_path / "run")  # which gets the page of a run
    assert "report of a run" in _source(tmp_path / "run")
    path = sweeps.write_sweep(tmp_path / "bad", "grid", sweeps.grid_rows(), best=sweeps.GRID_BEST)
    table = pd.read_csv(path / "trials.csv")
    table.drop(columns="samples").to_csv(path / "trials.csv", index=False)
    with pytest.raises(RunError, match=r"trials\.csv has no column 'samples'"):
        write_report(path)
    table.assign(samples="many").to_csv(path / "trials.csv", index=False)
    with pytest.raises(RunError, match=r"trials\.csv has a cell that is no number"):
        write_report(path)


@pytest.mark.slow  # that comparing imports neither is checked always, with the same modules
def test_a_page_is_written_without_torch_and_optuna(grid: Path) -> None:
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from dilsearch.report import write_report\n"
        "write_report(Path(sys.argv[1]))\n"
        "sys.exit('torch' in sys.modules or 'optuna' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(grid)], env={**os.environ}, check=False)
    assert done.returncode == 0


@pytest.mark.slow  # that whatever is wide can be scrolled is checked always
@pytest.mark.skipif(BROWSER is None, reason="no Chromium found to render the page")
def test_pages_fit_their_window(grid: Path, tpe: Path, tmp_path: Path) -> None:
    wide = "<div style='width:1300px'>wide</div>"
    frames = [(_source(grid), 360), (_source(tpe), 360), (_source(tpe), 1200), (wide, 360)]
    measure = (
        "const page = this.contentDocument.documentElement;"
        "document.title += ` ${this.name}:${page.scrollWidth - page.clientWidth}`"
    )
    written = "".join(
        f'<iframe name="{index}" style="width:{width_px}px;height:900px;border:0" '
        f'onload="{measure}" srcdoc="{html.escape(page)}"></iframe>'
        for index, (page, width_px) in enumerate(frames)
    )
    path = tmp_path / "frames.html"
    path.write_text(f"<!doctype html><title></title>{written}", encoding="utf-8")
    done = subprocess.run(
        [str(BROWSER), *FLAGS, f"--user-data-dir={tmp_path / 'profile'}", str(path)],
        capture_output=True,
        text=True,
        timeout=90,
        check=True,
    )
    title = re.search(r"<title>(.*?)</title>", done.stdout)
    assert title, done.stderr
    over = {int(index): int(px) for index, px in re.findall(r"(\d+):(-?\d+)", title[1])}
    assert [over[index] for index in range(3)] == [0, 0, 0]
    assert over[3] > 900  # the control
