"""The shipped studies: every run is of a space that can be loaded, and says what it says."""

import math

import pytest

from dilsearch.errors import SpaceError
from dilsearch.pipeline.rates import control_rates
from dilsearch.pipeline.workbench import build_relaxed
from dilsearch.search import out_of_reach
from dilsearch.space import SearchSpace
from dilsearch.study import STUDIES, Part, Variant
from dilsearch.surgery import read_plan

CASES = [
    (part, variant)
    for study in STUDIES.values()
    for part in study.parts
    for variant in part.variants
]


def load(part: Part, variant: Variant) -> SearchSpace:
    return SearchSpace.load(part.space, part.profile, (*part.overrides, *variant.overrides))


@pytest.mark.parametrize(("part", "variant"), CASES, ids=lambda value: value.name)
def test_every_variant_can_be_loaded_and_differs_from_the_others(
    part: Part, variant: Variant
) -> None:
    space = load(part, variant)
    others = {load(part, other).hash for other in part.variants if other is not variant}
    assert space.hash not in others
    with pytest.raises(SpaceError):  # negative control
        load(part, Variant("wrong", "no such key", ("search.smothing=0",)))


@pytest.mark.parametrize("part", STUDIES["search-robustness"].parts, ids=lambda part: part.name)
def test_networks_and_handmade_rates_fit(part: Part) -> None:
    # found out here, and not an hour into the study
    spaces = [load(part, variant) for variant in part.variants]
    networks = {
        repr((space.model, space.sites, space.data, space.control)): space for space in spaces
    }
    for space in networks.values():
        relaxed = build_relaxed(space, 0)
        control_rates(space, read_plan(relaxed))
        plan = read_plan(relaxed)
        if "toy" in part.name or part.name == "sizes":
            assert out_of_reach(relaxed, gap="enforce", needed_px=space.needed_px) is None
        assert len(plan) == {"toy-512": 6, "regseg-1024": 13, "camvid": 13}.get(part.name, 5)


def test_factors_of_the_options_are_those_they_claim() -> None:
    (part,) = (p for p in STUDIES["search-robustness"].parts if p.name == "options-128")
    spaces = {variant.name: load(part, variant) for variant in part.variants}
    upper = math.ceil(spaces["default"].needed_px / 8)  # 2 taps' distance of stride 4
    width = math.log(upper) / 3
    rate = 10 * (upper - 1) / spaces["default"].search_steps
    assert spaces["narrow"].search.smoothing == pytest.approx(width / 2, abs=0.01)
    assert spaces["broad"].search.smoothing == pytest.approx(width * 2, abs=0.01)
    assert spaces["half-rate"].search.rate_learning_rate == pytest.approx(rate / 2, abs=0.01)
    assert spaces["double-rate"].search.rate_learning_rate == pytest.approx(rate * 2, abs=0.01)
    targets = [spaces[name].search.field_target for name in ("weak-target", "strong-target")]
    assert targets == [0.25 * spaces["default"].search.field_target, 8.0]
    assert all(space.search.patience_share == 0 for space in spaces.values())
