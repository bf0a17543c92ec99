"""The network of a run: built in, or given as a function."""

import re
from pathlib import Path

import pytest
import torch
from torch import nn

from dilsearch.errors import SpaceError
from dilsearch.pipeline import Resources, Workbench, build_relaxed, network_hash
from dilsearch.plan import DilationPlan, SiteRates
from dilsearch.runs import RunFolder
from dilsearch.space import SearchSpace
from dilsearch.surgery import read_plan
from dilsearch.surgery.rates import relaxed_sites

SITES = ("2", "4")


def given(*sites: str, overrides: tuple[str, ...] = ()) -> SearchSpace:
    return SearchSpace.load("toy", None, ["model.name=given", *overrides], sites or ("[24]",))


def network(classes: int, seed: int, width: int = 4) -> nn.Sequential:
    """Fresh weights, but for those of the stem, which it brings along."""
    torch.manual_seed(seed)
    chain = nn.Sequential(
        nn.Conv2d(3, width, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(width, width, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(width, width, 3, padding=2, dilation=2),
        nn.Conv2d(width, classes, 1),
    )
    nn.init.constant_(chain.get_parameter("0.weight"), 0.5)
    return chain


@pytest.fixture
def bench(tmp_path: Path) -> Workbench:
    space = given()
    folder = RunFolder.create(tmp_path / "run", command="test", space=space.to_toml(), seed=0)
    return Workbench(folder, Resources(space, network=network), 0)


def test_a_glob_gives_one_rate_from_the_dilation_that_is_there() -> None:
    model = build_relaxed(given(), 0, network)
    assert read_plan(model) == DilationPlan(
        {"2": SiteRates("site", (1,)), "4": SiteRates("site", (2,))}
    )
    granularity = relaxed_sites(model)["4"].granularity
    assert (granularity.lower, granularity.upper) == (1, 96)  # 191 px by two taps of stride 1


def test_search_and_retraining_start_from_the_weights_that_came_along(bench: Workbench) -> None:
    plan = read_plan(bench.relaxed_network())
    for model in (bench.relaxed_network(), bench.integer_network(plan)):
        assert (model.get_parameter("0.weight") == 0.5).all()
    # each time as it was, whatever became of the one before
    nn.init.zeros_(bench.relaxed_network().get_parameter("0.weight"))
    assert (bench.relaxed_network().get_parameter("0.weight") == 0.5).all()


def test_the_network_is_made_once(bench: Workbench) -> None:
    made: list[int] = []

    def counting(classes: int, seed: int) -> nn.Module:
        made.append(seed)
        return network(classes, seed)

    bench.resources.network = counting
    for _ in range(3):
        bench.relaxed_network()
    assert made == [0]


def test_a_space_and_its_network_have_to_agree() -> None:
    with pytest.raises(SpaceError, match=r"\[model\]: name = \"given\" leaves the network to the"):
        build_relaxed(given(), 0)
    with pytest.raises(SpaceError, match=r"\[model\]: the network is the built-in 'toy'; leave"):
        build_relaxed(SearchSpace.load("toy"), 0, network)


def test_globs_that_match_no_convolution_show_those_there_are() -> None:
    text = "[sites]: 'body.*' and '5' match no convolution of the network; choose by --sites GLOB"
    with pytest.raises(SpaceError, match=re.escape(text) + ".*two or more taps: 0, 2, 4$"):
        build_relaxed(given("body.*", "5", "2"), 0, network)

    def deep(classes: int, seed: int) -> nn.Module:
        return nn.Sequential(*(nn.Conv2d(3, 3, 3, padding=1) for _ in range(9)))

    with pytest.raises(SpaceError, match=r"taps: 0, 1, 2, 3, \.\.\., 5, 6, 7, 8$"):
        build_relaxed(given("body.*"), 0, deep)


def test_its_hash_is_its_form() -> None:
    def hashed(seed: int = 0, width: int = 4, *sites: str) -> str:
        return network_hash(build_relaxed(given(*sites), seed, lambda c, s: network(c, s, width)))

    assert hashed() == hashed(seed=1)  # weights are not part of it, nor are rates
    assert hashed() == hashed(0, 4, '{select = "[24]", initial = 3.0, upper = 9}')
    assert len({hashed(), hashed(width=5), hashed(0, 4, "2")}) == 3

    def another(classes: int, seed: int) -> nn.Module:
        chain = network(classes, seed)
        chain[1] = nn.GELU()  # no weights
        return chain

    assert network_hash(build_relaxed(given(), 0, another)) != hashed()


def test_settings_that_no_weight_shows_are_in_its_hash() -> None:
    def hashed(**settings: object) -> str:
        def changed(classes: int, seed: int) -> nn.Module:
            chain = network(classes, seed)
            for name, value in settings.items():
                setattr(chain[0], name, value)
            return chain

        return network_hash(build_relaxed(given(), 0, changed))

    others = [
        hashed(padding=(2, 2), dilation=(2, 2)),  # the same shapes all through
        hashed(padding_mode="circular"),
        hashed(stride=(2, 2)),
    ]
    assert len({hashed(), *others}) == 4
    assert hashed() == hashed(padding="same")


def test_the_dilation_that_a_site_starts_from_is_not_in_its_hash() -> None:
    def hashed(rate: int) -> str:
        def changed(classes: int, seed: int) -> nn.Module:
            chain = network(classes, seed)
            chain[4].dilation = chain[4].padding = (rate, rate)
            return chain

        return network_hash(build_relaxed(given(), 0, changed))

    assert hashed(2) == hashed(3)
