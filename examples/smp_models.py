"""Three networks of segmentation_models_pytorch, with the sites that suit each."""

from pathlib import Path
from tempfile import TemporaryDirectory

import segmentation_models_pytorch as smp
import torch

import dilsearch
from dilsearch import PerChannel, PerSite

SITES = {
    # depthwise kernels of the ASPP by channel, the 3x3 of the last stage by site
    "DeepLabV3Plus": {
        "decoder.aspp.0.convs.*": PerChannel(1, 36),
        "encoder.layer4.*": PerSite(1, 8),
    },
    # the third and fourth stage are there, and not used
    "PSPNet": {"encoder.layer2.*": PerSite(1, 8)},
    # any function of name and module can select, too
    "Unet": {lambda name, module: name.startswith("decoder.blocks"): PerSite(1, 4)},
}

images, labels = torch.rand(2, 3, 64, 64), torch.randint(5, (2, 64, 64))
for name, sites in SITES.items():
    settings = {"encoder_name": "resnet18", "encoder_weights": None, "classes": 5}
    model = dilsearch.relax(smp.create_model(name, **settings), sites, example=images)
    rates = dilsearch.search_rates(model, [(images, labels)], budget=2, device="cpu")
    plan = dilsearch.project(rates, dilsearch.field_graph(model)).plan
    network = dilsearch.discretize(model, plan).eval()

    with TemporaryDirectory() as folder:
        path = Path(folder) / "weights.safetensors"
        dilsearch.save(network, path)
        fresh = smp.create_model(name, **settings)
        deployed = dilsearch.apply_plan(fresh, dilsearch.saved_plan(path)).eval()
        dilsearch.load(deployed, path)
    same = torch.equal(deployed(images), network(images))
    print(f"{name}: {len(plan)} sites, same output after save and load: {same}")
