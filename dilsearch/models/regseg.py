"""RegSeg's body: dilated blocks down to stride 16 and no further."""

from dilsearch.models.blueprint import Block, Blueprint
from dilsearch.models.rates import PUBLISHED_RATES


def regseg_blueprint() -> Blueprint:
    """RegSeg's 18 blocks, the last 13 searchable, with the rates of the paper's final network.

    Source: RegSeg (Gao 2022), Tab. 1 and Sec. 3.3.
    """
    fixed = (Block(48, 2), Block(128, 2), Block(128), Block(128), Block(256, 2))
    widths = (256,) * 12 + (320,)
    searchable = tuple(
        Block(channels, rates=rates, searchable=True)
        for channels, rates in zip(widths, PUBLISHED_RATES["exp48"], strict=True)
    )
    return Blueprint("regseg", 32, (*fixed, *searchable))
