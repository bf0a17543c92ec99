"""[sweep]: what a grid may be, and that runs do not go by it."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dilsearch.errors import RunError, SpaceError
from dilsearch.runs import RunFolder
from dilsearch.space import SearchSpace, SweepSection, list_spaces
from dilsearch.space.sweep_section import grid_targets_px

SWEPT = ("sweep.grid=60:300:40", "sweep.first=[[1, 2, 3, 4, 5]]", "sweep.looks=3")


def sweep_of(*overrides: str) -> SweepSection:
    return SearchSpace.load("toy", overrides=[f"sweep.{text}" for text in overrides]).sweep


def test_all_keys_may_be_left_out():
    assert SweepSection() == SweepSection(grid=None, targets=7, first=(), looks=8)


def test_keys_are_set_from_the_command_line():
    assert sweep_of("grid=500:3500:500").grid == "500:3500:500"
    assert sweep_of('first=["published:exp43", [1, [1, 2], 3]]').first == (
        "published:exp43",
        (1, (1, 2), 3),
    )
    # TOML takes this for a time of day.
    assert sweep_of("grid=10:50:20").grid == "10:50:20"
    assert grid_targets_px("10:50:20") == (10, 30, 50)


@pytest.mark.parametrize(
    ("override", "text"),
    [
        (
            "grid=3500:500:500",
            'grid = "3500:500:500" runs backwards; give the first field, the last and the step in '
            'px, such as "500:3500:500"',
        ),
        ("grid=many", 'grid = "many" is not three whole numbers with colons between them; give'),
        ("grid=7", "grid = 7 is not text; give the first field, the last and the step in px"),
        ("targets=1", "targets = 1 is below 2; give a whole number"),
        ("looks=0", "looks = 0 is below 1; give a whole number"),
        ('first="exp43"', 'first = "exp43" is not a list; give a list of "published:NAME" and of'),
        ("first=[0]", 'first = [0] is not possible; give a list of "published:NAME" and of lists'),
        ("frist=[]", "[sweep] has no key 'frist' (did you mean 'first'?)"),
    ],
)
def test_faults_are_told_in_words(override, text):
    with pytest.raises(SpaceError) as caught:
        sweep_of(override)
    assert text in str(caught.value)


@pytest.mark.parametrize("name", [entry.name for entry in list_spaces()])
def test_a_run_does_not_go_by_it(name):
    space = SearchSpace.load(name)
    unswept = space.model_copy(update={"sweep": SweepSection()})
    swept = SearchSpace.load(name, overrides=["sweep.looks=3"])
    assert unswept.hash == space.hash == swept.hash
    assert "sweep" not in unswept.to_toml()
    assert "[sweep]" in swept.to_toml()
    # The control: what a run goes by counts.
    assert SearchSpace.load(name, overrides=["control.enabled=false"]).hash != space.hash


def test_toy_says_nothing_of_it_in_a_run_folder():
    assert "sweep" not in SearchSpace.load("toy").to_toml()


@settings(deadline=None, max_examples=20)
@given(
    st.lists(st.sampled_from(["published:exp48", (1, 2), ((1, 3), 4)]), max_size=3),
    st.integers(2, 30),
    st.sampled_from([None, "1:9:2"]),
)
def test_the_round_trip_is_exact(tmp_path_factory, first, targets, grid):
    folder = tmp_path_factory.mktemp("space")
    sweep = SweepSection(first=tuple(first), targets=targets, grid=grid)
    space = SearchSpace.load("toy").model_copy(update={"sweep": sweep})
    (folder / "space.toml").write_text(space.to_toml())
    assert SearchSpace.load(folder / "space.toml") == space


def test_a_run_goes_on_with_another_sweep(tmp_path):
    def begin(*overrides: str) -> RunFolder:
        toml = SearchSpace.load("toy", overrides=overrides).to_toml()
        folder = tmp_path / "run"
        return RunFolder.create(folder, command="run", space=toml, seed=0, resume=True)

    begin()
    assert begin(*SWEPT).seed == 0
    with pytest.raises(RunError, match=r"another search space: search.base_steps is 200 there"):
        begin(*SWEPT, "search.base_steps=100")
