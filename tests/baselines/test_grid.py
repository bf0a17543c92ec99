"""Grids of target fields: written out, or spaced between what rates 1 see and what is needed."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dilsearch.baselines.grid import grid_of, parse_grid
from dilsearch.errors import SweepError
from dilsearch.space import SearchSpace


def test_the_grid_of_the_paper():
    expected = (500, 1000, 1500, 2000, 2500, 3000, 3500)  # RegSeg (Gao 2022), Fig. 5
    assert parse_grid("500:3500:500") == expected
    # The control: a last field that no step meets is left out.
    assert parse_grid("500:3499:500") == expected[:-1]
    assert parse_grid("500:500:1") == (500,)


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 5000), st.integers(1, 900), st.integers(1, 300), st.integers(0, 299))
def test_targets_are_a_step_apart_and_end_where_the_next_would_go_beyond(first, count, step, more):
    last = first + (count - 1) * step + min(more, step - 1)
    targets = parse_grid(f"{first}:{last}:{step}")
    assert len(targets) == count
    assert targets[0] == first
    assert targets[-1] <= last < targets[-1] + step
    assert {b - a for a, b in pairwise(targets)} <= {step}


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("500", "is not three whole numbers with colons between them"),
        ("500:3500", "is not three whole numbers"),
        ("a:b:c", "is not three whole numbers"),
        ("500:3500:-5", "is not three whole numbers"),
        ("5.5:10:1", "is not three whole numbers"),
        ("", "is not three whole numbers"),
        ("0:10:5", "has a first field or a step below 1"),
        ("5:10:0", "has a first field or a step below 1"),
        ("10:5:1", "runs backwards"),
        ("1:1001:1", "has 1001 fields, more than 1000"),
    ],
)
def test_what_is_no_grid_is_refused(text, fault):
    with pytest.raises(SweepError) as caught:
        parse_grid(text)
    assert str(caught.value).startswith(f'grid "{text}" {fault}')
    assert str(caught.value).endswith(
        '; give the first field, the last and the step in px, such as "500:3500:500"'
    )


def test_a_space_has_its_grid_or_one_up_to_twice_the_needed_field():
    assert grid_of(SearchSpace.load("regseg_cityscapes"), 479) == parse_grid("500:3500:500")
    toy = SearchSpace.load("toy")
    assert grid_of(toy, 47) == (47, 103, 159, 214, 270, 326, 382)
    assert grid_of(SearchSpace.load("toy", overrides=["sweep.targets=2"]), 47) == (47, 382)
    # The control: it moves with the image.
    assert grid_of(SearchSpace.load("toy", "full"), 47)[-1] == 2 * 511


@settings(deadline=None, max_examples=25)
@given(st.integers(2, 40), st.integers(1, 381))
def test_spaced_targets_ascend_from_the_lowest_field_to_twice_the_needed(targets, lowest_px):
    space = SearchSpace.load("toy", overrides=[f"sweep.targets={targets}"])
    grid = grid_of(space, lowest_px)
    assert (grid[0], grid[-1]) == (lowest_px, 382)
    assert list(grid) == sorted(set(grid))
    assert len(grid) == min(targets, 382 - lowest_px + 1)
    steps = [b - a for a, b in pairwise(grid)]
    assert max(steps) - min(steps) <= 1


def test_a_network_that_sees_too_much_has_no_grid_of_itself():
    toy = SearchSpace.load("toy")
    with pytest.raises(
        SweepError, match="toy: the field at the lowest rates, 382 px, is not below"
    ):
        grid_of(toy, 382)
    assert grid_of(SearchSpace.load("toy", overrides=["sweep.grid=400:500:50"]), 382)[0] == 400
