"""Built-in networks whose dilation rates can be chosen and searched."""

from dilsearch.models.blocks import DBlock, YBlock
from dilsearch.models.blueprint import Block, Blueprint
from dilsearch.models.largefov import LargeFOV
from dilsearch.models.rates import PUBLISHED_RATES, Rates, published_rates
from dilsearch.models.registry import build_model, model_names, searchable_blocks
from dilsearch.models.segmenter import Segmenter
from dilsearch.models.tcn import TCN
from dilsearch.models.toy import Toy

__all__ = [
    "PUBLISHED_RATES",
    "TCN",
    "Block",
    "Blueprint",
    "DBlock",
    "LargeFOV",
    "Rates",
    "Segmenter",
    "Toy",
    "YBlock",
    "build_model",
    "model_names",
    "published_rates",
    "searchable_blocks",
]
