"""From a torch model to its field graph."""

from dilsearch.tracing.tracer import trace_graph

__all__ = ["trace_graph"]
