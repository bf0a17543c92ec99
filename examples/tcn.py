"""A causal network over time: rates that grow reach further into the past, never ahead."""

from pathlib import Path
from tempfile import TemporaryDirectory

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import dilsearch
from dilsearch import PerSite


class Block(nn.Module):
    """A causal residual block: padded at the start alone."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(width, width, 3)

    def forward(self, x: Tensor) -> Tensor:
        """Add what the past tells."""
        return x + self.conv(F.pad(x, (2, 0))).relu()


def build() -> nn.Module:
    """Four blocks, of which each sees two steps more."""
    blocks = [Block(16) for _ in range(4)]
    return nn.Sequential(nn.Conv1d(1, 16, 1), *blocks, nn.Conv1d(16, 2, 1))


if __name__ == "__main__":
    # which of two signs did the series have 20 steps ago?
    series = torch.randn(8, 1, 128)
    labels = (F.pad(series, (20, 0))[..., :128] > 0).long().squeeze(1)
    sites = {"*.conv": PerSite(1, 16, causal=True)}  # the last tap stays where it is
    model = dilsearch.relax(build(), sites, example=series)
    rates = dilsearch.search_rates(model, [(series, labels)], budget=60, device="cpu")
    plan = dilsearch.project(rates, dilsearch.field_graph(model)).plan
    network = dilsearch.discretize(model, plan)
    steps = 1 + sum(2 * int(rate) for (rate,) in plan.values())
    print(f"rates {plan}: the last {steps} steps are seen, 21 are needed")

    with TemporaryDirectory() as folder:
        path = Path(folder) / "tcn.safetensors"
        dilsearch.save(network, path)
        deployed = dilsearch.apply_plan(build(), dilsearch.saved_plan(path))
        dilsearch.load(deployed, path)
    print(f"same output after save and load: {torch.equal(deployed(series), network(series))}")
