"""Rates in a Lightning training: the module holds a relaxed model, the callback does the rest.

Needs ``pip install "dilsearch[lightning]"``. Runs in seconds on a CPU:
``python examples/lightning_callback.py``.
"""

import tempfile
from pathlib import Path

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import dilsearch
from dilsearch import DilationPlan, GapPenalty, PerSite
from dilsearch.lightning import RateCallback

STEPS = 120


class Segmenter(LightningModule):
    """Two classes of pixels, by two convolutions whose rates are trained too."""

    def __init__(self) -> None:
        super().__init__()
        layers = nn.Sequential(
            nn.Conv2d(1, 8, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(8, 8, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(8, 2, 1),
        )
        example = torch.zeros(1, 1, 24, 24)
        self.model = dilsearch.relax(layers, {"*": PerSite(1, 12)}, example=example)
        self.criterion = nn.CrossEntropyLoss()

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        """The loss of a batch, and what gaps cost."""
        images, labels = batch
        loss: Tensor = self.criterion(self.model(images), labels)
        return loss + GapPenalty(0.1)(self.model)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Weights and rates in one optimiser."""
        return torch.optim.AdamW(dilsearch.param_groups(self.model, lr=1e-2, steps=STEPS))


def main() -> None:
    """Train, and print the plan that the callback saved."""
    torch.manual_seed(0)
    images = nn.functional.interpolate(torch.rand(160, 1, 8, 8), (24, 24), mode="bilinear")
    labels = (images[:, 0].roll(4, 2) > 0.5).long()  # the brightness four pixels to the left
    loader = DataLoader(TensorDataset(images, labels), batch_size=8, shuffle=True)
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(
            accelerator="cpu",
            max_steps=STEPS,
            default_root_dir=folder,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            callbacks=[RateCallback(gap="ignore", freeze_steps=10)],
        )
        trainer.fit(Segmenter(), loader)
        print(DilationPlan.load(Path(folder) / "plan.float.json"))


if __name__ == "__main__":
    main()
