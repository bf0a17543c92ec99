"""Pure arithmetic of fields of view: fields, bounds, coverage, field graphs and projection."""

from dilsearch.geometry.bounds import Limits
from dilsearch.geometry.choose import choose_rates
from dilsearch.geometry.coverage import Coverage
from dilsearch.geometry.field import Field, join
from dilsearch.geometry.gaps import hdc_m2, hdc_ok, max_rate
from dilsearch.geometry.graph import FieldGraph
from dilsearch.geometry.nodes import (
    Fields,
    GlobalContext,
    Join,
    Node,
    Part,
    Resample,
    Source,
    Spans,
    Window,
)
from dilsearch.geometry.project import (
    Change,
    Held,
    Policy,
    Projection,
    enforce_bounds,
    hold_to_bounds,
    project,
)
from dilsearch.geometry.reads import Reads
from dilsearch.geometry.routes import Route
from dilsearch.geometry.spans import Span
from dilsearch.geometry.support import PathCounts
from dilsearch.geometry.table import FieldRow, FieldTable

__all__ = [
    "Change",
    "Coverage",
    "Field",
    "FieldGraph",
    "FieldRow",
    "FieldTable",
    "Fields",
    "GlobalContext",
    "Held",
    "Join",
    "Limits",
    "Node",
    "Part",
    "PathCounts",
    "Policy",
    "Projection",
    "Reads",
    "Resample",
    "Route",
    "Source",
    "Span",
    "Spans",
    "Window",
    "choose_rates",
    "enforce_bounds",
    "hdc_m2",
    "hdc_ok",
    "hold_to_bounds",
    "join",
    "max_rate",
    "project",
]
