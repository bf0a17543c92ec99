"""What a space becomes before anything is trained: limits, starting rates and the control's."""

import re
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from dilsearch.data import derived_seed
from dilsearch.errors import DilsearchError, SpaceError
from dilsearch.geometry import max_rate
from dilsearch.pipeline import build_relaxed
from dilsearch.pipeline.rates import control_rates, present_plan
from dilsearch.plan import DilationPlan
from dilsearch.space import SearchSpace
from dilsearch.surgery import clamp_rates, field_graph, read_plan
from dilsearch.surgery.rates import relaxed_sites, site_granularities

SITES = tuple(f"blocks.{index}.conv2" for index in range(5))


def toy(*overrides: str, profile: str = "quick") -> SearchSpace:
    return SearchSpace.load("toy", profile, overrides)


def limits(model: nn.Module) -> set[tuple[int, int]]:
    return {(site.lower, site.upper) for site in site_granularities(model).values()}


def rates(model: nn.Module) -> list[float]:
    return [rate for pair in read_plan(model).values() for rate in pair]


class TestUpperLimits:
    @pytest.mark.parametrize(
        ("overrides", "upper"),
        [
            ([], 24),  # 191 px at 8 px for each unit of a rate
            (["data.size_px=256"], 64),  # 511 px
            (["field.needed_px=80"], 10),
            (["field.needed_px=81"], 11),
            (["sites.1.upper=9"], 9),  # negative control: one that is given stays
            (["sites.1.upper=9", "data.size_px=256"], 9),
        ],
    )
    def test_they_follow_from_the_needed_field(self, overrides: list[str], upper: int) -> None:
        assert limits(build_relaxed(toy(*overrides), 0)) == {(1, upper)}

    @settings(deadline=None, max_examples=5)
    @given(size_px=st.integers(64, 256))
    def test_one_setting_makes_the_toy_another_size(self, size_px: int) -> None:
        space = toy(f"data.size_px={size_px}")
        model = build_relaxed(space, 0)
        graph = field_graph(model)
        assert graph is not None
        assert space.needed_px == 2 * size_px - 1
        with torch.no_grad():
            for layer in relaxed_sites(model).values():
                layer.rate.fill_(float(layer.granularity.upper))
        widest = graph.propagate(clamp_rates(model, gap="enforce"))
        assert widest.last_site is not None
        assert max(field.size_px for field in widest.at(widest.last_site)) >= space.needed_px
        # one site's taps alone span it, and with one unit less they would not
        ((_, upper),) = limits(model)
        assert 8 * upper >= space.needed_px > 8 * (upper - 1)
        # negative control: at limits of a fortieth of the size all five together fall short
        small = build_relaxed(toy(f"data.size_px={size_px}", f"sites.1.upper={size_px // 40}"), 0)
        graph = field_graph(small)
        assert graph is not None
        with torch.no_grad():
            for layer in relaxed_sites(small).values():
                layer.rate.fill_(float(layer.granularity.upper))
        table = graph.propagate(read_plan(small))
        assert table.last_site is not None
        assert max(field.size_px for field in table.at(table.last_site)) < space.needed_px

    def test_sections_may_differ(self, tmp_path: Path) -> None:
        text = toy().to_toml()
        head, _, tail = text.partition("[[sites]]")
        section, _, rest = tail.partition("\n\n")
        first = section.replace("blocks.*.conv2", "blocks.[01].conv2")
        assert first != section
        second = section.replace("blocks.*.conv2", "blocks.[234].conv2") + "\nupper = 5"
        path = tmp_path / "mine.toml"
        path.write_text(f"{head}[[sites]]{first}\n\n[[sites]]{second}\n\n{rest}")
        found = site_granularities(build_relaxed(SearchSpace.load(path), 0))
        assert [granularity.upper for granularity in found.values()] == [24, 24, 5, 5, 5]

    def test_a_site_of_two_sections_is_refused_whatever_their_limits(self, tmp_path: Path) -> None:
        text = toy().to_toml()
        head, _, tail = text.partition("[[sites]]")
        section, _, rest = tail.partition("\n\n")
        same = "site 'blocks.0.conv2' is selected by"
        for upper in ("", "\nupper = 5"):
            for select in ("blocks.*.conv2", "blocks.0.*"):
                other = section.replace("blocks.*.conv2", select) + upper
                path = tmp_path / "mine.toml"
                path.write_text(f"{head}[[sites]]{section}\n\n[[sites]]{other}\n\n{rest}")
                with pytest.raises(DilsearchError, match=same):
                    build_relaxed(SearchSpace.load(path), 0)
                path.write_text(
                    f"{head}[[sites]]{section}\nupper = 7\n\n[[sites]]{other}\n\n{rest}"
                )
                with pytest.raises(DilsearchError, match=same):
                    build_relaxed(SearchSpace.load(path), 0)

    def test_a_glob_without_sites_is_told_as_ever(self) -> None:
        with pytest.raises(SpaceError, match=re.escape("[sites]: cannot relax the model: 'no.*'")):
            build_relaxed(toy("sites.1.select=no.*"), 0)
        with pytest.raises(SpaceError, match=re.escape("[sites]: cannot relax the model: 'no.*'")):
            build_relaxed(toy("sites.1.select=no.*", "sites.1.initial=500.5"), 0)

    @pytest.mark.parametrize(
        ("overrides", "begin"),
        [(["sites.1.initial=25"], 25), (["sites.1.lower=30", "sites.1.initial=uniform"], 30)],
    )
    def test_one_left_open_below_the_start_is_refused(
        self, overrides: list[str], begin: int
    ) -> None:
        text = (
            "space 'toy': [sites]: upper is left open and would be 24, the rate at which a site "
            f"spans the needed field by itself, below {begin} where rates begin; give upper"
        )
        with pytest.raises(SpaceError, match=f"^{re.escape(text)}$"):
            build_relaxed(toy(*overrides), 0)
        # negative control: one that is given, or the start on the limit, is fine
        free = "gap.policy=ignore"
        assert limits(build_relaxed(toy(*overrides, "sites.1.upper=40", free), 0)) != {(1, 24)}
        assert set(rates(build_relaxed(toy("sites.1.initial=24", free), 0))) == {24.0}


class TestStartingRates:
    def test_uniform_ones_follow_from_the_seed(self) -> None:
        space = toy("sites.1.initial=uniform", "gap.policy=ignore")
        first = rates(build_relaxed(space, 0))
        assert rates(build_relaxed(space, 0)) == first
        assert all(1 <= rate <= 24 for rate in first)
        assert len(set(first)) == len(first) == 10
        assert max(first) > 12 > min(first)
        assert rates(build_relaxed(space, 1)) != first  # negative control
        torch.manual_seed(5)
        state = torch.get_rng_state()
        build_relaxed(space, 0)
        assert torch.equal(torch.get_rng_state(), state)

    def test_uniform_ones_are_drawn_site_by_site_as_ever(self) -> None:
        drawn = torch.Generator().manual_seed(derived_seed("initial rates", 3))
        expected = [1 + 23 * torch.rand(2, generator=drawn) for _ in SITES]
        model = build_relaxed(toy("sites.1.initial=uniform", "gap.policy=ignore"), 3)
        assert rates(model) == pytest.approx(torch.cat(expected).tolist())

    @pytest.mark.parametrize("seed", [0, 1])
    def test_uniform_ones_are_held_to_the_bound(self, seed: int) -> None:
        model = build_relaxed(toy("sites.1.initial=uniform"), seed)
        graph = field_graph(model)
        assert graph is not None
        plan = read_plan(model)
        table = graph.propagate(plan)
        assert table.bound_ok
        bounds = {row.name: max_rate(row.field_in[0]) for row in table.rows}
        assert all(max(pair) <= min(24, bounds[site]) for site, pair in plan.items())
        # negative control: without the bound the first site would pass it
        free = build_relaxed(toy("sites.1.initial=uniform", "gap.policy=report"), seed)
        assert max(read_plan(free)[SITES[0]]) > 1

    def test_the_largest_allowed(self) -> None:
        held = build_relaxed(toy("sites.1.initial=bound"), 0)
        assert list(read_plan(held).values()) == [(r, r) for r in (1.0, 3.0, 9.0, 24.0, 24.0)]
        free = build_relaxed(toy("sites.1.initial=bound", "gap.policy=ignore"), 0)
        assert set(rates(free)) == {24.0}

    def test_numbers(self) -> None:
        assert set(rates(build_relaxed(toy(), 0))) == {1.0}
        free = build_relaxed(toy("sites.1.initial=2.5", "gap.policy=ignore"), 0)
        assert set(rates(free)) == {2.5}

    def test_a_schedule(self) -> None:
        free = "gap.policy=ignore"
        model = build_relaxed(toy("sites.1.initial=[1, 2, [3, 4], [5], 6]", free), 0)
        assert list(read_plan(model).values()) == [(1, 1), (2, 2), (3, 4), (5, 5), (6, 6)]
        for start, text in (
            ("[1, 2]", "initial lists 2 sites, and 5 are searched; give an entry for each"),
            (
                "[1, 2, [3, 99], 1, 1]",
                "initial has rates 3, 99 for site 'blocks.2.conv2', outside its limits 1 to 24",
            ),
        ):
            with pytest.raises(SpaceError, match=re.escape(f"space 'toy': [sites]: {text}")):
                build_relaxed(toy(f"sites.1.initial={start}"), 0)

    def test_published_rates(self) -> None:
        space = SearchSpace.load("regseg_camvid", "smoke", ["sites.1.initial=published:exp48"])
        plan = list(read_plan(build_relaxed(space, 0)).values())
        assert plan[:3] == [(1, 1), (1, 2), (1, 4)]
        assert plan[6:] == [(1, 14)] * 7
        wrong = SearchSpace.load("regseg_camvid", "smoke", ["sites.1.initial=published:exp1"])
        with pytest.raises(
            SpaceError, match=r"\[sites\]: rates 'exp1' are not among the published"
        ):
            build_relaxed(wrong, 0)
        short = toy("sites.1.initial=published:exp48")
        with pytest.raises(SpaceError, match="initial = published:exp48 has 13 sites, and 5 are"):
            build_relaxed(short, 0)


CHANNELS = '{select = "blocks.*.conv2", granularity = "channel", upper = 5}'
AXES = '{select = "blocks.*.conv2", granularity = "branch", separate_axes = true, upper = 5}'


class TestOtherRates:
    """Rates by channel and by axis start from schedules like any other."""

    def test_a_rate_for_every_channel(self) -> None:
        last = ", ".join(["1, 2"] * 16)
        start = f"sites.1.initial=[1, 2, 3, 4, [{last}]]"
        space = SearchSpace.load("toy", None, [start, "gap.policy=ignore"], [CHANNELS])
        plan = read_plan(build_relaxed(space, 0))
        assert {site.kind for site in plan.sites.values()} == {"channel"}
        assert plan[SITES[1]] == (2.0,) * 32
        assert plan[SITES[4]] == (1.0, 2.0) * 16
        control = control_rates(SearchSpace.load("toy", None, ["control.rate=3"]), plan)
        assert set(control.values()) == {(3.0,) * 32}
        with pytest.raises(SpaceError, match="lists 2 channels for site 'blocks"):
            build_relaxed(
                SearchSpace.load("toy", None, [start.replace(last, "1, 2")], [CHANNELS]), 0
            )

    def test_an_entry_holds_for_both_axes(self) -> None:
        start = "sites.1.initial=[1, 2, 3, [4, 5], 5]"
        space = SearchSpace.load("toy", None, [start, "gap.policy=ignore"], [AXES])
        plan = read_plan(build_relaxed(space, 0))
        assert {site.axes for site in plan.sites.values()} == {2}
        assert plan.sites[SITES[3]].rows == ((4.0, 4.0), (5.0, 5.0))

    def test_the_dilation_that_is_there(self) -> None:
        space = SearchSpace.load("toy", None, ["control.rate=present"], ["blocks.*.conv2"])
        model = build_relaxed(space, 0)
        assert set(rates(model)) == {1.0}
        with torch.no_grad():
            for layer in relaxed_sites(model).values():
                layer.rate.fill_(3.0)
        assert set(present_plan(model).values()) == {(1.0,)}
        # where a search went since then does not matter to the control
        assert control_rates(space, read_plan(model), present_plan(model)) == present_plan(model)
        assert control_rates(toy("control.rate=2"), read_plan(model)) != present_plan(model)


class TestControl:
    PLAN = DilationPlan.per_branch(dict.fromkeys(SITES, (1.5, 2.5)))

    def test_one_rate_or_a_schedule(self) -> None:
        assert set(control_rates(toy(), self.PLAN).values()) == {(1.0, 1.0)}
        mixed = control_rates(toy("control.rate=[1, 2, [3, 4], 5, [6, 6]]"), self.PLAN)
        assert list(mixed.values()) == [(1, 1), (2, 2), (3, 4), (5, 5), (6, 6)]
        assert list(mixed) == list(SITES)
        assert mixed.is_integer
        space = SearchSpace.load("regseg_camvid", "smoke", ["control.rate=published:exp48"])
        published = control_rates(space, read_plan(build_relaxed(space, 0)))
        assert max(map(max, published.values())) == 14

    @pytest.mark.parametrize(
        ("rate", "text"),
        [
            ("[1, 2]", "rate lists 2 sites, and 5 are searched; give an entry for each"),
            (
                "[1, 2, [3, 4, 5], 1, 1]",
                "rate lists 3 branches for site 'blocks.2.conv2', which has 2; "
                "give a rate for each",
            ),
        ],
    )
    def test_a_schedule_that_does_not_fit_is_told_before_anything_runs(
        self, rate: str, text: str
    ) -> None:
        with pytest.raises(SpaceError, match=re.escape(text)):
            control_rates(toy(f"control.rate={rate}"), self.PLAN)
        with pytest.raises(SpaceError, match=re.escape(f"space 'toy': [control]: {text}")):
            build_relaxed(toy(f"control.rate={rate}"), 0)
