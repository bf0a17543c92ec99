"""Times of runs that take turns, and the most memory that one run holds."""

import os
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor

import torch
from torch.autograd.profiler import profile

Run = Callable[[], object]


def _nothing() -> None:
    """What a device that works along with the program waits for."""


def interleave(
    runs: Mapping[str, Run],
    *,
    rounds: int,
    warmup: int,
    synchronize: Callable[[], object] = _nothing,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, list[float]]:
    """Seconds of each run in each round.

    Everybody runs once in a round. Who begins changes from round to round, and so does the order,
    forwards and backwards in turn, so that nobody always runs in the caches that the same other has
    just filled.

    Args:
        runs: What is timed, by name.
        rounds: Rounds that count.
        warmup: Rounds before them, which are run and forgotten.
        synchronize: Waits until the device has done what it was told to.
        clock: Seconds since any moment.
    """
    names = list(runs)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for round_ in range(warmup + rounds):
        first = round_ % max(len(names), 1)
        order = names[first:] + names[:first]
        for name in order if round_ % 2 == 0 else reversed(order):
            synchronize()
            started = clock()
            result = runs[name]()
            synchronize()
            taken = clock() - started
            del result  # freed before another one begins
            if round_ >= warmup:
                seconds[name].append(taken)
    return seconds


def synchronizer(device: torch.device) -> Callable[[], object]:
    """What waits for a device."""
    if device.type == "cuda":
        return lambda: torch.cuda.synchronize(device)
    return torch.mps.synchronize if device.type == "mps" else _nothing


def peak_bytes(run: Run, device: torch.device) -> int | None:
    """The most memory that one run holds at a time beyond what was there before it.

    Weights, inputs and the state of optimisers are there before, and do not count; the results of
    the run, what it keeps for the backward pass, and its scratch memory do. On CUDA it is what the
    caching allocator has handed out. On the CPU it is what torch's allocator has handed out less
    what it got back, at its greatest; the memory that a library takes from elsewhere, as oneDNN
    may for its own use, is not seen. There the run has a thread of its own, so that buffers which
    a thread keeps from one call to the next are made anew and counted.

    Args:
        run: It should have run before, so that what is made once is there.
        device: Where it computes.

    Returns:
        Bytes; None where the device's memory cannot be followed.
    """
    if device.type == "cuda":
        return _cuda_peak(run, device)
    if device.type != "cpu":
        return None
    # The profiler's library reports on standard error that there is no GPU, and wants to be started
    # by the main thread first.
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")
    with profile():
        pass
    with ThreadPoolExecutor(max_workers=1) as thread:
        return thread.submit(_cpu_peak, run).result()


def _cuda_peak(run: Run, device: torch.device) -> int:
    torch.cuda.synchronize(device)
    before = torch.cuda.memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    run()
    torch.cuda.synchronize(device)
    return torch.cuda.max_memory_allocated(device) - before


def _cpu_peak(run: Run) -> int:
    with profile(profile_memory=True) as profiler:
        result = run()
        del result
    changes = [
        (event.start_ns(), event.nbytes())
        for event in profiler.kineto_results.events()
        if event.name() == "[memory]"
    ]
    live = peak = 0
    for _, change in sorted(changes, key=lambda change: change[0]):
        live += change
        peak = max(peak, live)
    return peak
