"""The search: weights and rates of a relaxed model, trained together by gradient descent."""

from dilsearch.search.after_step import clamp_after_step
from dilsearch.search.field_target import FieldTarget
from dilsearch.search.gap_penalty import GapPenalty
from dilsearch.search.library import SearchWarning, search_rates
from dilsearch.search.loop import SearchResult, search, search_columns
from dilsearch.search.parameter_groups import param_groups
from dilsearch.search.rate_optimizer import build_rate_optimizer, default_rate_learning_rate
from dilsearch.search.reach import out_of_reach
from dilsearch.search.smoothing import Smoothing

__all__ = [
    "FieldTarget",
    "GapPenalty",
    "SearchResult",
    "SearchWarning",
    "Smoothing",
    "build_rate_optimizer",
    "clamp_after_step",
    "default_rate_learning_rate",
    "out_of_reach",
    "param_groups",
    "search",
    "search_columns",
    "search_rates",
]
