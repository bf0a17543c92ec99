import math
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from dilsearch.errors import RunError
from dilsearch.study import Case, Study
from dilsearch.study.tables import (
    RESULT_TYPES,
    result_in_words,
    results_table,
    short_table,
    summary_table,
    to_markdown,
    with_seeds_found,
)

WriteRun = Callable[..., Path]


@pytest.fixture
def root(tmp_path: Path, study: Study, write_run: WriteRun) -> Path:
    """Both parts with figures that can be reckoned in the head; bars plain seed 1 is not there."""
    default0, plain0, default1, _ = study.parts[0].cases()
    far = {"fractional": {"far_accuracy": 0.9, "mean_iou": 0.1}}
    write_run(tmp_path, default0, field_px=90, needed_px=100, scores=far, seconds=30)
    far = {"fractional": {"far_accuracy": 0.7, "mean_iou": 0.1}}
    write_run(tmp_path, default1, field_px=89, needed_px=100, scores=far, seconds=50)
    write_run(tmp_path, plain0, field_px=250, needed_px=100)
    for case, retrained in zip(study.parts[1].cases(), (0.95, 0.35), strict=True):
        scores = {
            "fractional": {"mean_iou": 0.3},
            "retrain": {"mean_iou": retrained},
            "control": {"mean_iou": None},
        }
        write_run(tmp_path, case, field_px=1215, needed_px=None, scores=scores)
    return tmp_path


def test_results_have_a_row_for_each_finished_case(root: Path, study: Study) -> None:
    results = results_table(root, study)
    assert list(results.columns) == list(RESULT_TYPES)
    assert list(zip(results["part"], results["variant"], results["seed"], strict=True)) == [
        ("bars", "default", 0),
        ("bars", "plain", 0),
        ("bars", "default", 1),
        ("streets", "default", 0),
        ("streets", "default", 1),
    ]
    first, street = results.iloc[0], results.iloc[3]
    assert (first["needed_px"], first["field_px"], first["field_ratio"]) == (100, 90, 0.9)
    assert (first["metric"], first["searched"]) == ("far_accuracy", 0.9)
    assert math.isnan(first["retrained"])
    assert (first["search_steps"], first["search_seconds"]) == (400, 30.0)
    assert (first["holes"], bool(first["bound_ok"]), first["device"]) == (0, True, "cpu")
    assert (street["metric"], street["retrained"]) == ("mean_iou", 0.95)
    assert (street["retrain_seconds"], street["field_px"]) == (20.0, 1215)
    assert pd.isna(street["needed_px"])
    for column in ("field_ratio", "control", "control_seconds"):
        assert math.isnan(street[column])


def test_unfinished_and_foreign_runs_are_left_out(
    root: Path, study: Study, write_run: WriteRun
) -> None:
    case = Case(study.parts[0], study.parts[0].variants[1], 1)
    folder = write_run(root, case, stages=("search",))
    assert len(results_table(root, study)) == 5
    record = (folder / "run.json").read_text()
    whole = record.replace('"search": {', '"convert": {"status": "finished"}, '
                           '"evaluate": {"status": "finished"}, "search": {')  # fmt: skip
    (folder / "run.json").write_text(whole)
    assert len(results_table(root, study)) == 6  # the control: finished, it counts
    (folder / "run.json").write_text(whole.replace("smoothing=0", "smoothing=1"))
    assert len(results_table(root, study)) == 5


def test_a_damaged_summary_is_named(root: Path, study: Study) -> None:
    (root / "bars" / "plain-seed0" / "summary.json").write_text("[")
    with pytest.raises(RunError, match=r"plain-seed0/summary\.json is not readable JSON"):
        results_table(root, study)


def test_seeds_are_found_in_the_folders(root: Path, study: Study, write_run: WriteRun) -> None:
    write_run(root, Case(study.parts[0], study.parts[0].variants[0], 12))
    write_run(root, Case(study.parts[0], study.parts[0].variants[0], 7))
    (root / "bars" / "other-seed5").mkdir()
    (root / "bars" / "default-seedX").mkdir()
    found = with_seeds_found(root, study)
    assert [part.seeds for part in found.parts] == [(0, 1, 7, 12), (0, 1)]
    assert with_seeds_found(root / "nowhere", study) == study


def test_the_summary_of_each_variant(root: Path, study: Study) -> None:
    summary = summary_table(results_table(root, study)).set_index(["part", "variant"])
    assert list(summary.index) == [
        ("bars", "default"),
        ("bars", "plain"),
        ("streets", "default"),
    ]
    default = summary.loc[("bars", "default")]
    assert (default["seeds"], default["found"], default["needed_px"]) == (2, 1, 100)
    fields = default[["field_median", "field_min", "field_max", "field_mean"]]
    assert list(fields) == [89.5, 89, 90, 89.5]
    scores = default[["searched_median", "searched_min", "searched_max", "searched_mean"]]
    assert list(scores) == pytest.approx([0.8, 0.7, 0.9, 0.8])
    assert default["searched_std"] == pytest.approx(math.sqrt(0.02))  # two values 0.2 apart
    assert default["search_seconds_median"] == 40
    assert pd.isna(default["retrained_successes"])
    assert math.isnan(default["retrained_median"])

    plain = summary.loc[("bars", "plain")]
    assert (plain["seeds"], plain["found"], plain["field_median"]) == (1, 1, 250)
    assert math.isnan(plain["field_std"])

    streets = summary.loc[("streets", "default")]
    assert pd.isna(streets["found"])
    assert (streets["seeds"], streets["retrained_successes"]) == (2, 1)
    assert streets["retrained_mean"] == pytest.approx(0.65)
    assert streets["retrained_std"] == pytest.approx(0.6 / math.sqrt(2))
    assert pd.isna(streets["control_successes"])


def test_no_runs_give_an_empty_summary(tmp_path: Path, study: Study) -> None:
    results = results_table(tmp_path, study)
    summary = summary_table(results)
    assert (len(results), len(summary)) == (0, 0)
    assert {"found", "retrained_std"} < set(summary.columns)
    assert to_markdown(summary, study, tmp_path).endswith("No run is finished yet.\n")


def test_the_table_in_markdown(root: Path, study: Study) -> None:
    text = to_markdown(summary_table(results_table(root, study)), study, Path("out"))
    bars, streets = text.split("\n## ")[1:]
    assert bars.startswith("Thin bars\n")
    lines = bars.splitlines()
    assert lines[2:6] == [
        "| variant | seeds | field found | field, px | needed, px | searched | search, s "
        "| retrain, s |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
        "| default | 2 | 1 of 2 | 90 (89 to 90) | 100 | 0.800 (0.700 to 0.900) | 40 | 20 |",
        "| plain | 1 | 1 of 1 | 250 (250 to 250) | 100 |  | 30 | 20 |",
    ]
    assert "- `plain`: no smoothing | at all" in lines
    assert (
        "dilsearch run toy --out out/bars/plain-seedN --seed N --set data.size_px=64 "
        "--set search.smoothing=0 --stages search,convert,evaluate --quiet --resume"
    ) in lines
    assert "retrained, mean ± s.d." in streets
    assert "0.650 ± 0.424" in streets
    assert "needed, px" not in streets
    assert "control" not in streets.split("Networks")[0]
    assert "--profile quick --data path/to/data --quiet" in streets


def test_the_table_for_a_terminal_has_medians(root: Path, study: Study) -> None:
    table = short_table(summary_table(results_table(root, study)))
    assert list(table.iloc[0]) == ["bars", "default", "1 of 2", "90", "100", "0.800", "", ""]
    assert list(table.iloc[2]) == ["streets", "default", "", "1215", "", "0.300", "0.650", ""]


def test_a_result_in_words(root: Path, study: Study) -> None:
    bars, streets = (next(part.cases()) for part in study.parts)
    assert result_in_words(root, bars) == "90 px of 100, far accuracy 0.90"
    assert result_in_words(root, streets) == "1215 px, mean IoU 0.95"
