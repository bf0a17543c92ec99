"""Files attached to a study: what is kept of them, and how Optuna finds them again."""

from pathlib import Path

import optuna
import pytest
from optuna.artifacts import FileSystemArtifactStore, get_all_artifact_meta
from optuna.exceptions import UpdateFinishedTrialError

from dilsearch.baselines.artifacts import attach, attached


@pytest.fixture
def study() -> optuna.Study:
    return optuna.create_study()


def kept(study: optuna.Study, owner: optuna.Trial | optuna.Study, folder: Path) -> dict[str, bytes]:
    store = FileSystemArtifactStore(folder / "artifacts")
    found = {}
    for meta in get_all_artifact_meta(owner, storage=study._storage):
        with store.open_reader(meta.artifact_id) as file:
            found[meta.filename] = file.read()
    return found


def test_a_trial_keeps_copies_under_the_names_given(study: optuna.Study, tmp_path: Path):
    (tmp_path / "plan.json").write_bytes(b"{}\n")
    (tmp_path / "trial.log").write_bytes(b"\x00log")
    files = {
        "plan.json": tmp_path / "plan.json",
        "log.txt": Path("trial.log"),  # relative to the sweep's folder
        "counts.csv": tmp_path / "not there",
    }
    trial = study.ask()
    assert attach(study._storage, trial, files, tmp_path) == ("plan.json", "log.txt")
    assert sorted(attached(study._storage, trial)) == ["log.txt", "plan.json"]
    (tmp_path / "plan.json").unlink()
    assert kept(study, trial, tmp_path) == {"plan.json": b"{}\n", "log.txt": b"\x00log"}
    assert kept(study, study.ask(), tmp_path) == {}


def test_the_study_has_files_too(study: optuna.Study, tmp_path: Path):
    (tmp_path / "summary.json").write_text("{}")
    attach(study._storage, study, {"summary.json": tmp_path / "summary.json"}, tmp_path)
    assert kept(study, study, tmp_path) == {"summary.json": b"{}"}


def test_without_files_nothing_is_made(study: optuna.Study, tmp_path: Path):
    assert attach(study._storage, study.ask(), {"log.txt": tmp_path / "none"}, tmp_path) == ()
    assert not (tmp_path / "artifacts").exists()


def test_a_finished_trial_takes_none(study: optuna.Study, tmp_path: Path):
    (tmp_path / "log.txt").write_text("too late")
    trial = study.ask()
    study.tell(trial, 1.0)
    with pytest.raises(UpdateFinishedTrialError):
        attach(study._storage, trial, {"log.txt": tmp_path / "log.txt"}, tmp_path)
