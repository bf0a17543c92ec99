import pytest
import torch
from torchvision import tv_tensors

from dilsearch.data.samples import IGNORE_INDEX, IMAGENET
from dilsearch.data.seeds import seeded
from dilsearch.data.transforms import evaluation_transform, training_transform
from dilsearch.errors import DataError


def checkerboard(size_px=(32, 48), cell=8):
    """An image whose colour tells the class: black where the label is 0, white where it is 1."""
    rows, columns = torch.meshgrid(*(torch.arange(n) // cell for n in size_px), indexing="ij")
    label = ((rows * 3 + columns * 5) % 7 % 2).to(torch.uint8)
    image = (255 * label).expand(3, *size_px).contiguous()
    return tv_tensors.Image(image), tv_tensors.Mask(label)


def agreement(image, label):
    """Share of labelled pixels whose colour fits their label."""
    brightness = torch.from_numpy(IMAGENET.to_rgb(image)).float().mean(-1)
    inside = label != IGNORE_INDEX
    return ((brightness > 127.5).long() == label)[inside].float().mean().item()


def draws(transform, count=20):
    for t in range(count):
        with seeded("test", t):
            yield transform(*checkerboard())


def test_evaluation_only_normalises():
    image, label = checkerboard()
    out, out_label = evaluation_transform()(image, label)
    assert type(out) is torch.Tensor
    assert type(out_label) is torch.Tensor
    assert out.dtype == torch.float32
    assert out_label.dtype == torch.int64
    assert torch.equal(out_label, label.long())
    red = (label.float() - IMAGENET.mean[0]) / IMAGENET.std[0]
    torch.testing.assert_close(out[0], red.as_subclass(torch.Tensor))
    assert (IMAGENET.to_rgb(out) == image.permute(1, 2, 0).numpy()).all()


def test_flips_keep_image_and_label_together():
    plain = checkerboard()[1].long()
    kinds = set()
    for image, label in draws(training_transform(size_px=(32, 48))):
        assert agreement(image, label) == 1.0
        kinds.add(bool(torch.equal(label, plain)))
        assert torch.equal(label, plain) or torch.equal(label, plain.flip(-1))
    assert kinds == {True, False}, "some are mirrored, some are not"


def test_agreement_can_fail():
    image, label = evaluation_transform()(*checkerboard())
    assert agreement(image.flip(-1), label) < 0.8
    assert agreement(image.roll(4, -1), label) < 0.9


def test_without_flip_scale_and_crop_nothing_is_random():
    transform = training_transform(size_px=(32, 48), flip=False)
    expected = evaluation_transform()(*checkerboard())
    for image, label in draws(transform, 5):
        assert torch.equal(image, expected[0])
        assert torch.equal(label, expected[1])


def test_scale_and_crop_keep_image_and_label_together():
    transform = training_transform(size_px=(32, 48), scale=(0.5, 2.0), crop_px=(40, 40))
    ignored = []
    for image, label in draws(transform):
        assert image.shape == (3, 40, 40)
        assert label.shape == (40, 40)
        assert agreement(image, label) > 0.85, "edges are blended by the resize, no more"
        ignored.append((label == IGNORE_INDEX).float().mean().item())
    assert min(ignored) == 0, "some crops lie inside a large image"
    assert max(ignored) > 0.4, "some hold a small image whole"


def test_padding_is_mean_coloured_and_ignored():
    transform = training_transform(size_px=(32, 48), crop_px=(48, 64))
    places = set()
    for image, label in draws(transform):
        inside = label != IGNORE_INDEX
        assert inside.sum() == 32 * 48, "the whole image is there"
        assert image[:, ~inside].abs().max() < 0.01, "mean colour is 0 once normalised"
        places.add(tuple(inside.nonzero()[0].tolist()))
    assert len(places) > 5, "the image lies anywhere in the crop"


def test_the_scale_keeps_proportions_and_its_range():
    transform = training_transform(size_px=(32, 48), scale=(0.5, 1.5), crop_px=(96, 96))
    heights = []
    for _, label in draws(transform, 60):
        inside = (label != IGNORE_INDEX).nonzero()
        height, width = (inside.amax(0) - inside.amin(0) + 1).tolist()
        assert width == pytest.approx(1.5 * height, abs=1)
        heights.append(height)
    assert 16 <= min(heights) <= 19
    assert 45 <= max(heights) <= 48


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"crop_px": (0, 8)}, r"crop_px = \[0, 8\] holds no pixel"),
        ({"scale": (0.0, 1.0)}, r"scale = \[0.0, 1.0\] is not a range of factors"),
        ({"scale": (2.0, 0.5)}, r"scale = \[2.0, 0.5\] is not a range of factors"),
    ],
)
def test_impossible_settings_are_refused(changes, text):
    with pytest.raises(DataError, match=text):
        training_transform(size_px=(32, 48), **changes)
