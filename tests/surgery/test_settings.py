"""Settings tell networks apart that compute other things, and sites not by form or rate."""

import json
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

from dilsearch.layers import BranchConv2d, MixedRateConv
from dilsearch.sites import Granularity, PerBranch, PerChannel, PerSite
from dilsearch.surgery import apply_plan, discretize, read_plan, relax
from dilsearch.surgery.settings import settings_of

GRANULARITIES: tuple[Granularity, ...] = (
    PerSite(1, 9),
    PerSite(1, 9, separate_axes=True),
    PerBranch(1, 9, branches=2),
    PerBranch(1, 9, branches=2, separate_axes=True),
    PerChannel(1, 9),
)


@st.composite
def convolutions(draw: st.DrawFn) -> nn.Conv2d:
    kernel = (draw(st.integers(2, 5)), draw(st.integers(1, 5)))
    stride = draw(st.integers(1, 2))
    same = stride == 1 and draw(st.booleans())
    return nn.Conv2d(
        2,
        2,
        kernel,
        stride=stride,
        padding="same" if same else draw(st.tuples(st.integers(0, 3), st.integers(0, 3))),
        dilation=draw(st.integers(1, 3)),
        groups=2,
        padding_mode=draw(st.sampled_from(("zeros", "reflect"))),
    )


@settings(max_examples=60, deadline=None)
@given(convolutions(), st.sampled_from(GRANULARITIES), st.data())
def test_a_site_has_the_same_settings_in_every_form_and_at_every_rate(
    conv: nn.Conv2d, granularity: Granularity, data: st.DataObject
) -> None:
    plain = nn.Sequential(nn.ReLU(), conv)
    relaxed = relax(plain, {"1": granularity})
    count = len(read_plan(relaxed)["1"])
    rates = st.lists(st.integers(1, 9).map(float), min_size=count, max_size=count)
    found = settings_of(relaxed)
    assert found.keys() == {"1"}
    for _ in range(2):
        plan = read_plan(relaxed).replace({"1": tuple(data.draw(rates))})
        assert settings_of(apply_plan(relaxed, plan)) == found
        discretised = discretize(relaxed, plan)
        assert settings_of(discretised) == settings_of(apply_plan(plain, plan)) == found
    assert settings_of(discretize(relaxed, read_plan(relaxed))) == found
    assert settings_of(plain) != found  # control: of no site, the dilation counts


@pytest.mark.parametrize("rate", [1, 2, 5])
def test_so_has_a_causal_site(rate: int) -> None:
    plain = nn.Sequential(nn.Conv1d(2, 2, 3, padding=8, dilation=4))
    relaxed = relax(plain, {"0": PerSite(1, 9, causal=True)})
    plan = read_plan(relaxed).replace({"0": (rate,)})
    found = settings_of(relaxed)
    assert found["0"]["padding_at_rate_1"] == [[2, 8]]  # in front 8 - 2 taps of 4 - 1 pixels less
    for model in (relaxed, plain):
        assert settings_of(apply_plan(model, plan)) == found
    assert settings_of(discretize(relaxed, plan)) == found
    assert settings_of(discretize(relaxed, read_plan(relaxed))) == found  # an nn.Conv1d again


@settings(max_examples=80, deadline=None)
@given(st.integers(2, 4), st.booleans(), st.data())
def test_sites_with_equal_settings_compute_the_same_and_others_do_not(
    taps: int, causal: bool, data: st.DataObject
) -> None:
    numbers = st.tuples(st.integers(1, 2), st.integers(1, 2), st.integers(0, 4))
    models = []
    for stride, dilation, padding in (data.draw(numbers), data.draw(numbers)):
        conv = nn.Conv1d(1, 1, taps, stride=stride, dilation=dilation, padding=padding, bias=False)
        conv.weight.data = torch.arange(1.0, taps + 1).reshape(1, 1, taps)
        relaxed = relax(nn.Sequential(conv), {"0": PerSite(1, 9, causal=causal)})
        models.append(apply_plan(relaxed, read_plan(relaxed).replace({"0": (3,)})))
    alike = []
    for length in (30, 31):  # a stride of 2 never reads the last pixel of one of them
        x = torch.rand(1, 1, length, generator=torch.Generator().manual_seed(0))
        outputs = [model(x) for model in models]
        alike.append(outputs[0].shape == outputs[1].shape and torch.equal(*outputs))
    assert (settings_of(models[0]) == settings_of(models[1])) == all(alike)


CHANGES: dict[str, tuple[Callable[[], nn.Module], Callable[[], nn.Module]]] = {
    "stride": (lambda: nn.Conv2d(4, 4, 3), lambda: nn.Conv2d(4, 4, 3, stride=2)),
    "padding": (lambda: nn.Conv2d(4, 4, 3), lambda: nn.Conv2d(4, 4, 3, padding=1)),
    "one axis": (
        lambda: nn.Conv2d(4, 4, 3, padding=(1, 2)),
        lambda: nn.Conv2d(4, 4, 3, padding=(2, 1)),
    ),
    "uneven ends": (
        lambda: nn.Conv2d(4, 4, 4, padding="same"),
        lambda: nn.Conv2d(4, 4, 4, padding=(1, 2)),
    ),
    "dilation": (lambda: nn.Conv3d(4, 4, 3), lambda: nn.Conv3d(4, 4, 3, dilation=2)),
    "groups": (lambda: nn.Conv1d(2, 4, 3), lambda: nn.Conv1d(4, 4, 3, groups=2)),
    "padding mode": (
        lambda: nn.Conv2d(4, 4, 3, padding=1),
        lambda: nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect"),
    ),
    "transposed": (lambda: nn.Conv2d(4, 4, 3), lambda: nn.ConvTranspose2d(4, 4, 3)),
    "output padding": (
        lambda: nn.ConvTranspose2d(4, 4, 3, stride=2),
        lambda: nn.ConvTranspose2d(4, 4, 3, stride=2, output_padding=1),
    ),
    "branches": (
        lambda: BranchConv2d(4, 4, 3, rates=(1, 2), groups=2),
        lambda: BranchConv2d(4, 4, 3, rates=(2, 1), groups=2),
    ),
    "pooling": (lambda: nn.MaxPool2d(2), lambda: nn.MaxPool2d(2, stride=1)),
    "rounding": (lambda: nn.MaxPool2d(2), lambda: nn.MaxPool2d(2, ceil_mode=True)),
    "kind of pooling": (lambda: nn.MaxPool2d(2), lambda: nn.AvgPool2d(2)),
    "counting": (
        lambda: nn.AvgPool2d(3, padding=1),
        lambda: nn.AvgPool2d(3, padding=1, count_include_pad=False),
    ),
    "adaptive": (lambda: nn.AdaptiveAvgPool2d(1), lambda: nn.AdaptiveAvgPool2d((1, None))),
}


@pytest.mark.parametrize("change", CHANGES)
def test_each_setting_that_no_weight_shows_counts(change: str) -> None:
    one, other = (nn.Sequential(build()) for build in CHANGES[change])
    assert settings_of(one) != settings_of(other)
    for model, build in ((one, CHANGES[change][0]), (other, CHANGES[change][1])):
        found = settings_of(model)
        assert found == settings_of(nn.Sequential(build()))  # control: built alike
        assert json.loads(json.dumps(found)) == found


ALIKE: dict[str, tuple[Callable[[], nn.Module], Callable[[], nn.Module]]] = {
    "same": (
        lambda: nn.Conv2d(4, 4, 3, padding="same", dilation=2),
        lambda: nn.Conv2d(4, 4, 3, padding=2, dilation=2),
    ),
    "valid": (lambda: nn.Conv2d(4, 4, 3, padding="valid"), lambda: nn.Conv2d(4, 4, 3)),
    "weight norm": (lambda: weight_norm(nn.Conv2d(4, 4, 3)), lambda: nn.Conv2d(4, 4, 3)),
    "a number for each axis": (lambda: nn.MaxPool2d(2), lambda: nn.MaxPool2d((2, 2), (2, 2))),
    "subclass": (lambda: type("Own", (nn.Conv2d,), {})(4, 4, 3), lambda: nn.Conv2d(4, 4, 3)),
}


@pytest.mark.parametrize("words", ALIKE)
def test_other_words_for_the_same_do_not_count(words: str) -> None:
    one, other = (nn.Sequential(build()) for build in ALIKE[words])
    assert settings_of(one) == settings_of(other) != {}


def test_layers_of_several_rates_that_are_no_sites_keep_them() -> None:
    relaxed = relax(nn.Sequential(nn.Conv2d(2, 2, 3, padding=1)), {"0": PerChannel(1, 9)})
    (layer,) = discretize(relaxed, read_plan(relaxed).replace({"0": (2, 3)}))
    assert isinstance(layer, MixedRateConv)
    assert settings_of(nn.Sequential(layer))["0"]["rates"] == [2, 3]


def test_wrapped_parts_and_modules_at_several_paths_are_told_by_plain_paths() -> None:
    conv = nn.Conv2d(4, 4, 3)
    tied = nn.Sequential(conv, nn.ReLU(), conv)
    parts = nn.Sequential(torch.compile(conv), nn.ReLU(), nn.Conv2d(4, 4, 3))
    expected = settings_of(nn.Sequential(nn.Conv2d(4, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3)))
    assert expected.keys() == {"0", "2"}
    for model in (tied, parts, torch.compile(parts), nn.DataParallel(tied)):
        assert settings_of(model) == expected
    relaxed = settings_of(relax(tied, {"0": PerSite(1, 9)}))
    assert relaxed["0"] == relaxed["2"]
    assert relaxed["0"]["kind"] == "site"
