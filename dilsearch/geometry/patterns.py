"""Sets of pixels in any number of dimensions, as disjoint products of sets along each axis.

A window sees a product of its axes, several branches see a union of products, and so does whatever
follows. A set is therefore kept as it comes: one integer per axis, with a bit for each pixel, and
never as a picture. Its form is canonical (equal sets are equal values), and a field of thousands
of pixels costs no more than the few different rows that it has.

In one dimension a pattern is an integer. In more it is a tuple of pairs (mask, pattern): the
indices along the first axis that share a pattern of the others. Masks are disjoint, patterns are
distinct, neither is empty, and the pairs are sorted.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from functools import reduce
from operator import or_
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Pattern: TypeAlias = int | tuple[tuple[int, "Pattern"], ...]
Product: TypeAlias = tuple[int, ...]
"""One integer per axis: the pixels whose index is a set bit on every axis."""


class TooManyProductsError(Exception):
    """A union is made of more products than allowed."""


def unite(some: Iterable[Product], most: float = math.inf) -> Pattern:
    """The union of products, all of the same number of axes; empty ones are left out.

    Args:
        some: The products.
        most: Of how many disjoint products it may be made, on the way as in the end.

    Raises:
        TooManyProductsError: As soon as there are more.
    """
    kept = [product for product in some if all(product)]
    if not kept:
        return 0
    if len(kept[0]) == 1:
        return union_of(bits for (bits,) in kept)
    masks: dict[Product, int] = {}
    for mask, *rest in kept:
        masks[tuple(rest)] = masks.get(tuple(rest), 0) | mask
    parts: dict[Pattern, int] = {}
    # Large ones first: what they cover already, small ones no longer split.
    for others in sorted(masks, key=_bits, reverse=True):
        _lay_over(parts, others, masks[others], most)
        if len(parts) > most:
            raise TooManyProductsError
    pattern = tuple(sorted((mask, inner) for inner, mask in parts.items()))
    if len(kept[0]) > 2 and sum(1 for _ in products(pattern)) > most:
        raise TooManyProductsError
    return pattern


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
    return hull_of(products(pattern))


def hull_of(some: Iterable[Product]) -> Product:
    """The product that holds some products, none of them empty."""
    return tuple(map(union_of, zip(*some, strict=True)))


def union_of(parts: Iterable[int]) -> int:
    """The union of sets along one axis."""
    return reduce(or_, parts, 0)


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


def _lay_over(parts: dict[Pattern, int], rest: Product, mask: int, most: float) -> None:
    """Add a product to disjoint masks that are kept by the pattern over each of them."""
    grown: list[tuple[Pattern, Pattern, int]] = []
    for pattern, other in parts.items():
        if shared := other & mask:
            larger = _with(pattern, rest, most)
            if larger != pattern:
                grown.append((pattern, larger, shared))
            mask ^= shared
            if not mask:
                break
    if mask:
        grown.append((0, unite([rest]), mask))
    for pattern, _, shared in grown:
        if pattern:
            parts[pattern] ^= shared
            if not parts[pattern]:
                del parts[pattern]
    for _, larger, shared in grown:
        parts[larger] = parts.get(larger, 0) | shared


def _with(pattern: Pattern, product: Product, most: float) -> Pattern:
    if isinstance(pattern, int):
        return pattern | product[0]
    return unite([*products(pattern), product], most)


def _bits(product: Product) -> int:
    return math.prod(bits.bit_count() for bits in product)
