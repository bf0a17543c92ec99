"""The sections by themselves."""

import pytest
from pydantic import ValidationError

from dilsearch.errors import SpaceError
from dilsearch.sites import PerBranch, PerChannel, PerSite
from dilsearch.space import FolderPairsData, SitesSection, ThinBarsData
from dilsearch.space.data_sections import CITYSCAPES_CLASSES, DATA_SECTIONS
from dilsearch.space.sections import ModelSection, RetrainSection, SearchSection
from dilsearch.space.space import SearchSpace


def test_limits_become_granularities():
    assert SitesSection(select=("*",), upper=4).to_granularity(9) == PerBranch(1, 4, 2, 1.0)
    four = SitesSection(select=("*",), upper=4, branches=4, initial=2.0)
    assert four.to_granularity(9) == PerBranch(1, 4, 4, 2.0)
    site = SitesSection(select=("*",), granularity="site", lower=2, upper=4, initial=2.5)
    assert site.to_granularity(9) == PerSite(2, 4, 2.5)


def test_an_upper_limit_left_open_is_the_one_that_is_given():
    section = SitesSection(select=("*",), granularity="site", lower=3, initial=5.0)
    assert section.to_granularity(9) == PerSite(3, 9, 5.0)
    # The control: one that stands in the section is kept.
    assert SitesSection(select=("*",), upper=4).to_granularity(9).upper == 4


@pytest.mark.parametrize("granularity", ["site", "branch"])
@pytest.mark.parametrize(
    ("initial", "upper", "begin"), [(5.0, 4, 5), (5.5, 5, 5.5), (5.0, 1, 5), ("uniform", 2, 3)]
)
def test_an_upper_limit_left_open_that_is_too_low_is_refused(granularity, initial, upper, begin):
    section = SitesSection(select=("*",), granularity=granularity, lower=3, initial=initial)
    text = (
        f"upper is left open and would be {upper}, the rate at which a site spans the needed field "
        f"by itself, below {begin:g} where rates begin; give upper"
    )
    with pytest.raises(SpaceError) as caught:
        section.to_granularity(upper)
    assert str(caught.value) == text
    # The control: one that lies on the start is not too low, nor does one that is given matter.
    assert section.to_granularity(6).upper == 6
    assert section.model_copy(update={"upper": 6}).to_granularity(upper).upper == 6


@pytest.mark.parametrize(
    ("initial", "begin"), [("uniform", "uniform"), ("present", None), ("bound", 2.0), ((3,), 2.0)]
)
def test_a_start_in_words_is_left_to_relax_or_begins_as_the_lower_limit(initial, begin):
    section = SitesSection(select=("*",), lower=2, initial=initial)
    assert section.to_granularity(9) == PerBranch(2, 9, 2, begin)


def test_every_granularity_has_its_axes_and_its_direction():
    channel = SitesSection(select=("*",), granularity="channel", upper=4, separate_axes=True)
    assert channel.to_granularity(9) == PerChannel(1, 4, 1.0, separate_axes=True)
    past = SitesSection(select=("*",), granularity="site", upper=4, causal=True)
    assert past.to_granularity(9) == PerSite(1, 4, 1.0, causal=True)
    branch = SitesSection(select=("*",), branches=3, upper=4, separate_axes=True)
    assert branch.to_granularity(9) == PerBranch(1, 4, 3, 1.0, separate_axes=True)


def test_what_is_off_is_not_written_so_that_older_spaces_stay_the_same():
    plain = SitesSection(select=("*",)).model_dump(exclude_none=True)
    assert plain.keys() == {"select", "granularity", "lower", "initial"}
    special = SitesSection(select=("*",), causal=True).model_dump(exclude_none=True)
    assert special["causal"] is True  # the control


@pytest.mark.parametrize(
    ("keys", "text"),
    [
        ({"granularity": "channel", "branches": 2}, 'no meaning with granularity = "channel"'),
        ({"granularity": "site", "branches": 2}, 'no meaning with granularity = "site"'),
        (
            {"causal": True, "separate_axes": True},
            "separate_axes = true has no meaning with causal = true, since a causal convolution "
            "has one axis",
        ),
    ],
)
def test_combinations_without_a_meaning_are_refused(keys, text):
    with pytest.raises(ValidationError, match=text):
        SitesSection(select=("*",), **keys)
    for key in keys:  # the control: each alone has one, but for branches at its default
        alone = {name: value for name, value in keys.items() if name != key}
        assert SitesSection(select=("*",), **alone)


def test_a_file_names_no_code():
    with pytest.raises(ValidationError, match="would import code, which no file may ask for; set"):
        ModelSection(name="torchvision.models:resnet18")
    with pytest.raises(ValidationError, match="give those of your own with --kwargs"):
        ModelSection(name="given", options={"width": 3})
    assert ModelSection(name="given").is_given
    assert not ModelSection(name="toy", options={"width": 3}).is_given  # the control


def test_a_start_is_only_held_to_limits_that_are_known():
    assert SitesSection(select=("*",), initial=500.0).initial == 500
    with pytest.raises(ValidationError, match=r"initial = 500 is outside .* lower = 1 and upper"):
        SitesSection(select=("*",), initial=500.0, upper=24)
    with pytest.raises(ValidationError, match=r"initial = 1 is outside the limits lower = 2; give"):
        SitesSection(select=("*",), initial=1.0, lower=2)


@pytest.mark.parametrize("section", [SearchSection, RetrainSection])
def test_a_length_is_given_in_steps_or_for_each_pixel(section):
    assert section(steps=5).steps == 5
    assert section(steps_per_px=0.5).steps is None
    assert section(steps=5, steps_per_px=0.5).steps == 5
    text = r"there is neither steps nor steps_per_px; give the number of steps, or how many for"
    for values in ({}, {"base_steps": 7}):
        with pytest.raises(ValidationError, match=text):
            section(**values)


def test_sgd_for_the_rates_needs_a_learning_rate():
    text = r'rate_optimizer = "sgd" needs a rate_learning_rate: the one that follows from limits'
    with pytest.raises(ValidationError, match=text):
        SearchSection(steps=5, rate_optimizer="sgd")
    section = SearchSection(steps=5, rate_optimizer="sgd", rate_learning_rate=2.0)
    assert section.rate_optimizer == "sgd"


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
