"""The temporal convolutional network: causal to the bit, and able to solve the long-memory task."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dilsearch.data import LongMemory
from dilsearch.errors import ModelError
from dilsearch.models import TCN, build_model
from dilsearch.models.tcn import tcn_layout
from dilsearch.space import LongMemoryData


def _network(rates, *, taps=3, width=8, classes=4):
    torch.manual_seed(0)
    model = build_model(
        "tcn",
        num_classes=classes,
        rates=[[rate] for rate in rates],
        blocks=len(rates),
        width=width,
        taps=taps,
    )
    assert isinstance(model, TCN)
    return model.eval()


@torch.no_grad()
def remember_by_hand(model: TCN, classes: int) -> None:
    """Weights with which every block keeps the class that the nearest of its taps has heard.

    A tap further back passes only where all the nearer ones are silent:
    ``relu(tap - sum of the nearer taps)``. It takes a channel for each class and each tap but the
    nearest, whose class comes by the shortcut.
    """
    for parameter in model.parameters():
        parameter.zero_()
    kinds = torch.arange(classes)
    model.stem.weight[kinds, kinds] = 1
    model.classifier.weight[kinds, kinds] = 1
    for block in model.blocks:
        last = block.conv.kernel_size[0] - 1
        for back in range(1, last + 1):
            own = back * classes + kinds
            block.conv.weight[own, kinds, last - back] = 1
            block.conv.weight[
                back * classes : (back + 1) * classes, :classes, last - back + 1 :
            ] -= 1
            block.mix.weight[kinds, own] = 1


def _wrong(model: TCN, data: LongMemory) -> torch.Tensor:
    """Where no score, or the score of a wrong class, is the highest; by sequence and step."""
    channels, labels = (torch.stack(part) for part in zip(*data, strict=True))
    with torch.no_grad():
        scores = model(channels)
    heard = scores.amax(dim=1) > 0.5
    return ~(heard & (scores.argmax(dim=1) == labels))


def _since_start(labels: torch.Tensor) -> torch.Tensor:
    since = torch.zeros_like(labels)
    for step in range(1, labels.shape[1]):
        goes_on = labels[:, step] == labels[:, step - 1]
        since[:, step] = torch.where(goes_on, since[:, step - 1] + 1, 0)
    return since


# Fields of 21 and 22 steps, each for a task that needs as many and for one that needs one more.
@pytest.mark.parametrize(
    ("rates", "taps", "pulse", "solves"),
    [
        ((1, 3, 6), 3, 4, True),
        ((1, 3, 6), 3, 3, False),
        ((1, 2, 4, 8, 6), 2, 3, True),
        ((1, 2, 4, 8, 6), 2, 2, False),
    ],
)
def test_the_needed_field_is_just_enough(rates, taps, pulse, solves):
    data = LongMemory(length=60, segment=24, pulse=pulse, classes=3, sequence=96)
    needed = LongMemoryData(name="long_memory", segment=24, pulse=pulse).needed_px
    field = 1 + (taps - 1) * sum(rates)
    assert field == needed - (not solves)
    model = _network(rates, taps=taps, width=9, classes=3)
    remember_by_hand(model, 3)
    wrong = _wrong(model, data)
    last = _since_start(torch.stack([label for _, label in data])) == data.segment - 1
    assert last.any()
    assert torch.equal(wrong, last & (not solves)), "the last step of the longest, and no other"


def test_a_field_with_holes_is_not_enough():
    """Rates 1, 9 have field 21, but behind a field of 3 rate 9 skips six steps of nine."""
    data = LongMemory(length=20, segment=21, pulse=1, classes=3)
    whole, holed = _network((1, 3, 6), width=9, classes=3), _network((1, 9), width=9, classes=3)
    for model in (whole, holed):
        remember_by_hand(model, 3)
    assert not _wrong(whole, data).any()
    wrong = _wrong(holed, data)
    since = _since_start(torch.stack([label for _, label in data]))
    assert torch.equal(wrong, ((since + 9) % 9) > 2)


def _changed_from(model: TCN, step: int, seed: int) -> torch.Tensor:
    """At which steps outputs change, to the bit, if inputs change from a step on."""
    noise = torch.Generator().manual_seed(seed)
    before = torch.randn(2, 4, 30, generator=noise)
    after = before.clone()
    after[..., step:] = torch.randn(2, 4, 30 - step, generator=noise)
    with torch.no_grad():
        return (model(before) != model(after)).any(dim=1).any(dim=0)


@given(
    st.lists(st.integers(1, 9), min_size=1, max_size=4),
    st.integers(2, 4),
    st.integers(1, 29),
    st.integers(0, 99),
)
@settings(deadline=None, max_examples=15)
def test_no_output_sees_a_later_input(rates, taps, step, seed):
    changed = _changed_from(_network(rates, taps=taps), step, seed)
    assert not changed[:step].any()
    assert changed[step:].all()


def test_padding_at_both_ends_would_let_the_future_in():
    model = _network((2, 3))
    model.blocks[1].pad = torch.nn.ZeroPad1d((3, 3))
    changed = _changed_from(model, 20, 0)
    assert torch.nonzero(changed).min().item() == 17


@given(st.lists(st.integers(1, 9), min_size=1, max_size=4), st.integers(2, 4))
@settings(deadline=None, max_examples=15)
def test_the_last_output_sees_the_field_and_no_more(rates, taps):
    field = 1 + (taps - 1) * sum(rates)
    model = _network(rates, taps=taps).double()
    sequence = torch.rand(1, 4, field + 6, dtype=torch.double, requires_grad=True)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.fill_(0.1 if name.endswith("weight") else 0.0)  # nothing cancels or is cut
    model(sequence)[0, 0, -1].backward()
    seen = torch.nonzero(sequence.grad.abs().sum(dim=(0, 1))).flatten()
    assert seen.min().item() == 6
    assert seen.max().item() == field + 5


def test_form_of_the_network():
    model = _network((1, 3, 9), width=16)
    assert {name: m.dilation for name, m in model.named_modules() if name.endswith(".conv")} == {
        f"blocks.{k}.conv": (rate,) for k, rate in enumerate((1, 3, 9))
    }
    assert model.stem.in_channels == 4, "a channel for each class"
    assert build_model("tcn", num_classes=2, channels=7)(torch.zeros(3, 7, 50)).shape == (3, 2, 50)
    layout = tcn_layout()
    assert layout.rates == ((1,),) * 6
    # width 32: stem 4x32+32, each block 3x32x32+32 and 32x32+32, classifier 32x4+4
    count = sum(p.numel() for p in TCN(layout, 4).parameters())
    assert count == 160 + 6 * (3104 + 1056) + 132


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"taps": 1}, "tcn: the options do not fit: taps = 1 is not a whole number of at least 2"),
        ({"width": 0}, "width = 0 is not a whole number of at least 1"),
        ({"blocks": 2.5}, "blocks = 2.5 is not a whole number of at least 1"),
        ({"channels": True}, "channels = True is not a whole number of at least 1"),
        ({"rates": [[1]] * 5}, "tcn: rates for 5 blocks given, but it has 6 searchable blocks"),
        ({"rates": [[1, 2]] + [[1]] * 5}, "block 1: 2 rates given, but its channels are a single"),
        ({"rates": [[1]] * 5 + [[0]]}, "block 6: rate 0 is not a whole number of at least 1"),
        ({"rates": [[1]] * 5 + [3]}, "block 6: rates 3 are not a list; give a list such as"),
    ],
)
def test_impossible_settings(options, text):
    with pytest.raises(ModelError, match=text.replace("[", r"\[")):
        build_model("tcn", num_classes=4, **options)


def test_all_faults_are_told_at_once():
    with pytest.raises(ModelError, match="2 faults"):
        build_model("tcn", num_classes=4, taps=1, width=0)
