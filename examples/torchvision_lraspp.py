"""LR-ASPP on MobileNetV3 of torchvision: depthwise kernels with rates by branch and by channel."""

from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torchvision.models.segmentation import lraspp_mobilenet_v3_large

import dilsearch
from dilsearch import PerBranch, PerChannel

SITES = {
    "backbone.1[1-2].block.1.0": PerBranch(1, 6, branches=4),
    "backbone.1[3-5].block.1.0": PerChannel(1, 6),
}
# weights="DEFAULT" begins with pretrained ones
build = partial(lraspp_mobilenet_v3_large, weights=None, weights_backbone=None, num_classes=5)

images, labels = torch.rand(4, 3, 64, 64), torch.randint(5, (4, 64, 64))
model = dilsearch.relax(build(), SITES, example=images)
# logits are found in the dictionary that the model returns
rates = dilsearch.search_rates(model, [(images, labels)], budget=4, device="cpu")
projection = dilsearch.project(rates, dilsearch.field_graph(model))
network = dilsearch.discretize(model, projection.plan).eval()
for change in projection.changes[:3]:
    print(f"{change.site}: {change.before:.2f} -> {change.after} ({change.rule})")
print(f"{len(projection.changes)} rates were moved by projection")

with TemporaryDirectory() as folder:
    path = Path(folder) / "lraspp.safetensors"
    dilsearch.save(network, path)
    deployed = dilsearch.apply_plan(build(), dilsearch.saved_plan(path)).eval()
    dilsearch.load(deployed, path)
same = torch.equal(deployed(images)["out"], network(images)["out"])
print(f"same output after save and load: {same}")
