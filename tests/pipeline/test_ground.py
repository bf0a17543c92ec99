"""What plans are made on."""

import pytest

from dilsearch.pipeline import Resources
from dilsearch.pipeline.ground import ground_of
from dilsearch.space import SearchSpace
from dilsearch.surgery import field_graph

SITES = tuple(f"blocks.{index}.conv2" for index in range(3))


def resources(*overrides: str) -> Resources:
    small = ("data.size_px=32", "data.bar_width_px=[4, 6]", "data.patch_px=4")
    return Resources(
        SearchSpace.load("toy", "smoke", (*small, "model.options.blocks=3", *overrides))
    )


def test_it_is_read_from_the_network() -> None:
    given = resources()
    ground = ground_of(given)
    assert ground.form.keys() == dict.fromkeys(SITES).keys()
    assert {site.kind for site in ground.form.sites.values()} == {"branch"}
    assert ground.limits == dict.fromkeys(SITES, (1, 8))
    assert ground.graph is field_graph(given.relaxed_network(0))


@pytest.mark.parametrize(("lower", "lowest_px"), [(1, 31), (2, 55)])
def test_the_lowest_field_is_that_of_the_lower_limits(lower: int, lowest_px: int) -> None:
    # 7 px of stride 4 behind the stem, and each of three blocks adds 2 * 4 px times its rate
    free = "gap.policy=ignore"
    ground = ground_of(resources(f"sites.1.lower={lower}", "sites.1.initial=6", free))
    assert ground.lowest_px == lowest_px
    assert set(ground.form.values()) == {(6.0, 6.0)}  # negative control: its rates are others


def test_the_seed_does_not_matter_to_it() -> None:
    drawn = resources("sites.1.initial=uniform", "gap.policy=ignore")
    first, second = ground_of(drawn, 0), ground_of(drawn, 1)
    assert (first.limits, first.lowest_px) == (second.limits, second.lowest_px)
    assert first.form.keys() == second.form.keys()
    assert first.form != second.form  # negative control: they are two networks
