import pytest

from dilsearch.training import PolySchedule


def test_poly_decay_with_a_linear_ramp() -> None:
    # RegSeg's recipe: (1 - t/T)^0.9, times 0.1 rising to 1 over the first W steps
    schedule = PolySchedule(100, power=0.9, warmup_steps=10, warmup_factor=0.1)
    assert schedule.factor(0) == pytest.approx(0.1)
    assert schedule.factor(5) == pytest.approx(0.95**0.9 * 0.55)
    assert schedule.factor(10) == pytest.approx(0.9**0.9)
    assert schedule.factor(99) == pytest.approx(0.01**0.9)


def test_power_zero_is_constant_and_no_warmup_is_none() -> None:
    assert [PolySchedule(10, power=0).factor(step) for step in range(10)] == [1.0] * 10
    assert PolySchedule(10).factor(0) == 1.0
