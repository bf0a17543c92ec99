"""When a search is done, and what went wrong if it did not get anywhere."""

from collections.abc import Iterator, Mapping, Sequence

Limits = Mapping[str, tuple[int, int]]
"""Lower and upper limit by site."""

SETTLED_PX = 0.1
"""Rates that stay within so little for long enough are settled: it decides no rounding but where a
rate lies on an integer already."""
UNMOVED = 0.05
FAR_BELOW = 0.9


def rate_columns(row: Mapping[str, float]) -> list[str]:
    """The columns of a trajectory that hold rates, named ``SITE[BRANCH]``."""
    return [column for column in row if column.endswith("]")]


def settled(history: Sequence[Mapping[str, float]], patience: int) -> bool:
    """Whether no rate has moved by more than ``SETTLED_PX`` over the last ``patience`` steps.

    Args:
        history: Rows of a search, newest last.
        patience: How many steps rates have to keep still; 0 never settles.
    """
    if patience == 0 or len(history) <= patience:
        return False
    recent = history[-patience - 1 :]
    return all(
        max(row[column] for row in recent) - min(row[column] for row in recent) <= SETTLED_PX
        for column in rate_columns(recent[-1])
    )


def findings(
    history: Sequence[Mapping[str, float]], *, limits: Limits, needed_px: int | None = None
) -> Iterator[str]:
    """What a user should know about how a search ended; nothing if all is well.

    Args:
        history: The row before the first step, then one row a step.
        limits: Limits of the rates by site.
        needed_px: Field that the task asks for, in pixels; None where it is unknown.
    """
    last = history[-1]
    columns = rate_columns(last)
    moved = any(_range_px(history, column) > UNMOVED for column in columns)
    if not moved:
        yield (
            f"no rate moved by more than {UNMOVED} in {len(history) - 1} steps; search longer, or "
            "give the rates a larger learning rate"
        )
    field_px = last.get("field_px")
    if needed_px is not None and field_px is not None and field_px < FAR_BELOW * needed_px:
        yield (
            f"the field is {field_px:.0f} px and {needed_px} px are needed; search longer, raise "
            "the upper limits, pull harder (field_target), or set another needed_px if the task "
            "asks for less"
        )
    if moved:
        yield from _collapses(columns, history, limits)


def _range_px(history: Sequence[Mapping[str, float]], column: str) -> float:
    values = [row[column] for row in history]
    return max(values) - min(values)


def _collapses(
    columns: Sequence[str], history: Sequence[Mapping[str, float]], limits: Limits
) -> Iterator[str]:
    """Rates that were elsewhere and gathered on a limit."""

    def on_limit(row: Mapping[str, float], side: int) -> int:
        return sum(
            abs(row[column] - limits[column.rpartition("[")[0]][side]) <= UNMOVED
            for column in columns
        )

    if on_limit(history[-1], 0) == len(columns):
        yield (
            "every rate fell back to its lower limit: the loss asks for no larger field; if you "
            "expect one, give its needed_px, or widen the smoothing"
        )
    above, before = on_limit(history[-1], 1), on_limit(history[0], 1)
    if 2 * above >= len(columns) and above > before:
        yield (
            f"{above} of {len(columns)} rates ended on their upper limit; raise the limits, or "
            "lower the learning rate of the rates if that is more than the task can need"
        )
