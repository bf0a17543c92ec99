"""Networks from a user's own code, and every way in which that can go wrong."""

import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from dilsearch.cli.factories import build_from_factory, parse_inputs, parse_kwargs
from dilsearch.errors import TraceError


def build(target: str, *, need_weights: bool = False, **kwargs: object) -> nn.Module:
    return build_from_factory(target, kwargs, seed=0, need_weights=need_weights)


def mistake(target: str, **kwargs: object) -> str:
    with pytest.raises(TraceError) as caught:
        build(target, **kwargs)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_functions_classes_attributes_and_networks(networks: str) -> None:
    path = list(sys.path)
    for name in ("make", "Gridded", "holder.inner", "ready"):
        model = build(f"{networks}:{name}")
        assert type(model).__name__ == "Gridded"
        assert not model.training
    assert sys.path == path


def test_what_it_prints_goes_to_standard_error(
    networks: str, capsys: pytest.CaptureFixture[str]
) -> None:
    build(f"{networks}:make")
    out, err = capsys.readouterr()
    assert out == ""
    assert "networks imported" in err


def test_a_factory_that_cannot_be_on_meta_is_called_on_the_cpu(networks: str) -> None:
    model = build(f"{networks}:Late")
    assert model.get_submodule("second").dilation == (2, 2)
    assert next(model.parameters()).device.type == "cpu"
    # control: one that can be is not
    assert next(build(f"{networks}:Gridded").parameters()).is_meta


def test_weights_follow_from_the_seed_and_leave_the_generators_alone(networks: str) -> None:
    before = torch.get_rng_state()
    one, same = (build(f"{networks}:Gridded", need_weights=True) for _ in range(2))
    other = build_from_factory(f"{networks}:Gridded", {}, seed=1, need_weights=True)
    assert torch.equal(before, torch.get_rng_state())
    first, second, third = (next(model.parameters()) for model in (one, same, other))
    assert torch.equal(first, second)
    assert not torch.equal(first, third)


def test_torchvision() -> None:
    model = build("torchvision.models:resnet18", weights=None)
    assert next(model.parameters()).is_meta
    assert type(model).__name__ == "ResNet"


def test_faults_of_the_name(networks: str) -> None:
    assert mistake("no_such_package.sub:net") == (
        "no_such_package.sub:net: there is no module 'no_such_package'; install it, or start "
        "dilsearch in the folder that holds it"
    )
    assert mistake(f"{networks}:Grided") == (
        f"{networks}:Grided: module '{networks}' has no 'Grided'; the nearest name is 'Gridded'"
    )
    assert mistake(f"{networks}:holder.iner") == (
        f"{networks}:holder.iner: 'holder' has no 'iner'; the nearest name is 'inner'"
    )
    for target in (f"{networks}:", ":make", "a:b..c", ".a:b"):
        assert mistake(target) == (
            f"{target} does not name a factory; write package.module:factory, as in "
            "torchvision.models:resnet18"
        )
    assert mistake(f"./{networks}.py:make") == (
        f"./{networks}.py:make names a file; name its module, as in {networks}:make"
    )
    assert mistake(f"{networks}:answer") == (
        f"{networks}:answer is an int, which cannot be called; name a function or class that "
        "makes a network, or a network"
    )


def test_faults_of_the_module(networks: str) -> None:
    Path(f"{networks}_bad.py").write_text("x = 1 / 0\n")
    assert mistake(f"{networks}_bad:net") == (
        f"{networks}_bad:net: importing module '{networks}_bad' failed: ZeroDivisionError: "
        "division by zero; correct it there"
    )
    Path(f"{networks}_ends.py").write_text("import sys\nsys.exit(3)\n")
    assert mistake(f"{networks}_ends:net") == (
        f"{networks}_ends:net: importing module '{networks}_ends' ended the program; let it run "
        "what it runs only under if __name__ == '__main__'"
    )
    Path(f"{networks}_needs.py").write_text("import no_such_package\n")
    assert mistake(f"{networks}_needs:net") == (
        f"{networks}_needs:net: module '{networks}_needs' needs module 'no_such_package', which "
        "is not installed; install it"
    )


def test_faults_of_the_call(networks: str) -> None:
    assert mistake(f"{networks}:Gridded", rte=2) == (
        f"--kwargs: {networks}:Gridded takes no 'rte'; the nearest name is 'rate'"
    )
    assert mistake(f"{networks}:needy") == (
        f"{networks}:needy needs 'width'; give it as in --kwargs '{{\"width\": \"VALUE\"}}'"
    )
    assert mistake(f"{networks}:make", rte=2) == (
        f"{networks}:make failed: TypeError: Gridded.__init__() got an unexpected keyword "
        "argument 'rte'; give what it needs with --kwargs, or correct it"
    )
    assert mistake(f"{networks}:broken") == (
        f"{networks}:broken failed: RuntimeError: no disk; give what it needs with --kwargs, or "
        "correct it"
    )
    assert mistake(f"{networks}:nothing") == (
        f"{networks}:nothing returned None, which is no torch.nn.Module; name a factory that "
        "returns the network"
    )
    assert mistake(f"{networks}:ready", rate=2) == (
        f"{networks}:ready is a network already and takes no arguments; leave out --kwargs"
    )


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("{weights: null}", "--kwargs {weights: null} is not JSON (Expecting property name"),
        ("[1]", "--kwargs [1] is not a JSON object; write it as in --kwargs '{\"weights\": null}'"),
        ("", "--kwargs  is not JSON"),
    ],
)
def test_faults_of_the_arguments(text: str, fault: str) -> None:
    with pytest.raises(TraceError) as caught:
        parse_kwargs(text)
    assert fault in str(caught.value)


def test_arguments_and_shapes_that_are_right() -> None:
    assert parse_kwargs(None) == {}
    assert parse_kwargs('{"weights": null, "width": 2}') == {"weights": None, "width": 2}
    shapes = [tuple(x.shape) for x in parse_inputs(["1,3,8", "1,3,8,9", "1, 3, 8, 9, 10"])]
    assert shapes == [(1, 3, 8), (1, 3, 8, 9), (1, 3, 8, 9, 10)]
    assert all(x.is_meta for x in parse_inputs(["1,3,100000,100000"]))


@pytest.mark.parametrize(
    ("shapes", "fault"),
    [
        (["1x3x8x8"], "--input 1x3x8x8: sizes are whole numbers between commas"),
        (["1,3,8.5,8"], "--input 1,3,8.5,8: sizes are whole numbers between commas"),
        (["1,3,0,8"], "--input 1,3,0,8: size 0 is below 1"),
        (["1,3,-4,8"], "--input 1,3,-4,8: size -4 is below 1"),
        (
            ["8,8"],
            "--input 8,8: it has 2 sizes, and 3 to 5 are needed: batch, channels, and one for "
            "each spatial axis",
        ),
        (["1,1,1,1,1,1"], "--input 1,1,1,1,1,1: it has 6 sizes, and 3 to 5 are needed"),
        ([""], "--input : sizes are whole numbers between commas"),
    ],
)
def test_faults_of_a_shape(shapes: list[str], fault: str) -> None:
    with pytest.raises(TraceError) as caught:
        parse_inputs(shapes)
    assert str(caught.value).startswith(fault)
    assert str(caught.value).endswith(
        "Write it as in --input 1,3,512,1024 (batch, channels, height, width)."
    )


def test_every_bad_shape_is_told() -> None:
    with pytest.raises(TraceError) as caught:
        parse_inputs(["a", "1,3,8,8", "1,3,0,8"])
    assert "--input a: " in str(caught.value)
    assert "--input 1,3,0,8: " in str(caught.value)
