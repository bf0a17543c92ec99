"""What one fractional convolution costs, forward and backward, beside a plain and a deformable one.

Run by hand, never by pytest: ``python tests/benchmarks/fractional_conv.py``. The contestants take
turns in one process, so that a machine that slows down slows all; ratios are medians of rounds.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.ops import deform_conv2d

from dilsearch.ops import fractional_conv2d


@dataclass(frozen=True)
class Case:
    """A 3x3 convolution of as many outputs as inputs, and the rates of its branches."""

    name: str
    shape: tuple[int, int, int, int]
    groups: int
    rates: tuple[float, ...]


CASES = (
    Case("one branch of a D block", (2, 128, 64, 64), 8, (5.5,)),
    Case("a dense layer", (2, 256, 45, 60), 1, (5.5,)),
    Case("a two-branch RegSeg block", (2, 256, 23, 30), 16, (1.3, 4.7)),
)


def plain(x: Tensor, weight: Tensor, rates: Sequence[float], groups: int) -> Tensor:
    """The integer convolution: split, convolve each branch at the rate's whole part, join."""
    count = len(rates)
    parts = [
        F.conv2d(part, kernels, None, 1, int(rate), int(rate), groups // count)
        for part, kernels, rate in zip(x.chunk(count, 1), weight.chunk(count), rates, strict=True)
    ]
    return parts[0] if count == 1 else torch.cat(parts, 1)


def deformable(x: Tensor, weight: Tensor, rate: Tensor) -> Tensor:
    """The same sampling by torchvision's general operation."""
    places = torch.tensor([-1.0, 0.0, 1.0], device=x.device)
    grid = torch.stack(torch.meshgrid(places, places, indexing="ij"), dim=-1)
    moves = ((rate.reshape(-1, 1, 1, 1) - 1) * grid).reshape(1, -1, 1, 1)
    offsets = moves.expand(len(x), -1, *x.shape[2:]).contiguous()
    return deform_conv2d(x, offsets, weight, padding=1)


def contestants(case: Case, device: str) -> dict[str, Callable[[], None]]:
    """Forward and backward of each, on the same tensors."""
    torch.manual_seed(0)
    channels = case.shape[1]
    x = torch.randn(case.shape, device=device, requires_grad=True)
    weight = torch.randn(channels, channels // case.groups, 3, 3, device=device)
    weight.requires_grad_()
    rate = torch.tensor(case.rates, device=device, requires_grad=True)
    cotangent = torch.randn(case.shape, device=device)
    forwards = {
        "plain": lambda: plain(x, weight, case.rates, case.groups),
        "fractional": lambda: fractional_conv2d(
            x, weight, None, rate, padding=1, groups=case.groups
        ),
        "deformable": lambda: deformable(x, weight, rate),
    }

    def both_ways(forward: Callable[[], Tensor]) -> Callable[[], None]:
        def run() -> None:
            inputs = (x, weight, rate)
            torch.autograd.grad(forward(), inputs, cotangent, allow_unused=True)

        return run

    return {name: both_ways(forward) for name, forward in forwards.items()}


def seconds(run: Callable[[], None], device: str) -> float:
    """Wall-clock time of one run."""
    started = time.perf_counter()
    run()
    if device.startswith("cuda"):
        torch.cuda.synchronize()
    return time.perf_counter() - started


def main() -> None:
    """Measure and print medians, and median ratios to the plain convolution."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=21)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--without-deformable", action="store_true", help="it takes the longest")
    arguments = parser.parse_args()
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {arguments.device}")
    for case in CASES:
        runs = contestants(case, arguments.device)
        if arguments.without_deformable:
            del runs["deformable"]
        times: dict[str, list[float]] = {name: [] for name in runs}
        for round_ in range(arguments.rounds + 2):
            for name, run in runs.items():
                taken = seconds(run, arguments.device)
                if round_ >= 2:  # the first rounds warm up caches and allocators
                    times[name].append(taken)
        size = " x ".join(map(str, case.shape))
        print(f"{case.name}: {size}, {case.groups} groups, rates {case.rates}")
        for name, values in times.items():
            ratios = [a / b for a, b in zip(values, times["plain"], strict=True)]
            print(
                f"  {name:>10}: median {statistics.median(values) * 1e3:8.2f} ms, "
                f"{statistics.median(ratios):6.2f} x plain"
            )


if __name__ == "__main__":
    main()
