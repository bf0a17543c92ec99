"""Which runs of a study are finished, as their run folders have it."""

import tomllib
from collections.abc import Sequence
from pathlib import Path

from dilsearch.errors import RunError
from dilsearch.runs import SPACE_FILE, RunFolder
from dilsearch.study.cases import Case


def is_finished(case: Case, root: Path) -> bool:
    """Whether a case's run folder has every stage that the case asks for, by its own command.

    A folder that cannot be read, or was made by another command, is not finished: the case's
    command is left to say what is wrong with it.
    """
    try:
        folder = RunFolder.open(root / case.folder)
        command = folder.record.get("command")
        return (command is None or case.made_by(str(command))) and all(
            folder.is_finished(stage) for stage in _stages(case, folder)
        )
    except RunError:
        return False


def _stages(case: Case, folder: RunFolder) -> Sequence[str]:
    if case.part.stages is not None:
        return case.part.stages
    stages = ["search", "convert", "retrain", "evaluate"]
    try:
        space = tomllib.loads(folder.read_text(SPACE_FILE))
    except tomllib.TOMLDecodeError as error:
        raise RunError(f"{folder.path(SPACE_FILE)} is not readable TOML ({error})") from None
    return stages if space.get("control", {}).get("enabled") is False else [*stages, "control"]
