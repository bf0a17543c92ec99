"""An analysis as pandas frames and as plain values, for files and other programs."""

from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from typing import Any

import pandas as pd

from dilsearch.analysis.reports import (
    Gaps,
    GlobalReport,
    HdcReport,
    OutputReport,
    PathReport,
    SiteReport,
    Sizes,
    axis_names,
)
from dilsearch.analysis.result import Analysis

_WHOLE, _REAL, _FLAG, _TEXT = "Int64", "Float64", "boolean", "string"


def sites_frame(analysis: Analysis) -> pd.DataFrame:
    """One row per site in the order of the forward pass; axes have columns of their own.

    Where a site has no field, bound or gaps, its cells are ``pd.NA``; ``rates`` joins axes by
    commas and branches by semicolons, ``1,1;4,4``.
    """
    axes = axis_names(len(analysis.input_px))
    types = {"name": _TEXT, "kind": _TEXT}
    types |= _spread_types("kernel", axes) | _spread_types("rate", axes) | {"rates": _TEXT}
    types |= _spread_types("stride", axes)
    types |= dict.fromkeys(("groups", "in_channels", "out_channels"), _WHOLE)
    for end in ("in", "out"):
        types |= _spread_types(f"field_{end}", axes, "_px")
        types |= _spread_types(f"stride_{end}", axes, "_px", _REAL)
    types |= _spread_types("centre", axes, "_px", _REAL) | _spread_types("bound", axes)
    types |= {"bound_ok": _FLAG, "fix": _TEXT} | _GAP_TYPES
    types |= {"parameters": _WHOLE, "macs": _WHOLE}
    types |= dict.fromkeys(("global_context", "lower_bound", "upper_bound"), _FLAG)
    return _frame([_site_row(site, axes) for site in analysis.sites], types)


def outputs_frame(analysis: Analysis) -> pd.DataFrame:
    """One row per output, with the columns of ``sites_frame`` as far as they apply.

    Paths are given by their fields alone; their nodes stand in ``as_json``.
    """
    axes = axis_names(len(analysis.input_px))
    types = {"name": _TEXT, "node": _TEXT} | _spread_types("size", axes)
    for name in ("field", "field_min"):
        types |= _spread_types(name, axes, "_px")
    types |= _spread_types("stride", axes, "_px", _REAL) | _spread_types(
        "centre", axes, "_px", _REAL
    )
    types |= _spread_types("needed", axes, "_px") | {"global_context": _FLAG} | _GAP_TYPES
    for name in ("largest_path", "smallest_path"):
        types |= _spread_types(name, axes, "_px")
    types |= {"hdc_m2": _WHOLE, "hdc_taps": _WHOLE, "hdc_ok": _FLAG}
    return _frame([_output_row(output, axes) for output in analysis.outputs], types)


def growth_frame(analysis: Analysis) -> pd.DataFrame:
    """Field by depth on the largest path of the first output, along that path alone.

    Columns ``depth`` (1 for the first node that widens the field), ``node``, and ``AXIS_px`` for
    each axis; a node that widens nothing has no row.

    Raises:
        GeometryError: If the first output has no field.
    """
    axes = axis_names(len(analysis.input_px))
    route = analysis.graph.route(analysis.outputs[0].node, max)
    sizes = [tuple(span.field.size_px for span in spans) for spans in (*route.before, route.spans)]
    grown = zip(route.nodes, sizes[1:], sizes, strict=False)
    widened = [(node, after) for node, after, before in grown if after != before]
    rows = [
        {"depth": depth, "node": node, **_spread("", axes, size, "_px")}
        for depth, (node, size) in enumerate(widened, start=1)
    ]
    types = {"depth": _WHOLE, "node": _TEXT, **_spread_types("", axes, "_px")}
    return _frame(rows, types)


def as_json(analysis: Analysis) -> dict[str, Any]:
    """Everything as plain values that strict JSON can hold.

    Sizes are lists, height first; strides are integers where whole, else floats; what does not
    exist is None. An output's ``lower_bound`` says that something in front of it could not be
    followed, so that its field may be larger; ``upper_bound``, that it may be smaller.
    """
    first = analysis.outputs[0]
    return {
        "model": analysis.model,
        "inputs": [list(shape) for shape in analysis.inputs],
        "input_px": list(analysis.input_px),
        "output": first.name,
        "field_px": _sizes(analysis.field_px),
        "stride_px": _strides(analysis.stride_px),
        "global_context": first.global_context,
        "needed_px": list(analysis.needed_px),
        "holes": analysis.holes,
        "bound_ok": analysis.bound_ok,
        "verdict": analysis.verdict,
        "parameters": analysis.parameters,
        "macs": analysis.macs,
        "sites": [_site_json(site) for site in analysis.sites],
        "outputs": [_output_json(analysis, output) for output in analysis.outputs],
        "global_nodes": [_global_json(found) for found in analysis.global_context],
        "unfollowed": dict(analysis.unfollowed),
        "remarks": dict(analysis.remarks),
    }


def is_lower_bound(analysis: Analysis, output: OutputReport) -> bool:
    """Whether something in front of an output could not be followed, so that it may see more."""
    return not analysis.graph.upstream(output.node).isdisjoint(analysis.unfollowed)


def is_upper_bound(analysis: Analysis, output: OutputReport) -> bool:
    """Whether more is counted in front of an output than is seen, so that it may see less."""
    before = analysis.graph.upstream(output.node)
    return not before.isdisjoint(analysis.remarks)


def path_field(path: PathReport | None) -> Sizes | None:
    """The field along a path, where there is one."""
    return None if path is None else path.field_px


_GAP_TYPES = {"holes": _WHOLE, "largest_hole_px": _WHOLE, "seen_share": _REAL, "basis": _TEXT}


def _frame(rows: Sequence[Mapping[str, Any]], types: Mapping[str, str]) -> pd.DataFrame:
    """Rows as a frame whose columns and dtypes do not depend on what the rows hold."""
    # through objects, because a column of integers and None would become one of floats
    return pd.DataFrame(list(rows), columns=list(types), dtype=object).astype(dict(types))


def _spread_types(
    name: str, axes: Sequence[str], unit: str = "", kind: str = _WHOLE
) -> dict[str, str]:
    return {f"{name}_{axis}{unit}".lstrip("_"): kind for axis in axes}


def _spread(
    name: str, axes: Sequence[str], values: Iterable[float | Fraction] | None, unit: str = ""
) -> dict[str, float | None]:
    """One cell per axis, each None where there are no values."""
    cells = [None] * len(axes) if values is None else [_plain(value) for value in values]
    return {
        f"{name}_{axis}{unit}".lstrip("_"): cell for axis, cell in zip(axes, cells, strict=True)
    }


def _site_row(site: SiteReport, axes: Sequence[str]) -> dict[str, Any]:
    return {
        "name": site.name,
        "kind": site.kind,
        **_spread("kernel", axes, site.kernel),
        **_spread("rate", axes, site.rate),
        "rates": ";".join(",".join(map(str, branch)) for branch in site.rates),
        **_spread("stride", axes, site.stride),
        "groups": site.groups,
        "in_channels": site.in_channels,
        "out_channels": site.out_channels,
        **_spread("field_in", axes, site.field_in_px, "_px"),
        **_spread("stride_in", axes, site.stride_in_px, "_px"),
        **_spread("field_out", axes, site.field_out_px, "_px"),
        **_spread("stride_out", axes, site.stride_out_px, "_px"),
        **_spread("centre", axes, site.centre_px, "_px"),
        **_spread("bound", axes, site.bound),
        "bound_ok": site.bound_ok,
        "fix": site.fix,
        **_gaps(site.gaps),
        "parameters": site.parameters,
        "macs": site.macs,
        "global_context": site.global_context,
        "lower_bound": site.lower_bound,
        "upper_bound": site.upper_bound,
    }


def _output_row(output: OutputReport, axes: Sequence[str]) -> dict[str, Any]:
    hdc = output.hdc
    return {
        "name": output.name,
        "node": output.node,
        **_spread("size", axes, output.size),
        **_spread("field", axes, output.field_px, "_px"),
        **_spread("field_min", axes, output.field_min_px, "_px"),
        **_spread("stride", axes, output.stride_px, "_px"),
        **_spread("centre", axes, output.centre_px, "_px"),
        **_spread("needed", axes, output.needed_px, "_px"),
        "global_context": output.global_context,
        **_gaps(output.gaps),
        **_spread("largest_path", axes, path_field(output.largest_path), "_px"),
        **_spread("smallest_path", axes, path_field(output.smallest_path), "_px"),
        "hdc_m2": None if hdc is None else hdc.m2,
        "hdc_taps": None if hdc is None else hdc.taps,
        "hdc_ok": None if hdc is None else hdc.ok,
    }


def _site_json(site: SiteReport) -> dict[str, Any]:
    return {
        "name": site.name,
        "kind": site.kind,
        "kernel": list(site.kernel),
        "rate": list(site.rate),
        "rates": [list(branch) for branch in site.rates],
        "stride": list(site.stride),
        "groups": site.groups,
        "in_channels": site.in_channels,
        "out_channels": site.out_channels,
        "field_in_px": _sizes(site.field_in_px),
        "stride_in_px": _strides(site.stride_in_px),
        "field_out_px": _sizes(site.field_out_px),
        "stride_out_px": _strides(site.stride_out_px),
        "centre_px": _sizes(site.centre_px),
        "bound": _sizes(site.bound),
        "bound_ok": site.bound_ok,
        "fix": site.fix,
        **_gaps(site.gaps),
        "parameters": site.parameters,
        "macs": site.macs,
        "global_context": site.global_context,
        "lower_bound": site.lower_bound,
        "upper_bound": site.upper_bound,
    }


def _output_json(analysis: Analysis, output: OutputReport) -> dict[str, Any]:
    return {
        "name": output.name,
        "node": output.node,
        "size": _sizes(output.size),
        "field_px": _sizes(output.field_px),
        "field_min_px": _sizes(output.field_min_px),
        "lower_bound": is_lower_bound(analysis, output),
        "upper_bound": is_upper_bound(analysis, output),
        "stride_px": _strides(output.stride_px),
        "centre_px": _sizes(output.centre_px),
        "needed_px": list(output.needed_px),
        "global_context": output.global_context,
        **_gaps(output.gaps),
        "largest_path": _path_json(output.largest_path),
        "smallest_path": _path_json(output.smallest_path),
        "hdc": _hdc_json(output.hdc),
    }


def _gaps(gaps: Gaps | None) -> dict[str, Any]:
    names = ("holes", "largest_hole_px", "seen_share", "basis")
    return {name: None if gaps is None else getattr(gaps, name) for name in names}


def _path_json(path: PathReport | None) -> dict[str, Any] | None:
    return None if path is None else {"field_px": list(path.field_px), "nodes": list(path.nodes)}


def _hdc_json(hdc: HdcReport | None) -> dict[str, Any] | None:
    if hdc is None:
        return None
    return {"m2": hdc.m2, "taps": hdc.taps, "rates": list(hdc.rates), "ok": hdc.ok}


def _global_json(found: GlobalReport) -> dict[str, Any]:
    return {"node": found.node, "cause": found.cause, "field_px": _sizes(found.field_px)}


def _sizes(values: Sequence[float] | None) -> list[float] | None:
    return None if values is None else list(values)


def _strides(values: Sequence[int | Fraction] | None) -> list[float] | None:
    return None if values is None else [_plain(value) for value in values]


def _plain(value: float | Fraction) -> float:
    """A fraction as an integer where whole, else as a float; anything else as it is."""
    if isinstance(value, Fraction):
        return value.numerator if value.denominator == 1 else float(value)
    return value
