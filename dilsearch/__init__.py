"""Find a network's dilation rates by gradient descent, convert them under the gap bound, retrain.

The names below are the library's face. Each is imported from its own module when it is first
used, so that ``import dilsearch`` and all that needs no tensors work without importing torch.
"""

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dilsearch.analysis import Analysis, analyze, effective_field, measure_support
    from dilsearch.baselines.manual import manual_schedule
    from dilsearch.baselines.suggest import suggest_plan
    from dilsearch.geometry.field import Field, join
    from dilsearch.geometry.gaps import max_rate
    from dilsearch.geometry.graph import FieldGraph
    from dilsearch.geometry.project import project
    from dilsearch.layers import RelaxedConv1d, RelaxedConv2d, RelaxedConv3d
    from dilsearch.models import build_model
    from dilsearch.ops import fractional_conv1d, fractional_conv2d, fractional_conv3d
    from dilsearch.plan import DilationPlan, SiteRates
    from dilsearch.search import (
        FieldTarget,
        GapPenalty,
        SearchWarning,
        Smoothing,
        clamp_after_step,
        param_groups,
        search_rates,
    )
    from dilsearch.sites import Kernel, PerBranch, PerChannel, PerSite
    from dilsearch.space import SearchSpace
    from dilsearch.surgery import (
        apply_plan,
        clamp_rates,
        discretize,
        field_graph,
        freeze_rates,
        load,
        rate_limits,
        rate_parameters,
        read_plan,
        relax,
        relaxed_sites,
        save,
        saved_plan,
        set_output_stride,
        unfreeze_rates,
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
    "GapPenalty",
    "Kernel",
    "PerBranch",
    "PerChannel",
    "PerSite",
    "RelaxedConv1d",
    "RelaxedConv2d",
    "RelaxedConv3d",
    "SearchSpace",
    "SearchWarning",
    "SiteRates",
    "Smoothing",
    "__version__",
    "analyze",
    "apply_plan",
    "build_model",
    "clamp_after_step",
    "clamp_rates",
    "discretize",
    "effective_field",
    "field_graph",
    "fractional_conv1d",
    "fractional_conv2d",
    "fractional_conv3d",
    "freeze_rates",
    "join",
    "load",
    "manual_schedule",
    "max_rate",
    "measure_support",
    "param_groups",
    "project",
    "rate_limits",
    "rate_parameters",
    "read_plan",
    "relax",
    "relaxed_sites",
    "save",
    "saved_plan",
    "search_rates",
    "set_output_stride",
    "suggest_plan",
    "trace_graph",
    "unfreeze_rates",
    "weight_parameters",
]

_HOMES = {
    "Analysis": "dilsearch.analysis",
    "DilationPlan": "dilsearch.plan",
    "Field": "dilsearch.geometry.field",
    "FieldGraph": "dilsearch.geometry.graph",
    "FieldTarget": "dilsearch.search",
    "GapPenalty": "dilsearch.search",
    "Kernel": "dilsearch.sites",
    "PerBranch": "dilsearch.sites",
    "PerChannel": "dilsearch.sites",
    "PerSite": "dilsearch.sites",
    "RelaxedConv1d": "dilsearch.layers",
    "RelaxedConv2d": "dilsearch.layers",
    "RelaxedConv3d": "dilsearch.layers",
    "SearchSpace": "dilsearch.space",
    "SearchWarning": "dilsearch.search",
    "SiteRates": "dilsearch.plan",
    "Smoothing": "dilsearch.search",
    "analyze": "dilsearch.analysis",
    "apply_plan": "dilsearch.surgery",
    "build_model": "dilsearch.models",
    "clamp_after_step": "dilsearch.search",
    "clamp_rates": "dilsearch.surgery",
    "discretize": "dilsearch.surgery",
    "effective_field": "dilsearch.analysis",
    "field_graph": "dilsearch.surgery",
    "fractional_conv1d": "dilsearch.ops",
    "fractional_conv2d": "dilsearch.ops",
    "fractional_conv3d": "dilsearch.ops",
    "freeze_rates": "dilsearch.surgery",
    "join": "dilsearch.geometry.field",
    "load": "dilsearch.surgery",
    "manual_schedule": "dilsearch.baselines.manual",
    "max_rate": "dilsearch.geometry.gaps",
    "measure_support": "dilsearch.analysis",
    "param_groups": "dilsearch.search",
    "project": "dilsearch.geometry.project",
    "rate_limits": "dilsearch.surgery",
    "rate_parameters": "dilsearch.surgery",
    "read_plan": "dilsearch.surgery",
    "relax": "dilsearch.surgery",
    "relaxed_sites": "dilsearch.surgery",
    "save": "dilsearch.surgery",
    "saved_plan": "dilsearch.surgery",
    "search_rates": "dilsearch.search",
    "set_output_stride": "dilsearch.surgery",
    "suggest_plan": "dilsearch.baselines.suggest",
    "trace_graph": "dilsearch.tracing",
    "unfreeze_rates": "dilsearch.surgery",
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
