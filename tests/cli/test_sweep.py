"""``dilsearch sweep`` as a user types it."""

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import optuna
import pandas as pd
import pytest
from optuna.artifacts import get_all_artifact_meta
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from dilsearch.cli import main
from dilsearch.cli import sweep as sweep_module
from dilsearch.pipeline.sweep import SweepResults
from dilsearch.runs import RunFolder

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


@pytest.fixture(scope="module")
def grid(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished grid of two fields and two seeds; read only."""
    folder = tmp_path_factory.mktemp("sweeps")
    with pytest.MonkeyPatch.context() as patched:
        patched.chdir(folder)
        assert sweep(Path("grid"), *GRID, "--seeds", "0-1", "--quiet") == 0
    return folder / "grid"


@pytest.fixture(autouse=True)
def _without_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the grid above has a page, since pages take longer than all else here."""
    monkeypatch.setattr(SweepResults, "write_page", lambda results: None)


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
        assert (grid / "report.html").is_file()

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
        assert len(trials_of(copied)) == 4

    def test_json_is_the_section_of_the_summary(
        self, copied: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        capsys.readouterr()
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

    def test_seeds_are_added_in_the_same_folder(self, copied: Path) -> None:
        assert sweep(copied, *GRID, "--seeds", "2", "--quiet") == 0
        section = summary_of(copied)["sweep"]
        assert (section["seeds"], section["total"], section["complete"]) == ([0, 1, 2], 6, 6)
        assert list(trials_of(copied)["seed"]) == [0, 0, 1, 1, 2, 2]

    def test_stages_and_analysis_go_on_from_the_plan_found(
        self, copied: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert call("retrain", copied, "--device", "cpu", "--quiet") == 0
        assert call("evaluate", copied, "--device", "cpu", "--quiet") == 0
        best = summary_of(copied)["sweep"]["best"]
        again = summary_of(copied)["retrain"]["val"]["mean_iou"]
        trials = trials_of(copied).query(f"target_px == {best['target_px']} and seed == 0")
        assert again == trials["mean_iou"].item()  # the same plan, seed and budget
        capsys.readouterr()
        assert call("analyze", copied, "--json") == 0
        analysis = json.loads(capsys.readouterr().out)
        assert analysis["field_px"] == [best["field_px"]] * 2


class TestProposals:
    def test_a_study_goes_on_when_the_total_is_raised(self, tmp_path: Path) -> None:
        path = tmp_path / "tpe"
        assert sweep(path, "--trials", "2", "--quiet") == 0
        assert len(trials_of(path)) == 2
        assert sweep(path, "--trials", "3", "--quiet") == 0
        section = summary_of(path)["sweep"]
        assert (section["protocol"], section["total"]) == ("tpe", 3)
        assert section["complete"] + section["pruned"] == 3

    def test_a_command_takes_on_its_share_of_the_total(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        path = tmp_path / "tpe"
        words = ("--trials", "1", "--total", "2", "--objectives", "miou,far_accuracy")
        assert sweep(path, *words) == 0
        assert "1 of 2 trials finished" in capsys.readouterr().out
        assert not RunFolder.open(path).is_finished("sweep")
        assert sweep(path, *words) == 0
        out = capsys.readouterr().out
        assert "2 of 2 trials finished" in out
        assert "far accuracy" in out
        assert "none better in every objective: trials " in out
        assert RunFolder.open(path).is_finished("sweep")
        assert summary_of(path)["sweep"]["pareto"]


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
        one = (*storage, *GRID, "--seeds", "0", "--quiet")
        assert sweep(tmp_path / "one", *one) == 0
        # Another folder, as on another host: the study is finished, and its tables are here too.
        assert sweep(tmp_path / "two", *one) == 0
        assert not (tmp_path / "two" / "trials").exists()
        plans = [(tmp_path / name / "plan.json").read_text() for name in ("one", "two")]
        assert plans[0] == plans[1]
        words = ("sweep", "toy", "--out", tmp_path / "three", *SETTINGS, *storage, "--trials", "2")
        assert "study 'ours' in sqlite" in mistake(capsys, *words)
        assert not (tmp_path / "three").exists()


class TestStopping:
    def test_ctrl_c_frees_the_trial_and_tells_how_to_go_on(
        self,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        path, real = tmp_path / "grid", sweep_module.trainer

        def impatient(*given: Any, **named: Any) -> Any:
            train = real(*given, **named)

            def stop_at_the_second(request: Any, look: Any) -> Any:
                if request.number == 1:
                    raise KeyboardInterrupt
                return train(request, look)

            return stop_at_the_second

        words = (*GRID, "--seeds", "0")
        with monkeypatch.context() as patched:
            patched.setattr(sweep_module, "trainer", impatient)
            assert sweep(path, *words, "--quiet") == 130
        err = capsys.readouterr().err
        told = next(line for line in err.splitlines() if line.startswith("dilsearch: stopped"))
        assert len(trials_of(path)) >= 2  # what there is can be looked at
        command = shlex.split(told.partition("go on with: ")[2])
        assert command[:3] == ["dilsearch", "sweep", "toy"]
        assert call(*command[1:], "--quiet") == 0
        trials = trials_of(path)
        assert sorted(trials["state"]) == ["complete", "complete", "failed"]
        retried = trials[trials["retry_of"].notna()]
        assert list(retried["retry_of"]) == [1]
        assert summary_of(path)["sweep"]["complete"] == 2

    def test_a_dead_trial_of_a_journal_is_given_up_by_hand(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        path, journal = tmp_path / "grid", tmp_path / "study.journal"
        words = ("--storage", str(journal), "--grid", "23:23:1", "--seeds", "0", "--study", "ours")
        # A worker claims the only trial and is never heard of again.
        storage = JournalStorage(JournalFileBackend(str(journal)))
        assert "trial 4 does not exist" in mistake_of_sweep(capsys, path, *words, "--give-up", "4")
        study = optuna.load_study(study_name="ours", storage=storage)
        study.enqueue_trial({"target_px": 23, "seed": 0}, user_attrs={"slot": "23 px seed 0"})
        study.ask()
        assert sweep(path, *words) == 0
        out, err = capsys.readouterr()
        assert "it has no heartbeats" in err
        assert "still running: trial 0 (23 px seed 0) on an unknown host" in err
        assert "if its worker is dead, --give-up 0 frees its place" in err
        assert "no trial is complete yet, so there is no plan" in out
        assert sweep(path, *words, "--give-up", "0") == 0
        assert "1 of 1 trials finished (1 complete, 1 failed)" in capsys.readouterr().out

    def test_a_grid_with_trials_that_fail_twice_says_so(
        self,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        path, real = tmp_path / "grid", sweep_module.trainer

        def clumsy(*given: Any, **named: Any) -> Any:
            train = real(*given, **named)

            def fail_at_the_larger(request: Any, look: Any) -> Any:
                if request.suggestion.target_px == 39:
                    raise RuntimeError("out of memory")
                return train(request, look)

            return fail_at_the_larger

        monkeypatch.setattr(sweep_module, "trainer", clumsy)
        assert sweep(path, *GRID, "--seeds", "0") == 2
        out, err = capsys.readouterr()
        assert "1 of 2 trials failed twice and are not tried again (39 px seed 0)" in err
        assert "RuntimeError: out of memory" in err
        assert "1 of 2 trials finished (1 complete, 2 failed)" in out
        assert summary_of(path)["sweep"]["best"]["field_px"] == 23


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_workers_side_by_side_finish_what_a_killed_one_began(tmp_path: Path) -> None:
    path, trials = tmp_path / "tpe", 4
    words = ["sweep", "toy", "--out", str(path), "--trials", str(trials), "--workers", "2"]
    more = ["--heartbeat", "1", "--grace", "2", *SETTINGS, "--set", "retrain.steps=300"]
    command = subprocess.Popen(
        [sys.executable, "-m", "dilsearch", *words, *more],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    killed = kill_a_worker(path, within_seconds=120)
    out, err = command.communicate(timeout=300)
    assert command.returncode == 0, err
    assert "was killed (signal 9); the others go on" in err
    assert f"{trials} of {trials} trials finished" in out
    table = trials_of(path)
    assert (table["state"].isin(["complete", "pruned"])).sum() == trials
    assert killed in set(table["retry_of"].dropna())
    for number in table.query("state != 'failed' and answered_from.isna()")["number"]:
        assert (path / "trials" / f"{number:04d}" / "plan.json").is_file()


def kill_a_worker(path: Path, *, within_seconds: float) -> int:
    """Kill the worker of a running trial as soon as there is one; gives the trial's number."""
    deadline = time.time() + within_seconds
    while time.time() < deadline:
        time.sleep(0.2)
        if not (path / "study.json").exists():
            continue
        storage = optuna.storages.RDBStorage(f"sqlite:///{path}/study.db")
        for name in optuna.get_all_study_names(storage):
            running = (optuna.trial.TrialState.RUNNING,)
            study = optuna.load_study(study_name=name, storage=storage)
            for trial in study.get_trials(states=running):
                if "process" in trial.user_attrs:
                    os.kill(trial.user_attrs["process"], signal.SIGKILL)
                    return trial.number
    raise AssertionError("no worker has begun a trial")


def test_optuna_is_told_to_keep_quiet(grid: Path) -> None:
    assert optuna.logging.get_verbosity() == optuna.logging.WARNING
