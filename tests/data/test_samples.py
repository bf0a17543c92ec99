import numpy as np
import pytest
import torch

from dilsearch.data.samples import IMAGENET, Normalization


@pytest.mark.parametrize("norm", [IMAGENET, Normalization((0.5,) * 3, (0.25,) * 3)])
def test_to_rgb_inverts_the_normalisation_for_every_colour(norm):
    colours = torch.arange(256, dtype=torch.float32).expand(3, 1, 256)
    mean, std = (torch.tensor(v).reshape(3, 1, 1) for v in (norm.mean, norm.std))
    rgb = norm.to_rgb((colours / 255 - mean) / std)
    assert rgb.dtype == np.uint8
    assert (rgb == np.arange(256)[None, :, None]).all()


def test_to_rgb_takes_batches_and_clips():
    norm = Normalization((0.5,) * 3, (0.25,) * 3)
    image = torch.full((2, 3, 4, 5), 9.0)
    image[0] = -9.0
    rgb = norm.to_rgb(image)
    assert rgb.shape == (2, 4, 5, 3)
    assert (rgb[0] == 0).all()
    assert (rgb[1] == 255).all()
