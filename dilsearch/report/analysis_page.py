"""The page of an analysis: verdict, figures and tables of a network's fields, in one file.

The page is made from plain values, as ``dilsearch analyze --json`` prints them, so that it needs
neither the network nor torch. Every text is escaped by the template engine.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from dilsearch.report.figures import as_svg
from dilsearch.report.pages import Card, data_uri, page_template
from dilsearch.report.sizes import (
    axes_of,
    count_text,
    number_text,
    range_text,
    rates_text,
    reach,
    size_text,
    whole_text,
)
from dilsearch.runs import write_atomically

_TIMES = "\N{MULTIPLICATION SIGN}"
_AT_LEAST = "\N{GREATER-THAN OR EQUAL TO}\N{NO-BREAK SPACE}"
_AT_MOST = "\N{LESS-THAN OR EQUAL TO}\N{NO-BREAK SPACE}"
_ABOUT = "\N{ALMOST EQUAL TO}\N{NO-BREAK SPACE}"
_NONE = "\N{EN DASH}"
_GLOBAL = "global"

_WIDE_IN = 7.0
"""A figure wider than this gets the width of the page, so that its text stays readable."""

_FIGURES = {
    "coverage": (
        "Input pixels that one output position sees, shaded by the number of paths to each",
        "What one position sees of the input: the more paths lead to a pixel, the darker it is (in "
        "a series, the higher its bar). Orange pixels lie inside the field and are never seen; a "
        "regular pattern of them is the gridding that rates above their bounds leave.",
    ),
    "growth": (
        "Field of view by depth along the largest path, against the needed field",
        "How the field grows along the largest path, one step for each node that widens it. Steep "
        "steps come from large rates and strides; the line to reach is the needed field.",
    ),
    "bounds": (
        "Dilation rate of every site against its bound",
        "Rates against bounds, in the order of the forward pass. A dot within the blue keeps its "
        "bound and leaves no gap; a cross above it can skip pixels. The scale is logarithmic.",
    ),
    "effective": (
        "Gradient magnitude of one output position over the input image",
        "Where the position really looks: the magnitude of its gradient at every pixel. It fades "
        "towards the edge of the field, because few paths lead there.",
    ),
}


@dataclass(frozen=True, slots=True)
class _Picture:
    """A figure as the page shows it."""

    name: str
    address: str
    text: str
    caption: str
    wide: bool


def write_page(
    values: Mapping[str, Any],
    path: Path,
    figures: Mapping[str, Figure],
    notes: Sequence[str] = (),
) -> None:
    """Write an analysis as one HTML page that needs nothing else.

    Args:
        values: The analysis as plain values, as ``Analysis.to_json`` gives them.
        path: The file, written whole or not at all.
        figures: Name to figure, shown in this order; ``coverage``, ``growth``, ``bounds`` and
            ``effective`` get captions that say how to read them, any other has its name for one.
        notes: Sentences on how the analysis was made, such as where the weights come from.
    """
    pictures = [_picture(name, figure) for name, figure in figures.items()]
    write_atomically(path, render_page(values, pictures, notes))


def render_page(
    values: Mapping[str, Any], pictures: Sequence[_Picture] = (), notes: Sequence[str] = ()
) -> str:
    """The page as text."""
    return page_template("analysis.html.j2").render(
        title=values["model"],
        subtitle=f"input of {whole_text(values['input_px'], _TIMES)} px",
        verdict=values["verdict"],
        notes=notes,
        unfollowed=values["unfollowed"],
        remarks=values["remarks"],
        cards=list(_cards(values)),
        pictures=pictures,
        sites=[_site_row(site) for site in values["sites"]],
        outputs=[_output_row(output) for output in values["outputs"]],
        global_nodes=[_global_row(found) for found in values["global_nodes"]],
        bases=_bases(values),
        model=_model_rows(values),
    )


def _picture(name: str, figure: Figure) -> _Picture:
    plain = name.replace("_", " ").capitalize()
    text, caption = _FIGURES.get(name, (plain, plain + "."))
    wide = bool(figure.get_figwidth() > _WIDE_IN)
    return _Picture(name, data_uri(as_svg(figure), "svg+xml"), text, caption, wide)


def _cards(values: Mapping[str, Any]) -> Iterator[Card]:
    first = values["outputs"][0]
    yield _field_card(first)
    if first["stride_px"] is not None:
        note = "input pixels between positions"
        yield Card("Stride", f"{size_text(first['stride_px'], _TIMES)} px", note)
    bounded = [site["bound_ok"] for site in values["sites"] if site["bound_ok"] is not None]
    if bounded:
        kept = f"{sum(bounded):,} of {len(bounded):,}"
        # behind what could not be followed, a bound that seems kept is not known to be
        good = False if not all(bounded) else None if values["unfollowed"] else True
        yield Card("Bounds kept", kept, "sites: rate at most field / stride", good)
    if first["holes"] is not None:
        certain = first["basis"] != "axes" and not first["lower_bound"]
        good = False if first["holes"] else True if certain else None
        note = f"pixels unseen in the field; {_share(first['seen_share'])} seen"
        yield Card("Holes", _holes(first), note, good)
    yield Card("Parameters", count_text(values["parameters"]), f"{values['parameters']:,}")
    macs = values["macs"]
    yield Card("MACs", count_text(macs), "multiply-accumulates; a FLOP count is twice this")


def _field_card(output: Mapping[str, Any]) -> Card:
    label = f"Field at {output['name']}"
    if output["field_px"] is None:
        if output["global_context"]:
            return Card(label, "whole image", "through global context; no field of its own")
        return Card(label, "none")
    needed, low = output["needed_px"], output["field_min_px"] or output["field_px"]
    reached = reach(output["field_px"], low, needed)
    note = f"{size_text(needed, _TIMES)} px needed"
    if "all" in reached and set(reached) != {"all"}:
        axes = [name for name, r in zip(axes_of(needed), reached, strict=True) if r == "all"]
        note += f", covered in {' and '.join(axes)} only"
    elif "some" in reached:
        note += ", covered at some positions only"
    covered = set(reached) == {"all"}
    good = None if _unsure(output, covered) else covered
    return Card(label, _field(output, _TIMES) + " px", note, good)


def _site_row(site: Mapping[str, Any]) -> dict[str, Any]:
    what = f"{site['kind']}, {site['in_channels']:,} \N{RIGHTWARDS ARROW} {site['out_channels']:,}"
    if site["groups"] > 1:
        what += f", {site['groups']:,} groups"
    return {
        "parts": re.findall(r"[^.]*\.|[^.]+", site["name"]),
        "what": what,
        "kernel": size_text(site["kernel"], _TIMES),
        "rates": rates_text(site["rates"], _TIMES),
        "field_in": _size(site["field_in_px"], _GLOBAL),
        "stride_in": _size(site["stride_in_px"]),
        "bound": _size(site["bound"]),
        "bound_ok": site["bound_ok"],
        "fix": site["fix"].replace("->", "\N{RIGHTWARDS ARROW}"),
        "field_out": _size(site["field_out_px"], _GLOBAL),
        "holes": _holes(site),
        "largest_hole": _number(site["largest_hole_px"]),
        "seen": _NONE if site["seen_share"] is None else _share(site["seen_share"]),
        "parameters": count_text(site["parameters"]),
        "macs": count_text(site["macs"]),
    }


def _output_row(output: Mapping[str, Any]) -> dict[str, Any]:
    field = _GLOBAL if output["global_context"] else _NONE
    covered = ""
    if output["field_px"] is not None:
        field = _field(output, _TIMES)
        reached = reach(output["field_px"], output["field_min_px"], output["needed_px"])
        enough = set(reached) == {"all"}
        covered = "unknown" if _unsure(output, enough) else "yes" if enough else "no"
    hdc = output["hdc"]
    paths = [(name, output[f"{name.lower()}_path"]) for name in ("Largest", "Smallest")]
    return {
        "name": output["name"],
        "size": _size(output["size"]),
        "field": field,
        "stride": _size(output["stride_px"]),
        "needed": _size(output["needed_px"]),
        "covered": covered,
        "holes": _holes(output),
        "largest_hole": _number(output["largest_hole_px"]),
        "seen": _NONE if output["seen_share"] is None else _share(output["seen_share"]),
        "global_context": "yes" if output["global_context"] else "no",
        "hdc": None if hdc is None else _hdc_text(hdc),
        "paths": [
            {"name": name, "field": _size(path["field_px"]), "nodes": path["nodes"]}
            for name, path in paths
            if path is not None
        ],
    }


def _hdc_text(hdc: Mapping[str, Any]) -> str:
    sign = "\N{LESS-THAN OR EQUAL TO}" if hdc["ok"] else ">"
    rates = ", ".join(map(str, hdc["rates"]))
    return f"{hdc['m2']} {sign} {hdc['taps']} taps, for rates {rates}"


def _global_row(found: Mapping[str, Any]) -> dict[str, str]:
    front = _size(found["field_px"], "global as well")
    return {"node": found["node"], "cause": found["cause"], "field": front}


def _bases(values: Mapping[str, Any]) -> set[str]:
    return {each["basis"] for each in (*values["sites"], *values["outputs"]) if each["basis"]}


def _model_rows(values: Mapping[str, Any]) -> list[tuple[str, str]]:
    shapes = [f" {_TIMES} ".join(map(str, shape)) for shape in values["inputs"]]
    return [
        ("Model", values["model"]),
        ("Input shapes" if len(shapes) > 1 else "Input shape", "; ".join(shapes)),
        ("Sites", f"{len(values['sites']):,} convolutions of two taps or more"),
        ("Parameters", f"{values['parameters']:,}"),
        ("Multiply-accumulates", f"{values['macs']:,} for one forward pass on this input"),
    ]


def _unsure(output: Mapping[str, Any], covered: bool) -> bool:
    """Whether a field that covers may be smaller than it says, or one that does not larger."""
    return bool(output["upper_bound"] if covered else output["lower_bound"])


def _field(output: Mapping[str, Any], times: str) -> str:
    signs = {(True, False): _AT_LEAST, (False, True): _AT_MOST, (True, True): _ABOUT}
    least = signs.get((output["lower_bound"], output["upper_bound"]), "")
    low = output["field_min_px"] or output["field_px"]
    return least + range_text(low, output["field_px"], times)


def _size(size: Sequence[float] | None, missing: str = _NONE) -> str:
    return missing if size is None else size_text(size, _TIMES)


def _number(value: float | None) -> str:
    return _NONE if value is None else number_text(value)


def _holes(counted: Mapping[str, Any]) -> str:
    if counted["holes"] is None:
        return _NONE
    return ("" if counted["basis"] != "axes" else _AT_LEAST) + f"{counted['holes']:,}"


def _share(seen: float) -> str:
    """A share in percent that says 100 and 0 only where it is exactly that."""
    percent = 100 * seen
    if 99.95 <= percent < 100:
        return "over 99.9\N{NO-BREAK SPACE}%"
    if 0 < percent < 0.05:
        return "under 0.1\N{NO-BREAK SPACE}%"
    return f"{percent:.1f}".removesuffix(".0") + "\N{NO-BREAK SPACE}%"
