"""The sections by themselves."""

import pytest
from pydantic import ValidationError

from dilsearch.sites import PerBranch, PerSite
from dilsearch.space import FolderPairsData, SitesSection, ThinBarsData
from dilsearch.space.sections import CITYSCAPES_CLASSES, DATA_SECTIONS
from dilsearch.space.space import SearchSpace


def test_limits_become_granularities():
    assert SitesSection(select=("*",), upper=4).to_granularity() == PerBranch(1, 4, 2, 1.0)
    four = SitesSection(select=("*",), upper=4, branches=4, initial=2.0)
    assert four.to_granularity() == PerBranch(1, 4, 4, 2.0)
    site = SitesSection(select=("*",), granularity="site", lower=2, upper=4, initial=2.5)
    assert site.to_granularity() == PerSite(2, 4, 2.5)


def test_one_glob_needs_no_list():
    assert SitesSection(select="a.*", upper=4).select == ("a.*",)


def test_classes_include_the_background():
    assert ThinBarsData(name="thin_bars", classes=4).class_names == (
        "background",
        "class 1",
        "class 2",
        "class 3",
        "class 4",
    )


def test_cityscapes_has_nineteen_distinct_classes():
    assert len(set(CITYSCAPES_CLASSES)) == 19


def test_the_training_image_is_the_crop_where_there_is_one():
    def data(**more):
        return FolderPairsData(
            name="folder_pairs", class_names=("a", "b"), size_px=(90, 120), **more
        )

    assert data().image_px == (90, 120)
    assert data(crop_px=(64, 64)).image_px == (64, 64)


def test_rules_hold_in_python_too():
    with pytest.raises(ValidationError, match=r"upper = 2 is below lower = 3"):
        SitesSection(select=("*",), lower=3, upper=2)


def test_every_data_set_is_found_by_its_own_name():
    for name, section in DATA_SECTIONS.items():
        assert section.model_json_schema()["properties"]["name"]["const"] == name


def test_every_key_of_every_section_is_described():
    schema = SearchSpace.model_json_schema()
    described = 0
    for section in schema["$defs"].values():
        for name, key in section["properties"].items():
            assert key.get("description"), (section["title"], name)
            described += 1
    assert described > 40
