"""The field of view up to one point of a network, along one axis, and how a layer changes it."""

from dataclasses import dataclass

from dilsearch.errors import GeometryError


@dataclass(frozen=True, slots=True)
class Field:
    """How many input pixels one position sees, and how far apart neighbouring positions are.

    The default is the input itself: a pixel sees itself, and pixels are one apart.

    Args:
        size_px: Extent of the field in input pixels, from the first pixel seen to the last.
        stride_px: Input pixels between the fields of two neighbouring positions.

    Raises:
        GeometryError: If either is not a whole number of at least 1.
    """

    size_px: int = 1
    stride_px: int = 1

    def __post_init__(self) -> None:
        _whole("field size", self.size_px)
        _whole("field stride", self.stride_px)

    def through(self, taps: int, rate: float = 1, stride: int = 1) -> "Field":
        """The field behind a window (convolution or pooling) of ``taps`` taps at ``rate``.

        The outermost taps are ``(taps - 1) * rate`` positions apart, each a stride from the next,
        so the field grows by that many strides whatever padding surrounds it. A float rate must
        be whole: what a rate between two integers sees is for the caller to say.

        Raises:
            GeometryError: If an argument is not a whole number of at least 1.

        Source: RegSeg (Gao 2022), Eq. 1 and 2.
        """
        reach = (_whole("taps", taps) - 1) * _whole("rate", rate)
        return Field(
            self.size_px + reach * self.stride_px, self.stride_px * _whole("stride", stride)
        )

    def upsampled(self, factor: int, taps: int = 1) -> "Field":
        """The field behind an interpolation to ``factor`` times as many positions.

        Each new position reads ``taps`` neighbouring old ones: 1 for nearest, 2 for linear, 4 for
        cubic interpolation.

        Raises:
            GeometryError: If the stride cannot be divided by ``factor`` in whole pixels.
        """
        if self.stride_px % _whole("factor", factor):
            raise GeometryError(
                f"a field of stride {self.stride_px} px cannot be upsampled by {factor}: "
                "positions would lie between pixels. Use a factor that divides the stride."
            )
        return Field(
            self.size_px + (_whole("taps", taps) - 1) * self.stride_px, self.stride_px // factor
        )


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


def _whole(what: str, value: float) -> int:
    """``value`` as an int; sizes, strides and taps are ints to begin with, by their types."""
    if value < 1 or not (isinstance(value, int) or value.is_integer()):
        raise GeometryError(f"{what} {value} is not a whole number of at least 1; correct it")
    return int(value)
