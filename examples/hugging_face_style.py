"""A model with keyword inputs that returns an object with ``.logits``, as transformers' do.

``Segmenter`` stands in for SegformerForSemanticSegmentation and its kin, which are used alike.
"""

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor, nn

import dilsearch
from dilsearch import PerBranch


@dataclass
class Output:
    """In the place of a ModelOutput."""

    logits: Tensor


torch.export.register_dataclass(Output)  # transformers does so for its own: they can be traced


class Segmenter(nn.Module):
    """A small network in the place of a large one."""

    def __init__(self, width: int = 16, classes: int = 3) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, width, 7, stride=4, padding=3)
        self.mixers = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1, groups=4) for _ in "abc")
        self.classifier = nn.Conv2d(width, classes, 1)

    def forward(self, pixel_values: Tensor) -> Output:
        """Logits at a quarter of the resolution."""
        x = self.stem(pixel_values).relu()
        for mixer in self.mixers:
            x = x + mixer(x).relu()
        return Output(logits=self.classifier(x))


if __name__ == "__main__":
    image = torch.rand(2, 3, 64, 64)
    loader = [{"pixel_values": image, "labels": torch.randint(3, (2, 64, 64))}]
    model = dilsearch.relax(Segmenter(), {"mixers.*": PerBranch(1, 8, branches=2)}, example=image)
    rates = dilsearch.search_rates(
        model,
        loader,
        budget=10,
        device="cpu",
        batch_fn=lambda batch: ({"pixel_values": batch["pixel_values"]}, batch["labels"]),
        output_fn=lambda output: output.logits,  # brought to the size of the labels
    )
    plan = dilsearch.project(rates, dilsearch.field_graph(model)).plan
    network = dilsearch.discretize(model, plan)
    print(f"searched: {rates}\nwhole, without gaps: {plan}")

    with TemporaryDirectory() as folder:
        path = Path(folder) / "segmenter.safetensors"
        dilsearch.save(network, path)
        deployed = dilsearch.apply_plan(Segmenter(), dilsearch.saved_plan(path))
        dilsearch.load(deployed, path)
    same = torch.equal(deployed(image).logits, network(image).logits)
    print(f"same output after save and load: {same}")
