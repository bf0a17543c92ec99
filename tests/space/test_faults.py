"""What users read when a space does not fit: place, key, value, rule and fix in every message."""

import re
import tomllib
from pathlib import Path

import pytest
import tomli_w
from hypothesis import given, settings
from hypothesis import strategies as st

from dilsearch.errors import SpaceError
from dilsearch.space import SearchSpace

BASE = """
title = "A space"
default_profile = "quick"

[model]
name = "toy"
options = { width = 32 }

[[sites]]
select = "blocks.*.conv2"
granularity = "branch"
lower = 1
upper = 24
initial = 1.0

[gap]
policy = "enforce"

[data]
name = "thin_bars"
size_px = 96
bar_width_px = [6, 13]
noise = 0.0

[train]
batch_size = 8
learning_rate = 0.05

[search]
steps = 400

[retrain]
steps = 500

[control]
enabled = true

[profiles.quick]

[profiles.smoke.search]
steps = 20
"""

FOLDERS = """[data]
name = "folder_pairs"
class_names = ["road", "sky"]
size_px = [180, 240]
"""
_BARS = '[data]\nname = "thin_bars"\nsize_px = 96\nbar_width_px = [6, 13]\nnoise = 0.0\n'


def fault_of(tmp_path: Path, text: str, profile: str | None = None, *overrides: str) -> str:
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(SpaceError) as caught:
        SearchSpace.load(path, profile, overrides)
    return str(caught.value).removeprefix(str(tmp_path) + "/")


def test_the_base_has_no_fault(tmp_path):
    (tmp_path / "mine.toml").write_text(BASE)
    assert SearchSpace.load(tmp_path / "mine.toml").profile == "quick"


@pytest.mark.parametrize(
    ("before", "after", "fault"),
    [
        # Keys and sections
        ("policy =", "polcy =", "[gap] has no key 'polcy' (did you mean 'policy'?)"),
        ("enabled =", "wanted =", "[control] has no key 'wanted'; its keys are enabled, rate"),
        ("[search]", "[serch]", "there is no section [serch] (did you mean 'search'?)"),
        ("title =", "titel =", "the file has no key 'titel' (did you mean 'title'?)"),
        ("[search]\nsteps = 400", "", "there is no section [search]; add it"),
        (
            "batch_size = 8\n",
            "",
            "[train] has no 'batch_size' (images in one step); give a whole number of at least 1",
        ),
        # Types
        (
            "steps = 400",
            'steps = "many"',
            '[search] steps = "many" is not an integer; give a whole number of at least 1',
        ),
        (
            "steps = 400",
            "steps = 1.5",
            "[search] steps = 1.5 is not an integer; give a whole number of at least 1",
        ),
        (
            "steps = 400",
            "steps = true",
            "[search] steps = true is not an integer; give a whole number of at least 1",
        ),
        (
            "enabled = true",
            "enabled = 1",
            "[control] enabled = 1 is not true or false; give true or false",
        ),
        (
            "noise = 0.0",
            'noise = "loud"',
            '[data] noise = "loud" is not a number; give a number of at least 0',
        ),
        (
            "noise = 0.0",
            "noise = nan",
            "[data] noise = nan is not a finite number; give a number of at least 0",
        ),
        (
            'select = "blocks.*.conv2"',
            "select = 3",
            '[[sites]] 1: select = 3 is not a list; give a glob such as "body.*.conv2", '
            "or a list of globs",
        ),
        (
            "options = { width = 32 }",
            "options = { width = { x = 1 } }",
            "[model.options] width = a table is no value of an option; "
            "give a number, text, true, false or a list of these",
        ),
        # Limits
        (
            "steps = 400",
            "steps = 0",
            "[search] steps = 0 is below 1; give a whole number of at least 1",
        ),
        (
            "learning_rate = 0.05",
            "learning_rate = 0",
            "[train] learning_rate = 0 is not above 0; give a number above 0",
        ),
        (
            "batch_size = 8",
            "batch_size = 8\nmomentum = 1.0",
            "[train] momentum = 1.0 is not below 1; give a number of at least 0 and below 1",
        ),
        (
            'policy = "enforce"',
            'policy = "enforc"',
            '[gap] policy = "enforc" is not one of the choices (did you mean "enforce"?); '
            'give "enforce", "report" or "ignore"',
        ),
        (
            "[6, 13]",
            "[6]",
            "[data] bar_width_px = [6] has too few values; "
            "give a list of two whole numbers of at least 1",
        ),
        (
            "[6, 13]",
            "[6, 13, 20]",
            "[data] bar_width_px = [6, 13, 20] has too many values; "
            "give a list of two whole numbers of at least 1",
        ),
        (
            "[6, 13]",
            "[0, 13]",
            "[data] bar_width_px[0] = 0 is below 1; give a list of two whole numbers of at least 1",
        ),
        # Rules between values
        (
            "lower = 1",
            "lower = 30",
            "[[sites]] 1: upper = 24 is below lower = 30; "
            "raise upper or reduce lower until they are in order",
        ),
        (
            "initial = 1.0",
            "initial = 25",
            "[[sites]] 1: initial = 25 is outside the limits lower = 1 and upper = 24; "
            "give a number between them",
        ),
        (
            'granularity = "branch"',
            'granularity = "site"\nbranches = 2',
            '[[sites]] 1: branches = 2 has no meaning with granularity = "site"; '
            'leave branches out, or set granularity = "branch"',
        ),
        (
            "[6, 13]",
            "[13, 6]",
            "[data] bar_width_px = [13, 6] runs backwards; give the smaller value first",
        ),
        (
            "[6, 13]",
            "[6, 97]",
            "[data] bar_width_px = [6, 97] does not fit size_px = 96; "
            "give thinner bars or a larger image",
        ),
        (
            "size_px = 96",
            "size_px = 96\npatch_px = 49",
            "[data] patch_px = 49 reaches into the half that far accuracy is measured on "
            "(size_px = 96); give at most half the size",
        ),
        (
            "size_px = 96",
            'size_px = 96\npalette = ["#000000", "#ffffff"]',
            "[data] palette has 2 colours for classes = 3; "
            "give 5: background, bars, and one for each class",
        ),
        # Shapes of tables
        (
            "[[sites]]",
            "[sites]",
            "[sites] is not a list of tables; write [[sites]], with double brackets",
        ),
        ("[search]", "[[search]]", "[[search]] is a list; write [search], with single brackets"),
        (
            "options = { width = 32 }",
            "options = 3",
            "model.options = 3 is not a section; write [model.options] and its keys below it",
        ),
        # The data set
        (
            'name = "thin_bars"',
            'name = "thin_bar"',
            '[data] name = "thin_bar" is not one of the choices (did you mean "thin_bars"?); '
            'give "thin_bars", "long_memory", "folder_pairs" or "cityscapes"',
        ),
        (
            'name = "thin_bars"\n',
            "",
            """[data] has no 'name'; give "thin_bars", "long_memory", "folder_pairs" or """
            '"cityscapes"',
        ),
        (
            _BARS,
            FOLDERS + "ignore_index = 1\n",
            "[data] ignore_index = 1 is the class 'sky'; "
            "give a label value that is no class, such as 255",
        ),
        (
            _BARS,
            FOLDERS.replace('"sky"', '"road"'),
            "[data] class_names has 'road' 2 times; name each class once",
        ),
        (
            _BARS,
            FOLDERS + 'validation_split = "train"\n',
            '[data] validation_split = "train" is also the training split; '
            "score on images that are not trained on",
        ),
        (
            _BARS,
            FOLDERS + "scale = [2.0, 0.5]\n",
            "[data] scale = [2.0, 0.5] runs backwards; give the smaller value first",
        ),
        # Profiles
        (
            "[profiles.smoke.search]\nsteps = 20",
            "[profiles.smoke.search]\nstepz = 20",
            "[profiles.smoke.search] has no key 'stepz' (did you mean 'steps'?)",
        ),
        (
            "steps = 20",
            "steps = 0",
            "[profiles.smoke.search] steps = 0 is below 1; give a whole number of at least 1",
        ),
        (
            "[profiles.smoke.search]",
            "[profiles.smoke.serch]",
            "there is no section [profiles.smoke.serch] (did you mean 'search'?)",
        ),
        (
            "[profiles.smoke.search]",
            "[profiles.smoke]",
            "[profiles.smoke] holds sections only, and 'steps' is none; "
            "write [profiles.smoke.SECTION] and the keys below it",
        ),
        (
            "[profiles.smoke.search]\nsteps = 20",
            "[profiles.smoke]\nsearch = 20",
            "profiles.smoke.search = 20 is not a section; "
            "write [profiles.smoke.search] and its keys below it",
        ),
        (
            "[profiles.smoke.search]\nsteps = 20",
            "[[profiles.smoke.sites]]\nselect = 'blocks.*'\nupper = 0",
            "[[profiles.smoke.sites]] 1: upper = 0 is below 1; give a whole number of at least 1",
        ),
        (
            'default_profile = "quick"',
            'default_profile = "quik"',
            "default_profile = \"quik\" is no profile (did you mean 'quick'?); "
            "the file has quick, smoke",
        ),
        (
            'default_profile = "quick"\n',
            "",
            "the file has no 'default_profile'; name one of quick, smoke",
        ),
        (
            "[profiles.quick]",
            "[profiles]\nquick = 3",
            "profiles are tables; write [profiles.NAME.SECTION] and the keys below it",
        ),
        # TOML itself
        ("noise = 0.0", "noise = ", "line 23, column 9: invalid value; correct the TOML there"),
        (
            "steps = 400",
            "steps = 400\nsteps = 3",
            "line 31, column 10: cannot overwrite a value; correct the TOML there",
        ),
    ],
)
def test_one_fault_one_sentence(tmp_path, before, after, fault):
    assert before in BASE
    assert fault_of(tmp_path, BASE.replace(before, after, 1)) == f"mine.toml: {fault}"


@pytest.mark.parametrize(
    ("override", "fault"),
    [
        (
            "data.size_px=many",
            'size_px = "many" is not an integer; give a whole number of at least 16',
        ),
        ("data.sizepx=128", "[data] has no key 'sizepx' (did you mean 'size_px'?)"),
        ("dat.size_px=128", "there is no section [dat] (did you mean 'data'?)"),
        (
            "model.name=own.networks:make",
            'name = "own.networks:make" would import code, which no file may ask for; set name = '
            '"given", and give the command --model own.networks:make',
        ),
        (
            "model.factory=own:make",
            "[model] has no key 'factory'; its keys are name, branches, options",
        ),
        (
            "title=x",
            "there is no section [title]; there are "
            "model, sites, gap, train, search, retrain, control, field, sweep, data",
        ),
        ("data.size_px", "write it as key=value, such as train.batch_size=8"),
        ("data..x=3", "write it as key=value, such as train.batch_size=8"),
        ("data=3", "name a key of the section, such as train.batch_size=8"),
        (
            "sites.upper=3",
            "[[sites]] is a list; give a number up to 1 and a key, such as sites.1.upper=30",
        ),
        (
            "sites.2.upper=3",
            "[[sites]] is a list; give a number up to 1 and a key, such as sites.1.upper=30",
        ),
        ("sites.1.uper=3", "[[sites]] 1 has no key 'uper' (did you mean 'upper'?)"),
        ("sites.1.upper=0", "upper = 0 is below 1; give a whole number of at least 1"),
        (
            "data.bar_width_px=[1",
            "the value is not TOML (end of document: unclosed array); "
            "check its quotes and brackets",
        ),
        ("model.options=3", "model.options is a section; set a key of it, model.options.KEY=value"),
        (
            "search.steps.x=3",
            "steps = a table is not an integer; give a whole number of at least 1",
        ),
        (
            "data.name=cityscape",
            'name = "cityscape" is not one of the choices (did you mean "cityscapes"?); '
            'give "thin_bars", "long_memory", "folder_pairs" or "cityscapes"',
        ),
        (
            "train.warmup_steps=450",
            "warmup_steps = 450 leaves no step at the full learning rate of search.steps = 400; "
            "give fewer",
        ),
    ],
)
def test_a_fault_of_an_override_names_the_override(tmp_path, override, fault):
    assert fault_of(tmp_path, BASE, None, override) == f"mine.toml: --set {override}: {fault}"


def test_all_faults_are_told_at_once(tmp_path):
    text = BASE.replace("policy =", "polcy =").replace("upper = 24", "upper = 0")
    text = text.replace("steps = 20", 'steps = "few"')
    assert fault_of(tmp_path, text, "quik", "train.batch_size=0", "gap.polisy=x").split("\n") == [
        "mine.toml, 4 faults:",
        "  - there is no profile 'quik' (did you mean 'quick'?); the file has quick, smoke",
        "  - [[sites]] 1: upper = 0 is below 1; give a whole number of at least 1",
        "  - [gap] has no key 'polcy' (did you mean 'policy'?)",
        '  - [profiles.smoke.search] steps = "few" is not an integer; '
        "give a whole number of at least 1",
    ]
    chosen = fault_of(tmp_path, text, "quick", "train.batch_size=0", "gap.polisy=x")
    assert "--set train.batch_size=0: batch_size = 0 is below 1" in chosen
    assert "--set gap.polisy=x: [gap] has no key 'polisy' (did you mean 'policy'?)" in chosen


def test_a_wrong_value_is_told_even_where_every_profile_replaces_it(tmp_path):
    text = BASE.replace("steps = 400", "steps = 0").replace(
        "[profiles.quick]", "[profiles.quick.search]\nsteps = 30"
    )
    assert fault_of(tmp_path, text) == (
        "mine.toml: [search] steps = 0 is below 1; give a whole number of at least 1"
    )


def test_values_may_be_left_to_the_profiles(tmp_path):
    text = BASE.replace("[search]\nsteps = 400", "").replace(
        "[profiles.quick]", "[profiles.quick.search]\nsteps = 30"
    )
    (tmp_path / "mine.toml").write_text(text)
    assert SearchSpace.load(tmp_path / "mine.toml").search.steps == 30


def test_a_broken_shipped_space_would_be_named_by_its_file_alone(monkeypatch, tmp_path):
    (tmp_path / "mine.toml").write_text(BASE.replace("policy =", "polcy ="))
    monkeypatch.setattr("dilsearch.space.locate.shipped_folder", lambda: tmp_path)
    with pytest.raises(SpaceError, match=r"^mine\.toml: \[gap\] has no key 'polcy'"):
        SearchSpace.load("mine")


def test_text_that_is_not_utf8_is_told(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_bytes(b'title = "caf\xe9"\n')
    with pytest.raises(SpaceError, match=r"mine\.toml: byte 12 is not UTF-8; save the file as"):
        SearchSpace.load(path)


def test_an_empty_file_lists_what_is_needed(tmp_path):
    fault = fault_of(tmp_path, "")
    assert fault.startswith("mine.toml, 7 faults:\n  - the file has no 'title'")
    assert re.findall(r"there is no section \[+(\w+)\]", fault) == [
        "model",
        "sites",
        "data",
        "train",
        "search",
        "retrain",
    ]


_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-5, 500)
    | st.floats()
    | st.text(max_size=5)
    | st.dates()
    | st.sampled_from(["toy", "quick", "thin_bars", "cityscapes", "branch", "enforce"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=4,
)
_DOCUMENT_PATHS = [
    *[(section,) for section in ("title", "default_profile", "profile", "name", "profiles")],
    *[("model", key) for key in ("name", "branches", "options")],
    ("model", "options", "width"),
    *[(section,) for section in ("model", "sites", "gap", "data", "train", "search", "surprise")],
    *[("sites", 0, key) for key in ("select", "granularity", "lower", "upper", "initial", "more")],
    *[("data", key) for key in ("name", "size_px", "bar_width_px", "palette", "scale")],
    *[("train", key) for key in ("batch_size", "loss", "warmup_steps", "momentum", "optimizer")],
    *[("profiles", key) for key in ("quick", "smoke", "new")],
    ("profiles", "smoke", "data"),
    ("profiles", "smoke", "search", "steps"),
]


def _without_none(value):
    if isinstance(value, dict):
        return {key: _without_none(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [_without_none(item) for item in value if item is not None]
    return value


def _changed(document, path, value):
    """The document with a value put at, or taken from, a path; as it is where that cannot be."""
    *tables, key = path
    node = document
    for step in tables:
        try:
            node = node[step]
        except (KeyError, IndexError, TypeError):
            return document
    if isinstance(node, dict):
        node.pop(key, None)
        if value is not None:
            node[key] = _without_none(value)
    return document


@settings(deadline=None, max_examples=100)
@given(
    changes=st.lists(st.tuples(st.sampled_from(_DOCUMENT_PATHS), _VALUES), min_size=1, max_size=3),
    overrides=st.lists(
        st.tuples(st.sampled_from(_DOCUMENT_PATHS), st.text(max_size=8)).map(
            lambda pair: ".".join(map(str, pair[0])) + "=" + pair[1]
        ),
        max_size=2,
    ),
)
def test_whatever_a_file_holds_it_loads_or_is_refused_in_words(
    tmp_path_factory, changes, overrides
):
    document = tomllib.loads(BASE)
    for path, value in changes:
        document = _changed(document, path, value)
    path = tmp_path_factory.getbasetemp() / "fuzzed.toml"
    path.write_text(tomli_w.dumps(document), encoding="utf-8")
    fault = None
    try:
        SearchSpace.load(path, overrides=overrides)
    except SpaceError as error:
        fault = str(error)
    assert fault is None or fault.startswith(str(path))
    assert "does not fit (" not in (fault or "")
