"""Finding spaces by name and by path."""

import pytest

from dilsearch.errors import SpaceError
from dilsearch.space import SearchSpace
from dilsearch.space.locate import closest, locate


def test_a_bare_word_is_a_name_and_all_else_a_path(tmp_path):
    assert locate("toy").label == "toy.toml"
    for text in (f"{tmp_path}/toy", "toy.toml", str(tmp_path / "toy.toml")):
        assert locate(text).label == text
    assert locate(tmp_path / "toy").path == tmp_path / "toy"


@pytest.mark.parametrize(
    ("name", "hint"), [("toi", r" \(did you mean 'toy'\?\)"), ("nonsense", "")]
)
def test_an_unknown_name_lists_the_known_ones(name, hint):
    with pytest.raises(SpaceError, match=rf"no search space named '{name}'{hint}\. Use one of .*"):
        SearchSpace.load(name)


def test_a_missing_file_is_told(tmp_path):
    with pytest.raises(SpaceError, match=r"cannot read search space .*x\.toml: No such file"):
        SearchSpace.load(tmp_path / "x.toml")


def test_a_folder_is_no_space(tmp_path):
    with pytest.raises(SpaceError, match="Is a directory"):
        SearchSpace.load(tmp_path)


def test_only_near_words_are_suggested():
    assert closest("polcy", ["policy", "profile"]) == "policy"
    assert closest("title", ["sites", "data"]) is None
