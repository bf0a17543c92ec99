"""What is read from a run folder, and how it is put into frames."""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dilsearch.errors import RunError
from dilsearch.report import tables
from dilsearch.report.rates import rates_over_time

RunFactory = Callable[..., Path]


def test_plan_table_has_the_published_bounds_of_regseg(finished: Mapping[str, Path]) -> None:
    """RegSeg Tab. 2: fields before the 13 blocks, and floor(field / 16)."""
    table = tables.plan_table(tables.read_run(finished["camvid"]))
    assert list(table["bound"]) == [3, 5, 9, 13, 19, 25, 39, 45, 57, 67, 85, 107, 121]
    assert list(table["field_in_px"])[:4] == ["63", "95", "159", "223"]
    assert table["field_out_px"].iloc[-1] == "2399"
    assert table["bound_ok"].all()


def test_plan_table_tells_what_changed_and_why(finished: Mapping[str, Path]) -> None:
    table = tables.plan_table(tables.read_run(finished["toy"]))
    assert table.loc["body.2.conv2", "searched"] == "2.37, 8.62"
    assert table.loc["body.2.conv2", "rates"] == "2, 9"
    assert table.loc["body.2.conv2", "changes"] == (
        "2.37 → 2: floor of the smaller",
        "8.62 → 9: ceil of the larger",
    )
    assert table.loc["body.0.conv2", "changes"] == ()


def test_plan_table_after_the_search_alone_has_the_searched_rates_only(
    make_run: RunFactory,
) -> None:
    table = tables.plan_table(tables.read_run(make_run(stages=("search",))))
    assert list(table.columns) == ["searched"]


def test_plan_table_of_a_run_without_any_stage_is_empty(make_run: RunFactory) -> None:
    assert tables.plan_table(tables.read_run(make_run(stages=()))).empty


def test_a_broken_bound_outside_the_plan_is_listed(make_run: RunFactory) -> None:
    folder = make_run()
    field = pd.read_csv(folder / "field.csv")
    outside = field.iloc[[0]].assign(site="stem.conv", bound_ok=False)
    kept = field.iloc[[0]].assign(site="head.conv", bound_ok=True)
    pd.concat([outside, kept, field]).to_csv(folder / "field.csv", index=False)
    table = tables.plan_table(tables.read_run(folder))
    assert "stem.conv" in table.index
    assert "head.conv" not in table.index


def test_rates_over_time_is_long_and_ordered(finished: Mapping[str, Path]) -> None:
    data = tables.read_run(finished["toy"])
    assert data.trajectory is not None
    rates = rates_over_time(data.trajectory)
    assert list(rates.columns) == ["step", "site", "line", "rate"]
    assert list(dict.fromkeys(rates["site"])) == [f"body.{index}.conv2" for index in range(5)]
    assert (rates[rates["step"] == 0]["rate"] == 1).all()
    assert len(rates) == 401 * 10


def test_rates_over_time_of_a_table_without_rates_is_empty() -> None:
    assert rates_over_time(pd.DataFrame({"step": [0], "field_px": ["7"]})).empty


def test_field_over_time_reads_both_sides() -> None:
    frame = tables.field_over_time(pd.DataFrame({"step": [0, 1], "field_px": ["47", "63x47"]}))
    assert list(frame["height_px"]) == [47, 63]
    assert list(frame["width_px"]) == [47, 47]


@pytest.mark.parametrize(
    ("value", "text"),
    [(47, "47"), ("47", "47"), ("47x31", "47x31"), ([47, 47], "47"), (47.0, "47")],
)
def test_field_text(value: object, text: str) -> None:
    assert tables.field_text(value) == text


@pytest.mark.parametrize("value", ["wide", "1x2x3", None, []])
def test_a_value_that_is_no_field_is_an_error(value: object) -> None:
    with pytest.raises(RunError, match="no size in pixels, such as 47 or 47x31"):
        tables.field_sides(value)


def test_metrics_table_has_every_metric_beside_its_control(finished: Mapping[str, Path]) -> None:
    table = tables.metrics_table(tables.read_run(finished["toy"]))
    assert list(table.index) == list(tables.METRICS)
    assert list(table.columns) == ["fractional", "retrain", "control"]
    assert table.loc["far_accuracy", "control"] == 0.334


def test_metrics_table_keeps_unknown_and_absent_metrics(make_run: RunFactory) -> None:
    values = {"retrain": {"val": {"boundary_f1": 0.5, "mean_iou": None}}}
    table = tables.metrics_table(tables.read_run(make_run(summary=values)))
    assert table.index[-1] == "boundary_f1"
    assert np.isnan(table.loc["boundary_f1", "control"])
    assert np.isnan(table.loc["mean_iou", "retrain"])


def test_class_iou_table_agrees_with_the_summary(finished: Mapping[str, Path]) -> None:
    for folder in finished.values():
        data = tables.read_run(folder)
        table = tables.class_iou_table(data)
        assert table["share"].sum() == pytest.approx(1)
        for network in tables.NETWORKS:
            assert table[network].mean() == pytest.approx(data.result(network, "val", "mean_iou"))


def test_class_iou_of_a_class_that_never_occurs_is_absent(make_run: RunFactory) -> None:
    classes = [{"name": name} for name in ("background", "red", "green", "blue", "unseen")]
    table = tables.class_iou_table(tables.read_run(make_run(summary={"classes": classes})))
    assert table.loc["unseen"].isna().sum() == len(tables.NETWORKS)
    assert table.loc["unseen", "share"] == 0


def test_classes_are_named_by_number_where_the_run_names_none(make_run: RunFactory) -> None:
    data = tables.read_run(make_run(summary={"classes": []}))
    assert list(tables.class_iou_table(data).index) == [f"class {index}" for index in range(4)]


def test_needed_field_comes_from_the_summary_or_the_space(make_run: RunFactory) -> None:
    assert tables.needed_px(tables.read_run(make_run(name="a"))) == 191
    folder = make_run(name="b", stages=())
    assert tables.needed_px(tables.read_run(folder)) is None
    (folder / "space.toml").write_text("[field]\nneeded_px = 300\n")
    assert tables.needed_px(tables.read_run(folder)) == 300


def test_rate_one_field_is_the_controls_or_the_first_of_the_search(make_run: RunFactory) -> None:
    assert tables.rate_one_field_px(tables.read_run(make_run(name="a"))) == "47"
    measured = make_run(name="b", summary={"control": {"field_px": 63}})
    assert tables.rate_one_field_px(tables.read_run(measured)) == "63"
    (measured / "space.toml").write_text("[control]\nrate = 2\n")
    assert tables.rate_one_field_px(tables.read_run(measured)) == "47"


@pytest.mark.parametrize(
    ("control", "text"),
    [
        ("", "every rate 1"),
        ("rate = 1", "every rate 1"),
        ("rate = 3", "every rate 3"),
        ("rate = [1, 2]", "rates 1 | 2"),
        ("rate = [1, [1, 3], [3, 9]]", "rates 1 | 1, 3 | 3, 9"),
        ('rate = "published:exp48"', "the exp48 rates"),
    ],
)
def test_the_rates_of_the_control_in_words(make_run: RunFactory, control: str, text: str) -> None:
    folder = make_run(stages=())
    (folder / "space.toml").write_text(f"[control]\n{control}\n")
    assert tables.control_text(tables.read_run(folder)) == text


@pytest.mark.parametrize(
    ("stages", "missing"),
    [
        ((), ["the search", "the integer plan", "retraining", "training the control"]),
        (("search",), ["the integer plan", "retraining", "training the control"]),
        (("search", "convert"), ["retraining", "training the control"]),
        (("search", "convert", "retrain"), ["training the control"]),
        (("search", "convert", "retrain", "control"), []),
    ],
)
def test_missing_parts_are_named(
    make_run: RunFactory, stages: tuple[str, ...], missing: list[str]
) -> None:
    found = tables.missing_parts(tables.read_run(make_run(stages=stages)))
    assert [part for part in found if "evaluating" not in part] == missing


def test_a_trained_network_without_scores_is_not_evaluated(make_run: RunFactory) -> None:
    folder = make_run(summary={"retrain": None, "control": None})
    assert tables.missing_parts(tables.read_run(folder)) == [
        "evaluating the retrained network",
        "evaluating the control",
    ]


def test_a_control_that_is_not_wanted_is_not_missing(make_run: RunFactory) -> None:
    folder = make_run(stages=("search", "convert", "retrain"))
    (folder / "space.toml").write_text("[control]\nenabled = false\n")
    assert tables.missing_parts(tables.read_run(folder)) == []


def test_a_folder_without_a_run_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"holds no run: there is no run\.json"):
        tables.read_run(tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "text"),
    [
        ("trajectory.csv", "step,loss\n0,1\n", "has no column 'field_px'"),
        ("trajectory.csv", "", "not a readable table"),
        ("summary.json", "{", "not readable JSON"),
        ("space.toml", "[gap", "not readable TOML"),
        ("arrays/predictions.npz", "no arrays", "holds no readable arrays"),
    ],
)
def test_a_damaged_file_is_named(make_run: RunFactory, name: str, content: str, text: str) -> None:
    folder = make_run()
    (folder / name).write_text(content)
    with pytest.raises(RunError, match=text) as caught:
        tables.read_run(folder)
    assert name in str(caught.value)


def test_arrays_that_hold_python_objects_are_never_loaded(make_run: RunFactory) -> None:
    folder = make_run()
    objects = np.array([{"any": "object"}], dtype=object)
    np.savez(folder / "arrays" / "predictions.npz", images=objects, truth=objects)
    with pytest.raises(RunError, match="holds no readable arrays"):
        tables.read_run(folder)


def test_an_empty_trajectory_is_a_search_that_has_not_begun(make_run: RunFactory) -> None:
    folder = make_run(stages=("search",))
    header = (folder / "trajectory.csv").read_text().splitlines()[0]
    (folder / "trajectory.csv").write_text(header + "\n")
    assert tables.read_run(folder).trajectory is None


def test_a_run_without_changes_still_has_its_changes_column(make_run: RunFactory) -> None:
    folder = make_run()
    (folder / "projection.csv").write_text("site,branch,before,after,rule\n")
    assert all(changes == () for changes in tables.plan_table(tables.read_run(folder))["changes"])


def test_settings_and_results_that_are_not_there_are_none(make_run: RunFactory) -> None:
    folder = make_run(stages=())
    (folder / "summary.json").write_text(json.dumps({"plan": 3}))
    data = tables.read_run(folder)
    assert data.result("plan", "holes") is None
    assert data.setting("model", "options", "width") is None


@pytest.mark.parametrize(
    ("size", "text"), [(96, "96 x 96"), ([180, 240], "180 x 240"), (None, None)]
)
def test_the_size_that_was_scored_is_said(
    finished: Mapping[str, Path], size: object, text: str | None
) -> None:
    data = replace(tables.read_run(finished["toy"]), space={"data": {"size_px": size}})
    assert tables.scored_px_text(data) == text
