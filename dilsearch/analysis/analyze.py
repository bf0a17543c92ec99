"""From a model to its analysis: trace it, follow the fields, count the gaps."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import nn

from dilsearch.analysis.reports import (
    Basis,
    Gaps,
    GlobalReport,
    HdcReport,
    OutputReport,
    PathReport,
    SiteReport,
    Sizes,
    Strides,
)
from dilsearch.analysis.result import Analysis, find_node
from dilsearch.errors import GeometryError
from dilsearch.geometry import (
    Coverage,
    FieldGraph,
    FieldTable,
    GlobalContext,
    Resample,
    Route,
    Window,
    hdc_m2,
)
from dilsearch.plan import DilationPlan
from dilsearch.tracing.builder import Layer
from dilsearch.tracing.tracer import Example, Trace, trace_model, trace_program


def analyze(
    model: nn.Module | torch.export.ExportedProgram,
    example: Example | None = None,
    *,
    outputs: Sequence[str] = (),
    plan: DilationPlan | None = None,
    needed_px: int | None = None,
) -> Analysis:
    """Fields, strides, bounds and exact gaps of a model, at every convolution and output.

    The model is exported and never run: nothing of the size of its activations is allocated.

    Args:
        model: Any module that ``torch.export`` can export, on any device, or a program that was
            exported already. Relaxed sites are taken at their present rates, rounded up.
        example: Its input or inputs: batch, channels, and one to three spatial axes. Only the
            shape counts, and the meta device will do. Not needed for a program.
        outputs: Nodes or modules to report on instead of the model's outputs.
        plan: Rates to put in place of the model's.
        needed_px: Field that the task asks for, in pixels, to compare with on every axis; None for
            2N - 1 of the N pixels along each, so that every pixel can see every other.

    Raises:
        TraceError: If the model cannot be exported, or its input has no spatial axes.
        GeometryError: If there is no such node, or nothing of the output lies in the image.
        PlanError: If the plan does not fit the model, or has rates that are not whole.
    """
    if isinstance(model, torch.export.ExportedProgram):
        trace = trace_program(model)
    elif example is None:
        raise GeometryError(
            "a model is analysed for an input of some size; give an example, such as "
            "torch.empty(1, 3, 512, 1024, device='meta')"
        )
    else:
        trace = trace_model(model, example, present_rates=plan is None)
    graph = trace.graph if plan is None else trace.graph.at_rates(plan)
    needed = tuple(2 * size - 1 if needed_px is None else needed_px for size in trace.input_px)
    return _Report(trace, graph, graph.propagate(), type(model).__name__, needed).analysis(outputs)


@dataclass(frozen=True)
class _Report:
    """An analysis while it is put together."""

    trace: Trace
    graph: FieldGraph
    table: FieldTable
    model: str
    needed_px: Sizes

    def analysis(self, asked: Sequence[str]) -> Analysis:
        named = self._named(asked)
        sites = [name for name, layer in self.trace.layers.items() if max(layer.taps) > 1]
        local = dict.fromkeys([*sites, *(node for _, node in named)])
        seen = self.graph.coverages([node for node in local if node in self.table.spans])
        return Analysis(
            model=self.model,
            input_px=self.trace.input_px,
            inputs=self.trace.inputs,
            sites=tuple(self._site(name, seen.get(name)) for name in sites),
            outputs=tuple(self._output(name, node, seen.get(node)) for name, node in named),
            global_context=tuple(
                GlobalReport(node=node.name, cause=node.cause, field_px=self._field(node.source))
                for node in self.graph.nodes
                if isinstance(node, GlobalContext)
            ),
            unfollowed=dict(self.graph.unfollowed),
            remarks=dict(self.trace.remarks),
            parameters=self.trace.parameters,
            macs=self.trace.macs,
            graph=self.graph,
            modules=dict(self.trace.modules),
            model_outputs=self._outputs,
        )

    def _named(self, asked: Sequence[str]) -> list[tuple[str, str]]:
        """Outputs by name and node: those asked for, or those of the model."""
        outputs = self._outputs
        if asked:
            places = {**self.trace.modules, **outputs}
            return [(name, find_node(self.graph, places, name)) for name in asked]
        if not self.graph.outputs:
            raise GeometryError(
                f"nothing that {self.model} returns follows from its input, so that there is no "
                "field to report; name a node or a module inside it"
            )
        return list(outputs.items())

    @property
    def _outputs(self) -> dict[str, str]:
        return dict(zip(self.trace.output_names, self.graph.outputs, strict=True))

    def _site(self, name: str, seen: Coverage | None) -> SiteReport:
        layer = self.trace.layers[name]
        node = self.graph.node(name) if name in self.graph else None
        source = node.source if isinstance(node, Window | Resample) else ""
        rates = node.rates if isinstance(node, Window) else layer.rates
        bound, kept = None, None
        if source in self.table.spans and not layer.transposed:
            bound = tuple(span.bound for span in self.table.spans[source])
            kept = _keeps(layer, rates, bound)
            if source in (self.upper if kept else self.lower):
                kept = None  # the bound itself is not known well enough
        return SiteReport(
            name=name,
            kind=layer.kind,
            kernel=layer.taps,
            rates=rates,
            stride=layer.stride,
            groups=layer.groups,
            in_channels=layer.in_channels,
            out_channels=layer.out_channels,
            field_in_px=self._field(source),
            stride_in_px=self._stride(source),
            field_out_px=self._field(name),
            stride_out_px=self._stride(name),
            centre_px=self._centre(name),
            bound=bound,
            bound_ok=kept,
            gaps=self._gaps(name, seen),
            parameters=layer.parameters,
            macs=layer.macs,
            global_context=name in self.table.context,
            lower_bound=source in self.lower,
            upper_bound=source in self.upper,
        )

    def _output(self, name: str, node: str, seen: Coverage | None) -> OutputReport:
        spans = self.table.spans.get(node)
        largest = self.graph.route(node, max) if spans else None
        smallest = self.graph.route(node, min) if spans else None
        return OutputReport(
            name=name,
            node=node,
            size=self.graph.sizes.get(node),
            field_px=self._field(node),
            field_min_px=None if spans is None else tuple(span.smallest_px for span in spans),
            stride_px=self._stride(node),
            centre_px=self._centre(node),
            needed_px=self.needed_px,
            global_context=node in self.table.context,
            gaps=self._gaps(node, seen),
            largest_path=None if largest is None else _path(largest),
            smallest_path=None if smallest is None else _path(smallest),
            hdc=None if largest is None else _hdc(largest, self.trace.layers),
        )

    def _field(self, node: str) -> Sizes | None:
        spans = self.table.spans.get(node)
        return None if spans is None else tuple(span.field.size_px for span in spans)

    def _stride(self, node: str) -> Strides | None:
        spans = self.table.spans.get(node)
        return None if spans is None else tuple(span.stride_px for span in spans)

    def _centre(self, node: str) -> tuple[float, ...] | None:
        spans = self.table.spans.get(node)
        return None if spans is None else tuple(span.centre_px for span in spans)

    def _gaps(self, node: str, seen: Coverage | None) -> Gaps | None:
        if seen is None:
            return None
        return Gaps(
            holes=seen.holes,
            largest_hole_px=seen.largest_hole_px,
            seen_share=seen.seen / (seen.seen + seen.holes),
            basis=self.basis[node] if seen.exact else "axes",
        )

    @cached_property
    def basis(self) -> Mapping[str, Basis]:
        """What the coverage behind each node stands for."""
        return {**self.graph.basis(self.table)}

    @cached_property
    def lower(self) -> frozenset[str]:
        """The nodes behind what could not be followed."""
        return self.graph.downstream(self.graph.unfollowed)

    @cached_property
    def upper(self) -> frozenset[str]:
        """The nodes behind what counts more than it sees."""
        return self.graph.downstream(self.trace.remarks)


def _keeps(layer: Layer, rates: tuple[Sizes, ...], bound: Sizes) -> bool:
    return all(
        taps == 1 or rate <= limit
        for branch in rates
        for taps, rate, limit in zip(layer.taps, branch, bound, strict=True)
    )


def _path(route: Route) -> PathReport:
    return PathReport(field_px=tuple(span.field.size_px for span in route.spans), nodes=route.nodes)


def _hdc(route: Route, layers: Mapping[str, Layer]) -> HdcReport | None:
    """HDC's rule for the convolutions at the coarsest stride of a path, on its worst axis."""
    reports = []
    for axis in range(len(route.spans)):
        chain = [
            (before[axis].stride_px, len(table[axis].offsets[0]), table[axis])
            for name, table, before in zip(route.nodes, route.tables, route.before, strict=True)
            if name in layers and not layers[name].transposed and layers[name].taps[axis] > 1
        ]
        coarsest = max((stride for stride, _, _ in chain), default=0)
        deepest = [(taps, reads) for stride, taps, reads in chain if stride == coarsest]
        if len(deepest) >= 2:
            rates = tuple(reads.offsets[0][1] - reads.offsets[0][0] for _, reads in deepest)
            taps = min(taps for taps, _ in deepest)
            reports.append(HdcReport(m2=hdc_m2(rates), taps=taps, rates=rates))
    return max(reports, key=lambda report: report.m2 - report.taps, default=None)
