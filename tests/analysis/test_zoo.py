"""The networks that the tests of the analysis use: real ones, and those that hypothesis draws."""

from bisect import bisect_left
from functools import cache

import pytest
import random_networks
import torch
from hypothesis import Phase, find, given, settings
from random_networks import (
    DRAWN,
    AdaptivePool,
    Conv,
    Gate,
    Network,
    PixelShuffle,
    PixelUnshuffle,
    Pool,
    Residual,
    build,
    input_shape,
    labels,
    output_shape,
    walk,
)
from torch import nn
from zoo import (
    FIELDS,
    NETWORKS,
    TCN,
    ContextModule,
    DataDependent,
    Shape,
    TwoInputs,
    UNet,
    VggFrontEnd,
    WaveNetStack,
    tensors,
)

DRAW = settings(deadline=None, database=None, derandomize=True, phases=[Phase.generate])
SHRINK = settings(DRAW, phases=[Phase.generate, Phase.shrink])


def on_meta(model: nn.Module, *shape: int) -> torch.Size:
    with torch.no_grad():
        return model.to("meta").eval()(torch.empty(shape, device="meta")).shape


def parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


# ------------------------------------------------------------------------------------ real networks


@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_runs_at_its_shape(name: str) -> None:
    torch.manual_seed(0)
    make, shape = NETWORKS[name]
    answer = tensors(make().eval()(torch.randn(shape)))
    assert answer
    for output in answer.values():
        assert output.isfinite().all()
        assert output.std() > 0


def columns_seen(model: nn.Module, shape: Shape, output: int) -> tuple[int, int]:
    """First and last column that one output sees; NaN in any of them makes the output NaN."""

    def spoilt(columns: slice) -> bool:
        x = torch.zeros(shape)
        x[..., columns] = torch.nan
        with torch.no_grad():
            return bool(model(x)[..., output].isnan().any())

    columns = range(shape[-1] + 1)
    from_left = bisect_left(columns, True, key=lambda count: spoilt(slice(0, count)))
    from_right = bisect_left(
        columns, True, key=lambda count: spoilt(slice(shape[-1] - count, None))
    )
    return from_left - 1, shape[-1] - from_right


@pytest.mark.parametrize("name", FIELDS)
def test_networks_see_what_is_published(name: str) -> None:
    """On the last axis; the other is alike, and no longer than the field here."""
    make, shape = NETWORKS[name]
    model = make().eval()
    shape = (*shape[:-2], FIELDS[name].field_px[-2], shape[-1]) if len(shape) == 4 else shape
    with torch.no_grad():
        count = model(torch.zeros(shape)).shape[-1]
    output = count - 1 if len(shape) == 3 else count // 2  # sequences see the past
    first, last = columns_seen(model, shape, output)
    assert last - first + 1 == FIELDS[name].field_px[-1]
    before, _ = columns_seen(model, shape, output - 1)
    assert first - before == FIELDS[name].stride_px[-1]


def test_the_front_end_has_its_published_sizes() -> None:
    with torch.device("meta"):
        model = VggFrontEnd()
    # Yu & Koltun (2016): training crops, the padded Pascal images, and Cityscapes crops
    for size, outputs in ((500, 16), (900, 66), (1396, 128)):
        assert on_meta(model, 1, 3, size, size) == (1, 21, outputs, outputs)
    assert parameters(model) == 134_346_581


def test_the_context_module_has_its_published_size() -> None:
    model = ContextModule()
    assert parameters(model) == 28_392  # about 64 C^2 of Yu & Koltun (2016), with the biases
    assert on_meta(model, 1, 21, 66, 66) == (1, 21, 66, 66)


def test_the_unpadded_unet_has_its_published_sizes() -> None:
    """Ronneberger et al. (2015), figure 1: 572 becomes 388, and 188 is the least that has 4."""
    model = UNet(padded=False)
    assert on_meta(model, 1, 1, 572, 572) == (1, 2, 388, 388)
    assert on_meta(model, 1, 1, 188, 188) == (1, 2, 4, 4)


def test_a_width_changes_no_size() -> None:
    assert on_meta(VggFrontEnd(2, width=0.01), 1, 3, 500, 500) == (1, 2, 16, 16)


@pytest.mark.parametrize("model", [WaveNetStack(layers=5), TCN(levels=3)], ids=["wavenet", "tcn"])
def test_sequences_see_the_past_alone(model: nn.Module) -> None:
    torch.manual_seed(0)
    x = torch.randn(1, 1, 64)
    changed = x.clone()
    changed[:, :, 40:] += 1
    with torch.no_grad():
        difference = (model(x) - model(changed)).abs().amax((0, 1))
    assert difference[:40].max() == 0
    assert difference[40:].max() > 0


def test_two_inputs_are_seen_both() -> None:
    torch.manual_seed(0)
    left, right = (torch.randn(1, 3, 16, 20, requires_grad=True) for _ in range(2))
    TwoInputs().eval()(left, right).sum().backward()
    for image in (left, right):
        assert image.grad is not None
        assert image.grad.abs().amax((0, 1)).min() > 0


def test_a_data_dependent_forward_goes_both_ways() -> None:
    torch.manual_seed(0)
    model = DataDependent().eval()
    x = torch.rand(1, 3, 16, 20)
    assert torch.equal(model(x), model.wide(x))
    assert torch.equal(model(-x), model.narrow(-x))


# ---------------------------------------------------------------------------------- drawn networks


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_drawn_networks_run_and_give_the_shape_they_promise(axes: int) -> None:
    @settings(max_examples=30, deadline=None)
    @given(random_networks.random_networks(axes))
    def runs(description: Network) -> None:
        x = torch.randn(input_shape(description), dtype=torch.float64, requires_grad=True)
        y = build(description).double()(x)
        assert tuple(y.shape) == output_shape(description)
        y.sum().backward()
        assert y.isfinite().all()
        assert x.grad is not None
        assert x.grad.isfinite().all()

    runs()


@cache
def reached(axes: int, *, without: tuple[type, ...] = (), count: int = 500) -> list[Network]:
    """Descriptions as they come, none of them run."""
    found: list[Network] = []

    @settings(DRAW, max_examples=count)
    @given(random_networks.random_networks(axes, without))
    def collect(description: Network) -> None:
        found.append(description)

    collect()
    return found


FITS = ("crop", "nearest", "linear")
VARIANTS = {
    "Pointwise": ("relu", "gelu", "tanh", "norm"),
    "Pool": ("max", "mean", "ceil"),
    "AdaptivePool": ("max", "mean"),
    "Pad": ("constant", "reflect", "replicate", "circular"),
    "Up": ("nearest", "nearest-exact", "linear", "cubic", "area", "align_corners"),
    "Residual": FITS,
    "Split": FITS,
    "Branches": ("add", "cat", *FITS),
}


def test_every_variant_of_every_step_is_drawn() -> None:
    types = {kind.__name__ for kind in DRAWN}
    words = {f"{name} {word}" for name, found in VARIANTS.items() for word in found}
    assert set().union(*map(labels, reached(2))) == types | words


@pytest.mark.parametrize("axes", [1, 3])
def test_every_step_but_pixel_shuffles_is_drawn_on_other_axes(axes: int) -> None:
    found = {type(step) for one in reached(axes, count=150) for step in walk(one)}
    assert set(DRAWN) - found == {PixelShuffle, PixelUnshuffle}


def test_drawn_networks_differ_in_every_way_that_matters() -> None:
    found = reached(2)
    convs = [step for one in found for step in walk(one) if isinstance(step, Conv)]
    assert {taps for conv in convs for taps in conv.taps} == {1, 2, 3, 4}
    assert {rate for conv in convs for rate in conv.rate} == {1, 2, 3, 4}
    assert {stride for conv in convs for stride in conv.stride} == {1, 2, 3}
    assert {conv.groups for conv in convs} == {1, 2, 3}
    for field in ("taps", "rate", "stride", "padding"):
        assert any(len(set(getattr(conv, field))) == 2 for conv in convs), field
    assert any(before != after for conv in convs for before, after in conv.padding)
    assert all(17 <= size <= 48 for one in found for size in one.size)
    assert all(one.size[0] != one.size[1] for one in found)
    assert all(len(one.steps) >= 1 for one in found)
    assert max(len(list(walk(one))) for one in found) >= 10


def test_types_that_are_left_out_are_not_drawn() -> None:
    found = reached(2, without=(Gate, AdaptivePool), count=50)
    assert not any(isinstance(step, Gate | AdaptivePool) for one in found for step in walk(one))
    assert any(isinstance(step, Gate) for one in reached(2) for step in walk(one))


def test_equal_descriptions_give_equal_networks_and_leave_the_seed_alone() -> None:
    description = Network(
        3, (17, 18), (Residual((Conv(4, (3, 2), (1, 2), (2, 1), ((2, 2), (0, 1))),), "linear"),)
    )
    state = torch.random.get_rng_state()
    first, second = build(description), build(eval(repr(description), vars(random_networks)))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert not first.training
    pairs = zip(first.parameters(), second.parameters(), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)


def test_a_network_shrinks_to_the_step_that_matters() -> None:
    def hangs_over(description: Network) -> bool:
        return any(isinstance(step, Pool) and step.ceil for step in walk(description))

    small = find(random_networks.random_networks(2), hangs_over, settings=SHRINK)
    assert len(list(walk(small))) <= 2
