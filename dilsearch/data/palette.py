"""Colours for classes: read from a space file, or chosen so that they are easily told apart."""

import colorsys
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import UInt8

from dilsearch.errors import DataError

# Strong colours first; no two of them meet in the usual colour-vision deficiencies.
_FIRST = ("#d55e00", "#0072b2", "#f0e442", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#f5f5f5")
_HEX = re.compile(r"#[0-9a-fA-F]{6}")
_GOLDEN_TURN = 0.618034


def class_colours(count: int) -> tuple[str, ...]:
    """``count`` colours as "#rrggbb": a fixed list of 8, then hues a golden turn apart."""
    return tuple(_FIRST[i] if i < len(_FIRST) else _spun_hue(i) for i in range(count))


def to_rgb_rows(colours: Sequence[str]) -> UInt8[np.ndarray[Any, Any], "colours 3"]:
    """One row of RGB of 0 to 255 for each "#rrggbb".

    Raises:
        DataError: If a colour is not written "#rrggbb".
    """
    for colour in colours:
        if not _HEX.fullmatch(colour):
            raise DataError(
                f"palette: '{colour}' is not a colour; write it as #rrggbb, such as '#d55e00'."
            )
    return np.array([list(bytes.fromhex(colour[1:])) for colour in colours], dtype=np.uint8)


def _spun_hue(index: int) -> str:
    value = (0.95, 0.7, 0.5)[index % 3]
    rgb = colorsys.hsv_to_rgb(index * _GOLDEN_TURN % 1.0, 0.65, value)
    return "#" + "".join(f"{round(255 * part):02x}" for part in rgb)
