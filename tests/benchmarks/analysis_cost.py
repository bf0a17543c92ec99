"""What an analysis costs, beside the export of the model that it needs. Run by hand.

Measures torchvision's deeplabv3_resnet101 on a 1024 x 2048 image, and stacks of residual blocks of
more and more operations. ``export`` is ``torch.export`` of the same copy of the model on the meta
device, which every analysis contains; what is above it is ours. Run it from the root of the
repository:

    python tests/benchmarks/analysis_cost.py --out reports/bench/analysis
"""

import argparse
import json
import statistics
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import torch
from matplotlib.figure import Figure
from torch import nn
from torchvision.models.segmentation import deeplabv3_resnet101

from dilsearch.analysis import analyze
from dilsearch.bench.machine import describe_machine
from dilsearch.bench.measure import interleave, peak_bytes
from dilsearch.bench.suite import Settings
from dilsearch.report.figures import as_png
from dilsearch.report.style import BLUE, GREY, label, new_axes, new_figure
from dilsearch.runs import write_atomically
from dilsearch.tracing.shadow import shadow_of

DEPTHS = (10, 20, 40, 80, 160, 320)
CPU = torch.device("cpu")


class Block(nn.Module):
    """A dilated convolution with a shortcut."""

    def __init__(self, rate: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 3, padding=rate, dilation=rate)
        self.norm = nn.BatchNorm2d(4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + torch.relu(self.norm(self.conv(x)))


def stack(depth: int) -> nn.Module:
    """A stem of stride 4, and so many blocks of rates 1 and 2 in turn."""
    stem = nn.Conv2d(3, 4, 7, stride=4, padding=3)
    return nn.Sequential(stem, *(Block(1 + index % 2) for index in range(depth))).eval()


def runs(model: nn.Module, shape: tuple[int, ...]) -> dict[str, Callable[[], object]]:
    """The analysis, and the export alone."""
    example = torch.empty(shape, device="meta")
    return {
        "export": lambda: torch.export.export(shadow_of(model), (example,)),
        "analysis": lambda: analyze(model, example),
    }


def measured(model: nn.Module, shape: tuple[int, ...], rounds: int) -> dict[str, float]:
    """Medians in seconds, and how many times the export the analysis takes, round by round."""
    seconds = interleave(runs(model, shape), rounds=rounds, warmup=1)
    ratios = [a / e for a, e in zip(seconds["analysis"], seconds["export"], strict=True)]
    return {
        "operations": operations(model, shape),
        "export_s": statistics.median(seconds["export"]),
        "analysis_s": statistics.median(seconds["analysis"]),
        "analysis_least_s": min(seconds["analysis"]),
        "analysis_most_s": max(seconds["analysis"]),
        "ratio": statistics.median(ratios),
    }


def operations(model: nn.Module, shape: tuple[int, ...]) -> int:
    """Operations of the exported program."""
    program = torch.export.export(shadow_of(model), (torch.empty(shape, device="meta"),))
    return sum(node.op == "call_function" for node in program.graph.nodes)


def figure_of(growth: pd.DataFrame) -> Figure:
    """Seconds and milliseconds for each operation, against operations."""
    figure = new_figure(3.0)
    axes = new_axes(figure)
    for column, name, color, mark in (
        ("analysis_s", "analysis", BLUE, "o"),
        ("export_s", "export alone", GREY, "^"),
    ):
        axes.plot(
            growth["operations"], growth[column], color=color, marker=mark, ms=4.5, label=name
        )
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0)
    axes.legend(loc="upper left", fontsize=8.5, frameon=False)
    label(axes, "operations of the program", "seconds")
    return figure


def main() -> None:
    """Measure, and write results.csv, machine.json, growth.png."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with torch.device("meta"):
        deeplab = deeplabv3_resnet101(weights=None, weights_backbone=None).eval()
    shape = (1, 3, 1024, 2048)
    rows = [{"model": "deeplabv3_resnet101", **measured(deeplab, shape, options.rounds)}]
    peak = peak_bytes(runs(deeplab, shape)["analysis"], CPU)
    for depth in DEPTHS:
        rows.append({"model": f"{depth} blocks", **measured(stack(depth), shape, options.rounds)})
    results = pd.DataFrame(rows)
    results["ms_per_operation"] = 1e3 * results["analysis_s"] / results["operations"]
    machine = {
        **describe_machine(
            Settings(device=CPU, contestants=(), rounds=options.rounds), quick=False
        ),
        "deeplab_peak_mib": None if peak is None else peak / 2**20,
    }
    table = results.to_csv(index=False, float_format="%.4f", lineterminator="\n")
    write_atomically(options.out / "results.csv", table)
    write_atomically(options.out / "growth.png", as_png(figure_of(results.iloc[1:])))
    write_atomically(options.out / "machine.json", json.dumps(machine, indent=2) + "\n")
    print(results.to_string(index=False))
    print(f"most memory of torch's allocator during an analysis of DeepLab: {peak} bytes")


if __name__ == "__main__":
    main()
