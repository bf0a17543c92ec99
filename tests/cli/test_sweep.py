"""``dilsearch sweep`` as a user types it."""

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import optuna
import pandas as pd
import pytest
from optuna.artifacts import get_all_artifact_meta
from optuna.exceptions import StorageInternalError
from torch import nn

from dilsearch.baselines import worker as attempts
from dilsearch.baselines.trial import Look, Train, TrialRequest, TrialResult
from dilsearch.cli import main
from dilsearch.cli import sweep as sweep_module
from dilsearch.pipeline import build_relaxed, workbench
from dilsearch.pipeline.sweep import SweepResults
from dilsearch.plan import DilationPlan
from dilsearch.runs import RunFolder
from dilsearch.space import SearchSpace

TINY = (
    "data.size_px=32 data.bar_width_px=[4,6] data.patch_px=4 data.validation_images=2 "
    "train.batch_size=2 search.steps=3 retrain.steps=2 train.warmup_steps=0 model.options.blocks=2"
).split()
SETTINGS = ["--device", "cpu", *(word for setting in TINY for word in ("--set", setting))]
GRID = ("--grid", "23:39:16")


def call(*words: str | Path) -> int:
    with pytest.raises(SystemExit) as ended:
        main([str(word) for word in words])
    assert isinstance(ended.value.code, int)
    return ended.value.code


def sweep(out: Path, *words: str) -> int:
    return call("sweep", "toy", "--out", out, *words, *SETTINGS)


def mistake(capsys: pytest.CaptureFixture[str], *words: str | Path) -> str:
    """What a mistake prints; nothing on standard output, no traceback, exit code 2."""
    capsys.readouterr()
    assert call(*words) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "Traceback" not in err
    assert err.startswith("dilsearch: ")
    return err


def mistake_of_sweep(capsys: pytest.CaptureFixture[str], out: Path, *words: str) -> str:
    return mistake(capsys, "sweep", "toy", "--out", out, *SETTINGS, *words)


@pytest.fixture(scope="module", autouse=True)
def _networks_traced_once() -> Iterator[None]:
    """Commands share the networks of a space, which none of them changes: tracing takes longest."""
    known: dict[tuple[str, int], nn.Module] = {}

    def build(space: SearchSpace, seed: int, network: object) -> nn.Module:
        assert network is None
        key = (space.hash, seed)
        if key not in known:
            known[key] = build_relaxed(space, seed)
        return known[key]

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(workbench, "build_relaxed", build)
        # Pages take longer than all else here; tests of pages are elsewhere.
        patched.setattr(SweepResults, "write_page", lambda results: results.path / "report.html")
        yield


@pytest.fixture(scope="module")
def grid(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished grid of two fields and two seeds; read only."""
    folder = tmp_path_factory.mktemp("sweeps")
    with pytest.MonkeyPatch.context() as patched:
        patched.chdir(folder)
        assert sweep(Path("grid"), *GRID, "--seeds", "0-1", "--quiet") == 0
    return folder / "grid"


@pytest.fixture
def copied(grid: Path, tmp_path: Path) -> Path:
    """The finished grid, to be worked on."""
    return Path(shutil.copytree(grid, tmp_path / "grid"))


def summary_of(path: Path) -> Any:
    return RunFolder.open(path).read_json("summary.json")


def trials_of(path: Path) -> pd.DataFrame:
    return RunFolder.open(path).read_csv("trials.csv")


class TestGrid:
    def test_every_target_is_trained_with_every_seed(self, grid: Path) -> None:
        trials = trials_of(grid)
        found = sorted(zip(trials["target_px"], trials["seed"], trials["state"], strict=True))
        assert found == [(px, seed, "complete") for px in (23, 39) for seed in (0, 1)]
        assert list(trials["samples"]) == [4] * 4
        for number in range(4):
            assert (grid / "trials" / f"{number:04d}" / "weights.safetensors").is_file()

    def test_the_best_plan_is_that_of_the_folder(self, grid: Path) -> None:
        trials, best = trials_of(grid), summary_of(grid)["sweep"]["best"]
        means = trials.groupby("target_px")["mean_iou"].mean()
        assert best["target_px"] == means.idxmax()
        assert best["mean_iou"] == pytest.approx(means.max())
        trained = grid / "trials" / f"{best['trial']:04d}" / "plan.json"
        assert (grid / "plan.json").read_text() == trained.read_text()

    def test_a_finished_one_is_shown_and_nothing_is_trained(
        self, copied: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        capsys.readouterr()
        assert sweep(copied, *GRID, "--seeds", "0-1") == 0
        out, err = capsys.readouterr()
        assert "finished already; nothing is trained" in err
        assert "SQLite file" in err
        for expected in ("target px", "+/-", "4 of 4 trials finished (4 complete): 16 samples"):
            assert expected in out
        assert f"report: {copied}/report.html" in out
        assert len(trials_of(copied)) == 4
        assert sweep(copied, *GRID, "--seeds", "0-1", "--json", "--quiet") == 0
        printed = json.loads(capsys.readouterr().out)
        assert printed == {"folder": str(copied), **summary_of(copied)["sweep"]}

    @pytest.mark.slow
    def test_report_shows_the_same_without_torch(self, copied: Path) -> None:
        program = (
            "import sys; from dilsearch.cli import main\n"
            f"try: main(['report', {str(copied)!r}])\n"
            "except SystemExit as end: assert end.code == 0\n"
            "print('torch' in sys.modules)"
        )
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
        assert "4 of 4 trials finished (4 complete): 16 samples" in done.stdout, done.stderr
        assert done.stdout.splitlines()[-1] == "False"
        assert (copied / "report.html").is_file()

    def test_files_of_trials_are_shown_beside_them(self, grid: Path) -> None:
        storage = optuna.storages.RDBStorage(f"sqlite:///{grid}/study.db")
        (name,) = optuna.get_all_study_names(storage)
        attached = [
            get_all_artifact_meta(trial, storage=storage)
            for trial in optuna.load_study(study_name=name, storage=storage).trials
        ]
        for files in attached:
            assert {"plan.json", "counts.csv", "log.txt"} <= {file.filename for file in files}
        stored = {path.name for path in (grid / "artifacts").iterdir()}
        assert {file.artifact_id for files in attached for file in files} == stored

    def test_stages_go_on_from_the_plan_found(self, copied: Path) -> None:
        assert call("retrain", copied, "--device", "cpu", "--quiet") == 0
        assert call("evaluate", copied, "--device", "cpu", "--quiet") == 0
        best = summary_of(copied)["sweep"]["best"]
        again = summary_of(copied)["retrain"]["val"]["mean_iou"]
        trials = trials_of(copied).query(f"target_px == {best['target_px']} and seed == 0")
        assert again == trials["mean_iou"].item()  # the same plan, seed and budget

    @pytest.mark.slow
    def test_analysis_is_of_the_plan_found(
        self, grid: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        capsys.readouterr()
        assert call("analyze", grid, "--json") == 0
        analysis = json.loads(capsys.readouterr().out)
        assert analysis["field_px"] == [summary_of(grid)["sweep"]["best"]["field_px"]] * 2


class TestProposals:
    def test_a_command_takes_on_its_share_of_a_total_that_grows(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        path, words = tmp_path / "tpe", ("--objectives", "miou,far_accuracy")
        assert sweep(path, "--trials", "1", "--total", "2", *words) == 0
        assert "1 of 2 trials finished" in capsys.readouterr().out
        assert not RunFolder.open(path).is_finished("sweep")
        assert sweep(path, "--trials", "1", "--total", "2", *words) == 0
        out = capsys.readouterr().out
        assert "2 of 2 trials finished" in out
        assert "far accuracy" in out
        assert RunFolder.open(path).is_finished("sweep")

        assert sweep(path, "--trials", "3", *words) == 0
        section = summary_of(path)["sweep"]
        assert (section["protocol"], section["total"], section["complete"]) == ("tpe", 3, 3)
        assert section["pareto"]
        front = ", ".join(map(str, section["pareto"]))
        assert f": trials {front}" in capsys.readouterr().out
        assert sweep(path, "--trials", "1", *words) == 0  # it has more already
        out, err = capsys.readouterr()
        assert "3 of 3 trials finished (3 complete)" in out
        assert "nothing is trained" in err
        assert summary_of(path)["sweep"] == section
        assert RunFolder.open(path).is_finished("sweep")


class TestDryRun:
    def test_the_schedules_are_shown_and_nothing_is_made(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert sweep(tmp_path / "new", *GRID, "--dry-run") == 0
        out = capsys.readouterr().out
        assert "6 trials of 4 samples each: 24 samples; the task needs a field of 63 px" in out
        assert [
            line.split() for line in out.splitlines() if line.split()[:1] in (["23"], ["39"])
        ] == [
            ["23", "23", "0", "1", "2", "1,1", "1,1", "1", "3"],
            ["39", "39", "0", "1", "2", "1,1", "1,3", "1", "3"],
        ]
        assert not (tmp_path / "new").exists()

    def test_as_json_it_holds_every_slot(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        words = ("--dry-run", "--json", "--set", "sweep.first=[[[1,1],[1,2]]]")
        assert sweep(tmp_path / "new", "--trials", "5", *words) == 0
        shown = json.loads(capsys.readouterr().out)
        assert (shown["total"], shown["samples"]) == (5, 20)
        (first,) = shown["planned"]
        assert first["rates"] == {"blocks.0.conv2": [1, 1], "blocks.1.conv2": [1, 2]}
        assert (first["field_px"], first["bound_ok"]) == (31, True)


class TestRefusing:
    def test_options_that_exclude_each_other(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        words = ("sweep", "toy", "--out", tmp_path / "new", "--trials", "2", *GRID)
        assert "--grid and --trials exclude each other" in mistake(capsys, *words)
        assert not (tmp_path / "new").exists()

    @pytest.mark.parametrize(
        ("words", "text"),
        [
            (["--storage", "nonsense"], "storage 'nonsense' is neither a URL nor a journal file"),
            (["--objectives", "foo"], "'foo' is not among the scores of this data set, pixel_acc"),
            (["--objectives", "miou,near_accuracy"], "mean_iou, freq_weighted_iou, far_accuracy;"),
            (
                ["--give-up", "0"],
                "new yet, so that no trial of it can be given up; leave --give-up",
            ),
            (["--storage", "sqlite:////nowhere/at/all.db"], "there is no folder /nowhere/at"),
            (["--device", "toaster"], "toaster"),
            (["--set", "sweep.looks=0"], "looks"),
            (["--grid", "1:2"], 'grid "1:2" is not three whole numbers'),
            (["--kwargs", "{}"], "--kwargs are the arguments of --model, which is missing"),
        ],
    )
    def test_what_cannot_be_used_before_anything_is_written(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], text: str
    ) -> None:
        command = ("sweep", "toy", "--out", tmp_path / "new", *SETTINGS, *words)
        assert text in mistake(capsys, *command)
        assert not (tmp_path / "new").exists()

    def test_the_storage_may_come_from_the_environment(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("DILSEARCH_STORAGE", "nonsense")
        told = mistake_of_sweep(capsys, tmp_path / "new")
        assert "storage 'nonsense' is neither a URL nor a journal file" in told

    def test_a_folder_with_another_sweep(
        self, grid: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        words = ("sweep", "toy", "--out", grid, *SETTINGS)
        assert 'protocol is "grid" there and "tpe" now' in mistake(capsys, *words, "--trials", "2")
        told = mistake(capsys, *words, *GRID, "--objectives", "far_accuracy")
        assert 'objectives is ["miou"] there and ["far_accuracy"] now' in told

    def test_the_folder_of_a_sweep_is_no_place_for_a_run(
        self, grid: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        for more in ([], ["--resume"]):
            told = mistake(capsys, "run", "toy", "--out", grid, *SETTINGS, *more)
            assert f"{grid} holds a sweep, which 'dilsearch sweep' goes on with" in told

    def test_a_study_of_other_hosts_is_joined_only_by_the_same(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        storage = ("--storage", f"sqlite:///{tmp_path}/shared.db", "--study", "ours")
        one = (*storage, "--grid", "23:23:1", "--seeds", "0", "--quiet")
        assert sweep(tmp_path / "one", *one) == 0
        # Another folder, as on another host: the study is finished, and its tables are here too.
        assert sweep(tmp_path / "two", *one) == 0
        assert not (tmp_path / "two" / "trials").exists()
        plans = [(tmp_path / name / "plan.json").read_text() for name in ("one", "two")]
        assert plans[0] == plans[1]
        words = ("sweep", "toy", "--out", tmp_path / "three", *SETTINGS, *storage, "--trials", "2")
        assert "study 'ours' in sqlite" in mistake(capsys, *words)
        assert not (tmp_path / "three").exists()


def trained_by(monkeypatch: pytest.MonkeyPatch, deed: Callable[[TrialRequest], None]) -> None:
    """Have something done in front of every training."""
    real = sweep_module.trainer

    def trainer(*given: Any, **named: Any) -> Train:
        train = real(*given, **named)

        def deed_first(request: TrialRequest, look: Look | None) -> TrialResult:
            deed(request)
            return train(request, look)

        return deed_first

    monkeypatch.setattr(sweep_module, "trainer", trainer)


def run_out_of_memory(request: TrialRequest) -> None:
    raise RuntimeError("out of memory")


class TestStopping:
    def test_a_finished_grid_that_is_extended_and_stopped_is_unfinished(
        self, copied: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        def stop_at_the_second(request: TrialRequest) -> None:
            # Nobody may take it for a finished one meanwhile.
            assert not RunFolder.open(copied).is_finished("sweep")
            if request.number == 5:
                raise KeyboardInterrupt

        assert RunFolder.open(copied).is_finished("sweep")
        with monkeypatch.context() as patched:
            trained_by(patched, stop_at_the_second)
            assert sweep(copied, *GRID, "--seeds", "2", "--quiet") == 130
        err = capsys.readouterr().err
        told = next(line for line in err.splitlines() if line.startswith("dilsearch: stopped"))
        assert list(trials_of(copied)["state"]) == ["complete"] * 5 + ["interrupted"]
        left_out = mistake(capsys, "compare", copied, "--out", copied.parent / "comparison")
        assert f"{copied} is left out: the sweep is not finished" in left_out
        # A part of it that is finished does not make it whole.
        assert sweep(copied, *GRID, "--seeds", "0-1", "--quiet") == 0
        assert not RunFolder.open(copied).is_finished("sweep")

        command = shlex.split(told.partition("go on with: ")[2])
        assert command[:3] == ["dilsearch", "sweep", "toy"]
        assert call(*command[1:]) == 0
        said = "6 of 6 trials finished (6 complete, 1 interrupted): 24 samples"
        assert said in capsys.readouterr().out
        trials, section = trials_of(copied), summary_of(copied)["sweep"]
        assert list(trials["seed"]) == [0, 0, 1, 1, 2, 2, 2]
        assert list(trials["retry_of"].dropna()) == [5]
        assert (section["seeds"], section["total"], section["complete"]) == ([0, 1, 2], 6, 6)
        assert (section["failed"], section["interrupted"]) == (0, 1)
        assert RunFolder.open(copied).is_finished("sweep")

    def test_a_dead_trial_of_a_journal_is_given_up_by_hand(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        path, journal = tmp_path / "grid", tmp_path / "study.journal"
        words = ("--storage", str(journal), "--grid", "23:23:1", "--seeds", "0", "--study", "ours")
        told = mistake_of_sweep(capsys, path, *words, "--give-up", "4")
        assert f"there is no study 'ours' in {journal} yet" in told
        assert not path.exists()

        # A worker claims the only trial and is never heard of again.
        def die(request: TrialRequest) -> None:
            raise SystemExit(9)

        with monkeypatch.context() as patched:
            trained_by(patched, die)
            patched.setattr(attempts, "fail", lambda *told: None)
            assert sweep(path, *words) == 9
        elsewhere = mistake_of_sweep(capsys, tmp_path / "other", *words, "--give-up", "4")
        assert "trial 4 does not exist" in elsewhere
        assert not (tmp_path / "other").exists()
        assert sweep(path, *words) == 0
        out, err = capsys.readouterr()
        assert "it has no heartbeats" in err
        assert "still running: trial 0 (23 px seed 0) on " in err
        assert "if its worker is dead, --give-up 0 frees its place" in err
        assert "no trial is complete yet, so there is no plan" in out
        assert sweep(path, *words, "--give-up", "0") == 0
        assert "1 of 1 trials finished (1 complete, 1 failed)" in capsys.readouterr().out

    def test_a_grid_with_trials_that_fail_twice_says_so(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        trained_by(monkeypatch, run_out_of_memory)
        assert sweep(tmp_path / "grid", "--grid", "39:39:1", "--seeds", "0") == 2
        out, err = capsys.readouterr()
        assert "1 of 1 trials failed twice and are not tried again (39 px seed 0)" in err
        assert "RuntimeError: out of memory" in err
        assert "0 of 1 trials finished (0 complete, 2 failed)" in out
        assert "no trial is complete yet, so there is no plan" in out

    def test_what_there_is_is_written_when_a_sweep_gives_up(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        def stumble(results: SweepResults) -> None:
            raise StorageInternalError

        trained_by(monkeypatch, run_out_of_memory)
        path, words = tmp_path / "grid", (*GRID, "--quiet")
        why = "3 trials in a row failed, the last one, trial {} ({} px seed {}), because: Runtime"
        assert why.format(2, 23, 1) in mistake_of_sweep(capsys, path, *words)
        assert list(trials_of(path)["state"][:3]) == ["failed"] * 3
        assert summary_of(path)["sweep"]["failed"] == 3
        assert not RunFolder.open(path).is_finished("sweep")
        # Where nothing can be written, the reason is told all the same.
        monkeypatch.setattr(SweepResults, "write", stumble)
        assert "3 trials in a row failed" in mistake_of_sweep(capsys, path, *words)


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_workers_side_by_side_finish_what_a_killed_one_began(tmp_path: Path) -> None:
    path, trials = tmp_path / "tpe", 6
    storage = f"sqlite:///{tmp_path}/shared.db"
    words = ["sweep", "toy", "--out", str(path), "--trials", str(trials), "--workers", "2"]
    words += ["--storage", storage, "--heartbeat", "1", "--grace", "2", *SETTINGS]
    # A single block with rates of 1 and 2 has three plans, so that some trials are twins.
    sites = '{select = "blocks.*.conv2", granularity = "branch", branches = 2, upper = 2}'
    more = ["--sites", sites, "--set", "retrain.steps=300", "--set", "model.options.blocks=1"]
    command = subprocess.Popen(
        [sys.executable, "-m", "dilsearch", *words, *more],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    killed = kill_a_worker(path, storage, within_seconds=120)
    out, err = command.communicate(timeout=300)
    assert command.returncode == 0, err
    assert "was killed (signal 9); the others go on" in err
    assert f"{trials} of {trials} trials finished" in out
    table = trials_of(path)
    finished = table[table["state"].isin(["complete", "pruned"])]
    assert len(finished) == trials
    assert killed in set(table["retry_of"].dropna())
    assert finished["answered_from"].notna().any()
    for row in finished.to_dict("records"):
        plan = DilationPlan.load(path / "trials" / f"{row['number']:04d}" / "plan.json")
        assert plan.hash == row["plan_hash"]


def kill_a_worker(path: Path, url: str, *, within_seconds: float) -> int:
    """Kill the worker of a running trial as soon as there is one; gives the trial's number."""
    deadline = time.time() + within_seconds
    while time.time() < deadline:
        time.sleep(0.2)
        if not (path / "study.json").exists():
            continue
        storage = optuna.storages.RDBStorage(url)
        for name in optuna.get_all_study_names(storage):
            running = (optuna.trial.TrialState.RUNNING,)
            study = optuna.load_study(study_name=name, storage=storage)
            for trial in study.get_trials(states=running):
                if "process" in trial.user_attrs:
                    process = trial.user_attrs["process"]
                    if Path("/proc").exists():  # where everybody can read it
                        words = Path(f"/proc/{process}/cmdline").read_text().split("\0")
                        assert "--worker" in words
                        assert url not in words
                    os.kill(process, signal.SIGKILL)
                    return trial.number
    raise AssertionError("no worker has begun a trial")


def test_optuna_is_told_to_keep_quiet(grid: Path) -> None:
    assert optuna.logging.get_verbosity() == optuna.logging.WARNING
