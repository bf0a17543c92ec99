"""The shapes in signatures are checked while tests run, and the check can fail."""

import pytest
import torch
from jaxtyping import TypeCheckError

from dilsearch.models import build_model


def test_a_wrong_shape_is_caught_before_torch_sees_it():
    network = build_model("toy", num_classes=4)
    with pytest.raises(TypeCheckError, match="image"):
        network(torch.zeros(1, 4, 32, 32))


def test_a_wrong_number_format_is_caught():
    network = build_model("toy", num_classes=4)
    with pytest.raises(TypeCheckError, match="image"):
        network(torch.zeros(1, 3, 32, 32, dtype=torch.int64))


def test_the_control_a_right_image_passes():
    assert build_model("toy", num_classes=4)(torch.zeros(1, 3, 32, 32)).shape == (1, 4, 32, 32)
