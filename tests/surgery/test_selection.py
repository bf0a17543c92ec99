"""Sites are chosen by glob, by kernel or by asking; what is wrong with that is told."""

from typing import Any

import pytest
from surgery_zoo import Shared
from torch import nn

from dilsearch.errors import SurgeryError
from dilsearch.sites import Kernel, PerSite
from dilsearch.surgery import read_plan, relax
from dilsearch.surgery.selection import Selector, named_modules, select, shown

LIMITS = PerSite(1, 8)


def network() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(4, 4, 1),
        nn.Sequential(nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 4, (1, 3))),
        nn.Sequential(nn.ReLU(), nn.Conv2d(4, 4, 5), nn.Conv2d(4, 4, 3)),
    )


def is_square(name: str, module: Any) -> bool:
    return module.kernel_size[0] == module.kernel_size[1]


@pytest.mark.parametrize(
    ("selector", "sites"),
    [
        ("*", ["1.0", "1.2", "2.1", "2.2"]),
        ("1.*", ["1.0", "1.2"]),
        ("[12].2", ["1.2", "2.2"]),
        ("2.1", ["2.1"]),
        (Kernel(3), ["1.0", "2.2"]),
        (Kernel((1, 3)), ["1.2"]),
        (is_square, ["1.0", "2.1", "2.2"]),
        (lambda name, module: name.startswith("2"), ["2.1", "2.2"]),
    ],
)
def test_selectors(selector: Selector, sites: list[str]) -> None:
    chosen, faults = select(network(), {selector: LIMITS})
    assert not faults
    assert [one.named.name for one in chosen] == sites
    assert list(read_plan(relax(network(), {selector: LIMITS}))) == sites


def test_selectors_of_every_sort_go_together() -> None:
    limits = {"1.0": PerSite(1, 2), Kernel(5): PerSite(1, 3), lambda name, _: name == "2.2": LIMITS}
    chosen, faults = select(network(), limits)
    assert not faults
    found = [(one.named.name, one.granularity.upper) for one in chosen]
    assert found == [("1.0", 2), ("2.1", 3), ("2.2", 8)]  # in module order


def test_a_predicate_is_asked_about_convolutions_with_taps_alone() -> None:
    asked: list[str] = []

    def note(name: str, module: nn.Module) -> bool:
        asked.append(f"{name} {type(module).__name__}")
        return True

    select(network(), {note: LIMITS})
    assert asked == ["1.0 Conv2d", "1.2 Conv2d", "2.1 Conv2d", "2.2 Conv2d"]


def test_a_shared_module_is_found_at_every_path_and_named_by_the_first() -> None:
    for glob in ("first", "again", "*[rn]*t"):
        chosen, faults = select(Shared(), {glob: LIMITS})
        assert not faults
        assert [one.named.name for one in chosen] == ["first"]
    (named,) = (named for named in named_modules(Shared()) if named.name == "first")
    assert named.aliases == ("first", "again")
    _, (fault,) = select(Shared(), {"first": LIMITS, "again": PerSite(1, 2)})
    assert fault == (
        "site 'first' is selected by 'first' and by 'again'; let one of them select it"
    )


def fails(name: str, module: nn.Module) -> bool:
    raise KeyError(name)


@pytest.mark.parametrize(
    ("selector", "text"),
    [
        ("nowhere.*", "'nowhere.*' matches no module; the convolutions with two or more taps are "
         "'1.0', '1.2', '2.1', '2.2'"),
        ("1.1", "'1.1' selects no convolution with two or more taps (the first module it matches, "
         "'1.1', is a BatchNorm2d); name the convolutions themselves"),
        ("0", "(the first module it matches, '0', is a Conv2d)"),
        (Kernel(7), "Kernel(7) selects no convolution; the kernels with two or more taps are "
         "3x3 (2), 1x3 (1), 5x5 (1)"),
        (Kernel((3, 1)), "Kernel((3, 1)) selects no convolution"),
        (lambda name, module: False, "predicate <lambda> selects no convolution; the convolutions "
         "with two or more taps are '1.0'"),
        (fails, "site '1.0': predicate fails fails there (KeyError: '1.0'); correct it"),
        (lambda name, module: 1, "site '1.0': predicate <lambda> gives 1; let it give True or "
         "False"),
        (5, "5 selects nothing; give a glob, a Kernel or a predicate"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_selector(selector: Any, text: str) -> None:
    with pytest.raises(SurgeryError) as raised:
        relax(network(), {selector: LIMITS})
    assert text in str(raised.value)


def test_many_convolutions_are_not_all_listed() -> None:
    model = nn.Sequential(*[nn.Conv2d(2, 2, 3) for _ in range(9)])
    _, (fault,) = select(model, {"none": LIMITS})
    assert fault.endswith("taps are '0', '1', '2', '3', '4', '5' and 3 more")
    _, (fault,) = select(nn.ReLU(), {Kernel(3): LIMITS})
    assert fault.endswith("are none")


def test_a_value_that_is_no_granularity() -> None:
    _, (fault,) = select(network(), {"1.0": 3})  # type: ignore[dict-item]
    assert fault == (
        "'1.0' is given 3, which does not say what may vary; give PerSite, PerBranch or PerChannel"
    )


def test_how_selectors_are_called() -> None:
    assert shown("layer4.*") == "'layer4.*'"
    assert shown(Kernel(3)) == "Kernel(3)"
    assert shown(is_square) == "predicate is_square"
    assert shown(nn.Identity()) == "predicate Identity"
