import shlex
from pathlib import Path

import pytest

from dilsearch.study import STUDIES, Case, Study


def test_words_are_the_command_that_makes_the_run(study: Study) -> None:
    bars, streets = study.parts
    case = Case(bars, bars.variants[1], 3)
    assert case.folder == Path("bars/plain-seed3")
    assert shlex.join(case.words(Path("out"), Path("camvid"), "cuda:1")) == (
        "dilsearch run toy --out out/bars/plain-seed3 --seed 3 --set data.size_px=64 "
        "--set search.smoothing=0 --stages search,convert,evaluate --device cuda:1 "
        "--quiet --resume"
    )
    assert shlex.join(Case(streets, streets.variants[0], 1).words(Path("out"), Path("camvid"))) == (
        "dilsearch run regseg_camvid --out out/streets/default-seed1 --seed 1 --profile quick "
        "--data camvid --quiet --resume"
    )


def test_cases_come_part_by_part_and_seed_by_seed(study: Study) -> None:
    assert [str(case) for case in study.cases()] == [
        "bars default seed 0",
        "bars plain seed 0",
        "bars default seed 1",
        "bars plain seed 1",
        "streets default seed 0",
        "streets default seed 1",
    ]


@pytest.mark.parametrize(
    ("command", "made"),
    [
        ("dilsearch run toy --seed 3 --set data.size_px=64 --set search.smoothing=0", True),
        ("dilsearch run toy --out / --seed 3 --set data.size_px=64 --set search.smoothing=0", True),
        ("dilsearch run toy --seed 4 --set data.size_px=64 --set search.smoothing=0", False),
        ("dilsearch run toy --seed 3 --set data.size_px=96 --set search.smoothing=0", False),
        ("dilsearch run toy --seed 3 --set data.size_px=64", False),
        ("dilsearch run toy --seed 3 --profile full --set data.size_px=64 "
         "--set search.smoothing=0", False),
        ("dilsearch run regseg --seed 3 --set data.size_px=64 --set search.smoothing=0", False),
        ("dilsearch run 'toy", False),
        ("", False),
    ],
)  # fmt: skip
def test_a_recorded_command_is_known_by_what_decides_the_figures(
    study: Study, command: str, made: bool
) -> None:
    bars = study.parts[0]
    assert Case(bars, bars.variants[1], 3).made_by(command) is made


def test_shipped_studies_have_folders_and_commands_of_their_own() -> None:
    for name, study in STUDIES.items():
        assert study.name == name
        cases = list(study.cases())
        assert len({case.folder for case in cases}) == len(cases)
        for case in cases:
            makes = shlex.join(case.words(Path("anywhere")))
            assert [str(other) for other in cases if other.made_by(makes)] == [str(case)]
