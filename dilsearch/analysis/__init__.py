"""What a network sees: its field followed, measured and weighed."""

from dilsearch.analysis.analyze import analyze
from dilsearch.analysis.check import SupportCheck, check_support
from dilsearch.analysis.effective import EffectiveField, effective_field, random_images
from dilsearch.analysis.numeric import MeasuredSupport, measure_support
from dilsearch.analysis.result import Analysis

__all__ = [
    "Analysis",
    "EffectiveField",
    "MeasuredSupport",
    "SupportCheck",
    "analyze",
    "check_support",
    "effective_field",
    "measure_support",
    "random_images",
]
