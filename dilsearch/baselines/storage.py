"""Where the trials of a sweep are kept, and what each kind of storage gives.

Any number of workers share a storage. A database (SQLite, PostgreSQL, MySQL) also keeps
heartbeats, so that the trial of a worker that was killed is noticed by the others; a journal, in a
file or in Redis, does not.
"""

import importlib.util
import json
import random
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, NoReturn, TypeVar

import optuna
from optuna.exceptions import ExperimentalWarning, StorageInternalError
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend, JournalRedisBackend
from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError, IntegrityError, NoSuchModuleError

from dilsearch.baselines.sqlite_file import BUSY_SECONDS, SqliteStorage, keep_a_log
from dilsearch.errors import SweepError
from dilsearch.runs.differences import differences

STUDY_FILE: Final = "study.db"
DESCRIPTION: Final = "description"
"""User attribute of a study that says what its workers have to agree on."""

_JOURNAL_SUFFIXES: Final = (".journal", ".log")
_OPENING_ATTEMPTS: Final = 20
_PATIENCE_SECONDS: Final = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0)
_KINDS: Final = (
    "Give a URL such as postgresql://user@host/name or sqlite:////path/study.db, "
    "or a file whose name ends in .journal"
)

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
        return _open_database(URL.create("sqlite", database=str(folder / STUDY_FILE)), *beat)
    if text.startswith(("redis://", "rediss://")):
        return _open_redis(text, *beat)
    if text.startswith("journal:"):
        return _open_journal(Path(text.removeprefix("journal:")), *beat)
    if "://" in text:
        return _open_database(_url_of(text), *beat)
    if text.endswith(_JOURNAL_SUFFIXES):
        return _open_journal(Path(text), *beat)
    raise SweepError(f"storage '{text}' is neither a URL nor a journal file. {_KINDS}.")


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


def _url_of(text: str) -> URL:
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        # The text may hold a password, so that only its first part is repeated.
        raise SweepError(
            f"the storage URL '{text.partition('://')[0]}://...' cannot be read. {_KINDS}."
        ) from None
    if url.drivername == "sqlite" and url.database in (None, "", ":memory:"):
        raise SweepError(
            f"storage '{text}' lies in memory, where no other worker finds it. Give a file, such "
            "as sqlite:////path/study.db."
        )
    has_new_driver = importlib.util.find_spec("psycopg") is not None
    if url.drivername in ("postgresql", "postgres") and has_new_driver:
        return url.set(drivername="postgresql+psycopg")
    return url


def _open_database(url: URL, heartbeat_seconds: int, grace_seconds: int) -> OpenedStorage:
    shown = url.render_as_string(hide_password=True)
    storage = _make_database(url, shown, heartbeat_seconds, grace_seconds)
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


def _make_database(url: URL, shown: str, heartbeat_seconds: int, grace_seconds: int) -> RDBStorage:
    is_sqlite = url.get_backend_name() == "sqlite"
    if is_sqlite:
        _check_parent(Path(str(url.database)), shown)
    kind = SqliteStorage if is_sqlite else RDBStorage
    connect = {"connect_args": {"timeout": BUSY_SECONDS}} if is_sqlite else {}
    # Optuna fills {SCHEMA_VERSION} into the text: other braces have to be doubled.
    text = url.render_as_string(hide_password=False).replace("{", "{{").replace("}", "}}")
    for attempt in range(_OPENING_ATTEMPTS):
        try:
            if is_sqlite:
                keep_a_log(str(url.database))
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ExperimentalWarning)  # heartbeats
                return kind(
                    text,
                    engine_kwargs={"pool_pre_ping": True, **connect},
                    heartbeat_interval=heartbeat_seconds,
                    grace_period=grace_seconds,
                )
        except Exception as error:
            if not _is_race(error) or attempt == _OPENING_ATTEMPTS - 1:
                _refuse(error, url, shown)
            time.sleep(random.uniform(0.02, 0.2))
    raise AssertionError("the last attempt returns or raises")


def _is_race(error: Exception) -> bool:
    """Whether two workers that make the tables at once would see this."""
    text = str(error)
    return isinstance(error, IntegrityError) or "already exists" in text or "is locked" in text


def _refuse(error: Exception, url: URL, shown: str) -> NoReturn:
    if isinstance(error, NoSuchModuleError):
        raise SweepError(
            f"storage {shown}: there is no database called '{url.drivername}'. {_KINDS}."
        ) from None
    if isinstance(error, ImportError):
        package = {"postgresql": "dilsearch[postgresql]", "mysql": "mysqlclient"}
        name = package.get(url.get_backend_name(), url.get_driver_name())
        raise SweepError(
            f"storage {shown}: the Python package that speaks to it is not installed. "
            f"Install it with: pip install '{name}'."
        ) from None
    raise SweepError(f"storage {shown} cannot be used: {cause_of(error, url)}.") from None


def cause_of(error: BaseException, url: URL | None = None) -> str:
    """What went wrong, in one line, and without the password."""
    while error.__cause__ is not None:
        error = error.__cause__
    error = getattr(error, "orig", None) or error
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = (lines[0] if lines else type(error).__name__).rstrip(".:")
    password = None if url is None else url.password
    return text.replace(str(password), "***") if password else text


def _check_parent(path: Path, shown: str) -> None:
    if not path.parent.is_dir():
        raise SweepError(f"storage {shown}: there is no folder {path.parent}. Make it first.")


def _open_journal(path: Path, heartbeat_seconds: int, grace_seconds: int) -> OpenedStorage:
    _check_parent(path, str(path))
    try:
        storage = JournalStorage(JournalFileBackend(str(path)))
    except (OSError, ValueError, KeyError) as error:
        raise SweepError(
            f"storage {path} is no journal that can be used: {cause_of(error)}. {_KINDS}."
        ) from None
    place = f"journal file {path}: any number of workers on hosts that see this file share it"
    return _without_heartbeats(storage, str(path), place, heartbeat_seconds, grace_seconds)


def _open_redis(text: str, heartbeat_seconds: int, grace_seconds: int) -> OpenedStorage:
    url = _url_of(text)
    shown = url.render_as_string(hide_password=True)
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
        _refuse(error, url, shown)
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
