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
    # the newest row first: while rates move, two rows tell
    return all(
        max(row[column] for row in recent) - min(row[column] for row in recent) <= SETTLED_PX
        for column in rate_columns(recent[-1])
    )


def findings(
    first: Mapping[str, float],
    last: Mapping[str, float],
    *,
    limits: Limits,
    steps: int,
    needed_px: int | None = None,
) -> Iterator[str]:
    """What a user should know about how a search ended; nothing if all is well.

    Args:
        first: The trajectory's row before the first step.
        last: Its last row.
        limits: Limits of the rates by site.
        steps: Steps done.
        needed_px: Field that the task asks for, in pixels; None where it is unknown.
    """
    columns = rate_columns(last)
    if max(abs(last[column] - first[column]) for column in columns) <= UNMOVED:
        yield (
            f"no rate moved by more than {UNMOVED} in {steps} steps; search longer "
            "(search.steps), or give a larger search.rate_learning_rate"
        )
    yield from _short_field(last, limits, needed_px)
    yield from _collapses(columns, first, last, limits)


def _short_field(last: Mapping[str, float], limits: Limits, needed_px: int | None) -> Iterator[str]:
    field_px = last.get("field_px")
    if needed_px is None or field_px is None or field_px >= FAR_BELOW * needed_px:
        return
    yield (
        f"the field is {field_px:.0f} px, and {needed_px} px are needed for every pixel to see "
        "every other; search longer (search.steps), raise the upper limits (sites.upper), or set "
        "field.needed_px if the task needs less"
    )


def _collapses(
    columns: Sequence[str],
    first: Mapping[str, float],
    last: Mapping[str, float],
    limits: Limits,
) -> Iterator[str]:
    """Rates that gathered on a limit where they did not begin."""

    def on_limit(row: Mapping[str, float], side: int) -> int:
        return sum(
            abs(row[column] - limits[column.rpartition("[")[0]][side]) <= UNMOVED
            for column in columns
        )

    if on_limit(last, 0) == len(columns) > on_limit(first, 0):
        yield (
            "every rate fell to its lower limit: the loss asks for no larger field; "
            "if you expect one, widen search.smoothing or set search.field_target"
        )
    above, before = on_limit(last, 1), on_limit(first, 1)
    if 2 * above >= len(columns) and above > before:
        yield (
            f"{above} of {len(columns)} rates ended on their upper limit; raise sites.upper, "
            "or lower search.rate_learning_rate if that is more than the task can need"
        )
