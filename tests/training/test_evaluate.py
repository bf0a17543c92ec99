"""Evaluation against counts made by hand."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

from dilsearch.errors import RunError
from dilsearch.training import Evaluation, evaluate, open_fabric


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


class Wrapped(nn.Module):
    """An echo, in another form."""

    def __init__(self, form: Callable[[torch.Tensor], Any]) -> None:
        super().__init__()
        self.form = form

    def forward(self, images: torch.Tensor, scale: torch.Tensor | None = None) -> Any:
        factor = 1 if scale is None else scale.reshape(-1, *[1] * (images.ndim - 1))
        classes = (images * factor)[:, 0].long()
        return self.form(nn.functional.one_hot(classes, 3).movedim(-1, 1).float())


def counted(model: nn.Module, *tensors: torch.Tensor, **more: Any) -> Evaluation:
    data = more.pop("data", None) or TensorDataset(*tensors)
    settings = {"classes": 3, "fabric": open_fabric("cpu"), "batch_size": 2, **more}
    return evaluate(model, data, **settings)


IMAGES = torch.tensor([[[0, 1], [2, 2]], [[1, 1], [0, 2]]]).float()[:, None]
TRUTH = torch.tensor([[[0, 2], [2, 255]], [[1, 0], [0, 0]]])


@pytest.mark.parametrize(
    ("form", "output_fn"),
    [
        (lambda logits: {"aux": None, "out": logits}, None),
        (lambda logits: (logits, "more"), None),
        (lambda logits: {"deep": [0, logits]}, lambda output: output["deep"][1]),
    ],
)
def test_outputs_of_any_form(form: Any, output_fn: Any) -> None:
    expected = counted(Echo(), IMAGES, TRUTH).counts["all"]
    found = counted(Wrapped(form), IMAGES, TRUTH, output_fn=output_fn).counts["all"]
    assert found.tolist() == expected.tolist()
    assert counted(Echo(), IMAGES.flip(3), TRUTH).counts["all"].tolist() != expected.tolist()


def test_logits_of_another_size_are_brought_to_the_labels() -> None:
    wide = TRUTH.repeat_interleave(4, 1).repeat_interleave(4, 2)
    result = counted(Echo(), IMAGES, wide, keep=2)
    assert result.predictions.shape == (2, 8, 8)
    assert result.predictions[:, ::7, ::7].tolist() == IMAGES[:, 0].long().tolist()  # the corners
    assert result.counts["all"].sum() == (wide != 255).sum()


def test_sequences_and_their_regions() -> None:
    late = {"late": lambda label: torch.arange(len(label)) >= 2}
    flat = counted(Echo(), IMAGES.flatten(2), TRUTH.flatten(1), regions=late, keep=1)
    assert flat.counts["all"].tolist() == counted(Echo(), IMAGES, TRUTH).counts["all"].tolist()
    assert flat.counts["late"].sum() == (TRUTH[:, 1] != 255).sum()
    assert flat.predictions.tolist() == [[0, 1, 2, 2]]


def test_inputs_of_several_parts() -> None:
    class Parts(torch.utils.data.Dataset[Any]):
        def __len__(self) -> int:
            return 2

        def __getitem__(self, index: int) -> Any:
            return {"images": IMAGES[index] * 2, "scale": torch.tensor(0.5)}, TRUTH[index]

    found = counted(Wrapped(lambda logits: logits), data=Parts()).counts["all"]
    assert found.tolist() == counted(Echo(), IMAGES, TRUTH).counts["all"].tolist()


def test_labels_and_classes_that_do_not_fit() -> None:
    with pytest.raises(RunError, match="which is 3 classes, and classes = 2; give the number that"):
        counted(Echo(), IMAGES, TRUTH, classes=2)
    with pytest.raises(RunError, match="there is a label 7, and the logits are of 3 classes"):
        counted(Echo(), IMAGES, torch.where(TRUTH == 2, 7, TRUTH))
