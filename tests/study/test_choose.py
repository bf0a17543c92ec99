import re

import pytest

from dilsearch.study import Study, StudyError
from dilsearch.study.choose import find_study, narrow, parse_seeds, without_data


@pytest.mark.parametrize(
    ("text", "seeds"),
    [
        ("0-9", tuple(range(10))),
        ("0,1,2", (0, 1, 2)),
        ("7", (7,)),
        ("0-2, 5,1", (0, 1, 2, 5)),
        ("3-3", (3,)),
    ],
)
def test_seeds_are_numbers_and_ranges(text: str, seeds: tuple[int, ...]) -> None:
    assert parse_seeds(text) == seeds


@pytest.mark.parametrize("text", ["", "3-1", "1,,2", "a", "-1", "1.5", "0-", "0-1000", "²"])
def test_malformed_seeds_are_refused_with_an_example(text: str) -> None:
    with pytest.raises(StudyError, match=re.escape(f"--seeds {text}: '")) as caught:
        parse_seeds(text)
    assert str(caught.value).endswith("such as 0-9 or 0,1,2")


def test_a_study_is_found_by_name() -> None:
    assert find_study("search-robustness").name == "search-robustness"
    with pytest.raises(StudyError) as caught:
        find_study("search-robustnes")
    assert str(caught.value) == (
        "there is no study named 'search-robustnes' (did you mean 'search-robustness'?); "
        "there are search-robustness"
    )


def test_a_study_is_narrowed_to_parts_variants_and_seeds(study: Study) -> None:
    narrowed = narrow(study, ["bars"], ["plain"], (4,))
    assert [str(case) for case in narrowed.cases()] == ["bars plain seed 4"]
    assert narrow(study) == study
    # streets has no such variant, so nothing of it is left
    assert [part.name for part in narrow(study, variants=["plain"]).parts] == ["bars"]


def test_unknown_parts_and_variants_are_named_with_their_neighbours(study: Study) -> None:
    with pytest.raises(StudyError) as caught:
        narrow(study, ["streest"])
    assert str(caught.value) == (
        "there is no part named 'streest' (did you mean 'streets'?); 'small' has bars, streets"
    )
    with pytest.raises(StudyError) as caught:
        narrow(study, ["streets"], ["plain"])
    assert str(caught.value) == "there is no variant named 'plain'; streets has default"


def test_parts_that_need_data_are_set_apart(study: Study) -> None:
    kept, left_out = without_data(study)
    assert [part.name for part in kept.parts] == ["bars"]
    assert [part.name for part in left_out] == ["streets"]
