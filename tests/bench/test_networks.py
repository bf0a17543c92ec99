"""The networks that are compared are the same network."""

import copy
from contextlib import nullcontext
from dataclasses import replace

import pytest
import torch
from torch import nn

from dilsearch.bench import networks
from dilsearch.bench.cases import CONTESTANTS, NetworkCase, all_cases
from dilsearch.layers import RelaxedConv2d

CPU = torch.device("cpu")
# Without the gap bound: following the field takes seconds, and the command's test does it.
CASES = [
    replace(case, bounded=False) for case in all_cases(quick=True) if isinstance(case, NetworkCase)
]
ids = pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])


def at_plain_rates(case: NetworkCase) -> NetworkCase:
    """The network with the real-valued rates where the plain one has its whole ones."""
    rates = {
        site: tuple(map(float, plain * (len(case.rates[site]) // len(plain))))
        for site, plain in zip(case.sites, case.plain_rates, strict=True)
    }
    return replace(case, rates=rates)


def scores_of(network: nn.Module, batch: networks.Batch) -> torch.Tensor:
    """Scores without the noise of dropout; statistics of the batch carry differences along."""
    network.train()
    for module in network.modules():
        if isinstance(module, nn.Dropout):
            module.eval()
    with torch.no_grad():
        scores: torch.Tensor = network(batch.image)
    return scores


def differing(scores: torch.Tensor, others: torch.Tensor) -> float:
    """The largest difference as a share of how much the scores vary."""
    return float((scores - others).abs().max() / others.std())


@ids
def test_everybody_computes_the_same_at_whole_rates(case: NetworkCase) -> None:
    batch = networks.Batch.of(case, CPU)
    same = networks.training_networks(at_plain_rates(case), tuple(CONTESTANTS), CPU)
    assert list(same) == ["native", "ours", "deformable"]
    scores = {name: scores_of(network, batch) for name, network in same.items()}
    for name, values in scores.items():
        assert differing(values, scores["native"]) < 1e-4, name
    # The control: at the rates that are measured they differ from the plain network.
    other = networks.training_networks(case, ["ours"], CPU)["ours"]
    assert differing(scores_of(other, batch), scores["native"]) > 1e-3


@ids
def test_rates_lie_between_whole_ones_and_stay_there(case: NetworkCase) -> None:
    batch = networks.Batch.of(case, CPU)
    for name, network in networks.training_networks(case, ["ours", "deformable"], CPU).items():
        step = networks.training_step(case, network, batch, nullcontext)
        step()
        kinds = RelaxedConv2d if name == "ours" else networks.DeformableConv2d
        layers = {site: m for site, m in network.named_modules() if isinstance(m, kinds)}
        assert set(layers) == set(case.sites)
        for site, layer in layers.items():
            expected = torch.tensor(case.rates[site])
            torch.testing.assert_close(layer.rate.detach(), expected, rtol=0, atol=1e-4)
            assert not torch.equal(layer.rate.detach(), expected)  # it did learn


@ids
def test_a_step_trains_every_weight_and_leaves_no_gradient(case: NetworkCase) -> None:
    batch = networks.Batch.of(case, CPU)
    network = networks.training_networks(case, ["native"], CPU)["native"]
    before = copy.deepcopy(network)
    networks.training_step(case, network, batch, nullcontext)()
    pairs = zip(network.parameters(), before.parameters(), strict=True)
    assert all(not torch.equal(after, weight) for after, weight in pairs)
    assert all(parameter.grad is None for parameter in network.parameters())


@ids
def test_networks_share_no_weight(case: NetworkCase) -> None:
    found = networks.training_networks(case, tuple(CONTESTANTS), CPU)
    known = [
        parameter.data_ptr() for network in found.values() for parameter in network.parameters()
    ]
    assert len(set(known)) == len(known)


@ids
def test_inference_is_that_of_plain_layers_at_whole_rates(case: NetworkCase) -> None:
    batch = networks.Batch.of(case, CPU)
    found = networks.inference_networks(case, tuple(CONTESTANTS), CPU)
    assert list(found) == ["native", "ours"]
    assert not any(isinstance(m, RelaxedConv2d) for m in found["ours"].modules())
    runs = {name: networks.inference(net, batch, nullcontext) for name, net in found.items()}
    scores = {name: run() for name, run in runs.items()}
    assert scores["ours"].shape == scores["native"].shape
    assert not scores["ours"].requires_grad
    # Whole rates do not change how much is multiplied.
    counts = {name: networks.multiply_accumulates(run) for name, run in runs.items()}
    assert counts["ours"] == counts["native"] > 1e6
    if case.name == "regseg":  # with a rate for each channel the two are not the same function
        torch.testing.assert_close(scores["ours"], scores["native"], rtol=1e-3, atol=1e-5)


def test_multiplications_and_additions_count_once() -> None:
    conv = nn.Conv2d(3, 4, 3, padding=1, bias=False)
    count = networks.multiply_accumulates(lambda: conv(torch.zeros(1, 3, 5, 6)))
    assert count == 4 * 3 * 9 * 5 * 6
