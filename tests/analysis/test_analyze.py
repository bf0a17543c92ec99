"""Known answers of an analysis, published and worked out by hand."""

from fractions import Fraction

import pytest
import torch
import zoo
from torch import nn

import dilsearch
from dilsearch.analysis import analyze
from dilsearch.errors import GeometryError, PlanError, TraceError
from dilsearch.layers import BranchConv2d
from dilsearch.models import build_model
from dilsearch.plan import DilationPlan, SiteRates
from dilsearch.sites import PerBranch, PerChannel, PerSite
from dilsearch.surgery import relax


def image(height: int = 64, width: int = 80, channels: int = 2) -> torch.Tensor:
    return torch.empty(1, channels, height, width, device="meta")


def conv(
    taps: int | tuple[int, int] = 3, rate: int | tuple[int, int] = 1, stride: int = 1
) -> nn.Conv2d:
    sides, rates = (v if isinstance(v, tuple) else (v, v) for v in (taps, rate))
    padding = tuple((k - 1) // 2 * r for k, r in zip(sides, rates, strict=True))
    return nn.Conv2d(2, 2, taps, stride=stride, padding=padding, dilation=rate)


class Parallel(nn.Module):
    """Branches of several rates behind a stem, summed."""

    def __init__(self, stem: nn.Module, *rates: int) -> None:
        super().__init__()
        self.stem = stem
        self.branches = nn.ModuleList(conv(rate=rate) for rate in rates)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        return torch.stack([branch(x) for branch in self.branches]).sum(0)


class TestKnownAnswers:
    def test_parallel_branches_behind_a_shared_convolution(self):
        # pytorch-receptive-field gives 23 here: it adds the branches up.
        found = analyze(Parallel(conv(), 8, 2), image())
        assert found.field_px == (19, 19)
        assert found.outputs[0].largest_path is not None
        assert found.outputs[0].largest_path.nodes == ("stem", "branches.0")
        assert found.outputs[0].smallest_path is not None
        assert found.outputs[0].smallest_path.field_px == (7, 7)

    def test_height_and_width_apart(self):
        found = analyze(conv((3, 3), (1, 4)), image())
        assert found.field_px == (3, 9)
        (site,) = found.sites
        assert (site.rate, site.bound, site.bound_ok) == ((1, 4), (1, 1), False)
        assert site.fix == "rate 4 -> 1"

    def test_same_padded_stacks_keep_their_centre(self):
        found = analyze(nn.Sequential(conv(), conv(5, 3), conv((3, 7), (2, 1))), image())
        assert [site.centre_px for site in found.sites] == [(0, 0)] * 3
        shifted = analyze(nn.Sequential(nn.ZeroPad2d((0, 0, 3, 0)), conv()), image())
        assert shifted.outputs[0].centre_px == (-3, 0)
        halved = analyze(nn.AvgPool2d(2), image())
        assert halved.outputs[0].centre_px == (0.5, 0.5)

    def test_holes_that_no_axis_shows(self):
        # Branches of rates 1 and 4 on a field of 63 px and stride 16, whose bound is 3.
        stem = nn.Sequential(nn.Conv2d(2, 2, 63, stride=16, padding=31))
        found = analyze(Parallel(stem, 1, 4), image(320, 320))
        assert (found.field_px, found.stride_px, found.holes) == ((191, 191), (16, 16), 384)
        gaps = found.outputs[0].gaps
        assert gaps is not None
        assert (gaps.basis, gaps.exact) == ("plane", True)
        assert gaps.seen_share == pytest.approx(1 - 384 / 36_481)
        assert [site.bound_ok for site in found.sites] == [True, True, False]
        assert found.sites[-1].fix == "rate 4 -> 3"
        assert analyze(Parallel(stem, 1, 3), image(320, 320)).holes == 0

    @pytest.mark.parametrize(
        ("rates", "extent", "seen"),
        [
            ((3,), 7, 3),
            ((1, 3), 9, 9),
            ((2, 2, 2), 13, 7),
            ((2, 4), 13, 7),
            ((1, 2, 5), 17, 17),
            ((1, 2, 9), 25, 21),
            ((1, 2, 4, 8, 16), 63, 63),
        ],
    )
    def test_stacks(self, rates: tuple[int, ...], extent: int, seen: int):
        # golden G19: RegSeg Fig. 3 and HDC's examples; in the plane, the square.
        found = analyze(nn.Sequential(*(conv(rate=rate) for rate in rates)), image())
        assert found.field_px == (extent, extent)
        assert found.holes == extent**2 - seen**2

    @pytest.mark.parametrize(
        ("rates", "m2"),
        [
            ((1, 2, 5), 2),
            ((1, 2, 9), 5),
            ((2, 4, 8), 4),
            ((1, 2, 7), 3),
            ((1, 2, 3), 2),
            ((2, 2, 2), 2),
            ((5, 9, 17), 9),
        ],
    )
    def test_hdc(self, rates: tuple[int, ...], m2: int):
        # golden G21: Wang et al. 2018. (2, 2, 2) passes, and has holes.
        stride = nn.Sequential(conv(stride=2), *(conv(rate=rate) for rate in rates))
        hdc = analyze(stride, image()).outputs[0].hdc
        assert hdc is not None
        assert (hdc.rates, hdc.m2, hdc.ok) == (rates, m2, m2 <= 3)

    def test_the_context_module(self):
        # golden G16: Yu and Koltun 2016, Tab. 1.
        found = analyze(zoo.ContextModule(classes=21), image(64, 64, 21))
        fields = [site.field_out_px for site in found.sites]
        assert fields == [(size, size) for size in (3, 5, 9, 17, 33, 65, 67)]
        assert found.parameters == 28_392
        assert found.field_px == (67, 67)

    def test_the_vgg_front_end(self):
        # golden G18: field 380 at stride 8 of convolutions without padding; 134,346,581 parameters.
        with torch.device("meta"):
            model = zoo.VggFrontEnd(classes=21)
        found = analyze(model, image(500, 900, 3))
        assert (found.field_px, found.stride_px) == ((380, 380), (8, 8))
        assert found.outputs[0].size == (16, 66)
        assert found.outputs[0].centre_px == (189.5, 189.5)
        assert (found.parameters, found.holes) == (134_346_581, 0)


TABLE_2 = (3, 5, 9, 13, 19, 25, 39, 45, 57, 67, 85, 107, 121)
ABLATIONS = {
    "exp48": 3807,
    "exp43": 3743,
    "exp50": 3743,
    "exp46": 3295,
    "exp49": 3807,
    "exp52": 2207,
    "exp51": 3743,
}


def test_a_task_may_need_another_field_than_the_size_of_the_input_says():
    model = nn.Conv2d(3, 3, 3, padding=1)
    needed = [
        analyze(model, image(8, 16, 3), needed_px=needed_px).needed_px for needed_px in (None, 3)
    ]
    assert needed == [(15, 31), (3, 3)]
    assert "(3 x 3 needed: covered)" in analyze(model, image(8, 16, 3), needed_px=3).verdict


class TestRegSeg:
    def test_table_2(self):
        # golden G01 and G05: RegSeg Tab. 2; the decoder widens what the body sees.
        with torch.device("meta"):
            model = build_model("regseg", num_classes=19, rates="dnas_table2")
        found = analyze(model, image(1024, 2048, 3), outputs=("body.17", "output"))
        body, logits = found.outputs
        assert (body.field_px, body.stride_px, body.global_context) == (
            (2399,) * 2,
            (16,) * 2,
            True,
        )
        assert body.gaps is not None
        assert body.gaps.holes == 0
        assert body.needed_px == (2047, 4095)
        sites = {site.name: site for site in found.sites}
        bounds = [sites[f"body.{index}.conv2"].bound for index in range(5, 18)]
        assert bounds == [(bound, bound) for bound in TABLE_2]
        assert found.bound_ok
        assert sites["body.17.conv2"].rates == ((5, 5), (14, 14))
        assert logits.field_px is not None
        # 16 + 8 px of the decoder's convolutions, 16, 8 and 4 px of its interpolations, less what
        # lies on the way of both
        assert logits.field_px > body.field_px
        assert found.parameters == 3_334_951  # golden G07
        assert found.macs == 38_353_186_560  # golden G10, convolutions only

    @pytest.mark.parametrize(
        "name",
        # a trace takes seconds; the arithmetic of all seven is also in tests/geometry
        [
            n if n in ("exp48", "exp51") else pytest.param(n, marks=pytest.mark.slow)
            for n in ABLATIONS
        ],
    )
    def test_ablations(self, name: str):
        # golden G02: the authors' ablation table.
        with torch.device("meta"):
            model = build_model("regseg", num_classes=19, rates=name)
        found = analyze(model, image(256, 512, 3), outputs=("body.17.conv2",))
        assert found.field_px == (ABLATIONS[name], ABLATIONS[name])

    def test_regnety_and_aspp(self):
        # golden G04: 479 px at the end of the body, 255 px before its last stage; RegSeg Fig. 2
        # gives 1055 px with the 3x3 convolutions of an ASPP behind.
        class WithAspp(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.net = build_model("regnety600mf", num_classes=19)
                self.aspp = nn.ModuleList(
                    nn.Conv2d(608, 8, 3, padding=rate, dilation=rate) for rate in (6, 12, 18)
                )

            def forward(self, x: torch.Tensor) -> torch.Tensor:
                deepest = self.net.features(x)[-1]
                return torch.cat([branch(deepest) for branch in self.aspp], 1)

        with torch.device("meta"):
            model = WithAspp()
        nodes = ("output", "net.body.14.conv2", "net.body.10.conv2")
        found = analyze(model, image(256, 512, 3), outputs=nodes)
        fields = [output.field_px for output in found.outputs]
        assert fields == [(1055, 1055), (479, 479), (255, 255)]
        assert found.bound_ok
        assert found.holes == 0


class TestOutputs:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = conv()
            self.head = conv(rate=2)
            self.pool = nn.AdaptiveAvgPool2d(1)

        def forward(self, x: torch.Tensor) -> dict[str, object]:
            x = self.body(x)
            return {"out": self.head(x), "aux": [x, self.pool(x)]}

    def test_names_of_outputs(self):
        found = analyze(self.Two(), image())
        assert [output.name for output in found.outputs] == ["out", "aux.0", "aux.1"]
        assert [output.field_px for output in found.outputs] == [(7, 7), (3, 3), None]
        assert [output.global_context for output in found.outputs] == [False, False, True]
        (pooled,) = found.global_context
        assert (pooled.cause, pooled.field_px) == (
            "adaptive_avg_pool2d in module 'pool'",
            (3, 3),
        )

    @pytest.mark.parametrize(("name", "size"), [("body", 3), ("head", 7), ("aux.0", 3), ("out", 7)])
    def test_any_output_node_or_module_can_be_asked_for(self, name: str, size: int):
        found = analyze(self.Two(), image(), outputs=(name,))
        assert [(output.name, output.field_px) for output in found.outputs] == [
            (name, (size, size))
        ]

    def test_an_unknown_node_is_named_with_the_nearest(self):
        with pytest.raises(
            GeometryError, match=r"no node or module 'boddy'; the nearest .* 'body'"
        ):
            analyze(self.Two(), image(), outputs=("boddy",))

    def test_nothing_of_the_input_is_returned(self):
        class Constant(nn.Module):
            def forward(self, x: torch.Tensor) -> torch.Tensor:
                return torch.zeros(1, 2, 3, 4)

        with pytest.raises(GeometryError, match="nothing that Constant returns follows from its"):
            analyze(Constant(), image())

    def test_strides_of_super_resolution_are_fractions(self):
        build, shape = zoo.NETWORKS["subpixel"]
        found = analyze(build(), torch.empty(shape))
        assert found.stride_px == (Fraction(1, 3), Fraction(1, 3))
        assert found.to_json()["stride_px"] == [1 / 3, 1 / 3]

    def test_no_example(self):
        with pytest.raises(GeometryError, match=r"give an example, such as torch\.empty"):
            analyze(conv())

    def test_an_input_without_space(self):
        with pytest.raises(TraceError, match=r"input of shape \(1, 8\), which has no spatial axes"):
            analyze(nn.Linear(8, 2), torch.empty(1, 8))


class TestRates:
    def model(self) -> nn.Module:
        return nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1, groups=2))

    def test_a_plan_takes_the_place_of_the_models_rates(self):
        plan = DilationPlan({"1": SiteRates("branch", (1, 5))})
        found = analyze(self.model(), image(), plan=plan)
        assert found.sites[1].rates == ((1, 1), (5, 5))
        assert (found.field_px, found.sites[1].bound_ok) == ((13, 13), False)

    def test_a_plan_of_fractions_is_refused(self):
        plan = DilationPlan({"1": SiteRates("site", (1.5,))})
        with pytest.raises(PlanError, match="project the plan first"):
            analyze(self.model(), image(), plan=plan)

    @pytest.mark.parametrize(
        ("kind", "rate", "field"),
        [
            (PerSite(1, 8), 2.3, 9),
            (PerBranch(1, 8), [1.5, 3.2], 11),
            (PerSite(1, 8, separate_axes=True), [[1.0, 2.5]], (5, 9)),
            (PerChannel(1, 8), [1.0, 2.5, 2.0, 1.0], 9),
        ],
    )
    def test_relaxed_layers_stand_at_their_present_rates(
        self, kind: object, rate: object, field: object
    ):
        from dilsearch.layers import RelaxedConv2d

        model = self.model()
        layer = RelaxedConv2d(model[1], kind)
        with torch.no_grad():
            layer.rate.copy_(torch.tensor(rate))
        model[1] = layer
        found = analyze(model, image())
        assert found.field_px == (field if isinstance(field, tuple) else (field, field))
        assert isinstance(model[1], RelaxedConv2d)

    def test_a_relaxed_model_as_relax_makes_it(self):
        relaxed = relax(self.model(), {"1": PerBranch(1, 8)}, example=image())
        with torch.no_grad():
            relaxed[1].rate.copy_(torch.tensor([1.0, 2.5]))
        found = analyze(relaxed, image())
        assert [(site.name, site.rates) for site in found.sites] == [
            ("0", ((1, 1),)),
            ("1", ((1, 1), (3, 3))),
        ]

    def test_branches_are_one_site(self):
        layer = BranchConv2d(4, 4, 3, rates=(1, 5), padding=1, groups=4)
        (site,) = analyze(layer, image(channels=4)).sites
        assert (site.kind, site.rates, site.rate) == ("BranchConv2d", ((1, 1), (5, 5)), (5, 5))
        assert (site.parameters, site.macs) == (4 * 9 + 4, 64 * 80 * 4 * 9)


class TestCosts:
    def test_a_site(self):
        model = nn.Sequential(
            nn.Conv2d(2, 6, 3, stride=2, groups=2), nn.ConvTranspose2d(6, 2, 4, 2)
        )
        first, second = analyze(model, image(33, 41)).sites
        assert (first.parameters, first.macs) == (6 * 9 + 6, 6 * 16 * 20 * 9)
        assert (second.parameters, second.macs) == (6 * 2 * 16 + 2, 6 * 16 * 20 * 2 * 16)
        assert (second.bound, second.bound_ok, second.fix) == (None, None, "")

    def test_no_activation_is_allocated(self):
        """A map of this size would take 2 TiB."""
        found = analyze(nn.Sequential(conv(), conv()), image(2**19, 2**19))
        assert found.field_px == (5, 5)


def test_the_model_is_left_as_it_was():
    model = nn.Sequential(conv(), nn.BatchNorm2d(2), nn.Dropout()).train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    dilsearch.analyze(model, torch.rand(1, 2, 16, 16))
    assert model.training
    assert all(module.training for module in model.modules())
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


def test_a_program_says_what_its_model_says():
    model = nn.Sequential(conv(), conv(rate=3), nn.MaxPool2d(2)).eval()
    program = torch.export.export(model, (torch.rand(1, 2, 64, 80),))
    found, expected = analyze(program), analyze(model, image())
    assert found.sites == expected.sites
    assert found.outputs == expected.outputs
    assert (found.parameters, found.macs) == (expected.parameters, expected.macs)


def test_a_set_too_large_says_so(monkeypatch: pytest.MonkeyPatch):
    exact = analyze(Parallel(conv(), 2, 4), image())
    monkeypatch.setattr("dilsearch.geometry.coverage.MOST_PRODUCTS", 1)
    bounded = analyze(Parallel(conv(), 2, 4), image())
    assert exact.outputs[0].gaps is not None
    assert bounded.outputs[0].gaps is not None
    assert exact.outputs[0].gaps.exact
    assert not bounded.outputs[0].gaps.exact
    assert bounded.outputs[0].gaps.basis == "axes"
    assert bounded.outputs[0].gaps.holes < exact.outputs[0].gaps.holes
    assert bounded.verdict.endswith("no holes found on any axis by itself.")


class Rolled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.near = conv(rate=1)
        self.far = conv(rate=9)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.far(torch.roll(self.near(x), 1, 2))


def test_a_bound_behind_what_is_not_followed_is_not_called_broken():
    found = analyze(Rolled(), image())
    near, far = found.sites
    assert (near.bound_ok, near.lower_bound) == (True, False)
    assert (far.rate, far.bound, far.bound_ok, far.lower_bound) == ((9, 9), (3, 3), None, True)
    assert far.fix == ""
    assert found.to_json()["sites"][1]["lower_bound"] is True
    assert "no bound known to be broken, and 1 of 2 unknown" in found.verdict
    assert "aten.roll.default in the model's own forward" in found.verdict


def test_a_network_without_bounds_keeps_none():
    assert analyze(nn.Sequential(nn.Conv2d(2, 2, 1), nn.ReLU()), image()).bound_ok is None
