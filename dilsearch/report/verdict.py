"""What a run found, in one sentence that claims no more than the run can show."""

from collections.abc import Sequence

from dilsearch.report.tables import (
    RunData,
    broken_sites,
    control_text,
    field_sides,
    field_text,
    needed_px,
)

UNDECIDED = 0.03
"""Two mean IoUs nearer than this are called undecided: a convention, on the careful side of the
spread of about 0.01 that RegSeg's three published seeds show after far longer training."""


def verdict(data: RunData) -> str:
    """One sentence on the search, the rounding and the accuracy, as far as the run has come."""
    clauses = [_search_clause(data), _rounding_clause(data), _accuracy_clause(data)]
    told = "; ".join(clause for clause in clauses if clause)
    if not told:
        return "No stage of this run has finished yet."
    return told[0].upper() + told[1:] + "."


def _search_clause(data: RunData) -> str:
    if data.trajectory is None:
        return ""
    first, last = (data.trajectory["field_px"].iloc[row] for row in (0, -1))
    moved = _movement(field_sides(first), field_sides(last))
    if data.plan_float is not None:
        where = f"from {field_text(first)} to" if moved != "left" else "at"
        return f"search {moved} the field {where} {field_text(last)} px{_against_needed(data)}"
    step = int(data.trajectory["step"].iloc[-1])
    return (
        f"the search has not finished: at step {step} the field is {field_text(last)} px, "
        f"from {field_text(first)} px{_against_needed(data)}"
    )


def _movement(first: tuple[int, int], last: tuple[int, int]) -> str:
    if last == first:
        return "left"
    return "grew" if min(last) >= min(first) and max(last) >= max(first) else "changed"


def _against_needed(data: RunData) -> str:
    needed = needed_px(data)
    if needed is None or data.trajectory is None:
        return ""
    reached = min(field_sides(data.trajectory["field_px"].iloc[-1])) >= needed
    return f" ({needed} needed)" if reached else f" ({needed} needed, not reached)"


def _rounding_clause(data: RunData) -> str:
    if data.plan is None:
        return ""
    parts = [f"rounded{_rounded_field(data)}", _bounds_part(data)]
    holes = data.result("plan", "holes")
    if holes is not None:
        parts.append(f"{int(holes):,} {'hole' if holes == 1 else 'holes'}")
    return ", ".join(part for part in parts if part)


def _rounded_field(data: RunData) -> str:
    """The field after rounding, where it is another than the search ended with."""
    rounded = data.result("plan", "field_px")
    if rounded is None or data.trajectory is None:
        return ""
    searched = data.trajectory["field_px"].iloc[-1]
    return f" to {field_text(rounded)} px" if field_text(rounded) != field_text(searched) else ""


def _bounds_part(data: RunData) -> str:
    broken = broken_sites(data)
    if broken:
        return f"the bound broken at {_listing(broken)}"
    kept = data.result("plan", "bound_ok")
    if kept is False:
        return "a bound broken"
    return "every bound kept" if kept or data.field is not None else ""


def _listing(names: Sequence[str]) -> str:
    if len(names) <= 2:
        return " and ".join(names)
    return f"{names[0]} and {len(names) - 1} more sites"


def _accuracy_clause(data: RunData) -> str:
    retrained, control = (data.result(name, "val", "mean_iou") for name in ("retrain", "control"))
    if retrained is None:
        return _before_retraining(data)
    if control is None:
        return f"retrained mean IoU {retrained:.2f}, with no control to compare with"
    digits = 2 if f"{retrained:.2f}" != f"{control:.2f}" else 3
    told = (
        f"retrained mean IoU {retrained:.{digits}f} against {control:.{digits}f} "
        f"with {control_text(data)}{_far_part(data)}"
    )
    if abs(retrained - control) < UNDECIDED:
        return f"{told}: too close to call from one seed"
    if control > retrained:
        return f"{told}: the control is better (one seed)"
    return f"{told} (one seed)"


def _before_retraining(data: RunData) -> str:
    if data.plan_float is None:
        return ""
    searched = data.result("fractional", "val", "mean_iou")
    before = "" if searched is None else f"mean IoU {searched:.2f} before rounding, "
    return f"{before}{_state(data)} yet, so nothing is known against the control"


def _state(data: RunData) -> str:
    if "retrain" in data.losses:
        return "retrained but not evaluated"
    return "not retrained" if data.plan is not None else "neither rounded nor retrained"


def _far_part(data: RunData) -> str:
    far = [data.result(name, "val", "far_accuracy") for name in ("retrain", "control")]
    if None in far:
        return ""
    return f", far accuracy {far[0]:.2f} against {far[1]:.2f}"
