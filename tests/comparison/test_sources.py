import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dilsearch.comparison.sources import find_sources
from dilsearch.errors import ComparisonError, RunError

WriteRun = Callable[..., Path]


def test_runs_and_sweeps_are_told_apart(
    tmp_path: Path, write_run: WriteRun, write_sweep: WriteRun, grid_trials: list[dict[str, Any]]
) -> None:
    run = write_run(tmp_path / "run")
    sweep = write_sweep(tmp_path / "sweep", grid_trials, protocol="tpe")
    hand = write_run(tmp_path / "hand", stages=("control", "evaluate"))
    found = find_sources([str(run), f"by hand={hand}", f"A={sweep}"])
    assert [source.kind for source in found.finished] == ["search", "search", "tpe"]
    assert [source.method for source in found.finished] == ["search", "by hand", "A"]
    assert [source.has_plans for source in found.finished] == [True, False, True]
    assert [source.has_control for source in found.finished] == [True, True, False]
    assert found.left_out == ()


def test_globs_name_every_folder_that_matches(tmp_path: Path, write_run: WriteRun) -> None:
    for seed in (0, 1):
        write_run(tmp_path / f"toy-seed{seed}", seed=seed)
    (tmp_path / "toy-notes.txt").write_text("no folder")
    found = find_sources([f"A={tmp_path}/toy-*"]).finished
    assert [(source.label, source.folder.seed) for source in found] == [("A", 0), ("A", 1)]
    with pytest.raises(ComparisonError, match=r"^A=nowhere-\*: no folder matches nowhere-\*; give"):
        find_sources(["A=nowhere-*"])


def test_an_equals_sign_in_a_folder_is_no_label(tmp_path: Path, write_run: WriteRun) -> None:
    run = write_run(tmp_path / "lr=0.1")
    assert find_sources([str(run)]).finished[0].label is None
    assert find_sources([f"A={run}"]).finished[0].label == "A"


@pytest.mark.parametrize("text", ["=runs/a", " =runs/a", "A="])
def test_a_label_has_a_name_and_a_folder(text: str) -> None:
    with pytest.raises(ComparisonError, match=f"^'{text}' is no LABEL=FOLDER; give a name"):
        find_sources([text])


def test_a_run_counts_once(tmp_path: Path, write_run: WriteRun) -> None:
    run = write_run(tmp_path / "run")
    with pytest.raises(ComparisonError) as caught:
        find_sources([str(run), str(run)])
    assert str(caught.value) == f"{run} is given twice; give every run once"
    link = tmp_path / "link"
    link.symlink_to(run)
    with pytest.raises(ComparisonError) as caught:
        find_sources([str(run), f"B={link}"])
    assert str(caught.value) == f"{link} is given twice, first as {run}; give every run once"


def test_what_is_not_finished_is_left_out(
    tmp_path: Path, write_run: WriteRun, write_sweep: WriteRun, grid_trials: list[dict[str, Any]]
) -> None:
    begun = write_run(tmp_path / "begun", stages=("search", "convert", "retrain"))
    sweep = write_sweep(tmp_path / "sweep", grid_trials, finished=False)
    of_begun = (
        f"{begun} is left out: no searched network and no control has been trained and evaluated; "
        "finish the run"
    )
    of_sweep = (
        f"{sweep} is left out: the sweep is not finished; the command that began it goes on with it"
    )
    done = write_run(tmp_path / "done")
    assert find_sources(list(map(str, (begun, sweep, done)))).left_out == (of_begun, of_sweep)
    with pytest.raises(ComparisonError) as caught:
        find_sources([str(begun), str(sweep)])
    assert str(caught.value) == (
        f"nothing can be compared yet, 2 faults:\n  - {of_begun}\n  - {of_sweep}"
    )


@pytest.mark.parametrize(
    ("sweep", "said"),
    [
        ({}, "has no 'sweep.protocol'. Restore"),
        (
            {"protocol": "random"},
            "names a protocol 'random', and this dilsearch knows grid and tpe.",
        ),
    ],
)
def test_a_sweep_says_what_it_is(
    tmp_path: Path, write_sweep: WriteRun, sweep: dict[str, str], said: str
) -> None:
    path = write_sweep(tmp_path / "s", [{"seed": 0, "mean_iou": 0.5}])
    (path / "summary.json").write_text(json.dumps({"sweep": sweep}))
    with pytest.raises(RunError) as caught:
        find_sources([str(path)])
    assert f"summary.json {said}" in str(caught.value)


def test_a_folder_without_a_run_is_named(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"holds no run: there is no run\.json in it"):
        find_sources([str(tmp_path)])
