import random

import numpy as np
import pytest
import torch

from dilsearch.data.seeds import derived_seed, seeded


def _draw():
    return random.random(), float(np.random.rand()), float(torch.rand(()))


def _draw_and_fail():
    with seeded(99):
        _draw()
        raise ZeroDivisionError


def test_a_seed_depends_on_every_key_and_their_order():
    keys = [(1, 2), (2, 1), (1, 2, 0), (12,), ("a", 1), ("b", 1), (-1, 2)]
    assert len({derived_seed(*k) for k in keys}) == len(keys)
    assert 0 <= derived_seed(1) < 2**64


def test_derived_seeds_are_the_same_on_every_machine():
    # Runs are compared across machines; a changed hash would silently reorder all of them.
    assert derived_seed("order", 0, 0) == 13619319548105648267


def test_seeded_draws_depend_on_the_keys_alone():
    with seeded("x", 1):
        first = _draw()
    _draw()
    with seeded("x", 1):
        assert _draw() == first
    with seeded("x", 2):
        other = _draw()
    assert all(a != b for a, b in zip(first, other, strict=True))


def test_seeded_gives_the_global_generators_back():
    with seeded(0):
        expected = _draw()
    with seeded(0):
        with seeded(99):
            _draw()
        assert _draw() == expected


def test_seeded_gives_the_generators_back_after_an_error():
    with seeded(0):
        expected = _draw()
    with seeded(0):
        with pytest.raises(ZeroDivisionError):
            _draw_and_fail()
        assert _draw() == expected
