"""A benchmark may only compare ways to compute the same thing."""

from dataclasses import replace

import pytest
import torch

from dilsearch.bench import contestants
from dilsearch.bench.cases import CONTESTANTS, LayerCase, all_cases
from dilsearch.bench.contestants import (
    LayerTensors,
    forwards,
    inputs_of,
    plain_convolution,
    reason_to_leave_out,
)

CPU = torch.device("cpu")
LAYERS = [case for case in all_cases(quick=True) if isinstance(case, LayerCase)]
ids = pytest.mark.parametrize("case", LAYERS, ids=[case.name for case in LAYERS])
NAMES = tuple(CONTESTANTS)


def at_whole_rates(case: LayerCase) -> LayerCase:
    """The layer at rates that every contestant can have, the same for all channels."""
    whole = (
        (3.0,) * len(case.rates) if case.per_channel else tuple(float(int(r)) for r in case.rates)
    )
    return replace(case, rates=whole)


@ids
def test_everybody_computes_the_same_at_whole_rates(case: LayerCase) -> None:
    case = at_whole_rates(case)
    tensors = LayerTensors.of(case, CPU)
    outputs = {name: run() for name, run in forwards(case, tensors, NAMES).items()}
    assert {"native", "ours"} <= set(outputs)
    assert ("deformable" in outputs) == (case.axes == 2)
    for name, output in outputs.items():
        assert output.shape == tensors.cotangent.shape
        torch.testing.assert_close(output, outputs["native"], rtol=1e-4, atol=1e-5, msg=name)
    # The control: another rate gives another output.
    wider = replace(case, rates=tuple(rate + 1 for rate in case.rates))
    assert not torch.allclose(plain_convolution(wider, tensors), outputs["native"], atol=1e-2)


@ids
def test_everybody_has_the_same_gradients_between_whole_rates(case: LayerCase) -> None:
    tensors = LayerTensors.of(case, CPU)
    runs = forwards(case, tensors, NAMES)
    inputs = (tensors.x, tensors.weight, tensors.rate)
    found = {
        name: (run(), *torch.autograd.grad(run(), inputs, tensors.cotangent))
        for name, run in runs.items()
        if name != "native"
    }
    for name, values in found.items():
        for value, ours in zip(values, found["ours"], strict=True):
            scale = float(ours.detach().abs().max())
            torch.testing.assert_close(value, ours, rtol=1e-3, atol=1e-4 * scale, msg=name)


@ids
def test_the_plain_convolution_takes_the_whole_part(case: LayerCase) -> None:
    tensors = LayerTensors.of(case, CPU)
    if case.per_channel:
        mean = int(sum(case.rates) / len(case.rates))
        whole = replace(case, rates=(float(mean),) * len(case.rates))
    else:
        whole = replace(case, rates=tuple(float(int(rate)) for rate in case.rates))
    assert torch.equal(plain_convolution(case, tensors), plain_convolution(whole, tensors))


def test_a_causal_layer_sees_no_future() -> None:
    (case,) = (case for case in LAYERS if case.causal)
    tensors = LayerTensors.of(case, CPU)
    for run in forwards(case, tensors, NAMES).values():
        (grad,) = torch.autograd.grad(run()[..., 20].sum(), tensors.x)
        assert grad[..., 20].abs().sum() > 0
        assert grad[..., 21:].abs().sum() == 0


@ids
def test_tensors_are_the_same_every_time(case: LayerCase) -> None:
    first, again = LayerTensors.of(case, CPU), LayerTensors.of(case, CPU)
    assert torch.equal(first.x, again.x)
    assert torch.equal(first.weight, again.weight)
    assert first.rate.shape == (() if len(case.rates) == 1 else (len(case.rates),))


def test_the_plain_convolution_alone_has_no_gradient_for_rates() -> None:
    tensors = LayerTensors.of(LAYERS[0], CPU)
    assert len(inputs_of("native", tensors)) == 2
    assert inputs_of("ours", tensors)[2] is inputs_of("deformable", tensors)[2] is tensors.rate


def test_who_is_left_out_and_why(monkeypatch: pytest.MonkeyPatch) -> None:
    by_name = {case.name: case for case in all_cases() if isinstance(case, LayerCase)}
    assert reason_to_leave_out(by_name["tcn"], "deformable") == "for images only"
    assert reason_to_leave_out(by_name["dense"], "deformable") is None
    monkeypatch.setattr(contestants, "find_spec", lambda name: None)
    assert reason_to_leave_out(by_name["dense"], "dcls") == "not installed"
    monkeypatch.setattr(contestants, "find_spec", lambda name: object())
    assert reason_to_leave_out(by_name["d-block-branch"], "dcls") is None
    assert reason_to_leave_out(by_name["dense"], "dcls") == (
        "each tensor on the way to its kernel would take 760 MiB"
    )
