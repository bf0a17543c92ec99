"""The built-in networks against the published counts, and how they are asked for."""

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from dilsearch.errors import ModelError
from dilsearch.layers.branch_conv import BranchConv2d
from dilsearch.models import PUBLISHED_RATES, build_model, model_names, searchable_blocks


def on_meta(name: str, **settings: object) -> nn.Module:
    """A network of 19 classes with shapes only."""
    with torch.device("meta"):
        return build_model(name, num_classes=19, **settings)


def count(*modules: nn.Module) -> int:
    return sum(p.numel() for module in modules for p in module.parameters())


# Parameters: RegSeg prints 3.34 M for the network; the exact figures are those of its code.
@pytest.mark.parametrize("rates", [None, "exp50", [(1, 1)] * 13, *PUBLISHED_RATES])
def test_regseg_parameters_whatever_the_rates(rates: object) -> None:
    model = on_meta("regseg", rates=rates)
    assert count(model) == 3_334_951
    assert count(model.stem, model.body) == 3_160_004
    assert count(model.decoder) == 174_947
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_regseg_blocks() -> None:
    body = on_meta("regseg").body
    widths = [block.se.conv1.out_channels for block in body]
    assert widths == [8, 12, 32, 32, 32] + [64] * 13
    sizes = [count(block) for block in body]
    assert sizes == [13496, 51340, 60320, 60320, 186656] + [202560] * 12 + [356224]


def test_regnety_parameters() -> None:
    model = on_meta("regnety600mf")
    assert count(model) == 5_655_923
    assert count(model.stem, model.body) == 5_446_160
    assert count(model.decoder) == 209_763
    widths = [block.se.conv1.out_channels for block in model.body]
    assert widths == [8, 12, 28, 28, 28] + [64] * 7 + [152] * 3


def test_convolution_weights() -> None:
    def convolution_weights(model: nn.Module) -> int:
        kinds = (nn.Conv2d, BranchConv2d)
        return sum(m.weight.numel() for m in model.modules() if isinstance(m, kinds))

    assert convolution_weights(on_meta("regseg")) == 3_303_072
    assert convolution_weights(on_meta("regnety600mf")) == 5_619_744


class Elements:
    """Counts what BatchNorms put out and what global poolings take in."""

    def __init__(self, model: nn.Module) -> None:
        self.norm = self.pooled = 0
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.register_forward_hook(self._norm)
            if isinstance(module, nn.AdaptiveAvgPool2d):
                module.register_forward_hook(self._pooled)

    def _norm(self, module: nn.Module, inputs: tuple[torch.Tensor], out: torch.Tensor) -> None:
        self.norm += out.numel()

    def _pooled(self, module: nn.Module, inputs: tuple[torch.Tensor], out: torch.Tensor) -> None:
        self.pooled += inputs[0].numel()


def test_regseg_multiplications_at_1024_x_2048() -> None:
    # RegSeg Tab. 8 prints 39.1 GFLOPs: one for each multiply-accumulate, two for each element a
    # BatchNorm puts out, one for each a global pooling takes in, four for each one interpolated.
    model = on_meta("regseg")
    elements = Elements(model)
    image = torch.empty(1, 3, 1024, 2048, device="meta")
    with FlopCounterMode(display=False) as counter:
        coarse = model.coarse_logits(image)
    assert coarse.shape == (1, 19, 256, 512)
    assert counter.get_total_flops() == 2 * 38_353_186_560
    interpolated = 128 * 128 * 256 + 64 * 256 * 512 + 19 * 1024 * 2048
    total = 38_353_186_560 + 2 * elements.norm + elements.pooled + 4 * interpolated
    assert total == 39_077_228_288
    assert model(image).shape == (1, 19, 1024, 2048)


@pytest.mark.parametrize(
    ("name", "whole", "body"),
    [("regseg", 38.3532, 29.4193), ("regnety600mf", 53.2434, 44.0746)],
)
def test_multiplications_of_network_and_body(name: str, whole: float, body: float) -> None:
    model = on_meta(name)
    image = torch.empty(1, 3, 1024, 2048, device="meta")
    with FlopCounterMode(display=False) as counter:
        model(image)
    assert counter.get_total_flops() / 2e9 == pytest.approx(whole, abs=5e-5)
    with FlopCounterMode(display=False) as counter:
        model.features(image)
    assert counter.get_total_flops() / 2e9 == pytest.approx(body, abs=5e-5)


@pytest.mark.parametrize("name", ["regseg", "regnety600mf"])
def test_feature_maps(name: str) -> None:
    features = on_meta(name).features(torch.empty(1, 3, 64, 96, device="meta"))
    assert [tuple(x.shape[-2:]) for x in features] == [(16, 24), (8, 12), (4, 6)]


def test_checkpoints_pass_between_split_and_plain_networks() -> None:
    for name in model_names():
        if name in ("largefov", "tcn"):
            continue  # their channels cannot be split
        number = searchable_blocks(name)
        plain = on_meta(name, rates=[(1,)] * number).state_dict()
        split = on_meta(name, rates=[(1, 2)] * number).state_dict()
        assert {key: x.shape for key, x in plain.items()} == {
            key: x.shape for key, x in split.items()
        }


def test_a_seed_gives_equal_weights_and_equal_outputs_at_equal_rates() -> None:
    outputs = []
    for rates in ([(2,)] * 5, [(2, 2)] * 5, [(2, 2, 2, 2)] * 5, [(1, 2)] * 5):
        torch.manual_seed(3)
        model = build_model("toy", num_classes=4, rates=rates).eval()
        outputs.append(model(torch.ones(1, 3, 32, 32).cumsum(dim=-1) / 32))
    assert torch.equal(outputs[0], outputs[1])
    assert torch.equal(outputs[0], outputs[2])
    assert not torch.equal(outputs[0], outputs[3])


@pytest.mark.parametrize("size", [(64, 64), (50, 70)])
def test_logits_have_the_size_of_the_image(size: tuple[int, int]) -> None:
    for name in model_names():
        if name == "tcn":
            continue  # it takes sequences
        model = build_model(name, num_classes=5).eval()
        with torch.no_grad():
            assert model(torch.randn(1, 3, *size)).shape == (1, 5, *size)


def test_searchable_sites() -> None:
    def sites(name: str) -> dict[str, tuple[int, ...]]:
        modules = on_meta(name).named_modules()
        found = {path: m for path, m in modules if path.endswith("conv2") and ".se." not in path}
        return {
            path: m.rates if isinstance(m, BranchConv2d) else m.dilation[:1]
            for path, m in found.items()
        }

    assert sites("toy") == {f"blocks.{k}.conv2": (1, 1) for k in range(5)}
    regseg = sites("regseg")
    assert list(regseg) == [f"body.{k}.conv2" for k in range(18)]
    assert tuple(regseg.values())[5:] == PUBLISHED_RATES["exp48"]
    assert tuple(sites("regnety600mf").values()) == ((1,),) * 12 + ((2,),) * 3


def test_searchable_blocks() -> None:
    assert {name: searchable_blocks(name) for name in model_names()} == {
        "toy": 5,
        "regseg": 13,
        "regnety600mf": 10,
        "largefov": 4,
        "tcn": 6,
    }
    assert searchable_blocks("toy", blocks=2) == 2


def test_toy_stem_and_options() -> None:
    model = build_model("toy", num_classes=4)
    assert [conv.conv.stride for conv in model.stem] == [(2, 2), (2, 2)]
    assert not any(isinstance(m, nn.AdaptiveAvgPool2d) for m in model.modules())
    assert all(block.conv2.groups == 4 for block in model.blocks)
    other = build_model("toy", num_classes=4, width=24, group_width=8, blocks=2)
    assert [block.conv2.out_channels for block in other.blocks] == [24, 24]


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"name": "regsge"}, "no network is named 'regsge' (did you mean 'regseg'?); use one of"),
        ({"name": "unet"}, "no network is named 'unet'; use one of toy, regseg, regnety600mf"),
        ({"num_classes": 0}, "toy: num_classes = 0 is not a whole number of at least 1; give one"),
        ({"depth": 3}, "toy: it has no option 'depth'; its options are width, group_width, blocks"),
        ({"name": "regseg", "width": 3}, "regseg: it has no option 'width'; it has no options"),
        ({"blocks": "many"}, "toy: the options do not fit: blocks = 'many' is not a whole number"),
        ({"width": 36}, "toy: the options do not fit: 36 channels are not a multiple of the group"),
        ({"rates": "exp48"}, "toy: rates for 13 blocks given, but it has 5 searchable blocks"),
        ({"rates": "exp84"}, "rates 'exp84' are not among the published dnas_table2, exp30"),
        (
            {"name": "regnety600mf", "rates": [(1, 1)] * 9 + [(1, 2, 3, 4)]},
            "regnety600mf: the rates do not fit: block 10: 4 branches cannot share 608 channels in "
            "38 groups of 16; give a number of rates that divides the groups (1, 2, 19, 38)",
        ),
    ],
)
def test_impossible_settings(settings: dict[str, object], text: str) -> None:
    with pytest.raises(ModelError) as caught:
        build_model(**{"name": "toy", "num_classes": 4, **settings})
    assert str(caught.value).startswith(text)


def test_training_step_gives_every_parameter_a_gradient() -> None:
    model = build_model("regseg", num_classes=3)
    model(torch.randn(2, 3, 64, 64)).square().mean().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
