"""Training data as a stream: sample t depends on the seed and on t, and on nothing else.

So a training that resumes at step n sees what it would have seen, with any number of workers.
"""

from collections.abc import Callable, Sized
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Int64
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from dilsearch.data.samples import RawSample, Sample
from dilsearch.data.seeds import derived_seed, seeded

__all__ = ["RawDataset", "SampleStream", "Transformed", "batches"]

Batch = tuple[Float[Tensor, "batch 3 height width"], Int64[Tensor, "batch height width"]]


@runtime_checkable
class RawDataset(Sized, Protocol):
    """Images with labels by index, not yet augmented."""

    def __getitem__(self, index: int) -> RawSample: ...


class Transformed(Dataset[Sample]):
    """A data set seen through a transform that draws nothing at random.

    Args:
        dataset: The images and labels.
        transform: Applied to each pair of image and label.
    """

    def __init__(self, dataset: RawDataset, transform: Callable[..., Sample]) -> None:
        self._dataset = dataset
        self._transform = transform

    def __len__(self) -> int:
        return len(self._dataset)

    def __getitem__(self, index: int) -> Sample:
        return self._transform(*self._dataset[index])


class SampleStream(Dataset[Sample]):
    """An endless shuffle of a data set, cut to ``length`` samples.

    Sample t belongs to epoch t // n of the n items; each epoch goes through all of them in an
    order of its own. Order and augmentation are drawn from ``(seed, epoch)`` and ``(seed, t)``.

    Args:
        dataset: The images and labels to draw from.
        augment: Applied to each pair of image and label; may draw from the global generators.
        seed: Seed of order and augmentation.
        length: How many samples the stream has.
    """

    def __init__(
        self, dataset: RawDataset, augment: Callable[..., Sample], *, seed: int, length: int
    ) -> None:
        self._dataset = dataset
        self._augment = augment
        self._seed = seed
        self._length = length
        self._epoch = -1
        self._order: NDArray[np.int64] = np.empty(0, dtype=np.int64)

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, t: int) -> Sample:
        """Sample ``t`` of the stream.

        Raises:
            IndexError: If ``t`` is not within 0 to length - 1.
        """
        if not 0 <= t < self._length:
            raise IndexError(f"sample {t} of a stream of {self._length}")
        epoch, position = divmod(t, len(self._dataset))
        image, label = self._dataset[int(self._order_of(epoch)[position])]
        with seeded("augment", self._seed, t):
            return self._augment(image, label)

    def _order_of(self, epoch: int) -> NDArray[np.int64]:
        # One order is kept, because samples are asked for in step order.
        if epoch != self._epoch:
            rng = np.random.default_rng(derived_seed("order", self._seed, epoch))
            self._order = rng.permutation(len(self._dataset))
            self._epoch = epoch
        return self._order


def batches(
    stream: Dataset[Sample],
    *,
    batch_size: int,
    steps: int,
    start_step: int = 0,
    workers: int = 0,
) -> DataLoader[Batch]:
    """The batches of steps ``start_step`` to ``steps`` - 1; step n begins at n * batch_size.

    Nothing is shuffled here, and the global generators are left alone. Batches lie in pinned
    memory where there is a CUDA device.

    Args:
        stream: Has at least ``steps * batch_size`` samples.
        batch_size: Samples in one step.
        steps: Steps of the whole training, those before ``start_step`` included.
        start_step: First step to give; above 0 where a training resumes.
        workers: Processes that prepare samples; 0 prepares them in this one.
    """
    return DataLoader(
        stream,
        batch_size=batch_size,
        sampler=range(start_step * batch_size, steps * batch_size),
        num_workers=workers,
        persistent_workers=workers > 0,
        pin_memory=torch.cuda.is_available(),
        # A loader without a generator of its own draws from the global one.
        generator=torch.Generator().manual_seed(0),
    )
