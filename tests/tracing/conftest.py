"""Small models that are traced and measured: two engines that know nothing of one another."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from dilsearch.analysis import Analysis, analyze, check_support


class Forward(nn.Module):
    """A function as a model; what it needs stands in the module that it is given first."""

    def __init__(self, function: Callable[..., Any], **held: Any) -> None:
        super().__init__()
        self.function = function
        for name, value in held.items():
            setattr(self, name, value)

    def forward(self, *inputs: Tensor) -> Any:
        return self.function(self, *inputs)


@pytest.fixture(scope="session")
def model() -> type[Forward]:
    return Forward


@pytest.fixture(scope="session")
def agreed() -> Callable[..., Analysis]:
    """The analysis of a function as a model, after the numeric engine saw the same pixels."""

    def agreed(
        function: Callable[..., Any],
        *shapes: tuple[int, ...],
        positions: int = 2,
        exact: bool = True,
        **held: Any,
    ) -> Analysis:
        network = Forward(function, **held)
        example = [torch.empty(shape) for shape in shapes or ((1, 4, 11, 14),)]
        analysis = analyze(network, example)
        check = check_support(network, example, analysis)
        assert check.agrees, check.text
        assert check.positions >= positions
        if exact:
            assert analysis.unfollowed == {}
            assert analysis.remarks == {}
        return analysis

    return agreed
