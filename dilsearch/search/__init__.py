"""The search: weights and rates of a relaxed model, trained together by gradient descent."""

from dilsearch.search.field_target import FieldTarget
from dilsearch.search.library import SearchWarning, search_rates
from dilsearch.search.loop import SearchResult, search, search_columns
from dilsearch.search.rate_optimizer import build_rate_optimizer, default_rate_learning_rate
from dilsearch.search.reach import out_of_reach
from dilsearch.search.smoothing import Smoothing

__all__ = [
    "FieldTarget",
    "SearchResult",
    "SearchWarning",
    "Smoothing",
    "build_rate_optimizer",
    "default_rate_learning_rate",
    "out_of_reach",
    "search",
    "search_columns",
    "search_rates",
]
