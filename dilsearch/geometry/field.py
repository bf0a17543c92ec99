"""The field of view up to one point of a network, along one axis, and how a layer changes it."""

from dataclasses import dataclass
from fractions import Fraction

from dilsearch.errors import GeometryError


@dataclass(frozen=True, slots=True)
class Field:
    """How many input pixels one position sees, and how far apart neighbouring positions are.

    The default is the input itself: a pixel sees itself, and pixels are one apart.

    Args:
        size_px: Extent of the field in input pixels, from the first pixel seen to the last.
        stride_px: Input pixels between the fields of two neighbouring positions. A fraction where
            upsampling has made more positions than there are pixels.

    Raises:
        GeometryError: If the size is not a whole number of at least 1, or the stride not positive.
    """

    size_px: int = 1
    stride_px: int | Fraction = 1

    def __post_init__(self) -> None:
        _whole("field size", self.size_px)
        if not isinstance(self.stride_px, Fraction) or self.stride_px <= 0:
            _whole("field stride", self.stride_px)

    def through(self, taps: int, rate: float = 1, stride: int = 1) -> "Field":
        """The field behind a window (convolution or pooling) of ``taps`` taps at ``rate``.

        The outermost taps are ``(taps - 1) * rate`` positions apart, each a stride from the next,
        so the field grows by that many strides whatever padding surrounds it. A float rate must
        be whole: what a rate between two integers sees is for the caller to say.

        Raises:
            GeometryError: If an argument is not a whole number of at least 1, or the field would
                end between pixels.

        Source: RegSeg (Gao 2022), Eq. 1 and 2.
        """
        reach = (_whole("taps", taps) - 1) * _whole("rate", rate)
        size_px = self.size_px + reach * self.stride_px
        return Field(_whole("field size", size_px), self.stride_px * _whole("stride", stride))


def join(*fields: Field) -> Field:
    """The field where paths meet (sum, product or concatenation): the largest of theirs.

    Raises:
        GeometryError: If no field is given, or their strides differ.
    """
    if not fields:
        raise GeometryError("nothing to join; give at least one field")
    strides = {field.stride_px for field in fields}
    if len(strides) > 1:
        listed = " and ".join(f"{stride} px" for stride in sorted(strides))
        raise GeometryError(
            f"fields of strides {listed} cannot meet at one position; resample one of them first"
        )
    return max(fields, key=lambda field: field.size_px)


def _whole(what: str, value: float | Fraction) -> int:
    """``value`` as an int; sizes, strides and taps are ints to begin with, by their types."""
    if value < 1 or value % 1 != 0:
        raise GeometryError(f"{what} {value} is not a whole number of at least 1; correct it")
    return int(value)
