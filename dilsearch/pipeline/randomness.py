"""Randomness of one block of work, on the device too."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from dilsearch.data import derived_seed, seeded


@contextmanager
def lent_generators(device: torch.device, *keys: int | str) -> Iterator[None]:
    """Seed the global generators from the keys for one block, after which all are as before.

    What draws without being asked, such as dropout or a loader, so depends on the keys alone, and
    on nothing that the process did earlier.

    Args:
        device: Where the block computes; the generator of a GPU is lent as well.
        keys: What the seed is made from.
    """
    on_gpu = device.type == "cuda"
    with seeded(*keys), torch.random.fork_rng([device] if on_gpu else []):
        if on_gpu:
            torch.cuda.manual_seed(derived_seed(*keys) % 2**63)
        yield
