"""Outputs, labels and inputs of many forms, and what is said of those that cannot be used."""

from collections import OrderedDict, UserDict
from dataclasses import dataclass
from typing import Any, NamedTuple

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from dilsearch.errors import RunError
from dilsearch.training import AdaptedLoss, LogitsLoss, build_loss, call_model, logits_for
from dilsearch.training.adapters import check_labels, described, sample_count

LOGITS = torch.randn(2, 3, 4, 6, generator=torch.Generator().manual_seed(0))
LABELS = torch.randint(0, 3, (2, 4, 6), generator=torch.Generator().manual_seed(1))


class ModelOutput(OrderedDict[str, Any]):
    """Hugging Face's form: a dictionary with its keys as attributes."""

    def __getattr__(self, name: str) -> Any:
        return self[name] if name in self else self.__getattribute__(name)


@dataclass
class Held:
    """What has a field for the logits."""

    loss: object
    logits: Tensor


class Named(NamedTuple):
    """A tuple that names its fields."""

    hidden: Tensor
    logits: Tensor


class TestFindingLogits:
    @pytest.mark.parametrize(
        "output",
        [
            LOGITS,
            {"aux": LOGITS + 1, "out": LOGITS},
            {"loss": None, "logits": LOGITS},
            ModelOutput(loss=torch.zeros(()), logits=LOGITS, hidden=(LOGITS + 1,)),
            UserDict(logits=LOGITS),
            Held(None, LOGITS),
            Named(LOGITS + 1, LOGITS),
            (LOGITS, LOGITS + 1),
            [LOGITS],
            ({"out": LOGITS}, None),
            {"out": (LOGITS, LOGITS + 1)},
        ],
        ids=lambda output: type(output).__name__,
    )
    def test_by_name_or_place(self, output: Any) -> None:
        assert logits_for(output, LABELS) is LOGITS
        assert LogitsLoss()(output, LABELS) == build_loss("cross_entropy")(LOGITS, LABELS)

    def test_a_function_goes_before(self) -> None:
        output = {"out": LOGITS, "other": LOGITS + 1}
        assert logits_for(output, LABELS, lambda given: given["other"]) is output["other"]

    @pytest.mark.parametrize(
        ("output", "text"),
        [
            (
                {"masks": LOGITS, "boxes": [1]},
                "the model's output is a dict: 'masks' (Tensor), 'boxes' (list), and there are no "
                "logits in it (a tensor, 'out', 'logits', or the first of a tuple); give an "
                "output_fn that takes them from it",
            ),
            (("a", LOGITS), "output is a tuple of 2: str, Tensor, and there are no logits in it"),
            ([], "output is a list of 0, empty, and there are no logits in it"),
            (None, "output is a NoneType, and there are no logits in it"),
            (Held(1, None), "output is a Held: .loss (int), .logits (NoneType), and there are no"),  # type: ignore[arg-type]
            (LOGITS.argmax(1), "a Tensor of shape (2, 4, 6) of int64, which are no logits (batch,"),
        ],
    )
    def test_where_there_are_none(self, output: Any, text: str) -> None:
        with pytest.raises(RunError) as caught:
            logits_for(output, LABELS)
        assert text in str(caught.value)

    def test_a_function_that_gives_no_tensor(self) -> None:
        text = "output_fn made a dict: 'x' (int) of the model's output, and not the tensor of"
        with pytest.raises(RunError) as caught:
            LogitsLoss(output_fn=lambda output: {"x": 1})(LOGITS, LABELS)
        assert text in str(caught.value)


class TestSizes:
    @pytest.mark.parametrize(("axes", "mode"), [(1, "linear"), (2, "bilinear"), (3, "trilinear")])
    def test_they_are_brought_to_the_labels(self, axes: int, mode: str) -> None:
        logits = torch.rand(2, 3, *(4,) * axes)
        found = logits_for(logits, torch.zeros(2, *(7,) * axes).long())
        assert torch.equal(found, F.interpolate(logits, (7,) * axes, mode=mode))

    def test_by_hand(self) -> None:
        """Positions of the labels stand a quarter and three quarters into those of the logits."""
        logits = torch.tensor([0.0, 4.0]).reshape(1, 1, 2).repeat(1, 2, 1)
        found = logits_for(logits, torch.zeros(1, 4).long())
        assert found[0, 0].tolist() == [0.0, 1.0, 3.0, 4.0]

    def test_gradients_pass(self) -> None:
        logits = LOGITS[..., ::2, ::2].clone().requires_grad_()
        LogitsLoss()({"out": logits}, LABELS).backward()
        assert logits.grad is not None
        assert bool(logits.grad.abs().sum() > 0)

    def test_a_class_for_each_image(self) -> None:
        logits, labels = LOGITS[:, :, 0, 0], LABELS[:, 0, 0]
        assert logits_for(logits, labels) is logits

    @pytest.mark.parametrize(
        "labels", [LABELS[:, None], LABELS[:1], LABELS[:, 0], torch.zeros(2, 3, 4, 6).long()]
    )
    def test_labels_of_another_form(self, labels: Tensor) -> None:
        text = f"logits of shape (2, 3, 4, 6) and labels of shape {tuple(labels.shape)} do not fit"
        with pytest.raises(RunError) as caught:
            logits_for(LOGITS, labels)
        assert text in str(caught.value)

    def test_a_target_that_is_no_tensor(self) -> None:
        with pytest.raises(RunError, match=r"the target is a dict: 'mask' \(Tensor\) and not a"):
            logits_for(LOGITS, {"mask": LABELS})


class TestLabels:
    @pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int32, torch.int64])
    def test_all_integers_are_indices(self, dtype: torch.dtype) -> None:
        labels = LABELS.clone()
        labels[0, 0] = 255
        expected = build_loss("cross_entropy")(LOGITS, labels)
        given = labels.to(torch.uint8).to(dtype)
        assert LogitsLoss()(LOGITS, given) == expected

    @pytest.mark.parametrize(
        ("label", "text"),
        [
            (3, "there is a label 3, and the logits are of 3 classes (255 is ignored); give the"),
            (256, "there is a label 256, and the logits are of 3 classes (255 is ignored)"),
            (-100, "there is a label -100, and the logits are of 3 classes (255 is ignored)"),
        ],
    )
    def test_a_label_that_is_no_class(self, label: int, text: str) -> None:
        labels = LABELS.clone()
        labels[1, 2, 3] = label
        with pytest.raises(RunError) as caught:
            LogitsLoss()(LOGITS, labels)
        assert text in str(caught.value)

    def test_what_is_allowed(self) -> None:  # the control
        check_labels(torch.tensor([0, 2, 255]), 3)
        check_labels(torch.tensor([255]), 1)
        check_labels(torch.zeros(0).long(), 3)

    def test_one_logit_is_one_class(self) -> None:
        with pytest.raises(RunError, match="there is a label 1, and the logits are of 1 class "):
            check_labels(torch.tensor([0, 1]), 1)

    def test_labels_that_are_no_integers(self) -> None:
        with pytest.raises(RunError, match="the labels are float32 numbers and not class indices"):
            LogitsLoss()(LOGITS, LABELS.float())


class TestInputs:
    def test_by_place_by_name_or_alone(self) -> None:
        def model(*places: Any, **names: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
            return places, names

        assert call_model(model, LABELS)[0][0] is LABELS
        assert call_model(model, (1, 2)) == ((1, 2), {})
        assert call_model(model, [1, 2]) == ((1, 2), {})
        assert call_model(model, {"x": 1}) == call_model(model, UserDict(x=1)) == ((), {"x": 1})
        assert call_model(model, "text") == (("text",), {})

    @pytest.mark.parametrize(
        ("inputs", "count"),
        [
            (LABELS, 2),
            ((LABELS[:1], LABELS), 1),
            ({"name": "a", "scale": torch.tensor(2.0), "deep": [{"x": LABELS}]}, 2),
            ("text", 0),
            (3, 0),
        ],
    )
    def test_samples_are_counted(self, inputs: Any, count: int) -> None:
        assert sample_count(inputs) == count


def test_a_loss_of_what_was_taken() -> None:
    loss = AdaptedLoss(lambda taken, target: taken + target, lambda output: output["x"])
    assert loss({"x": 2}, 3) == 5
    assert loss.taken({"x": 2}, 3) == 2


def test_long_lists_are_told_in_part() -> None:
    said = described({f"key{n}": n for n in range(12)})
    assert said.endswith("'key7' (int) and 4 more")
