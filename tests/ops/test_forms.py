"""Every form of the fractional convolution, in drawn shapes, against other convolutions."""

import math
import warnings
from dataclasses import dataclass
from typing import Any
from unittest import mock

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from dilsearch import oracle
from dilsearch.errors import OpError
from dilsearch.ops import fractional_conv1d, fractional_conv2d, fractional_conv3d, tiles

OURS = {1: fractional_conv1d, 2: fractional_conv2d, 3: fractional_conv3d}
SLOW = {
    1: oracle.fractional_conv1d_oracle,
    2: oracle.fractional_conv2d_oracle,
    3: oracle.fractional_conv3d_oracle,
}
PLAIN = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
MODULES = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
MODES = ("zeros", "reflect", "replicate", "circular")
KERNELS = {1: (1, 2, 3, 3, 4, 5), 2: (1, 2, 3, 3, 4, 5), 3: (1, 2, 3)}
SIZES = {1: 12, 2: 8, 3: 5}


@dataclass(frozen=True, repr=False)
class Call:
    """The tensors (float64) and settings of one convolution."""

    x: Tensor
    weight: Tensor
    bias: Tensor | None
    rate: Tensor
    settings: dict[str, Any]
    upper: Any
    seed: int

    def __repr__(self) -> str:
        x, weight = tuple(self.x.shape), tuple(self.weight.shape)
        return (
            f"Call(x {x}, weight {weight}, bias {self.bias is not None}, {self.rate.tolist()}, "
            f"{self.settings}, upper {self.upper}, seed {self.seed})"
        )

    @property
    def count(self) -> int:
        return self.x.dim() - 2

    @property
    def inputs(self) -> list[Tensor]:
        """Those that want gradients."""
        tensors = (self.x, self.weight, self.bias, self.rate)
        return [tensor for tensor in tensors if tensor is not None]

    def by(self, functions: dict[int, Any], **changed: Any) -> Tensor:
        settings_ = self.settings | {"upper": self.upper} | changed
        return functions[self.count](self.x, self.weight, self.bias, self.rate, **settings_)

    def middles(self) -> list[int]:
        causal = self.settings.get("causal", False)
        return [k - 1 if causal else (k - 1) // 2 for k in self.weight.shape[2:]]

    def grid(self) -> torch.Size:
        """Sizes of the outputs of the convolution replaced, by torch's own module."""
        weight, plain_settings = self.weight, dict(self.settings)
        plain_settings.pop("causal", None)
        module = MODULES[self.count](
            self.x.shape[1], len(weight), tuple(weight.shape[2:]), **plain_settings
        )
        with warnings.catch_warnings():  # torch is loud about even kernels
            warnings.simplefilter("ignore")
            return module(self.x.detach().float()).shape[2:]

    def paddings(self) -> list[tuple[int, int]]:
        return paddings(
            self.settings["padding"], self.weight.shape[2:], self.settings["dilation"], self.count
        )


def paddings(
    padding: Any, taps: tuple[int, ...], dilation: tuple[int, ...], count: int
) -> list[tuple[int, int]]:
    if padding == "same":
        totals = [d * (k - 1) for k, d in zip(taps, dilation, strict=True)]
        return [(total // 2, total - total // 2) for total in totals]
    if padding == "valid":
        return [(0, 0)] * count
    each = (padding,) * count if isinstance(padding, int) else padding
    return [(p, p) for p in each]


def largest_rate(
    size: int, k: int, s: int, pad: tuple[int, int], d: int, middle: int, mode: str
) -> float:
    """How far the rate may go along one axis; negative if even the anchors reach too far."""
    most = {"reflect": size - 1, "circular": size}.get(mode, math.inf)
    outputs = (size + sum(pad) - d * (k - 1) - 1) // s + 1
    anchor = middle * d - pad[0]
    found = math.inf
    for reach, beyond in (
        (middle, -anchor),
        (k - 1 - middle, anchor + s * (outputs - 1) - size + 1),
    ):
        if beyond > most:
            return -1
        if reach:
            found = min(found, (most - beyond) / reach)
    return found


integers = st.integers(1, 5).map(float)
between = st.tuples(st.integers(0, 5), st.floats(0.05, 0.95)).map(sum)
# twice the rate must be no integer either: there the second tap has its corner
smooth = between.filter(lambda rate: abs(2 * rate - round(2 * rate)) > 0.02)
positive = st.one_of(integers, between, st.floats(0, 30), st.just(0.0))
anything = st.one_of(positive, st.floats(-3, 0), st.just(-2.0))


@st.composite
def calls(
    draw: st.DrawFn,
    count: int,
    rates: st.SearchStrategy[float] = anything,
    *,
    modes: tuple[str, ...] = MODES,
    with_words: bool = True,
    whole: bool = False,
) -> Call:
    """A convolution of the given number of axes; rates are as large as the mode allows."""
    mode = draw(st.sampled_from(modes))
    causal = count == 1 and with_words and draw(st.booleans())
    taps = draw(st.tuples(*[st.sampled_from(KERNELS[count])] * count))
    dilation = draw(st.tuples(*[st.integers(1, 2)] * count))
    padding: Any = draw(st.tuples(*[st.integers(0, 3)] * count))
    if with_words:
        padding = draw(st.sampled_from([padding, padding, padding[0], "same", "valid"]))
    stride = (1,) * count
    if padding != "same":
        stride = draw(st.tuples(*[st.sampled_from([1, 1, 2, 3])] * count))
    pads = paddings(padding, taps, dilation, count)
    sizes, most = [], []
    for k, d, s, pad in zip(taps, dilation, stride, pads, strict=True):
        middle = k - 1 if causal else (k - 1) // 2
        possible = [
            size
            for size in range(max(1, d * (k - 1) + 1 - sum(pad)), SIZES[count] + 1)
            if largest_rate(size, k, s, pad, d, middle, mode) >= 1
            and (mode not in ("reflect", "circular") or max(pad) < size)
        ] or [12]
        sizes.append(draw(st.sampled_from(possible)))
        most.append(largest_rate(sizes[-1], k, s, pad, d, middle, mode))
    branches = draw(st.integers(1, 3 if count < 3 else 2))
    groups = branches * draw(st.integers(1, 2))
    width, out_width = draw(st.integers(1, 3)), draw(st.integers(1, 2))
    rows = {
        "site": 1,
        "branches": branches,
        "channels": groups * width,
    }[draw(st.sampled_from(["site", "branches", "channels"]))]
    columns = draw(st.sampled_from([1, count]))
    table = draw(
        st.lists(st.lists(rates, min_size=columns, max_size=columns), min_size=rows, max_size=rows)
    )
    # beyond the image, where negative rates lead too, only zeros go on for ever
    least = -math.inf if mode == "zeros" else 0.0
    limits = most if columns == count and count > 1 else [min(most)] * columns
    limits = [math.floor(limit) if whole and limit < math.inf else limit for limit in limits]
    table = [
        [max(least, min(value, limit)) for value, limit in zip(row, limits, strict=True)]
        for row in table
    ]
    if columns == 1 and draw(st.booleans()):
        flat = [row[0] for row in table]
        rate = torch.tensor(
            flat if rows > 1 or draw(st.booleans()) else flat[0], dtype=torch.float64
        )
    else:
        if columns != count:
            table = [row * count for row in table]
        rate = torch.tensor(table, dtype=torch.float64)
    seed = draw(st.integers(0, 9999))
    generator = torch.Generator().manual_seed(seed)

    def random(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_()

    at_limit = torch.rand(rate.shape, generator=generator) < 0.5
    each = torch.where(at_limit & (rate > 0), rate, rate + 1.0)
    return Call(
        x=random(draw(st.integers(1, 2)), groups * width, *sizes),
        weight=random(groups * out_width, width, *taps),
        bias=random(groups * out_width) if draw(st.booleans()) else None,
        rate=rate.requires_grad_(),
        settings={
            "stride": stride,
            "padding": padding,
            "dilation": dilation,
            "groups": groups,
            "padding_mode": mode,
        }
        | ({"causal": True} if causal else {}),
        upper=draw(st.sampled_from([None, None, 2, 2.5, each, each.tolist()])),
        seed=seed,
    )


few_elements = st.sampled_from([None, None, 1, 100])


def in_tiles(elements: int | None) -> Any:
    """With so few numbers in a tile that there are many of them; None leaves it alone."""
    return mock.patch.object(tiles, "TILE_ELEMENTS", elements or tiles.TILE_ELEMENTS)


def assert_same_gradients(call: Call, ours: Tensor, theirs: Tensor) -> None:
    generator = torch.Generator().manual_seed(call.seed + 1)
    cotangent = torch.randn(ours.shape, generator=generator, dtype=ours.dtype)
    mine = torch.autograd.grad(ours, call.inputs, cotangent)
    others = torch.autograd.grad(theirs, call.inputs, cotangent)
    names = ("x", "weight", "bias", "rate") if call.bias is not None else ("x", "weight", "rate")
    for name, a, b in zip(names, mine, others, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-7, atol=1e-7, msg=lambda m, n=name: f"{n}: {m}")


def agrees_with_the_slow_reference(call: Call, elements: int | None) -> None:
    slow = call.by(SLOW)
    with in_tiles(elements):
        ours = call.by(OURS)
        torch.testing.assert_close(ours, slow)
        assert_same_gradients(call, ours, slow)
        with torch.no_grad():
            torch.testing.assert_close(call.by(OURS), slow)


@settings(deadline=None, max_examples=50)
@given(calls(1), few_elements)
def test_sequences_agree_with_the_slow_reference(call, elements):
    agrees_with_the_slow_reference(call, elements)


@settings(deadline=None, max_examples=50)
@given(calls(2), few_elements)
def test_images_agree_with_the_slow_reference(call, elements):
    agrees_with_the_slow_reference(call, elements)


@settings(deadline=None, max_examples=30)
@given(calls(3), few_elements)
def test_volumes_agree_with_the_slow_reference(call, elements):
    agrees_with_the_slow_reference(call, elements)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_the_control_a_rate_a_little_off_does_not_agree(count):
    call = one_call(count, [1.5])
    moved = call.rate + 1e-3
    other = SLOW[count](call.x, call.weight, call.bias, moved, **call.settings)
    assert not torch.allclose(call.by(OURS), other)


def one_call(count: int, rate: Any, sizes: tuple[int, ...] = (5, 4, 6), **changed: Any) -> Call:
    generator = torch.Generator().manual_seed(count)

    def random(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_()

    ones = (1,) * count
    settings_ = {"stride": ones, "padding": 1, "dilation": ones, "groups": 2}
    settings_["padding_mode"] = "zeros"
    return Call(
        random(2, 4, *sizes[:count]),
        random(4, 2, *[3] * count),
        random(4),
        torch.tensor(rate, dtype=torch.float64).requires_grad_(),
        settings_ | changed,
        None,
        count,
    )


# ------------------------------------------------------------- the grid of the one replaced


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 3).flatmap(calls))
def test_the_output_has_the_shape_of_the_convolution_replaced(call):
    expected = (len(call.x), len(call.weight), *call.grid())
    assert call.by(OURS).shape == call.by(SLOW).shape == expected


def test_even_kernels_are_padded_as_torch_pads_them():
    # one more behind than before: at the rate of the convolution replaced they are the same
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(1, 1, 7, 8, generator=generator, dtype=torch.float64)
    weight = torch.randn(1, 1, 2, 4, generator=generator, dtype=torch.float64)
    for rate in (1.0, 2.0):
        ours = fractional_conv2d(
            x, weight, None, torch.tensor(rate), padding="same", dilation=int(rate)
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that it copies
            expected = F.conv2d(x, weight, padding="same", dilation=int(rate))
        torch.testing.assert_close(ours, expected)
        # the control: one more before than behind is another convolution
        mirrored = F.conv2d(F.pad(x, (2, 1, 1, 0)), weight, dilation=1)
        assert mirrored.shape == expected.shape
        assert not torch.allclose(mirrored, expected)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_the_words_same_and_valid(count):
    for word, pixels in (("same", 2), ("valid", 0)):
        by_word, by_number = (
            one_call(count, 1.5, (8, 7, 6), padding=p, dilation=2).by(OURS) for p in (word, pixels)
        )
        assert torch.equal(by_word, by_number)


# -------------------------------------------------------------------- deformable convolution


def agrees_with_deformable_convolution(deformable: Any, call: Call) -> None:
    plain = {key: value for key, value in call.settings.items() if key != "padding_mode"}
    theirs = deformable(call.x, call.weight, call.bias, call.rate, **plain)
    ours = call.by(OURS, upper=None)
    torch.testing.assert_close(ours, theirs)
    assert_same_gradients(call, ours, theirs)


@settings(deadline=None, max_examples=50)
@given(calls(2, smooth, modes=("zeros",), with_words=False))
def test_it_agrees_with_deformable_convolution_between_integers(deformable, call):
    agrees_with_deformable_convolution(deformable, call)


@pytest.mark.parametrize(
    "rate",
    [
        1.7,
        [1.7, 0.6],
        [1.7, 0.6, 2.3, 1.2],
        [[1.7, 0.6]],
        [[1.7, 0.6], [2.3, 1.2]],
        [[1.7, 0.6], [2.3, 1.2], [0.3, 4.4], [1.7, 0.6]],
    ],
    ids=["site", "branches", "channels", "site, axes", "branches, axes", "channels, axes"],
)
def test_every_shape_of_rates_agrees_with_deformable_convolution(deformable, rate):
    call = one_call(2, rate, (6, 7))
    agrees_with_deformable_convolution(deformable, call)
    # the control: rates of other channels or axes are told apart
    if call.rate.numel() > 1:
        turned = deformable(call.x, call.weight, call.bias, call.rate.flip(-1), padding=1, groups=2)
        assert not torch.allclose(turned, call.by(OURS))


# ------------------------------------------------------------------------------ integer rates


def plain(call: Call) -> Tensor:
    """Channel by channel F.convNd at integer rates, the image padded explicitly by the mode."""
    x, weight, groups, count = call.x, call.weight, call.settings["groups"], call.count
    sizes_out = call.grid()
    dilation, stride = call.settings["dilation"], call.settings["stride"]
    width, out_width = weight.shape[1], len(weight) // groups
    table = call.rate if call.rate.dim() == 2 else call.rate.reshape(-1, 1)
    rates = table.expand(-1, count).repeat_interleave(x.shape[1] // len(table), dim=0)
    outputs = []
    for group in range(groups):
        total = 0
        for channel in range(width):
            index = group * width + channel
            r = [int(value) for value in rates[index]]
            edges = [
                (
                    middle * (rate - d) + before,
                    (k - 1 - middle) * rate + middle * d - before + s * (n - 1) - size + 1,
                )
                for (before, _), middle, k, d, rate, s, n, size in zip(
                    call.paddings(),
                    call.middles(),
                    weight.shape[2:],
                    dilation,
                    r,
                    stride,
                    sizes_out,
                    x.shape[2:],
                    strict=True,
                )
            ]
            flat = [edge for pair in reversed(edges) for edge in pair]
            mode = {"zeros": "constant"}.get(call.settings["padding_mode"])
            mode = mode or call.settings["padding_mode"]
            maps = F.pad(x[:, index : index + 1], [max(0, e) for e in flat], mode=mode)
            maps = F.pad(maps, [min(0, e) for e in flat])
            kernels = weight[group * out_width : (group + 1) * out_width, channel : channel + 1]
            total = total + PLAIN[count](maps, kernels, None, stride, 0, r)
        outputs.append(total)
    result = torch.cat(outputs, dim=1)
    return result if call.bias is None else result + call.bias.reshape(-1, *[1] * count)


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 3).flatmap(lambda count: calls(count, integers, whole=True)))
def test_at_integer_rates_it_is_the_dilated_convolution(call):
    with torch.no_grad():
        expected = plain(call)
    single = Call(
        *(None if t is None else t.detach().float() for t in (call.x, call.weight, call.bias)),
        call.rate.detach().float(),
        call.settings,
        None,
        call.seed,
    )
    scale = expected.abs().max().clamp(min=1) if expected.numel() else 1
    for moving in (False, True):  # by the plain convolution, and by the fractional path
        ours = OURS[call.count](
            single.x,
            single.weight,
            single.bias,
            single.rate.requires_grad_(moving),
            **call.settings,
        )
        assert ours.shape == expected.shape
        assert (ours - expected).abs().max() <= 1e-5 * scale


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("count", [1, 2, 3])
def test_the_control_a_rate_a_little_off_is_not_the_dilated_convolution(count, mode):
    call = one_call(count, 2.0, padding_mode=mode)
    expected = plain(call)
    torch.testing.assert_close(call.by(OURS), expected)
    other = OURS[count](call.x, call.weight, call.bias, call.rate - 1e-3, **call.settings)
    assert (other - expected).abs().max() > 1e-5 * expected.abs().max()
    if mode != "zeros":  # nor is it that of another mode
        zeros = OURS[count](
            call.x, call.weight, call.bias, call.rate, **call.settings | {"padding_mode": "zeros"}
        )
        assert not torch.allclose(zeros, expected)


@pytest.mark.parametrize("rates", [2.0, [2.0, 2.0], [1.0, 3.0]])
def test_integer_rates_that_need_no_slope_are_left_to_torch(rates):
    call = one_call(2, rates, (9, 9))
    x, weight = call.x.detach().float(), call.weight.detach().float()
    rate = torch.tensor(rates, requires_grad=True)
    if rates == [1.0, 3.0]:
        parts = zip(x.chunk(2, 1), weight.chunk(2), (1, 3), strict=True)
        expected = torch.cat([F.conv2d(a, b, padding=r, dilation=r) for a, b, r in parts], 1)
    else:
        expected = F.conv2d(x, weight, padding=2, dilation=2, groups=2)
    with torch.no_grad():
        ours = fractional_conv2d(x, weight, None, rate, padding=1, groups=2)
        assert torch.equal(ours, expected)
    moving = fractional_conv2d(x, weight, None, rate, padding=1, groups=2)
    assert not torch.equal(moving, expected)  # the fractional path rounds in another order
    torch.testing.assert_close(moving, expected)


# ---------------------------------------------------------------------- reaches of the modes


@pytest.mark.parametrize(
    ("count", "mode", "rate", "text"),
    [
        (1, "reflect", 4.5, "'reflect' adds at most 4 pixels at each end of a length of 5, but at "
         "rate 4.5 a tap reaches 5 beyond it."),
        (1, "circular", 5.5, "'circular' adds at most 5 pixels at each end of a length of 5, but "
         "at rate 5.5 a tap reaches 6 beyond it."),
        (2, "reflect", [[1.0, 4.0]], "'reflect' adds at most 3 pixels at each end of a width of "
         "4, but at rate 4 a tap reaches 4 beyond it."),
        (2, "circular", [1.0, 4.25], "'circular' adds at most 4 pixels at each end of a width of "
         "4, but at rate 4.25 a tap reaches 5 beyond it."),
        (3, "reflect", [1.0, 2.0, 5.0, 1.0], "'reflect' adds at most 4 pixels at each end of a "
         "depth of 5, but at rate 5 a tap reaches 5 beyond it."),
    ],
)  # fmt: skip
def test_a_rate_beyond_the_reach_of_its_mode_is_refused(count, mode, rate, text):
    call = one_call(count, rate, padding_mode=mode)
    nouns = {1: "sequences", 2: "images", 3: "volumes"}
    with pytest.raises(OpError) as caught:
        call.by(OURS)
    assert str(caught.value) == (
        f"fractional_conv{count}d: padding_mode {text} Lower the upper limit of the rate, use "
        f"larger {nouns[count]}, or pad with zeros."
    )
    with torch.no_grad(), pytest.raises(OpError):
        call.by(OURS)
    call.by(OURS, padding_mode="zeros")  # the control
    call.by(OURS, padding_mode="replicate")


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 2).flatmap(lambda count: calls(count, modes=("reflect", "circular"))))
def test_beyond_what_the_drawn_rates_keep_to_every_mode_refuses(call):
    call.by(OURS)
    if max(call.weight.shape[2:]) > 1:
        beyond = call.rate.detach() + 2 * max(call.x.shape[2:]) + 10
        with pytest.raises(OpError, match="adds at most"):
            OURS[call.count](call.x, call.weight, None, beyond, **call.settings)
