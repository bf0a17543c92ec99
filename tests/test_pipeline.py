"""A run from end to end on a task of a few seconds: its files, its resumption, its determinism."""

import json
import os
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dilsearch.errors import RunError
from dilsearch.pipeline import STAGES, Resources, Workbench, run_stages
from dilsearch.plan import DilationPlan
from dilsearch.progress import Reporter
from dilsearch.runs import RunFolder
from dilsearch.space import SearchSpace

TINY = (
    "data.size_px=32",
    "data.bar_width_px=[4, 6]",
    "data.patch_px=4",
    "data.validation_images=4",
    "train.batch_size=2",
    "search.steps=6",
    "retrain.steps=3",
    "train.warmup_steps=1",
    "model.options.blocks=2",
)


def bench(
    path: Path, *, seed: int = 0, resume: bool = False, extra: tuple[str, ...] = ()
) -> Workbench:
    space = SearchSpace.load("toy", "smoke", (*TINY, *extra))
    folder = RunFolder.create(path, command="test", space=space.to_toml(), seed=seed, resume=resume)
    return Workbench(folder, Resources(space, device="cpu"), seed, Reporter(quiet=True))


class Stopper(Reporter):
    """Presses Ctrl-C at one step of one stage."""

    def __init__(self, stage: str, step: int) -> None:
        super().__init__(quiet=True)
        self._at = (stage, step)

    @contextmanager
    def training(self, stage: str, steps: int) -> Iterator[Callable[..., None]]:
        def watch(row: Mapping[str, float]) -> None:
            if (stage, row["step"]) == self._at:
                os.kill(os.getpid(), signal.SIGINT)

        yield watch


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("run") / "toy"
    run_stages(bench(path), list(STAGES))
    return path


def test_every_file_of_the_run_is_there(finished: Path) -> None:
    expected = (
        "run.json space.toml trajectory.csv plan.float.json plan.json projection.csv field.csv "
        "counts.csv retrain.csv control.csv search.safetensors weights.safetensors "
        "control.safetensors arrays/predictions.npz summary.json"
    ).split()
    assert [name for name in expected if not (finished / name).is_file()] == []
    assert not list(finished.glob("checkpoints/*"))


def test_the_summary_holds_what_it_promises(finished: Path) -> None:
    summary = json.loads((finished / "summary.json").read_text())
    assert {"seconds", "steps", "field_px"} <= set(summary["search"])
    assert {"rates", "field_px", "bound_ok", "holes", "needed_px"} <= set(summary["plan"])
    assert summary["plan"]["bound_ok"] is True
    assert summary["plan"]["holes"] == 0
    assert summary["plan"]["needed_px"] == 63
    metrics = {
        "pixel_accuracy",
        "class_accuracy",
        "mean_iou",
        "freq_weighted_iou",
        "far_accuracy",
    }
    for network in ("fractional", "retrain", "control"):
        assert set(summary[network]["val"]) == metrics
    assert summary["control"]["field_px"] == 23  # 7 px, and two blocks of rate 1 at stride 4


def test_the_trajectory_starts_at_one_and_ends_at_the_plan(finished: Path) -> None:
    trajectory = pd.read_csv(finished / "trajectory.csv")
    rates = [column for column in trajectory if "[" in column]
    assert trajectory["step"].tolist() == list(range(7))
    assert (trajectory.loc[0, rates] == 1.0).all()
    plan = DilationPlan.load(finished / "plan.float.json")
    assert trajectory.loc[6, rates].tolist() == pytest.approx([r for s in plan.values() for r in s])
    assert not plan.is_integer  # they have moved
    assert DilationPlan.load(finished / "plan.json").is_integer


def test_counts_and_predictions_cover_the_validation_set(finished: Path) -> None:
    counts = pd.read_csv(finished / "counts.csv")
    totals = counts[counts["region"] == "all"].groupby("stage")["count"].sum()
    assert totals.to_dict() == dict.fromkeys(("control", "fractional", "retrain"), 4 * 32 * 32)
    with np.load(finished / "arrays" / "predictions.npz", allow_pickle=False) as arrays:
        assert arrays["images"].shape == (4, 32, 32, 3)
        assert arrays["retrain"].shape == arrays["truth"].shape == (4, 32, 32)


def test_equal_runs_give_equal_files(finished: Path, tmp_path: Path) -> None:
    run_stages(bench(tmp_path / "again"), list(STAGES))
    run_stages(bench(tmp_path / "other", seed=1), ["search"])
    for name in (
        "trajectory.csv",
        "plan.json",
        "search.safetensors",
        "weights.safetensors",
        "counts.csv",
    ):
        assert (tmp_path / "again" / name).read_bytes() == (finished / name).read_bytes(), name
    # negative control: another seed gives another trajectory
    name = "trajectory.csv"
    assert (tmp_path / "other" / name).read_bytes() != (finished / name).read_bytes()


def test_an_interrupted_search_goes_on_to_the_same_result(finished: Path, tmp_path: Path) -> None:
    stopped = bench(tmp_path / "run")

    stopped.reporter = Stopper("search", 3)
    with pytest.raises(KeyboardInterrupt):
        run_stages(stopped, ["search"])
    assert not stopped.folder.is_finished("search")
    assert (tmp_path / "run" / "checkpoints" / "search.safetensors").is_file()
    run_stages(bench(tmp_path / "run", resume=True), list(STAGES))
    for name in ("trajectory.csv", "plan.json", "weights.safetensors", "counts.csv"):
        assert (tmp_path / "run" / name).read_bytes() == (finished / name).read_bytes(), name


def test_a_finished_stage_is_not_run_again(finished: Path) -> None:
    again = bench(finished, resume=True)
    before = (finished / "plan.json").stat().st_mtime_ns
    run_stages(again, ["convert"])
    assert (finished / "plan.json").stat().st_mtime_ns == before


def test_forcing_a_stage_makes_what_stands_on_it_unfinished(tmp_path: Path) -> None:
    run = bench(tmp_path / "run")
    run_stages(run, list(STAGES))
    run_stages(run, ["convert"], force=True)
    assert run.folder.is_finished("search")
    assert run.folder.is_finished("control")  # its rates do not depend on the plan
    assert not run.folder.is_finished("retrain")
    assert not run.folder.is_finished("evaluate")
    summary = run.folder.read_json("summary.json")
    assert "retrain" not in summary
    assert "val" not in summary["control"]
    for name in ("weights.safetensors", "retrain.csv", "counts.csv"):
        assert not run.folder.has(name)
    run_stages(run, ["evaluate"])  # scores what there is, which the retrained network is not
    assert "retrain" not in run.folder.read_json("summary.json")


def test_training_is_never_continued_under_another_plan(tmp_path: Path) -> None:
    run = bench(tmp_path / "run")
    run_stages(run, ["search", "convert"])
    run.reporter = Stopper("retrain", 2)
    with pytest.raises(KeyboardInterrupt):
        run_stages(run, ["retrain"])
    plan = DilationPlan.load(tmp_path / "run" / "plan.float.json")
    other = plan.replace({"blocks.0.conv2": (1.0, 1.0), "blocks.1.conv2": (1.0, 2.0)})
    run.folder.write_text("plan.float.json", other.to_json())
    again = bench(tmp_path / "run", resume=True)
    run_stages(again, ["convert"], force=True)
    run_stages(again, ["retrain"])
    reference = bench(tmp_path / "reference")
    run_stages(reference, ["search"])
    reference.folder.write_text("plan.float.json", other.to_json())
    run_stages(reference, ["convert", "retrain"])
    name = "weights.safetensors"
    assert (tmp_path / "run" / name).read_bytes() == (tmp_path / "reference" / name).read_bytes()


def test_resuming_is_exact_for_rates_that_rest_on_a_bound(tmp_path: Path) -> None:
    extra = ("sites.1.initial=8.0", "search.rate_learning_rate=2.0")
    run_stages(bench(tmp_path / "whole", extra=extra), ["search"])
    stopped = bench(tmp_path / "run", extra=extra)
    stopped.reporter = Stopper("search", 3)
    with pytest.raises(KeyboardInterrupt):
        run_stages(stopped, ["search"])
    run_stages(bench(tmp_path / "run", resume=True, extra=extra), ["search"])
    name = "trajectory.csv"
    assert (tmp_path / "run" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_a_stage_that_cannot_begin_changes_nothing(tmp_path: Path) -> None:
    run = bench(tmp_path / "run")
    run_stages(run, list(STAGES))
    before = (tmp_path / "run" / "run.json").read_bytes()
    run.resources = Resources(run.space, device="cuda:99")
    with pytest.raises(RunError, match="device 'cuda:99'"):
        run_stages(run, ["retrain"], force=True)
    assert (tmp_path / "run" / "run.json").read_bytes() == before


@pytest.mark.parametrize(
    ("stage", "text"),
    [
        ("convert", "has no plan.float.json. Run the stage that writes it, search, first"),
        ("retrain", "has no plan.json. Run the stage that writes it, convert, first"),
        ("evaluate", "holds no trained network to evaluate; run 'dilsearch search'"),
    ],
)
def test_a_stage_without_its_input_names_what_to_run(tmp_path: Path, stage: str, text: str) -> None:
    with pytest.raises(RunError, match=text):
        run_stages(bench(tmp_path / "run"), [stage])


def test_the_reported_gap_policy_keeps_rates_and_says_so(tmp_path: Path) -> None:
    extra = ("gap.policy=report", "search.rate_learning_rate=5.0")
    run = bench(tmp_path / "run", extra=extra)
    run_stages(run, ["search", "convert"])
    summary = run.folder.read_json("summary.json")
    field = run.folder.read_csv("field.csv")
    assert summary["plan"]["bound_ok"] is bool(field["bound_ok"].all())
    assert summary["plan"]["bound_ok"] is False  # such steps overshoot what enforce would keep


def test_the_trajectory_has_its_columns_in_the_order_of_a_step(finished: Path) -> None:
    heading, first, second = (finished / "trajectory.csv").read_text().splitlines()[:3]
    columns = heading.split(",")
    plan = DilationPlan.load(finished / "plan.float.json")
    assert columns[:5] == ["step", "samples", "loss", "learning_rate", "field_px"]
    assert columns[5:] == [
        f"{site}[{i}]" for site, rates in plan.items() for i in range(len(rates))
    ]
    before = dict(zip(columns, first.split(","), strict=True))
    assert (before["step"], before["loss"], before["learning_rate"]) == ("0", "", "")
    assert "" not in second.split(",")  # negative control: what a step has, its row has


def test_the_summary_says_how_the_search_ended(tmp_path: Path, finished: Path) -> None:
    summary = json.loads((finished / "summary.json").read_text())["search"]
    assert summary["settled"] is False
    assert summary["needed_px"] == 63
    sites = [f"blocks.{index}.conv2" for index in range(2)]
    assert summary["limits"] == {site: [1, 8] for site in sites}  # 63 px at 8 px a rate
    extra = (
        "sites.1.upper=2",
        "sites.1.initial=2",
        "gap.policy=ignore",
        "search.field_target=1000",
        "search.rate_learning_rate=5",
        "search.smoothing=0",
        "search.patience_share=0.2",
        "search.steps=10",
        "field.needed_px=500",
    )
    said: list[str] = []
    still = bench(tmp_path / "still", extra=extra)
    still.reporter.say = said.append  # type: ignore[method-assign]
    run_stages(still, ["search"])
    summary = still.folder.read_json("summary.json")["search"]
    assert (summary["settled"], summary["steps"]) == (True, 8)
    assert summary["limits"] == {site: [1, 2] for site in sites}
    assert [finding.split(";")[0] for finding in summary["findings"]] == [
        "no rate moved by more than 0.05 in 8 steps",
        "the field is 39 px and 500 px are needed, but limits and bounds allow 39 px at most",
    ]
    warning = "search: 500 px are needed, and limits and bounds allow 39 px at most; "
    assert said[0].startswith(warning)  # before the training and not after it
    assert "search: the rates settled after 8 of 10 steps" in said
    assert [f"search: {finding}" in said for finding in summary["findings"]] == [True, True]
    # negative control: neither where there is nothing to say
    quiet = bench(tmp_path / "quiet", extra=("field.needed_px=39", "search.smoothing=0"))
    said.clear()
    quiet.reporter.say = said.append  # type: ignore[method-assign]
    run_stages(quiet, ["search"])
    assert [sentence for sentence in said if sentence.startswith("search:")] == []
    summary = quiet.folder.read_json("summary.json")["search"]
    assert (summary["settled"], summary["findings"]) == (False, [])


def test_a_handmade_control_is_trained_and_scored(tmp_path: Path) -> None:
    run = bench(tmp_path / "run", extra=("control.rate=[1, [2, 3]]",))
    run_stages(run, ["control", "evaluate"])
    summary = run.folder.read_json("summary.json")
    assert summary["control"]["field_px"] == 7 + 8 * (1 + 3)
    assert set(summary["control"]["val"]) >= {"mean_iou"}


def test_the_optimizer_of_the_space_trains_the_weights(tmp_path: Path) -> None:
    def losses(name: str) -> list[float]:
        path = tmp_path / name
        run_stages(bench(path, extra=(f"train.optimizer={name}",)), ["control"])
        return list(pd.read_csv(path / "control.csv")["loss"])

    sgd, adamw = losses("sgd"), losses("adamw")
    assert sgd[0] == adamw[0]  # the same weights and data, before any update
    assert all(one != other for one, other in zip(sgd[1:], adamw[1:], strict=True))
