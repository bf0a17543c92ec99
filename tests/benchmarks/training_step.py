"""What searching costs: one training step of RegSeg with fractional rates against integer ones.

Run by hand, never by pytest: ``python tests/benchmarks/training_step.py``. Both networks take
turns in one process, so that a machine that slows down slows both; the median ratio is the result.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import nn

from dilsearch.models import build_model
from dilsearch.search import search_columns
from dilsearch.sites import PerBranch
from dilsearch.surgery import clamp_rates, rate_parameters, relax

SITES = {"body.[5-9].conv2": PerBranch(1, 18), "body.1[0-7].conv2": PerBranch(1, 18)}


def step_of(model: nn.Module, image: torch.Tensor, label: torch.Tensor) -> Callable[[], None]:
    """One step as the search makes it: forward, backward, optimisers, clamping, reading."""
    relaxed = any(name.endswith("rate") for name, _ in model.named_parameters())
    rates = rate_parameters(model) if relaxed else []
    known = {id(rate) for rate in rates}
    weights = [p for p in model.parameters() if id(p) not in known]
    optimizers: list[torch.optim.Optimizer] = [
        torch.optim.SGD(weights, lr=1e-3, momentum=0.9, weight_decay=1e-4)
    ]
    if rates:
        # so small that rates stay between the integers they were put at
        optimizers.append(torch.optim.Adam(rates, lr=1e-6))

    def step() -> None:
        loss = nn.functional.cross_entropy(model(image), label)
        loss.backward()
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()
        if rates:
            clamp_rates(model, gap="enforce")
            search_columns(model)

    return step


def main() -> None:
    """Measure and print the medians and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", default="2,3,360,480", help="batch,channels,height,width")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    shape = tuple(int(part) for part in arguments.size.split(","))
    torch.manual_seed(0)
    image = torch.rand(shape, device=arguments.device)
    label = torch.randint(0, 11, (shape[0], *shape[2:]), device=arguments.device)
    integer = build_model("regseg", num_classes=11, rates=[(1, 4)] * 13)
    fractional = relax(integer, SITES, example=torch.empty(1, 3, 512, 512, device="meta"))
    with torch.no_grad():
        for rate in rate_parameters(fractional):
            rate.copy_(torch.tensor([1.3, 2.7]))
    clamp_rates(fractional, gap="enforce")
    steps = {
        name: step_of(model.to(arguments.device).train(), image, label)
        for name, model in (("integer", integer), ("fractional", fractional))
    }
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for round_ in range(arguments.rounds + 2):
        for name, step in steps.items():
            started = time.perf_counter()
            step()
            if arguments.device.startswith("cuda"):
                torch.cuda.synchronize()
            if round_ >= 2:  # the first rounds warm up caches and allocators
                seconds[name].append(time.perf_counter() - started)
    ratios = [f / i for f, i in zip(seconds["fractional"], seconds["integer"], strict=True)]
    for name, values in seconds.items():
        print(f"{name:>10}: median {statistics.median(values) * 1e3:7.1f} ms")
    low, high = min(ratios), max(ratios)
    print(f"     ratio: median {statistics.median(ratios):.3f}, from {low:.3f} to {high:.3f}")


if __name__ == "__main__":
    main()
