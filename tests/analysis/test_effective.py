import math

import numpy as np
import pytest
import torch
from torch import nn

from dilsearch.analysis.effective import EffectiveField, effective_field, random_images
from dilsearch.analysis.numeric import measure_support
from dilsearch.errors import TraceError


def gradients_of(layer: nn.Module) -> np.ndarray:
    """Weights of one convolution, summed over outputs: what one output place changes by."""
    return layer.weight.detach().double().sum(0).abs().sum(0).numpy()


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_one_convolution_gives_its_weights(axes):
    torch.manual_seed(0)
    layer = getattr(nn, f"Conv{axes}d")(2, 3, 3, padding=1)
    field = effective_field(layer, random_images((2, *[7] * axes), 3, seed=1))
    weights = gradients_of(layer)
    middle = (slice(2, 5),) * axes
    np.testing.assert_allclose(field.magnitude[middle], weights / weights.max(), rtol=1e-6)
    assert field.images == 3
    outside = field.magnitude.copy()
    outside[middle] = 0
    assert not outside.any()


def test_the_mean_over_images_is_of_absolute_values():
    layer = nn.Conv2d(1, 1, 1, bias=False)
    network = nn.Sequential(layer, nn.ReLU())
    nn.init.ones_(layer.weight)
    images = [torch.ones(1, 1, 3, 3), -torch.ones(2, 1, 3, 3)]
    field = effective_field(network, images, position=(0, 2))
    assert field.images == 3
    assert field.magnitude[0, 2] == 1.0
    assert field.magnitude.sum() == 1.0


def test_batches_change_nothing():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Tanh(), nn.Conv2d(4, 1, 3))
    images = torch.randn(5, 1, 9, 9)
    one = effective_field(network, [images])
    three = effective_field(network, [images], batch_size=3)
    np.testing.assert_allclose(one.magnitude, three.magnitude, rtol=1e-5, atol=1e-9)
    assert one.images == three.images == 5
    other = effective_field(network, [images[:1]])
    assert not np.allclose(one.magnitude, other.magnitude)


def test_influence_stays_within_the_measured_support():
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(1, 4, 3, dilation=3, padding=3),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.MaxPool2d(3, 2, 1),
        nn.Conv2d(4, 4, 3, dilation=2, padding=2),
        nn.Upsample(scale_factor=2, mode="bilinear"),
    )
    images = list(random_images((1, 32, 32), 4, seed=2))
    seen = measure_support(network, images[0]).seen
    field = effective_field(network, images)
    assert not field.magnitude[~seen].any()
    assert field.magnitude[seen].any()
    assert not seen.all()


def test_of_many_layers_little_is_effective():
    torch.manual_seed(0)
    network = nn.Sequential(*(nn.Conv2d(1, 1, 3, padding=1, bias=False) for _ in range(12)))
    for layer in network:
        nn.init.constant_(layer.weight, 1 / 9)
    field = effective_field(network, random_images((1, 41, 41), 1, seed=0))
    # the variance of twelve uniform steps is 8: exp(-d^2 / 16) falls to 4.55 % at d = 7.03
    assert field.extent_px() == pytest.approx(7.03 * math.sqrt(math.pi), rel=0.05)
    assert field.extent_px(0.0) == 25.0
    assert field.share_within([(8, 32), (8, 32)]) == pytest.approx(1)
    assert 0.5 < field.share_within([(16, 24), (16, 24)]) < 1


def test_extent_and_shares_by_hand():
    magnitude = np.array([[0.0, 0.04, 0.0], [0.05, 1.0, 0.5], [0.0, 0.41, 0.0]])
    field = EffectiveField(magnitude, 1)
    assert field.extent_px() == 2.0
    assert field.extent_px(0.45) == pytest.approx(math.sqrt(2))
    assert field.share_within([(1, 1), (0, 2)]) == pytest.approx(1.55 / 2)
    assert field.share_within([(-4, 9), (-4, 9)]) == 1.0
    with pytest.raises(TraceError, match="the box has 1 axes and the image 2"):
        field.share_within([(0, 1)])


def test_no_influence_is_zero_everywhere():
    network = nn.Conv2d(1, 1, 3, padding=1)
    nn.init.zeros_(network.weight)
    field = effective_field(network, random_images((1, 5, 5), 2, seed=0))
    assert not field.magnitude.any()
    assert field.extent_px() == 0.0
    assert field.share_within([(0, 4), (0, 4)]) == 0.0


def test_an_output_that_does_not_depend_on_the_image():
    class Constant(nn.Module):
        def forward(self, x):
            return torch.ones(1, 1, 4, 4)

    field = effective_field(Constant(), random_images((1, 5, 5), 1, seed=0))
    assert not field.magnitude.any()


def test_the_network_is_left_as_it_is():
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU(inplace=True))
    network[2].eval()
    network[0].weight.grad = torch.full_like(network[0].weight, 7.0)
    means = network[1].running_mean.clone()
    image = torch.randn(1, 1, 8, 8)
    kept = image.clone()
    effective_field(network, [image], output="1")
    assert [module.training for module in network] == [True, True, False]
    assert (network[0].weight.grad == 7).all()
    assert network[0].bias.grad is None
    assert torch.equal(network[1].running_mean, means)
    assert torch.equal(image, kept)
    assert image.grad is None
    assert not network[1]._forward_hooks


def test_the_caller_may_have_gradients_switched_off():
    with torch.no_grad():
        field = effective_field(nn.Conv2d(1, 1, 3), random_images((1, 7, 7), 1, seed=0))
    assert field.magnitude.max() == 1.0


def test_the_mode_comes_back_after_an_error():
    network = nn.Sequential(nn.Conv2d(1, 2, 3)).train()
    with pytest.raises(TraceError, match="does not run on an input of shape"):
        effective_field(network, [torch.zeros(1, 3, 8, 8)])
    assert network.training


def test_the_type_is_that_of_the_network():
    network = nn.Conv2d(1, 1, 3, padding=1).bfloat16()
    field = effective_field(network, random_images((1, 5, 5), 1, seed=0))
    assert field.magnitude.dtype == np.float64
    assert field.magnitude.max() == 1.0


def test_gradients_that_are_not_finite():
    network = nn.Conv2d(1, 1, 3)
    nn.init.constant_(network.weight, math.nan)
    with pytest.raises(TraceError, match=r"gradient of Conv2d at \(1, 1\) is not finite"):
        effective_field(network, random_images((1, 5, 5), 1, seed=0))


@pytest.mark.parametrize(
    ("images", "settings", "message"),
    [
        ([], {}, "there are no images"),
        ([torch.zeros(1, 1, 5, 5), torch.zeros(1, 1, 6, 6)], {}, "give images of one size"),
        ([torch.zeros(1, 1, 5, 5)], {"batch_size": 0}, "batch_size is 0"),
        ([torch.zeros(1, 1, 5, 5)], {"position": (3, 0)}, r"position \(3, 0\) is not in"),
        ([torch.zeros(1, 1, 5, 5)], {"output": "nought"}, "no output or module 'nought'"),
    ],
)
def test_what_cannot_be_measured(images, settings, message):
    with pytest.raises(TraceError, match=message):
        effective_field(nn.Conv2d(1, 1, 3), images, **settings)


def test_random_images_follow_from_the_seed():
    one, again = (torch.cat(list(random_images((2, 4), 3, seed=5))) for _ in range(2))
    assert torch.equal(one, again)
    assert one.shape == (3, 2, 4)
    assert not torch.equal(one, torch.cat(list(random_images((2, 4), 3, seed=6))))
