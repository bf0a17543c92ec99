"""Pictures leave a layer in the order in memory in which they came."""

from typing import Any

import pytest
import torch
from torch import nn

from dilsearch.layers import plain_form, relaxed_form
from dilsearch.sites import Granularity, PerBranch, PerChannel, PerSite

FORMATS = {2: torch.channels_last, 3: torch.channels_last_3d}
KINDS = {2: nn.Conv2d, 3: nn.Conv3d}


def convolution(axes: int) -> Any:
    torch.manual_seed(0)
    return KINDS[axes](4, 4, 3, padding=1, groups=2)


@pytest.mark.parametrize("axes", [2, 3])
@pytest.mark.parametrize("needs_slopes", [True, False])
@pytest.mark.parametrize("initial", [2, 2.5])
@pytest.mark.parametrize("kind", [PerSite, PerBranch, PerChannel])
def test_channels_stay_last(
    axes: int, needs_slopes: bool, initial: float, kind: type[Granularity]
) -> None:
    conv, last = convolution(axes), FORMATS[axes]
    conv = conv.to(memory_format=last)
    x = torch.rand(2, 4, *(6,) * axes).contiguous(memory_format=last)
    layer = relaxed_form(conv, kind(1, 4, initial=initial))
    with torch.set_grad_enabled(needs_slopes):
        outputs = layer(x)
        assert outputs.is_contiguous(memory_format=last)
        assert outputs.is_contiguous(memory_format=last) is conv(x).is_contiguous(
            memory_format=last
        )
        torch.testing.assert_close(outputs, layer(x.contiguous()))
        # control: where they come in the usual order, they leave in it
        usual = relaxed_form(convolution(axes), kind(1, 4, initial=initial))(x.contiguous())
        assert usual.is_contiguous()


def test_mixed_rates_likewise() -> None:
    conv = convolution(2).to(memory_format=torch.channels_last)
    x = torch.rand(2, 4, 6, 6).contiguous(memory_format=torch.channels_last)
    rows: dict[Any, Any] = {"branch": [(1, 2), (2, 1)], "channel": [(1, 1), (2, 2)] * 2}
    for kind, rates in rows.items():
        plain = plain_form(conv, rates, kind=kind)
        assert plain(x).is_contiguous(memory_format=torch.channels_last)
        assert plain(x.contiguous()[0]).dim() == 3
