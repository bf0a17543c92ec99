"""Find a network's dilation rates by gradient descent, convert them under the gap bound, retrain.

The names below are the library's face. Each is imported from its own module when it is first
used, so that ``import dilsearch`` and all that needs no tensors work without importing torch.
"""

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dilsearch.analysis import Analysis, analyze, effective_field, measure_support
    from dilsearch.geometry.field import Field, join
    from dilsearch.geometry.gaps import max_rate
    from dilsearch.geometry.graph import FieldGraph
    from dilsearch.geometry.project import project
    from dilsearch.layers import RelaxedConv1d, RelaxedConv2d, RelaxedConv3d
    from dilsearch.models import build_model
    from dilsearch.ops import fractional_conv1d, fractional_conv2d, fractional_conv3d
    from dilsearch.plan import DilationPlan
    from dilsearch.search import FieldTarget, SearchWarning, Smoothing, search_rates
    from dilsearch.sites import PerBranch, PerChannel, PerSite
    from dilsearch.space import SearchSpace
    from dilsearch.surgery import (
        clamp_rates,
        discretize,
        load,
        rate_parameters,
        read_plan,
        relax,
        save,
        weight_parameters,
    )
    from dilsearch.tracing import trace_graph

try:
    __version__ = version("dilsearch")
except PackageNotFoundError:  # run from a source folder that was never installed
    __version__ = "0+uninstalled"

__all__ = [
    "Analysis",
    "DilationPlan",
    "Field",
    "FieldGraph",
    "FieldTarget",
    "PerBranch",
    "PerChannel",
    "PerSite",
    "RelaxedConv1d",
    "RelaxedConv2d",
    "RelaxedConv3d",
    "SearchSpace",
    "SearchWarning",
    "Smoothing",
    "__version__",
    "analyze",
    "build_model",
    "clamp_rates",
    "discretize",
    "effective_field",
    "fractional_conv1d",
    "fractional_conv2d",
    "fractional_conv3d",
    "join",
    "load",
    "max_rate",
    "measure_support",
    "project",
    "rate_parameters",
    "read_plan",
    "relax",
    "save",
    "search_rates",
    "trace_graph",
    "weight_parameters",
]

_HOMES = {
    "Analysis": "dilsearch.analysis",
    "DilationPlan": "dilsearch.plan",
    "Field": "dilsearch.geometry.field",
    "FieldGraph": "dilsearch.geometry.graph",
    "FieldTarget": "dilsearch.search",
    "PerBranch": "dilsearch.sites",
    "PerChannel": "dilsearch.sites",
    "PerSite": "dilsearch.sites",
    "RelaxedConv1d": "dilsearch.layers",
    "RelaxedConv2d": "dilsearch.layers",
    "RelaxedConv3d": "dilsearch.layers",
    "SearchSpace": "dilsearch.space",
    "SearchWarning": "dilsearch.search",
    "Smoothing": "dilsearch.search",
    "analyze": "dilsearch.analysis",
    "build_model": "dilsearch.models",
    "clamp_rates": "dilsearch.surgery",
    "discretize": "dilsearch.surgery",
    "effective_field": "dilsearch.analysis",
    "fractional_conv1d": "dilsearch.ops",
    "fractional_conv2d": "dilsearch.ops",
    "fractional_conv3d": "dilsearch.ops",
    "join": "dilsearch.geometry.field",
    "load": "dilsearch.surgery",
    "max_rate": "dilsearch.geometry.gaps",
    "measure_support": "dilsearch.analysis",
    "project": "dilsearch.geometry.project",
    "rate_parameters": "dilsearch.surgery",
    "read_plan": "dilsearch.surgery",
    "relax": "dilsearch.surgery",
    "save": "dilsearch.surgery",
    "search_rates": "dilsearch.search",
    "trace_graph": "dilsearch.tracing",
    "weight_parameters": "dilsearch.surgery",
}


def __getattr__(name: str) -> Any:
    """Import a public name from its module, once (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module 'dilsearch' has no attribute '{name}'")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
