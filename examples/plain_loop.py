"""Rates in a training loop of your own: plain PyTorch, weights and rates in one optimiser.

A pixel's class is the brightness nine pixels to its left, which three 3x3 convolutions at rate 1
do not reach. Runs in seconds on a CPU: ``python examples/plain_loop.py``.
"""

import torch
from torch import Tensor, nn

import dilsearch
from dilsearch import FieldTarget, PerSite

STEPS, WARM_UP, NEEDED_PX = 120, 12, 19


def main() -> None:
    """Search the rates of a small network, and print the plain network that they make."""
    torch.manual_seed(0)
    plain = nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(8, 2, 1),
    )
    criterion, example = nn.CrossEntropyLoss(), torch.zeros(1, 1, 24, 24)

    model = dilsearch.relax(plain, {"*": PerSite(1, 12)}, example=example)
    groups = dilsearch.param_groups(model, lr=1e-2, steps=STEPS, weight_decay=1e-4)
    optimizer = torch.optim.AdamW(groups)
    dilsearch.clamp_after_step(optimizer, model, gap="enforce")
    target = FieldTarget(NEEDED_PX)
    dilsearch.freeze_rates(model)
    for step in range(STEPS):
        if step == WARM_UP:
            dilsearch.unfreeze_rates(model)
        images, labels = batch(step)
        loss = criterion(model(images), labels) + target(model)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 20 == 19:
            print(f"step {step + 1}: loss {loss.item():.3f}, {dilsearch.read_plan(model)}")

    graph = dilsearch.trace_graph(plain, example)
    final = dilsearch.project(dilsearch.read_plan(model), graph).plan
    print(dilsearch.discretize(model, final))


def batch(step: int) -> tuple[Tensor, Tensor]:
    """Smooth random images, and the brightness nine pixels to the left."""
    generator = torch.Generator().manual_seed(step)
    coarse = torch.rand(8, 1, 8, 8, generator=generator)
    images = nn.functional.interpolate(coarse, (24, 24), mode="bilinear", align_corners=False)
    return images, (images[:, 0].roll(9, 2) > 0.5).long()


if __name__ == "__main__":
    main()
