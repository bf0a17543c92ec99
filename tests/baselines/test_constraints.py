"""By how much a plan breaks order and bound, and what a study makes of it."""

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sweep_parts import NAMES, graph

from dilsearch.baselines.constraints import bound_excess, order_excess, set_constraints
from dilsearch.geometry import Field
from dilsearch.plan import DilationPlan, SiteRates

PAIRS = st.lists(
    st.tuples(st.integers(1, 9), st.integers(1, 9)), min_size=len(NAMES), max_size=len(NAMES)
)


def plan_of(pairs: list[tuple[int, int]]) -> DilationPlan:
    return DilationPlan.per_branch(dict(zip(NAMES, pairs, strict=True)))


@given(pairs=PAIRS)
@settings(max_examples=25, deadline=None)
def test_against_arithmetic_by_hand(pairs: list[tuple[int, int]]):
    field, excesses = Field(15, 4), []
    for pair in pairs:
        excesses.append(max(pair) - field.size_px // field.stride_px)
        field = field.through(3, rate=max(pair))
    assert bound_excess(plan_of(pairs), graph()) == max(excesses)
    assert order_excess(plan_of(pairs)) == max(small - large for small, large in pairs)


@pytest.mark.parametrize(
    ("site", "excess"),
    [
        (SiteRates("site", (5,)), 0),
        (SiteRates("branch", (1, 4, 2, 3)), 2),
        (
            SiteRates("branch", (1, 9, 2, 8), axes=2),
            1,
        ),  # 1, 2 along the height; 9, 8 along the width
        (SiteRates("channel", (1, 2, 3)), -1),
    ],
)
def test_order_by_form(site: SiteRates, excess: int):
    assert order_excess(DilationPlan({"a": site})) == excess


def test_order_of_no_site():
    assert order_excess(DilationPlan({})) == 0


@pytest.mark.parametrize(
    ("rates", "enforce", "feasible"),
    [
        ((1, 3), True, True),
        ((1, 4), True, False),  # the bound is 3
        ((1, 4), False, True),
        ((3, 1), False, False),
    ],
)
def test_a_study_tells_feasible_trials(rates: tuple[int, int], enforce: bool, feasible: bool):
    study = optuna.create_study(directions=["maximize", "minimize"])
    trial = study.ask()
    plan = plan_of([rates, (1, 1), (1, 1), (1, 1)])
    set_constraints(trial, plan, graph(), enforce=enforce)
    study.tell(trial, [0.5, 1.0])
    assert bool(study.best_trials) == feasible
