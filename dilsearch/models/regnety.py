"""RegNetY-600MF's body made dense: it stops at stride 16 and dilates its last stage instead."""

from dilsearch.models.blocks import YBlock
from dilsearch.models.blueprint import Block, Blueprint


def regnety600mf_blueprint() -> Blueprint:
    """RegNetY-600MF's 15 blocks, the last stage dilated by 2 in place of its stride.

    Searchable are the ten blocks that work at stride 16 on an input of that stride. The field is
    479 px, RegSeg's baseline. Source: RegNet (Radosavovic et al. 2020); RegSeg (Gao 2022), Fig. 2.
    """
    fixed = (Block(48, 2), Block(112, 2), Block(112), Block(112), Block(256, 2))
    searchable = (
        *(Block(256, searchable=True) for _ in range(6)),
        Block(608, searchable=True),
        *(Block(608, rates=(2,), searchable=True) for _ in range(3)),
    )
    return Blueprint("regnety600mf", 32, (*fixed, *searchable), block_class=YBlock)
