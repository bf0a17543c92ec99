import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from dilsearch.space import SearchSpace
from dilsearch.study import Case, Study, folders
from dilsearch.study.folders import is_finished

ALL = ("search", "convert", "retrain", "control", "evaluate")
WITHOUT_CONTROL = ("search", "convert", "retrain", "evaluate")
NO_CONTROL = "[control]\nenabled = false\n"


@pytest.mark.parametrize(
    ("part", "stages", "space", "finished"),
    [
        (0, ("search", "convert", "evaluate"), "", True),
        (0, ("search", "convert"), "", False),
        (1, ALL, "", True),
        (1, WITHOUT_CONTROL, "", False),
        (1, WITHOUT_CONTROL, "[control]\nenabled = true\n", False),
        (1, WITHOUT_CONTROL, NO_CONTROL, True),
        (1, ("search", "convert", "retrain"), NO_CONTROL, False),
        (1, ALL, "not TOML", False),
    ],
)
def test_a_case_is_finished_when_every_asked_stage_is(
    tmp_path: Path,
    study: Study,
    write_run: Callable[..., Path],
    part: int,
    stages: tuple[str, ...],
    space: str,
    finished: bool,
) -> None:
    case = next(study.parts[part].cases())
    write_run(tmp_path, case, stages=stages, space=space)
    assert is_finished(case, tmp_path) is finished


def test_the_folder_of_a_space_that_has_changed_is_not_finished(
    tmp_path: Path, study: Study, write_run: Callable[..., Path]
) -> None:
    default, plain, of_plain, unreadable = study.parts[0].cases()
    hashes = [
        SearchSpace.load("toy", None, (*case.part.overrides, *case.variant.overrides)).hash
        for case in (default, plain)
    ]
    assert hashes[0] != hashes[1]
    write_run(tmp_path, default, space_hash=hashes[0])
    write_run(tmp_path, plain, space_hash=hashes[1])
    write_run(tmp_path, of_plain, space_hash=hashes[1])
    assert is_finished(default, tmp_path)
    assert is_finished(plain, tmp_path)
    assert not is_finished(of_plain, tmp_path)
    # a space that cannot be read any more is for the case's command to tell
    write_run(tmp_path, unreadable, space_hash=hashes[1])
    assert is_finished(unreadable, tmp_path)
    gone = replace(unreadable.part, space=str(tmp_path / "gone.toml"))
    assert not is_finished(replace(unreadable, part=gone), tmp_path)


def test_changing_the_file_of_a_space_makes_its_runs_unfinished(
    tmp_path: Path, study: Study, write_run: Callable[..., Path]
) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(SearchSpace.load("toy").to_toml())
    part = replace(study.parts[0], space=str(path))
    case = next(part.cases())
    write_run(tmp_path, case, space_hash=SearchSpace.load(path, None, part.overrides).hash)
    assert is_finished(case, tmp_path)
    folders._hash_of.cache_clear()  # as in a later call of the command
    text = path.read_text()
    path.write_text(f"# the same values\n{text}")
    assert is_finished(case, tmp_path)  # negative control
    folders._hash_of.cache_clear()
    path.write_text(re.sub(r"(?m)^learning_rate = .*", "learning_rate = 0.0625", text))
    assert SearchSpace.load(path).train.learning_rate == 0.0625
    assert not is_finished(case, tmp_path)


def test_absent_damaged_and_foreign_folders_are_not_finished(
    tmp_path: Path, study: Study, write_run: Callable[..., Path]
) -> None:
    absent, damaged, foreign, _ = study.parts[0].cases()
    assert not is_finished(absent, tmp_path)
    folder = write_run(tmp_path, damaged)
    assert is_finished(damaged, tmp_path)
    (folder / "run.json").write_text("{")
    assert not is_finished(damaged, tmp_path)
    # the folder of a variant that meant something else when it was run
    other = Case(study.parts[0], study.parts[0].variants[1], foreign.seed)
    write_run(tmp_path, foreign, command=" ".join(other.words(tmp_path)))
    assert not is_finished(foreign, tmp_path)
