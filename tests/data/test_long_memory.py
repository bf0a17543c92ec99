import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dilsearch.data.long_memory import LongMemory, far_steps
from dilsearch.data.palette import to_rgb_rows
from dilsearch.errors import DataError
from dilsearch.space import LongMemoryData


@st.composite
def sequence_settings(draw):
    segment = draw(st.integers(8, 96))
    return {
        "segment": segment,
        "pulse": draw(st.integers(1, segment // 2)),
        "classes": draw(st.integers(2, 8)),
        "sequence": draw(st.none() | st.integers(segment, 5 * segment)),
        "seed": draw(st.integers(-5, 2**40)),
    }


def _runs(label):
    return [(value, len(list(group))) for value, group in itertools.groupby(label.tolist())]


def _heard(channels, field):
    """The class of the last pulse that each step sees with a field, -1 where it sees none.

    Read off the channels alone, window by window.
    """
    heard = []
    for step in range(channels.shape[-1]):
        window = channels[:, max(0, step - field + 1) : step + 1]
        seen = [kind for column in window.T.tolist() for kind, on in enumerate(column) if on]
        heard.append(seen[-1] if seen else -1)
    return torch.tensor(heard)


@given(sequence_settings(), st.integers(0, 999))
@settings(deadline=None, max_examples=60)
def test_every_sequence_keeps_the_rules(settings_, index):
    data = LongMemory(length=1000, **settings_)
    channels, label = data[index]
    assert channels.shape == (data.classes, data.sequence)
    assert channels.dtype == torch.float32
    assert label.shape == (data.sequence,)
    assert label.dtype == torch.int64

    runs = _runs(label)
    *whole, cut = (length for _, length in runs)
    assert all(-(-data.segment // 2) <= length <= data.segment for length in whole)
    assert 1 <= cut <= data.segment, "the last may be cut off"
    assert {value for value, _ in runs} <= set(range(data.classes))

    expected = torch.zeros_like(channels)
    start = 0
    for kind, length in runs:
        expected[kind, start : start + min(data.pulse, length)] = 1
        start += length
    assert torch.equal(channels, expected), "the pulse alone shows the class"


def test_items_depend_on_split_seed_and_index_alone():
    data = LongMemory(length=50, segment=32, seed=3, noise=0.1)
    state = np.random.get_state()[1].copy(), torch.default_generator.get_state()
    forward = [data[i] for i in range(20)]
    longer = LongMemory(length=99, segment=32, seed=3, noise=0.1)
    for i in reversed(range(20)):
        assert torch.equal(longer[i][0], forward[i][0])
        assert torch.equal(longer[i][1], forward[i][1])
    assert (np.random.get_state()[1] == state[0]).all()
    assert torch.equal(torch.default_generator.get_state(), state[1])


def test_other_indices_seeds_and_splits_give_other_sequences():
    labels = [
        LongMemory(length=9, segment=64, seed=seed, split=split)[index][1]
        for seed, split, index in itertools.product((0, 1), ("train", "validation"), range(4))
    ]
    assert not any(torch.equal(a, b) for a, b in itertools.combinations(labels, 2))


def test_classes_are_drawn_evenly_and_lengths_too():
    data = LongMemory(length=300, segment=8, pulse=1, classes=3, sequence=80)
    pairs, lengths = np.zeros((3, 3)), np.zeros(9)
    for _, label in data:
        runs = _runs(label)
        for (first, _), (second, _) in itertools.pairwise(runs):
            pairs[first, second] += 1
        for _, length in runs[:-1]:
            lengths[length] += 1
    share = pairs / pairs.sum()
    assert np.abs(share - (1 - np.eye(3)) / 6).max() < 0.02, "any class but the one before"
    assert lengths[:4].sum() == 0
    assert np.abs(lengths[4:] / lengths.sum() - 1 / 5).max() < 0.03


def _exact_settings():
    return {"segment": 24, "pulse": 3, "classes": 3, "sequence": 120}


def test_the_needed_field_is_exact():
    section = LongMemoryData(name="long_memory", **_exact_settings())
    data = LongMemory(length=40, **_exact_settings())
    longest = 0
    for channels, label in data:
        assert torch.equal(_heard(channels, section.needed_px), label)
        # One step less: the last step of the longest segments, and none but it, hears nothing.
        heard = _heard(channels, section.needed_px - 1)
        last = [end - 1 for end, (_, n) in _ends(label) if n == section.segment]
        assert torch.flatten(torch.nonzero(heard != label)).tolist() == last
        assert (heard[last] == -1).all()
        longest += len(last)
    assert longest > 0, "segments of the longest length occur"


def _ends(label):
    runs = _runs(label)
    return zip(itertools.accumulate(length for _, length in runs), runs, strict=True)


@given(st.integers(1, 30))
@settings(deadline=None, max_examples=15)
def test_what_a_field_cannot_know_is_counted_exactly(field):
    """A step n after its segment's start is deaf where its n-th predecessor is beyond the field."""
    data = LongMemory(length=4, **_exact_settings())
    for channels, label in data:
        since = torch.cat([torch.arange(length) for _, length in _runs(label)])
        heard = _heard(channels, field)
        deaf = since > field - 1 + data.pulse - 1
        assert torch.equal(heard == -1, deaf)
        assert torch.equal(heard[~deaf], label[~deaf])


def test_far_steps_are_out_of_sight_of_fields_up_to_their_limit():
    data = LongMemory(length=10, **_exact_settings())
    widest_deaf = data.segment // 2 - data.pulse + 1
    for channels, label in data:
        far = far_steps(label, segment=data.segment)
        assert far.dtype == torch.bool
        assert 0.15 < far.float().mean() < 0.5
        assert (_heard(channels, widest_deaf)[far] == -1).all()
        # The control: one step more, and the first of them hear.
        assert (_heard(channels, widest_deaf + 1)[far] != -1).any()


def test_far_steps_of_a_label_by_hand_and_in_batches():
    label = torch.tensor([2, 2, 2, 2, 2, 0, 1, 1, 1])
    far = far_steps(label, segment=6)
    assert far.int().tolist() == [0, 0, 0, 1, 1, 0, 0, 0, 0]
    other = torch.tensor([1, 0, 0, 0, 0, 0, 0, 0, 0])
    both = far_steps(torch.stack([label, other]), segment=6)
    assert both.int().tolist()[0] == far.int().tolist()
    assert both.int().tolist()[1] == [0, 0, 0, 0, 1, 1, 1, 1, 1]


def test_noise_has_the_deviation_asked_for():
    quiet, noisy = (LongMemory(length=8, segment=128, noise=noise) for noise in (0.0, 0.1))
    gaps = torch.stack([noisy[i][0] - quiet[i][0] for i in range(8)])
    assert gaps.std().item() == pytest.approx(0.1, rel=0.03)
    assert gaps.mean().item() == pytest.approx(0.0, abs=3e-3)
    assert torch.equal(noisy[0][1], quiet[0][1])


def test_sequences_are_drawn_as_pictures_one_row_high():
    palette = ["#101010", "#ff0000", "#00ff00"]
    data = LongMemory(length=2, segment=16, pulse=2, classes=2, palette=palette)
    channels, label = data[0]
    row = data.to_rgb(channels)
    assert row.shape == (1, 32, 3)
    assert row.dtype == np.uint8
    shown = channels.sum(dim=0) > 0
    expected = np.where(shown, label.numpy() + 1, 0)
    assert (row[0] == to_rgb_rows(palette)[expected]).all()
    assert (data.to_rgb(torch.stack([channels, channels]))[1] == row).all()
    loud = data.to_rgb(torch.full((2, 4), 9.0))
    assert (loud[..., :2] == 255).all(), "what lies outside the colours is clipped"


def test_names_and_colours_go_with_the_labels():
    data = LongMemory(length=1, classes=2, palette=["#000000", "#ff0000", "#00ff00"])
    assert data.class_names == ("class 1", "class 2")
    assert data.class_rgb.tolist() == [[255, 0, 0], [0, 255, 0]]
    assert LongMemory(length=1, classes=8, palette=()).class_rgb.shape == (8, 3)


def test_content_hash_follows_the_settings_and_not_the_seed():
    base = LongMemory(length=1).content_hash
    assert LongMemory(length=7, seed=5, split="validation").content_hash == base
    assert LongMemory(length=1, sequence=384).content_hash == base
    changes = {
        "segment": 190,
        "pulse": 5,
        "classes": 3,
        "sequence": 400,
        "noise": 0.1,
        "palette": ["#000000", "#808080", "#ff0000", "#00ff00", "#0000ff"],
    }
    hashes = {LongMemory(length=1, **{key: value}).content_hash for key, value in changes.items()}
    assert len(hashes | {base}) == len(changes) + 1


def test_iteration_ends_at_the_length():
    data = LongMemory(length=3)
    assert len(list(data)) == len(data) == 3
    for index in (-1, 3):
        with pytest.raises(IndexError, match=f"sequence {index} of 3"):
            data[index]


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"pulse": 0}, "pulse = 0, but it has at least 1 step"),
        ({"pulse": 97}, "pulse = 97, but .* at most half of the longest segment, 96"),
        ({"sequence": 191}, "sequence = 191 steps hold no segment of 192; make it as long"),
        ({"classes": 1}, "classes = 1, but there are 2 to 254 classes"),
        ({"length": 0}, "length = 0 sequences; give at least 1"),
        ({"noise": -0.1}, "noise = -0.1 is not a standard deviation"),
        ({"noise": float("nan")}, "noise = nan is not a standard deviation"),
        ({"palette": ["#000000", "#808080"]}, "palette has 2 colours, but 4 classes need 5"),
        (
            {"palette": ["#000000", "#808080", "#ff0000", "#FF0000", "#0000ff"]},
            "palette has a colour twice",
        ),
    ],
)
def test_impossible_settings_are_refused(changes, text):
    with pytest.raises(DataError, match=text):
        LongMemory(**{"length": 1, **changes})


def test_all_faults_are_told_at_once():
    with pytest.raises(DataError, match="long_memory, 3 faults") as caught:
        LongMemory(length=1, pulse=0, sequence=10, noise=-1.0)
    assert "sequence" in str(caught.value)
    assert "noise" in str(caught.value)
