"""A convolution is exchanged only where nothing around it would go on with the old one."""

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
