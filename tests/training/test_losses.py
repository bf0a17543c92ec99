"""Losses against values worked out pixel by pixel."""

import math

import pytest
import torch

from dilsearch.training import build_loss


def scores(probabilities: list[float]) -> torch.Tensor:
    """Two-class logits whose first class has the given probability at each pixel of one row."""
    first = torch.tensor(probabilities, dtype=torch.float64)
    return torch.stack([first.log(), (1 - first).log()]).reshape(1, 2, 1, -1)


def test_cross_entropy_is_the_mean_over_pixels_that_count() -> None:
    label = torch.tensor([[[0, 1, 255]]])
    expected = (-math.log(0.5) - math.log(0.25)) / 2
    loss = build_loss("cross_entropy")
    assert float(loss(scores([0.5, 0.75, 0.1]), label)) == pytest.approx(expected)
    assert float(loss(scores([0.5]), torch.tensor([[[255]]]))) == 0.0


def test_ohem_averages_what_is_above_the_threshold() -> None:
    # losses 0.105, 0.357, 1.609, with two above 0.3 and at least one wanted
    probabilities = [0.9, 0.7, 0.2]
    loss = build_loss("ohem", ohem_threshold=0.3)(
        scores(probabilities), torch.zeros(1, 1, 3).long()
    )
    assert float(loss) == pytest.approx((-math.log(0.7) - math.log(0.2)) / 2)


def test_ohem_takes_the_hardest_share_where_few_are_hard() -> None:
    # 32 pixels: a sixteenth is 2; only one is above the threshold, so the two hardest count
    probabilities = [0.95] * 30 + [0.8, 0.5]
    loss = build_loss("ohem", ohem_threshold=0.3)(
        scores(probabilities), torch.zeros(1, 1, 32).long()
    )
    assert float(loss) == pytest.approx((-math.log(0.8) - math.log(0.5)) / 2)


def test_ohem_counts_ignored_pixels_toward_the_share_as_zero() -> None:
    label = torch.full((1, 1, 32), 255)
    label[0, 0, 0] = 0
    loss = build_loss("ohem", ohem_threshold=0.3)(scores([0.9] * 32), label)
    assert float(loss) == pytest.approx(-math.log(0.9) / 2)


@pytest.mark.parametrize("name", ["cross_entropy", "ohem"])
@pytest.mark.parametrize("space", [(12,), (3, 4), (2, 3, 2), (12, 1)])
def test_positions_may_lie_along_any_axes(name: str, space: tuple[int, ...]) -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 3, 12, generator=generator)
    label = torch.randint(0, 3, (2, 12), generator=generator)
    label[0, :2] = 255
    loss = build_loss(name)
    expected = loss(logits, label)
    assert loss(logits.reshape(2, 3, *space), label.reshape(2, *space)) == pytest.approx(expected)
    assert loss(logits, label.flip(1)) != pytest.approx(expected)  # negative control
