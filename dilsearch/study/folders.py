"""Which runs of a study are finished, as their run folders have it."""

import tomllib
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from dilsearch.errors import DilsearchError, RunError
from dilsearch.runs import SPACE_FILE, RunFolder
from dilsearch.space import SearchSpace
from dilsearch.study.cases import Case


def is_finished(case: Case, root: Path) -> bool:
    """Whether a case's run folder has every stage that the case asks for, of the space as it is.

    A folder that cannot be read, was made by another command, or of a space that has changed since,
    is not finished: the case's command is left to say what is wrong with it.
    """
    try:
        folder = RunFolder.open(root / case.folder)
        command = folder.record.get("command")
        return (
            (command is None or case.made_by(str(command)))
            and folder.record["hashes"].get("space") in (None, _space_hash(case))
            and all(folder.is_finished(stage) for stage in _stages(case, folder))
        )
    except DilsearchError:
        return False


@cache
def _hash_of(space: str, profile: str | None, overrides: tuple[str, ...]) -> str:
    return SearchSpace.load(space, profile, overrides).hash


def _space_hash(case: Case) -> str:
    part = case.part
    return _hash_of(part.space, part.profile, (*part.overrides, *case.variant.overrides))


def _stages(case: Case, folder: RunFolder) -> Sequence[str]:
    if case.part.stages is not None:
        return case.part.stages
    stages = ["search", "convert", "retrain", "evaluate"]
    try:
        space = tomllib.loads(folder.read_text(SPACE_FILE))
    except tomllib.TOMLDecodeError as error:
        raise RunError(f"{folder.path(SPACE_FILE)} is not readable TOML ({error})") from None
    return stages if space.get("control", {}).get("enabled") is False else [*stages, "control"]
