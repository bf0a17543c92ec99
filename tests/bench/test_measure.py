"""Turns, times and memory: what a clock or an allocator is known to have done is measured so."""

from collections.abc import Callable

import pytest
import torch

from dilsearch.bench.measure import interleave, peak_bytes, synchronizer

CPU = torch.device("cpu")
MIB = 2**20


class FakeClock:
    """A clock that goes on only when a run says so."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now

    def run_of(self, *seconds: float) -> Callable[[], None]:
        """A run that takes these times, one after the other."""
        left = list(seconds)

        def run() -> None:
            self.now += left.pop(0)

        return run


def test_times_are_those_of_the_clock_and_warm_up_is_dropped() -> None:
    clock = FakeClock()
    runs = {"a": clock.run_of(9, 1, 2, 3), "b": clock.run_of(8, 4, 5, 6)}
    seconds = interleave(runs, rounds=3, warmup=1, clock=clock)
    assert seconds == {"a": [1, 2, 3], "b": [4, 5, 6]}
    # The control: without a warm-up the first rounds count.
    runs = {"a": clock.run_of(9, 1, 2), "b": clock.run_of(8, 4, 5)}
    assert interleave(runs, rounds=3, warmup=0, clock=clock)["a"] == [9, 1, 2]


def test_everybody_begins_in_turn_and_follows_everybody() -> None:
    order: list[str] = []
    runs = {name: lambda name=name: order.append(name) for name in "abc"}
    interleave(runs, rounds=5, warmup=1)
    assert "".join(order) == "abc" + "acb" + "cab" + "cba" + "bca" + "bac"


def test_the_device_is_waited_for_before_and_after_each_run() -> None:
    events: list[str] = []
    interleave(
        {"a": lambda: events.append("run")},
        rounds=2,
        warmup=0,
        synchronize=lambda: events.append("wait"),
        clock=lambda: events.append("clock") or 0.0,
    )
    assert events == ["wait", "clock", "run", "wait", "clock"] * 2


def test_results_are_freed_before_the_next_run() -> None:
    alive: list[int] = []
    count = 0

    class Result:
        def __init__(self) -> None:
            nonlocal count
            count += 1

        def __del__(self) -> None:
            nonlocal count
            count -= 1

    def run() -> Result:
        alive.append(count)
        return Result()

    interleave({"a": run, "b": run}, rounds=3, warmup=0)
    assert alive == [0] * 6


def test_nobody_takes_no_time() -> None:
    assert interleave({}, rounds=2, warmup=1) == {}


def test_the_cpu_needs_no_waiting() -> None:
    assert synchronizer(CPU)() is None


def _floats(mebibytes: int) -> torch.Tensor:
    return torch.empty(mebibytes * MIB // 4)


def test_peak_of_a_known_sequence() -> None:
    def run() -> torch.Tensor:
        a = _floats(1)
        b = _floats(2)  # 3 live
        del a
        c = _floats(4)  # 6 live: the peak, although 9 are handed out in all
        del b
        d = _floats(1)  # 5 live
        del d
        return c

    assert peak_bytes(run, CPU) == 6 * MIB
    assert peak_bytes(lambda: None, CPU) == 0


def test_what_was_there_before_does_not_count_and_its_release_lends_no_room() -> None:
    held = [_floats(8)]

    def run() -> None:
        a = _floats(2)
        del a
        held[0] = _floats(3)

    assert peak_bytes(run, CPU) == 3 * MIB


def test_backward_is_counted() -> None:
    x = _floats(1).requires_grad_()

    def run() -> None:
        y = x.exp()  # kept for the backward pass: 1
        (y * 2).sum().backward()
        x.grad = None

    forward = peak_bytes(lambda: x.exp(), CPU)
    assert forward == MIB
    both = peak_bytes(run, CPU)
    assert both is not None
    assert both >= 2 * MIB


def test_buffers_that_a_thread_keeps_are_counted_every_time() -> None:
    import threading

    kept = threading.local()

    def run() -> None:
        if not hasattr(kept, "buffer"):
            kept.buffer = _floats(2)

    run()
    assert peak_bytes(run, CPU) == 2 * MIB
    assert peak_bytes(run, CPU) == 2 * MIB


def test_what_a_run_raises_is_raised() -> None:
    def fail() -> None:
        raise ArithmeticError("no")

    with pytest.raises(ArithmeticError, match="no"):
        peak_bytes(fail, CPU)


def test_a_device_that_cannot_be_followed_has_no_peak() -> None:
    assert peak_bytes(lambda: None, torch.device("mps")) is None


@pytest.mark.gpu
def test_peak_on_cuda() -> None:
    device = torch.device("cuda")
    before = torch.empty(8 * MIB // 4, device=device)

    def run() -> torch.Tensor:
        a = torch.empty(2 * MIB // 4, device=device)
        b = torch.empty(4 * MIB // 4, device=device)
        del a
        return b

    assert peak_bytes(run, device) == 6 * MIB
    assert before.numel()
