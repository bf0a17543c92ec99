"""The run folder of a sweep: begun once, joined by the same, refused to others, and written."""

import json
import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest

from dilsearch.baselines.objectives import Objectives
from dilsearch.baselines.protocols import GridProtocol
from dilsearch.baselines.slots import FAILURE, INTERRUPTED, SLOT, SURPLUS, SlotState, wanted_states
from dilsearch.baselines.table import record_request, record_result
from dilsearch.baselines.trial import TrialRequest, TrialResult
from dilsearch.errors import RunError, SweepError
from dilsearch.pipeline import Resources
from dilsearch.pipeline.ground import Ground, ground_of
from dilsearch.pipeline.sweep import (
    RECORD_FILE,
    SweepRecord,
    SweepResults,
    begin_or_join,
    refuse_other,
    reopen,
    trials_expected,
)
from dilsearch.plan import DilationPlan
from dilsearch.runs import RunFolder
from dilsearch.space import SearchSpace

SETTINGS = "data.size_px=32 data.bar_width_px=[4,6] data.patch_px=4 model.options.blocks=2".split()
SPACE = SearchSpace.load("toy", "smoke", SETTINGS)
TOML = SPACE.to_toml()
RECORD = SweepRecord(
    command="dilsearch sweep toy --out there",
    seed=0,
    study="toy-grid-12345678",
    storage=None,
    description={"protocol": "grid", "targets_px": [23, 39]},
    hashes={"data": "d" * 64},
)


def begin(path: Path, record: SweepRecord = RECORD, toml: str = TOML) -> RunFolder:
    return begin_or_join(path, record, toml, "cpu")


class TestBeginning:
    def test_the_folder_says_what_it_is(self, tmp_path: Path) -> None:
        folder = begin(tmp_path / "sweep")
        assert folder.record["command"] == RECORD.command
        assert folder.record["hashes"] == {"data": "d" * 64}
        assert folder.stages["sweep"]["status"] == "running"
        assert folder.read_json(RECORD_FILE)["study"] == "toy-grid-12345678"
        assert SearchSpace.load(folder.path("space.toml")) == SPACE

    def test_the_same_joins_and_changes_nothing(self, tmp_path: Path) -> None:
        before = begin(tmp_path).read_text("run.json")
        refuse_other(tmp_path, RECORD, TOML)
        # Another terminal says the same in other words, and adds seeds.
        other = replace(RECORD, command="dilsearch sweep toy --seeds 3 --out there", seed=3)
        assert begin(tmp_path, other).read_text("run.json") == before

    def test_any_number_may_begin_at_once(self, tmp_path: Path) -> None:
        faults: list[BaseException] = []
        start = threading.Barrier(8)

        def worker() -> None:
            start.wait()
            try:
                begin(tmp_path / "sweep")
            except BaseException as error:
                faults.append(error)

        threads = [threading.Thread(target=worker) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not faults
        assert RunFolder.open(tmp_path / "sweep").record["command"] == RECORD.command


class TestRefusing:
    @pytest.mark.parametrize(
        ("description", "text"),
        [
            (
                {"protocol": "tpe", "seed": 0},
                r'another sweep: protocol is "grid" there and "tpe" now\. Join it with the same',
            ),
            (
                {"protocol": "grid", "targets_px": [23]},
                r"another sweep: targets_px is \[23, 39\] there and \[23\] now\.",
            ),
        ],
    )
    def test_another_sweep_is_told_what_differs(
        self, tmp_path: Path, description: dict[str, Any], text: str
    ) -> None:
        begin(tmp_path)
        other = replace(RECORD, description=description)
        for act in (lambda: refuse_other(tmp_path, other, TOML), lambda: begin(tmp_path, other)):
            with pytest.raises(SweepError, match=text):
                act()

    @pytest.mark.parametrize(
        ("change", "text"),
        [
            ({"study": "mine"}, 'study is "toy-grid-12345678" there and "mine" now'),
            ({"storage": "sqlite:///a.db"}, 'storage is absent there and "sqlite:///a.db" now'),
        ],
    )
    def test_a_study_elsewhere_is_another(
        self, tmp_path: Path, change: dict[str, Any], text: str
    ) -> None:
        begin(tmp_path)
        with pytest.raises(SweepError, match=text):
            refuse_other(tmp_path, replace(RECORD, **change), TOML)

    def test_another_space_is_told_what_differs(self, tmp_path: Path) -> None:
        begin(tmp_path)
        other = SearchSpace.load("toy", "smoke", [*SETTINGS, "train.batch_size=2"]).to_toml()
        with pytest.raises(RunError, match=r"train\.batch_size is 4 there and 2 now"):
            refuse_other(tmp_path, RECORD, other)

    def test_a_run_of_another_kind_is_told(self, tmp_path: Path) -> None:
        RunFolder.create(tmp_path, command="dilsearch run toy", space=TOML, seed=0)
        with pytest.raises(
            RunError, match=r"holds a run that is no sweep, begun with 'dilsearch run"
        ):
            refuse_other(tmp_path, RECORD, TOML)

    def test_other_files_are_told_and_nothing_is_written(self, tmp_path: Path) -> None:
        (tmp_path / "notes.txt").write_text("")
        with pytest.raises(RunError, match=r"holds files that are no run, such as notes\.txt"):
            refuse_other(tmp_path, RECORD, TOML)
        refuse_other(tmp_path / "new", RECORD, TOML)
        assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


@pytest.fixture(scope="module")
def resources() -> Resources:
    return Resources(SPACE, device="cpu")


@pytest.fixture(scope="module")
def ground(resources: Resources) -> Ground:
    return ground_of(resources)


class Sweep:
    """A grid of two fields whose trials are told without being trained."""

    def __init__(self, path: Path, resources: Resources, ground: Ground) -> None:
        self.path, self.resources, self.ground = path, resources, ground
        self.study = optuna.create_study(direction="maximize")
        self.begin(seeds=(0, 1))
        begin(path)

    def begin(self, seeds: Sequence[int]) -> None:
        ground = self.ground
        self.protocol = GridProtocol(ground.form, ground.graph, ground.limits, (23, 39), seeds)

    def end(self, target_px: int, seed: int, score: float) -> None:
        """Enter a trial as if it had been trained."""
        key = f"{target_px} px seed {seed}"
        self.study.enqueue_trial({"target_px": target_px, "seed": seed}, user_attrs={SLOT: key})
        trial = self.study.ask()
        suggestion = self.protocol.suggest(trial)
        record_request(trial, TrialRequest(trial.number, key, suggestion))
        result = TrialResult(
            pruned=False,
            scores={"mean_iou": score, "far_accuracy": score / 2},
            field_px=target_px,
            samples=80,
            seconds=1.5,
            folder=f"trials/{trial.number:04d}",
        )
        record_result(trial, result)
        self.study.tell(trial, score)

    def fail(self, target_px: int, seed: int, **attributes: str) -> None:
        """Enter a trial that came to nothing."""
        known = {SLOT: f"{target_px} px seed {seed}", **attributes}
        self.study.enqueue_trial({"target_px": target_px, "seed": seed}, user_attrs=known)
        self.study.tell(self.study.ask(), state=optuna.trial.TrialState.FAIL)

    @property
    def states(self) -> list[SlotState]:
        trials = self.study.get_trials()
        return wanted_states(self.protocol.slots, None, trials, replaces_failed=False)

    def write(self) -> dict[str, Any]:
        results = SweepResults(
            path=self.path,
            resources=self.resources,
            ground=self.ground,
            protocol="grid",
            objectives=Objectives.parse("miou"),
            study=self.study,
            targets_px=(23, 39),
            total=None,
            states=self.states,
        )
        return results.write()

    @property
    def folder(self) -> RunFolder:
        return RunFolder.open(self.path)

    @property
    def summary(self) -> Mapping[str, Any]:
        return self.folder.read_json("summary.json")


@pytest.fixture
def sweep(tmp_path: Path, resources: Resources, ground: Ground) -> Sweep:
    return Sweep(tmp_path / "sweep", resources, ground)


class TestResults:
    def test_a_finished_sweep_is_written_whole(self, sweep: Sweep) -> None:
        for target_px, seed, score in ((23, 0, 0.5), (39, 0, 0.6), (23, 1, 0.9), (39, 1, 0.7)):
            sweep.end(target_px, seed, score)
        section = sweep.write()
        assert sweep.summary["sweep"] == section
        assert section | {"best": None} == {
            "protocol": "grid",
            "objectives": ["miou"],
            "seeds": [0, 1],
            "total": 4,
            "complete": 4,
            "pruned": 0,
            "failed": 0,
            "interrupted": 0,
            "samples": 320,
            "seconds": 6.0,
            "needed_px": 63,
            "targets_px": [23, 39],
            "retrain_steps": 20,
            "best": None,
            "pareto": None,
        }
        best = section["best"]
        assert (best["target_px"], best["field_px"], best["seeds"], best["trial"]) == (23, 23, 2, 2)
        assert best["mean_iou"] == pytest.approx(0.7)
        assert best["std"] == pytest.approx(0.2 * 2**0.5)
        plan = DilationPlan.load(sweep.path / "plan.json")
        assert {site: list(rates) for site, rates in plan.items()} == best["rates"]
        assert sweep.summary["plan"]["field_px"] == 23
        assert sweep.folder.read_csv("field.csv")["field_out_px"].iloc[-1] == "23"
        assert list(sweep.folder.read_csv("trials.csv")["mean_iou"]) == [0.5, 0.6, 0.9, 0.7]
        assert sweep.folder.is_finished("sweep")
        assert sweep.folder.seconds("sweep") == 6

    def test_an_unfinished_one_is_written_and_stays_open(self, sweep: Sweep) -> None:
        sweep.end(39, 0, 0.6)
        section = sweep.write()
        assert (section["total"], section["complete"], section["best"]["field_px"]) == (4, 1, 39)
        assert not sweep.folder.is_finished("sweep")

    def test_without_a_complete_trial_there_is_no_plan(self, sweep: Sweep) -> None:
        sweep.fail(23, 0)
        section = sweep.write()
        assert (section["best"], section["failed"], section["samples"]) == (None, 1, 0)
        assert not sweep.folder.has("plan.json")
        assert len(sweep.folder.read_csv("trials.csv")) == 1

    def test_what_was_never_trained_has_not_failed(self, sweep: Sweep) -> None:
        sweep.fail(23, 0, **{FAILURE: SURPLUS})
        sweep.fail(23, 0, **{FAILURE: INTERRUPTED})
        section = sweep.write()
        assert (section["failed"], section["interrupted"]) == (0, 1)
        sweep.fail(23, 0)  # control
        assert sweep.write()["failed"] == 1

    def test_a_finished_one_that_grows_is_unfinished_until_it_has_all(self, sweep: Sweep) -> None:
        for seed in (0, 1):
            sweep.end(23, seed, 0.5)
            sweep.end(39, seed, 0.6)
        sweep.write()
        reopen(sweep.path, sweep.states)  # control: as it was
        assert sweep.folder.is_finished("sweep")
        sweep.begin(seeds=(0, 1, 2))
        reopen(sweep.path, sweep.states)
        assert sweep.folder.stages["sweep"] == {"status": "running", "seconds": 0}
        sweep.end(23, 2, 0.5)
        sweep.fail(39, 2, **{FAILURE: INTERRUPTED})
        sweep.write()
        assert not sweep.folder.is_finished("sweep")
        sweep.begin(seeds=(0, 1))  # all that this one asks for is there, but not all of the grid
        section = sweep.write()
        assert not sweep.folder.is_finished("sweep")
        assert (section["complete"], section["total"]) == (5, 6)
        sweep.begin(seeds=(0, 1, 2))
        sweep.end(39, 2, 0.6)
        sweep.write()
        assert sweep.folder.is_finished("sweep")
        assert sweep.folder.seconds("sweep") == 9

    def test_a_finished_one_that_somebody_else_works_on_is_unfinished(self, sweep: Sweep) -> None:
        sweep.end(23, 0, 0.5)
        sweep.begin(seeds=(0,))
        sweep.end(39, 0, 0.6)
        sweep.write()
        assert sweep.folder.is_finished("sweep")
        known = {SLOT: "23 px seed 5"}
        sweep.study.enqueue_trial({"target_px": 23, "seed": 5}, user_attrs=known)
        sweep.study.ask()
        sweep.write()
        assert not sweep.folder.is_finished("sweep")

    def test_seeds_of_others_count(self, sweep: Sweep) -> None:
        sweep.end(23, 0, 0.5)
        sweep.begin(seeds=(7,))
        sweep.end(23, 7, 0.4)
        sweep.end(39, 7, 0.3)
        section = sweep.write()
        assert (section["seeds"], section["total"], section["complete"]) == ([0, 7], 3, 3)

    def test_another_best_plan_takes_what_the_last_was_trained_to_away(self, sweep: Sweep) -> None:
        sweep.end(23, 0, 0.5)
        sweep.write()
        folder = sweep.folder
        folder.finish("retrain", seconds=1)
        folder.write_text("weights.safetensors", "")
        folder.write_json("summary.json", {**sweep.summary, "retrain": {"steps": 1}})
        sweep.write()  # control: the same plan leaves them
        assert sweep.folder.is_finished("retrain")
        assert "retrain" in sweep.summary
        sweep.end(39, 0, 0.6)
        sweep.write()
        assert "retrain" not in sweep.folder.stages
        assert "retrain" not in sweep.summary
        assert not sweep.folder.has("weights.safetensors")
        assert json.loads(sweep.folder.read_text("run.json"))["hashes"]["plan"] == (
            DilationPlan.load(sweep.path / "plan.json").hash
        )


@pytest.mark.parametrize(
    ("wanted", "expected"), [(None, 3), (1, 2), (4, 4)], ids=["grid", "fewer", "more"]
)
def test_a_study_has_at_least_the_trials_that_finished(
    sweep: Sweep, wanted: int | None, expected: int
) -> None:
    sweep.end(23, 0, 0.5)
    sweep.end(23, 1, 0.5)
    sweep.fail(39, 0)
    sweep.begin(seeds=(0,))  # that seed 1 was asked for by others does not make it another's
    assert trials_expected(wanted, sweep.states, sweep.study.get_trials()) == expected
