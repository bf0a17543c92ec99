"""When a search is done, and what is said of one that got nowhere."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dilsearch.runs.rate_columns import rate_columns
from dilsearch.search.settling import findings, settled, tolerance_px

COLUMNS = ("a[0]", "a[1]", "b[0]")
LIMITS = {"a": (1, 9), "b": (2, 17)}
WIDE = {"a": (1, 99), "b": (1, 99)}


def row(step: int, *rates: float, field_px: float = 50.0) -> dict[str, float]:
    return {"step": step, "field_px": field_px, **dict(zip(COLUMNS, rates, strict=True))}


def still(rows: int, *, moving_until: int = 0) -> list[dict[str, float]]:
    """Rates that move by 1 a step up to a row, and not at all after it."""
    return [row(step, 2.0 + min(step, moving_until), 3.0, 4.0) for step in range(rows)]


class TestSettled:
    @given(st.integers(1, 20), st.integers(0, 40), st.integers(0, 40))
    def test_it_takes_patience_steps_without_movement(
        self, patience: int, moving: int, rest: int
    ) -> None:
        history = still(moving + rest + 1, moving_until=moving)
        assert settled(history, patience, limits=WIDE) is (rest >= patience)

    @given(
        st.lists(st.lists(st.integers(8, 200), min_size=3, max_size=3), min_size=1, max_size=12),
        st.integers(0, 6),
        st.integers(-4, 300),
    )
    def test_where_the_rates_lie_does_not_matter(
        self, rates: list[list[int]], patience: int, shift: int
    ) -> None:
        # in 64ths, which add without rounding
        here = [row(i, *(value / 64 for value in values)) for i, values in enumerate(rates)]
        there = [
            row(i, *((value + 64 * shift) / 64 for value in values))
            for i, values in enumerate(rates)
        ]
        assert settled(here, patience, limits=WIDE) is settled(there, patience, limits=WIDE)

    @given(st.integers(0, 50))
    def test_patience_zero_never_settles(self, rows: int) -> None:
        assert not settled(still(rows), 0, limits=WIDE)

    @given(st.integers(1, 50), st.data())
    def test_a_history_that_is_too_short_never_settles(
        self, patience: int, data: st.DataObject
    ) -> None:
        rows = data.draw(st.integers(0, patience))
        assert not settled(still(rows), patience, limits=WIDE)
        assert settled(still(patience + 1), patience, limits=WIDE)  # negative control: one row more

    @pytest.mark.parametrize("column", range(3))
    def test_one_rate_that_moves_is_enough(self, column: int) -> None:
        history = [row(step, 2.0, 3.0, 4.0) for step in range(6)]
        assert settled(history, 5, limits=WIDE)
        history[3][COLUMNS[column]] += 0.11
        assert not settled(history, 5, limits=WIDE)
        assert settled(history, 1, limits=WIDE)  # what came before the patience does not count

    @pytest.mark.parametrize("step", [0.03, -0.03])
    def test_slow_drift_is_movement(self, step: float) -> None:
        history = [row(i, 5.0 + step * i, 3.0, 4.0) for i in range(10)]
        assert not settled(history, 9, limits=WIDE)
        assert settled(history, 3, limits=WIDE)  # negative control: within 0.1 over three steps

    def test_other_columns_do_not_count(self) -> None:
        history = [{**row(i, 2.0, 3.0, 4.0), "loss": 1.0 / (i + 1)} for i in range(6)]
        assert settled(history, 5, limits=WIDE)
        assert rate_columns(history[0]) == list(COLUMNS)

    @pytest.mark.parametrize(
        ("lower", "upper", "tolerance"),
        [(1, 1, 0.0), (1, 4, 0.03), (4, 20, 0.1), (1, 11, 0.1), (1, 10, 0.09), (1, 64, 0.1)],
    )
    def test_movement_is_judged_against_the_limits(
        self, lower: int, upper: int, tolerance: float
    ) -> None:
        assert tolerance_px(lower, upper) == pytest.approx(tolerance)
        limits = {**WIDE, "b": (lower, upper)}

        def swung_by(way_px: float) -> bool:
            history = [row(step, 2.0, 3.0, lower + way_px * (step % 2)) for step in range(6)]
            return settled(history, 5, limits=limits)

        assert swung_by(0.99 * tolerance)
        assert not swung_by(1.01 * tolerance + 1e-6)


UNMOVED = (
    "no rate moved by more than 0.05 in 2 steps; search longer, or give the rates a larger "
    "learning rate"
)
SHORT = (
    "the field is 50 px and 100 px are needed; search longer, raise the upper limits, pull harder "
    "(field_target), or set another needed_px if the task asks for less"
)
FELL = (
    "every rate fell back to its lower limit: the loss asks for no larger field; if you expect "
    "one, give its needed_px, or widen the smoothing"
)
ROSE = (
    "2 of 3 rates ended on their upper limit; raise the limits, or lower the learning rate of the "
    "rates if that is more than the task can need"
)
START = (3.0, 3.0, 3.0)
MOVED = (4.0, 3.0, 5.0)


@pytest.mark.parametrize(
    ("first", "last", "field_px", "needed_px", "said"),
    [
        (START, MOVED, 50, None, []),
        (START, MOVED, 50, 50, []),
        # nothing moved
        (START, (3.04, 2.96, 3.0), 50, None, [UNMOVED]),
        (START, (3.06, 3.0, 3.0), 50, None, []),
        (START, (2.94, 3.0, 3.0), 50, None, []),
        # a short field, told below nine tenths of what is needed
        (START, MOVED, 50, 100, [SHORT]),
        (START, MOVED, 90, 100, []),
        (START, MOVED, 200, 100, []),
        (START, START, 50, 100, [UNMOVED, SHORT]),
        # on the lower limits: all, and not from the beginning
        (START, (1.0, 1.04, 2.0), 50, None, [FELL]),
        (START, (1.0, 1.2, 2.0), 50, None, []),
        ((1.0, 1.0, 2.0), (1.0, 1.0, 2.0), 50, None, [UNMOVED]),
        # on the upper limits: half of them, and more than at the beginning
        (START, (9.0, 8.96, 5.0), 50, None, [ROSE]),
        (START, (9.0, 3.0, 5.0), 50, None, []),
        ((9.0, 9.0, 3.0), (9.0, 9.0, 5.0), 50, None, []),
        ((9.0, 3.0, 3.0), (9.0, 9.0, 5.0), 50, None, [ROSE]),
    ],
)
def test_findings(
    first: tuple[float, ...],
    last: tuple[float, ...],
    field_px: float,
    needed_px: int | None,
    said: list[str],
) -> None:
    history = [row(0, *first), row(1, *first), row(2, *last, field_px=field_px)]
    assert list(findings(history, limits=LIMITS, needed_px=needed_px)) == said


@pytest.mark.parametrize(
    ("first", "between", "said"),
    [
        # what was elsewhere in between has moved, though it ends where it began
        (START, (3.0, 3.06, 3.0), []),
        (START, (3.0, 3.04, 3.0), [UNMOVED]),
        ((1.0, 1.0, 2.0), (1.0, 1.0, 5.0), [FELL]),
        ((1.0, 1.0, 2.0), (1.0, 1.0, 2.04), [UNMOVED]),
        # upper limits are what the user set: rates that come back to them are not told
        ((9.0, 9.0, 5.0), (4.0, 4.0, 5.0), []),
    ],
)
def test_what_happened_in_between_counts(
    first: tuple[float, ...], between: tuple[float, ...], said: list[str]
) -> None:
    history = [row(0, *first), row(1, *between), row(2, *first)]
    assert list(findings(history, limits=LIMITS)) == said


NO_ROOM = (
    "no rate had room to move: limits and gap bound hold every one where it is; raise the upper "
    'limits, select sites further down the network, or search with gap = "report"'
)
BEYOND = (
    "the field is 50 px and 100 px are needed, but limits and bounds allow 80 px at most; select "
    "more sites, deepen the network, raise upper limits that lie below the bound, or set "
    "another needed_px if the task asks for less"
)
LOWEST = (1.0, 1.0, 2.0)


@pytest.mark.parametrize(
    ("first", "last", "needed_px", "widest_px", "limits", "said"),
    [
        # a field out of reach is not to be had by searching longer
        (START, MOVED, 100, 80, LIMITS, [BEYOND]),
        (START, MOVED, 100, 100, LIMITS, [SHORT]),
        (START, MOVED, 100, None, LIMITS, [SHORT]),
        (START, MOVED, None, 80, LIMITS, []),
        # rates without room are not to be moved by learning rates
        (LOWEST, LOWEST, None, 50, LIMITS, [NO_ROOM]),
        (LOWEST, LOWEST, None, 51, LIMITS, [UNMOVED]),
        (LOWEST, LOWEST, None, None, LIMITS, [UNMOVED]),
        (START, START, None, 50, LIMITS, [UNMOVED]),  # they may fall
        (LOWEST, LOWEST, None, None, {"a": (1, 1), "b": (2, 2)}, [NO_ROOM]),
        # sites whose limits are equal do not count
        (LOWEST, LOWEST, None, None, {"a": (1, 1), "b": (2, 17)}, [UNMOVED]),
        (LOWEST, (1.0, 1.0, 4.0), None, None, {"a": (1, 1), "b": (2, 17)}, []),
        ((1.0, 1.0, 3.0), LOWEST, None, None, {"a": (1, 1), "b": (2, 17)}, [FELL]),
        (
            START,
            (9.0, 1.5, 3.0),
            None,
            None,
            {"a": (1, 9), "b": (3, 3)},
            [ROSE.replace("2 of 3", "1 of 2")],
        ),
    ],
)
def test_findings_know_what_could_have_been(
    first: tuple[float, ...],
    last: tuple[float, ...],
    needed_px: int | None,
    widest_px: int | None,
    limits: dict[str, tuple[int, int]],
    said: list[str],
) -> None:
    history = [row(0, *first), row(1, *last)]
    told = findings(history, limits=limits, needed_px=needed_px, widest_px=widest_px)
    assert [sentence.replace("in 1 steps", "in 2 steps") for sentence in told] == said


def test_a_fallen_search_is_not_told_to_give_what_it_was_given() -> None:
    history = [row(0, *START), row(1, *LOWEST)]
    assert list(findings(history, limits=LIMITS)) == [FELL]
    (pulled,) = findings(history, limits=LIMITS, needed_px=50)
    assert pulled == FELL.replace("give its needed_px", "pull harder (field_target)")


def test_a_field_that_is_not_known_is_not_called_short() -> None:
    history = [row(0, *START), row(1, *MOVED)]
    assert list(findings(history, limits=LIMITS, needed_px=1000)) != []
    del history[-1]["field_px"]
    assert list(findings(history, limits=LIMITS, needed_px=1000)) == []


@given(
    st.lists(st.floats(2, 9), min_size=3, max_size=3),
    st.lists(st.floats(2, 9), min_size=3, max_size=3),
    st.integers(1, 200),
)
def test_every_finding_says_what_to_do(
    first: list[float], last: list[float], needed_px: int
) -> None:
    history = [row(0, *first), row(9, *last)]
    told = list(findings(history, limits=LIMITS, needed_px=needed_px))
    for sentence in told:
        assert re.search(r"; (search|raise|if you expect)", sentence)
        assert not sentence.endswith(".")  # those who print it end it
    assert any(sentence.startswith("the field") for sentence in told) is (0.9 * needed_px > 50)


class TestManyRates:
    """A site with more than eight rates has a smallest, a mean and a largest."""

    @staticmethod
    def row(step: int, smallest: float, mean: float, largest: float) -> dict[str, float]:
        columns = {"a[min]": smallest, "a[mean]": mean, "a[max]": largest}
        return {"step": step, "field_px": 50.0, **columns, "b[0.0]": 3.0, "b[0.1]": 3.0}

    @pytest.mark.parametrize("column", ["a[min]", "a[mean]", "a[max]", "b[0.1]"])
    def test_it_rests_when_all_three_do(self, column: str) -> None:
        history = [self.row(step, 2.0, 3.0, 4.0) for step in range(6)]
        assert settled(history, 5, limits=WIDE)
        history[3][column] += 0.11
        assert not settled(history, 5, limits=WIDE)

    @pytest.mark.parametrize(
        ("largest", "mean", "told"), [(9.0, 9.0, True), (9.0, 5.0, False), (5.0, 5.0, False)]
    )
    def test_it_counts_once_by_its_mean(self, largest: float, mean: float, told: bool) -> None:
        history = [self.row(0, 3.0, 3.0, 3.0), self.row(1, 3.0, mean, largest)]
        history[-1]["b[0.0]"] = 17.0  # on its limit: one of three, which is not half of them
        assert bool(list(findings(history, limits=LIMITS))) is told

    def test_all_on_the_lower_limit_fell_back(self) -> None:
        history = [self.row(0, 3.0, 3.0, 3.0), self.row(1, 1.0, 1.0, 1.0)]
        history[-1] |= {"b[0.0]": 2.0, "b[0.1]": 2.0}
        assert list(findings(history, limits=LIMITS)) == [FELL]
        history[-1] |= {"a[mean]": 1.2, "a[max]": 8.0}  # the control
        assert list(findings(history, limits=LIMITS)) == []
