"""Loading spaces: profiles, overrides, the way to a resolved file and back."""

import math
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dilsearch.errors import SpaceError
from dilsearch.sites import PerBranch, PerSite
from dilsearch.space import CityscapesData, FolderPairsData, SearchSpace, ThinBarsData

MINIMAL = """
title = "A space"

[model]
name = "toy"

[[sites]]
select = "blocks.*.conv2"
upper = 24

[data]
name = "thin_bars"

[train]
batch_size = 8
learning_rate = 0.05

[search]
steps = 400

[retrain]
steps = 500
"""

PROFILES = """
[profiles.quick]

[profiles.smoke.search]
steps = 20

[profiles.wide]
train = { batch_size = 2 }

[[profiles.wide.sites]]
select = "blocks.0.conv2"
granularity = "site"
upper = 3

[profiles.street.data]
name = "folder_pairs"
class_names = ["road", "sky"]
size_px = [180, 240]
crop_px = [90, 120]
"""


@pytest.fixture
def minimal(tmp_path: Path) -> Path:
    path = tmp_path / "mine.toml"
    path.write_text(MINIMAL)
    return path


@pytest.fixture
def with_profiles(tmp_path: Path) -> Path:
    path = tmp_path / "mine.toml"
    path.write_text(f'default_profile = "quick"\n{MINIMAL}{PROFILES}')
    return path


def test_a_minimal_file_is_completed_by_defaults(minimal):
    space = SearchSpace.load(minimal)
    assert (space.name, space.title, space.profile) == ("mine", "A space", None)
    assert space.gap.policy == "enforce"
    assert space.control.enabled
    assert isinstance(space.data, ThinBarsData)
    assert space.data.bar_width_px == (6, 13)
    (sites,) = space.sites
    assert sites.select == ("blocks.*.conv2",)
    assert sites.to_granularity(99) == PerBranch(1, 24, 2, 1.0)


def test_the_default_profile_is_taken_unless_another_is_named(with_profiles):
    assert SearchSpace.load(with_profiles).profile == "quick"
    assert SearchSpace.load(with_profiles).search.steps == 400
    smoke = SearchSpace.load(with_profiles, profile="smoke")
    assert (smoke.profile, smoke.search.steps, smoke.retrain.steps) == ("smoke", 20, 500)


def test_a_profile_adds_to_tables_and_replaces_lists(with_profiles):
    wide = SearchSpace.load(with_profiles, profile="wide")
    assert (wide.train.batch_size, wide.train.learning_rate) == (2, 0.05)
    (sites,) = wide.sites
    assert sites.select == ("blocks.0.conv2",)
    assert sites.to_granularity(99) == PerSite(1, 3, 1.0)


def test_another_data_set_in_a_profile_starts_from_nothing(with_profiles):
    data = SearchSpace.load(with_profiles, profile="street").data
    assert isinstance(data, FolderPairsData)
    assert (data.image_px, data.ignore_index) == ((90, 120), 255)


def test_overrides_come_last_and_the_last_one_wins(with_profiles):
    space = SearchSpace.load(
        with_profiles,
        profile="smoke",
        overrides=["search.steps=7", "search.steps=9", "gap.policy=report", "sites.1.upper=30"],
    )
    assert space.search.steps == 9
    assert space.gap.policy == "report"
    assert space.sites[0].upper == 30


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("data.size_px = 128", 128),
        ("data.noise=0.5", 0.5),
        ("data.noise=1", 1.0),
        ("data.bar_width_px=[3, 5]", (3, 5)),
        ('data.palette=["#000000", "#ffffff", "#ff0000", "#00ff00", "#0000ff"]', 5),
    ],
)
def test_override_values_are_toml(minimal, override, expected):
    key = override.split("=")[0].strip().removeprefix("data.")
    value = getattr(SearchSpace.load(minimal, overrides=[override]).data, key)
    assert (len(value) if key == "palette" else value) == expected


def test_a_new_name_empties_its_section_whatever_the_order(minimal):
    settings_ = ["data.size_px=[64, 128]", "data.name=cityscapes"]
    for overrides in (settings_, settings_[::-1]):
        data = SearchSpace.load(minimal, overrides=overrides).data
        assert isinstance(data, CityscapesData)
        assert data.size_px == (64, 128)


def test_options_of_the_network_are_kept_as_written(minimal):
    overrides = ["model.options.width=16", "model.options.kind=wide", "model.options.scale=1.0"]
    space = SearchSpace.load(minimal, overrides=overrides)
    assert dict(space.model.options) == {"width": 16, "kind": "wide", "scale": 1.0}
    assert isinstance(space.model.options["scale"], float)


def test_the_resolved_file_gives_the_same_space_back(with_profiles, tmp_path):
    resolved = tmp_path / "run" / "space.toml"
    resolved.parent.mkdir()
    for profile in ("quick", "smoke", "wide", "street"):
        space = SearchSpace.load(
            with_profiles, profile, ["data.flip=false"] * (profile == "street")
        )
        resolved.write_text(space.to_toml())
        again = SearchSpace.load(resolved)
        assert again == space
        assert (again.name, again.profile) == ("mine", profile)
        assert again.to_toml() == space.to_toml()
        assert SearchSpace.load(resolved, profile=profile) == space
        assert "profiles" not in space.to_toml()


def test_a_resolved_file_has_no_other_profile(with_profiles, tmp_path):
    resolved = tmp_path / "space.toml"
    resolved.write_text(SearchSpace.load(with_profiles, "smoke").to_toml())
    with pytest.raises(
        SpaceError, match=r"no profile 'quick': the file is resolved with .*'smoke'"
    ):
        SearchSpace.load(resolved, profile="quick")


@settings(deadline=None, max_examples=50)
@given(
    st.fixed_dictionaries(
        {
            "data.size_px": st.integers(16, 2000),
            "data.noise": st.floats(0, 10),
            "train.learning_rate": st.floats(1e-12, 1e6),
            "train.momentum": st.floats(0, 1, exclude_max=True),
            "search.steps": st.integers(1, 10**9),
            "gap.policy": st.sampled_from(["enforce", "report", "ignore"]),
            "control.enabled": st.sampled_from(["true", "false"]),
            "sites.1.upper": st.integers(1, 500),
        }
    )
)
def test_the_round_trip_is_exact_for_any_values(tmp_path_factory, values):
    folder = tmp_path_factory.mktemp("space")
    (folder / "mine.toml").write_text(MINIMAL)
    space = SearchSpace.load(
        folder / "mine.toml", overrides=[f"{key}={value}" for key, value in values.items()]
    )
    (folder / "space.toml").write_text(space.to_toml())
    assert SearchSpace.load(folder / "space.toml") == space
    assert space.train.learning_rate == values["train.learning_rate"]


def test_the_round_trip_keeps_odd_texts(minimal):
    title = 'quote " backslash \\ tab \t newline \n bell \x07 é 😀'
    space = SearchSpace.load(minimal)
    space = SearchSpace.model_validate({**dict(space), "title": title})
    minimal.write_text(space.to_toml(), encoding="utf-8")
    assert SearchSpace.load(minimal).title == title


def test_equal_values_have_equal_hashes_whatever_they_are_called(minimal, with_profiles):
    space = SearchSpace.load(minimal)
    assert SearchSpace.load(with_profiles).hash == space.hash
    renamed = minimal.with_name("other.toml")
    renamed.write_text(MINIMAL.replace("A space", "Another title"))
    assert SearchSpace.load(renamed).hash == space.hash
    # The control: a value that counts changes it.
    assert SearchSpace.load(minimal, overrides=["search.steps=401"]).hash != space.hash


@pytest.mark.parametrize(
    ("overrides", "needed"),
    [
        ([], 191),  # 2N - 1 at 96 px, RegSeg Sec. 3.2
        (["data.size_px=1024"], 2047),
        (["data.name=cityscapes"], 4095),
        (["data.name=cityscapes", "data.crop_px=[768, 512]"], 1535),
        (["field.needed_px=100"], 100),
    ],
)
def test_the_needed_field_follows_the_training_image(minimal, overrides, needed):
    assert SearchSpace.load(minimal, overrides=overrides).needed_px == needed


def test_a_space_cannot_be_changed(minimal):
    space = SearchSpace.load(minimal)
    with pytest.raises(ValueError, match="frozen"):
        space.train.batch_size = 3


def test_every_value_is_described(minimal):
    described = {setting.key: setting for setting in SearchSpace.load(minimal).describe()}
    assert described["data.size_px"].value == 96
    assert described["sites.1.upper"].value == 24
    assert all(setting.description for setting in described.values())
    for name, field in SearchSpace.model_fields.items():
        if name in ("name", "title", "profile"):
            assert field.description


def test_files_written_elsewhere_are_read(minimal):
    minimal.write_bytes(b"\xef\xbb\xbf" + MINIMAL.replace("\n", "\r\n").encode())
    assert SearchSpace.load(str(minimal)).search.steps == 400


def test_numbers_keep_their_kind(minimal):
    space = SearchSpace.load(minimal, overrides=["train.learning_rate=1"])
    assert isinstance(space.train.learning_rate, float)
    assert math.isclose(space.train.learning_rate, 1.0)


def test_steps_follow_from_the_needed_field_unless_they_are_given(minimal):
    minimal.write_text(
        MINIMAL.replace("steps = 400", "steps_per_px = 2.0").replace(
            "steps = 500", "base_steps = 200\nsteps_per_px = 1.5"
        )
    )
    space = SearchSpace.load(minimal)
    assert (space.needed_px, space.search_steps, space.retrain_steps) == (191, 382, 486)
    assert (space.search.steps, space.retrain.steps) == (None, None)
    larger = SearchSpace.load(minimal, overrides=["data.size_px=256"])
    assert (larger.search_steps, larger.retrain_steps) == (1022, 966)
    asked = SearchSpace.load(minimal, overrides=["field.needed_px=100"])
    assert (asked.search_steps, asked.retrain_steps) == (200, 350)
    short = SearchSpace.load(minimal, overrides=["search.steps_per_px=0.001"])
    assert short.search_steps == 1
    # The control: a number of steps wins over both, whatever the size.
    given = SearchSpace.load(minimal, overrides=["search.steps=7", "data.size_px=256"])
    assert (given.search_steps, given.retrain_steps) == (7, 966)


def test_steps_that_are_given_are_taken(minimal):
    space = SearchSpace.load(minimal)
    assert (space.search_steps, space.retrain_steps) == (400, 500)


def test_a_length_that_follows_is_held_against_the_warm_up(minimal):
    minimal.write_text(MINIMAL.replace("steps = 400", "steps_per_px = 0.1"))
    assert SearchSpace.load(minimal, overrides=["train.warmup_steps=18"]).search_steps == 19
    with pytest.raises(SpaceError, match=r"warmup_steps = 19 leaves no step .* search.steps = 19"):
        SearchSpace.load(minimal, overrides=["train.warmup_steps=19"])


@pytest.mark.parametrize("section", ["search", "retrain"])
def test_no_length_at_all_is_told(minimal, section):
    text = MINIMAL.replace("steps = 400" if section == "search" else "steps = 500", "")
    minimal.write_text(text)
    with pytest.raises(SpaceError, match="there is neither steps nor steps_per_px; give the num"):
        SearchSpace.load(minimal)


def test_starting_rates_are_numbers_words_or_a_schedule(minimal):
    for text, value in (
        ("2.5", 2.5),
        ("uniform", "uniform"),
        ("bound", "bound"),
        ("present", "present"),
        ("published:exp48", "published:exp48"),
        ("[1, [2, 3]]", (1, (2, 3))),
    ):
        space = SearchSpace.load(minimal, overrides=[f"sites.1.initial={text}"])
        assert space.sites[0].initial == value
        minimal.with_name("again.toml").write_text(space.to_toml())
        assert SearchSpace.load(minimal.with_name("again.toml")) == space
    for text in ("middle", "0"):
        with pytest.raises(SpaceError) as caught:
            SearchSpace.load(minimal, overrides=[f"sites.1.initial={text}"])
        shown = '"middle"' if text == "middle" else "0"
        assert str(caught.value).endswith(
            f"mine.toml: --set sites.1.initial={text}: initial = {shown} is not possible; "
            'give a number above 0, "present", "uniform", "bound", "published:NAME", or a list '
            "with an entry for each site"
        )


def test_the_control_may_have_a_schedule(minimal):
    for text, value in (
        ("3", 3),
        ("present", "present"),
        ("[1, 2, 3]", (1, 2, 3)),
        ("[[1, 2], [3, 4], 5]", ((1, 2), (3, 4), 5)),
    ):
        space = SearchSpace.load(minimal, overrides=[f"control.rate={text}"])
        assert space.control.rate == value
        minimal.with_name("again.toml").write_text(space.to_toml())
        assert SearchSpace.load(minimal.with_name("again.toml")) == space
    for text, shown in (
        ("0", "0"),
        ("fast", '"fast"'),
        ("[1, 0]", "[1, 0]"),
        ("[[1, 1.5]]", "[[1, 1.5]]"),
    ):
        with pytest.raises(SpaceError) as caught:
            SearchSpace.load(minimal, overrides=[f"control.rate={text}"])
        assert str(caught.value).endswith(
            f"mine.toml: --set control.rate={text}: rate = {shown} is not possible; "
            'give a rate of at least 1, "present", "published:NAME", or a list with an entry for '
            "each site"
        )


def test_sites_of_the_command_line_take_the_place_of_the_files(minimal):
    space = SearchSpace.load(minimal, sites=["layer*", '{select = "a.*", granularity = "channel"}'])
    first, second = space.sites
    assert (first.select, first.granularity, first.initial) == (("layer*",), "site", "present")
    assert (second.select, second.granularity, second.initial) == (("a.*",), "channel", "present")
    assert {section.upper for section in space.sites} == {None}
    # a glob is short for a table, and settings come later
    table = SearchSpace.load(minimal, sites=['{select = "layer*"}'])
    assert table.sites == (first,)
    assert SearchSpace.load(minimal, None, ["sites.1.upper=3"], ["layer*"]).sites[0].upper == 3
    minimal.with_name("again.toml").write_text(space.to_toml())
    assert SearchSpace.load(minimal.with_name("again.toml")) == space
    assert SearchSpace.load(minimal).sites != space.sites  # the control


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("{select = ", "it is not TOML (end of document: invalid value); write it as in {select"),
        ('{select = "a"}\nupper = 3', "it is not TOML (there is more than one table); write it"),
        ("select = 'a'", "it is neither a glob nor a table in braces; write it as in {select = "),
        ("{lower = 2}", "[[sites]] 1 has no 'select' (globs on module paths; every convolution"),
        ('{select = "a", upper = 0}', "upper = 0 is below 1; give a whole number of at least 1"),
        ('{select = "a", uper = 3}', "[[sites]] 1 has no key 'uper' (did you mean 'upper'?)"),
        ('{select = "a", branches = 2}', 'branches = 2 has no meaning with granularity = "site"'),
        (
            '{select = "a", granularity = "chanel"}',
            'granularity = "chanel" is not one of the choices (did you mean "channel"?)',
        ),
        ("", 'select[0] = "" is empty; give a glob such as "body.*.conv2", or a list of globs'),
    ],
)
def test_a_fault_of_such_sites_names_them(minimal, text, fault):
    with pytest.raises(SpaceError) as caught:
        SearchSpace.load(minimal, sites=[text])
    assert f"mine.toml: --sites {text}: {fault}" in str(caught.value)


def test_sites_are_laid_over_the_profile_too(with_profiles):
    space = SearchSpace.load(with_profiles, sites=["layer*"])
    assert [section.select for section in space.sites] == [("layer*",)]
