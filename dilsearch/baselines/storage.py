"""Where the trials of a sweep are kept, and what each kind of storage gives.

Any number of workers share a storage. A database (SQLite, PostgreSQL, MySQL) also keeps
heartbeats, so that the trial of a worker that was killed is noticed by the others; a journal, in a
file or in Redis, does not.
"""

import importlib.util
import json
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, TypeVar

import optuna
from optuna.exceptions import ExperimentalWarning, StorageInternalError
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend, JournalRedisBackend
from sqlalchemy import URL

from dilsearch.baselines.addresses import shown_url as shown_url
from dilsearch.baselines.databases import (
    KINDS,
    check_parent,
    full_text,
    make_database,
    read_url,
    refuse,
)
from dilsearch.baselines.databases import cause_of as cause_of
from dilsearch.errors import SweepError
from dilsearch.runs.differences import differences

DATABASE_FILE: Final = "study.db"
DESCRIPTION: Final = "description"
"""User attribute of a study that says what its workers have to agree on."""

_JOURNAL_SUFFIXES: Final = (".journal", ".log")
_PATIENCE_SECONDS: Final = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0)
_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class OpenedStorage:
    """A storage that workers share.

    Args:
        storage: What Optuna works with.
        url: Its address, without any password.
        heartbeats: Whether a killed worker's trial is noticed.
        statement: What it gives, in plain words.
        heartbeat_seconds: How often a worker gives a sign of life while it trains.
        grace_seconds: After how long without one its trial is given up.
    """

    storage: BaseStorage
    url: str
    heartbeats: bool
    statement: str
    heartbeat_seconds: int
    grace_seconds: int

    def close(self) -> None:
        """Let go of the connections, if there are any."""
        if isinstance(self.storage, RDBStorage):
            self.storage.remove_session()
            self.storage.engine.dispose()


def open_storage(
    text: str | None, folder: Path, *, heartbeat_seconds: int = 5, grace_seconds: int = 15
) -> OpenedStorage:
    """Open a storage, and make it if it is a file that is not there yet.

    Args:
        text: The URL of a database or of Redis, or a journal file (``PATH.journal``, ``PATH.log``
            or ``journal:PATH``); without it, the SQLite file ``study.db`` in the folder.
        folder: Root folder of the sweep.
        heartbeat_seconds: How often a worker gives a sign of life.
        grace_seconds: After how long without one a trial is given up.

    Raises:
        SweepError: If there is no such storage, it cannot be reached or used, or the times are
            such that living workers would be given up.
    """
    _check_times(heartbeat_seconds, grace_seconds)
    beat = (heartbeat_seconds, grace_seconds)
    if text is None:
        folder.mkdir(parents=True, exist_ok=True)
        return _open_database(URL.create("sqlite", database=str(folder / DATABASE_FILE)), *beat)
    if text.startswith(("redis://", "rediss://")):
        return _open_redis(text, *beat)
    if text.startswith("journal:"):
        return _open_journal(Path(text.removeprefix("journal:")), *beat)
    if "://" in text:
        return _open_database(read_url(text), *beat)
    if text.endswith(_JOURNAL_SUFFIXES):
        return _open_journal(Path(text), *beat)
    raise SweepError(f"storage '{shown_url(text)}' is neither a URL nor a journal file. {KINDS}.")


def open_study(
    opened: OpenedStorage,
    name: str,
    directions: Sequence[Literal["maximize", "minimize"]],
    description: Mapping[str, Any],
    *,
    pruner: optuna.pruners.BasePruner | None = None,
) -> optuna.Study:
    """Begin a study, or join the one of this name.

    Args:
        opened: Where it is kept.
        name: Its name there.
        directions: Of its objectives.
        description: What every worker has to agree on, as JSON; the first one writes it down.
        pruner: What decides whether a trial is ended early.

    Raises:
        SweepError: If the study of this name was begun with another description, or is not one
            of a sweep.
    """
    study = optuna.create_study(
        storage=opened.storage,
        study_name=name,
        directions=list(directions),
        pruner=pruner,
        load_if_exists=True,
    )
    wanted = json.loads(json.dumps({**description, "directions": list(directions)}))
    if DESCRIPTION not in study.user_attrs:
        if study.get_trials(deepcopy=False):
            raise SweepError(
                f"study '{name}' in {opened.url} was not begun by a sweep. Give another name with "
                "--study."
            )
        study.set_user_attr(DESCRIPTION, wanted)
    # Read again: of two who begin it at once, the one whose words were overwritten is told.
    found = list(differences(study.user_attrs[DESCRIPTION], wanted))
    if found:
        raise SweepError(
            f"study '{name}' in {opened.url} was begun with other settings: {'; '.join(found)}. "
            "Give the command that began it, or another name with --study."
        )
    return study


def patiently(action: Callable[[], _Result]) -> _Result:
    """Do something that may be done twice, again after a pause where the database stumbles.

    A server that is restarted must not cost hours of training.

    Raises:
        StorageInternalError: If it still stumbles after half a minute.
    """
    for pause in _PATIENCE_SECONDS:
        try:
            return action()
        except StorageInternalError:
            time.sleep(pause)
    return action()


def _check_times(heartbeat_seconds: int, grace_seconds: int) -> None:
    if heartbeat_seconds < 1:
        raise SweepError(
            f"a heartbeat every {heartbeat_seconds} s is too often: databases count whole seconds. "
            "Give --heartbeat 1 or more."
        )
    if grace_seconds < 2 * heartbeat_seconds:
        raise SweepError(
            f"a grace of {grace_seconds} s would give up living workers, whose heartbeats come "
            f"every {heartbeat_seconds} s. Give --grace {2 * heartbeat_seconds} or more."
        )


def _open_database(url: URL, heartbeat_seconds: int, grace_seconds: int) -> OpenedStorage:
    shown = shown_url(full_text(url))
    storage = make_database(url, heartbeat_seconds, grace_seconds)
    if url.get_backend_name() == "sqlite":
        place = f"SQLite file {url.database}: any number of workers on this host share it"
        more = " For several hosts give the URL of a PostgreSQL or MySQL server with --storage."
    else:
        place = f"database {shown}: any number of workers on any number of hosts share it"
        more = ""
    statement = (
        f"{place}; a trial whose worker gives no sign of life for {grace_seconds} s is given up "
        f"and trained once more.{more}"
    )
    return OpenedStorage(storage, shown, True, statement, heartbeat_seconds, grace_seconds)


def _open_journal(path: Path, heartbeat_seconds: int, grace_seconds: int) -> OpenedStorage:
    check_parent(path, str(path))
    try:
        storage = JournalStorage(JournalFileBackend(str(path)))
    except (OSError, ValueError, KeyError) as error:
        raise SweepError(
            f"storage {path} is no journal that can be used: {cause_of(error)}. {KINDS}."
        ) from None
    place = f"journal file {path}: any number of workers on hosts that see this file share it"
    return _without_heartbeats(storage, str(path), place, heartbeat_seconds, grace_seconds)


def _open_redis(text: str, heartbeat_seconds: int, grace_seconds: int) -> OpenedStorage:
    url = read_url(text)
    shown = shown_url(text)
    if importlib.util.find_spec("redis") is None:
        raise SweepError(
            f"storage {shown}: the Python package that speaks to it is not installed. "
            "Install it with: pip install redis."
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            storage = JournalStorage(_RedisWithoutSnapshots(text))
    except Exception as error:
        refuse(error, url)
    place = f"journal in {shown}: any number of workers on any number of hosts share it"
    return _without_heartbeats(storage, shown, place, heartbeat_seconds, grace_seconds)


def _without_heartbeats(
    storage: JournalStorage, shown: str, place: str, heartbeat_seconds: int, grace_seconds: int
) -> OpenedStorage:
    statement = (
        f"{place}; it has no heartbeats, so that the trial of a killed worker stays 'running' "
        "until somebody gives it up with --give-up NUMBER."
    )
    return OpenedStorage(storage, shown, False, statement, heartbeat_seconds, grace_seconds)


class _RedisWithoutSnapshots(JournalRedisBackend):
    """A journal in Redis that is read from its beginning.

    Snapshots are pickled, and whoever can write to the server could have us run their code.
    """

    def save_snapshot(self, snapshot: bytes) -> None:
        """Keep nothing."""

    def load_snapshot(self) -> bytes | None:
        """Nothing was kept."""
        return None
