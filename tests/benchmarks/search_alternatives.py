"""Ways to make the search sure, most of them not kept, each against the plain gradient.

    python tests/benchmarks/search_alternatives.py [--size PX] [--seeds N] [--pull] [--only NAME]

One line of JSON for each run: field found, far accuracy of the float network, seconds. Every run is
the search of the toy space at that size, from rates 1, without smoothing unless the alternative
has it, and without the field target unless ``--pull`` gives it to all: ``smoothed --pull`` is what
a search does by default, but for ending early.
"""

import argparse
import json
import statistics
import time
from collections.abc import Mapping

import torch
from torch import nn

from dilsearch.data import batches, derived_seed, open_data
from dilsearch.layers import RelaxedConv2d
from dilsearch.ops import fractional_conv2d
from dilsearch.pipeline import build_relaxed
from dilsearch.scores import scores
from dilsearch.search import (
    FieldTarget,
    Smoothing,
    build_rate_optimizer,
    default_rate_learning_rate,
    search_columns,
)
from dilsearch.search.smoothing import SmoothedRates
from dilsearch.space import SearchSpace
from dilsearch.surgery import clamp_rates
from dilsearch.surgery.rates import rate_parameters, relaxed_sites, weight_parameters
from dilsearch.training import (
    Hooks,
    PolySchedule,
    build_loss,
    evaluate,
    fit,
    open_fabric,
    weight_optimizer,
)


class Plain(Hooks):
    """The plain gradient: clamp after every step."""

    def __init__(self, model: nn.Module, steps: int, seed: int, target: FieldTarget | None) -> None:
        self.model, self.steps, self.seed, self.step = model, steps, seed, 0
        self.target = target
        self.rates = rate_parameters(model)

    def begin(self) -> None:
        clamp_rates(self.model, gap="enforce")

    def before_step(self, step: int) -> None:
        self.step = step
        self.centres = [rate.detach().clone() for rate in self.rates]

    def before_update(self) -> None:
        if self.target is not None:
            self.target.add_gradient(self.model)

    @torch.no_grad()
    def after_step(self) -> Mapping[str, float]:
        clamp_rates(self.model, gap="enforce")
        return search_columns(self.model)


class Relative(Plain):
    """Steps in the logarithm of the rate, so that large rates move in larger steps."""

    @torch.no_grad()
    def before_update(self) -> None:
        super().before_update()
        for rate in self.rates:
            rate.grad.mul_(rate)

    @torch.no_grad()
    def after_step(self) -> Mapping[str, float]:
        for rate, centre in zip(self.rates, self.centres, strict=True):
            rate.copy_(centre * torch.exp(rate - centre))
        return super().after_step()


class TwoSided(Plain):
    """Slopes half a pixel to either side in turn, which momentum averages."""

    @torch.no_grad()
    def before_step(self, step: int) -> None:
        super().before_step(step)
        for rate in self.rates:
            rate.add_(0.5 if step % 2 else -0.5)
        clamp_rates(self.model, gap="enforce")

    @torch.no_grad()
    def before_update(self) -> None:
        for rate, centre in zip(self.rates, self.centres, strict=True):
            rate.copy_(centre)
        super().before_update()


class Mirrored(TwoSided):
    """Smoothed rates whose draws come in pairs on opposite sides."""

    @torch.no_grad()
    def before_step(self, step: int) -> None:
        Plain.before_step(self, step)
        seed = derived_seed("mirrored", self.seed, step // 2)
        generator = torch.Generator().manual_seed(seed)
        for layer in relaxed_sites(self.model).values():
            limits = layer.granularity
            width = Smoothing().width_at(step, self.steps, lower=limits.lower, upper=limits.upper)
            normal = torch.randn(layer.rate.shape, generator=generator)
            layer.rate.mul_(torch.exp((1 - step % 2 * 2) * width * normal))
        clamp_rates(self.model, gap="enforce")


class Smoothed(Plain):
    """Smoothed rates as they are, to compare the mirrored ones with."""

    def __init__(self, model: nn.Module, steps: int, seed: int, target: FieldTarget | None) -> None:
        super().__init__(model, steps, seed, target)
        self.smoothed = SmoothedRates(model, Smoothing(), steps=steps, seed=seed, gap="enforce")

    def before_step(self, step: int) -> None:
        self.smoothed.draw(step)

    def before_update(self) -> None:
        self.smoothed.restore()
        super().before_update()


class FrozenRates(Plain):
    """Rates keep still for the first fifth of the steps."""

    @torch.no_grad()
    def after_step(self) -> Mapping[str, float]:
        if self.step < 0.2 * self.steps:
            for rate, centre in zip(self.rates, self.centres, strict=True):
                rate.copy_(centre)
        return super().after_step()


class FrozenWeights(Plain):
    """Weights keep still for the first tenth of the steps."""

    def before_update(self) -> None:
        super().before_update()
        if self.step < 0.1 * self.steps:
            for weight in weight_parameters(self.model):
                weight.grad = None


class Wide(Plain):
    """Each tap reads a blend that reaches 4 positions further out at first, later none."""

    def before_step(self, step: int) -> None:
        super().before_step(step)
        reach = 4 * max(0.0, 1 - step / (0.7 * self.steps))
        for layer in relaxed_sites(self.model).values():
            layer.forward = _blend(layer, reach)  # type: ignore[method-assign]


def _blend(layer: RelaxedConv2d, reach: float):  # type: ignore[no-untyped-def]
    def forward(x: torch.Tensor) -> torch.Tensor:
        def at(offset: float) -> torch.Tensor:
            return fractional_conv2d(
                x,
                layer.weight,
                layer.bias,
                layer.rate + offset,
                stride=layer.stride,
                padding=layer.padding,
                dilation=layer.dilation,
                groups=layer.groups,
            )

        if reach < 0.01:
            return RelaxedConv2d.forward(layer, x)
        return 0.5 * at(0.0) + 0.25 * at(reach / 2) + 0.25 * at(reach)

    return forward


ALTERNATIVES: dict[str, type[Plain]] = {
    "plain": Plain,
    "relative": Relative,
    "two-sided": TwoSided,
    "frozen-rates": FrozenRates,
    "frozen-weights": FrozenWeights,
    "wide": Wide,
    "smoothed": Smoothed,
    "mirrored": Mirrored,
}


def run(
    name: str, size_px: int, seed: int, *, pull: bool, share: float = 1.0, draw: int = 0
) -> dict[str, object]:
    space = SearchSpace.load("toy", None, [f"data.size_px={size_px}"])
    steps = round(share * space.search_steps)
    data, fabric = open_data(space.data), open_fabric("cpu")
    model = build_relaxed(space, seed)
    relative = name == "relative"
    layer = next(iter(relaxed_sites(model).values()))
    limits = [float(layer.granularity.lower), float(layer.granularity.upper)]
    if relative:
        limits = [float(torch.tensor(limit).log()) for limit in limits]
    batch = space.train.batch_size
    stream = data.train_stream(seed=seed * 2 + 1 + 1000 * draw, samples=steps * batch)
    target = FieldTarget(space.needed_px) if pull else None
    hooks = ALTERNATIVES[name](model, steps, seed, target)
    started = time.monotonic()
    history = fit(
        model,
        lambda start: batches(stream, batch_size=batch, steps=steps, start_step=start),
        fabric=fabric,
        optimizers=(
            weight_optimizer(
                model,
                weight_parameters(model),
                name=space.train.optimizer,
                learning_rate=space.train.learning_rate,
                momentum=space.train.momentum,
                weight_decay=space.train.weight_decay,
            ),
            build_rate_optimizer(
                model, learning_rate=default_rate_learning_rate(*limits, steps), steps=steps
            ),
        ),
        loss=build_loss("cross_entropy"),
        schedule=PolySchedule(steps, warmup_steps=20),
        hooks=hooks,
    )
    seconds = time.monotonic() - started
    result = evaluate(
        model, data.validation, classes=4, fabric=fabric, batch_size=batch, regions=data.regions
    )
    return {
        "alternative": name,
        "pull": pull,
        "size_px": size_px,
        "seed": seed,
        "steps": steps,
        "needed_px": space.needed_px,
        "field_px": history[-1]["field_px"],
        "loss": statistics.mean(row["loss"] for row in history[-20:]),
        "far_accuracy": scores(result.counts["far"])["pixel_accuracy"],
        "seconds": round(seconds, 1),
    }


def restarts(size_px: int, seed: int, *, pull: bool) -> dict[str, object]:
    """Three searches of a third of the steps from the same weights: the one of lowest loss."""
    tried = [run("plain", size_px, seed, pull=pull, share=1 / 3, draw=draw) for draw in range(3)]
    best = min(tried, key=lambda result: float(str(result["loss"])))
    seconds = sum(float(str(result["seconds"])) for result in tried)
    return {**best, "alternative": "restarts", "seconds": round(seconds, 1)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--only", nargs="*", default=[*ALTERNATIVES, "restarts"])
    parser.add_argument("--pull", action="store_true")
    arguments = parser.parse_args()
    size_px, pull = arguments.size, arguments.pull
    for seed in range(arguments.seeds):
        for name in arguments.only:
            single = restarts(size_px, seed, pull=pull) if name == "restarts" else None
            print(json.dumps(single or run(name, size_px, seed, pull=pull)), flush=True)


if __name__ == "__main__":
    main()
