"""From the user's word for a device to Fabric."""

import pytest
import torch

from dilsearch.errors import RunError
from dilsearch.training import open_fabric


@pytest.mark.parametrize(
    ("device", "text"),
    [
        ("gpu", "device 'gpu' is unknown; use auto, cpu, cuda, cuda:INDEX or mps"),
        ("cuda:x", "device 'cuda:x' is unknown"),
        ("mps", "device 'mps' is not available on this machine; use cpu"),
    ],
)
def test_a_device_that_is_not_there_is_one_sentence(
    device: str, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(RunError, match=text):
        open_fabric(device)
