"""Cases and contestants put together: every quantity of every case, in values round by round."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Final, Literal, TypeAlias, TypeVar

import torch
from torch import Tensor

from dilsearch.bench import networks
from dilsearch.bench.cases import Case, GrowthCase, LayerCase, NetworkCase
from dilsearch.bench.contestants import (
    Forward,
    LayerTensors,
    forwards,
    inputs_of,
    reason_to_leave_out,
)
from dilsearch.bench.measure import Run, interleave, peak_bytes, synchronizer
from dilsearch.bench.outcome import NOT_INSTALLED, Measurement, Outcome

Precision: TypeAlias = Literal["float32", "bfloat16"]

R = TypeVar("R", bound=Run)

ROUNDS: Final = 15
WARMUP: Final = 2


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How everything is measured.

    Args:
        device: Where it computes.
        contestants: Who takes part.
        rounds: Rounds that count.
        warmup: Rounds before them that do not.
        precision: ``bfloat16`` runs forward passes under ``torch.autocast``.
        clock: Seconds since any moment.
    """

    device: torch.device
    contestants: Sequence[str]
    rounds: int = ROUNDS
    warmup: int = WARMUP
    precision: Precision = "float32"
    clock: Callable[[], float] = time.perf_counter

    def autocast(self) -> AbstractContextManager[object]:
        """What a forward pass runs in."""
        enabled = self.precision == "bfloat16"
        return torch.autocast(self.device.type, torch.bfloat16, enabled=enabled)


def run_cases(
    cases: Iterable[Case], settings: Settings, watch: Callable[[Case], None] | None = None
) -> Outcome:
    """Measure the cases one after the other.

    Args:
        cases: What is measured.
        settings: How.
        watch: Told of each case before it begins.
    """
    outcome = Outcome()
    for case in cases:
        if watch is not None:
            watch(case)
        outcome.measurements += _measure(case, settings, outcome)
    return outcome


def _measure(case: Case, settings: Settings, outcome: Outcome) -> Iterator[Measurement]:
    if isinstance(case, NetworkCase):
        yield from _measure_network(case, settings, outcome)
    elif isinstance(case, LayerCase):
        yield from _measure_layer(_Series(case.name, settings, outcome), case)
    else:
        yield from _measure_growth(case, settings, outcome)


def _measure_growth(
    case: GrowthCase, settings: Settings, outcome: Outcome
) -> Iterator[Measurement]:
    for value, layer in case.points.items():
        series = _Series(case.name, settings, outcome, at=value)
        runs = _both_ways(series, layer)
        yield from series.times("forward_backward_ms", runs)


def _measure_layer(series: "_Series", case: LayerCase) -> Iterator[Measurement]:
    runs = _both_ways(series, case)
    passes = {name: run.forward for name, run in runs.items()}
    yield from series.times("forward_ms", passes)
    yield from series.times("forward_backward_ms", runs)
    yield from series.memory("forward_backward_mib", runs)


def _measure_network(
    case: NetworkCase, settings: Settings, outcome: Outcome
) -> Iterator[Measurement]:
    series = _Series(case.name, settings, outcome)
    if "dcls" in settings.contestants:
        missing = NOT_INSTALLED if find_spec("DCLS") is None else "for single layers only"
        outcome.leave_out("dcls", missing, case.name)
    batch = networks.Batch.of(case, settings.device)
    nets = networks.training_networks(case, settings.contestants, settings.device)
    steps = {
        name: networks.training_step(case, network, batch, settings.autocast)
        for name, network in nets.items()
    }
    steps = series.able(steps)
    yield from series.times("training_step_ms", steps)
    yield from series.memory("training_step_mib", steps)
    del nets, steps
    nets = networks.inference_networks(case, settings.contestants, settings.device)
    passes = {
        name: networks.inference(network, batch, settings.autocast)
        for name, network in nets.items()
    }
    passes = series.able(passes)
    yield from series.times("inference_ms", passes)
    counts = {name: (networks.multiply_accumulates(run) / 1e9,) for name, run in passes.items()}
    yield from series.values("inference_gmac", counts)


@dataclass(frozen=True)
class _BothWays:
    """Forward and backward of a layer.

    Attributes:
        forward: The forward pass.
        inputs: What gradients are taken for.
        cotangents: The gradient of the output, in every type that it may have.
    """

    forward: Forward
    inputs: tuple[Tensor, ...]
    cotangents: Mapping[torch.dtype, Tensor]

    def __call__(self) -> object:
        output = self.forward()
        return torch.autograd.grad(output, self.inputs, self.cotangents[output.dtype])


def _both_ways(series: "_Series", case: LayerCase) -> dict[str, _BothWays]:
    """The runs of all who can take a case."""
    settings = series.settings
    for name in settings.contestants:
        reason = reason_to_leave_out(case, name)
        if reason is not None:
            series.outcome.leave_out(name, reason, series.case)
    tensors = LayerTensors.of(case, settings.device)
    cotangents = {dtype: tensors.cotangent.to(dtype) for dtype in (torch.float32, torch.bfloat16)}
    runs = {
        name: _BothWays(_autocast(forward, settings), inputs_of(name, tensors), cotangents)
        for name, forward in forwards(case, tensors, settings.contestants).items()
    }
    return series.able(runs)


def _autocast(forward: Forward, settings: Settings) -> Forward:
    def run() -> Tensor:
        with settings.autocast():
            return forward()

    return run


@dataclass(frozen=True)
class _Series:
    """The measurements of one case, or of one point of it."""

    case: str
    settings: Settings
    outcome: Outcome
    at: float | None = None

    def able(self, runs: Mapping[str, R]) -> dict[str, R]:
        """Those that get through one run in the memory there is."""
        able = {}
        for name, run in runs.items():
            try:
                run()
            except torch.OutOfMemoryError:
                self.outcome.leave_out(name, "out of memory", self.case)
            else:
                able[name] = run
        return able

    def times(self, quantity: str, runs: Mapping[str, Run]) -> Iterator[Measurement]:
        """Milliseconds, round by round."""
        seconds = interleave(
            runs,
            rounds=self.settings.rounds,
            warmup=self.settings.warmup,
            synchronize=synchronizer(self.settings.device),
            clock=self.settings.clock,
        )
        scaled = {name: tuple(1e3 * value for value in taken) for name, taken in seconds.items()}
        yield from self.values(quantity, scaled)

    def memory(self, quantity: str, runs: Mapping[str, Run]) -> Iterator[Measurement]:
        """Mebibytes of one run, in a pass that is not timed."""
        peaks = {name: peak_bytes(run, self.settings.device) for name, run in runs.items()}
        known = {name: (peak / 2**20,) for name, peak in peaks.items() if peak is not None}
        yield from self.values(quantity, known)

    def values(
        self, quantity: str, values: Mapping[str, tuple[float, ...]]
    ) -> Iterator[Measurement]:
        """Measurements of one quantity."""
        for name, taken in values.items():
            yield Measurement(self.case, self.at, quantity, name, taken)
