import copy
import warnings
from dataclasses import dataclass

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from dilsearch.analysis import neutral, neutral_maps
from dilsearch.analysis.numeric import MeasuredSupport, measure_support
from dilsearch.errors import TraceError
from dilsearch.layers import BranchConv2d, ConvGrid, MixedRateConv, RelaxedConv1d, RelaxedConv2d
from dilsearch.sites import PerBranch, PerChannel, PerSite


def conv(rate=1, kernel=3, channels=2, **settings) -> nn.Conv2d:
    padding = rate * (kernel - 1) // 2
    return nn.Conv2d(channels, channels, kernel, dilation=rate, padding=padding, **settings)


def image(size=41, channels=2) -> Tensor:
    return torch.empty(1, channels, size, size, device="meta")


class Network(nn.Module):
    """A function of a map and of modules."""

    def __init__(self, function, **modules: nn.Module) -> None:
        super().__init__()
        self.function = function
        for name, module in modules.items():
            self.add_module(name, module)

    def forward(self, *inputs):
        return self.function(self, *inputs)


def support_of(function, example=None, position=None, **modules) -> MeasuredSupport:
    example = image() if example is None else example
    return measure_support(Network(function, **modules), example, position=position)


# --- convolutions ---------------------------------------------------------------------------


def test_parallel_branches_of_different_rates_after_a_shared_convolution():
    measured = support_of(
        lambda net, x: net.wide(net.shared(x)) + net.narrow(net.shared(x)),
        shared=conv(),
        wide=conv(8),
        narrow=conv(2),
    )
    assert measured.field_px == (19, 19)
    assert measured.box_px == ((11, 29), (11, 29))
    assert measured.position == (20, 20)
    assert measured.output_size == (41, 41)
    assert not measured.touches_border


def test_rates_differ_between_axes():
    layer = nn.Conv2d(2, 2, 3, dilation=(1, 4), padding=(1, 4))
    measured = measure_support(layer, image())
    assert measured.field_px == (3, 9)
    assert measured.holes == 27 - 9


def test_equal_rates_leave_holes():
    measured = measure_support(nn.Sequential(conv(2), conv(2), conv(2)), image())
    assert measured.field_px == (13, 13)
    assert int(measured.seen.sum()) == 49
    assert measured.holes == 169 - 49


def test_no_depth_hides_the_corners():
    layer = conv(channels=1)
    deep = nn.Sequential(*[layer] * 400)
    measured = measure_support(deep, torch.empty(1, 1, 1, 1001, device="meta"))
    assert measured.field_px == (1, 801)


def test_with_gradients_that_are_not_settled_depth_would_hide_the_corners(monkeypatch):
    monkeypatch.setattr(neutral_maps, "settled", lambda x: x)
    deep = nn.Sequential(*[conv(channels=1)] * 400)
    measured = measure_support(deep, torch.empty(1, 1, 1, 1001, device="meta"))
    assert 1 < measured.field_px[1] < 801


@pytest.mark.parametrize(("place", "seen"), [(20, (9, 10)), (21, (10, 11)), (22, (10, 11))])
def test_transposed_convolution(place, seen):
    layer = nn.ConvTranspose2d(2, 3, 4, stride=2, padding=1)
    # output o reads input i where o = 2 i - 1 + t for a tap t of 0 to 3
    assert seen == ((place - 1) // 2, (place + 1) // 2)
    measured = measure_support(layer, image(), position=(place, place))
    assert measured.box_px == (seen, seen)


def test_a_transposed_convolution_with_every_setting():
    layer = nn.ConvTranspose2d(4, 4, 3, stride=2, padding=1, output_padding=1, groups=2, dilation=2)
    measured = measure_support(layer, image(channels=4), position=(20, 20))
    # o = 2 i - 1 + 2 t: only odd outputs are reached
    assert measured.empty
    assert measure_support(layer, image(channels=4), position=(21, 21)).field_px == (3, 3)


def test_a_causal_one_dimensional_convolution_sees_the_past_alone():
    measured = support_of(
        lambda net, x: net.conv(F.pad(x, (6, 0))),
        torch.empty(1, 2, 40),
        (20,),
        conv=nn.Conv1d(2, 2, 4, dilation=2),
    )
    assert measured.box_px == ((14, 20),)


def test_three_axes():
    layer = nn.Conv3d(1, 1, (1, 3, 5), padding=(0, 1, 2))
    assert measure_support(layer, torch.empty(1, 1, 9, 9, 9)).field_px == (1, 3, 5)


def test_a_module_that_runs_twice():
    measured = support_of(lambda net, x: net.conv(net.conv(x)), conv=conv(3))
    assert measured.field_px == (13, 13)
    assert int(measured.seen.sum()) == 25


def test_trained_zeros_count_and_masked_ones_do_not():
    layer = conv(channels=1, bias=False)
    nn.init.zeros_(layer.weight)
    assert measure_support(layer, image(channels=1)).field_px == (3, 3)

    def masked(net, x):
        mask = torch.ones(3, 3)
        mask[:, 2] = 0
        return F.conv2d(x, net.conv.weight * mask, padding=1)

    assert support_of(masked, image(channels=1), conv=layer).field_px == (3, 2)


def test_standardised_weights_do_not_become_zero():
    def standardised(net, x):
        weight = net.conv.weight
        mean, std = weight.mean((1, 2, 3), keepdim=True), weight.std((1, 2, 3), keepdim=True)
        return F.conv2d(x, (weight - mean) / (std + 1e-5), padding=1)

    assert support_of(standardised, conv=conv()).field_px == (3, 3)


@pytest.mark.parametrize(
    ("mode", "rows"),
    [("zeros", {0, 1, 2}), ("reflect", {0, 1, 2}), ("circular", {39, 40, 0, 1, 2})],
)
def test_padding_modes_near_the_corner(mode, rows):
    layer = nn.Conv2d(2, 2, 5, padding=2, padding_mode=mode, groups=2)
    measured = measure_support(layer, image(), position=(0, 20))
    assert set(measured.seen.any(axis=1).nonzero()[0].tolist()) == rows
    assert measured.touches_border


def test_reflection_alone_reads_further_rows():
    measured = support_of(lambda net, x: F.pad(x, (4, 4, 4, 4), mode="reflect"), position=(0, 10))
    assert measured.box_px == ((4, 4), (6, 6))


# --- our own layers -------------------------------------------------------------------------


def test_a_relaxed_site_stands_with_its_rate_rounded_up():
    layer = RelaxedConv2d(conv(2), PerSite(1, 9))
    layer.rate.data.fill_(4.3)
    measured = measure_support(nn.Sequential(layer), image())
    assert measured.field_px == (11, 11)
    assert int(measured.seen.sum()) == 9


def test_a_relaxed_site_on_meta_stands_with_the_rates_it_came_from():
    layer = RelaxedConv2d(conv(2, groups=2), PerBranch(1, 9, branches=2)).to("meta")
    assert measure_support(layer, image()).field_px == (5, 5)


def test_branches_and_channels_with_rates_of_their_own():
    layer = RelaxedConv2d(conv(1, channels=2, groups=2), PerBranch(1, 9, branches=2))
    layer.rate.data.copy_(torch.tensor([2.0, 5.0]))
    assert int(measure_support(layer, image()).seen.sum()) == 17
    channels = RelaxedConv1d(nn.Conv1d(3, 2, 3, padding=1), PerChannel(1, 9))
    channels.rate.data.copy_(torch.tensor([1.0, 2.5, 7.0]))
    measured = measure_support(channels, torch.empty(1, 3, 41))
    assert set(measured.seen.nonzero()[0] - 20) == {-7, -3, -1, 0, 1, 3, 7}
    assert layer.rate.tolist() == [2.0, 5.0]


def test_a_branch_convolution():
    layer = BranchConv2d(4, 4, 3, rates=[1, 6], padding=1, groups=2)
    measured = measure_support(layer, image(channels=4))
    assert measured.field_px == (13, 13)
    assert int(measured.seen.sum()) == 17


@pytest.mark.parametrize("device", ["cpu", "meta"])
@pytest.mark.parametrize("groups", [1, 3])
def test_a_mixed_rate_convolution_by_channel(device, groups):
    plain = nn.Conv1d(3, 3, 3, padding=1, groups=groups, bias=False)
    layer = MixedRateConv(ConvGrid.of(plain), [(1,), (4,), (4,)], plain)
    if groups == 3:  # as many rates as groups would be branches
        layer = MixedRateConv(ConvGrid.of(plain), [(1,), (4,), (6,)], plain)
    measured = measure_support(layer.to(device), torch.empty(1, 3, 41))
    expected = {-4, -1, 0, 1, 4} | ({-6, 6} if groups == 3 else set())
    assert set(measured.seen.nonzero()[0] - 20) == expected


# --- pixel by pixel -------------------------------------------------------------------------

ACTIVATIONS = """ReLU ReLU6 LeakyReLU PReLU ELU SELU CELU GELU SiLU Mish Sigmoid LogSigmoid
Hardsigmoid Hardswish Hardtanh Hardshrink Softshrink Tanhshrink Softplus Softsign Tanh Dropout
Dropout2d Identity""".split()


@pytest.mark.parametrize("kind", ACTIVATIONS)
def test_activations_hide_nothing(kind):
    layers = nn.Sequential(conv(), getattr(nn, kind)(), conv())
    for module in layers:
        if hasattr(module, "inplace"):
            module.inplace = True
    assert measure_support(layers, image()).field_px == (5, 5)


@pytest.mark.parametrize(
    "norm",
    [
        nn.BatchNorm2d(4),
        nn.GroupNorm(2, 4),
        nn.InstanceNorm2d(4, affine=True),
        nn.LayerNorm([4, 41, 41]),
        nn.LocalResponseNorm(3),
        nn.Softmax(dim=1),
        nn.Threshold(0.5, 0.0),
    ],
    ids=lambda module: type(module).__name__,
)
def test_norms_are_taken_pixel_by_pixel(norm):
    layers = nn.Sequential(conv(channels=4), norm, conv(channels=4))
    assert measure_support(layers.train(), image(channels=4)).field_px == (5, 5)


@pytest.mark.parametrize(
    "function",
    [
        lambda a, b: a * b,
        lambda a, b: a - b,
        lambda a, b: a / b,
        lambda a, b: 1 - a * (2 - b),
        lambda a, b: torch.maximum(a, b),
        lambda a, b: torch.max(a, b),
        lambda a, b: torch.where(a > b, a, b),
        lambda a, b: a.clone().sub_(b),
        lambda a, b: a.relu_().mul_(b),
        lambda a, b: torch.addcmul(a, a, b),
        lambda a, b: (a / (1 + b.abs())).sigmoid() * b.exp(),
        lambda a, b: F.glu(torch.cat([a, b], 1), 1),
        lambda a, b: torch.lerp(a, b, 0.0),
        lambda a, b: torch.stack([a, b]).amax(0),
        lambda a, b: torch.cat([a, b], 1).softmax(1)[:, :1],
        lambda a, b: F.normalize(torch.cat([a, b], 1), dim=1)[:, :1],
        lambda a, b: torch.cat([a, b], 1).max(dim=1, keepdim=True).values,
        lambda a, b: torch.cat([a, b], 1).argmax(dim=1, keepdim=True),
        lambda a, b: torch.cat([a, b], 1).norm(dim=1, keepdim=True),
    ],
)
def test_what_is_made_of_two_maps_sees_what_both_see(function):
    measured = support_of(
        lambda net, x: function(net.wide(x), net.narrow(x)), wide=conv(6), narrow=conv(2)
    )
    assert int(measured.seen.sum()) == 17


def test_differences_do_not_cancel():
    def vanishing(net, x):
        y = net.conv(x)
        y -= y.clone()
        return y - y

    assert support_of(vanishing, conv=conv()).field_px == (3, 3)


def test_in_place_operations_change_nothing_else():
    def forward(net, x):
        y = x.relu()
        y += net.conv(x)
        z = x * 2.0
        z -= net.conv(x)
        return x

    assert support_of(forward, conv=conv()).field_px == (1, 1)


def test_what_runs_without_gradients_is_seen():
    def forward(net, x):
        with torch.no_grad():
            y = net.conv(x)
        return net.conv(y.detach()).data

    assert support_of(forward, conv=conv()).field_px == (5, 5)


@pytest.mark.parametrize("surroundings", [torch.no_grad, torch.inference_mode])
def test_the_caller_may_have_gradients_switched_off(surroundings):
    network = nn.Sequential(conv(), conv())
    with surroundings():
        assert measure_support(network, image()).field_px == (5, 5)


def test_writing_to_the_input_and_to_parts_of_maps():
    def forward(net, x):
        x.mul_(2)
        held = torch.zeros(1, 2, 41, 41)
        held[:, :1] = net.conv(x)[:, 1:]
        return held

    assert support_of(forward, conv=conv()).field_px == (3, 3)


def test_tensors_that_are_written_to_keep_their_axes():
    def forward(net, x):
        tokens = net.conv(x).flatten(2).transpose(1, 2)
        held = torch.zeros(1, 41 * 41, 2)
        held += tokens
        copied = torch.zeros(1, 41 * 41, 2)
        copied[:, :, :] = tokens
        return net.mix(held + net.mix(copied)).transpose(1, 2).reshape(x.shape)

    assert support_of(forward, conv=conv(), mix=nn.Linear(2, 2)).field_px == (3, 3)


def test_half_precision_and_casts_do_not_matter():
    layers = nn.Sequential(conv(), conv()).bfloat16()
    measured = support_of(lambda net, x: net.body(x.half()).float(), body=layers)
    assert measured.field_px == (5, 5)


# --- pooling --------------------------------------------------------------------------------


@pytest.mark.parametrize("axes", [1, 2, 3])
@pytest.mark.parametrize("ceil_mode", [False, True])
@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "dilation"),
    [(3, 2, 1, 1), (2, None, 0, 1), (3, 1, 1, 4), (3, 3, 0, 2), (2, 3, 1, 2)],
)
def test_max_pooling_sees_its_whole_window(axes, ceil_mode, kernel, stride, padding, dilation):
    pool = getattr(nn, f"MaxPool{axes}d")(
        kernel, stride, padding, dilation=dilation, ceil_mode=ceil_mode
    )
    example = torch.rand(1, 1, *[20] * axes)
    measured = measure_support(pool, example)
    assert measured.output_size == tuple(pool(example).shape[2:])
    first = measured.output_size[0] // 2 * (stride or kernel) - padding
    taps = [first + tap * dilation for tap in range(kernel)]
    inside = [tap for tap in taps if 0 <= tap < 20]
    assert sorted(set(measured.seen.nonzero()[0].tolist())) == inside
    assert int(measured.seen.sum()) == len(inside) ** axes


def test_max_pooling_at_the_far_edge_in_ceil_mode():
    pool = nn.MaxPool2d(3, 2, ceil_mode=True)
    measured = measure_support(pool, image(20), position=(9, 9))
    assert measured.box_px == ((18, 19), (18, 19))


def test_a_plain_gradient_would_miss_most_of_a_pooled_window(monkeypatch):
    rules = {name: rule for name, rule in neutral._RULES.items() if "max_pool" not in name}
    monkeypatch.setattr(neutral, "_RULES", rules)
    monkeypatch.setattr(neutral, "_KEEPING", neutral._KEEPING | {"max_pool2d"})
    measured = measure_support(nn.MaxPool2d(5, 1, 2), image())
    assert int(measured.seen.sum()) == 1


@pytest.mark.parametrize("name", ["relu", "sub", "sigmoid"])
def test_a_plain_gradient_would_lose_pixels(name, monkeypatch):
    # the control of the tests above: without the rule the same networks see less
    functions = {
        "relu": lambda net, x: (-1 - net.conv(x)).relu(),
        "sub": lambda net, x: (lambda y: y - y)(net.conv(x)),
        "sigmoid": lambda net, x: (net.conv(x) * 1000 + 1000).sigmoid(),
    }
    assert support_of(functions[name], conv=conv()).field_px == (3, 3)
    monkeypatch.setattr(neutral, "_exchanged", _only_convolutions)
    assert support_of(functions[name], conv=conv()).empty


def _only_convolutions(name, func, args, kwargs):
    if name == "conv2d":
        return neutral.convolution(func, name, args, kwargs)
    return func(*args, **kwargs)


@pytest.mark.parametrize("kind", ["max", "avg"])
def test_adaptive_pooling(kind):
    pool = getattr(nn, f"Adaptive{kind.capitalize()}Pool2d")
    measured = measure_support(pool((4, 8)), image(32), position=(1, 2))
    assert measured.box_px == ((8, 15), (8, 11))
    assert measure_support(pool((1, 8)), image(32)).field_px == (32, 4)


def test_average_pooling():
    pool = nn.AvgPool2d(3, 2, 1)
    assert measure_support(pool, image(), position=(5, 5)).box_px == ((9, 11), (9, 11))


# --- global context -------------------------------------------------------------------------


class SqueezeExcite(nn.Module):
    def __init__(self, channels: int, pool) -> None:
        super().__init__()
        self.pool, self.gate = pool, nn.Conv2d(channels, channels, 1)

    def forward(self, x):
        return x * self.gate(self.pool(x)).sigmoid()


@pytest.mark.parametrize(
    "pool",
    [
        nn.AdaptiveAvgPool2d(1),
        nn.AdaptiveMaxPool2d((1, 1)),
        lambda x: x.mean((2, 3), keepdim=True),
        lambda x: x.amax(dim=(-2, -1), keepdim=True),
        lambda x: torch.sum(x, [2, 3], True),
        lambda x: F.avg_pool2d(x, x.shape[2:]),
        lambda x: F.max_pool2d(x, x.shape[-2:]),
        lambda x: x.flatten(2).max(-1)[0][:, :, None, None],
        lambda x: x.std((2, 3), keepdim=True),
    ],
)
def test_squeeze_and_excitation_contributes_nothing(pool):
    layers = nn.Sequential(conv(), SqueezeExcite(2, pool), conv())
    assert measure_support(layers, image()).field_px == (5, 5)


def test_without_the_cut_squeeze_and_excitation_would_see_everything(monkeypatch):
    rules = {name: rule for name, rule in neutral._RULES.items() if "adaptive" not in name}
    monkeypatch.setattr(neutral, "_RULES", rules)
    monkeypatch.setattr(neutral, "_KEEPING", neutral._KEEPING | {"adaptive_avg_pool2d"})
    layer = SqueezeExcite(2, nn.AdaptiveAvgPool2d(1))
    assert measure_support(layer, image()).seen.all()


def test_global_response_norm_on_channels_last():
    def forward(net, x):
        y = net.conv(x).permute(0, 2, 3, 1)
        strength = torch.norm(y, p=2, dim=(1, 2), keepdim=True)
        y = net.norm(y * (strength / (strength.mean(-1, keepdim=True) + 1e-6)))
        return net.widen(y).permute(0, 3, 1, 2)

    measured = support_of(forward, conv=conv(7), norm=nn.LayerNorm(2), widen=nn.Linear(2, 3))
    assert measured.field_px == (15, 15)


def self_attention(net, x):
    tokens = net.conv(x).flatten(2).transpose(1, 2)
    weights = (tokens @ tokens.transpose(1, 2)).softmax(-1)
    return (weights @ tokens).transpose(1, 2).reshape(x.shape) + x


@pytest.mark.parametrize(
    "context",
    [
        self_attention,
        lambda net, x: F.scaled_dot_product_attention(x, x, x) + x,
        lambda net, x: net.dense(x.flatten(1))[:, :, None, None] + x,
        lambda net, x: x * x.flatten(2).softmax(-1).view_as(x),
        lambda net, x: torch.einsum("bchw,bdhw->bcd", x, x).sum() + x,
        lambda net, x: (
            net.heads(*[x.flatten(2).mT] * 3, need_weights=False)[0].mT.reshape(x.shape) + x
        ),
    ],
)
def test_attention_and_dense_layers_are_global_context(context):
    measured = support_of(
        lambda net, x: context(net, x),
        image(13),
        conv=conv(),
        dense=nn.Linear(2 * 13 * 13, 2),
        heads=nn.MultiheadAttention(2, 1, batch_first=True),
    )
    assert measured.field_px == (1, 1)


def test_what_is_global_context_alone_is_empty():
    measured = support_of(lambda net, x: x.mean((2, 3), keepdim=True).expand(1, 2, 5, 5))
    assert measured.empty
    assert measured.field_px == (0, 0)
    assert measured.box_px is None
    assert measured.holes == 0
    assert not measured.touches_border


@pytest.mark.parametrize(
    ("dims", "field"), [((2,), (41, 1)), ((3,), (1, 41)), ((2, 3), (1, 1)), (None, (1, 1))]
)
def test_a_mean_along_one_axis_counts_and_over_all_is_global(dims, field):
    measured = support_of(lambda net, x: x + x.mean(dims, keepdim=True))
    assert measured.field_px == field


@pytest.mark.parametrize(
    "function",
    [
        lambda net, x: torch.einsum("bchw,dc->bdhw", x, net.mix.weight),
        lambda net, x: (net.mix.weight @ x.flatten(2)).view(1, 4, 41, 41),
        lambda net, x: net.mix(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2),
    ],
)
def test_channel_mixing_stays_at_its_pixel(function):
    measured = support_of(
        lambda net, x: function(net, net.conv(x)), conv=conv(4), mix=nn.Linear(2, 4)
    )
    assert measured.field_px == (9, 9)
    assert int(measured.seen.sum()) == 9


# --- interpolation and rearrangement --------------------------------------------------------


@pytest.mark.parametrize("factor", [2, 3, 0.5, 1.7])
@pytest.mark.parametrize(
    ("mode", "align"),
    [
        ("nearest", None),
        ("nearest-exact", None),
        ("bilinear", False),
        ("bilinear", True),
        ("bicubic", False),
        ("bicubic", True),
    ],
)
def test_interpolation_sees_what_torch_gives_weight(mode, align, factor):
    settings = {"scale_factor": factor, "mode": mode, "align_corners": align}
    example = torch.rand(1, 1, 12, 12, dtype=torch.float64, requires_grad=True)
    real = F.interpolate(example, **settings)
    place = tuple(size // 2 + 1 for size in real.shape[2:])
    measured = support_of(lambda net, x: F.interpolate(x, **settings), image(12, 1), place)
    (grad,) = torch.autograd.grad(real[0, 0, place[0], place[1]], example)
    assert (measured.seen == (grad[0, 0].abs() > 1e-9).numpy()).all()


@pytest.mark.parametrize(
    ("mode", "axes", "width"), [("linear", 1, 2), ("trilinear", 3, 2), ("bilinear", 2, 2)]
)
def test_linear_interpolation_to_a_size(mode, axes, width):
    measured = support_of(
        lambda net, x: F.interpolate(x, size=[16] * axes, mode=mode), torch.empty(1, 1, *[8] * axes)
    )
    assert measured.field_px == (width,) * axes


def test_enlarging_by_three_keeps_one_pixel_at_the_middle():
    function = Network(lambda net, x: F.interpolate(x, scale_factor=3, mode="bilinear"))
    widths = [measure_support(function, image(9), position=(12 + i, 12)).field_px for i in range(3)]
    assert widths == [(2, 2), (1, 2), (2, 2)]


@pytest.mark.parametrize(
    ("settings", "size", "place"),
    [
        ({"scale_factor": 5, "align_corners": False}, 9, (2, 2)),
        ({"size": 51, "align_corners": True}, 15, (25, 25)),
    ],
)
def test_a_plain_gradient_would_take_rounding_for_weights(settings, size, place, monkeypatch):
    function = Network(lambda net, x: F.interpolate(x, mode="bilinear", **settings))
    # these places fall on a pixel, and torch gives the next one some 1e-16
    measured = measure_support(function, image(size, 1), position=place)
    assert measured.field_px == (1, 1)
    rules = {name: rule for name, rule in neutral._RULES.items() if name != "interpolate"}
    monkeypatch.setattr(neutral, "_RULES", rules)
    monkeypatch.setattr(neutral, "_KEEPING", neutral._KEEPING | {"interpolate"})
    assert measure_support(function, image(size, 1), position=place).field_px == (2, 2)


def test_pixel_shuffles_by_name_and_by_hand():
    def by_hand(net, x):
        y = x.view(1, 1, 2, 2, 41, 41).permute(0, 1, 4, 2, 5, 3).reshape(1, 1, 82, 82)
        return y * y.mean((2, 3), keepdim=True)

    for function in (by_hand, lambda net, x: F.pixel_shuffle(x, 2)):
        measured = support_of(function, image(channels=4), (7, 8))
        assert measured.box_px == ((3, 3), (4, 4))
    assert support_of(lambda net, x: F.pixel_unshuffle(x, 2), image(40)).field_px == (2, 2)


def test_channels_last_maps_are_looked_at_along_their_own_axes():
    network = Network(lambda net, x: net.conv(x).permute(0, 2, 3, 1), conv=conv(3))
    measured = measure_support(network, torch.empty(1, 2, 31, 41), position=(9, 30))
    assert measured.output_size == (31, 41)
    assert measured.box_px == ((6, 12), (27, 33))


def test_channels_that_are_split_shuffled_and_joined():
    def forward(net, x):
        left, right = x.chunk(2, dim=1)
        y = torch.cat([net.wide(left), right], 1)
        y = y.view(1, 2, 2, 41, 41).transpose(1, 2).reshape(1, 4, 41, 41)
        return net.narrow(y[:, :1]) + 0 * y[:, 1:2].roll(3, dims=-1)

    measured = support_of(
        forward, image(channels=4), wide=conv(5), narrow=nn.Conv2d(1, 1, 3, padding=1)
    )
    assert measured.box_px == ((14, 26), (14, 26))


def test_blocks_of_pixels():
    def forward(net, x):
        columns = F.unfold(x, 3, padding=2, dilation=2).view(1, 2, 9, 41, 41)
        return columns.mean(2)

    assert support_of(forward).field_px == (5, 5)


# --- outputs and positions ------------------------------------------------------------------


@dataclass
class Outputs:
    main: Tensor
    aux: list[Tensor]


@pytest.mark.parametrize(
    ("output", "field"),
    [
        (None, 3),
        ("main", 3),
        ("aux", 5),
        ("aux.1", 7),
        ("body", 7),
        ("body.1", 5),
        ("shared", 7),
    ],
)
def test_outputs_by_name_and_by_module(output, field):
    def forward(net, x):
        one = net.shared(x)
        net.body(one)
        return Outputs(one, [net.body[1](one), net.shared(net.body[1](one))])

    shared = conv()
    network = Network(forward, shared=shared, body=nn.Sequential(shared, conv()))
    assert measure_support(network, image(), output=output).field_px == (field, field)


@pytest.mark.parametrize("output", ["out", "1", "1.low"])
def test_outputs_of_mappings_and_tuples(output):
    def forward(net, x):
        y = net.conv(x)
        return {"head": x, "out": y} if output == "out" else (x, {"low": y})

    measured = measure_support(Network(forward, conv=conv()), image(), output=output)
    assert measured.field_px == (3, 3)


def test_an_unknown_output_names_the_nearest():
    network = Network(lambda net, x: {"logits": x}, backbone=conv())
    with pytest.raises(
        TraceError, match="no output or module 'bakbone'; the nearest is 'backbone'"
    ):
        measure_support(network, image(), output="bakbone")
    with pytest.raises(TraceError, match=r"its outputs are 'logits'$"):
        measure_support(network, image(), output="logit")


def test_a_module_that_does_not_run():
    network = Network(lambda net, x: x, backbone=conv())
    with pytest.raises(TraceError, match="module 'backbone' of Network returned no tensor"):
        measure_support(network, image(), output="backbone")


def test_no_tensor_at_all():
    with pytest.raises(TraceError, match="Network returns no tensor; name the module"):
        support_of(lambda net, x: None)


@pytest.mark.parametrize("position", [(41, 0), (-1, 0), (3,)])
def test_a_position_outside(position):
    with pytest.raises(TraceError, match=r"is not in the output, whose size is \(41, 41\)"):
        measure_support(conv(), image(), position=position)


def test_an_output_without_pixels():
    with pytest.raises(TraceError, match=r"shape \(1, 2\) and no pixel"):
        support_of(lambda net, x: x.mean((2, 3)))


def test_several_inputs():
    masks = torch.zeros(1, 4, dtype=torch.long)
    measured = measure_support(
        Network(lambda net, x, ids, y: net.conv(x) + y + ids.sum(), conv=conv()),
        [image(), masks, image()],
    )
    assert measured.field_px == (3, 3)
    assert measured.all_inputs[1] is None
    assert int(measured.all_inputs[2].sum()) == 1


def test_an_example_without_pixels():
    with pytest.raises(TraceError, match="no tensor of floats with spatial axes"):
        measure_support(conv(), torch.empty(1, 3))


# --- what cannot be measured ----------------------------------------------------------------


def test_a_network_that_does_not_run():
    with pytest.raises(
        TraceError, match=r"Conv2d does not run on an input of shape \(1, 5, 41, 41\)"
    ):
        measure_support(conv(), image(channels=5))


def test_a_function_without_a_rule():
    with pytest.raises(
        TraceError, match="in 'grid_sample' cannot be measured, because there is no"
    ):
        support_of(lambda net, x: F.grid_sample(x, torch.zeros(1, 4, 4, 2), align_corners=False))


@pytest.mark.parametrize("kind", ["max_pool2d", "adaptive_max_pool2d"])
def test_pooling_that_is_asked_for_indices(kind):
    with pytest.raises(TraceError, match="because its indices are asked for"):
        support_of(lambda net, x: getattr(F, kind)(x, 2, return_indices=True)[0])


def test_weights_that_are_made_of_the_input():
    with pytest.raises(TraceError, match="they set its weights and not its map"):
        support_of(lambda net, x: F.conv2d(torch.ones(1, 41, 9, 9), x[0, :, :3, :3].unsqueeze(0)))


@pytest.mark.parametrize("reentrant", [False, True])
def test_activations_that_are_checkpointed(reentrant):
    def forward(net, x):
        return checkpoint(lambda y: net.conv(y).relu().exp(), x, use_reentrant=reentrant)

    with pytest.raises(TraceError, match="switch the checkpointing of activations off"):
        support_of(forward, conv=conv())


def test_scripted_modules():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # which warning it is depends on torch
        scripted = torch.jit.script(conv())
    with pytest.raises(TraceError, match="holds a scripted module"):
        measure_support(nn.Sequential(scripted), image())


def test_weights_with_norms_of_their_own():
    layer = nn.utils.parametrizations.weight_norm(conv(2))
    assert measure_support(layer, image()).field_px == (5, 5)


# --- the network is left alone --------------------------------------------------------------


def test_the_network_is_left_as_it_is():
    network = nn.Sequential(conv(), nn.BatchNorm2d(2), nn.ReLU(inplace=True))
    network[0].weight.grad = torch.ones_like(network[0].weight)
    network[1].eval()
    before = copy.deepcopy(network.state_dict())
    measure_support(network, image(), output="2")
    after = network.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert [module.training for module in network] == [True, False, True]
    assert torch.equal(network[0].weight.grad, torch.ones_like(network[0].weight))
    assert all(parameter.requires_grad for parameter in network.parameters())
    assert not network[2]._forward_hooks


def test_a_network_on_meta():
    network = nn.Sequential(conv(3), nn.BatchNorm2d(2), conv(2)).to("meta")
    assert measure_support(network, image()).field_px == (11, 11)
    assert all(tensor.is_meta for tensor in network.state_dict().values())


def test_random_numbers_are_not_used_up():
    torch.manual_seed(3)
    layer = conv()
    before = torch.random.get_rng_state()
    measure_support(layer, image())
    assert torch.equal(torch.random.get_rng_state(), before)
