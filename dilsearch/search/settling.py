"""When a search is done, and what went wrong if it did not get anywhere."""

from collections.abc import Iterator, Mapping, Sequence

from dilsearch.geometry.project import Limits
from dilsearch.runs.rate_columns import is_extreme, rate_columns, site_of

REMEDY = (
    "select more sites, deepen the network, raise upper limits that lie below the bound, or set "
    "another needed_px if the task asks for less"
)
"""What helps where limits and bounds leave the needed field out of reach."""
SETTLED_PX = 0.1
SETTLED_SHARE = 0.01
UNMOVED = 0.05
FAR_BELOW = 0.9


def tolerance_px(lower: float, upper: float) -> float:
    """Movement that still counts as none: 0.1 px, or 1 % of what the limits leave if that is less.

    So little decides no rounding but where a rate lies on an integer already.
    """
    return min(SETTLED_PX, SETTLED_SHARE * (upper - lower))


def settled(history: Sequence[Mapping[str, float]], patience: int, *, limits: Limits) -> bool:
    """Whether no rate has moved by more than its tolerance over the last ``patience`` steps.

    A site with many rates rests when their smallest, mean and largest do.

    Args:
        history: Rows of a search, newest last.
        patience: How many steps rates have to keep still; 0 never settles.
        limits: Limits of the rates by site, from which the tolerances follow.
    """
    if patience == 0 or len(history) <= patience:
        return False
    recent = history[-patience - 1 :]
    return all(
        _range_px(recent, column) <= tolerance_px(*limits[site_of(column)])
        for column in rate_columns(recent[-1])
    )


def findings(
    history: Sequence[Mapping[str, float]],
    *,
    limits: Limits,
    needed_px: int | None = None,
    widest_px: int | None = None,
) -> Iterator[str]:
    """What a user should know about how a search ended; nothing if all is well.

    Args:
        history: The row before the first step, then one row a step.
        limits: Limits of the rates by site.
        needed_px: Field that the task asks for, in pixels; None where it is unknown.
        widest_px: Field that limits and bounds allow, in pixels; None where it is unknown.
    """
    last = history[-1]
    columns = [name for name in rate_columns(last) if len({*limits[site_of(name)]}) == 2]
    moved = any(_range_px(history, column) > UNMOVED for column in columns)
    if not moved:
        yield _unmoved(history, columns, limits, widest_px)
    field_px = last.get("field_px")
    if needed_px is not None and field_px is not None and field_px < FAR_BELOW * needed_px:
        yield _short(round(field_px), needed_px, widest_px)
    if moved:
        yield from _collapses(columns, history, limits, needed_px)


def _unmoved(
    history: Sequence[Mapping[str, float]],
    columns: Sequence[str],
    limits: Limits,
    widest_px: int | None,
) -> str:
    """Rates without room need other advice than rates without a push."""
    lowest = all(history[0][name] <= limits[site_of(name)][0] for name in columns)
    if lowest and (not columns or widest_px == history[0].get("field_px", -1)):
        return (
            "no rate had room to move: limits and gap bound hold every one where it is; raise the "
            'upper limits, select sites further down the network, or search with gap = "report"'
        )
    return (
        f"no rate moved by more than {UNMOVED} in {len(history) - 1} steps; search longer, or "
        "give the rates a larger learning rate"
    )


def _short(field_px: int, needed_px: int, widest_px: int | None) -> str:
    found = f"the field is {field_px} px and {needed_px} px are needed"
    if widest_px is not None and widest_px < needed_px:
        return f"{found}, but limits and bounds allow {widest_px} px at most; {REMEDY}"
    return (
        f"{found}; search longer, raise the upper limits, pull harder (field_target), or set "
        "another needed_px if the task asks for less"
    )


def _range_px(history: Sequence[Mapping[str, float]], column: str) -> float:
    values = [row[column] for row in history]
    return max(values) - min(values)


def _collapses(
    columns: Sequence[str],
    history: Sequence[Mapping[str, float]],
    limits: Limits,
    needed_px: int | None,
) -> Iterator[str]:
    """Rates that were elsewhere and gathered on a limit."""
    columns = [column for column in columns if not is_extreme(column)]

    def on_limit(row: Mapping[str, float], side: int) -> int:
        return sum(
            abs(row[column] - limits[site_of(column)][side]) <= UNMOVED for column in columns
        )

    if on_limit(history[-1], 0) == len(columns):
        pull = "give its needed_px" if needed_px is None else "pull harder (field_target)"
        yield (
            "every rate fell back to its lower limit: the loss asks for no larger field; if you "
            f"expect one, {pull}, or widen the smoothing"
        )
    above, before = on_limit(history[-1], 1), on_limit(history[0], 1)
    if 2 * above >= len(columns) and above > before:
        yield (
            f"{above} of {len(columns)} rates ended on their upper limit; raise the limits, or "
            "lower the learning rate of the rates if that is more than the task can need"
        )
