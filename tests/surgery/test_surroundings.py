"""A convolution is exchanged only where nothing around it would go on with the old one."""

import functools
from collections import deque
from collections.abc import Callable
from typing import Any

import pytest
from surgery_zoo import Listed
from torch import Tensor, nn

from dilsearch.errors import SurgeryError
from dilsearch.sites import PerSite
from dilsearch.surgery import relax
from dilsearch.surgery.selection import named_modules
from dilsearch.surgery.surroundings import surrounding_faults


class HeldTwice(Listed):
    """A plain list and a bound method lead to convolutions beside the module tree."""

    def __init__(self) -> None:
        super().__init__()
        self.order = [self.steps[1], self.steps[0]]
        self.head = self.heads["main"].forward

    def forward(self, x: Tensor) -> Tensor:
        for step in self.order:
            x = step(x)
        out: Tensor = self.head(x)
        return out


def test_what_is_held_beside_the_tree_is_refused_as_it_would_stay() -> None:
    with pytest.raises(SurgeryError) as raised:
        relax(HeldTwice(), {"steps.0": PerSite(1, 8), "heads.*": PerSite(1, 8)})
    text = str(raised.value)
    assert (
        "site 'steps.0' is also held by the plain attribute 'order' of the model (HeldTwice), "
        "which would keep the old convolution; hold it in a nn.ModuleList or nn.ModuleDict" in text
    )
    assert "site 'heads.main' is also held by the plain attribute 'head' of the model" in text
    assert "2 faults" in text


def test_what_is_held_in_the_tree_or_is_no_site_is_no_fault() -> None:
    model = HeldTwice()
    free = [named for named in named_modules(model) if named.name == "steps"]
    assert not surrounding_faults(model, free)
    assert not surrounding_faults(Listed(), named_modules(Listed()))
    relax(Listed(), {"*": PerSite(1, 8)})


def test_a_site_in_a_dictionary_of_the_users() -> None:
    model = nn.Sequential(nn.Conv2d(2, 2, 3))
    model.by_name = {"first": model[0]}
    with pytest.raises(
        SurgeryError, match="site '0' is also held by the plain attribute 'by_name'"
    ):
        relax(model, {"0": PerSite(1, 4)})


def closing_over(conv: nn.Module) -> Callable[[Tensor], Tensor]:
    def step(x: Tensor) -> Tensor:
        out: Tensor = conv(x)
        return out

    return step


def around_itself(conv: nn.Module) -> list[Any]:
    held: list[Any] = [conv]
    held.append(held)
    return held


@pytest.mark.parametrize(
    "hold",
    [
        lambda conv: [(conv, 1)],
        lambda conv: {"main": {"conv": (1, [conv])}},
        lambda conv: {conv: 2},
        lambda conv: deque([conv.forward]),
        functools.partial,
        lambda conv: [functools.partial(print, [conv])],
        lambda conv: lambda x, inner=conv: inner(x),
        closing_over,
        around_itself,
        lambda conv: functools.partial(closing_over(conv)),
    ],
)
def test_however_deep_it_is_held(hold: Callable[[nn.Module], Any]) -> None:
    model = nn.Sequential(nn.Conv2d(2, 2, 3), nn.Conv2d(2, 2, 3))
    model.kept = hold(model[0])
    first, second = (named for named in named_modules(model) if named.is_candidate)
    (fault,) = surrounding_faults(model, [first])
    assert fault.startswith("site '0' is also held by the plain attribute 'kept' of the model")
    assert not surrounding_faults(model, [second])
    with pytest.raises(SurgeryError, match="which would keep the old convolution"):
        relax(model, {"0": PerSite(1, 4)})
