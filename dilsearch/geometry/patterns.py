"""Sets of pixels in any number of dimensions, as disjoint products of sets along each axis.

A window sees a product of its axes, several branches see a union of products, and so does whatever
follows. A set is therefore kept as it comes: one integer per axis, with a bit for each pixel, and
never as a picture. Its form is canonical (equal sets are equal values), and a field of thousands
of pixels costs no more than the few different rows that it has.

In one dimension a pattern is an integer. In more it is a tuple of pairs (mask, pattern): the
indices along the first axis that share a pattern of the others. Masks are disjoint, patterns are
distinct, neither is empty, and the pairs are sorted.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Pattern: TypeAlias = int | tuple[tuple[int, "Pattern"], ...]
Product: TypeAlias = tuple[int, ...]
"""One integer per axis: the pixels whose index is a set bit on every axis."""


def unite(products: Iterable[Product]) -> Pattern:
    """The union of products, all of the same number of axes; empty ones are left out."""
    kept = [product for product in products if all(product)]
    if not kept:
        return 0
    if len(kept[0]) == 1:
        united = 0
        for (bits,) in kept:
            united |= bits
        return united
    masks: dict[Product, int] = {}
    for mask, *rest in kept:
        masks[tuple(rest)] = masks.get(tuple(rest), 0) | mask
    inner: dict[Pattern, int] = {}
    for mask, rests in _overlaps(masks):
        pattern = unite(rests)
        inner[pattern] = inner.get(pattern, 0) | mask
    return tuple(sorted((mask, pattern) for pattern, mask in inner.items()))


def products(pattern: Pattern) -> Iterator[Product]:
    """The disjoint products that a pattern is made of; none if it is empty."""
    if isinstance(pattern, int):
        if pattern:
            yield (pattern,)
        return
    for mask, inner in pattern:
        for product in products(inner):
            yield (mask, *product)


def count(pattern: Pattern) -> int:
    """How many pixels there are."""
    total = 0
    for product in products(pattern):
        pixels = 1
        for bits in product:
            pixels *= bits.bit_count()
        total += pixels
    return total


def hull(pattern: Pattern) -> Product:
    """The union along each axis by itself: a product that holds the set."""
    axes = list(zip(*products(pattern), strict=True))
    merged = []
    for bits in axes:
        union = 0
        for part in bits:
            union |= part
        merged.append(union)
    return tuple(merged)


def to_array(pattern: Pattern, shape: Sequence[int]) -> NDArray[np.bool_]:
    """The set as a picture of the given shape."""
    picture = np.zeros(shape, dtype=np.bool_)
    for product in products(pattern):
        axes = [bits_to_array(bits, size) for bits, size in zip(product, shape, strict=True)]
        picture[np.ix_(*axes)] = True
    return picture


def from_array(picture: NDArray[np.bool_]) -> Pattern:
    """The set of true pixels."""
    if picture.ndim == 1:
        return array_to_bits(picture)
    rows: dict[Pattern, int] = {}
    for index, row in enumerate(picture):
        inner = from_array(row)
        if inner:
            rows[inner] = rows.get(inner, 0) | 1 << index
    return tuple(sorted((mask, inner) for inner, mask in rows.items())) or 0


def bits_to_array(bits: int, size: int) -> NDArray[np.bool_]:
    """Bit i as element i, for ``size`` elements."""
    packed = np.frombuffer(bits.to_bytes((size + 7) // 8, "little"), dtype=np.uint8)
    return np.unpackbits(packed, count=size, bitorder="little").astype(np.bool_)


def array_to_bits(line: NDArray[np.bool_]) -> int:
    """Element i as bit i."""
    return int.from_bytes(np.packbits(line, bitorder="little").tobytes(), "little")


def _overlaps(masks: dict[Product, int]) -> list[tuple[int, tuple[Product, ...]]]:
    """Disjoint masks, each with the products that lie over it."""
    parts: list[tuple[int, tuple[Product, ...]]] = []
    for rest, mask in masks.items():
        split: list[tuple[int, tuple[Product, ...]]] = []
        for other, rests in parts:
            shared = other & mask
            if shared:
                split.append((shared, (*rests, rest)))
            if other & ~mask:
                split.append((other & ~mask, rests))
            mask &= ~other
        if mask:
            split.append((mask, (rest,)))
        parts = split
    return parts
