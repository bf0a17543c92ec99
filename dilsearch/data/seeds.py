"""Randomness as an argument: seeds made from keys, and global generators lent for one block."""

import hashlib
import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


def derived_seed(*keys: int | str) -> int:
    """A 64-bit seed fixed by the keys alone; other keys or another order give another seed.

    Hashing keeps neighbours such as (seed 1, item 2) and (seed 2, item 1) unrelated, which adding
    them up would not.
    """
    text = "\0".join(str(key) for key in keys)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")


@contextmanager
def seeded(*keys: int | str) -> Iterator[None]:
    """Seed the global generators of Python, numpy and torch (CPU) from the keys for one block.

    For code that takes no generator, such as weight initialisation and torchvision's transforms.
    On leaving, whatever happened inside, all three are as they were before. The generators of
    other devices are neither seeded nor touched.
    """
    python_state = random.getstate()
    numpy_state = np.random.get_state()
    torch_state = torch.default_generator.get_state()
    seed = derived_seed(*keys)
    try:
        random.seed(seed)
        np.random.seed(seed % 2**32)
        torch.default_generator.manual_seed(seed)
        yield
    finally:
        random.setstate(python_state)
        np.random.set_state(numpy_state)
        torch.default_generator.set_state(torch_state)
