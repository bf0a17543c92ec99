import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dilsearch.data.palette import to_rgb_rows
from dilsearch.data.samples import IGNORE_INDEX
from dilsearch.data.thin_bars import NORMALIZATION, ThinBars, far_region
from dilsearch.errors import DataError


@st.composite
def bar_settings(draw):
    size = draw(st.integers(16, 128))
    width = sorted(draw(st.tuples(st.integers(1, size), st.integers(1, size))))
    gap = sorted(draw(st.tuples(st.integers(1, 2 * size), st.integers(1, 2 * size))))
    return {
        "size_px": size,
        "bar_width_px": tuple(width),
        "gap_px": tuple(gap),
        "patch_px": draw(st.integers(1, size // 2)),
        "classes": draw(st.integers(2, 8)),
        "seed": draw(st.integers(-5, 2**40)),
    }


def _runs(columns):
    return [(value, len(list(group))) for value, group in itertools.groupby(columns)]


@given(bar_settings(), st.integers(0, 999))
@settings(deadline=None, max_examples=60)
def test_every_image_keeps_the_rules(settings_, index):
    bars = ThinBars(length=1000, **settings_)
    image, label = bars[index]
    size, patch = bars.size_px, bars.patch_px
    assert image.shape == (3, size, size)
    assert image.dtype == torch.float32
    assert label.shape == (size, size)
    assert label.dtype == torch.int64
    assert (label == label[:1]).all(), "a bar has one class over its whole height"

    runs = _runs(label[0].tolist())
    widths = [length for value, length in runs if value]
    gaps = [length for (value, length) in runs[1:-1] if not value]
    assert widths, "at least one bar fits"
    assert all(bars.bar_width_px[0] <= w <= bars.bar_width_px[1] for w in widths)
    assert all(bars.gap_px[0] <= g <= bars.gap_px[1] for g in gaps)
    assert {v for v, _ in runs} <= set(range(bars.classes + 1))
    left_over = sum(length for value, length in (runs[0], runs[-1]) if not value)
    assert left_over < bars.bar_width_px[1] + bars.gap_px[1], "no further bar could be sure to fit"

    rgb, colours = NORMALIZATION.to_rgb(image), to_rgb_rows(bars.palette)
    columns = label[0].numpy()
    assert (rgb[:-patch] == colours[np.minimum(columns, 1)]).all(), "above, bars look alike"
    foot = np.where(columns > 0, columns + 1, 0)
    assert (rgb[-patch:] == colours[foot]).all(), "the foot shows the class"


def test_items_depend_on_split_seed_and_index_alone():
    bars = ThinBars(length=50, seed=3, noise=0.1)
    state = np.random.get_state()[1].copy(), torch.default_generator.get_state()
    forward = [bars[i] for i in range(20)]
    longer = ThinBars(length=99, seed=3, noise=0.1)
    for i in reversed(range(20)):
        assert torch.equal(longer[i][0], forward[i][0])
        assert torch.equal(longer[i][1], forward[i][1])
    assert (np.random.get_state()[1] == state[0]).all()
    assert torch.equal(torch.default_generator.get_state(), state[1])


def test_other_indices_seeds_and_splits_give_other_images():
    labels = [
        ThinBars(length=9, seed=seed, split=split)[index][1]
        for seed, split, index in itertools.product((0, 1), ("train", "validation"), range(4))
    ]
    assert not any(torch.equal(a, b) for a, b in itertools.combinations(labels, 2))


def test_classes_are_drawn_evenly_and_neighbours_independently():
    bars = ThinBars(length=400)
    firsts, seconds = [], []
    for _, label in bars:
        kinds = [value for value, _ in _runs(label[0].tolist()) if value]
        firsts += kinds[:-1]
        seconds += kinds[1:]
    table = np.zeros((3, 3))
    np.add.at(table, (np.array(firsts) - 1, np.array(seconds) - 1), 1)
    share = table / table.sum()
    assert np.abs(share - 1 / 9).max() < 0.02, "one bar says nothing of the next"


def test_the_paper_size_works():
    bars = ThinBars(
        length=1, size_px=1024, bar_width_px=(8, 64), gap_px=(8, 64), patch_px=64, classes=8
    )
    image, label = bars[0]
    assert image.shape == (3, 1024, 1024)
    assert label.max() > 0


def test_noise_has_the_deviation_asked_for():
    quiet, noisy = (ThinBars(length=8, noise=noise) for noise in (0.0, 0.1))
    gaps = torch.stack([noisy[i][0] - quiet[i][0] for i in range(8)]) * NORMALIZATION.std[0]
    assert gaps.std().item() == pytest.approx(0.1, rel=0.02)
    assert gaps.mean().item() == pytest.approx(0.0, abs=2e-3)
    assert torch.equal(noisy[0][1], quiet[0][1])


def test_names_and_colours_go_with_the_labels():
    bars = ThinBars(length=1, classes=2, palette=["#000000", "#808080", "#ff0000", "#00ff00"])
    assert bars.class_names == ("background", "class 1", "class 2")
    assert bars.class_rgb.tolist() == [[0, 0, 0], [255, 0, 0], [0, 255, 0]]
    assert ThinBars(length=1, classes=8, palette=()).class_rgb.shape == (9, 3)


def test_content_hash_follows_the_settings_and_not_the_seed():
    base = ThinBars(length=1).content_hash
    assert ThinBars(length=7, seed=5, split="validation").content_hash == base
    changes = {
        "size_px": 64,
        "bar_width_px": (6, 12),
        "gap_px": (4, 8),
        "patch_px": 5,
        "classes": 4,
        "noise": 0.1,
        "palette": ["#000000", "#808080", "#ff0000", "#00ff00", "#0000ff"],
    }
    hashes = {ThinBars(length=1, **{key: value}).content_hash for key, value in changes.items()}
    assert len(hashes | {base}) == len(changes) + 1


def test_iteration_ends_at_the_length():
    bars = ThinBars(length=3)
    assert len(list(bars)) == len(bars) == 3
    for index in (-1, 3):
        with pytest.raises(IndexError, match=f"image {index} of 3"):
            bars[index]


@pytest.mark.parametrize("size", [96, 17])
def test_far_region_is_the_bars_upper_half(size):
    label = ThinBars(length=1, size_px=size, patch_px=6)[0][1]
    far = far_region(label)
    assert far.dtype == torch.bool
    assert torch.equal(far[: size // 2], label[: size // 2] > 0)
    assert not far[size // 2 :].any()
    assert torch.equal(far_region(label[None].repeat(2, 1, 1))[1], far), "batches too"


def test_far_region_leaves_ignored_pixels_out():
    label = torch.tensor([[1, IGNORE_INDEX, 0], [1, 1, 1]])
    assert far_region(label).tolist() == [[True, False, False], [False, False, False]]


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"bar_width_px": (13, 6)}, r"bar_width_px = \[13, 6\] is not a range of whole pixels"),
        ({"bar_width_px": (0, 6)}, r"bar_width_px = \[0, 6\] is not a range"),
        ({"gap_px": (0, 4)}, r"gap_px = \[0, 4\] is not a range"),
        ({"bar_width_px": (6, 97)}, "bar_width_px reaches 97 px, but the image is 96 px wide"),
        ({"patch_px": 49}, "patch_px = 49, but .* at most half of the image, 48"),
        ({"patch_px": 0}, "patch_px = 0, but the patch has at least 1 row"),
        ({"classes": 1}, "classes = 1, but there are 2 to 254 kinds of bars"),
        ({"length": 0}, "length = 0 images; give at least 1"),
        ({"noise": -0.1}, "noise = -0.1 is not a standard deviation"),
        ({"noise": float("nan")}, "noise = nan is not a standard deviation"),
        ({"palette": ["#000000", "#808080"]}, "palette has 2 colours, but 3 classes need 5"),
        (
            {"palette": ["#000000", "#808080", "#ff0000", "#FF0000", "#0000ff"]},
            "palette has a colour twice",
        ),
        ({"palette": ["#000000", "grey", "#ff0000", "#00ff00", "#0000ff"]}, "'grey' is not a col"),
    ],
)
def test_impossible_settings_are_refused(changes, text):
    with pytest.raises(DataError, match=text):
        ThinBars(**{"length": 1, **changes})


def test_all_faults_are_told_at_once():
    with pytest.raises(DataError, match="thin_bars, 3 faults") as caught:
        ThinBars(length=1, gap_px=(0, 0), patch_px=60, noise=-1.0)
    assert "gap_px" in str(caught.value)
    assert "noise" in str(caught.value)
