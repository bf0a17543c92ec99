import pytest
import torch
from torchvision import tv_tensors

from dilsearch.data.stream import SampleStream, Transformed, batches
from dilsearch.data.thin_bars import ThinBars
from dilsearch.data.transforms import evaluation_transform, training_transform


class Numbered:
    """Items whose label tells their index."""

    def __init__(self, length):
        self.length = length

    def __len__(self):
        return self.length

    def __getitem__(self, index):
        image = torch.arange(8 * 8, dtype=torch.uint8).reshape(8, 8).repeat(3, 1, 1)
        return tv_tensors.Image(image), tv_tensors.Mask(torch.full((8, 8), index).byte())


AUGMENT = training_transform(size_px=(8, 8), scale=(0.5, 2.0))


def make_stream(seed=0, length=24, items=7, augment=AUGMENT):
    return SampleStream(Numbered(items), augment, seed=seed, length=length)


def indices(stream):
    return [int(label[label != 255][0]) for _, label in stream]


def assert_same(left, right):
    left, right = list(left), list(right)
    assert len(left) == len(right) > 0
    for (a, b), (c, d) in zip(left, right, strict=True):
        assert torch.equal(a, c)
        assert torch.equal(b, d)


def test_each_epoch_goes_through_all_items_in_its_own_order():
    order = indices(make_stream(length=21))
    epochs = [order[:7], order[7:14], order[14:]]
    assert all(sorted(epoch) == list(range(7)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 3


def test_a_longer_stream_begins_like_a_shorter_one():
    longer = make_stream(length=40)
    assert_same(make_stream(length=24), (longer[t] for t in range(24)))


def test_samples_do_not_depend_on_what_was_asked_before():
    forward, backward = make_stream(), make_stream()
    for t in reversed(range(24)):
        backward[t]
    torch.rand(3)
    assert_same((backward[t] for t in range(24)), forward)


def test_another_seed_gives_another_order_and_augmentation():
    assert indices(make_stream(seed=0)) != indices(make_stream(seed=1))
    single = [make_stream(seed=seed, items=1)[0][0] for seed in range(4)]
    assert not all(torch.equal(single[0], image) for image in single[1:])


def test_augmentation_differs_from_epoch_to_epoch():
    images = [image for image, _ in make_stream(items=1, length=6)]
    assert not all(torch.equal(images[0], image) for image in images[1:])


def test_the_global_generators_are_left_alone():
    torch.manual_seed(5)
    expected = torch.rand(4)
    torch.manual_seed(5)
    for _ in batches(make_stream(), batch_size=4, steps=6):
        pass
    assert torch.equal(torch.rand(4), expected)


def test_iteration_ends_at_the_length():
    stream = make_stream(length=5)
    assert len(stream) == len(list(stream)) == 5
    for t in (-1, 5):
        with pytest.raises(IndexError, match=f"sample {t} of a stream of 5"):
            stream[t]


def test_batches_hold_consecutive_samples():
    loader = batches(make_stream(), batch_size=4, steps=6)
    assert len(loader) == 6
    found = list(loader)
    assert [images.shape for images, _ in found] == [(4, 3, 8, 8)] * 6
    unrolled = (sample for batch in found for sample in zip(*batch, strict=True))
    assert_same(unrolled, make_stream())


def test_a_resumed_loader_goes_on_where_the_other_would_have_been():
    whole = list(batches(make_stream(), batch_size=4, steps=6))
    rest = list(batches(make_stream(), batch_size=4, steps=6, start_step=4))
    assert_same(rest, whole[4:])
    assert list(batches(make_stream(), batch_size=4, steps=6, start_step=6)) == []


# Both warnings are about the machine: fork beside threads, and more workers than processors.
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning")
@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("make", [make_stream, lambda: ThinBars(length=24, size_px=32, noise=0.1)])
def test_the_number_of_workers_changes_nothing(workers, make):
    alone = batches(make(), batch_size=4, steps=6)
    shared = batches(make(), batch_size=4, steps=6, workers=workers)
    assert_same(shared, alone)


def test_transformed_is_the_data_set_seen_through_a_transform():
    seen = Transformed(Numbered(3), evaluation_transform())
    assert len(seen) == 3
    image, label = seen[2]
    assert image.dtype == torch.float32
    assert label.dtype == torch.int64
    assert (label == 2).all()
