"""The spaces that ship: sound in every profile, found by name from a checkout and from a wheel."""

import os
import subprocess
import sys
import zipfile
from fnmatch import fnmatchcase
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dilsearch.baselines.grid import grid_of
from dilsearch.space import SearchSpace, list_spaces
from dilsearch.space.locate import shipped_folder

ROOT = Path(__file__).resolve().parents[1]
NAMES = ("long_memory", "regseg_camvid", "regseg_cityscapes", "toy")
SITES = {"long_memory": 6, "regseg_camvid": 13, "regseg_cityscapes": 13, "toy": 5}
EVERY = [(entry.name, profile) for entry in list_spaces() for profile in entry.profiles]


def test_the_list_is_complete():
    entries = list_spaces()
    assert tuple(entry.name for entry in entries) == NAMES
    for entry in entries:
        assert entry.title
        assert entry.profiles == ("smoke", "quick", "full")
        assert entry.default_profile == "quick"


@pytest.mark.parametrize(("name", "profile"), EVERY)
def test_every_profile_resolves_and_comes_back(name, profile, tmp_path):
    space = SearchSpace.load(name, profile)
    assert (space.name, space.profile) == (name, profile)
    (tmp_path / "space.toml").write_text(space.to_toml(), encoding="utf-8")
    assert SearchSpace.load(tmp_path / "space.toml") == space


@pytest.mark.parametrize(("name", "profile"), EVERY)
def test_every_search_starts_from_rate_one_under_the_bound(name, profile):
    space = SearchSpace.load(name, profile)
    assert {section.initial for section in space.sites} == {1.0}
    assert {section.lower for section in space.sites} == {1}
    assert space.gap.policy == "enforce"
    assert space.control.enabled
    assert space.control.rate == 1


@pytest.mark.parametrize(("name", "profile"), EVERY)
def test_the_network_is_built_and_its_sites_are_found(name, profile):
    from dilsearch.models import build_model
    from dilsearch.models.registry import searchable_blocks

    space = SearchSpace.load(name, profile)
    options = dict(space.model.options)
    blocks = searchable_blocks(space.model.name, **options)
    model = build_model(
        space.model.name,
        num_classes=len(space.data.class_names),
        rates=[[1] * space.model.branches] * blocks,
        **options,
    )
    modules = dict(model.named_modules())
    matched = [
        path
        for path in modules
        if any(fnmatchcase(path, glob) for section in space.sites for glob in section.select)
    ]
    deeper = (name, profile) == ("long_memory", "full")
    assert len(matched) == blocks == SITES[name] + deeper
    assert all(path.endswith(".conv" if name == "long_memory" else ".conv2") for path in matched)


def _largest_field(space: SearchSpace) -> int:
    """Field of the toy when every rate grows to its limit and its bound: r <= k / s, s = 4.

    A limit that is left open is the rate at which two taps' distance spans the needed field.
    """
    field_px = 7
    upper = space.sites[0].upper or -(-space.needed_px // 8)
    for _ in range(5):
        field_px += 8 * min(upper, field_px // 4)
    return field_px


@pytest.mark.parametrize("profile", ["smoke", "quick", "full"])
def test_the_toys_limits_leave_room_for_the_field_it_needs(profile):
    space = SearchSpace.load("toy", profile)
    assert _largest_field(space) >= space.needed_px
    # The control: limits of 4 would not.
    small = SearchSpace.load("toy", profile, ["sites.1.upper=4"])
    assert _largest_field(small) < small.needed_px


@settings(deadline=None, max_examples=20)
@given(st.integers(64, 255))
def test_another_size_of_the_toy_takes_one_setting(size_px):
    space = SearchSpace.load("toy", overrides=[f"data.size_px={size_px}"])
    larger = SearchSpace.load("toy", overrides=[f"data.size_px={size_px + 1}"])
    assert space.needed_px == 2 * size_px - 1
    assert _largest_field(space) >= space.needed_px
    assert space.search_steps < larger.search_steps
    assert space.retrain_steps < larger.retrain_steps
    # The control: a number of steps does not grow.
    fixed = SearchSpace.load("toy", "smoke", [f"data.size_px={size_px}"])
    assert fixed.search_steps == SearchSpace.load("toy", "smoke").search_steps


def _longest_memory(space: SearchSpace) -> int:
    """Field of the causal stack when every rate grows to its bound: r <= k, stride 1."""
    field_px = 1
    for _ in range(space.model.options["blocks"]):
        field_px += (space.model.options["taps"] - 1) * field_px
    return field_px


@pytest.mark.parametrize("profile", ["smoke", "quick", "full"])
def test_the_stack_is_deep_enough_for_the_memory_it_needs(profile):
    space = SearchSpace.load("long_memory", profile)
    assert space.needed_px == {"smoke": 189, "quick": 189, "full": 1021}[profile]
    assert _longest_memory(space) >= space.needed_px
    assert space.sites[0].upper is None, "the limit follows from the needed field"
    # The control: two blocks less would not, and rates of 1 see none of the far steps' pulses.
    blocks = space.model.options["blocks"]
    small = SearchSpace.load("long_memory", profile, [f"model.options.blocks={blocks - 2}"])
    assert _longest_memory(small) < small.needed_px
    data = space.data
    assert 1 + (space.model.options["taps"] - 1) * blocks <= data.segment // 2 - data.pulse + 1


@settings(deadline=None, max_examples=20)
@given(st.integers(64, 731))
def test_another_memory_takes_one_setting(segment):
    space = SearchSpace.load("long_memory", overrides=[f"data.segment={segment}"])
    larger = SearchSpace.load("long_memory", overrides=[f"data.segment={segment + 1}"])
    assert space.needed_px == segment - 3
    assert space.data.image_px == (2 * segment,)
    assert _longest_memory(space) >= space.needed_px
    assert space.search_steps <= larger.search_steps
    assert space.needed_px < larger.needed_px
    # The control: beyond what the bounds allow.
    beyond = SearchSpace.load("long_memory", overrides=["data.segment=733"])
    assert _longest_memory(beyond) < beyond.needed_px


def test_camvid_has_its_eleven_classes():
    data = SearchSpace.load("regseg_camvid").data
    assert len(data.class_names) == 11
    assert (data.class_names[0], data.class_names[10]) == ("sky", "bicyclist")
    assert data.ignore_index == 11


def test_cityscapes_follows_the_paper():
    space = SearchSpace.load("regseg_cityscapes", "full")  # RegSeg (Gao 2022), Sec. 4.2
    assert (space.train.learning_rate, space.train.batch_size) == (0.05, 8)
    assert (space.train.loss, space.train.ohem_threshold) == ("ohem", 0.3)
    assert (space.train.warmup_steps, space.train.poly_power) == (3000, 0.9)
    assert space.retrain.steps == 2975 // 8 * 1000
    assert [round(factor * 1024) for factor in space.data.scale] == [400, 1600]


@pytest.mark.parametrize("profile", ["smoke", "quick", "full"])
def test_only_crops_are_not_pulled_towards_the_field_of_the_whole_image(profile):
    pulls = {name: SearchSpace.load(name, profile).search.field_target for name in NAMES}
    assert pulls == {
        "long_memory": 2.0,
        "regseg_camvid": 2.0,
        "regseg_cityscapes": 0.0,
        "toy": 2.0,
    }
    cityscapes = SearchSpace.load("regseg_cityscapes", profile)
    assert cityscapes.needed_px > 2 * max(cityscapes.data.image_px) - 1


@pytest.mark.parametrize(("name", "profile"), EVERY)
def test_every_sweep_begins_with_published_rates_that_fit(name, profile):
    from dilsearch.models.rates import PUBLISHED_RATES, published_rates

    first = SearchSpace.load(name, profile).sweep.first
    if not name.startswith("regseg"):
        assert first == ()  # nothing is published for these networks
        return
    pairs = {
        f"published:{experiment}"
        for experiment, rates in PUBLISHED_RATES.items()
        if len(rates) == SITES[name] and max(map(len, rates)) <= 2
    }
    assert set(first) == pairs
    assert len(first) == len(pairs) == 7
    # The control: others have four branches at some blocks.
    assert max(map(len, published_rates("exp49"))) == 4


@pytest.mark.parametrize(("name", "profile"), EVERY)
def test_grids_span_from_the_rate_one_field_to_twice_the_needed(name, profile):
    space = SearchSpace.load(name, profile)
    if name == "regseg_cityscapes":
        assert space.sweep.grid == "500:3500:500"  # RegSeg (Gao 2022), Fig. 5
        return
    if name == "regseg_camvid":
        whole = SearchSpace.load(name, "full")
        grid = grid_of(whole, 479)
        assert (grid, whole.needed_px) == ((479, 719, 959, 1199, 1439, 1679, 1919), 959)
        assert space.sweep.grid == whole.sweep.grid
        return
    assert space.sweep.grid is None
    grid = grid_of(space, 13)
    assert (len(grid), grid[0], grid[-1]) == (7, 13, 2 * space.needed_px)


def _load_from(folder: Path, elsewhere: Path) -> str:
    code = (
        "import dilsearch; from dilsearch.space import SearchSpace, list_spaces; "
        "print(dilsearch.__file__, *(SearchSpace.load(entry.name).name for entry in list_spaces()))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code],
        cwd=elsewhere,
        env={**os.environ, "PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        check=True,
    )
    return result.stdout


def test_spaces_are_found_from_a_checkout_anywhere(tmp_path):
    assert shipped_folder() == ROOT / "search_spaces"
    found = _load_from(ROOT, tmp_path)
    assert found.split() == [str(ROOT / "dilsearch" / "__init__.py"), *NAMES]


def test_spaces_are_found_from_a_wheel(tmp_path):
    # Built for real, unpacked like an installation, and used from a folder of its own.
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path / "dist")],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    assert (tmp_path / "site" / "dilsearch" / "search_spaces" / "toy.toml").is_file()
    found = _load_from(tmp_path / "site", tmp_path)
    assert found.split() == [str(tmp_path / "site" / "dilsearch" / "__init__.py"), *NAMES]
