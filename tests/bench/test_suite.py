"""Every case gives the quantities it should, for those who take part."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch

from dilsearch.bench import suite
from dilsearch.bench.cases import CONTESTANTS, Case, NetworkCase, choose_cases
from dilsearch.bench.outcome import Outcome
from dilsearch.bench.suite import Settings, run_cases

CPU = torch.device("cpu")


@pytest.fixture
def clock() -> Iterator[float]:
    """Every look at it is half a second after the one before."""
    return iter(0.5 * tick for tick in range(10**6))


def measure(clock: Iterator[float], *names: str, **settings: object) -> Outcome:
    values = {"contestants": ("native", "ours"), "rounds": 2, "warmup": 1, **settings}
    chosen = Settings(device=CPU, clock=lambda: next(clock), **values)  # type: ignore[arg-type]
    return run_cases(choose_cases(names, quick=True), chosen)


def quantities(outcome: Outcome) -> list[tuple[str, float | None, str, str, int]]:
    return [(m.case, m.at, m.quantity, m.contestant, len(m.values)) for m in outcome.measurements]


def test_a_layer(clock: Iterator[float]) -> None:
    outcome = measure(clock, "d-block-branch", contestants=("native", "ours", "deformable"))
    names = ("native", "ours", "deformable")
    assert quantities(outcome) == [
        *(("d-block-branch", None, "forward_ms", name, 2) for name in names),
        *(("d-block-branch", None, "forward_backward_ms", name, 2) for name in names),
        *(("d-block-branch", None, "forward_backward_mib", name, 1) for name in names),
    ]
    times = [m.values for m in outcome.measurements if m.quantity.endswith("_ms")]
    assert set(times) == {(500.0, 500.0)}
    assert outcome.left_out == {}


def test_memory_is_that_of_the_tensors(clock: Iterator[float]) -> None:
    outcome = measure(clock, "dense")
    peaks = {m.contestant: m.values[0] for m in outcome.measurements if "mib" in m.quantity}
    output_mib = 32 * 12 * 12 * 4 / 2**20
    # The output and the gradient of the input have to be there at once.
    assert peaks["native"] >= 2 * output_mib
    assert peaks["ours"] >= 2 * output_mib


def test_what_grows_is_measured_at_every_point(clock: Iterator[float]) -> None:
    assert quantities(measure(clock, "growth-channels")) == [
        ("growth-channels", at, "forward_backward_ms", name, 2)
        for at in (32, 64)
        for name in ("native", "ours")
    ]


def test_a_network(clock: Iterator[float]) -> None:
    (case,) = choose_cases(["regseg"], quick=True)
    assert isinstance(case, NetworkCase)
    # Without the gap bound: following the field takes seconds.
    free = replace(case, bounded=False)
    settings = Settings(
        device=CPU, contestants=tuple(CONTESTANTS), rounds=2, warmup=0, clock=lambda: next(clock)
    )
    outcome = run_cases([free], settings)
    trained, converted = ("native", "ours", "deformable"), ("native", "ours")
    assert quantities(outcome) == [
        *(("regseg", None, "training_step_ms", name, 2) for name in trained),
        *(("regseg", None, "training_step_mib", name, 1) for name in trained),
        *(("regseg", None, "inference_ms", name, 2) for name in converted),
        *(("regseg", None, "inference_gmac", name, 1) for name in converted),
    ]
    assert [contestant for contestant, _ in outcome.left_out] == ["dcls"]


def test_those_who_cannot_take_part_are_named(clock: Iterator[float]) -> None:
    outcome = measure(clock, "tcn", contestants=("native", "deformable", "dcls"))
    assert {m.contestant for m in outcome.measurements} == {"native"}
    assert outcome.left_out == {
        ("deformable", "for images only"): ["tcn"],
        ("dcls", "for images only"): ["tcn"],
    }


def test_a_package_that_is_not_installed_is_named(
    clock: Iterator[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    from dilsearch.bench import contestants

    monkeypatch.setattr(contestants, "find_spec", lambda name: None)
    outcome = measure(clock, "dense", "depthwise", contestants=("native", "dcls"))
    assert outcome.left_out == {("dcls", "not installed"): ["dense", "depthwise"]}


def test_those_who_run_out_of_memory_are_named(
    clock: Iterator[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Greedy(suite._BothWays):
        def __call__(self) -> object:
            if len(self.inputs) == 3:
                raise torch.OutOfMemoryError
            return super().__call__()

    monkeypatch.setattr(suite, "_BothWays", Greedy)
    outcome = measure(clock, "dense")
    assert {m.contestant for m in outcome.measurements} == {"native"}
    assert outcome.left_out == {("ours", "out of memory"): ["dense"]}


@pytest.mark.parametrize(
    "names", [("dense", "tcn"), pytest.param(("regseg",), marks=pytest.mark.slow)]
)
def test_half_precision_is_that_of_autocast(
    clock: Iterator[float], monkeypatch: pytest.MonkeyPatch, names: tuple[str, ...]
) -> None:
    seen: list[torch.dtype] = []

    class Noted(suite._BothWays):
        def __call__(self) -> object:
            seen.append(self.forward().dtype)
            return super().__call__()

    monkeypatch.setattr(suite, "_BothWays", Noted)
    everybody = ("native", "ours", "deformable")
    outcome = measure(clock, *names, precision="bfloat16", contestants=everybody)
    found = {m.contestant for m in outcome.measurements}
    assert found == set(everybody)
    if "dense" in names:
        assert torch.bfloat16 in seen
        seen.clear()
        measure(clock, *names, contestants=everybody)  # the control
        assert set(seen) == {torch.float32}


def test_each_case_is_announced(clock: Iterator[float]) -> None:
    told: list[Case] = []
    cases = choose_cases(["tcn", "depthwise"], quick=True)
    settings = Settings(device=CPU, contestants=("native",), rounds=1, warmup=0)
    run_cases(cases, settings, told.append)
    assert told == list(cases)
