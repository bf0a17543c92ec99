"""The sentence at the top: right in every case, and never more than one seed can say."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from dilsearch.report.tables import read_run
from dilsearch.report.verdict import UNDECIDED, verdict

RunFactory = Callable[..., Path]


def _scored(retrained: float, control: float, **other: Any) -> dict[str, Any]:
    """Changes to a summary that give the two networks these mean IoUs and no far accuracy."""
    val = {"far_accuracy": None}
    return other | {
        "retrain": {"val": val | {"mean_iou": retrained}},
        "control": {"val": val | {"mean_iou": control}},
    }


def test_a_run_that_worked(make_run: RunFactory) -> None:
    folder = make_run(summary=_scored(0.97, 0.41))
    assert verdict(read_run(folder)) == (
        "Search grew the field from 47 to 199 px (191 needed); rounded, every bound kept, 0 holes; "
        "retrained mean IoU 0.97 against 0.41 with every rate 1 (one seed)."
    )


def test_far_accuracy_is_told_where_it_was_measured(make_run: RunFactory) -> None:
    assert "far accuracy 0.99 against 0.33 (one seed)." in verdict(read_run(make_run()))


def test_a_better_control_is_called_better(make_run: RunFactory) -> None:
    told = verdict(read_run(make_run(summary=_scored(0.41, 0.52))))
    assert told.endswith("0.41 against 0.52 with every rate 1: the control is better (one seed).")


@pytest.mark.parametrize("sign", [1, -1])
def test_a_small_difference_is_not_decided_from_one_seed(make_run: RunFactory, sign: int) -> None:
    near = 0.45 + sign * 0.9 * UNDECIDED
    told = verdict(read_run(make_run("camvid", summary=_scored(0.45, near))))
    assert told.endswith("with every rate 1: too close to call from one seed.")
    far = 0.45 + sign * 1.1 * UNDECIDED
    decided = verdict(read_run(make_run("camvid", name="far", summary=_scored(0.45, far))))
    assert "too close" not in decided


def test_scores_that_look_equal_get_another_digit(make_run: RunFactory) -> None:
    told = verdict(read_run(make_run(summary=_scored(0.442, 0.438))))
    assert "0.442 against 0.438" in told


def test_a_control_at_another_rate_is_named(make_run: RunFactory) -> None:
    folder = make_run(summary=_scored(0.97, 0.41))
    (folder / "space.toml").write_text("[control]\nrate = [1, [1, 3]]\n")
    assert "with rates 1 | 1, 3" in verdict(read_run(folder))
    (folder / "space.toml").write_text("[control]\nrate = 2\n")
    assert "0.41 with every rate 2" in verdict(read_run(folder))


def test_a_field_short_of_what_is_needed(make_run: RunFactory) -> None:
    folder = make_run(summary={"plan": {"needed_px": 511}})
    assert "from 47 to 199 px (511 needed, not reached)" in verdict(read_run(folder))


def test_a_field_that_search_left_alone(make_run: RunFactory) -> None:
    folder = make_run()
    trajectory = pd.read_csv(folder / "trajectory.csv").assign(field_px=47)
    trajectory.to_csv(folder / "trajectory.csv", index=False)
    assert verdict(read_run(folder)).startswith(
        "Search left the field at 47 px (191 needed, not reached); rounded to 199 px, "
    )


def test_a_field_that_shrank_did_not_grow(make_run: RunFactory) -> None:
    folder = make_run()
    trajectory = pd.read_csv(folder / "trajectory.csv")
    trajectory["field_px"] = trajectory["field_px"].iloc[::-1].to_numpy()
    trajectory.to_csv(folder / "trajectory.csv", index=False)
    assert verdict(read_run(folder)).startswith("Search changed the field from 199 to 47 px")


def test_a_broken_bound_and_holes(make_run: RunFactory) -> None:
    folder = make_run(summary={"plan": {"bound_ok": False, "holes": 384}})
    field = pd.read_csv(folder / "field.csv")
    field.loc[field["site"] == "body.1.conv2", "bound_ok"] = False
    field.to_csv(folder / "field.csv", index=False)
    told = verdict(read_run(folder))
    assert "rounded, the bound broken at body.1.conv2, 384 holes" in told
    assert "every bound kept" not in told


def test_many_broken_bounds_are_counted(make_run: RunFactory) -> None:
    folder = make_run(summary={"plan": {"bound_ok": False, "holes": 1}})
    field = pd.read_csv(folder / "field.csv").assign(bound_ok=False)
    field.to_csv(folder / "field.csv", index=False)
    assert "broken at body.0.conv2 and 4 more sites, 1 hole;" in verdict(read_run(folder))


def test_a_broken_bound_that_only_the_summary_knows(make_run: RunFactory) -> None:
    folder = make_run(summary={"plan": {"bound_ok": False, "holes": None}})
    assert "rounded, a bound broken; " in verdict(read_run(folder))


@pytest.mark.parametrize(
    ("stages", "ending"),
    [
        ((), "No stage of this run has finished yet."),
        (
            ("search",),
            "(191 needed); neither rounded nor retrained yet, "
            "so nothing is known against the control.",
        ),
        (
            ("search", "convert"),
            "0 holes; mean IoU 0.95 before rounding, not retrained yet, "
            "so nothing is known against the control.",
        ),
        (("search", "convert", "retrain"), "mean IoU 0.97, with no control to compare with."),
    ],
)
def test_a_run_on_its_way(make_run: RunFactory, stages: tuple[str, ...], ending: str) -> None:
    assert verdict(read_run(make_run(stages=stages))).endswith(ending)


def test_a_retrained_network_without_scores(make_run: RunFactory) -> None:
    folder = make_run(summary={"retrain": None, "control": None})
    assert "before rounding, retrained but not evaluated yet" in verdict(read_run(folder))


def test_a_search_that_was_stopped(make_run: RunFactory) -> None:
    folder = make_run(stages=("search",))
    (folder / "plan.float.json").unlink()
    assert verdict(read_run(folder)) == (
        "The search has not finished: at step 400 the field is 199 px, from 47 px (191 needed)."
    )


def test_a_field_that_is_not_square(make_run: RunFactory) -> None:
    folder = make_run(summary={"plan": {"field_px": "199x255"}})
    trajectory = pd.read_csv(folder / "trajectory.csv").astype({"field_px": str})
    trajectory.loc[400, "field_px"] = "183x255"
    trajectory.to_csv(folder / "trajectory.csv", index=False)
    told = verdict(read_run(folder))
    assert told.startswith("Search grew the field from 47 to 183x255 px (191 needed, not reached)")
    assert "rounded to 199x255 px" in told
