"""Run folders: refusing, resuming, recording, reading."""

import json
import subprocess

import pandas as pd
import pytest

from dilsearch.errors import RunError
from dilsearch.runs import RunFolder
from dilsearch.runs import provenance as provenance_module

SPACE = """
name = "toy"
title = "Thin bars"
profile = "quick"

[data]
name = "thin_bars"
size_px = 96

[train]
batch_size = 8
learning_rate = 0.05
weight_decay = 1e-4

[search]
steps = 400

[retrain]
steps = 500
"""


@pytest.fixture
def begin(tmp_path):
    """Begin a run at a fixed place; keywords change what it is begun with."""

    def begin_run(**changes):
        settings = {"command": "dilsearch run toy", "space": SPACE, "seed": 0, **changes}
        return RunFolder.create(tmp_path / "runs" / "toy-seed0", **settings)

    return begin_run


def test_a_new_run_records_what_made_it(begin):
    record = begin(device="cpu, 2 threads").record
    assert {key: record[key] for key in ("schema_version", "command", "space", "profile")} == {
        "schema_version": 1,
        "command": "dilsearch run toy",
        "space": "toy",
        "profile": "quick",
    }
    assert (record["seed"], record["device"], record["stages"]) == (0, "cpu, 2 threads", {})
    assert {"python", "dilsearch", "torch", "numpy"} <= record["versions"].keys()
    assert begin(resume=True).read_text("space.toml") == SPACE


def test_the_record_outlives_the_process(begin):
    run = begin()
    run.begin("search")
    run.finish("search", seconds=12.3456)
    again = RunFolder.open(run.path())
    assert again.stages == {"search": {"status": "finished", "seconds": 12.346}}
    assert again.is_finished("search")
    assert not again.is_finished("retrain")
    assert again.seconds("retrain") == 0.0


def test_time_adds_up_over_interruptions_but_not_over_repetitions(begin):
    run = begin()
    run.begin("search")
    run.pause("search", seconds=5.0)
    run.begin("search")
    assert (run.seconds("search"), run.is_finished("search")) == (5.0, False)
    run.finish("search", seconds=9.0)
    run.begin("search")
    assert (run.seconds("search"), run.is_finished("search")) == (0.0, False)


def test_a_forgotten_stage_was_never_begun(begin):
    run = begin()
    for stage in ("search", "convert", "retrain"):
        run.begin(stage)
        run.finish(stage, seconds=1.0)
    run.forget("retrain", "convert", "control")
    assert list(RunFolder.open(run.path()).stages) == ["search"]


@pytest.mark.parametrize(
    ("stages", "state"),
    [
        ([], "nothing finished"),
        ([("search", False)], "search begun"),
        ([("search", True)], "search finished"),
        ([("search", True), ("convert", True), ("retrain", False)], "search, convert finished"),
    ],
)
def test_a_folder_with_a_run_is_refused(begin, stages, state):
    run = begin()
    for stage, finished in stages:
        run.begin(stage)
        if finished:
            run.finish(stage, seconds=1.0)
    with pytest.raises(RunError) as caught:
        begin()
    assert str(caught.value) == (
        f"{run.path()} already holds a run ({state}). "
        "Continue it with --resume, or write elsewhere with --out."
    )


def test_resume_starts_where_there_is_nothing(begin):
    assert begin(resume=True).stages == {}


def test_resume_goes_on_where_the_run_stands(begin):
    run = begin()
    run.begin("search")
    run.finish("search", seconds=1.0)
    assert begin(resume=True, command="dilsearch run toy --resume").is_finished("search")


def test_resume_with_another_seed_is_refused(begin):
    begin()
    with pytest.raises(
        RunError, match=r"with seed 0, and this one has seed 1\. Resume it with --seed 0"
    ):
        begin(resume=True, seed=1)


def test_resume_with_another_space_is_refused_and_the_difference_named(begin):
    begin()
    with pytest.raises(
        RunError, match=r"another search space: data\.size_px is 96 there and 128 now\. Resume it"
    ):
        begin(resume=True, space=SPACE.replace("96", "128"))


def test_many_differences_are_counted(begin):
    begin()
    other = SPACE
    for value in ("96", "8", "0.05", "1e-4", "400"):
        other = other.replace(f"= {value}\n", "= 1\n")
    with pytest.raises(
        RunError, match=r"learning_rate is 0\.05 there and 1 now, and 2 more\. Resume"
    ):
        begin(resume=True, space=other)


def test_what_a_space_is_called_does_not_matter(begin):
    begin()
    renamed = SPACE.replace('profile = "quick"', 'profile = "mine"').replace("Thin", "Slim")
    assert renamed != SPACE
    assert begin(resume=True, space=renamed).seed == 0


def test_foreign_files_are_not_written_among(tmp_path, begin):
    folder = tmp_path / "runs" / "toy-seed0"
    folder.mkdir(parents=True)
    (folder / "thesis.tex").write_text("")
    for resume in (False, True):
        with pytest.raises(RunError, match=r"holds files that are no run, such as thesis\.tex\."):
            begin(resume=resume)
    (folder / "thesis.tex").unlink()
    (folder / "space.toml").write_text("title = 'my own'\n")
    with pytest.raises(RunError, match=r"such as space\.toml"):
        begin()
    assert (folder / "space.toml").read_text() == "title = 'my own'\n"


def test_leftovers_of_a_crash_at_the_start_are_no_obstacle(tmp_path, begin):
    folder = tmp_path / "runs" / "toy-seed0"
    folder.mkdir(parents=True)
    (folder / "space.toml").write_text(SPACE)
    (folder / ".run.tmp.json").write_text("{")
    assert begin().record["space"] == "toy"


def test_a_file_in_the_folders_place_is_told(tmp_path, begin):
    (tmp_path / "runs").write_text("")
    with pytest.raises(RunError, match=r"cannot make the run folder .*toy-seed0: .* --out"):
        begin()


def test_only_a_run_can_be_opened(tmp_path):
    with pytest.raises(RunError, match=r"holds no run: there is no run\.json in it"):
        RunFolder.open(tmp_path)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("{", "is not readable JSON"),
        ("[]", "is not a JSON object"),
        ('{"schema_version": 2}', "has schema version 2, and this dilsearch reads 1"),
        ('{"schema_version": 1, "seed": 0, "hashes": {}}', "has no 'stages'"),
    ],
)
def test_a_damaged_record_is_told(begin, text, fault):
    run = begin()
    run.path("run.json").write_text(text)
    with pytest.raises(RunError, match=fault):
        RunFolder.open(run.path())


def test_files_come_back_as_written(begin):
    run = begin()
    table = pd.DataFrame(
        {"site": ["0", "1"], "rates": ["1 9", "4"], "bound": [3, 9], "x": [0.1, 1e-17]}
    )
    run.write_csv("field.csv", table)
    run.write_json("summary.json", {"mean_iou": None, "é": 0.1})
    run.write_with("arrays/text.bin", lambda path: path.write_bytes(b"\x01"))
    back = run.read_csv("field.csv")
    assert back["site"].tolist() == ["0", "1"]
    assert back["rates"].tolist() == ["1 9", "4"]
    assert back["x"].tolist() == pytest.approx([0.1, 1e-17])
    assert back["bound"].tolist() == [3, 9]
    assert run.read_json("summary.json") == {"mean_iou": None, "é": 0.1}
    assert run.path("arrays/text.bin").read_bytes() == b"\x01"
    assert run.has("field.csv")
    assert not run.has("plan.json")


def test_equal_tables_are_equal_files(begin):
    run = begin()
    table = pd.DataFrame({"step": [1, 2], "loss": [1 / 3, 2 / 3]})
    run.write_csv("a.csv", table)
    run.write_csv("b.csv", table)
    assert run.path("a.csv").read_bytes() == run.path("b.csv").read_bytes()
    assert (
        run.path("a.csv").read_bytes() == b"step,loss\n1,0.3333333333333333\n2,0.6666666666666666\n"
    )


def test_nan_never_reaches_json(begin):
    run = begin()
    run.write_json("summary.json", {"mean_iou": 0.5})
    with pytest.raises(ValueError, match="not JSON compliant"):
        run.write_json("summary.json", {"mean_iou": float("nan")})
    assert run.read_json("summary.json") == {"mean_iou": 0.5}


def test_a_missing_file_names_the_stage_that_writes_it(begin):
    with pytest.raises(
        RunError, match=r"has no plan\.json\. Run the stage that writes it, convert"
    ):
        begin().read_text("plan.json")
    with pytest.raises(RunError, match=r"has no notes\.txt\. Restore"):
        begin(resume=True).read_text("notes.txt")


def test_damaged_files_are_told(begin):
    run = begin()
    run.write_with("counts.csv", lambda path: path.write_bytes(b""))
    with pytest.raises(RunError, match=r"counts\.csv is not a readable table"):
        run.read_csv("counts.csv")
    run.write_with("space.toml", lambda path: path.write_bytes(b"\xff"))
    with pytest.raises(RunError, match=r"space\.toml is not readable text"):
        run.read_text("space.toml")
    run.write_text("space.toml", "=")
    with pytest.raises(RunError, match=r"space\.toml is not readable TOML"):
        begin(resume=True)


def test_changed_data_are_noticed(begin):
    run = begin()
    run.require_hash("data", "a" * 64)
    run.require_hash("data", "a" * 64)
    with pytest.raises(RunError, match=r"the data has changed since this run began \(hash aaaaaaa"):
        RunFolder.open(run.path()).require_hash("data", "b" * 64)
    run.note_hash("plan", "c" * 64)
    run.note_hash("plan", "d" * 64)
    assert RunFolder.open(run.path()).record["hashes"] == {"data": "a" * 64, "plan": "d" * 64}


def test_the_record_holds_no_clock(begin):
    record = json.loads(begin().path("run.json").read_text())
    assert not {"time", "date", "started", "created"} & record.keys()


def test_the_revision_is_that_of_the_checkout(tmp_path, monkeypatch):
    checkout = tmp_path / "checkout"
    file = checkout / "dilsearch" / "runs" / "provenance.py"
    file.parent.mkdir(parents=True)
    file.write_text("")
    monkeypatch.setattr(provenance_module, "__file__", str(file))
    assert provenance_module._revision() is None

    def git(*words):
        identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
        command = ["git", "-C", str(checkout), *identity, *words]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    git("init", "--quiet")
    assert provenance_module._revision() is None
    git("add", ".")
    git("commit", "--quiet", "-m", "first")
    git("tag", "v1")
    assert provenance_module._revision() == git("rev-parse", "HEAD")
    file.write_text("changed")
    assert provenance_module._revision() == git("rev-parse", "HEAD") + "-dirty"
