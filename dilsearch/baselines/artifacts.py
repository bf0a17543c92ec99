"""Files of a trial, beside it in a dashboard.

``optuna-dashboard sqlite:///ROOT/study.db --artifact-dir ROOT/artifacts`` shows them.
"""

import shutil
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from optuna import Study
from optuna.artifacts import FileSystemArtifactStore, get_all_artifact_meta, upload_artifact
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, Trial

ARTIFACTS_FOLDER: Final = "artifacts"


def attach(
    storage: BaseStorage,
    owner: Trial | FrozenTrial | Study,
    files: Mapping[str, Path],
    folder: Path,
) -> tuple[str, ...]:
    """Copy files into the sweep's store and note in the study whose they are.

    A trial that is finished takes no more, so this comes before it is told. A file that is not
    there is left out: a log less is no reason to lose a trained trial.

    Args:
        storage: The study's.
        owner: The trial, or the study itself.
        files: Name to show it under, to the file; paths are relative to ``folder``, or absolute.
        folder: Root folder of the sweep.

    Returns:
        The names that were attached.
    """
    found = {name: folder / path for name, path in files.items()}
    present = {name: path for name, path in found.items() if path.is_file()}
    if not present:
        return ()
    base = folder / ARTIFACTS_FOLDER
    base.mkdir(parents=True, exist_ok=True)
    store = FileSystemArtifactStore(base)
    with TemporaryDirectory() as scratch:
        for name, path in present.items():
            shown = path
            if path.name != name:  # what is shown is the file's own name
                shown = Path(shutil.copyfile(path, Path(scratch) / name))
            upload_artifact(
                artifact_store=store, file_path=str(shown), study_or_trial=owner, storage=storage
            )
    return tuple(present)


def attached(storage: BaseStorage, owner: Trial | FrozenTrial | Study) -> tuple[str, ...]:
    """Names of the files attached to a trial or a study."""
    return tuple(meta.filename for meta in get_all_artifact_meta(owner, storage=storage))
