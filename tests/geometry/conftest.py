"""Field graphs built by hand: the reference network, and small random ones."""

from collections.abc import Callable, Sequence
from types import SimpleNamespace

import pytest

from dilsearch.geometry import (
    FieldGraph,
    GlobalContext,
    Join,
    Node,
    Resample,
    Source,
    Window,
)

Rates = Sequence[Sequence[int]]


class Builder:
    """Lists nodes; each method returns the name of the node it added."""

    def __init__(self) -> None:
        self.nodes: list[Node] = [Source("image")]

    def window(
        self,
        name: str,
        source: str,
        taps: int = 3,
        stride: int = 1,
        rates: Sequence[int] = (1,),
        site: bool = False,
    ) -> str:
        self.nodes.append(
            Window(
                name=name,
                source=source,
                taps=(taps, taps),
                stride=(stride, stride),
                anchor=(0, 0),
                rates=tuple((rate, rate) for rate in rates),
                site=site,
            )
        )
        return name

    def join(self, name: str, *sources: str) -> str:
        self.nodes.append(Join(name, sources))
        return name

    def squeeze_excite(self, name: str, source: str) -> str:
        self.nodes.append(GlobalContext(f"{name}.pool", source))
        self.window(f"{name}.conv1", f"{name}.pool", taps=1)
        self.window(f"{name}.conv2", f"{name}.conv1", taps=1)
        return self.join(name, source, f"{name}.conv2")

    def d_block(
        self, name: str, source: str, rates: Sequence[int], stride: int = 1, site: bool = False
    ) -> str:
        self.window(f"{name}.conv1", source, taps=1)
        self.window(f"{name}.conv2", f"{name}.conv1", stride=stride, rates=rates, site=site)
        self.squeeze_excite(f"{name}.se", f"{name}.conv2")
        self.window(f"{name}.conv3", f"{name}.se", taps=1)
        if stride == 2:
            self.window(f"{name}.shortcut.pool", source, taps=2, stride=2)
            source = self.window(f"{name}.shortcut.conv", f"{name}.shortcut.pool", taps=1)
        return self.join(name, f"{name}.conv3", source)

    def y_block(self, name: str, source: str, rate: int = 1, stride: int = 1) -> str:
        self.window(f"{name}.conv2", source, stride=stride, rates=(rate,))
        self.squeeze_excite(f"{name}.se", f"{name}.conv2")
        if stride == 2:
            source = self.window(f"{name}.shortcut", source, taps=1, stride=2)
        return self.join(name, f"{name}.se", source)

    def graph(self) -> FieldGraph:
        return FieldGraph(tuple(self.nodes), outputs=(self.nodes[-1].name,))


def regseg(rates: Rates = ((1,),) * 13, upsampling_taps: int = 2) -> FieldGraph:
    """RegSeg (Gao 2022), Tab. 1 and Fig. 5: stem, body with 13 sites, decoder."""
    build = Builder()
    at = build.window("stem", "image", stride=2)
    quarter = build.d_block("body.48.0", at, (1,), stride=2)
    at = build.d_block("body.128.0", quarter, (1,), stride=2)
    at = build.d_block("body.128.1", at, (1,))
    eighth = build.d_block("body.128.2", at, (1,))
    at = build.d_block("body.256.0", eighth, (1,), stride=2)
    for index, block in enumerate(rates):
        at = build.d_block(f"body.{index}", at, block, site=True)
    for name, skip, join in (("8", eighth, "head.sum"), ("4", quarter, "head.concat")):
        build.nodes.append(Resample(f"head.up{name}", at, (upsampling_taps,) * 2, (2, 2)))
        build.window(f"head.skip{name}", skip, taps=1)
        build.join(join, f"head.up{name}", f"head.skip{name}")
        at = build.window(f"head.conv{name}", join)
    return build.graph()


def regnety600mf(aspp: Sequence[int] = ()) -> FieldGraph:
    """RegNetY-600MF at output stride 16, with the three-by-threes of an ASPP behind it."""
    build = Builder()
    at = build.window("stem", "image", stride=2)
    for width, blocks, stride in ((48, 1, 2), (112, 3, 2), (256, 7, 2), (608, 4, 1)):
        for index in range(blocks):
            rate = 2 if width == 608 and index > 0 else 1
            at = build.y_block(f"{width}.{index}", at, rate, stride if index == 0 else 1)
    if aspp:
        build.window("aspp", at, rates=aspp)
    return build.graph()


def chain(
    rates: Sequence[Sequence[int]], strides: Sequence[int] = (), taps: Sequence[int] = ()
) -> FieldGraph:
    """Sites "0", "1", ... one behind the other; strides and taps default to 1 and 3."""
    build = Builder()
    at = "image"
    for index, branches in enumerate(rates):
        stride = strides[index] if strides else 1
        count = taps[index] if taps else 3
        at = build.window(str(index), at, count, stride, branches, site=True)
    return build.graph()


@pytest.fixture(scope="session")
def graphs() -> SimpleNamespace:
    """The builders above, for tests to call."""
    builders: dict[str, Callable[..., object]] = {
        "Builder": Builder,
        "regseg": regseg,
        "regnety600mf": regnety600mf,
        "chain": chain,
    }
    return SimpleNamespace(**builders)
