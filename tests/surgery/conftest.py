"""The model that most tests use, and one with a shared module."""

import pytest
import torch
from surgery_zoo import Shared, chain
from torch import nn


@pytest.fixture
def model() -> nn.Module:
    torch.manual_seed(0)
    return chain().eval()


@pytest.fixture
def shared() -> nn.Module:
    torch.manual_seed(0)
    return Shared().eval()
