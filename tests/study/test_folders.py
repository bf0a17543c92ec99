from collections.abc import Callable
from pathlib import Path

import pytest

from dilsearch.study import Case, Study
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
