"""Where the trials of a sweep lie, and that each has its place for itself."""

from pathlib import Path

from dilsearch.baselines.record import trial_folder
from dilsearch.errors import RunError
from dilsearch.runs.folder import RUN_FILE


def free_folder(root: Path, number: int) -> Path:
    """Where a trial is to lie that is begun now.

    Args:
        root: Root folder of the sweep.
        number: Number of the trial.

    Raises:
        RunError: If there is a trial in it already.
    """
    path = root / trial_folder(number)
    if (path / RUN_FILE).exists():
        raise RunError(
            f"{path} holds a trial that another study left, and trial {number} of this one has to "
            "go there. Remove the folder, or write elsewhere with --out."
        )
    return path
