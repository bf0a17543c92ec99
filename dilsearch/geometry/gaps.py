"""Two rules for rates that leave no gaps: RegSeg's bound and HDC's recursion.

Neither is the truth, which is ``coverage``: the bound is sufficient, and necessary only where
rates do not decrease; HDC's is neither, and knows no strides.
"""

from collections.abc import Sequence

from dilsearch.errors import GeometryError
from dilsearch.geometry.field import Field


def max_rate(field: Field) -> int:
    """The bound: the largest rate that skips no input pixel behind a field without gaps.

    Neighbouring taps see ``size_px`` pixels each and lie ``rate * stride_px`` pixels apart, so
    they touch while rate <= size / stride. 0 if neighbouring positions already skip pixels.

    Source: RegSeg (Gao 2022), Eq. 3.
    """
    return field.size_px // field.stride_px


def hdc_m2(rates: Sequence[int]) -> int:
    """The distance M_2 between taps that the second layer of a stack leaves, seen from the last.

    M_n is the last rate, and M_i = max(M_{i+1} - 2 r_i, 2 r_i - M_{i+1}, r_i) down to i = 2; the
    first rate does not enter.

    Raises:
        GeometryError: If there are fewer than two rates, or one is below 1.

    Source: Hybrid Dilated Convolution (Wang et al. 2018), Eq. 2.
    """
    if len(rates) < 2:
        raise GeometryError(
            f"HDC compares layers, and {len(rates)} rates were given; give the rates of at least 2"
        )
    if min(rates) < 1:
        raise GeometryError(f"rate {min(rates)} is below 1; a dilation rate is at least 1")
    distance = rates[-1]
    for rate in reversed(rates[1:-1]):
        distance = max(distance - 2 * rate, 2 * rate - distance, rate)
    return distance


def hdc_ok(rates: Sequence[int], taps: int = 3) -> bool:
    """Whether HDC's goal M_2 <= taps is met: a rule of thumb, which (2, 2, 2) meets with holes.

    Raises:
        GeometryError: As ``hdc_m2``.
    """
    return hdc_m2(rates) <= taps
