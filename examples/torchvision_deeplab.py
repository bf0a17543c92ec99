"""DeepLabV3 of torchvision: the ASPP with a rate by site, the last stage by channel."""

from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
import torch.nn.functional as F
from torchvision.models.segmentation import deeplabv3_resnet50

import dilsearch
from dilsearch import PerChannel, PerSite

SITES = {
    "classifier.0.convs.[1-3].0": PerSite(1, 36, initial=2),
    "backbone.layer4.*.conv2": PerChannel(1, 8, initial="uniform"),
}
# weights="DEFAULT" begins with pretrained ones
build = partial(deeplabv3_resnet50, weights=None, weights_backbone=None, num_classes=5)

images, labels = torch.rand(2, 3, 64, 64), torch.randint(5, (2, 64, 64))
model = dilsearch.relax(build(), SITES, example=images)
groups = dilsearch.param_groups(model, lr=1e-4, rate_lr=0.1, weight_decay=1e-4)
optimizer = torch.optim.AdamW(groups)
dilsearch.clamp_after_step(optimizer, model, gap="enforce")
for step in range(2):
    optimizer.zero_grad()
    loss = F.cross_entropy(model(images)["out"], labels)
    loss.backward()
    optimizer.step()
    print(f"step {step}: loss {loss.item():.3f}")

rates = dilsearch.read_plan(model)
plan = dilsearch.project(rates, dilsearch.field_graph(model)).plan
network = dilsearch.discretize(model, plan).eval()
for site, found in plan.items():
    print(f"{site}: {len(found)} rates from {min(found):g} to {max(found):g}")

with TemporaryDirectory() as folder:
    path = Path(folder) / "deeplab.safetensors"
    dilsearch.save(network, path)
    deployed = dilsearch.apply_plan(build(), dilsearch.saved_plan(path)).eval()
    dilsearch.load(deployed, path)
same = torch.equal(deployed(images)["out"], network(images)["out"])
print(f"same output after save and load: {same}")
