"""The widest field that limits and bounds allow, and what is said where it is too narrow."""

from itertools import product
from typing import Literal

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from search_task import chain, relaxed
from torch import nn

from dilsearch.errors import PlanError
from dilsearch.geometry import enforce_bounds
from dilsearch.search import out_of_reach
from dilsearch.search.reach import widest_field_px
from dilsearch.sites import PerSite
from dilsearch.surgery import field_graph, read_plan, relax

Gap = Literal["enforce", "ignore"]


def two_sites(limits: tuple[tuple[int, int], tuple[int, int]], stride: int = 1) -> nn.Module:
    layers = [nn.Conv2d(1, 1, 3, padding=1, stride=stride), nn.Conv2d(1, 1, 3, padding=1)]
    sites = {str(index): PerSite(*limit, float(limit[0])) for index, limit in enumerate(limits)}
    return relax(nn.Sequential(*layers), sites, example=torch.empty(1, 1, 32, 32, device="meta"))


@pytest.mark.parametrize(
    ("upper", "gap", "expected"),
    [
        (8, "enforce", 3 + 2 * 3 + 2 * 8),  # bounds 1, 3 and 9, limits 8
        (8, "ignore", 1 + 3 * 2 * 8),
        (2, "enforce", 3 + 2 * 2 + 2 * 2),
        (1, "enforce", 7),
    ],
)
def test_the_widest_field_of_a_chain(upper: int, gap: Gap, expected: int) -> None:
    model = chain(upper=upper)
    before = read_plan(model)
    assert widest_field_px(model, gap) == expected
    assert read_plan(model) == before


limit = st.tuples(st.integers(1, 6), st.integers(0, 4)).map(lambda pair: (pair[0], sum(pair)))


@settings(deadline=None, max_examples=30)
@given(st.tuples(limit, limit), st.integers(1, 2), st.sampled_from(["enforce", "ignore"]))
def test_no_plan_within_the_limits_is_wider(
    limits: tuple[tuple[int, int], tuple[int, int]], stride: int, gap: Gap
) -> None:
    model = two_sites(limits, stride)
    graph = field_graph(model)
    assert graph is not None
    named = {"0": limits[0], "1": limits[1]}
    fields = []
    for rates in product(*(range(low, high + 1) for low, high in limits)):
        plan = read_plan(model).replace({"0": (float(rates[0]),), "1": (float(rates[1]),)})
        try:
            held = enforce_bounds(plan, graph, named) if gap == "enforce" else plan
        except PlanError:
            continue
        fields.append(max(field.size_px for field in graph.propagate(held).at("1")))
    assert widest_field_px(model, gap) == max(fields, default=None)


def test_what_is_said_before_a_search_that_cannot_succeed() -> None:
    remedy = "; select more sites, deepen the network, raise upper limits that lie below the "
    remedy += "bound, or set another needed_px if the task asks for less"
    assert out_of_reach(chain(), gap="enforce", needed_px=26) == (
        "26 px are needed, and limits and bounds allow 25 px at most" + remedy
    )
    for gap in ("report", "ignore"):
        assert out_of_reach(chain(), gap=gap, needed_px=50) == (
            "50 px are needed, and limits and bounds allow 49 px at most" + remedy
        )
        assert out_of_reach(chain(), gap=gap, needed_px=49) is None
    # nothing where it may succeed, or nobody knows
    assert out_of_reach(chain(), gap="enforce", needed_px=25) is None
    assert out_of_reach(chain(), gap="enforce", needed_px=None) is None
    assert widest_field_px(relaxed(6), "ignore") is None
    assert out_of_reach(relaxed(6), gap="ignore", needed_px=1000) is None
