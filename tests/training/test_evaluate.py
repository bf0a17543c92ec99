"""Evaluation against counts made by hand."""

import numpy as np
import torch
from torch import nn
from torch.utils.data import TensorDataset

from dilsearch.training import evaluate, open_fabric


class Echo(nn.Module):
    """Predicts the class written in the first channel."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return nn.functional.one_hot(images[:, 0].long(), 3).movedim(-1, 1).float()


def test_counts_rows_are_truth_and_regions_are_parts() -> None:
    predicted = torch.tensor([[[0, 1], [2, 2]], [[1, 1], [0, 2]]]).float()
    truth = torch.tensor([[[0, 2], [2, 255]], [[1, 0], [0, 0]]])
    data = TensorDataset(predicted[:, None].expand(-1, 3, -1, -1), truth)
    model = Echo().train()
    result = evaluate(
        model,
        data,
        classes=3,
        fabric=open_fabric("cpu"),
        batch_size=1,
        regions={"top": lambda label: torch.tensor([[True, True], [False, False]])},
        keep=1,
    )
    expected = np.zeros((3, 3), dtype=np.int64)
    for t, p in zip(truth.flatten().tolist(), predicted.flatten().int().tolist(), strict=True):
        if t != 255:
            expected[t, p] += 1
    assert result.counts["all"].tolist() == expected.tolist()
    assert result.counts["top"].sum() == 4
    assert result.counts["top"].tolist() == [[1, 1, 0], [0, 1, 0], [0, 1, 0]]
    assert result.predictions.tolist() == predicted[:1].long().tolist()
    assert model.training  # the mode is restored
