"""A trial of a sweep: the same as a retraining, in a run folder of its own."""

import gc
import io
import os
import re
import signal
import weakref
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import pandas as pd
import pytest
import torch
from rich.console import Console
from torch import nn

from dilsearch.baselines.trial import Suggestion, Train, TrialRequest, TrialResult
from dilsearch.errors import GeometryError, PlanError, RunError
from dilsearch.pipeline import Resources, Workbench, network_hash, run_stages, workbench
from dilsearch.pipeline import looks as looks_module
from dilsearch.pipeline import stages as stages_module
from dilsearch.pipeline.trial import score_names, trainer
from dilsearch.plan import DilationPlan, SiteRates
from dilsearch.progress import Reporter
from dilsearch.report.tables import metrics_table, read_run
from dilsearch.runs import RunFolder
from dilsearch.space import SearchSpace

TINY = (
    "data.size_px=32",
    "data.bar_width_px=[4, 6]",
    "data.patch_px=4",
    "data.validation_images=2",
    "train.batch_size=2",
    "train.warmup_steps=1",
    "retrain.steps=4",
)
BLOCKS = "model.options.blocks=2"
PLAN = DilationPlan.per_branch({"blocks.0.conv2": (1, 1), "blocks.1.conv2": (1, 3)})
RESULTS = ("weights.safetensors", "retrain.csv", "plan.json", "field.csv", "counts.csv")


def tiny(*overrides: str) -> Resources:
    return Resources(SearchSpace.load("toy", "smoke", (*TINY, BLOCKS, *overrides)), device="cpu")


@pytest.fixture(scope="module")
def resources() -> Resources:
    return tiny()


def trains(
    resources: Resources, root: Path, *, looks: int = 4, latency: bool = False, shown: bool = False
) -> Train:
    reporter = Reporter(quiet=not shown)
    return trainer(resources, root, command="test", looks=looks, latency=latency, reporter=reporter)


def asked(number: int = 0, seed: int = 0, plan: DilationPlan = PLAN) -> TrialRequest:
    return TrialRequest(number, f"slot {number}", Suggestion(plan, seed, 40, ("held to bounds",)))


class Watcher:
    """Remembers looks, and says stop at one step."""

    def __init__(self, stop_at: int | None = None, then: Callable[[], None] | None = None) -> None:
        self.stop_at = stop_at
        self.then = then
        self.seen: list[tuple[int, float]] = []

    def __call__(self, step: int, mean_iou: float) -> bool:
        self.seen.append((step, mean_iou))
        if step == self.stop_at and self.then is not None:
            self.then()
            return False
        return step == self.stop_at


def retrained(resources: Resources, path: Path, seed: int, plan: DilationPlan) -> Path:
    """What ``dilsearch retrain`` makes of a plan."""
    space = resources.space.to_toml()
    folder = RunFolder.create(path, command="test", space=space, seed=seed)
    folder.write_text("plan.json", plan.to_json())
    run_stages(Workbench(folder, resources, seed, Reporter(quiet=True)), ["retrain", "evaluate"])
    return path


@dataclass(frozen=True)
class Trained:
    """A trial that was trained, and what its looks saw."""

    result: TrialResult
    folder: RunFolder
    watcher: Watcher

    @property
    def root(self) -> Path:
        """The run folder of the sweep."""
        return self.folder.path().parent.parent

    @property
    def files_are_there(self) -> bool:
        """Whether the files to be shown lie below the root, wherever that is."""
        files = self.result.files.values()
        return all((self.root / file).is_file() and not file.is_absolute() for file in files)

    @classmethod
    def of(cls, resources: Resources, root: Path, number: int, watcher: Watcher) -> "Trained":
        result = trains(resources, root, latency=True)(asked(number), watcher)
        return cls(result, RunFolder.open(root / result.folder), watcher)


@pytest.fixture(scope="module")
def whole(resources: Resources, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return Trained.of(resources, tmp_path_factory.mktemp("sweep"), 7, Watcher())


@pytest.fixture(scope="module")
def pruned(resources: Resources, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return Trained.of(resources, tmp_path_factory.mktemp("sweep"), 0, Watcher(stop_at=2))


class TestAWholeTrial:
    def test_its_folder_is_that_of_a_run(self, whole: Trained, resources: Resources) -> None:
        assert whole.result.folder == "trials/0007"
        folder = whole.folder
        expected = (*RESULTS, "space.toml", "summary.json", "looks.csv", "log.txt")
        assert [name for name in expected if not folder.has(name)] == []
        assert not list(folder.path("checkpoints").glob("*"))
        assert folder.is_finished("retrain")
        assert folder.is_finished("evaluate")
        hashes = folder.record["hashes"]
        assert hashes["plan"] == PLAN.hash
        assert hashes["space"] == resources.space.hash
        assert hashes["data"] == resources.data.content_hash
        assert whole.files_are_there
        assert whole.result.files.keys() == {"plan.json", "counts.csv", "summary.json", "log.txt"}

    def test_the_result_says_what_the_files_say(self, whole: Trained) -> None:
        folder = whole.folder
        summary = folder.read_json("summary.json")
        assert not whole.result.pruned
        assert whole.result.scores == summary["retrain"]["val"]
        assert {"mean_iou", "far_accuracy"} < set(whole.result.scores)
        assert whole.result.field_px == summary["plan"]["field_px"] == 7 + 8 * (1 + 3)
        assert whole.result.samples == 4 * 2 == folder.read_csv("retrain.csv")["samples"].iloc[-1]
        assert whole.result.latency_ms is not None
        assert 0 < whole.result.latency_ms < 1000
        assert whole.result.device == "cpu"
        trial = summary["trial"]
        assert (trial["number"], trial["slot"], trial["target_px"]) == (7, "slot 7", 40)
        assert (trial["pruned"], trial["samples"]) == (False, 8)
        assert trial["latency_ms"] == whole.result.latency_ms
        assert trial["remarks"] == ["held to bounds"]
        assert whole.result.seconds >= folder.seconds("retrain") + folder.seconds("evaluate")

    def test_looks_end_with_the_final_score(self, whole: Trained) -> None:
        table = pd.read_csv(whole.folder.path("looks.csv"))
        assert table["step"].tolist() == [1, 2, 3, 4]
        assert table["samples"].tolist() == [2, 4, 6, 8]
        assert table["seconds"].is_monotonic_increasing
        assert whole.watcher.seen == list(zip(table["step"], table["mean_iou"], strict=True))
        assert whole.watcher.seen[-1] == (4, whole.result.scores["mean_iou"])
        assert whole.result.seconds >= table["seconds"].iloc[-1] - 0.001  # which is rounded
        assert len({mean_iou for _, mean_iou in whole.watcher.seen}) > 1  # negative control

    def test_the_log_tells_it_in_plain_words(self, whole: Trained) -> None:
        lines = whole.folder.read_text("log.txt").splitlines()
        assert lines[0] == "trial 7, slot 'slot 7': seed 0, target 40 px, field 39 px"
        assert lines[1:4] == ["blocks.0.conv2: 1, 1", "blocks.1.conv2: 1, 3", "held to bounds"]
        steps = [line.split()[1] for line in lines if line.startswith("retrain ")]
        assert steps == ["1/4", "2/4", "3/4", "4/4"]
        assert sum(line.startswith("look at step") for line in lines) == 4
        last = r"finished after 8 samples and \d+\.\d s, [\d.]+ ms a forward pass: pixel_accuracy 0"
        assert re.match(last, lines[-1])
        assert not any("\x1b" in line for line in lines)

    def test_it_can_be_scored_again(self, whole: Trained, resources: Resources) -> None:
        folder = whole.folder
        before = folder.read_text("counts.csv")
        folder.path("counts.csv").unlink()
        bench = Workbench(folder, resources, folder.seed, Reporter(quiet=True))
        run_stages(bench, ["evaluate"], force=True)
        assert folder.read_text("counts.csv") == before


def dropping(classes: int, seed: int) -> nn.Module:
    """A network whose training draws from the global generator at every step."""
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1),
        nn.BatchNorm2d(4),
        nn.Dropout(0.5),
        nn.Conv2d(4, 4, 3, padding=1),
        nn.Conv2d(4, classes, 1),
    )


@pytest.fixture(scope="module")
def dropout() -> Resources:
    given = ("model.name=given", *TINY)
    space = SearchSpace.load("toy", "smoke", given, ['{select = "3", upper = 5}'])
    return Resources(space, device="cpu", network=dropping)


OTHER_PLAN = DilationPlan({"3": SiteRates("site", (2,))})


@pytest.fixture(scope="module")
def expected(resources: Resources, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What retraining makes of the plan."""
    return retrained(resources, tmp_path_factory.mktemp("run") / "run", 0, PLAN)


def require_same(found: Path, expected: Path) -> None:
    for name in {*RESULTS} - {"field.csv"}:
        assert (found / name).read_bytes() == (expected / name).read_bytes(), (found, name)


class TestTheSameAsARetraining:
    def test_with_looks_and_without(
        self, whole: Trained, expected: Path, resources: Resources, tmp_path: Path
    ) -> None:
        assert whole.watcher.seen
        require_same(whole.folder.path(), expected)
        torch.rand(3)  # whatever the process drew before
        trains(resources, tmp_path)(asked(), None)
        require_same(tmp_path / "trials/0000", expected)

    def test_with_a_network_that_draws(self, dropout: Resources, tmp_path: Path) -> None:
        expected = retrained(dropout, tmp_path / "run", 1, OTHER_PLAN)
        for number, look in enumerate([Watcher(), None]):
            torch.rand(number + 1)
            trains(dropout, tmp_path)(asked(number, 1, OTHER_PLAN), look)
            require_same(tmp_path / f"trials/{number:04d}", expected)
        known = RunFolder.open(tmp_path / "trials/0000").record["hashes"]["network"]
        assert known == network_hash(dropout.relaxed_network(1))
        # negative control: another seed
        trains(dropout, tmp_path)(asked(5, 2, OTHER_PLAN), None)
        found = tmp_path / "trials/0005" / "weights.safetensors"
        assert found.read_bytes() != (expected / found.name).read_bytes()

    @pytest.mark.parametrize("place", [looks_module, stages_module])
    def test_generators_that_are_not_lent_would_change_it(
        self,
        place: ModuleType,
        dropout: Resources,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(place, "lent_generators", lambda *keys: nullcontext())
        weights = []
        for number, look in enumerate([Watcher(), None]):
            trains(dropout, tmp_path)(asked(number, 1, OTHER_PLAN), look)
            weights.append((tmp_path / f"trials/{number:04d}/weights.safetensors").read_bytes())
        assert weights[0] != weights[1]


class TestAPrunedTrial:
    def test_it_is_charged_what_it_saw(self, pruned: Trained) -> None:
        assert pruned.result.pruned
        assert pruned.result.samples == 2 * 2
        assert pruned.result.latency_ms is None
        looks = pd.read_csv(pruned.folder.path("looks.csv"))
        assert looks["step"].tolist() == [1, 2]
        assert pruned.result.scores["mean_iou"] == looks["mean_iou"].iloc[-1]
        assert len(pd.read_csv(pruned.folder.path("retrain.csv"))) == 2

    def test_its_folder_is_that_of_an_unfinished_run(self, pruned: Trained) -> None:
        folder = pruned.folder
        assert "retrain" in folder.stages
        assert not folder.is_finished("retrain")
        assert not folder.has("weights.safetensors")
        assert not list(folder.path("checkpoints").glob("*"))
        assert pruned.files_are_there
        data = read_run(folder.path())
        assert metrics_table(data).loc["mean_iou", "retrain"] == pruned.result.scores["mean_iou"]
        assert data.counts is not None
        assert data.counts.loc[data.counts["region"] == "all", "count"].sum() == 2 * 32 * 32
        assert data.result("trial", "pruned") is True
        assert re.match(r"pruned after 4 samples", folder.read_text("log.txt").splitlines()[-1])

    def test_looks_and_their_number_change_nothing_and_the_last_comes_too_late_to_prune(
        self, pruned: Trained, resources: Resources, tmp_path: Path
    ) -> None:
        watcher = Watcher(stop_at=4)
        assert not trains(resources, tmp_path, looks=2)(asked(1), watcher).pruned
        assert [step for step, _ in watcher.seen] == [2, 4]
        assert watcher.seen[0] == (2, pruned.result.scores["mean_iou"])
        assert watcher.seen[1][1] != watcher.seen[0][1]  # negative control

    def test_it_can_be_trained_to_its_end_after_all(
        self, pruned: Trained, expected: Path, resources: Resources
    ) -> None:
        folder = pruned.folder
        run_stages(Workbench(folder, resources, 0, Reporter(quiet=True)), ["retrain"])
        found = folder.path("weights.safetensors")
        assert found.read_bytes() == (expected / found.name).read_bytes()


class TestWhatGoesWrong:
    def test_a_loss_that_is_no_number_is_told_in_the_log(
        self, resources: Resources, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        network = resources.relaxed_network(0)  # tracing another would take longest
        monkeypatch.setattr(workbench, "build_relaxed", lambda *given: network)
        diverging = tiny("train.learning_rate=1e30", "train.optimizer=sgd")
        with pytest.raises(RunError, match="the loss became") as error:
            trains(diverging, tmp_path)(asked(), None)
        log = (tmp_path / "trials/0000/log.txt").read_text()
        assert log.splitlines()[-1] == f"failed: {error.value}"
        folder = RunFolder.open(tmp_path / "trials/0000")
        assert not folder.is_finished("retrain")
        assert folder.has("plan.json")

    def test_a_fault_of_the_program_leaves_its_traceback(
        self, resources: Resources, tmp_path: Path
    ) -> None:
        def broken(step: int, mean_iou: float) -> bool:
            raise ZeroDivisionError("as a study may")

        with pytest.raises(ZeroDivisionError, match="as a study may"):
            trains(resources, tmp_path)(asked(), broken)
        log = (tmp_path / "trials/0000/log.txt").read_text()
        assert "Traceback" in log
        assert log.splitlines()[-1] == "ZeroDivisionError: as a study may"

    def test_the_user_can_stop_it(self, resources: Resources, tmp_path: Path) -> None:
        press = Watcher(2, then=lambda: os.kill(os.getpid(), signal.SIGINT))
        with pytest.raises(KeyboardInterrupt):
            trains(resources, tmp_path)(asked(), press)
        folder = RunFolder.open(tmp_path / "trials/0000")
        assert folder.read_text("log.txt").splitlines()[-1] == "stopped by the user"
        assert not folder.is_finished("retrain")
        assert not list(folder.path("checkpoints").glob("*"))

    def test_the_folder_of_another_study_is_left_alone(
        self, whole: Trained, resources: Resources
    ) -> None:
        before = whole.folder.read_text("log.txt")
        text = (
            f"{whole.root}/trials/0007 holds a trial that another study left, and trial 7 of this "
            "one has to go there. Remove the folder, or write elsewhere with --out."
        )
        with pytest.raises(RunError, match=f"^{re.escape(text)}$"):
            trains(resources, whole.root)(asked(7), None)
        assert whole.folder.read_text("log.txt") == before

    def test_a_plan_of_another_network_is_told_before_a_folder_is_made(
        self, resources: Resources, tmp_path: Path
    ) -> None:
        plan = DilationPlan.per_branch({"blocks.9.conv2": (1, 1)})
        with pytest.raises((PlanError, GeometryError), match=r"blocks\.9\.conv2"):
            trains(resources, tmp_path)(asked(plan=plan), None)
        assert not (tmp_path / "trials").exists()


def test_names_of_scores_are_those_of_a_trial(whole: Trained, resources: Resources) -> None:
    assert {*score_names(resources.data)} == {*whole.result.scores}
    assert "far_accuracy" in score_names(resources.data)


def test_nothing_is_left_of_a_trial_in_memory(
    resources: Resources, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[weakref.ref[nn.Module]] = []
    make = Workbench.integer_network

    def remembered(bench: Workbench, plan: DilationPlan) -> nn.Module:
        network = make(bench, plan)
        made.append(weakref.ref(network))
        return network

    monkeypatch.setattr(Workbench, "integer_network", remembered)
    train = trains(resources, tmp_path)
    gc.freeze()  # so that there is little to look through
    results = [train(asked(0), Watcher()), train(asked(1), Watcher(stop_at=1))]
    gc.collect()
    gc.unfreeze()
    assert [result.pruned for result in results] == [False, True]
    assert len(made) >= 2
    assert [network() for network in made] == [None] * len(made)
    # negative control: the network that all of them start from is kept
    assert weakref.ref(resources.relaxed_network(0))() is not None


def test_progress_is_shown_under_the_name_of_the_trial(
    resources: Resources, tmp_path: Path
) -> None:
    shown = Reporter(console=Console(file=io.StringIO(), width=200))
    train = trainer(resources, tmp_path, command="test", looks=2, latency=False, reporter=shown)
    train(asked(12), Watcher())
    file = shown.console.file
    assert isinstance(file, io.StringIO)
    said = [line.split("  ")[0] for line in file.getvalue().splitlines()]
    assert said == [f"trial 12 retrain {step}/4" for step in (1, 2, 3, 4)]
