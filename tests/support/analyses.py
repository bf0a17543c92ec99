"""Hand-made analyses, one of each shape that the tables, the page and the wording must bear."""

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Any

from dilsearch.analysis.reports import (
    Gaps,
    GlobalReport,
    HdcReport,
    OutputReport,
    PathReport,
    SiteReport,
)
from dilsearch.analysis.result import Analysis
from dilsearch.geometry import FieldGraph, GlobalContext, Source, Window

Size = tuple[int, ...]


def gaps(holes: int = 0, largest: int = 0, share: float = 1.0, basis: Any = "plane") -> Gaps:
    return Gaps(holes=holes, largest_hole_px=largest, seen_share=share, basis=basis)


def site(name: str, before: Size, after: Size, rate: int = 1, **more: Any) -> SiteReport:
    """A 3x3 (3, 3x3x3) convolution at stride 1; its bound follows unless it is given."""
    axes = len(before)
    stride = more.get("stride_in_px", (1,) * axes)
    bound = tuple(int(px // step) for px, step in zip(before, stride, strict=True))
    values: dict[str, Any] = {
        "kind": f"Conv{axes}d",
        "kernel": (3,) * axes,
        "rates": ((rate,) * axes,),
        "stride": (1,) * axes,
        "groups": 1,
        "in_channels": 64,
        "out_channels": 64,
        "field_in_px": before,
        "stride_in_px": stride,
        "field_out_px": after,
        "stride_out_px": stride,
        "centre_px": (0.0,) * axes,
        "bound": bound,
        "bound_ok": rate <= min(bound),
        "gaps": gaps(),
        "parameters": 36_864,
        "macs": 150_994_944,
        "global_context": False,
    }
    return SiteReport(name=name, **(values | more))


def output(field: Size, needed: Size, **more: Any) -> OutputReport:
    axes = len(field)
    path = PathReport(field_px=field, nodes=("stem", "body"))
    values: dict[str, Any] = {
        "name": "output",
        "node": "body",
        "size": tuple((px + 1) // 2 for px in needed),
        "field_px": field,
        "field_min_px": field,
        "stride_px": (1,) * axes,
        "centre_px": (0.0,) * axes,
        "needed_px": needed,
        "global_context": False,
        "gaps": gaps(),
        "largest_path": path,
        "smallest_path": PathReport(field_px=(3,) * axes, nodes=("stem",)),
        "hdc": None,
    }
    return OutputReport(**(values | more))


def analysis(sites: Sequence[SiteReport], outputs: Sequence[OutputReport], **more: Any) -> Analysis:
    input_px = tuple((px + 1) // 2 for px in outputs[0].needed_px)
    values: dict[str, Any] = {
        "model": "Net",
        "input_px": input_px,
        "inputs": ((1, 3, *input_px),),
        "global_context": (),
        "unfollowed": {},
        "parameters": 11_689_512,
        "macs": 1_814_073_344,
        "graph": graph(len(input_px)),
    }
    return Analysis(sites=tuple(sites), outputs=tuple(outputs), **(values | more))


def graph(axes: int = 2) -> FieldGraph:
    """``input`` through ``stem`` and ``body`` to the output; ``side`` leads to no output."""

    def window(name: str, source: str) -> Window:
        one = (1,) * axes
        return Window(name, source, (3,) * axes, one, (0,) * axes, (one,), site=True)

    nodes = (Source("input"), window("stem", "input"), window("body", "stem"))
    return FieldGraph((*nodes, window("side", "stem")), ("body",))


def square() -> Analysis:
    """A covered field, every bound kept, no holes."""
    sites = [site("stem", (1, 1), (3, 3)), site("body", (3, 3), (9, 9), 3)]
    return analysis(sites, [output((3839, 3839), (1023, 2047), name="out")])


def broken() -> Analysis:
    """Two bounds broken of four, with holes, and a field that falls short on both axes."""
    holes = gaps(384, 3, 1 - 384 / 4489)
    sites = [
        site("layer3.0.conv2", (7, 7), (15, 15), 4),
        site("layer4.0.conv2", (48, 48), (64, 64), 2, stride_in_px=(8, 8)),
        site("layer4.1.conv2", (48, 48), (192, 192), 9, stride_in_px=(8, 8), gaps=holes),
        site("layer4.2.conv2", (3, 3), (67, 67), 4, gaps=holes),
    ]
    hdc = HdcReport(m2=9, taps=3, rates=(4, 2, 9))
    return analysis(sites, [output((67, 67), (1023, 2047), gaps=holes, hdc=hdc)])


def oblong() -> Analysis:
    """A field that covers the need in height and not in width; sites with axes that differ."""
    uneven = site(
        "body",
        (1023, 31),
        (1055, 31),
        8,
        kernel=(3, 1),
        rates=((8, 1),),
        stride_in_px=(2, 4),
        bound=(511, 7),
        bound_ok=True,
    )
    return analysis([uneven], [output((1055, 31), (1023, 2047))])


def series() -> Analysis:
    return analysis([site("tcn[3].conv", (7,), (15,), 4)], [output((255,), (255,))])


def volume() -> Analysis:
    sizes = [site("unet.down", (3, 3, 3), (7, 7, 7), 2)]
    return analysis(sizes, [output((7, 15, 15), (31, 15, 15))])


def classifier() -> Analysis:
    """Global pooling leaves the output without a field; the last site has none either."""
    nodes = (
        *graph().nodes[:2],
        GlobalContext("avgpool", "stem"),
        Window("fc", "avgpool", (1, 1), (1, 1), (0, 0), (((1, 1)),), site=False),
    )
    blank: dict[str, Any] = dict.fromkeys(
        ("field_px", "field_min_px", "stride_px", "centre_px", "gaps", "size")
    )
    blank |= {"largest_path": None, "smallest_path": None, "node": "fc", "global_context": True}
    lost = dict.fromkeys(
        ("field_in_px", "stride_in_px", "field_out_px", "stride_out_px", "centre_px", "bound")
    )
    lost |= {"bound_ok": None, "gaps": None, "global_context": True}
    sites = [
        site("conv1", (1, 1), (3, 3)),
        replace(site("gate", (1, 1), (3, 3)), **lost),
    ]
    found = GlobalReport(node="avgpool", cause="avgpool", field_px=(483, 483))
    return analysis(
        sites,
        [output((1, 1), (447, 447), **blank)],
        global_context=(found,),
        graph=FieldGraph(nodes, ("fc",)),
    )


def branches() -> Analysis:
    """Branches at rates of their own, two outputs, positions that differ, counts by axes."""
    sites = [
        site("aspp", (63, 63), (575, 575), 4, rates=((1, 1), (2, 4), (4, 4)), groups=16),
        site("up", (63, 63), (65, 65), kind="ConvTranspose2d", bound=None, bound_ok=None),
    ]
    several = output(
        (575, 575),
        (511, 511),
        name="features[0]",
        field_min_px=(571, 571),
        gaps=gaps(12, 2, 0.99, "axes"),
        global_context=True,
    )
    second = output((67, 67), (511, 511), name="aux", gaps=gaps(5, 1, 0.9, "position"))
    found = GlobalReport(node="norm", cause="GroupNorm of norm", field_px=None)
    return analysis(sites, [several, second], global_context=(found,))


def unfollowed() -> Analysis:
    """What could not be followed lies in front of the output."""
    missing = {"body": "fft_fft2 in encoder.mixer[0]"}
    return analysis(
        [site("stem", (1, 1), (3, 3))], [output((67, 67), (127, 127))], unfollowed=missing
    )


def remarked() -> Analysis:
    """More is counted in front of the output than is seen."""
    extra = {"stem": "grid_sample in warp: the whole map is counted"}
    return analysis([site("stem", (1, 1), (3, 3))], [output((67, 67), (31, 31))], remarks=extra)


def upsampled() -> Analysis:
    """Super-resolution: two positions to the pixel, and three on the other axis."""
    strides = (Fraction(1, 2), Fraction(1, 3))
    sites = [
        site("tail", (5, 5), (6, 6), stride_in_px=(Fraction(2, 2), Fraction(1, 3)), bound=(5, 15))
    ]
    return analysis(sites, [output((6, 6), (63, 63), stride_px=strides)])


def deep(count: int = 100) -> Analysis:
    """Many sites with long names, big numbers and breaks here and there."""
    holes = gaps(1_234_567, 31, 0.7)
    sites = [
        site(
            f"backbone.stages[{index // 4}].blocks.{index % 4}.depthwise_separable.conv2",
            (1023 + index, 2047 + index),
            (1055 + index, 2079 + index),
            40 if index % 17 == 5 else 4,
            stride_in_px=(32, 64),
            gaps=holes,
        )
        for index in range(count)
    ]
    return analysis(sites, [output((1155, 2179), (1023, 2047), gaps=holes, stride_px=(32, 64))])


EVERY = (
    square,
    broken,
    oblong,
    series,
    volume,
    classifier,
    branches,
    unfollowed,
    remarked,
    upsampled,
    deep,
)
"""Every shape, to loop over."""
