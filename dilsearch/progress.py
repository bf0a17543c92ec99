"""What a user sees while a run goes on: a live line on a terminal, plain lines elsewhere.

Everything goes to standard error, so that ``--json`` leaves standard output to the result.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

Row = Mapping[str, float]
_LINES_PER_STAGE = 10


class Reporter:
    """Announces stages and shows their progress.

    Args:
        quiet: Show nothing but errors.
        console: Where to write; standard error if None.
    """

    def __init__(self, *, quiet: bool = False, console: Console | None = None) -> None:
        self.console = console or Console(stderr=True, quiet=quiet, highlight=False)

    def say(self, text: str) -> None:
        """One line of plain text."""
        self.console.print(text, markup=False, soft_wrap=True)

    @contextmanager
    def training(self, stage: str, steps: int) -> Iterator[Callable[[Row], None]]:
        """Show one training; gives the function that takes each row of its history."""
        show = self._live if self.console.is_terminal and not self.console.quiet else self._plain
        with show(stage, steps) as watch:
            yield watch

    @contextmanager
    def _live(self, stage: str, steps: int) -> Iterator[Callable[[Row], None]]:
        progress = Progress(
            TextColumn("[bold]{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("eta"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[figures]}"),
            console=self.console,
            refresh_per_second=4,
        )
        figures = _Figures()
        with progress:
            task = progress.add_task(stage, total=steps, figures="")

            def watch(row: Row) -> None:
                text = figures.text(row).replace("[", r"\[")
                progress.update(task, completed=int(row["step"]), figures=text)

            yield watch

    @contextmanager
    def _plain(self, stage: str, steps: int) -> Iterator[Callable[[Row], None]]:
        figures = _Figures()
        started = time.monotonic()
        every = max(steps // _LINES_PER_STAGE, 1)
        first = 0

        def watch(row: Row) -> None:
            nonlocal first
            step = int(row["step"])
            first = first or step
            text = figures.text(row)
            if step % every == 0 or step == steps:
                done = step - first + 1
                left = (time.monotonic() - started) / done * (steps - step)
                self.say(f"{stage} {step}/{steps}  eta {left:.0f} s  {text}")

        yield watch


class _Figures:
    """The figures beside a progress bar; mean IoU is remembered between the steps that have it."""

    def __init__(self) -> None:
        self._mean_iou = 0.0

    def text(self, row: Row) -> str:
        self._mean_iou = row.get("batch_mean_iou", self._mean_iou)
        parts = [f"loss {row['loss']:.3f}", f"batch mIoU {self._mean_iou:.2f}"]
        if "field_px" in row:
            parts.append(f"field {row['field_px']:.0f} px")
        rates = _rates_by_site(row)
        if rates:
            parts.append("rates " + " ".join(rates))
        return "  ".join(parts)


def _rates_by_site(row: Row) -> list[str]:
    """All rates of a few, ``(1.0,2.5)`` or ``(1.0x1.5)`` by axis; of many, ``(1.0 to 9.0)``."""
    sites: dict[str, dict[str, str]] = {}
    for column, value in row.items():
        site, bracket, label = column.partition("[")
        if bracket:
            sites.setdefault(site, {})[label.removesuffix("]")] = f"{value:.1f}"
    return [f"({_in_short(rates)})" for rates in sites.values()]


def _in_short(rates: Mapping[str, str]) -> str:
    if rates.keys() >= {"min", "max"}:
        return f"{rates['min']} to {rates['max']}"
    branches: dict[str, list[str]] = {}
    for label, rate in rates.items():
        branches.setdefault(label.partition(".")[0], []).append(rate)
    return ",".join("x".join(axes) for axes in branches.values())
