"""What happened in one trial, as plain text beside its other files."""

import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from rich.console import Console

from dilsearch.errors import DilsearchError
from dilsearch.progress import Reporter


class TrialReporter(Reporter):
    """Writes all that is said to a log, and shows the progress of training beside it.

    Args:
        log: The open log; it is flushed after each line.
        shown: Shows the progress of training, and nothing else.
        name: What the trial is called there.
    """

    def __init__(self, log: TextIO, shown: Reporter, name: str) -> None:
        super().__init__(
            console=Console(file=log, force_terminal=False, color_system=None, highlight=False)
        )
        self._shown = shown
        self._name = name

    @contextmanager
    def training(self, stage: str, steps: int) -> Iterator[Callable[[Mapping[str, float]], None]]:
        """Show one training in both places."""
        shown = self._shown.training(f"{self._name} {stage}", steps)
        with super().training(stage, steps) as note, shown as show:

            def watch(row: Mapping[str, float]) -> None:
                note(row)
                show(row)

            yield watch


@contextmanager
def trial_log(path: Path, shown: Reporter, name: str) -> Iterator[TrialReporter]:
    """Open a trial's log; whatever ends the trial is its last line, and goes on from there.

    Args:
        path: The file.
        shown: Shows the progress of training.
        name: What the trial is called there.
    """
    with path.open("a", encoding="utf-8") as file:
        reporter = TrialReporter(file, shown, name)
        try:
            yield reporter
        except KeyboardInterrupt:
            reporter.say("stopped by the user")
            raise
        except DilsearchError as error:
            reporter.say(f"failed: {error}")
            raise
        except BaseException:  # a fault of the program, which needs its traceback
            reporter.say(f"failed\n{traceback.format_exc().rstrip()}")
            raise
