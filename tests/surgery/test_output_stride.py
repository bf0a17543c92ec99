"""Strides taken out: sampled at the old positions, the new features are the old ones."""

import copy
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet

import dilsearch
from dilsearch.errors import SurgeryError
from dilsearch.sites import PerSite
from dilsearch.surgery import discretize, read_plan, relax, set_output_stride


def features(model: nn.Module, image: Tensor) -> dict[str, Tensor]:
    """What every module without children gives, by path."""
    found: dict[str, Tensor] = {}
    handles = [
        module.register_forward_hook(lambda _, __, out, name=name: found.update({name: out}))
        for name, module in model.named_modules()
        if name and not list(module.children())
    ]
    with torch.no_grad():
        model(image)
    for handle in handles:
        handle.remove()
    return found


def worst_error(old: nn.Module, new: nn.Module, image: Tensor) -> float:
    """The largest difference between old features and new ones at the old positions, of all."""
    before, after = features(old, image), features(new, image)
    assert before.keys() & after.keys()
    errors = [0.0]
    for name in before.keys() & after.keys():
        here, there = before[name], after[name]
        factors = {-(-n // m) for n, m in zip(there.shape[2:], here.shape[2:], strict=True)}
        assert len(factors) == 1, name
        step = factors.pop()
        every = tuple(slice(None, None, step) for _ in here.shape[2:])
        sampled = there[(..., *every)]
        assert sampled.shape == here.shape, name
        errors.append(float((sampled - here).abs().max()))
    return max(errors)


def image_of(size: int, channels: int = 3, axes: int = 2) -> Tensor:
    generator = torch.Generator().manual_seed(size)
    shape = (1, channels, *(size,) * axes)
    return torch.rand(shape, generator=generator, dtype=torch.float64)


def seeded(make: Callable[[], nn.Module]) -> nn.Module:
    torch.manual_seed(0)
    return make().double().eval()


def basic() -> nn.Module:
    """What ResNet-18 and 34 are, with few channels: levels of BasicBlocks at 4, 8, 16 and 32 px."""
    net = nn.Sequential()
    net.add_module("conv1", nn.Conv2d(3, 4, 7, stride=2, padding=3, bias=False))
    net.add_module("bn1", nn.BatchNorm2d(4))
    net.add_module("maxpool", nn.MaxPool2d(3, 2, 1))
    for level, (stride, blocks) in enumerate([(1, 1), (2, 1), (2, 2), (2, 2)], start=1):
        down = nn.Sequential(conv(1, stride, bias=False), nn.BatchNorm2d(4))
        first = BasicBlock(4, 4, stride, down)
        rest = [BasicBlock(4, 4) for _ in range(blocks - 1)]
        net.add_module(f"layer{level}", nn.Sequential(first, *rest))
    return net


class Residual(nn.Module):
    """Two paths and their sum."""

    def __init__(self, main: nn.Module, shortcut: nn.Module) -> None:
        super().__init__()
        self.main, self.shortcut = main, shortcut

    def forward(self, x: Tensor) -> Tensor:
        return self.main(x) + self.shortcut(x)  # type: ignore[no-any-return]


def conv(taps: int = 3, stride: int = 1, **more: Any) -> nn.Conv2d:
    more.setdefault("padding", taps // 2 * more.get("dilation", 1))
    return nn.Conv2d(4, 4, taps, stride=stride, **more)


def chain(*layers: nn.Module, stem: int = 3) -> nn.Sequential:
    """A stem of stride 2 and further layers."""
    return nn.Sequential(nn.Conv2d(stem, 4, 3, stride=2, padding=1), *layers)


@st.composite
def networks(draw: st.DrawFn) -> nn.Module:
    """Residual networks of all kinds of layers that can become denser, four strides deep."""
    torch.manual_seed(draw(st.integers(0, 99)))
    layers: list[nn.Module] = []
    for _ in range(3):
        groups = draw(st.sampled_from([1, 2, 4]))
        rate = draw(st.integers(1, 2))
        taps = draw(st.sampled_from([3, 5]))
        mode = "circular" if draw(st.booleans()) else "zeros"
        main = nn.Sequential(conv(3, 2, groups=groups), nn.ReLU(), conv(taps, 1, dilation=rate))
        pool: nn.Module = nn.Identity()
        match draw(st.sampled_from(["conv", "mean", "max", "pool"])):
            case "conv":
                shortcut: nn.Module = conv(1, 2)
            case "mean" if not layers:  # of a map that is not denser yet
                shortcut = nn.Sequential(nn.AvgPool2d(2, 2, ceil_mode=True), conv(1))
            case "pool":
                shortcut, pool = conv(1, 2), nn.MaxPool2d(3, 1, 1)
            case _:
                shortcut = nn.MaxPool2d(2)
        layers += [Residual(main, shortcut), pool, conv(3, 1, padding_mode=mode), nn.ReLU()]
    return chain(*layers).double().eval()


class TestTheLaw:
    @pytest.mark.parametrize("stride", [16, 8, 2])
    def test_old_features_stand_among_the_new(self, stride: int) -> None:
        model = seeded(basic)
        denser = set_output_stride(model, stride)
        assert worst_error(model, denser, image_of(64)) < 1e-12
        last = features(denser, image_of(64))["layer4.1.conv2"]
        assert last.shape[-1] == 64 // stride

    @settings(max_examples=6, deadline=None)
    @given(networks(), st.sampled_from([8, 4, 2]))
    def test_whatever_the_layers(self, model: nn.Module, stride: int) -> None:
        denser = set_output_stride(model, stride)
        assert worst_error(model, denser, image_of(64)) < 1e-12

    def test_the_control_a_first_block_that_is_dilated_too(self) -> None:
        model = seeded(basic)
        wrong = set_output_stride(model, 16)
        first = wrong.get_submodule("layer4.0.conv1")
        first.dilation = first.padding = (2, 2)  # type: ignore[assignment]
        assert worst_error(model, wrong, image_of(64)) > 1e-3

    def test_borders_of_sizes_that_do_not_divide(self) -> None:
        model = seeded(basic)
        denser = set_output_stride(model, 8)
        for size in (61, 70):
            old, new = (features(one, image_of(size)) for one in (model, denser))
            for name, before in old.items():
                here = new[name]
                step = 4 if name.startswith("layer4") else 2 if name.startswith("layer3") else 1
                sampled = here[..., ::step, ::step]
                assert sampled.shape == before.shape, name
                assert torch.allclose(sampled, before, rtol=0, atol=1e-12), name

    def test_a_pooled_shortcut_of_another_resnet(self) -> None:
        pooled = nn.Sequential(
            nn.AvgPool2d(2, 2, ceil_mode=True, count_include_pad=False), conv(1, 1)
        )
        model = seeded(lambda: chain(Residual(nn.Sequential(conv(3, 2), conv()), pooled), conv()))
        denser = set_output_stride(model, 2)
        assert worst_error(model, denser, image_of(32)) < 1e-12
        assert denser(image_of(32)).shape == (1, 4, 16, 16)
        assert denser.state_dict().keys() == model.state_dict().keys()

    @pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel:UserWarning")
    def test_an_even_kernel_between_stages(self) -> None:
        model = seeded(lambda: chain(conv(), conv(2, 2, padding=0), conv(7, groups=4)))
        denser = set_output_stride(model, 2)
        assert worst_error(model, denser, image_of(32)) < 1e-12
        assert denser(image_of(32)).shape == (1, 4, 16, 16)

    def test_pooling_whose_padding_grows_beyond_half_its_window(self) -> None:
        model = seeded(lambda: chain(conv(3, 2), nn.MaxPool2d(3, 1, 1), conv()))
        denser = set_output_stride(model, 1)
        assert worst_error(model, denser, image_of(32)) < 1e-12

    def test_sequences(self) -> None:
        layers = lambda: nn.Sequential(  # noqa: E731
            nn.Conv1d(2, 4, 5, stride=2, padding=2),
            nn.MaxPool1d(2),
            nn.Conv1d(4, 4, 3, stride=2, padding=1, dilation=1),
            nn.Conv1d(4, 4, 3, padding="same"),
        )
        model = seeded(layers)
        denser = set_output_stride(model, 2)
        assert worst_error(model, denser, image_of(64, 2, axes=1)) < 1e-12

    def test_axes_of_unlike_strides(self) -> None:
        model = seeded(lambda: chain(nn.Conv2d(4, 4, 3, stride=(2, 1), padding=1), conv()))
        denser = set_output_stride(model, 2)
        assert denser.get_submodule("1").stride == (1, 1)
        assert denser.get_submodule("2").dilation == (2, 1)

    def test_global_context_is_not_part_of_it(self) -> None:
        class Excited(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.gate = nn.Conv2d(4, 4, 1)

            def forward(self, x: Tensor) -> Tensor:
                return x * self.gate(x.mean((2, 3), keepdim=True)).sigmoid()  # type: ignore[no-any-return]

        model = seeded(lambda: chain(conv(3, 2), Excited(), conv()))
        denser = set_output_stride(model, 2)
        image = image_of(32)
        old, new = features(model, image), features(denser, image)
        assert torch.allclose(new["1"][..., ::2, ::2], old["1"], rtol=0, atol=1e-12)
        assert not torch.allclose(new["3"][..., ::2, ::2], old["3"], rtol=0, atol=1e-12)


class TestAgainstOthers:
    def test_bit_for_bit_as_torchvision_dilates(self) -> None:
        torch.manual_seed(0)
        model = ResNet(Bottleneck, [1, 1, 1, 2]).eval()
        theirs = ResNet(
            Bottleneck, [1, 1, 1, 2], replace_stride_with_dilation=[False, True, True]
        ).eval()
        theirs.load_state_dict(model.state_dict())
        ours = set_output_stride(model, 8)
        image = torch.rand(1, 3, 64, 64)
        assert torch.equal(ours(image), theirs(image))
        assert str(ours) == str(theirs)
        assert not torch.equal(model(image), theirs(image))  # negative control

    @pytest.mark.slow
    @pytest.mark.parametrize("groups", [1, 32])
    def test_bit_for_bit_at_full_depth(self, groups: int) -> None:
        settings: dict[str, Any] = {"groups": groups, "width_per_group": 64 // groups * 2}
        torch.manual_seed(0)
        model = ResNet(Bottleneck, [3, 4, 6, 3], **settings).eval()
        theirs = ResNet(
            Bottleneck,
            [3, 4, 6, 3],
            replace_stride_with_dilation=[False, True, True],
            **settings,
        ).eval()
        theirs.load_state_dict(model.state_dict())
        image = torch.rand(1, 3, 96, 96)
        assert torch.equal(set_output_stride(model, 8)(image), theirs(image))

    def test_basic_blocks_are_dilated_as_in_drn(self) -> None:
        """DRN-A, Fig. 1: the first convolution of a level keeps the dilation of the one before."""
        denser = set_output_stride(basic(), 8)
        found = {
            f"{level}.{block}": tuple(
                denser.get_submodule(f"layer{level}.{block}.conv{number}").dilation[0]  # type: ignore[index, union-attr]
                for number in (1, 2)
            )
            for level in (3, 4)
            for block in (0, 1)
        }
        assert found == {"3.0": (1, 2), "3.1": (2, 2), "4.0": (2, 4), "4.1": (4, 4)}


class TestWhatIsKept:
    def test_the_model_that_was_given(self) -> None:
        model = chain(conv(3, 2), conv())
        before = str(model)
        denser = set_output_stride(model, 2)
        assert str(model) == before != str(denser)
        shared = {id(value) for value in model.parameters()}
        assert shared.isdisjoint(id(value) for value in denser.parameters())

    def test_in_place_it_is_the_same_model_with_the_same_parameters(self) -> None:
        model = chain(conv(3, 2), nn.MaxPool2d(2), conv())
        weights = list(model.parameters())
        assert set_output_stride(model, 2, inplace=True) is model
        assert all(one is other for one, other in zip(model.parameters(), weights, strict=True))
        assert model.get_submodule("3").dilation == (4, 4)

    def test_mode_dtype_frozen_weights_buffers_and_names(self) -> None:
        model = chain(nn.BatchNorm2d(4), conv(3, 2), nn.MaxPool2d(2), conv()).bfloat16().train()
        model.get_submodule("2").requires_grad_(False)
        model.get_submodule("1").eval()
        denser = set_output_stride(model, 2)
        assert [m.training for m in denser.modules() if list(m.parameters(recurse=False))] == [
            m.training for m in model.modules() if list(m.parameters(recurse=False))
        ]
        ours, theirs = denser.state_dict(), model.state_dict()
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[name], theirs[name]) for name in ours)
        assert [p.requires_grad for p in denser.parameters()] == [
            p.requires_grad for p in model.parameters()
        ]
        assert {p.dtype for p in denser.parameters()} == {torch.bfloat16}

    def test_hooks(self) -> None:
        model = chain(conv(3, 2), conv())
        seen: list[tuple[int, ...]] = []
        for module in model:
            module.register_forward_hook(lambda _, __, out: seen.append(tuple(out.shape[2:])))
        set_output_stride(model, 2)(torch.rand(1, 3, 16, 16))
        assert seen[-3:] == [(8, 8)] * 3

    def test_the_present_stride_changes_nothing(self) -> None:
        model = chain(conv(3, 2), conv())
        same = set_output_stride(model, 4)
        assert same is not model
        assert str(same) == str(model)
        assert set_output_stride(model, 4, inplace=True) is model

    def test_a_module_that_is_shared(self) -> None:
        shared = conv()
        model = seeded(lambda: chain(conv(3, 2), shared, nn.ReLU(), shared))
        denser = set_output_stride(model, 2)
        assert denser.get_submodule("2") is denser.get_submodule("4")
        assert worst_error(model, denser, image_of(32)) < 1e-12

    def test_a_model_that_is_a_pooling(self) -> None:
        pool = nn.MaxPool2d(2)
        denser = set_output_stride(pool, 1, example=torch.empty(1, 1, 8, 8))
        image = image_of(8, 1)
        assert torch.equal(denser(image)[..., ::2, ::2], pool(image))


class Segmenter(nn.Module):
    """A body, features on the way, and logits of the input's size."""

    def __init__(self) -> None:
        super().__init__()
        self.body = chain(conv(3, 2), conv(3, 2), conv())
        self.head = nn.Conv2d(4, 2, 3, padding=12, dilation=12)

    def forward(self, x: Tensor) -> dict[str, Any]:
        seen = [x]
        for layer in self.body:
            seen.append(layer(seen[-1]))
        size = x.shape[-2:]
        return {"out": F.interpolate(self.head(seen[-1]), size, mode="bilinear"), "features": seen}


class TestWholeModels:
    def test_the_head_goes_along(self) -> None:
        model = seeded(Segmenter)
        denser = set_output_stride(model, 4)
        assert denser.get_submodule("head").dilation == (24, 24)
        assert worst_error(model, denser, image_of(64)) < 1e-12
        output = denser(image_of(64))
        assert output["out"].shape == (1, 2, 64, 64)
        assert [one.shape[-1] for one in output["features"]] == [64, 32, 16, 16, 16]

    def test_a_net_that_comes_back_up(self) -> None:
        class Joined(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.one, self.two, self.three = chain(), conv(3, 2), conv(3, 2)
                self.last = conv()

            def forward(self, x: Tensor) -> Tensor:
                here = self.two(self.one(x))
                there = self.three(here)
                return self.last(here + F.interpolate(there, here.shape[2:]))  # type: ignore[no-any-return]

        denser = set_output_stride(Joined(), 4)
        assert denser.get_submodule("three").stride == (1, 1)
        assert denser.get_submodule("last").dilation == (1, 1)
        assert denser(torch.rand(1, 3, 32, 32)).shape == (1, 4, 8, 8)

    def test_relaxed_afterwards(self) -> None:
        image = torch.rand(1, 3, 64, 64)
        model = set_output_stride(basic().eval(), 16)
        relaxed = relax(model, {"layer4.*.conv2": PerSite(1, 8)}, example=image)
        plan = read_plan(relaxed)
        assert dict(plan) == {"layer4.0.conv2": (2,), "layer4.1.conv2": (2,)}
        assert torch.allclose(relaxed(image), model(image), rtol=1e-4, atol=1e-5)
        assert torch.equal(discretize(relaxed, plan)(image), model(image))

    def test_its_public_name(self) -> None:
        assert dilsearch.set_output_stride is set_output_stride


class Own(nn.Conv2d):
    """A convolution that pads in its own forward."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(F.pad(x, (0, 1, 0, 1)))


class Said(nn.Module):
    """A function as a module."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


class Attention(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        tokens = x.flatten(2).transpose(1, 2)
        seen = F.scaled_dot_product_attention(tokens, tokens, tokens)
        return seen.transpose(1, 2).reshape(x.shape)


def refusals() -> Iterator[tuple[str, nn.Module, str]]:
    """What, a layer behind a stride that is taken out, and what is said of it."""
    own = "pad in the forward of module '2' (a Own) is no plain convolution or pooling of torch.nn"
    yield "own", Own(4, 4, 3), own
    pool = Said(lambda x: F.max_pool2d(x, 3, 1, 1))
    yield "functional", pool, "max_pool2d in the forward of module '2' (a Said) is no plain"
    yield "slice", Said(lambda x: x[:, :, ::2]), "slice in the forward of module '2' (a Said)"
    mean = "module '2' (a AvgPool2d) averages neighbours, and torch.nn has no dilated average"
    yield "mean", nn.AvgPool2d(3, 1, 1), mean
    mode = "module '2' (a Conv2d) has padding mode 'reflect', which repeats other positions on a"
    yield "mode", conv(padding_mode="reflect"), mode
    fixed = "module '2' (a ConvTranspose2d) resamples its map by a fixed factor; give set_output"
    yield "transposed", nn.ConvTranspose2d(4, 4, 2, stride=2), fixed
    kernel = "module '2' (a Conv2d) has a 2 x 2 kernel that no padding of a convolution keeps in"
    yield "even", conv(2, 2, padding=0), kernel
    yield "ceil", nn.MaxPool2d(3, 2, ceil_mode=True), "rounds the size of its map up (ceil_mode)"
    yield "attention", Attention(), "weighs all positions against each other, and there would be"
    uneven = "module '2' (a Conv2d) has an uneven padding 'same'; give the padding as numbers"
    yield "same", conv(2, padding="same"), uneven


class TestRefusing:
    @pytest.mark.parametrize(
        ("layer", "text"), [pytest.param(layer, text, id=what) for what, layer, text in refusals()]
    )
    def test_what_cannot_follow(self, layer: nn.Module, text: str) -> None:
        model = chain(conv(3, 2), layer)
        before = str(model)
        with pytest.raises(SurgeryError) as caught:
            set_output_stride(model, 2, inplace=True)
        said = str(caught.value)
        assert said.startswith("cannot lower the output stride from ")
        assert text in said
        assert str(model) == before

    @pytest.mark.parametrize("what", ["own", "functional", "mean", "mode", "same"])
    def test_the_control_nothing_is_wrong_in_front_of_the_change(self, what: str) -> None:
        layer = next(layer for name, layer, _ in refusals() if name == what)
        model = nn.Sequential(chain(layer), conv(3, 2), conv(3, 2), conv())
        denser = set_output_stride(model, 4)
        assert denser.get_submodule("3").dilation != (1, 1)
        assert str(denser.get_submodule("0")) == str(model.get_submodule("0"))

    def test_all_at_once(self) -> None:
        layers = [layer for what, layer, _ in refusals() if what in ("own", "mean", "mode")]
        with pytest.raises(SurgeryError) as caught:
            set_output_stride(chain(conv(3, 2), *layers), 2)
        heading, *faults = str(caught.value).splitlines()
        assert heading == "cannot lower the output stride from 4 to 2, 3 faults:"
        assert [fault.split("'")[1] for fault in faults] == ["2", "3", "4"]

    def test_a_module_of_several_strides(self) -> None:
        shared = conv(3, 2)
        with pytest.raises(SurgeryError, match="module '1' runs on maps of several strides, and"):
            set_output_stride(chain(shared, shared), 4)

    def test_a_decoder_of_a_fixed_factor(self) -> None:
        class Decoder(nn.Module):
            def __init__(self, joined: bool) -> None:
                super().__init__()
                self.body, self.last, self.joined = chain(conv(3, 2)), conv(), joined

            def forward(self, x: Tensor) -> Tensor:
                first = self.body[0](x)
                up = F.interpolate(self.body[1](first), scale_factor=2)
                return self.last(up + first if self.joined else up)  # type: ignore[no-any-return]

        text = "from 4 to 2: something in the model has a fixed size or factor and does not go with"
        with pytest.raises(SurgeryError, match=text):
            set_output_stride(Decoder(True), 2)
        text = "module 'last' would stand 1 px apart and not 2, as something in front of it scales"
        with pytest.raises(SurgeryError, match=text):
            set_output_stride(Decoder(False), 2)
        assert set_output_stride(Decoder(True).body, 2) is not None  # the control, as is advised

    @pytest.mark.parametrize(
        ("stride", "text"),
        [
            (32, "cannot raise the output stride from 8 to 32; give 8 at most"),
            (3, "cannot become 3, which the network does not pass through; give one of 1, 2, 4, 8"),
            (0, "stride = 0 is no output stride; give a whole number of pixels"),
            (2.0, "stride = 2.0 is no output stride; give a whole number of pixels"),
        ],
    )
    def test_strides_that_cannot_be(self, stride: Any, text: str) -> None:
        with pytest.raises(SurgeryError) as caught:
            set_output_stride(chain(conv(3, 2), conv(3, 2)), stride)
        assert text in str(caught.value)

    def test_a_model_that_is_relaxed_already(self) -> None:
        model = chain(conv(3, 2), conv())
        relaxed = relax(model, {"2": PerSite(1, 8)})
        text = "the model is relaxed or discretised already, with fields and bounds of its present"
        for late in (relaxed, discretize(relaxed, read_plan(relaxed)), copy.deepcopy(relaxed)):
            with pytest.raises(SurgeryError, match=text):
                set_output_stride(late, 2)

    def test_a_model_that_is_wrapped(self) -> None:
        with pytest.raises(
            SurgeryError, match=r"is wrapped already \(it is a DataParallel\); give"
        ):
            set_output_stride(nn.DataParallel(chain(conv(3, 2))), 2)

    def test_a_model_without_a_convolution(self) -> None:
        with pytest.raises(SurgeryError, match="MaxPool2d has no convolution to take an example's"):
            set_output_stride(nn.MaxPool2d(2), 1)
